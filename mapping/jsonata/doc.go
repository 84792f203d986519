// Package jsonata evaluates JSONata expressions (https://jsonata.org) over JSON.
//
// Operators bring the expressions of their hosted Segment integration at SaaSquatch, so an expression must mean the
// same here. The engine is therefore the reference implementation, version 2.2.2, in JavaScript. It runs in goja, a
// JavaScript engine in Go: no other process, no cgo, no network, no files. SaaSquatch's own library for the JVM,
// rhino-jsonata, works the same way.
//
// It differs from the reference as follows:
//
//   - Every evaluation has bounds: [MaxSteps], [Timeout], [MatchTimeout], [MaxDepth], [MaxArray], [MaxText] and
//     [MaxResult]. The caller can end it earlier.
//   - $toMillis reads a timestamp without a zone as UTC, in any zone of the machine.
//   - Elements of an array and members of an object are evaluated in order, as in versions 1.x, not interleaved. The
//     results differ only if one of them assigns a variable that another one reads.
//   - Half a surrogate pair in the input or in the result becomes U+FFFD.
//
// As in the reference, numbers are IEEE doubles. An expression rounds a number of twenty digits, even inside an
// object that it does not change. Use strings for identifiers. The members of an object keep their order, but array
// indexes as names ("0", "17") come first, in numeric order.
//
// $now and $millis return the time given to [Expression.Eval], the same everywhere in one evaluation. $random and
// $shuffle are random.
package jsonata
