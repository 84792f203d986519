// Package jsonata evaluates JSONata expressions (https://jsonata.org) over JSON.
//
// People bring the expressions that they have in SaaSquatch's hosted Segment
// integration, so an expression must mean here what it means there. The engine
// is therefore the reference implementation itself, version 2.2.2, which is
// JavaScript and runs in goja, a JavaScript engine in Go: no other process, no
// cgo, no network, no files. SaaSquatch's own library for the JVM, rhino-jsonata,
// is built the same way.
//
// What differs from the reference:
//
//   - Every evaluation is bounded, see [MaxSteps], [Timeout], [MatchTimeout], [MaxDepth],
//     [MaxArray], [MaxText] and [MaxResult]. The caller can end it before.
//   - $toMillis reads a timestamp without a zone as UTC, whatever the machine's zone.
//   - Elements of an array and members of an object are evaluated one after the
//     other, as in versions 1.x, not interleaved. This can be seen only where one
//     of them assigns a variable that another one reads.
//   - Half a surrogate pair in the input, or in the result, becomes U+FFFD.
//
// As in the reference, numbers are IEEE doubles: a number of twenty digits that
// passes through an expression, even untouched inside an object, comes out
// rounded. Identifiers should be strings. The members of an object keep their
// order, except that names which are array indexes ("0", "17") come first, in
// numeric order.
//
// $now and $millis yield the time that is given to [Expression.EvalAt], the same
// at every place of one evaluation. $random and $shuffle are random.
package jsonata
