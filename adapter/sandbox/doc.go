// Package sandbox simulates the part of SaaSquatch (impact.com Advocate) that segment-saasquatch calls: Track User
// Event; create, upsert and look-up of a user; the same for several events or users by GraphQL; and import jobs of
// events and users. It checks requests by SaaSquatch's published rules, keeps the accepted events, and injects faults
// on demand.
//
// It is an independent judge: it shares no code with the mapping or with the client, and has its own copy of every
// limit.
//
//	POST /api/v1/{tenant}/open/account/{accountId}/user/{userId}/events
//	PUT  /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//	POST /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//	GET  /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//	POST /api/v1/{tenant}/export/upload                        a file for import
//	POST /api/v1/{tenant}/graphql                              see schema.graphql
//	GET  /api/v1/{tenant}/export/{jobId}/download/{file}       a file of a job
//
//	GET  /_sandbox/        the pages below for a person, refreshed every few seconds
//	GET  /_sandbox/events  accepted events; limit=, key=, user=; JSON or NDJSON
//	GET  /_sandbox/stats   counters
//	POST /_sandbox/reset   removes all state
//	POST /_sandbox/clock   {"advance":"25h"} moves the sandbox's clock
//	POST /_sandbox/do-not-track  {"accountId":"a","userId":"u"} deletes and marks a user
//
// The sandbox follows SaaSquatch's API definition, its JSON schemas (in the words of schema.json) and its pages on
// idempotency, user segmentation, custom fields and errors to the letter. Comments mark with "assumed" each decision
// about what SaaSquatch leaves open. Of several possible answers the sandbox gives the one that is harder on the
// client: a request that passes here relies only on published rules.
//
// An accepted request is processed within the call. There is no program and no webhook. Import jobs take their time by
// the sandbox's clock. A look at a job, an event, a counter or a page brings them up to date first. Only uploads and
// the results of jobs are written to disk, in files without a name that vanish with the process.
package sandbox
