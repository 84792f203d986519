package saasquatch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

// graphQLErrors are the members of an answer that may say why a call failed, each as it stands in the answer.
type graphQLErrors struct {
	errors, extensions json.RawMessage
	// bare is the error object of REST.
	bare apiError
}

// errNoList means that the member errors is no list.
var errNoList = errors.New("the answer's errors are no list")

// first returns the error that counts, nil if the call has not failed. SaaSquatch puts its error into
// errors[].extensions.apiError or extensions.apiError. Errors of GraphQL itself have only a message. The error object
// of REST counts in an answer without data.
func (e *graphQLErrors) first(data bool) (*graphQLError, error) {
	// A member of another type than expected leaves the others readable.
	var failures []graphQLError
	_ = json.Unmarshal(e.errors, &failures)
	var extensions graphQLExtensions
	_ = json.Unmarshal(e.extensions, &extensions)
	for _, failure := range failures {
		if failure.Extensions.APIError != nil {
			return &failure, nil
		}
	}
	switch {
	case extensions.APIError != nil:
		return &graphQLError{Extensions: graphQLExtensions{APIError: extensions.APIError}}, nil
	case len(failures) > 0:
		return &failures[0], nil
	case present(e.errors) && string(e.errors) != "[]":
		return nil, errNoList
	case !data && e.bare.failed():
		return &graphQLError{Extensions: graphQLExtensions{APIError: &e.bare}}, nil
	}
	return nil, nil
}

// readAnswer reads an answer of GraphQL, whose HTTP status is a success even if the call failed.
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
	failures := graphQLErrors{errors: answer.Errors, extensions: answer.Extensions}
	_ = json.Unmarshal(text, &failures.bare)
	failure, err := failures.first(present(answer.Data))
	switch {
	case err != nil:
		return unreadable(op, response.StatusCode, err.Error())
	case failure != nil:
		return failure.apiError(op, retryAfter(response.Header.Get("Retry-After"), time.Now))
	case !present(answer.Data):
		return unreadable(op, response.StatusCode, "the answer has neither data nor errors")
	case dataErr != nil:
		return unreadable(op, response.StatusCode, "the answer's data is not of the documented form")
	}
	return nil
}

// present reports whether a member is there and not null.
func present(member json.RawMessage) bool { return len(member) > 0 && string(member) != "null" }

// stated returns SaaSquatch's error, and the status by which it counts. SaaSquatch's own error states a status; else
// its StatusCode is 0. Without one, an error in the execution of the call counts as a 500. Any other error of GraphQL
// itself counts as a 400, and any other of SaaSquatch's own has the status 0.
func (e graphQLError) stated() (failure apiError, status int) {
	failure = apiError{Message: e.Message}
	if e.Extensions.APIError != nil {
		failure = *e.Extensions.APIError
		if failure.Message == "" {
			failure.Message = e.Message
		}
	}
	failure.stated = true
	if failure.StatusCode < 400 || failure.StatusCode > 599 {
		failure.StatusCode = 0
	}
	switch status = failure.status(); {
	case status != 0:
	case e.inExecution():
		status = http.StatusInternalServerError
	case e.Extensions.APIError == nil:
		status = http.StatusBadRequest
	}
	return failure, status
}

// inExecution reports whether the error says that it occurred while the call was executed. The classes are those of
// graphql-java's ErrorType.
func (e graphQLError) inExecution() bool {
	switch e.Extensions.Classification {
	case "DataFetchingException", "ExecutionAborted", "NullValueInNonNullableField":
		return true
	}
	return false
}

// apiError classifies the error.
func (e graphQLError) apiError(op string, wait time.Duration) *adapter.APIError {
	failure, status := e.stated()
	described := failure.apiError(op, cmp.Or(status, http.StatusBadRequest), wait)
	described.Status = failure.StatusCode
	return described
}
