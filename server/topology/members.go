package topology

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// MemberRole is a member's part in the group.
type MemberRole string

// The parts of members.
const (
	Leader   MemberRole = "leader"
	Follower MemberRole = "follower"
	Nonvoter MemberRole = "nonvoter" // hasn't caught up, or is a far hub
)

// Member is a hub with how it does.
type Member struct {
	Hub
	Role    MemberRole
	Healthy bool // the leader has heard of it just before
	// LastContact is how long ago the leader heard of it; negative: never since it leads, or
	// there is no leader to ask.
	LastContact time.Duration
}

// observeTimeout is how long the leader may take to say how the members do.
const observeTimeout = 2 * time.Second

// Members are the hubs as this one knows them, sorted by id, with how they do as the
// leader sees it. Without a leader that can be reached nobody is healthy but this hub itself.
func (g *Group) Members(ctx context.Context) ([]Member, error) {
	health := map[string]*dbv1.MemberHealth{}
	for _, h := range g.askHealth(ctx) {
		health[h.GetId()] = h
	}
	_, leader := g.raft.LeaderWithID()
	state := g.State()
	var members []Member
	for _, s := range g.servers() {
		id, instance := splitID(s.ID)
		m := Member{Hub: Hub{ID: id, Instance: instance, Raft: string(s.Address), Voter: s.Suffrage == raft.Voter}, Role: Follower, LastContact: -1}
		if h := state.Hubs[id]; h != nil && h.Instance == instance {
			m.Hub = *h
		}
		switch {
		case s.ID == leader:
			m.Role = Leader
		case s.Suffrage != raft.Voter:
			m.Role = Nonvoter
		}
		if h := health[id]; h != nil {
			m.Healthy = h.GetHealthy()
			if h.GetLastContactMs() >= 0 {
				m.LastContact = time.Duration(h.GetLastContactMs()) * time.Millisecond
			}
		} else if s.ID == g.id && g.problem() == "" {
			m.Healthy, m.LastContact = true, 0
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return members, nil
}

// askHealth is how the members do, as the leader sees it, or nothing.
func (g *Group) askHealth(ctx context.Context) []*dbv1.MemberHealth {
	if health := g.Health(); health != nil {
		return health
	}
	hub, err := g.leader()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	resp, err := hub.Observe(ctx, &dbv1.ObserveRequest{MembersOnly: true})
	if err != nil {
		g.log.Debug("the leader doesn't say how the members do", "error", err)
	}
	return resp.GetMembers()
}

// Health is how the members do, as the leader sees them; nil on any other hub.
func (g *Group) Health() []*dbv1.MemberHealth {
	if g.term.Load() == nil {
		return nil
	}
	var all []*dbv1.MemberHealth
	for _, s := range g.servers() {
		id, _ := splitID(s.ID)
		h := &dbv1.MemberHealth{Id: id, LastContactMs: -1}
		if s.ID == g.id {
			h.Healthy, h.LastContactMs, h.LastIndex = true, 0, g.raft.LastIndex()
		} else if heard := g.link.of(s.ID); !heard.at.IsZero() {
			h.Healthy, h.LastContactMs, h.LastIndex = g.recent(heard.at), time.Since(heard.at).Milliseconds(), heard.last
		}
		all = append(all, h)
	}
	return all
}

// RemovePeer takes a hub out of the group, wherever the leader is. Refused are unknown hubs, the
// last one with a vote, and whatever would leave fewer voters there than the group needs.
func (g *Group) RemovePeer(ctx context.Context, id string) error {
	r := &dbv1.LeaveRequest{Id: id}
	return g.atLeader(ctx, func(ctx context.Context) error {
		return g.leave(ctx, r)
	}, func(ctx context.Context, hub dbv1.HubsClient) error {
		resp, err := hub.Leave(ctx, r)
		switch {
		case err != nil && status.Code(err) == codes.Unavailable:
			return fmt.Errorf("%w: %w", errNotLeader, err) // removing twice is removing
		case err != nil:
			return fmt.Errorf("%w (%w)", ErrOutcomeUnknown, err)
		case resp.GetCode() == CodeNotLeader:
			return errNotLeader
		case resp.GetCode() != "":
			return &Error{Code: resp.GetCode(), Reason: resp.GetReason()}
		}
		return nil
	})
}

// Leave answers another hub that asks the leader to remove a hub.
func (g *Group) Leave(ctx context.Context, r *dbv1.LeaveRequest) (*dbv1.LeaveResponse, error) {
	var refused *Error
	switch err := g.leave(ctx, r); {
	case err == nil:
		return &dbv1.LeaveResponse{}, nil
	case errors.As(err, &refused):
		return &dbv1.LeaveResponse{Code: refused.Code, Reason: refused.Reason}, nil
	case errors.Is(err, errNotLeader):
		return &dbv1.LeaveResponse{Code: CodeNotLeader, Reason: err.Error()}, nil
	default:
		return nil, status.Error(codes.Unknown, err.Error())
	}
}

// leave removes a hub, as the leader. A leader that is to go itself hands over first: the next
// one removes it.
func (g *Group) leave(ctx context.Context, r *dbv1.LeaveRequest) error {
	if g.term.Load() == nil {
		return errNotLeader
	}
	if err := g.members.take(ctx); err != nil {
		return err
	}
	defer g.members.give()
	h, err := g.mayLeave(r.GetId(), r.GetInstance())
	if err != nil {
		return err
	}
	if serverID(h.ID, h.Instance) == g.id {
		if err := g.await(ctx, g.raft.LeadershipTransfer()); err != nil {
			return fmt.Errorf("handing the leadership over before this hub leaves: %w", err)
		}
		return errNotLeader
	}
	g.log.Info("a hub is removed from the group", "hub", h.ID, "instance", h.Instance)
	return g.removeHub(ctx, h)
}

// mayLeave says which hub it is that is to go, or why it can't.
func (g *Group) mayLeave(id, instance string) (Hub, error) {
	h := g.State().Hubs[id]
	if h == nil || instance != "" && h.Instance != instance {
		return Hub{}, refuse(CodeUnknownHub, "no hub %q is in the group: 'unisondb operator raft list-peers' shows those that are", id)
	}
	s := g.server(serverID(h.ID, h.Instance))
	if s == nil || s.Suffrage != raft.Voter {
		return *h, nil
	}
	voters, healthy := g.census(s.ID)
	switch {
	case voters == 0:
		return Hub{}, refuse(CodeLastVoter, "hub %q is the last one with a vote: without it nobody could change anything: let another hub join first", id)
	case 2*healthy <= voters:
		return Hub{}, refuse(CodeQuorumAtRisk, "without hub %q only %d of %d hubs with a vote would be there, and most of them are needed: bring one that is away back, or remove that one first", id, healthy, voters)
	}
	return *h, nil
}

// CodeQuorumAtRisk refuses what would leave too few voters there.
const CodeQuorumAtRisk = "QUORUM_AT_RISK"

// removeHub takes a hub out: first of the state, which may refuse it, then of Raft's members. A
// leader that is lost in between leaves the second step to the next.
func (g *Group) removeHub(ctx context.Context, h Hub) error {
	if err := g.apply(ctx, RemoveHub{ID: h.ID, Instance: h.Instance}); err != nil {
		return err
	}
	if err := g.await(ctx, g.raft.RemoveServer(serverID(h.ID, h.Instance), 0, g.t.IO)); err != nil {
		return fmt.Errorf("%w (%w)", ErrOutcomeUnknown, err)
	}
	return nil
}
