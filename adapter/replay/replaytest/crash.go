package replaytest

import (
	"math/rand/v2"

	"segment-saasquatch/adapter/delivery/deliverytest"
)

// CrashPoints returns the first call at which a test of crashes has its program crash, and the distance to the next
// one. With the environment variable EXPLORE at 3 or more it is every call, by default every third, from a random one
// on.
func CrashPoints() (first, step int) {
	step = max(1, 3/deliverytest.Explore(1))
	return 1 + rand.IntN(step), step
}
