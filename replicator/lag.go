package replicator

import (
	"sync"
	"time"
)

// lag computes how far a sink is behind its source. Times of the source are
// compared with each other only, and so are the sink's own: an hour between the two
// clocks changes nothing.
type lag struct {
	now func() time.Time

	mu      sync.Mutex
	applied uint64 // the last record that readers of the sink see
	// marks are heartbeats whose commit LSN the sink hadn't reached when they
	// came, oldest first: every one of them, or every stride-th when there are many.
	marks   []beat
	stride  int
	skipped int  // heartbeats since the newest mark
	last    beat // the newest heartbeat
	// commit is the newest commit LSN of the source that has come.
	commit uint64
	at     time.Time // when it came, by the sink's clock
	every  time.Duration
	// unsent are the bytes that the source had yet to send at the newest
	// heartbeat, less what has come since.
	unsent int64
	held   int64 // bytes of records that came and aren't durable yet
	// freshAt is the moment, by the sink's clock, whose state the sink has
	// certainly reached. It never goes back.
	freshAt time.Time
	known   bool
	live    bool // a stream is up
}

// beat is what a heartbeat said.
type beat struct {
	source time.Time // the source's clock
	commit uint64
}

// maxMarks bounds the memory of a sink that is far behind.
const maxMarks = 128

// begin forgets the clock of the source that was followed before: the one
// that is followed from here on may have another.
func (l *lag) begin(every time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks, l.commit, l.every = nil, 0, every
	l.unsent, l.held, l.live = 0, 0, true
}

// end says that the stream is down.
func (l *lag) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = false
}

// heartbeat notes what the source says of itself.
func (l *lag) heartbeat(b beat, backlog uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if !l.known {
		l.freshAt, l.known = now, true
	}
	l.commit = max(l.commit, b.commit)
	l.last, l.at, l.unsent = b, now, int64(min(backlog, 1<<62))
	l.markLocked(b)
	l.catchUpLocked()
}

// received notes bytes that came, how many of them are of whole records, and the
// commit LSN beside them.
func (l *lag) received(bytes, whole int, commit uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsent = max(0, l.unsent-int64(bytes))
	l.held += int64(whole)
	l.commit = max(l.commit, commit)
}

// reached notes the last record that readers of the sink see, and bytes of
// records that have become durable.
func (l *lag) reached(applied uint64, stored int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = max(0, l.held-int64(stored))
	l.applied = max(l.applied, applied)
	l.catchUpLocked()
}

func (l *lag) markLocked(b beat) {
	if len(l.marks) == 0 {
		l.stride, l.skipped = 1, 0
	}
	if l.skipped++; l.skipped < l.stride {
		return
	}
	if len(l.marks) == maxMarks {
		l.thinLocked()
	}
	l.marks, l.skipped = append(l.marks, b), 0
}

// thinLocked drops every second mark: the lag is then known less finely, and
// never as less than it is.
func (l *lag) thinLocked() {
	kept := l.marks[:0]
	for i := 0; i < len(l.marks); i += 2 {
		kept = append(kept, l.marks[i])
	}
	l.marks, l.stride = kept, 2*l.stride
}

// catchUpLocked drops the marks that the sink has reached and moves freshAt to
// the newest of them.
func (l *lag) catchUpLocked() {
	n := 0
	for n < len(l.marks) && l.marks[n].commit <= l.applied {
		n++
	}
	switch {
	case l.known && l.last.commit <= l.applied:
		l.freshLocked(l.last)
	case n > 0:
		l.freshLocked(l.marks[n-1])
	}
	l.marks = l.marks[n:]
}

// freshLocked moves freshAt to the moment at which the source said b.
func (l *lag) freshLocked(b beat) {
	age := max(0, l.last.source.Sub(b.source))
	if fresh := l.at.Add(-age); fresh.After(l.freshAt) {
		l.freshAt = fresh
	}
}

// LagStatus is how far a sink is behind its source.
type LagStatus struct {
	Known   bool // false until the first heartbeat
	Records uint64
	Bytes   uint64 // about
	// Behind is how old the state is that readers see, compared with the
	// source's. It grows while there is no contact.
	Behind time.Duration
}

// status reports the lag.
func (l *lag) status() LagStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known {
		return LagStatus{}
	}
	s := LagStatus{Known: true}
	if l.commit > l.applied {
		s.Records = l.commit - l.applied
		s.Bytes = uint64(l.unsent + l.held)
	}
	now := l.now()
	if s.Records == 0 && l.live && now.Sub(l.at) <= 2*l.every {
		return s
	}
	s.Behind = max(0, now.Sub(l.freshAt))
	return s
}
