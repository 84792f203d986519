package saasquatch

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// maxGraphQLAnswer bounds an answer of GraphQL, in bytes.
const maxGraphQLAnswer = 1 << 20

// graphQL makes one call and decodes the answer's data into data, even if GraphQL reports an error. Errors are
// *adapter.APIError.
func (i *Importer) graphQL(ctx context.Context, op, query string, variables, data any) error {
	ctx, cancel := context.WithTimeout(ctx, i.callTimeout)
	defer cancel()
	body, err := json.Marshal(struct {
		Query     string `json:"query"`
		Variables any    `json:"variables,omitempty"`
	}{query, variables})
	if err != nil {
		return &adapter.APIError{
			Op: op, Reason: mapping.ReasonInternalError, Message: err.Error(), Err: err, Unprocessed: true,
		}
	}
	request := i.newPost(ctx, "graphql", "application/json", io.NopCloser(bytes.NewReader(body)))
	request.ContentLength = int64(len(body))
	// The transport sends a POST a second time only if nothing of it was written.
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	response, err := do(i.here, op, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if !succeeded(response.StatusCode) {
		return i.secrets.clean(refusal(op, response))
	}
	text, err := readAll(ctx, op, response, maxGraphQLAnswer)
	if err != nil {
		return err
	}
	if failure := readAnswer(op, response, text, data); failure != nil {
		return i.secrets.clean(failure)
	}
	return nil
}

// graphQLError is one of an answer's errors.
type graphQLError struct {
	Message    string            `json:"message"`
	Extensions graphQLExtensions `json:"extensions"`
}

type graphQLExtensions struct {
	APIError       *apiError `json:"apiError"`
	Classification string    `json:"classification"`
}

// readAnswer reads an answer of GraphQL, whose HTTP status is a success even if the call failed. SaaSquatch puts its
// error into errors[].extensions.apiError or extensions.apiError. Errors of GraphQL itself have only a message.
func readAnswer(op string, response *http.Response, text []byte, data any) *adapter.APIError {
	var answer struct {
		Data       json.RawMessage `json:"data"`
		Errors     json.RawMessage `json:"errors"`
		Extensions json.RawMessage `json:"extensions"`
	}
	if json.Unmarshal(text, &answer) != nil {
		return unreadable(op, response.StatusCode, "the answer is no JSON object")
	}
	var dataErr error
	if present(answer.Data) {
		dataErr = json.Unmarshal(answer.Data, data)
	}
	// A member of another type than expected leaves the others readable.
	var failures []graphQLError
	_ = json.Unmarshal(answer.Errors, &failures)
	var extensions graphQLExtensions
	_ = json.Unmarshal(answer.Extensions, &extensions)

	var bare apiError // as REST answers
	_ = json.Unmarshal(text, &bare)

	wait := retryAfter(response.Header.Get("Retry-After"), time.Now)
	for _, failure := range failures {
		if failure.Extensions.APIError != nil {
			return failure.apiError(op, wait)
		}
	}
	switch {
	case extensions.APIError != nil:
		return (graphQLError{Extensions: graphQLExtensions{APIError: extensions.APIError}}).apiError(op, wait)
	case len(failures) > 0:
		return failures[0].apiError(op, wait)
	case present(answer.Errors) && string(answer.Errors) != "[]":
		return unreadable(op, response.StatusCode, "the answer's errors are no list")
	case !present(answer.Data) && bare.failed():
		return (graphQLError{Extensions: graphQLExtensions{APIError: &bare}}).apiError(op, wait)
	case !present(answer.Data):
		return unreadable(op, response.StatusCode, "the answer has neither data nor errors")
	case dataErr != nil:
		return unreadable(op, response.StatusCode, "the answer's data is not of the documented form")
	}
	return nil
}

// present reports whether a member is there and not null.
func present(member json.RawMessage) bool { return len(member) > 0 && string(member) != "null" }

// apiError classifies the error. SaaSquatch's own error states a status. Without one, an error in the execution of the
// call counts as a 500, and any other as a fault of the call.
func (e graphQLError) apiError(op string, wait time.Duration) *adapter.APIError {
	failure := apiError{Message: e.Message}
	if e.Extensions.APIError != nil {
		failure = *e.Extensions.APIError
		if failure.Message == "" {
			failure.Message = e.Message
		}
	}
	failure.stated = true
	stated := failure.StatusCode
	if stated < 400 || stated > 599 {
		stated, failure.StatusCode = 0, 0
	}
	status := failure.status()
	if status == 0 {
		status = http.StatusBadRequest
		switch e.Extensions.Classification { // graphql-java's ErrorType
		case "DataFetchingException", "ExecutionAborted", "NullValueInNonNullableField":
			status = http.StatusInternalServerError
		}
	}
	described := failure.apiError(op, status, wait)
	described.Status = stated
	return described
}
