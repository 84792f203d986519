package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	kibibyte = 1 << 10
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// sizeUnits are the units of parseSize. The empty suffix must come last: every text ends with it.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"gib", gibibyte}, {"mib", mebibyte}, {"kib", kibibyte}, {"gb", 1e9}, {"mb", 1e6}, {"kb", 1e3}, {"", 1},
}

// parseSize reads a number of bytes: 1048576, 64KiB, 10MiB, 2GiB, 500KB, 10MB, 2GB.
//
// go-humanize and docker/go-units do not replace it. TestParseSize shows texts that they accept and parseSize refuses:
// 1.5MiB, 1TiB, 1B, and sizes above the largest int64. They refuse negative sizes, which Validate reports with the
// size that is allowed.
func parseSize(text string) (int64, error) {
	lower := strings.ToLower(strings.TrimSpace(text))
	for _, unit := range sizeUnits {
		number, ok := strings.CutSuffix(lower, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n > math.MaxInt64/unit.bytes || n < math.MinInt64/unit.bytes {
			break
		}
		return n * unit.bytes, nil
	}
	const remedy = "write a size such as 10MiB, 64KiB, 2GiB, 10MB or a whole number of bytes"
	return 0, fmt.Errorf("is %s: %s", quote(text), remedy)
}

// formatSize writes a text that parseSize reads.
func formatSize(n int64) string {
	for i, suffix := range []string{"GiB", "MiB", "KiB"} {
		if bytes := sizeUnits[i].bytes; n != 0 && n%bytes == 0 {
			return strconv.FormatInt(n/bytes, 10) + suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
