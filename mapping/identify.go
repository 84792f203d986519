package mapping

import (
	"bytes"
	"time"
)

// mapIdentify maps an identify call to upserts of its user (M15, M17 to M21). Upserts have no idempotency key and no
// time, so M16 and the time window (M10) do not apply.
func (m *Mapper) mapIdentify(e *encoder, env *envelope, now time.Time) Result {
	if !m.rules.Identify {
		return skip(SkipIdentifyDisabled, "users.identify is off")
	}
	userID, accountID, refused := m.ids(env)
	if refused != nil {
		return *refused
	}
	segments, refused := m.segmentsOf(e, env, now)
	if refused != nil {
		return *refused
	}
	traits, accountTraits := e.traitsOf(env)
	e.dst = make([]byte, 0, len(userID)+len(accountID)+len(traits)+bodyOverhead)
	u := newUpserts(e, userID, accountID)
	u.segments = segments
	user := e.profileOf(env, traits)
	e.appendProfile(&user)
	if traits != nil && !u.appendCustomFields(traits, accountTraits.isNoCustomField) {
		return reject(RejectUnsupportedValue, "traits: "+notCustomField)
	}
	u.close()
	return Result{
		Kind:     KindUserUpsert,
		Upserts:  u.list(string(userID), string(accountID)),
		Warnings: e.warnings.list(),
	}
}

// trait is a trait that becomes a standard field of the upsert (M17, M18).
type trait uint8

const (
	traitEmail trait = iota
	traitFirstName
	traitFirstNameSnake // in snake case
	traitLastName
	traitLastNameSnake
	traitName
	traitAvatar
	traitReferredByCodes
	traitLocale
	traitCount
	traitNone = traitCount
)

func traitOf(name []byte) trait {
	switch string(name) {
	case "email":
		return traitEmail
	case "firstName":
		return traitFirstName
	case "first_name":
		return traitFirstNameSnake
	case "lastName":
		return traitLastName
	case "last_name":
		return traitLastNameSnake
	case "name":
		return traitName
	case "avatar":
		return traitAvatar
	case "referredByCodes":
		return traitReferredByCodes
	case "locale":
		return traitLocale
	}
	return traitNone
}

// accountTraits holds the names of traits that account_id reads.
type accountTraits map[string]struct{}

// isNoCustomField reports whether the trait becomes a standard field, the account or nothing (M19).
func (a accountTraits) isNoCustomField(name []byte) bool {
	switch string(name) {
	case "address", "birthday", "created_at", "createdAt", "id":
		return true
	}
	_, account := a[string(name)]
	return account || traitOf(name) != traitNone
}

// traitsOf returns the object of the call's traits, nil if it has none, and the names in it that account_id reads.
func (e *encoder) traitsOf(env *envelope) (traits []byte, account accountTraits) {
	e.warnings |= env.notObject & warnTraitsNotObject
	traits, inContext := env.traits()
	switch {
	case isNullOrAbsent(traits):
		return nil, nil
	case traits[0] != '{':
		e.warnings |= warnTraitsNotObject
		return nil, nil
	case inContext:
		return traits, e.rules.accountContextTraits
	}
	return traits, e.rules.accountTraits
}

// traits returns the call's traits, else those of its context, where RudderStack's libraries send them (M17). Traits
// of the context may be any JSON value.
func (env *envelope) traits() (traits []byte, inContext bool) {
	if traits = env.values[envTraits]; traits != nil {
		return traits, false
	}
	return findMember(env.values[envContext], "traits", env.validUTF8), true
}

// profileOf returns the standard fields of the call's user (M17, M18).
func (e *encoder) profileOf(env *envelope, object []byte) (user profile) {
	var traits [traitCount][]byte
	if object != nil {
		for quoted, value := range membersOf(object, 0).each {
			if known := traitOf(unquote(quoted, e.validUTF8)); known != traitNone {
				traits[known] = value
			}
		}
	}
	user[userEmail] = traits[traitEmail]
	user[userImageURL] = traits[traitAvatar]
	user[userReferredByCodes] = traits[traitReferredByCodes]
	user[userFirstName] = e.firstText(traits[traitFirstName], traits[traitFirstNameSnake])
	user[userLastName] = e.firstText(traits[traitLastName], traits[traitLastNameSnake])
	if user[userFirstName] == nil || user[userLastName] == nil {
		first, last := e.splitName(traits[traitName])
		if user[userFirstName] == nil {
			user[userFirstName] = first
		}
		if user[userLastName] == nil {
			user[userLastName] = last
		}
	}
	// An invalid locale of the user does not make the browser's locale right.
	if user[userLocale] = traits[traitLocale]; isNullOrAbsent(traits[traitLocale]) {
		user[userLocale] = findMember(env.values[envContext], "locale", e.validUTF8)
	}
	return user
}

// firstText returns the first value that is a string and not blank; nil if there is none. It warns of the invalid
// values before it.
func (e *encoder) firstText(values ...[]byte) []byte {
	for _, value := range values {
		if isNullOrAbsent(value) {
			continue
		}
		if e.textOf(value) != nil {
			return value
		}
		e.warnings |= warnFieldInvalid
	}
	return nil
}

// splitName splits a name into its first word and the rest; rest is nil if there is no more.
func (e *encoder) splitName(name []byte) (first, rest []byte) {
	text := trimBlank(e.textOf(e.firstText(name)))
	if len(text) == 0 {
		return nil, nil
	}
	word := bytes.Fields(text)[0]
	first = appendQuoted(nil, word)
	if text = trimBlank(text[len(word):]); len(text) > 0 {
		rest = appendQuoted(nil, text)
	}
	return first, rest
}
