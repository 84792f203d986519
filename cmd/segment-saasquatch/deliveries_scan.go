package main

import (
	"context"
	"fmt"

	"segment-saasquatch/adapter"
)

// noteScan says beforehand that a filter goes through many deliveries. An error is left to
// the operation itself.
func (p *program) noteScan(ctx context.Context, o adapter.Operations, filter adapter.Filter) {
	scan, err := o.Scans(ctx, filter)
	if err != nil || scan.Deliveries == 0 {
		return
	}
	switch {
	case scan.Indexing:
		fmt.Fprintf(p.stderr, "note: this scans up to %d deliveries, since the server still indexes those of an "+
			"earlier version; add --since, or try it later\n", scan.Deliveries)
	case !filter.Since.IsZero() || !filter.Until.IsZero():
		fmt.Fprintf(p.stderr, "note: this scans up to %d deliveries; a shorter time makes it faster\n", scan.Deliveries)
	default:
		fmt.Fprintf(p.stderr, "note: this scans up to %d deliveries; add --since\n", scan.Deliveries)
	}
}
