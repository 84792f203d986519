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
// where the received day is a UTC day as Unix time. All public examples have
// milliseconds; seconds are accepted too. A folder that holds segment-logs/ is the
// root of the layout, and the package reads only segment-logs/ of it. It never lists
// the folders of sources and days that are not wanted, so the cost of reading one day
// does not grow with the archive.
//
// The package also knows a copy of the layout without segment-logs/:
// {source id}/{received day}/, where the day is 00:00 UTC in milliseconds. It reads all
// files in the folder of such a day, as in any other folder.
//
// # Forms
//
// The package decompresses gzip and zstd, which it knows by their magic bytes, up to
// twice. The start of the text decides its form, for the whole object:
//
//   - JSON lines, the usual form: the package returns each line unchanged. A first line
//     that is a complete JSON value, or is broken within a string, means lines.
//   - Entries: the text begins with an array of objects, with an object that continues
//     on the next lines, with several values on its first line, or with the record
//     separator of RFC 7464. The package returns each object as one line, and replaces
//     the ends of lines in it by tabs. Line numbers count entries then.
//
// UTF-16, UTF-32, Parquet, Avro, zip and other formats with a known signature are a
// [FormatError].
//
// # Order
//
// Objects without a received day come first: by location in the given order, and by key
// within a location. The objects of the layout follow by received day, then source, then
// key, over all locations. Neither is the order of events: Segment promises none within
// an object or across objects, and writes files of an old day again months later.
//
// # Damage
//
// A fault of one object is an [ObjectError] of that object; the package reads the others
// nevertheless. It returns the complete lines before the damage. An array that is not
// closed is damaged too. The checksum of a gzip member follows its data. If it does not
// match, the lines of that member have been returned already, and a flipped bit may have
// changed them. [ErrCorrupt] is the only sign of that.
package archive
