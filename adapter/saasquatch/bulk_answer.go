package saasquatch

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// bulkAnswer is the part of an answer to a bulk call that counts.
type bulkAnswer struct {
	body answerBody
	// broke says why the body is incomplete, nil if it is not.
	broke error
	// dataNull: the member data is there, and null. GraphQL has it if the call was executed.
	dataNull bool
	// data: the member data is there, and not null.
	data bool
	// listed: data has the list. It may be of any length.
	listed bool
	// count is the length of the list, with what stands in it.
	count int
	// strange: an element of the list is neither a success with the user of its place nor an error.
	strange bool
	// refused are the errors in the list, in their order.
	refused []refusedItem
	graphQLErrors
}

// refusedItem is an error in the list.
type refusedItem struct {
	at      int
	failure apiError
}

// readBulk reads the answer to a bulk call, up to maxGraphQLAnswer bytes. It never fails.
func readBulk(status int, body io.Reader, kind *bulkKind, items []item) *bulkAnswer {
	r := bodyReaders.Get().(*bodyReader)
	defer r.release()
	answer := new(bulkAnswer)
	form, start, broke := r.open(body, maxGraphQLAnswer)
	answer.broke = broke
	if form == formObject {
		r.decoder.Reset(&r.text, bodyOptions...)
		scan := bulkScan{r.decoder, kind, items, answer}
		switch err := scan.answer(); {
		case err == io.EOF:
		case broke != nil:
			form = formBroken
		default:
			form = formOther
			*answer = bulkAnswer{}
		}
	}
	answer.bare.stated = answer.bare.failed()
	answer.body.form, answer.body.failure = form, answer.bare
	answer.body.keepStart(status, start)
	return answer
}

// bulkScan reads an answer without decoding what does not count.
type bulkScan struct {
	*jsontext.Decoder
	kind  *bulkKind
	items []item
	to    *bulkAnswer
}

// answer reads the whole answer. Its error is io.EOF if there is nothing behind the object.
func (s *bulkScan) answer() error {
	err := s.object(s.topMember)
	if err == nil {
		_, err = s.ReadToken()
	}
	return err
}

// object reads an object. The function reads the value of each member; the name is valid until then.
func (s *bulkScan) object(member func(name []byte) error) error {
	_, err := s.ReadToken() // the brace
	for err == nil && s.PeekKind() != jsontext.KindEndObject {
		var name jsontext.Value
		if name, err = s.ReadValue(); err == nil {
			err = member(name)
		}
	}
	if err == nil {
		_, err = s.ReadToken()
	}
	return err
}

func (s *bulkScan) topMember(name []byte) error {
	member := errorMemberOf(name)
	switch string(name) {
	case `"data"`:
		s.to.strange = s.to.strange || s.to.data || s.to.dataNull // twice
		switch s.PeekKind() {
		case jsontext.KindBeginObject:
			s.to.data = true
			return s.object(s.dataMember)
		case jsontext.KindNull:
			s.to.dataNull = true
		default:
			s.to.data = true
		}
	case `"errors"`:
		return s.keep(&s.to.errors)
	case `"extensions"`:
		return s.keep(&s.to.extensions)
	}
	value, err := s.ReadValue()
	if err == nil {
		s.to.bare.set(member, value)
	}
	return err
}

// keep reads a value that outlasts the scan.
func (s *bulkScan) keep(to *json.RawMessage) error {
	s.to.strange = s.to.strange || *to != nil // twice
	value, err := s.ReadValue()
	*to = bytes.Clone(value)
	return err
}

func (s *bulkScan) dataMember(name []byte) error {
	if string(name) != s.kind.list || s.PeekKind() != jsontext.KindBeginArray {
		_, err := s.ReadValue()
		return err
	}
	s.to.strange = s.to.strange || s.to.listed // twice
	s.to.listed = true
	_, err := s.ReadToken() // the bracket
	for err == nil && s.PeekKind() != jsontext.KindEndArray {
		if s.to.count < len(s.items) && s.PeekKind() == jsontext.KindBeginObject {
			err = s.element(&s.items[s.to.count])
		} else {
			s.to.strange = true
			_, err = s.ReadValue()
		}
		s.to.count++
	}
	if err == nil {
		_, err = s.ReadToken()
	}
	return err
}

// The members of an element that count.
const (
	seenType = 1 << iota
	seenUserID
	seenAccountID
	isSuccess
	isError
	seenErrorMember // shifted by the errorMember
)

// element reads an element of the list that stands at the place of the item.
func (s *bulkScan) element(at *item) error {
	var failure apiError
	seen, strange := 0, false
	_, err := s.ReadToken() // the brace
	for err == nil && s.PeekKind() != jsontext.KindEndObject {
		var name, value jsontext.Value
		if name, err = s.ReadValue(); err != nil {
			break
		}
		flag, member := 0, noErrorMember
		switch string(name) {
		case `"__typename"`:
			flag = seenType
		case `"accountId"`:
			flag = seenAccountID
		case s.kind.userID:
			flag = seenUserID
		default:
			if member = errorMemberOf(name); member != noErrorMember {
				flag = seenErrorMember << member
			}
		}
		if value, err = s.ReadValue(); err != nil {
			break
		}
		strange = strange || seen&flag != 0 // twice
		seen |= flag
		switch flag {
		case 0:
		case seenType:
			switch string(value) {
			case s.kind.success:
				seen |= isSuccess
			case `"ApiError"`:
				seen |= isError
			}
		case seenAccountID:
			strange = strange || !isText(value, at.accountID)
		case seenUserID:
			strange = strange || !isText(value, at.userID)
		default:
			failure.set(member, value)
		}
	}
	if err == nil {
		_, err = s.ReadToken()
	}
	switch {
	case seen&isError != 0:
		failure.stated = true
		s.to.refused = append(s.to.refused, refusedItem{s.to.count, failure})
	case seen&isSuccess == 0, seen&seenUserID == 0, seen&seenAccountID == 0, failure.failed():
		strange = true
	}
	s.to.strange = s.to.strange || strange
	return err
}

// isText reports whether a JSON value is this string.
func isText(value jsontext.Value, text string) bool {
	if value.Kind() != jsontext.KindString {
		return false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1:len(value)-1]) == text
	}
	return textOf(value) == text
}
