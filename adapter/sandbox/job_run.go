package sandbox

import (
	"bytes"
	"slices"
	"time"
)

// catchUp carries out the pending jobs as far as they have come by the sandbox's
// clock, in the order of their creation. It is called before anyone looks: no
// goroutine works on jobs, and what a test sees depends on its own steps only.
func (s *Server) catchUp() {
	s.mu.Lock()
	pending := slices.Clone(s.pending)
	s.mu.Unlock()
	for _, j := range pending {
		s.carryOut(j)
	}
}

// leg is the way of a job from where it is to where it is due.
type leg struct {
	until    int // records
	received time.Time
	ends     jobStatus // the status after it
}

// due says how far the job is to be carried out now.
func (s *Server) due(j *job) (leg, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.status != jobPending || j.forgotten {
		return leg{}, false
	}
	if j.order.upload.contentFault() {
		return leg{ends: jobAborted}, true
	}
	now, end := s.now(), j.created.Add(s.jobTime)
	next := leg{until: j.order.upload.lines, received: end, ends: jobCompleted}
	if now.Before(end) {
		share := float64(now.Sub(j.created)) / float64(s.jobTime)
		next = leg{until: max(0, int(share*float64(j.order.upload.lines))), received: now, ends: jobPending}
	}
	if j.abortAt >= 0 && next.until >= j.abortAt {
		next.until, next.ends = j.abortAt, jobAborted
	}
	return next, true
}

func (s *Server) carryOut(j *job) {
	j.run.Lock()
	defer j.run.Unlock()
	next, ok := s.due(j)
	if !ok {
		return
	}
	if j.lines == nil {
		content, _ := j.order.upload.file.reader()
		j.lines = newLineReader(content)
	}
	for j.read < next.until {
		line, err := j.lines.next()
		if err == nil {
			err = s.record(j, line, next.received)
		}
		if err != nil { // of the spool: after a reset, or if the disk is full
			next.ends = jobAborted
			break
		}
		j.read++
	}
	if next.ends == jobCompleted && (j.done.finish() != nil || j.failed.finish() != nil) {
		next.ends = jobAborted
	}
	if next.ends != jobPending {
		s.end(j, next.ends)
	}
}

// end gives a job its last status. An aborted one has no files, which is assumed.
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
	j.order.upload.file.unpin()
}

// record carries out one line and writes down what became of it. It fails if
// that cannot be written.
func (s *Server) record(j *job, line []byte, received time.Time) error {
	scratch := scratches.Get().(*scratch)
	defer scratch.free()
	row := result{received: received.UnixMilli()}
	fault := s.importLine(j, &scratch.reader, line, &row)

	s.mu.Lock()
	gone := j.forgotten
	if !gone {
		j.processed++
		if fault != nil {
			j.errors++
		}
	}
	s.mu.Unlock()
	if gone {
		return errSpoolClosed
	}
	s.counts.Load().records.Add(1)
	if fault == nil {
		return j.done.writeResult(j.order.kind, &row)
	}
	s.counts.Load().recordErrors.Add(1)
	number := j.read + 1
	if s.recordBase == RecordsFromZero {
		number = j.read
	}
	return j.failed.writeError(number, fault)
}

// importLine judges a line and carries it out. The row is written only if there
// is no fault.
func (s *Server) importLine(j *job, r *reader, line []byte, row *result) *apiError {
	if len(line) > maxLine {
		return errLineTooLong
	}
	var (
		event importedEvent
		patch userPatch
		fault *apiError
	)
	if j.order.kind == eventJob {
		event, fault = parseEventLine(r, line)
	} else {
		patch, fault = parseUserLine(r, line, j.order.params.Segments)
	}
	var rule FailRule
	refused := false
	if fault == nil {
		if rule, refused = j.fate.record(); refused && !rule.After {
			fault = rule.fault()
		}
	}
	if fault != nil {
		if s.burnKeys && j.order.kind == eventJob {
			s.burn(j.tenant, keyOf(r, line))
		}
		return fault
	}
	if j.order.kind == eventJob {
		row.ref, row.event = event.ref, event.event
		row.seq, fault = s.acceptImported(j, event, row.received)
	} else {
		row.ref = patch.ref
		fault = s.upsertImported(j, patch)
	}
	if fault == nil && refused {
		fault = rule.fault()
	}
	return fault
}

// acceptImported keeps the event of a valid line, as [Server.accept] does for a
// call. It returns the event's number. That an import creates no users, and that
// it counts and uses up idempotency keys as calls do, is assumed.
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
		triggered := line.event.triggered // alone: the line's memory is used again
		event.DateTriggered = &triggered
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.forgotten {
		return 0, nil
	}
	if fault := s.admit(j.tenant, line.ref, line.idempotencyKey, time.UnixMilli(received)); fault != nil {
		return 0, fault
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
	_, fault := j.tenant.upsert(patch.ref, patch)
	return fault
}
