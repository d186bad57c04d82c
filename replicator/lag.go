package replicator

import (
	"sync"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// lag computes how far a sink is behind its source, and behind the owner. The
// clocks of others are compared with themselves only, and so is the sink's own: an hour
// between any two of them changes nothing.
type lag struct {
	now func() time.Time

	mu      sync.Mutex
	began   time.Time     // moments of this end's clock are counted from here
	applied uint64        // the last record that readers of the sink see
	source  track         // what the source says of itself
	every   time.Duration // its heartbeats
	live    bool          // a stream is up
	// unsent are the bytes that the source had yet to send at the newest
	// heartbeat, less what has come since.
	unsent int64
	held   int64 // bytes of records that came and aren't durable yet

	owner        track  // what the owner said, as far as the source has heard it
	hops         int    // between the owner and this node
	ownerBacklog uint64 // bytes that the source itself lacks
}

// OwnerReport is what a node knows of the owner of a namespace, and passes on
// to those who follow it.
type OwnerReport struct {
	NodeID string // empty: not known
	// Hops between the owner and this node; 0: this node is the owner, and the
	// rest is left out.
	Hops int
	// Stamp is the owner's clock, in nanoseconds since 1970, when it last said
	// something that got here; 0: nothing has.
	Stamp     int64
	CommitLSN uint64        // the owner's at that moment
	Age       time.Duration // of that moment, as far as the nodes between know
	Backlog   uint64        // about how many bytes this node lacks
}

// tell puts the report into a heartbeat that says the rest already. The owner speaks for itself.
func (o OwnerReport) tell(h *dbv1.Heartbeat) {
	h.Owner = o.NodeID
	switch {
	case o.Hops == 0 && o.NodeID != "":
		h.OwnerTimeUnixNano, h.OwnerCommitLsn = h.GetSourceTimeUnixNano(), h.GetCommitLsn()
	case o.Hops > 0:
		h.Hops = uint32(o.Hops)
		h.OwnerTimeUnixNano, h.OwnerCommitLsn = o.Stamp, o.CommitLSN
		h.OwnerAgeNano, h.OwnerBacklogBytes = int64(o.Age), o.Backlog
	}
}

// steadyClock stamps heartbeats: the clock as it was at first, carried on by
// its monotonic part, so that a clock that is set while the process runs moves nothing.
type steadyClock struct {
	now   func() time.Time
	start time.Time
}

func newSteadyClock(now func() time.Time) steadyClock { return steadyClock{now, now()} }

// stamp is in nanoseconds since 1970.
func (c steadyClock) stamp() int64 { return c.start.UnixNano() + int64(c.now().Sub(c.start)) }

// begin forgets the clock of the source that was followed before: the one that
// is followed from here on may have another. The owner's clock stays.
func (l *lag) begin(every time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.source.forget()
	l.source.commit = 0
	l.every, l.unsent, l.held, l.live = every, 0, 0, true
}

// end says that the stream is down.
func (l *lag) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = false
}

// nowLocked is the moment by this end's clock.
func (l *lag) nowLocked() time.Duration {
	now := l.now()
	if l.began.IsZero() {
		l.began = now
	}
	return now.Sub(l.began)
}

// heartbeat notes what the source says of itself and of the owner.
func (l *lag) heartbeat(h *dbv1.Heartbeat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.nowLocked()
	l.unsent = int64(min(h.GetBacklogBytes(), 1<<62))
	l.source.hear(beat{h.GetSourceTimeUnixNano(), h.GetCommitLsn()}, now)
	if h.GetOwnerTimeUnixNano() != 0 {
		l.hops, l.ownerBacklog = int(min(h.GetHops(), maxHops))+1, min(h.GetOwnerBacklogBytes(), 1<<62)
		age := min(max(time.Duration(h.GetOwnerAgeNano()), 0), maxOwnerAge)
		l.owner.hear(beat{h.GetOwnerTimeUnixNano(), h.GetOwnerCommitLsn()}, now-age)
	}
	l.catchUpLocked()
}

// Bounds of what a heartbeat may say of the owner.
const (
	maxHops     = 1 << 10
	maxOwnerAge = 100 * 365 * 24 * time.Hour
)

// received notes bytes that came, how many of them are of whole records, and the
// commit LSN beside them.
func (l *lag) received(bytes, whole int, commit uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsent = max(0, l.unsent-int64(bytes))
	l.held += int64(whole)
	l.source.commit = max(l.source.commit, commit)
}

// reached notes the last record that readers of the sink see, and bytes of
// records that have become durable.
func (l *lag) reached(applied uint64, stored int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = max(0, l.held-int64(stored))
	l.applied = applied
	l.catchUpLocked()
}

func (l *lag) catchUpLocked() {
	l.source.catchUp(l.applied)
	l.owner.catchUp(l.applied)
}

// LagStatus is how far a sink is behind its source.
type LagStatus struct {
	Known   bool // false until the first heartbeat
	Records uint64
	Bytes   uint64 // about
	// Behind is how old the state is that readers see, compared with the
	// source's. It grows while there is no contact.
	Behind time.Duration
	// Owner is how far the sink is behind the owner, over all hops.
	Owner OwnerLag
}

// OwnerLag is how far a sink is behind the owner of the namespace.
type OwnerLag struct {
	Known   bool // false until the owner was heard of
	Records uint64
	Bytes   uint64 // about
	// Behind is how old the state is that readers see, compared with the
	// owner's. It grows while there is no contact at any hop between.
	Behind time.Duration
	Hops   int // between the owner and this node; 1: the owner is the source
}

// status reports the lag.
func (l *lag) status() LagStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.source.known {
		return LagStatus{}
	}
	now := l.nowLocked()
	s := LagStatus{Known: true, Records: lacking(l.source.commit, l.applied)}
	if s.Records > 0 {
		s.Bytes = uint64(l.unsent + l.held)
	}
	s.Behind = l.source.age(now, l.applied, l.patienceLocked(1))
	s.Owner = l.ownerLocked(now)
	return s
}

func (l *lag) ownerLocked(now time.Duration) OwnerLag {
	if !l.owner.known {
		return OwnerLag{}
	}
	// The source may have told of records that it has heard nothing of the owner since.
	commit := max(l.owner.commit, l.source.commit)
	o := OwnerLag{
		Known: true, Hops: l.hops, Records: lacking(commit, l.applied),
		Behind: l.owner.age(now, l.applied, l.patienceLocked(l.hops)),
	}
	if o.Records > 0 {
		o.Bytes = uint64(l.unsent+l.held) + l.ownerBacklog
	}
	return o
}

// patienceLocked is how old the last word of a node that many hops away may be
// for this one to be in contact with it; 0: there is none.
func (l *lag) patienceLocked(hops int) time.Duration {
	if !l.live {
		return 0
	}
	return 2 * l.every * time.Duration(hops)
}

// report is what this end has heard of the owner, for those who follow this node.
func (l *lag) report() OwnerReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.owner.known {
		return OwnerReport{Hops: 1}
	}
	now := l.nowLocked()
	return OwnerReport{
		Hops: l.hops, Stamp: l.owner.last.stamp, CommitLSN: l.owner.last.commit,
		Age: now - l.owner.at, Backlog: l.ownerLocked(now).Bytes,
	}
}

// lacking is how many records are missing.
func lacking(commit, applied uint64) uint64 {
	return commit - min(applied, commit)
}
