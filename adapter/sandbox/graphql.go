package sandbox

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net/http"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/graph-gophers/graphql-go"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"
)

//go:embed schema.graphql
var schemaText string

// The bounds of a query are assumed; they keep a query from taking the sandbox's
// memory.
const (
	maxQueryLength = 64 << 10 // in bytes
	maxQueryDepth  = 20
	maxSelections  = 5000
	maxOverlaps    = 100_000 // pairs of selections that are compared
)

var schema = graphql.MustParseSchema(schemaText, &resolver{},
	graphql.MaxQueryLength(maxQueryLength),
	graphql.MaxDepth(maxQueryDepth),
	graphql.MaxSelections(maxSelections),
	graphql.OverlapValidationLimit(maxOverlaps),
)

// graphQL carries out the operations of one request. What fails in them is told
// in an answer of 200, in extensions.apiError of an error, by SaaSquatch's own
// client code; a body that is no request at all gets a 400 as elsewhere, which is
// assumed. Whether an apiError also stands at the top level is left open: here
// it does not.
func (s *Server) graphQL(t *tenant, a *attempt) answer {
	var request struct {
		Query         string         `json:"query"`
		OperationName string         `json:"operationName"`
		Variables     map[string]any `json:"variables"`
	}
	if err := jsonv2.Unmarshal(a.body, &request); err != nil {
		return badRequest("The body is no GraphQL request in JSON.").answer(a.scratch)
	}
	if request.Query == "" {
		return badRequest("query is required.").answer(a.scratch)
	}
	s.catchUp()
	scheme := "http"
	if a.request.TLS != nil {
		scheme = "https"
	}
	ctx := context.WithValue(a.request.Context(), graphQLContext{}, &graphQLCall{
		server: s,
		tenant: t,
		origin: scheme + "://" + a.request.Host,
	})
	response := schema.Exec(ctx, request.Query, request.OperationName, request.Variables)
	for _, e := range response.Errors {
		classify(e)
	}
	body, err := json.Marshal(response)
	if err != nil {
		return (&apiError{http.StatusInternalServerError, "The answer cannot be written.", "INTERNAL_ERROR", "RS014"}).answer(a.scratch)
	}
	return answer{status: http.StatusOK, body: body}
}

// classify adds the classification of an error that no resolver made. The names
// are those of graphql-java, which SaaSquatch's answers suggest. Such errors have
// no apiError, which is assumed.
func classify(e *gqlerrors.QueryError) {
	if e.Extensions != nil {
		return
	}
	classification := "ValidationError"
	switch {
	case errors.Is(e, gqlerrors.ErrSyntax):
		classification = "InvalidSyntax"
	case len(e.Path) > 0:
		classification = "DataFetchingException"
	}
	e.Extensions = map[string]any{"classification": classification}
}

// graphQLError is an error of an operation.
type graphQLError struct{ fault *apiError }

func (e graphQLError) Error() string { return e.fault.message }

// Extensions are what the answer says of the error.
func (e graphQLError) Extensions() map[string]any {
	return map[string]any{
		"apiError": map[string]any{
			"message":      e.fault.message,
			"statusCode":   e.fault.status,
			"apiErrorCode": e.fault.apiErrorCode,
			"rsCode":       e.fault.rsCode,
		},
		"classification": "DataFetchingException",
	}
}

// graphQLCall is what the resolvers know of their request.
type graphQLCall struct {
	server *Server
	tenant *tenant
	origin string // scheme and host as the client wrote them
}

type graphQLContext struct{}

func callOf(ctx context.Context) *graphQLCall {
	return ctx.Value(graphQLContext{}).(*graphQLCall)
}
