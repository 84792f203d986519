package deliverytest

import (
	"os"
	"strconv"
)

// Explore returns n times the number in the environment variable EXPLORE, by which randomised tests
// go further than by default. Default: n.
func Explore(n int) int {
	factor, err := strconv.Atoi(os.Getenv("EXPLORE"))
	if err != nil || factor < 1 {
		return n
	}
	return n * factor
}
