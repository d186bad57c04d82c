package topology

import (
	"errors"
	"io"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// intake is how leaders' requests come to this hub's Raft, which keeps to less than Raft's rules say. It
// rests on two of them: what was applied stands in the log of every later leader, and two logs that have the same entry
// have the same ones before it. So whatever a leader has up to where this hub has applied is what this hub has, too.
type intake struct {
	raft   progress
	stores *Stores
	// installed is the last entry of the snapshot that Raft has installed since its start. Where its log had another
	// one at that index, it goes on comparing with that.
	installed position
	untrimmed bool // the log still has what that snapshot has taken the place of
	log       hclog.Logger
}

// position is an index of the log, and the term of its entry.
type position struct{ index, term uint64 }

// progress is what is asked of Raft. What is applied never falls, nor does the term.
type progress interface {
	AppliedIndex() uint64
	CurrentTerm() uint64
	LastIndex() uint64
}

// takable is a request that Raft makes the right thing of. One of an older term it refuses before it looks at anything
// else. The request itself isn't changed: it may be the leader's own, where both are in one process.
func (in *intake) takable(q *raft.AppendEntriesRequest) *raft.AppendEntriesRequest {
	t := *q
	// What the log has beyond these entries needn't be the leader's, and Raft would apply it.
	t.LeaderCommitIndex = min(t.LeaderCommitIndex, t.PrevLogEntry+uint64(len(t.Entries)))
	applied := in.raft.AppliedIndex()
	if t.PrevLogEntry > applied {
		return &t
	}
	// Up to there the log may have a gap, for the sake of a snapshot, and Raft would refuse what it can't look up.
	for len(t.Entries) > 0 && t.Entries[0].Index <= applied {
		t.Entries = t.Entries[1:]
	}
	if at := (position{t.PrevLogEntry, t.PrevLogTerm}); at == in.installed || !in.finds(at.index) {
		t.PrevLogEntry, t.PrevLogTerm = 0, 0
	}
	return &t
}

// finds says whether Raft can compare an entry: the last one, or one that the log has.
func (in *intake) finds(index uint64) bool {
	var l raft.Log
	return index == in.raft.LastIndex() || !errors.Is(in.stores.Log.GetLog(index, &l), raft.ErrLogNotFound)
}

// has says whether a snapshot has nothing that this hub doesn't. Raft would install it, and lose what lies
// between it and the start of the log, for which this hub has given its word. Raft itself refuses an older term.
func (in *intake) has(q *raft.InstallSnapshotRequest) bool {
	return q.Term >= in.raft.CurrentTerm() && q.LastLogIndex <= in.raft.AppliedIndex()
}

// skip answers a snapshot that isn't needed.
func (in *intake) skip(rpc raft.RPC, q *raft.InstallSnapshotRequest) {
	_, err := io.Copy(io.Discard, rpc.Reader) // the connection goes on behind it
	term := in.raft.CurrentTerm()             // which may have passed meanwhile
	rpc.Respond(&raft.InstallSnapshotResponse{RPCHeader: q.RPCHeader, Term: max(term, q.Term), Success: err == nil && term <= q.Term}, err)
}

// finished is Raft's answer to a request once all of it is done, also what Raft leaves undone.
func (in *intake) finished(request any, a raft.RPCResponse) raft.RPCResponse {
	q, ok := request.(*raft.InstallSnapshotRequest)
	if r, answered := a.Response.(*raft.InstallSnapshotResponse); ok && answered && r.Success {
		in.installed, in.untrimmed = position{q.LastLogIndex, q.LastLogTerm}, true
		a.Error = in.trim()
	}
	return a
}

// trim does what is left to do of the last installation. Until it is done nothing else is taken.
func (in *intake) trim() error {
	if !in.untrimmed {
		return nil
	}
	err := in.stores.trim(in.installed)
	in.untrimmed = err != nil
	if err != nil {
		in.log.Error("the control plane's log can't be brought in line with a snapshot: it is tried again; check the disk", "error", err)
	}
	return err
}
