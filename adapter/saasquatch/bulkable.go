package saasquatch

import (
	"bytes"
	"strings"

	"segment-saasquatch/mapping"
)

// userInput are the members of UserInput in SaaSquatch's published schema, in quotes, with the first characters that
// their values may have. GraphQL refuses a whole call for one other member or one value of another type.
var userInput = map[string]string{
	`"id"`:                     `"`,
	`"accountId"`:              `"`,
	`"firstName"`:              `"n`,
	`"lastName"`:               `"n`,
	`"lastInitial"`:            `"n`,
	`"referralCode"`:           `"n`,
	`"referralCodes"`:          `{n`,
	`"shareLinks"`:             `{n`,
	`"imageUrl"`:               `"n`,
	`"email"`:                  `"n`,
	`"cookieId"`:               `"n`,
	`"paymentProviderId"`:      `"n`,
	`"locale"`:                 `"n`,
	`"countryCode"`:            `"n`,
	`"referredBy"`:             `{["tfn-0123456789`,
	`"referredByCodes"`:        `[n`,
	`"cookies"`:                `"n`,
	`"referable"`:              `tfn`,
	`"customFields"`:           `{["tfn-0123456789`,
	`"segments"`:               `[n`,
	`"dateCreated"`:            `-0123456789n`,
	`"programGoals"`:           `[n`,
	`"dateUsTaxFormSubmitted"`: `-0123456789n`,
}

// BulkableUpsert reports whether an upsert can be an item of [Client.UpsertBulk]: whether the body has only members
// that GraphQL's closed UserInput has, each with a value of the right kind. It reads the members of the body alone,
// not the values inside of them. A body that is not compact JSON is not bulkable.
func (c *Client) BulkableUpsert(upsert *mapping.UserUpsert) bool {
	rest, ok := bytes.CutPrefix(upsert.Body, []byte("{"))
	for ok {
		end := valueEnd(rest)
		if end <= 0 || end+1 >= len(rest) || rest[end] != ':' {
			return false
		}
		kinds := userInput[string(rest[:end])]
		rest = rest[end+1:]
		if end = valueEnd(rest); end <= 0 || end >= len(rest) || strings.IndexByte(kinds, rest[0]) < 0 {
			return false
		}
		if rest[end] == '}' {
			return end == len(rest)-1
		}
		ok = rest[end] == ','
		rest = rest[end+1:]
	}
	return false
}

// valueEnd returns the index behind the JSON value at the start of a text, or -1 if the value does not end. It does
// not check the value.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if i >= len(text) {
				return -1
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
		case ',', ':':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return -1
}
