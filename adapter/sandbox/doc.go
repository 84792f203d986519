// Package sandbox simulates the part of SaaSquatch (impact.com Advocate) that
// segment-saasquatch speaks to: Track User Event, create, upsert and look-up of a
// user, and bulk imports of events and users by jobs. It judges requests by SaaSquatch's published rules, keeps what it
// accepted, and injects faults on demand.
//
// It is an independent judge: it shares no code with the mapping or with the
// client, and holds its own copy of every limit.
//
//	POST /api/v1/{tenant}/open/account/{accountId}/user/{userId}/events
//	PUT  /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//	POST /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//	GET  /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//	POST /api/v1/{tenant}/export/upload                        a file for import
//	POST /api/v1/{tenant}/graphql                              see schema.graphql
//	GET  /api/v1/{tenant}/export/{jobId}/download/{file}       where a job's links lead
//
//	GET  /_sandbox/        the same as below for a person, refreshed every few seconds
//	GET  /_sandbox/events  accepted events; limit=, key=, user=; JSON or NDJSON
//	GET  /_sandbox/stats   counters
//	POST /_sandbox/reset   forget everything
//	POST /_sandbox/clock   {"advance":"25h"} moves the sandbox's clock
//	POST /_sandbox/do-not-track  {"accountId":"a","userId":"u"} deletes and marks a user
//
// What SaaSquatch publishes, in its API definition, its JSON schemas and its
// pages on idempotency, user segmentation, custom fields and errors, is
// simulated to the letter. What it leaves open is decided here and marked
// "assumed" at the place of the decision. Where several answers are possible the
// sandbox takes the one that is harder on the client: a request that passes here
// relies on nothing unpublished.
//
// An accepted request is processed within the call; there is no program and no
// webhook. Import jobs take their time by the sandbox's clock, and are carried out
// as far as they have come whenever someone looks: at a job, an event, a counter
// or a page. Only uploads and the results of jobs are written to disk, in files
// without a name that end with the process.
package sandbox
