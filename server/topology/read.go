package topology

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Sync answers a state that is as new as the call, or newer, wherever the leader is:
// ErrNoLeader where none can be reached in time.
func (g *Group) Sync(ctx context.Context) (*State, error) {
	var index uint64
	err := g.atLeader(ctx, func(ctx context.Context) (err error) {
		index, err = g.readIndex(ctx)
		return err
	}, func(ctx context.Context, hub dbv1.HubsClient) error {
		resp, err := hub.ReadIndex(ctx, &dbv1.ReadIndexRequest{})
		if err != nil {
			return fmt.Errorf("%w: %w", errNotLeader, err) // a read may be tried again
		}
		index = resp.GetIndex()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return g.reach(ctx, index)
}

// reach waits until this hub's state has an index.
func (g *Group) reach(ctx context.Context, index uint64) (*State, error) {
	if s := g.State(); s.Index >= index {
		return s, nil
	}
	s, err := g.Watch(ctx, index-1)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("this hub is behind its leader, at %d of %d: %w", g.State().Index, index, ErrNoLeader)
	}
	return s, err
}

// ReadIndex answers another hub that takes this one for the leader.
func (g *Group) ReadIndex(ctx context.Context, _ *dbv1.ReadIndexRequest) (*dbv1.ReadIndexResponse, error) {
	index, err := g.readIndex(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &dbv1.ReadIndexResponse{Index: index}, nil
}

// readIndex is the index of the last change that was committed when it was called, or of a later
// one. What is committed is noted first, then most voters say that this hub still led: whatever was
// answered to anybody before the call came from this leader, or from one before its
// term, all of which it has applied. Raft's own check counts every answer that is read, those
// included that lay in a socket while this process was stopped and another hub was elected. So the check is
// repeated until most have answered what was sent after the call.
func (g *Group) readIndex(ctx context.Context) (uint64, error) {
	leads := g.term.Load()
	if leads == nil {
		return 0, errNotLeader
	}
	asked, committed := time.Now(), g.raft.CommitIndex()
	for !g.confirmed(asked, leads.number) {
		if err := g.verify(ctx, asked, leads.number); err != nil {
			return 0, fmt.Errorf("%w: %w", errNotLeader, err)
		}
		if g.term.Load() != leads || g.raft.CurrentTerm() != leads.number {
			return 0, errNotLeader
		}
	}
	if g.term.Load() != leads || g.raft.State() != raft.Leader || g.raft.CurrentTerm() != leads.number {
		return 0, errNotLeader
	}
	return g.lastChange(committed), nil
}

// verify has Raft ask the voters. All who read do it one after the other, and the next finds that it is done: Raft's
// goroutines can be stuck for good with the answers to many questions that nobody waits for any more.
func (g *Group) verify(ctx context.Context, asked time.Time, term uint64) error {
	if err := g.verifying.take(ctx); err != nil {
		return err
	}
	if g.confirmed(asked, term) {
		g.verifying.give()
		return nil
	}
	done := make(chan error, 1)
	asks := g.spawn(func() {
		defer g.verifying.give()
		done <- g.await(context.Background(), g.raft.VerifyLeader()) // it ends with Raft at the latest
	})
	if !asks {
		g.verifying.give()
		return ErrStopped
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// confirmed says whether most voters, this hub included, have answered to this hub as the leader of
// a term what it sent them after a moment.
func (g *Group) confirmed(after time.Time, term uint64) bool {
	voters, confirmed := 0, 0
	for _, s := range g.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if h := g.link.of(s.ID); s.ID == g.id || h.term == term && !h.sent.Before(after) {
			confirmed++
		}
	}
	return 2*confirmed > voters
}

// lastChange is the index of the last command up to an index. Raft's own entries, which a State
// never shows, are passed over.
func (g *Group) lastChange(index uint64) uint64 {
	applied := g.State().Index
	for ; index > applied; index-- {
		var l raft.Log
		if err := g.stores.Log.GetLog(index, &l); err == nil && l.Type == raft.LogCommand {
			return index
		}
	}
	return applied
}

// SaveSnapshot writes the state, as new as the call, in the form that RestoreSnapshot takes.
func (g *Group) SaveSnapshot(ctx context.Context, w io.Writer) error {
	s, err := g.Sync(ctx)
	if err != nil {
		return err
	}
	return s.writeSnapshot(w, g.o.Version)
}

// RestoreSnapshot makes what SaveSnapshot wrote the state. Who the hubs are stays as it is.
// A snapshot of another group is refused, unless force is set.
func (g *Group) RestoreSnapshot(ctx context.Context, r io.Reader, force bool) error {
	b, err := io.ReadAll(io.LimitReader(r, maxRestore+1))
	if err != nil {
		return fmt.Errorf("reading the snapshot: %w", err)
	}
	if len(b) > maxRestore {
		return refuse(CodeTooLarge, "the snapshot has more than %d bytes: is it one of the control plane?", maxRestore)
	}
	info, err := InspectSnapshot(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if _, leader := g.raft.LeaderWithID(); len(b) > maxPassedOn && leader != "" && leader != g.id {
		id, _ := splitID(leader)
		return refuse(CodeTooLarge, "a snapshot of %d bytes is more than hubs pass on to each other, which is %d: restore it at the leader, hub %q", len(b), maxPassedOn, id)
	}
	for _, h := range g.State().Hubs {
		if h.ReadsUpTo < info.MinReader {
			return refuse(CodeMemberCannotRead, "hub %q runs version %s, which doesn't know what the snapshot holds (%v): upgrade it first, or remove it from the group", h.ID, h.Version, info.MinReader)
		}
	}
	_, err = g.Propose(ctx, Restore{Snapshot: b, Force: force})
	return err
}

// maxRestore bounds a snapshot to restore, in bytes: it travels in one message.
const maxRestore = 32 << 20

// maxPassedOn bounds one that another hub has to propose, in bytes: a gRPC listener takes messages
// of 2 MiB, and a command holds a snapshot in base64.
const maxPassedOn = 3 << 19
