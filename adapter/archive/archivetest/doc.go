// Package archivetest makes Segment archives for tests, with a list of their lines, and
// starts servers of buckets to keep them in: S3, Google Cloud Storage and Azure Blob
// Storage. Only tests import it.
package archivetest
