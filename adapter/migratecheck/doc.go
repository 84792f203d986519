// Package migratecheck compares the names that a SaaSquatch tenant has seen with the names that a configuration would
// send. It prepares a move from SaaSquatch's own Segment integration to this adapter.
//
//	events ──► mapping ──► Survey ──┐
//	                                ├──► Compare ──► Report
//	tenant ──► its lists ► Vocabulary ┘
//
// SaaSquatch's integration makes camelCase event keys by unpublished rules, and a program that waits for
// signup_completed never sees signupCompleted. Only a tenant that has used the integration shows the resulting names.
// Running both side by side would hide the difference: both send the same idempotency key, and only the first counts.
//
// Only names are compared. Names that differ in letter case and signs alone may mean the same, but a person has to
// decide that.
package migratecheck
