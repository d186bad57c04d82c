package replicator

import (
	"sync/atomic"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
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
	// Snapshot says that the stream carries a snapshot, and no records: the
	// positions are zero, SentBytes is how much of it was sent.
	Snapshot  bool
	SentBytes uint64
}

// follower is a stream that a Source serves. The sending goroutine writes
// sent, the receiving one the rest.
type follower struct {
	namespace, nodeID string
	since             time.Time
	snapshot          bool
	log               SourceLog      // that is followed
	acks              *namespaceAcks // told of what the follower makes durable

	epoch                            atomic.Uint64 // that the log has reached at least
	sentBytes                        atomic.Uint64 // of a snapshot
	sent, received, durable, applied atomic.Uint64
}

func (f *follower) status() FollowerStatus {
	return FollowerStatus{
		Namespace: f.namespace, NodeID: f.nodeID, Since: f.since,
		SentLSN: f.sent.Load(), ReceivedLSN: f.received.Load(),
		DurableLSN: f.durable.Load(), AppliedLSN: f.applied.Load(),
		Snapshot: f.snapshot, SentBytes: f.sentBytes.Load(),
	}
}

// acknowledged notes how far the follower says it is, and reports whether more
// is durable there than it said before.
func (f *follower) acknowledged(ack *dbv1.Ack) bool {
	f.received.Store(ack.GetReceivedLsn())
	f.applied.Store(ack.GetAppliedLsn())
	durable := ack.GetDurableLsn()
	if f.durable.Swap(durable) >= durable {
		return false
	}
	f.acks.reached(f)
	return true
}

// follows reports whether a record of the position is one of the history that is
// followed, if it has the LSN: a log that was replaced since doesn't reach the epochs of its
// successor.
func (f *follower) follows(at dbkernel.Position) bool {
	if f.epoch.Load() >= at.Epoch {
		return true
	}
	st := f.log.Status()
	if st.Lineage != at.Lineage {
		return false
	}
	f.epoch.Store(st.Epoch)
	return st.Epoch >= at.Epoch
}
