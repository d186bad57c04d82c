package topology

import (
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

// CodeNotMember says that a hub that was a member is none any more.
const CodeNotMember = "NOT_A_MEMBER"

// sayAgain is after how long the same failure to join is in the log again.
const sayAgain = time.Minute

// seeker is how far this hub has come with finding its group.
type seeker struct {
	was    bool      // it was a member since the start
	lost   time.Time // since when it isn't settled; zero: it is
	said   string    // the newest failure in the log
	saidAt time.Time
}

// seek lets this hub join its group, or begin one with others that wait, and tells the group
// again what this hub is wherever that isn't what the group has. It goes on until Stop.
func (g *Group) seek() {
	var s seeker
	for first := true; first || g.pause(g.ctx, g.t.Retry); first = false {
		if g.problem() != "" {
			return
		}
		g.seekOnce(&s)
	}
}

func (g *Group) seekOnce(s *seeker) {
	switch {
	case g.settled():
		if s.said != "" {
			g.log.Info("this hub is in its group", "cluster", g.State().Cluster)
		}
		*s = seeker{was: true}
		return
	case s.lost.IsZero():
		s.lost = time.Now()
	}
	// Who is a member waits for an election that may be under way, and for what is on its way here.
	if g.server(g.id) != nil && time.Since(s.lost) < g.grace() {
		return
	}
	err := g.ask(s.was)
	if err == nil {
		return
	}
	if text := err.Error(); text != s.said || time.Since(s.saidAt) >= sayAgain {
		s.said, s.saidAt = text, time.Now()
		g.log.Warn("this hub isn't in its group yet, and tries again", "error", err)
	}
}

// grace is how long a member waits before it asks others what is wrong.
func (g *Group) grace() time.Duration {
	if _, leader := g.raft.LeaderWithID(); leader != "" {
		return g.t.Retry / 2
	}
	return 5 * g.t.Heartbeat
}

// settled says whether the group knows this hub as it is.
func (g *Group) settled() bool {
	s, h := g.server(g.id), g.State().Hubs[g.o.NodeID]
	_, leader := g.raft.LeaderWithID()
	return leader != "" && s != nil && s.Address == g.address() && h != nil && *h == g.self()
}

// ask asks the other hubs one after the other for a place. nil: one of them has let
// this hub in, or there is nobody to ask.
func (g *Group) ask(was bool) error {
	var errs []error
	for _, address := range g.others() {
		resp, err := g.askOne(address, was)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("hub at %s: %w", address, err))
		case resp.GetCode() == CodeNotMember:
			g.removed.Store(true)
			g.log.Error("this hub takes no part in the control plane any more; its data path goes on", "error", g.problem())
			return nil
		case resp.GetCode() != "":
			errs = append(errs, fmt.Errorf("hub at %s: %w", address, &Error{Code: resp.GetCode(), Reason: resp.GetReason()}))
		case resp.GetCluster() != "":
			return nil
		default:
			g.waiting.met(resp.GetWaiting(), resp.GetBootstrapExpect(), g.o.NodeID)
		}
	}
	if len(g.servers()) == 0 && (g.expects() > 0 || len(errs) == 0) {
		errs = append(errs, g.beginTogether())
	}
	return errors.Join(errs...)
}

func (g *Group) askOne(address string, was bool) (*dbv1.JoinResponse, error) {
	return g.callJoin(address, &dbv1.JoinRequest{Cluster: g.State().Cluster, Known: was})
}

// callJoin sends a JoinRequest for this hub.
func (g *Group) callJoin(address string, r *dbv1.JoinRequest) (*dbv1.JoinResponse, error) {
	if g.o.Peers == nil {
		return nil, errors.New("it can't be reached: this hub has no way to others")
	}
	hub, err := g.o.Peers.Hubs(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(g.ctx, g.t.IO)
	defer cancel()
	r.Member, r.BootstrapExpect = memberOf(g.self()), g.expects()
	return hub.Join(ctx, r)
}

// expects is with how many hubs this one begins a group; 0: with none.
func (g *Group) expects() uint32 {
	if g.o.BootstrapExpect > 1 {
		return uint32(g.o.BootstrapExpect)
	}
	return 0
}

// others are gRPC addresses of other hubs: those that the configuration names, that the
// state has, and that wait as this one does.
func (g *Group) others() []string {
	all := slices.Clone(g.o.Join)
	for _, h := range g.State().Hubs {
		if h.ID != g.o.NodeID && h.GRPC != "" {
			all = append(all, h.GRPC)
		}
	}
	all = append(all, g.waiting.addresses()...)
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(a string) bool { return a == g.o.GRPC })
}

