package mapping

import "slices"

// upserts builds the bodies of User Upsert calls for one user, one behind the other in the encoder's dst.
type upserts struct {
	*encoder
	// userID and accountID are JSON strings.
	userID, accountID []byte
	// segments is the JSON array of the first body; nil if it has none.
	segments []byte
	// starts holds the index in dst of each body.
	starts []int
	// single allows one body only.
	single bool
	// custom counts the custom fields of the last body.
	custom int
}

// newUpserts begins the first body.
func newUpserts(e *encoder, userID, accountID []byte) *upserts {
	u := &upserts{encoder: e, userID: appendQuoted(nil, userID), accountID: appendQuoted(nil, accountID)}
	u.open()
	return u
}

// open begins a body.
func (u *upserts) open() {
	u.starts = append(u.starts, len(u.dst))
	u.custom = 0
	u.raw(`{"id":`)
	u.dst = append(u.dst, u.userID...)
	u.raw(`,"accountId":`)
	u.dst = append(u.dst, u.accountID...)
}

// close ends a body.
func (u *upserts) close() {
	if u.custom > 0 {
		u.raw("}")
	}
	if u.segments != nil && len(u.starts) == 1 {
		u.raw(`,"segments":`)
		u.dst = append(u.dst, u.segments...)
	}
	u.raw("}")
}

// customField starts a custom field. If the last body is full, it starts another one (M20).
func (u *upserts) customField(name []byte) {
	if u.custom == MaxCustomFields {
		u.close()
		u.open()
	}
	if u.custom++; u.custom == 1 {
		u.raw(`,"customFields":{`)
	}
	u.name(name)
}

// list returns the upserts. Their bodies share memory with dst.
func (u *upserts) list(userID, accountID string) []UserUpsert {
	list := make([]UserUpsert, len(u.starts))
	end := len(u.dst)
	for i, start := range slices.Backward(u.starts) {
		list[i] = UserUpsert{UserID: userID, AccountID: accountID, Body: u.dst[start:end:end]}
		end = start
	}
	return list
}

// appendCustomFields appends the members of an object as custom fields, except the reserved ones (M19). It returns
// false if the event is rejected.
func (u *upserts) appendCustomFields(object []byte, reserved func(name []byte) bool) bool {
	walk := u.walk(object, 0)
	walk.reserved = reserved
	for {
		name, ok := walk.next()
		if !ok {
			return true
		}
		start := walk.i
		walk.i = skipValue(object, start)
		value := object[start:walk.i]
		if u.single && u.custom == MaxCustomFields {
			u.warnings |= warnFieldInvalid
			continue
		}
		if value[0] != '{' && value[0] != '[' && !isOutOfRange(value) {
			u.customField(name)
			u.appendValue(value, 0, 0, false)
			continue
		}
		u.warnings |= warnValueUnsupported
		switch u.rules.InvalidValues {
		case InvalidDiscardEvent:
			return false
		case InvalidNull: // null would delete the custom field
		default:
			u.customField(name)
			u.appendText(u.compact(value), MaxStringChars)
		}
	}
}

// notCustomField is the detail of the reject if appendCustomFields returns false.
const notCustomField = "an object, an array or a number beyond the range of a double, " +
	"which no custom field can hold; see invalid_values"
