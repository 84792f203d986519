package sandbox

import (
	"bytes"
	"slices"
	"time"
)

// runJobs brings the pending jobs up to the sandbox's clock, in the order of their creation. It runs before each look
// at the sandbox. No goroutine works on jobs, so the results of a test depend on its own steps only.
func (s *Server) runJobs() {
	s.mu.Lock()
	pending := slices.Clone(s.pending)
	s.mu.Unlock()
	for _, j := range pending {
		s.runJob(j)
	}
}

// jobStep is how far a job is due.
type jobStep struct {
	until    int // records
	received time.Time
	status   jobStatus // after the step
}

// due returns the step of a job that is due now, if there is one.
func (s *Server) due(j *job) (jobStep, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.status != jobPending || j.forgotten {
		return jobStep{}, false
	}
	if !j.spec.upload.importable() {
		return jobStep{status: jobAborted}, true
	}
	now, end := s.now(), j.created.Add(s.jobTime)
	next := jobStep{until: j.spec.upload.lines, received: end, status: jobCompleted}
	if now.Before(end) {
		share := float64(now.Sub(j.created)) / float64(s.jobTime)
		next = jobStep{until: max(0, int(share*float64(j.spec.upload.lines))), received: now, status: jobPending}
	}
	if j.abortAt >= 0 && next.until >= j.abortAt {
		next.until, next.status = j.abortAt, jobAborted
	}
	return next, true
}

func (s *Server) runJob(j *job) {
	j.run.Lock()
	defer j.run.Unlock()
	next, ok := s.due(j)
	if !ok {
		return
	}
	if j.lines == nil {
		content, _ := j.spec.upload.file.reader()
		j.lines = newLineReader(content)
	}
	for j.read < next.until {
		line, err := j.lines.next()
		if err == nil {
			err = s.record(j, line, next.received)
		}
		if err != nil { // from the spool: after a reset, or because the disk is full
			next.status = jobAborted
			break
		}
		j.read++
	}
	if next.status == jobCompleted && (j.done.finish() != nil || j.failed.finish() != nil) {
		next.status = jobAborted
	}
	if next.status != jobPending {
		s.end(j, next.status)
	}
}

// end gives a job its last status. Assumed: an aborted job has no files.
func (s *Server) end(j *job, status jobStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !j.forgotten {
		j.status = status
		s.pending = slices.DeleteFunc(s.pending, func(p *job) bool { return p == j })
		s.counts.Load().jobEnded(status)
	}
	j.lines = nil
	if status == jobAborted {
		j.done.drop()
		j.failed.drop()
	} else {
		j.done.keep()
		j.failed.keep()
	}
	j.spec.upload.file.unpin()
}

// record imports one line and writes the result. It fails if the result cannot be written.
func (s *Server) record(j *job, line []byte, received time.Time) error {
	scratch := scratches.Get().(*scratch)
	defer scratch.free()
	row := result{received: received.UnixMilli()}
	apiErr := s.importLine(j, &scratch.reader, line, &row)

	s.mu.Lock()
	gone := j.forgotten
	if !gone {
		j.processed++
		if apiErr != nil {
			j.errors++
		}
	}
	s.mu.Unlock()
	if gone {
		return errSpoolClosed
	}
	s.counts.Load().records.Add(1)
	if apiErr == nil {
		return j.done.writeResult(j.spec.kind, &row)
	}
	s.counts.Load().recordErrors.Add(1)
	number := j.read + 1
	if s.recordBase == RecordsFromZero {
		number = j.read
	}
	return j.failed.writeError(number, apiErr)
}

// importLine checks and imports a line. It fills the row, which is of use only without an error.
func (s *Server) importLine(j *job, r *reader, line []byte, row *result) *apiError {
	if len(line) > maxLine {
		return errLineTooLong
	}
	var (
		event  importedEvent
		patch  userPatch
		apiErr *apiError
	)
	if j.spec.kind == eventJob {
		event, apiErr = parseEventLine(r, line)
	} else {
		patch, apiErr = parseUserLine(r, line, j.spec.params.Segments)
	}
	var rule FailRule
	refused := false
	if apiErr == nil {
		if rule, refused = j.injector.draw(); refused && !rule.After {
			apiErr = rule.apiError()
		}
	}
	if apiErr != nil {
		if s.burnKeys && j.spec.kind == eventJob {
			s.burn(j.tenant, keyOf(r, line))
		}
		return apiErr
	}
	if j.spec.kind == eventJob {
		row.ref, row.event = event.ref, event.event
		row.seq, apiErr = s.acceptImported(j, event, row.received)
	} else {
		row.ref = patch.ref
		apiErr = s.upsertImported(j, patch)
	}
	if apiErr == nil && refused {
		apiErr = rule.apiError()
	}
	return apiErr
}

// acceptImported keeps the event of a valid line, as [Server.accept] does for a call, and returns the event's number.
// Assumed: an import creates no users, and it counts and uses up idempotency keys as calls do.
func (s *Server) acceptImported(j *job, line importedEvent, received int64) (uint64, *apiError) {
	event := Event{
		TenantAlias:    j.tenant.alias,
		AccountID:      line.ref.accountID,
		UserID:         line.ref.userID,
		Key:            line.event.key,
		IdempotencyKey: line.idempotencyKey,
		Fields:         bytes.Clone(line.event.fields), // of nil it is nil
		DateReceived:   received,
		Import:         j.imported,
	}
	if line.event.dated {
		triggered := line.event.triggered // a copy, because the event outlives the line
		event.DateTriggered = &triggered
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.forgotten {
		return 0, nil
	}
	if apiErr := s.admit(j.tenant, line.ref, line.idempotencyKey, time.UnixMilli(received)); apiErr != nil {
		return 0, apiErr
	}
	s.log.add(event, s.maxEvents)
	j.tenant.eventKeys[event.Key] = struct{}{}
	s.counts.Load().events.Add(1)
	return s.log.last, nil
}

func (s *Server) upsertImported(j *job, patch userPatch) *apiError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.forgotten {
		return nil
	}
	_, apiErr := j.tenant.upsert(patch.ref, patch)
	return apiErr
}
