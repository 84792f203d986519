package mapping

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Mapper maps events by fixed rules. It is safe for concurrent use.
type Mapper struct {
	rules compiledRules
	// slots is a semaphore: one slot for each expression under evaluation.
	slots chan struct{}
}

// New returns a Mapper for the rules. The error is that of Validate.
func New(rules Rules) (*Mapper, error) {
	compiled, err := rules.compile()
	if err != nil {
		return nil, err
	}
	return &Mapper{rules: compiled, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}, nil
}

// WithEvaluations returns a mapper with the same rules and its own limit: it evaluates at most n expressions at once.
// The limit of a mapper of [New] is one for each processor.
func (m *Mapper) WithEvaluations(n int) *Mapper {
	return &Mapper{rules: m.rules, slots: make(chan struct{}, n)}
}

// Map maps one event. It rejects bytes that are not one JSON object. The result shares no memory with event.
// Expressions take now for the present time. At a zero now, Map applies no time window (M10), since the event passed
// it before or need not pass it. Expressions then take the event's own time (M9), or 1970 if it has none.
func (m *Mapper) Map(event []byte, now time.Time) Result {
	return m.MapWith(event, now, Options{})
}

// MapWith is Map with options.
func (m *Mapper) MapWith(event []byte, now time.Time, opts Options) Result {
	p := parse(event)
	defer p.release()
	if p.fault != "" {
		return reject(RejectInvalidJSON, p.fault)
	}
	env := &p.env
	messageID := env.text(envMessageID)
	if opts.Selects != nil {
		p.call = Call{env, env.event}
		if kind, reason, detail := opts.Selects(&p.call); kind != 0 {
			result := Result{Kind: kind, MessageID: string(messageID), Reason: reason, Detail: detail}
			if kind != KindSkip { // the caller counts skipped calls and does not store them
				env.setIdentity(&result, messageID)
			}
			return result
		}
	}
	p.body = encoder{
		rules: &m.rules, validUTF8: env.validUTF8, scratch: p.body.scratch[:0],
		evaluation: evaluation{slots: m.slots, done: opts.Done, rulesOnly: opts.RulesOnly},
	}
	result := m.mapCall(&p.body, env, messageID, now)
	env.setIdentity(&result, messageID)
	return result
}

// mapCall branches on the type of the call (M3).
func (m *Mapper) mapCall(body *encoder, env *envelope, messageID []byte, now time.Time) Result {
	callType := env.text(envType)
	switch {
	case len(callType) == 0:
		return reject(RejectMissingType, missingTypeDetail(env))
	case bytes.EqualFold(callType, []byte("track")):
		return m.mapTrack(body, env, messageID, now)
	case bytes.EqualFold(callType, []byte("identify")):
		return m.mapIdentify(body, env, now)
	default:
		return skip(SkipUnsupportedType, unsupportedDetail(callType))
	}
}

// ids returns the ids of the call's user, or the result of a call without them.
func (m *Mapper) ids(env *envelope) (userID, accountID []byte, refused *Result) {
	// M4
	userID = env.text(envUserID)
	if isBlank(userID) {
		return nil, nil, skipped(SkipNoUserID, "userId: absent or blank; SaaSquatch knows no anonymous users")
	}
	if m.rules.placeholders.has(userID) {
		return nil, nil, skipped(SkipPlaceholderUserID,
			"userId: a placeholder that stands for no user; see placeholder_user_ids")
	}
	if fault := invalidID(userID); fault != "" {
		return nil, nil, rejected(RejectInvalidUserID, "userId: "+fault)
	}
	// M5
	accountID = m.accountID(env, userID)
	if accountID == nil {
		return nil, nil, rejected(RejectInvalidAccountID,
			"account_id: no usable string or number on any of "+strings.Join(m.rules.AccountID, ", "))
	}
	if fault := invalidID(accountID); fault != "" {
		return nil, nil, rejected(RejectInvalidAccountID, "account_id: "+fault)
	}
	return userID, accountID, nil
}

