// Package migratecheck compares the names that a SaaSquatch tenant has seen with those
// that a configuration would send, for a move from SaaSquatch's own Segment
// integration to this adapter.
//
//	events ──► mapping ──► Survey ──┐
//	                                ├──► Compare ──► Report
//	tenant ──► its lists ► Vocabulary ┘
//
// SaaSquatch's integration makes event keys by a camelCase whose rules are not
// published, and a program that waits for signup_completed never sees
// signupCompleted. What the integration made of a name shows in a tenant that has
// used it, and nowhere else: a run of both beside each other would hide it, since
// both send the same idempotency key and only the first of them counts.
//
// It is a comparison of names only. That two names which differ in letter case and
// signs alone mean the same is a guess, which a person has to judge.
package migratecheck
