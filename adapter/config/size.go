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

// sizeUnits in the order in which they are tried: the empty one is last.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"kib", kibibyte}, {"mib", mebibyte}, {"gib", gibibyte}, {"kb", 1_000}, {"mb", 1_000_000}, {"gb", 1_000_000_000}, {"", 1},
}

// parseSize reads a number of bytes: 1048576, 64KiB, 10MiB, 2GiB, 500KB, 10MB, 2GB.
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
	return 0, fmt.Errorf("is %s: write a size such as 10MiB, 64KiB, 2GiB, 10MB or a whole number of bytes", quote(text))
}

// formatSize writes what parseSize reads.
func formatSize(n int64) string {
	switch {
	case n != 0 && n%gibibyte == 0:
		return strconv.FormatInt(n/gibibyte, 10) + "GiB"
	case n != 0 && n%mebibyte == 0:
		return strconv.FormatInt(n/mebibyte, 10) + "MiB"
	case n != 0 && n%kibibyte == 0:
		return strconv.FormatInt(n/kibibyte, 10) + "KiB"
	default:
		return strconv.FormatInt(n, 10)
	}
}