// Join answers another hub that wants to be in the group, is in it and has something new to
// say of itself, or waits as this one does for a group to begin.
func (g *Group) Join(ctx context.Context, r *dbv1.JoinRequest) (*dbv1.JoinResponse, error) {
	if p := g.problem(); p != "" {
		return nil, status.Error(codes.Unavailable, p)
	}
	h := hubOf(r.GetMember())
	if h.ID == g.o.NodeID && h.Instance != g.o.InstanceID {
		return refusal(g.taken(h.ID)), nil
	}
	if len(g.servers()) == 0 {
		return g.meet(h, r), nil
	}
	if g.term.Load() == nil {
		return g.passOn(ctx, r)
	}
	var refused *Error
	switch err := g.admit(ctx, h, r); {
	case err == nil:
		return &dbv1.JoinResponse{Cluster: g.State().Cluster}, nil
	case errors.As(err, &refused):
		g.log.Warn("a hub isn't let in", "hub", h.ID, "address", h.Raft, "reason", refused.Reason)
		return refusal(refused), nil
	default:
		return nil, status.Error(codes.Unavailable, err.Error())
	}
}

func refusal(e *Error) *dbv1.JoinResponse {
	return &dbv1.JoinResponse{Code: e.Code, Reason: e.Reason}
}

func (g *Group) taken(id string) *Error {
	return refuse(CodeNodeIDTaken, "another hub is called %q and answers: give this one another node_id, or stop the other one for good", id)
}

// passOn asks the leader in the place of who has asked this hub.
func (g *Group) passOn(ctx context.Context, r *dbv1.JoinRequest) (*dbv1.JoinResponse, error) {
	if r.GetForwarded() {
		return nil, status.Error(codes.Unavailable, errNotLeader.Error())
	}
	hub, err := g.leader()
	if err != nil {
		return nil, status.Error(codes.Unavailable, fmt.Sprintf("hub %q can't let anybody in: %v", g.o.NodeID, err))
	}
	r.Forwarded = true
	ctx, cancel := context.WithTimeout(ctx, g.t.IO)
	defer cancel()
	return hub.Join(ctx, r)
}

// admit makes a hub a member, or brings up to date what the group knows of it, as the leader. Each
// step can be the last one before the leadership is lost: the hub asks again then.
func (g *Group) admit(ctx context.Context, h Hub, r *dbv1.JoinRequest) error {
	if err := g.members.take(ctx); err != nil {
		return err
	}
	defer g.members.give()
	if err := checkAdvertised(h.Raft); err != nil {
		return refuse(CodeBadRequest, "%v", err)
	}
	id := serverID(h.ID, h.Instance)
	member := g.server(id)
	if err := g.mayJoin(h, member, r); err != nil {
		return err
	}
	if err := g.replace(ctx, h); err != nil {
		return err
	}
	if err := g.enter(ctx, h); err != nil {
		return err
	}
	var f raft.Future
	switch {
	case member == nil:
		g.log.Info("a hub joins the group", "hub", h.ID, "instance", h.Instance, "address", h.Raft, "version", h.Version)
		f = g.setServer(id, raft.ServerAddress(h.Raft), raft.Nonvoter) // it gets its vote when it has caught up
	case member.Address != raft.ServerAddress(h.Raft):
		f = g.setServer(id, raft.ServerAddress(h.Raft), member.Suffrage)
	case member.Suffrage == raft.Voter && !h.Voter:
		f = g.raft.DemoteVoter(id, 0, g.t.IO)
	default:
		return nil
	}
	return g.await(ctx, f)
}

