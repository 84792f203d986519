// Package archivetest makes Segment archives for tests, with a list of what is in
// them, and starts an S3 server to keep them in. It is imported by tests only.
package archivetest
