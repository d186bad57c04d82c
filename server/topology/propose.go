package topology

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Errors of what needs the leader.
var (
	// ErrNoLeader says that nothing was changed, for want of a leader that could be reached in time.
	ErrNoLeader = errors.New("the group of hubs has no leader that could be reached: look at 'unisondb operator raft list-peers', and try again")
	// ErrOutcomeUnknown says that a change may have been made or not: read what there is, then decide.
	ErrOutcomeUnknown = errors.New("whether the change was made isn't known: look at what there is, then try again")
	// ErrStopped says that this hub takes no part in the group any more.
	ErrStopped = errors.New("this hub's control plane was stopped")
)

// errNotLeader says that nothing was done, and that another hub may be the right one.
var errNotLeader = errors.New("this hub doesn't lead")

// CodeNotLeader is the code of a hub's answer that isn't the leader.
const CodeNotLeader = "NOT_LEADER"

// Propose makes a change, wherever the leader is, and answers its index when it is made there: this
// hub's State has it a moment later, or at once where this hub leads. Errors: an *Error where it was refused,
// ErrNoLeader where it certainly wasn't made, else ErrOutcomeUnknown.
func (g *Group) Propose(ctx context.Context, c Command) (uint64, error) {
	entry, err := Encode(c)
	if err != nil {
		return 0, err
	}
	var index uint64
	err = g.atLeader(ctx, func(ctx context.Context) (err error) {
		index, err = g.propose(ctx, entry)
		return err
	}, func(ctx context.Context, hub dbv1.HubsClient) (err error) {
		index, err = proposeAt(ctx, hub, entry)
		return err
	})
	return index, err
}

// propose adds an entry to the log, as the leader.
func (g *Group) propose(ctx context.Context, entry []byte) (uint64, error) {
	f, err := g.enqueue(ctx, entry)
	if err != nil {
		return 0, err
	}
	return g.outcome(ctx, f)
}

// enqueue hands an entry to Raft, unless a member couldn't read it.
func (g *Group) enqueue(ctx context.Context, entry []byte) (raft.ApplyFuture, error) {
	if err := g.gate.take(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotLeader, err) // nothing was done
	}
	defer g.gate.give()
	if g.term.Load() == nil {
		return nil, errNotLeader
	}
	if err := g.State().readable(entry); err != nil {
		return nil, err
	}
	return g.raft.Apply(entry, g.t.IO), nil
}

// outcome waits for what comes of an entry.
func (g *Group) outcome(ctx context.Context, f raft.ApplyFuture) (uint64, error) {
	switch err := g.await(ctx, f); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return 0, errNotLeader
	default:
		return 0, fmt.Errorf("%w (%w)", ErrOutcomeUnknown, err)
	}
	a, ok := f.Response().(applied)
	switch {
	case !ok:
		return 0, ErrOutcomeUnknown
	case a.refused != nil:
		return f.Index(), a.refused
	}
	return f.Index(), nil
}

// readable refuses an entry that a member's build couldn't read.
func (s *State) readable(entry []byte) error {
	kind, ignorable, err := kindOf(entry)
	if err != nil {
		return err
	}
	for _, h := range s.Hubs {
		if h.ReadsUpTo < kind && !ignorable {
			return refuse(CodeMemberCannotRead, "hub %q runs version %s, which doesn't know %v: upgrade it first, or remove it from the group", h.ID, h.Version, kind)
		}
	}
	_, _, err = decode(entry) // what this build can't read would stop all that are like it
	return err
}

// proposeAt asks another hub to add an entry.
func proposeAt(ctx context.Context, hub dbv1.HubsClient, entry []byte) (uint64, error) {
	var reached peer.Peer
	resp, err := hub.Propose(ctx, &dbv1.ProposeRequest{Command: entry}, grpc.Peer(&reached))
	switch {
	case err != nil && reached.Addr == nil && status.Code(err) == codes.Unavailable:
		return 0, fmt.Errorf("%w: %w", errNotLeader, err) // it never left this hub
	case err != nil:
		return 0, fmt.Errorf("%w (%w)", ErrOutcomeUnknown, err)
	case resp.GetCode() == CodeNotLeader:
		return 0, errNotLeader
	case resp.GetCode() == codeOutcomeUnknown:
		return 0, fmt.Errorf("%w (%s)", ErrOutcomeUnknown, resp.GetReason())
	case resp.GetCode() != "":
		return resp.GetIndex(), &Error{Code: resp.GetCode(), Reason: resp.GetReason()}
	}
	return resp.GetIndex(), nil
}

const codeOutcomeUnknown = "OUTCOME_UNKNOWN"

// ProposeRPC answers another hub that takes this one for the leader.
func (g *Group) ProposeRPC(ctx context.Context, r *dbv1.ProposeRequest) (*dbv1.ProposeResponse, error) {
	index, err := g.propose(ctx, r.GetCommand())
	resp := &dbv1.ProposeResponse{Index: index}
	var refused *Error
	switch {
	case err == nil:
	case errors.As(err, &refused):
		resp.Code, resp.Reason = refused.Code, refused.Reason
	case errors.Is(err, errNotLeader):
		resp.Code, resp.Reason = CodeNotLeader, err.Error()
	default:
		resp.Code, resp.Reason = codeOutcomeUnknown, err.Error()
	}
	return resp, nil
}

// atLeader does something where the leader is: here, or there by a call. Both answer errNotLeader
// where nothing was done and another hub is to be tried; that goes on for as
// long as one may wait for a leader.
func (g *Group) atLeader(ctx context.Context, here func(context.Context) error, there func(context.Context, dbv1.HubsClient) error) error {
	patience, cancel := context.WithTimeout(ctx, g.t.Leader)
	defer cancel()
	for {
		if p := g.problem(); p != "" {
			return fmt.Errorf("%w: %s", ErrNoLeader, p)
		}
		err := g.tryLeader(ctx, here, there)
		if !errors.Is(err, errNotLeader) {
			return err
		}
		select {
		case <-time.After(pollLeader):
		case <-patience.Done():
			return fmt.Errorf("%w (%w)", ErrNoLeader, err)
		case <-g.ctx.Done():
			return ErrStopped
		}
	}
}

func (g *Group) tryLeader(ctx context.Context, here func(context.Context) error, there func(context.Context, dbv1.HubsClient) error) error {
	if g.term.Load() != nil {
		return here(ctx)
	}
	hub, err := g.leader()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, g.t.IO)
	defer cancel()
	return there(ctx, hub)
}

// leader reaches the leader's gRPC listener, where that is another hub.
func (g *Group) leader() (dbv1.HubsClient, error) {
	_, server := g.raft.LeaderWithID()
	if server == "" || server == g.id {
		return nil, fmt.Errorf("%w, and knows of no leader", errNotLeader)
	}
	id, _ := splitID(server)
	h := g.State().Hubs[id]
	if h == nil || h.GRPC == "" || g.o.Peers == nil {
		return nil, fmt.Errorf("%w, and doesn't know where hub %q, which does, is reached by gRPC", errNotLeader, id)
	}
	hub, err := g.o.Peers.Hubs(h.GRPC)
	if err != nil {
		return nil, fmt.Errorf("%w, and can't reach hub %q: %w", errNotLeader, id, err)
	}
	return hub, nil
}