// unsupportedDetail names the unsupported type. An archive has many calls of the usual types, so these avoid the slow
// formatting.
func unsupportedDetail(callType []byte) string {
	switch string(callType) {
	case "page", "screen", "group":
		return `type "` + string(callType) + `" is neither track nor identify`
	}
	return fmt.Sprintf("type %.40q is neither track nor identify", callType)
}

func (m *Mapper) mapTrack(body *encoder, env *envelope, messageID []byte, now time.Time) Result {
	userID, accountID, refused := m.ids(env)
	if refused != nil {
		return *refused
	}
	// M6
	name := env.text(envEvent)
	if isBlank(name) {
		return reject(RejectMissingEventName,
			"event: absent, not a string, or blank; a track call needs the event's name")
	}
	if !m.selects(name) {
		return skip(SkipEventNotSelected, "events.only or events.except leaves out the event's name")
	}
	// M7
	var keyBuf [MaxNameLength]byte
	key := m.appendEventKey(keyBuf[:0], name)
	if len(key) == 0 {
		return reject(RejectEmptyEventKey,
			"event: the name has no ASCII letter or digit; give it a key in events.keys")
	}

	// M9, M10
	triggered, timed := env.triggered()
	switch {
	case !timed:
		body.warnings |= warnNoTimestamp
	case m.rules.AnyAge, now.IsZero():
	case triggered < now.Add(-m.rules.MaxAge).UnixMilli():
		return skip(SkipOutsideTimeWindow, "the event is older than "+days(m.rules.MaxAge))
	case triggered > now.Add(m.rules.MaxAhead).UnixMilli():
		return skip(SkipOutsideTimeWindow, "the event is more than "+days(m.rules.MaxAhead)+" in the future")
	}

	result := newUserEvent(messageID, userID, accountID, key, name)
	event := &result.UserEvent
	event.DateTriggered, event.Timed = triggered, timed
	// M16
	switch {
	case env.isKeyed(messageID):
		event.IdempotencyKey = result.MessageID
	case env.values[envMessageID] == nil:
		body.warnings |= warnMessageIDMissing
	default:
		body.warnings |= warnMessageIDInvalid
	}

	properties := env.values[envProperties]
	body.warnings |= env.notObject & warnPropertiesNotObject
	body.dst = make([]byte, 0, len(userID)+len(accountID)+len(properties)+bodyOverhead)
	body.raw(`{"userId":`)
	body.quoted(userID)
	body.raw(`,"accountId":`)
	body.quoted(accountID)
	if event.IdempotencyKey != "" {
		body.raw(`,"idempotencyKey":"`)
		body.raw(event.IdempotencyKey)
		body.raw(`"`)
	}
	body.raw(`,` + eventsMember)
	event.eventAt = len(body.dst)
	body.raw(`{"key":`)
	body.quoted(key)
	if !body.appendEventFields(properties, event.Key) {
		return *unsupportedFields("properties")
	}
	body.appendDate(event)
	if m.rules.transform != nil && !body.evaluation.rulesOnly {
		if refused := m.transform(body, env, now, event); refused != nil {
			return *refused
		}
	}
	body.raw(`]}`)
	event.Body = body.dst
	if refused := m.ensureUser(body, env, now, &result); refused != nil {
		return *refused
	}
	result.Warnings = body.warnings.list()
	return result
}

// appendDate appends the event's time and ends the event.
func (e *encoder) appendDate(event *UserEvent) {
	if event.Timed {
		e.raw(`,"dateTriggered":`)
		e.dst = strconv.AppendInt(e.dst, event.DateTriggered, 10)
	}
	e.raw(`}`)
}

func unsupportedFields(of string) *Result {
	return rejected(RejectUnsupportedValue, fmt.Sprintf("%s: an array directly inside an array, more than %d levels "+
		"in one field, or a number beyond the range of a double; see invalid_values", of, MaxFieldNesting))
}

