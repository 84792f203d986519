// Package sandbox simulates the part of SaaSquatch (impact.com Advocate) that
// segment-saasquatch speaks to: Track User Event, and create, upsert and look-up
// of a user. It judges requests by SaaSquatch's published rules, keeps what it
// accepted, and injects faults on demand.
//
// It is an independent judge: it shares no code with the mapping or with the
// client, and holds its own copy of every limit.
//
//	POST /api/v1/{tenant}/open/account/{accountId}/user/{userId}/events
//	PUT  /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//	POST /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//	GET  /api/v1/{tenant}/open/account/{accountId}/user/{userId}
//
//	GET  /_sandbox/        the same as below for a person, refreshed every few seconds
//	GET  /_sandbox/events  accepted events; limit=, key=, user=; JSON or NDJSON
//	GET  /_sandbox/stats   counters
//	POST /_sandbox/reset   forget everything
//	POST /_sandbox/clock   {"advance":"25h"} moves the sandbox's clock
//
// What SaaSquatch publishes, in its API definition, its JSON schemas and its
// pages on idempotency, user segmentation, custom fields and errors, is
// simulated to the letter. What it leaves open is decided here and marked
// "assumed" at the place of the decision. Where several answers are possible the
// sandbox takes the one that is harder on the client: a request that passes here
// relies on nothing unpublished.
//
// An accepted request is processed within the call: there is no queue, no
// program and no webhook. Nothing is written to disk.
package sandbox
