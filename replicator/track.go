package replicator

import "time"

// track tells how old a state is, from what another node said of itself from
// time to time: "by my clock it is so late, and I have committed so much". A state that
// includes the latter is at least as new as that moment.
type track struct {
	known  bool
	last   beat          // the newest
	at     time.Duration // when it was said, as far as this end knows, by its own clock
	commit uint64        // the newest commit LSN that was heard of
	// marks are beats whose commit LSN this end hadn't reached when they came,
	// oldest first: every one of them, or every stride-th when there are many.
	marks   []mark
	stride  int
	skipped int // beats since the newest mark
	offset  offset
	// freshAt is the moment, by this end's clock, whose state this end has
	// certainly reached. It never goes back.
	freshAt time.Duration
}

// beat is what another node said of itself.
type beat struct {
	stamp  int64 // its clock, in nanoseconds
	commit uint64
}

// mark is a beat and when it came, by this end's clock.
type mark struct {
	beat
	at time.Duration
}

// maxMarks bounds the memory of a sink that is far behind.
const maxMarks = 128

// clockJump tells another clock, or one that was set, from beats that were
// under way for long.
const clockJump = 2 * time.Minute

// forget drops what was said by a clock that doesn't go on.
func (t *track) forget() {
	t.marks, t.offset = nil, offset{}
}

// hear notes a beat, which was said at a moment of this end's clock or shortly before.
func (t *track) hear(b beat, at time.Duration) {
	if !t.known {
		t.known, t.freshAt = true, at
	}
	switch jump := t.offset.jump(b, at); {
	case b == t.last && t.offset.known:
		return // the same word, passed on once more
	case jump > clockJump || jump < -clockJump:
		t.forget()
	case t.offset.known && b.stamp < t.last.stamp:
		if at <= t.at {
			return // an older word, heard by a longer way
		}
		t.forget()
	}
	t.offset.note(b, at)
	t.last, t.at, t.commit = b, at, b.commit
	t.remember(mark{b, at})
}

func (t *track) remember(m mark) {
	if len(t.marks) == 0 {
		t.stride, t.skipped = 1, 0
	}
	if t.skipped++; t.skipped < t.stride {
		return
	}
	if len(t.marks) == maxMarks {
		t.thin()
	}
	t.marks, t.skipped = append(t.marks, m), 0
}

// thin drops every second mark: the age is then known less finely, and never as
// less than it is.
func (t *track) thin() {
	kept := t.marks[:0]
	for i := 0; i < len(t.marks); i += 2 {
		kept = append(kept, t.marks[i])
	}
	t.marks, t.stride = kept, 2*t.stride
}

// catchUp drops the marks that this end has reached and moves freshAt to the
// newest of them.
func (t *track) catchUp(applied uint64) {
	n := 0
	for n < len(t.marks) && t.marks[n].commit <= applied {
		n++
	}
	switch {
	case t.offset.known && t.last.commit <= applied:
		t.fresh(mark{t.last, t.at})
		n = len(t.marks)
	case n > 0:
		t.fresh(t.marks[n-1])
	}
	t.marks = t.marks[n:]
}

// fresh moves freshAt to the moment at which m was said: by the other clock,
// read with the least delay that was seen, and not later than it came.
func (t *track) fresh(m mark) {
	t.freshAt = max(t.freshAt, min(m.at, t.offset.local(m.stamp)))
}

// age is how old the state is; 0 where it is all that the other node has, as
// far as that was heard within patience.
func (t *track) age(now time.Duration, applied uint64, patience time.Duration) time.Duration {
	if t.commit <= applied && now-t.at <= patience {
		return 0
	}
	return max(0, now-t.freshAt)
}

// offset turns moments of another clock into those of this end's: the least
// difference that was seen lately, which has the least of delays in it. Lately is one
// window or two, so that a clock that drifts, or was set a little, is soon read rightly.
type offset struct {
	known           bool
	newest          time.Duration // of the last beat
	least, leastOld time.Duration // in this window, and in the one before
	windowEnds      time.Duration
}

const offsetWindow = 30 * time.Second

func (o *offset) note(b beat, at time.Duration) {
	d := at - time.Duration(b.stamp)
	switch {
	case !o.known:
		*o = offset{known: true, least: d, leastOld: d, windowEnds: at + offsetWindow}
	case at > o.windowEnds:
		o.leastOld, o.least, o.windowEnds = o.least, d, at+offsetWindow
	}
	o.newest, o.least = d, min(o.least, d)
}

// jump is by how much a beat's difference is another one than the last one's.
func (o *offset) jump(b beat, at time.Duration) time.Duration {
	if !o.known {
		return 0
	}
	return at - time.Duration(b.stamp) - o.newest
}

// local is the moment of a stamp by this end's clock.
func (o *offset) local(stamp int64) time.Duration {
	return time.Duration(stamp) + min(o.least, o.leastOld)
}
