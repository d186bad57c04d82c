package replicator

import (
	"sync/atomic"
	"time"
)

// FollowerStatus is how one follower of a namespace does, as its source sees it.
type FollowerStatus struct {
	Namespace   string
	NodeID      string
	Since       time.Time // start of the stream
	SentLSN     uint64
	ReceivedLSN uint64
	DurableLSN  uint64 // at the follower
	AppliedLSN  uint64 // visible to the follower's readers
}

// follower is a stream that a Source serves. The sending goroutine writes
// sent, the receiving one the rest.
type follower struct {
	namespace, nodeID string
	since             time.Time

	sent, received, durable, applied atomic.Uint64
}

func (f *follower) status() FollowerStatus {
	return FollowerStatus{
		Namespace: f.namespace, NodeID: f.nodeID, Since: f.since,
		SentLSN: f.sent.Load(), ReceivedLSN: f.received.Load(),
		DurableLSN: f.durable.Load(), AppliedLSN: f.applied.Load(),
	}
}
