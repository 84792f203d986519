package sandbox

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// graphQLRequest is the body of a GraphQL call.
type graphQLRequest struct {
	query         string
	operationName string
	variables     map[string]any
	// bulk says that the query names a mutation that takes several inputs.
	bulk bool
}

// parseGraphQL reads the body of a GraphQL call. Assumed: a body that is no GraphQL request gets a 400.
//
// Members of the variables named fields or customFields stay as they were sent, as a [jsontext.Value] that is a part
// of the body. They make up most of a large call. They also reach the event log byte by byte.
func parseGraphQL(r *reader, body []byte) (graphQLRequest, *apiError) {
	r.reset(body, "")
	var request graphQLRequest
	apiErr := r.members("a GraphQL request in JSON", func(name []byte) (apiErr *apiError) {
		switch string(name) {
		case "query":
			text, apiErr := r.string()
			request.query = string(text)
			return apiErr
		case "operationName":
			value, apiErr := r.variable(0)
			var ok bool
			if request.operationName, ok = value.(string); apiErr == nil && !ok && value != nil {
				apiErr = r.errorf("must be a name")
			}
			return apiErr
		case "variables":
			value, apiErr := r.variable(0)
			var ok bool
			if request.variables, ok = value.(map[string]any); apiErr == nil && !ok && value != nil {
				apiErr = r.errorf("must be an object")
			}
			return apiErr
		default:
			return r.skip()
		}
	})
	if apiErr == nil {
		apiErr = r.end()
	}
	if apiErr == nil && request.query == "" {
		apiErr = badRequest("query is required.")
	}
	if apiErr == nil && len(request.query) <= maxQueryLength {
		request.query, request.bulk = scanQuery(request.query)
	}
	return request, apiErr
}

// variable reads a value of the variables. The level is the number of objects and arrays around it.
func (r *reader) variable(level int) (any, *apiError) {
	switch kind := r.decoder.PeekKind(); kind {
	case jsontext.KindString:
		text, apiErr := r.unquote()
		return string(text), apiErr
	case jsontext.KindBeginArray:
		list := []any{}
		return list, r.each(kind, "", func() *apiError {
			element, apiErr := r.variable(level + 1)
			list = append(list, element)
			return apiErr
		})
	case jsontext.KindBeginObject:
		return r.variableObject(level)
	}
	value, err := r.decoder.ReadValue()
	if err != nil {
		return nil, r.syntaxError(err)
	}
	switch text := string(value); text {
	case "null":
		return nil, nil
	case "true", "false":
		return text == "true", nil
	default:
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, r.errorf("must be within the range of a 64-bit number")
		}
		return number, nil
	}
}

func (r *reader) variableObject(level int) (map[string]any, *apiError) {
	object := make(map[string]any)
	return object, r.members("", func(name []byte) (apiErr *apiError) {
		member := string(name)
		// The object variables is at level 0. Its members are named by the client.
		if level > 0 && (member == "fields" || member == "customFields") {
			isNull := r.decoder.PeekKind() == jsontext.KindNull
			value, apiErr := r.raw()
			if apiErr == nil && !isNull {
				object[member] = jsontext.Value(value)
			}
			return apiErr
		}
		object[member], apiErr = r.variable(level + 1)
		return apiErr
	})
}

// scanQuery reports whether a query names a mutation that takes several inputs. It also writes an integer beyond 32
// bits as a float: the library panics at such a literal, and a date has one.
//
// It needs no valid query, because the library refuses others afterwards.
func scanQuery(query string) (rewritten string, bulk bool) {
	var out strings.Builder
	last := "" // the token before
	copied := 0
	for i := 0; i < len(query); {
		start := i
		switch c := query[i]; {
		case c == '#':
			i = len(query)
			if n := strings.IndexAny(query[start:], "\r\n"); n >= 0 {
				i = start + n
			}
			continue
		case c == '"':
			i = endOfString(query, i)
		case isNameByte(c) && !isDigit(c):
			for i < len(query) && isNameByte(query[i]) {
				i++
			}
			name := query[start:i]
			if (name == "logUserEvents" || name == "upsertUsers") && last != "mutation" && last != "query" {
				// Only a field has arguments, and both fields need one.
				bulk = bulk || strings.HasPrefix(skipIgnored(query[i:]), "(")
			}
		case isDigit(c):
			for i < len(query) && (isNameByte(query[i]) || query[i] == '.' || isSign(query, i)) {
				i++
			}
			digits := query[start:i]
			if strings.Trim(digits, "0123456789") == "" && !isInt(last, digits) {
				out.WriteString(query[copied:i] + ".0")
				copied = i
			}
		case isIgnored(c):
			i++
			continue
		default:
			i++
		}
		last = query[start:i]
	}
	if copied == 0 {
		return query, bulk
	}
	return out.String() + query[copied:], bulk
}

// isInt reports whether digits are an Int of GraphQL behind the token before them.
func isInt(last, digits string) bool {
	if last == "-" {
		digits = "-" + digits
	}
	_, err := strconv.ParseInt(digits, 10, 32)
	return err == nil
}

// endOfString returns the index behind a string that starts at i.
func endOfString(query string, i int) int {
	const block = `"""`
	if strings.HasPrefix(query[i:], block) {
		for i += len(block); i < len(query); i++ {
			switch {
			case strings.HasPrefix(query[i:], `\`+block):
				i += len(block)
			case strings.HasPrefix(query[i:], block):
				return i + len(block)
			}
		}
		return len(query)
	}
	for i++; i < len(query); i++ {
		switch query[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(query)
}

// skipIgnored removes what GraphQL ignores before a token: white space, commas and comments.
func skipIgnored(query string) string {
	for {
		query = strings.TrimLeft(query, ignored)
		if !strings.HasPrefix(query, "#") {
			return query
		}
		n := strings.IndexAny(query, "\r\n")
		if n < 0 {
			return ""
		}
		query = query[n:]
	}
}

const ignored = " \t\r\n,\ufeff"

func isIgnored(c byte) bool { return strings.IndexByte(" \t\r\n,", c) >= 0 }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || isDigit(c)
}

// isSign reports whether the byte at i is the sign of an exponent.
func isSign(query string, i int) bool {
	return (query[i] == '+' || query[i] == '-') && (query[i-1] == 'e' || query[i-1] == 'E')
}
