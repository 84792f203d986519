package webhook

import (
	"slices"
	"sync"
)

// capacities are the capacities of pooled buffers, in bytes. A larger buffer has a multiple of largeStep, and the
// garbage collector takes it, because no budget counts the memory of idle buffers.
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

// nextCapacity returns the capacity of the buffer that replaces a full one.
func nextCapacity(capacity int64) int64 { return capacityFor(max(2*capacity, capacity+1)) }

// buffers pools the buffers of requests. A request reserves the capacity of its buffer, so a small request never holds
// a large one.
type buffers struct {
	kept [len(capacities)]sync.Pool // of *[]byte
}

// get returns an empty buffer. The capacity is one that capacityFor returns.
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