// newUserEvent returns a result with the texts of a user event. One allocation instead of five.
func newUserEvent(messageID, userID, accountID, key, name []byte) Result {
	var buf [256]byte
	all := append(append(append(append(append(buf[:0], messageID...), userID...), accountID...), key...), name...)
	text := string(all)
	cut := func(part []byte) (s string) {
		s, text = text[:len(part)], text[len(part):]
		return s
	}
	result := Result{Kind: KindUserEvent}
	result.MessageID = cut(messageID)
	result.UserEvent.UserID = cut(userID)
	result.UserEvent.AccountID = cut(accountID)
	result.UserEvent.Key = cut(key)
	result.Event = cut(name)
	return result
}

// bodyOverhead is the capacity for a body beside its ids and fields, in bytes.
const bodyOverhead = 256

// appendEventFields appends the fields member, unless it is empty. It returns false if the event is rejected.
func (e *encoder) appendEventFields(properties []byte, key string) bool {
	if properties == nil {
		return true
	}
	start := len(e.dst)
	e.raw(`,"fields":`)
	empty := len(e.dst) + len("{}")
	fits := false
	switch {
	case key == keyPurchase && e.rules.ConformOrders:
		fits = e.appendOrder(properties, purchaseFields)
	case key == keyRefund && e.rules.ConformOrders:
		fits = e.appendOrder(properties, refundFields)
	default:
		fits = e.appendFields(properties)
	}
	if !fits {
		return false
	}
	if len(e.dst) == empty {
		e.dst = e.dst[:start]
	}
	return true
}

// selects reports whether events.only and events.except include the event.
func (m *Mapper) selects(name []byte) bool {
	if m.rules.only != nil {
		_, ok := m.rules.only[string(name)]
		return ok
	}
	_, excepted := m.rules.except[string(name)]
	return !excepted
}

// accountID returns the first string or number on the configured paths that is neither blank nor a placeholder; nil
// if there is none.
func (m *Mapper) accountID(env *envelope, userID []byte) []byte {
	for _, path := range m.rules.accountID {
		if len(path) == 1 && path[0] == "userId" {
			return userID
		}
		value := env.find(path)
		if value == nil || value[0] != '"' && !isNumber(value) {
			continue
		}
		if id := textOrLiteral(value, env.validUTF8); !isBlank(id) && !m.rules.placeholders.has(id) {
			return id
		}
	}
	return nil
}

// invalidID returns the reason for which the id cannot stand in a call's path; empty if it can.
func invalidID(id []byte) string {
	if string(id) == "." || string(id) == ".." {
		return "is a dot segment, which cannot stand in a URL path"
	}
	if len(id) > MaxIDBytes {
		return fmt.Sprintf("is %d bytes long; use at most %d", len(id), MaxIDBytes)
	}
	for _, c := range id {
		if c < 0x20 || c == 0x7f {
			return fmt.Sprintf("holds the control character U+%04X; remove it", c)
		}
	}
	return ""
}

// triggered returns the event's time in milliseconds since the epoch. It is the first time from the year 2000 on,
// since an earlier one comes from an unset clock. Without one, it is the first time (M9).
func (env *envelope) triggered() (millis int64, ok bool) {
	for _, field := range [...]envelopeField{envTimestamp, envOriginalTimestamp, envReceivedAt, envSentAt} {
		value := env.values[field]
		if value == nil {
			continue
		}
		at, parsed := parseTime(value, env.validUTF8)
		switch {
		case !parsed:
		case at >= year2000Millis:
			return at, true
		case !ok:
			millis, ok = at, true
		}
	}
	return millis, ok
}

// days formats a duration, in days if it is a whole number of them.
func days(d time.Duration) string {
	if d%day == 0 {
		return strconv.Itoa(int(d/day)) + " days"
	}
	return d.String()
}
