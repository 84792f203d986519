package sandbox

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net/http"

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
	graphql.DisableFieldSelections(), // no resolver asks for them
)

// graphQL answers a GraphQL request. The status is 200 even if an operation fails: then extensions.apiError of an
// error holds the reason, by SaaSquatch's own client code. Assumed: the answer has no apiError at the top level, and a
// call with several inputs in a body that is too large gets a 413.
//
// A lost attempt has no effect, except to use up keys with BurnKeys.
func (s *Server) graphQL(t *tenant, a *attempt) answer {
	request := a.graphQL
	if a.graphQLErr != nil {
		return a.graphQLErr.answer(a.scratch)
	}
	if request.bulk && int64(len(a.body)) > s.bulkBytes {
		return tooLarge(s.bulkBytes).answer(a.scratch)
	}
	if !a.lost {
		s.runJobs()
	}
	scheme := "http"
	if a.request.TLS != nil {
		scheme = "https"
	}
	// A real server does not notice that its client has given up.
	ctx := context.WithValue(context.WithoutCancel(a.request.Context()), graphQLContext{}, &graphQLCall{
		server: s,
		tenant: t,
		origin: scheme + "://" + a.request.Host,
		lost:   a.lost,
	})
	response := schema.Exec(ctx, request.query, request.operationName, request.variables)
	if request.bulk {
		var changed bool
		if response.Data, changed = s.injector.changeLists(response.Data); changed {
			s.counts.Load().listsChanged.Add(1)
		}
	}
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
	// lost says that the call must have no effect. See attempt.
	lost bool
}

// errLost is the result of a mutation in a lost attempt. No client receives it.
var errLost = graphQLError{&apiError{http.StatusInternalServerError, "A fault precedes the mutation.", "LOST", ""}}

type graphQLContext struct{}

func callOf(ctx context.Context) *graphQLCall {
	return ctx.Value(graphQLContext{}).(*graphQLCall)
}
