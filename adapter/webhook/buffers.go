package webhook

import (
	"slices"
	"sync"
)

// capacities are those of buffers that are kept for the next request, in bytes. Larger
// ones have a multiple of the last and are left to the garbage collector: what idle
// buffers hold is in no budget.
var capacities = [...]int64{4 << 10, 16 << 10, 64 << 10, 256 << 10}

const largeStep = 1 << 20

// capacityFor returns the capacity of a buffer for n bytes.
func capacityFor(n int64) int64 {
	for _, capacity := range capacities {
		if n <= capacity {
			return capacity
		}
	}
	return (n + largeStep - 1) / largeStep * largeStep
}

// nextCapacity returns the capacity that follows one that is used up.
func nextCapacity(capacity int64) int64 {
	return capacityFor(max(2*capacity, capacity+1))
}

// buffers keeps the buffers of requests for the next ones. A buffer's capacity is what
// was reserved for it, so that a small request never holds a large one.
type buffers struct {
	kept [len(capacities)]sync.Pool // of *[]byte
}

// get returns an empty buffer of a capacity that capacityFor returns.
func (bs *buffers) get(capacity int64) []byte {
	if class := slices.Index(capacities[:], capacity); class >= 0 {
		if kept, _ := bs.kept[class].Get().(*[]byte); kept != nil {
			return *kept
		}
	}
	return make([]byte, 0, capacity)
}

func (bs *buffers) put(buffer []byte) {
	if class := slices.Index(capacities[:], int64(cap(buffer))); class >= 0 {
		buffer = buffer[:0]
		bs.kept[class].Put(&buffer)
	}
}
