// Package archive reads Segment archives: it turns locations into objects, and
// objects into complete raw lines. It does not know what the lines mean.
//
// A location is a file, a directory, a glob, - for standard input, or a bucket
// with an optional prefix: s3://bucket/prefix, gs://bucket/prefix,
// azblob://container/prefix.
//
// # Buckets
//
// Buckets are opened with each cloud's usual chain of credentials. Parameters behind a
// question mark change what the chain finds, or the server that is asked, as in
// ?region=eu-west-1 or ?endpoint=http://127.0.0.1:7070&use_path_style=true. Any other
// parameter is an error.
//
//   - S3: region, profile, role (an ARN to assume), anonymous, endpoint, use_path_style
//     (or s3ForcePathStyle), hostname_immutable, disable_https, accelerate, dualstack, fips,
//     rate_limiter_capacity, request_checksum_calculation, response_checksum_validation.
//     awssdk, ssetype and kmskeyid make no difference to reading.
//   - Google Cloud Storage: anonymous (or access_id=-), universe_domain. private_key_path
//     makes no difference to reading. STORAGE_EMULATOR_HOST names another server.
//   - Azure Blob Storage: storage_account, domain, protocol, cdn, localemu. Their defaults
//     are AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_DOMAIN, AZURE_STORAGE_PROTOCOL,
//     AZURE_STORAGE_IS_CDN and AZURE_STORAGE_IS_LOCAL_EMULATOR.
//
// # Layout
//
// Segment's AWS S3 destination writes gzip of newline-delimited JSON to
//
//	[prefix/]segment-logs/{source id}/{received day}/{name}.gz
//
// where the received day is a UTC day as Unix time, in milliseconds in all public
// examples; seconds are taken as well. A folder that holds segment-logs/ is the
// layout's root, and only segment-logs/ is read of it. Within the layout the
// folders of sources and days that are not wanted are never listed, so the costs of
// reading one day do not grow with the archive.
//
// The layout is known without segment-logs/ too, since people copy what is in it:
// {source id}/{received day}/, where the day is 00:00 UTC in milliseconds. All files
// in the folder of such a day are read as those of any other folder are.
//
// # Forms
//
// Gzip and zstd are unpacked, known by their magic bytes, twice at most. The start of
// the text tells its form, once for the whole object:
//
//   - JSON lines, the usual form: each line is taken as it stands, whatever is in it.
//     A first line that is a complete JSON value, or is broken within a string, means
//     lines.
//   - Entries: the text begins with an array of objects, with an object that goes on
//     in the next lines, with several values on its first line, or with the record
//     separator of RFC 7464. Each object is handed on as one line, in which tabs
//     replace the ends of lines. Lines are numbered by entry then.
//
// UTF-16, UTF-32, Parquet, Avro, zip and other formats with a known signature are a
// [FormatError].
//
// # Order
//
// Objects without a received day come first: location by location in the order
// they were given, and in the order of keys within each. The objects of the layout
// follow in the order of their received day, then source, then key, over all
// locations. Neither is the order of events: Segment promises none within an
// object or across objects, and files of an old day are written again months later.
//
// # Damage
//
// What is wrong with one object is an [ObjectError] of that object; the others are
// read all the same. The complete lines before the damage are delivered. An array that
// is not closed is damaged too. A gzip member's checksum stands behind its data, so
// where it does not match, the lines of that member have been delivered already: a
// flipped bit may have changed them. [ErrCorrupt] is the only sign of that.
package archive
