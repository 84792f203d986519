// Package replay sends the events of Segment archives to SaaSquatch, each once.
//
//	archive.Reader ──► blocks of lines ──► filter and mapping, on all processors
//	                                               │ in order
//	                    ┌──────────────────────────┼───────────────────┐
//	                    ▼                          ▼                   ▼
//	                  Count                     Deliver              Hold
//	              (a dry run)          (the store's queue)     (import jobs)
//
// A store keeps a checkpoint for each object of the archive. Events and their checkpoint share
// a transaction, so a run can end at any time, and it resumes at the next line.
package replay