// mayJoin refuses what can't be a member. member is what the hub is already; nil: nothing.
func (g *Group) mayJoin(h Hub, member *raft.Server, r *dbv1.JoinRequest) error {
	state := g.State()
	switch {
	case member == nil && r.GetKnown():
		return refuse(CodeNotMember, "hub %q was removed from the group: restart it to let it join again", h.ID)
	case member == nil && r.GetCluster() != "" && r.GetCluster() != state.Cluster:
		return refuse(CodeOtherCluster, "hub %q belongs to another group of hubs (%s) than this one (%s): two groups can't be made one; to let it join as a new hub, stop it, move its raft directory away, and start it again", h.ID, r.GetCluster(), state.Cluster)
	case h.ReadsUpTo < state.MinReader:
		return refuse(CodeMemberCannotRead, "hub %q runs version %s, and the group has used %v, which that doesn't know: start a newer version of it", h.ID, h.Version, state.MinReader)
	}
	for _, s := range g.servers() {
		id, instance := splitID(s.ID)
		if id == h.ID && instance != h.Instance && (s.ID == g.id || g.recent(g.link.of(s.ID).at)) {
			return g.taken(h.ID)
		}
		if id != h.ID && s.Address == raft.ServerAddress(h.Raft) {
			return refuse(CodeAddressTaken, "hub %q has the raft address %s: give %q another one, or remove the other hub by 'unisondb operator raft remove-peer %s'", id, h.Raft, h.ID, id)
		}
	}
	if member != nil && member.Suffrage == raft.Voter && !h.Voter {
		if _, err := g.mayLeave(h.ID, h.Instance); err != nil {
			return err
		}
	}
	return state.wouldTake(h)
}

// wouldTake says what the state would refuse a hub for: before anything is done about it.
func (s *State) wouldTake(h Hub) error {
	var err error
	if old := s.Hubs[h.ID]; old != nil && old.Instance != h.Instance {
		if s, err = s.apply(s.Index, RemoveHub{ID: h.ID}); err != nil {
			return err
		}
	}
	_, err = s.apply(s.Index, SetHub{Hub: h})
	return err
}

// replace takes out what a hub was before it lost its data directory.
func (g *Group) replace(ctx context.Context, h Hub) error {
	old := g.State().Hubs[h.ID]
	if old == nil || old.Instance == h.Instance {
		return nil
	}
	g.log.Info("a hub comes back with another data directory, and is a new member", "hub", h.ID, "instance", h.Instance, "before", old.Instance)
	return g.removeHub(ctx, *old)
}

// enter writes a hub into the state. Nothing is proposed meanwhile that its build couldn't
// read, and all that was proposed before is looked at first.
func (g *Group) enter(ctx context.Context, h Hub) error {
	if err := g.gate.take(ctx); err != nil {
		return err
	}
	defer g.gate.give()
	if err := g.await(ctx, g.raft.Barrier(g.t.IO)); err != nil {
		return err
	}
	if min := g.State().MinReader; h.ReadsUpTo < min {
		return refuse(CodeMemberCannotRead, "hub %q runs version %s, and the group has used %v, which that doesn't know: start a newer version of it", h.ID, h.Version, min)
	}
	return g.describe(ctx, h)
}

// memberOf is a hub as it says so to others.
func memberOf(h Hub) *dbv1.Member {
	return &dbv1.Member{
		Id: h.ID, Instance: h.Instance, RaftAddress: h.Raft, GrpcAddress: h.GRPC, Version: h.Version,
		Region: h.Region, Voter: h.Voter, ReadsUpTo: uint32(h.ReadsUpTo),
	}
}

// hubOf is memberOf's reverse.
func hubOf(m *dbv1.Member) Hub {
	return Hub{
		ID: m.GetId(), Instance: m.GetInstance(), Raft: m.GetRaftAddress(), GRPC: m.GetGrpcAddress(), Version: m.GetVersion(),
		Region: m.GetRegion(), Voter: m.GetVoter(), ReadsUpTo: Kind(m.GetReadsUpTo()),
	}
}
