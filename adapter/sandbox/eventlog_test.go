package sandbox

import "testing"

// TestEventLogIsBoundedBySize tests the log itself, because filling it by requests takes too long.
func TestEventLogIsBoundedBySize(t *testing.T) {
	var l eventLog
	fields := make([]byte, 1<<20)
	for range 300 {
		l.add(Event{Fields: fields}, 1000)
	}
	if kept := l.all(); len(kept) != 256 || kept[0].Seq != 45 || kept[255].Seq != 300 {
		t.Errorf("%d events are kept, from %d", len(kept), kept[0].Seq)
	}
	// One event is kept, however large.
	l.add(Event{Fields: make([]byte, maxLogBytes+1)}, 1000)
	if kept := l.all(); len(kept) != 1 || kept[0].Seq != 301 {
		t.Errorf("%d events are kept", len(kept))
	}
	l.add(Event{}, 1000)
	if kept := l.all(); len(kept) != 1 || kept[0].Seq != 302 || l.size != 0 {
		t.Errorf("%d events of %d bytes are kept", len(kept), l.size)
	}
}
