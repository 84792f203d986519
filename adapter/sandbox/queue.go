package sandbox

// queue is a first-in-first-out queue that grows and shrinks by chunks, so that no push copies its elements.
type queue[T any] struct {
	chunks [][]T
	head   int // index of the first element in chunks[0]
	length int
}

const chunkSize = 1024

func (q *queue[T]) push(v T) {
	if end := q.head + q.length; end == len(q.chunks)*chunkSize {
		q.chunks = append(q.chunks, make([]T, chunkSize))
	}
	q.length++
	*q.at(q.length - 1) = v
}

// at returns the element with index i, counted from the first.
func (q *queue[T]) at(i int) *T {
	i += q.head
	return &q.chunks[i/chunkSize][i%chunkSize]
}

// pop removes the first element. The queue must not be empty.
func (q *queue[T]) pop() T {
	first := q.at(0)
	v := *first
	var zero T
	*first = zero
	q.length--
	if q.head++; q.head == chunkSize {
		q.chunks[0] = nil
		q.chunks, q.head = q.chunks[1:], 0
	}
	return v
}
