// Package replay takes the events of Segment archives to SaaSquatch, once each.
//
//	archive.Reader ──► blocks of lines ──► filter and mapping, on all processors
//	                                               │ in order
//	                    ┌──────────────────────────┼───────────────────┐
//	                    ▼                          ▼                   ▼
//	                  Count                     Deliver             Import
//	              (a dry run)          (the store's queue)     (import jobs)
//
// What a run has done stands in a store, in the same transaction as the events
// that were stored: the place in every object up to which it has come. So a run
// can be ended anywhere, and whoever resumes it goes on at that very line.
package replay
