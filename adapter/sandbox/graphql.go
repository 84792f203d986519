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

// Assumed: these limits of a query. They keep it from using up the sandbox's memory.
const (
	maxQueryLength = 64 << 10 // in bytes
	maxQueryDepth  = 20
	maxSelections  = 5000
	maxOverlaps    = 100_000 // comparisons of two selections
)

var schema = graphql.MustParseSchema(schemaText, &resolver{},
	graphql.MaxQueryLength(maxQueryLength),
	graphql.MaxDepth(maxQueryDepth),
	graphql.MaxSelections(maxSelections),
	graphql.OverlapValidationLimit(maxOverlaps),
)

// graphQL answers a GraphQL request. The status is 200 even if an operation fails: then extensions.apiError of an
// error holds the reason, by SaaSquatch's own client code. Assumed: a body that is not a GraphQL request gets a 400,
// and the answer has no apiError at the top level.
func (s *Server) graphQL(t *tenant, a *attempt) answer {
	var request struct {
		Query         string         `json:"query"`
		OperationName string         `json:"operationName"`
		Variables     map[string]any `json:"variables"`
	}
	if err := jsonv2.Unmarshal(a.body, &request); err != nil {
		return badRequest("The body is not a GraphQL request in JSON.").answer(a.scratch)
	}
	if request.Query == "" {
		return badRequest("query is required.").answer(a.scratch)
	}
	s.runJobs()
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
		apiErr := &apiError{http.StatusInternalServerError, "The answer cannot be written.", "INTERNAL_ERROR", "RS014"}
		return apiErr.answer(a.scratch)
	}
	return answer{status: http.StatusOK, body: body}
}

// classify adds a classification to an error that is not from a resolver. The names are those of graphql-java, which
// SaaSquatch's answers suggest. Assumed: such errors have no apiError.
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
type graphQLError struct{ apiErr *apiError }

func (e graphQLError) Error() string { return e.apiErr.message }

// Extensions are the extensions of the error in the answer.
func (e graphQLError) Extensions() map[string]any {
	return map[string]any{
		"apiError": map[string]any{
			"message":      e.apiErr.message,
			"statusCode":   e.apiErr.status,
			"apiErrorCode": e.apiErr.apiErrorCode,
			"rsCode":       e.apiErr.rsCode,
		},
		"classification": "DataFetchingException",
	}
}

// graphQLCall is the context of the resolvers of one request.
type graphQLCall struct {
	server *Server
	tenant *tenant
	origin string // scheme and host of the request
}

type graphQLContext struct{}

func callOf(ctx context.Context) *graphQLCall {
	return ctx.Value(graphQLContext{}).(*graphQLCall)
}
