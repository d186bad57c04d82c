package topology

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// TestExpect: hubs that wait for each other begin one group, however they find each other.
func TestExpect(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	wait := func(join ...string) func(*Options) {
		return func(o *Options) { o.BootstrapExpect, o.Join = 3, join }
	}
	// a and c know b alone; b knows nobody but itself and who asks.
	for id, join := range map[string]string{"hub-a": "grpc-hub-b", "hub-b": "grpc-hub-b", "hub-c": "grpc-hub-b"} {
		f.add(id, wait(join)).start()
	}
	f.awaitVoters(3)
	f.converge()
	clusters := map[string]bool{}
	for _, h := range f.hubs {
		clusters[h.State().Cluster] = true
	}
	if len(clusters) != 1 || clusters[""] {
		t.Errorf("clusters: %v", clusters)
	}
	// All of them again: nobody begins anything.
	for _, h := range f.hubs {
		h.kill()
	}
	for _, h := range f.hubs {
		h.start()
	}
	f.awaitVoters(3)
	f.converge()
	for _, h := range f.hubs {
		if !clusters[h.State().Cluster] {
			t.Errorf("another group after a restart")
		}
	}
}

// TestExpectWaits: with fewer hubs than expected, with more, or with other numbers, no group
// begins, and the log says why.
func TestExpectWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		others []uint32 // what they expect
		want   string
	}{
		"fewer":  {[]uint32{3}, "2 of the 3 hubs"},
		"more":   {[]uint32{3, 3, 3}, "4 hubs wait to begin a group, and bootstrap_expect is 3"},
		"other":  {[]uint32{3, 5}, `hub "hub-c" has bootstrap_expect = 5, and this one 3`},
		"second": {[]uint32{3, 3}, `hub "hub-a" doesn't answer`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTCPHubs(t)
			h := f.add("hub-a", func(o *Options) {
				o.BootstrapExpect, o.Join, o.Timeouts.Retry = 3, []string{"grpc-nobody"}, time.Hour
				if name == "second" {
					o.NodeID = "hub-0"
				}
			}).start()
			for i, n := range tt.others {
				r := joining(string(rune('b'+i)), "i", "127.0.0.1:9")
				r.Member.Id, r.BootstrapExpect = "hub-"+r.Member.Id, n
				if name == "second" && i == 0 {
					r.Member.Id = "hub-a"
				}
				resp, err := h.Group.Join(within(t), r)
				if err != nil || resp.GetCluster() != "" || len(resp.GetWaiting()) != i+2 || resp.GetBootstrapExpect() != 3 {
					t.Fatalf("%v, %v", resp, err)
				}
			}
			if err := h.beginTogether(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it says %v, and not %q", err, tt.want)
			}
			if s := h.State(); s.Cluster != "" || s.Index != 0 || len(h.servers()) != 0 {
				t.Errorf("a group has begun: %+v", s)
			}
		})
	}
}

// TestPromisesBind: a hub goes to one group alone, also after a restart; a hub that was wiped
// before it began one is let off.
func TestPromisesBind(t *testing.T) {
	f := newTCPHubs(t)
	h := f.add("hub-b", func(o *Options) {
		o.BootstrapExpect, o.Join, o.Timeouts.Retry = 3, []string{"grpc-nobody"}, time.Hour
	}).start()
	begins := func(id, instance, cluster string) *dbv1.JoinResponse {
		t.Helper()
		resp, err := h.Group.Join(within(t), &dbv1.JoinRequest{Member: &dbv1.Member{Id: id, Instance: instance}, BootstrapExpect: 3, Begins: cluster})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if r := begins("hub-a", "1", "X"); !r.GetPromised() {
		t.Fatalf("%v", r)
	}
	h.kill()
	h.start()
	if r := begins("hub-c", "3", "Y"); r.GetPromised() || r.GetCode() != CodeAlreadyBootstrapped || !strings.Contains(r.GetReason(), "hub-a") {
		t.Errorf("two groups are promised: %v", r)
	}
	if r := begins("hub-a", "1", "X"); !r.GetPromised() {
		t.Errorf("the same again: %v", r)
	}
	if r := begins("hub-a", "wiped", "Z"); !r.GetPromised() {
		t.Errorf("a wiped hub: %v", r)
	}
	if _, err := h.vowToSelf(); CodeOf(err) != CodeAlreadyBootstrapped {
		t.Errorf("it begins a group itself: %v", err)
	}
}

// joining is what a hub asks that wants to be a member.
func joining(id, instance, address string) *dbv1.JoinRequest {
	return &dbv1.JoinRequest{Member: &dbv1.Member{
		Id: id, Instance: instance, RaftAddress: address, GrpcAddress: "grpc-" + id, Version: "test", Voter: true, ReadsUpTo: uint32(newest),
	}}
}

// TestWhoIsNotLetIn: each bad request to join is refused in words, by whichever hub is asked, and
// nothing changes.
func TestWhoIsNotLetIn(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(3, nil)
	f.converge()
	taken := f.other().NodeID
	address := f.hubs[taken].Address
	for _, tt := range []struct {
		name   string
		change func(*dbv1.JoinRequest)
		code   string
		words  string
	}{
		{"a node id used twice", func(r *dbv1.JoinRequest) { r.Member.Id = taken }, CodeNodeIDTaken, "another node_id"},
		{"the leader's node id", func(r *dbv1.JoinRequest) { r.Member.Id = f.awaitLeader().NodeID }, CodeNodeIDTaken, "another node_id"},
		{"an address used twice", func(r *dbv1.JoinRequest) { r.Member.RaftAddress = address }, CodeAddressTaken, taken},
		{"another group", func(r *dbv1.JoinRequest) { r.Cluster = strings.Repeat("a", 32) }, CodeOtherCluster, "move its raft directory away"},
		{"an old build", func(r *dbv1.JoinRequest) { r.Member.ReadsUpTo = 1 }, CodeMemberCannotRead, "newer version"},
		{"a removed hub", func(r *dbv1.JoinRequest) { r.Known = true }, CodeNotMember, "restart it"},
		{"no address", func(r *dbv1.JoinRequest) { r.Member.RaftAddress = "" }, CodeBadRequest, "host:port"},
		{"any address", func(r *dbv1.JoinRequest) { r.Member.RaftAddress = "0.0.0.0:7" }, CodeBadRequest, "advertise"},
		{"no name", func(r *dbv1.JoinRequest) { r.Member.Id = "a b" }, CodeInvalidName, "node id"},
		{"no instance", func(r *dbv1.JoinRequest) { r.Member.Instance = "" }, CodeBadRequest, "instance"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for id, h := range f.hubs {
				before, servers := h.State(), h.servers()
				r := joining("hub-9", strings.Repeat("9", 32), "127.0.0.1:9")
				tt.change(r)
				var resp *dbv1.JoinResponse
				await(t, "the leader answers", func() (done bool) {
					var err error
					resp, err = h.Group.Join(within(t), r)
					r.Forwarded = false
					return err == nil
				})
				if resp.GetCode() != tt.code || !strings.Contains(resp.GetReason(), tt.words) {
					t.Errorf("%s answers %v", id, resp)
				}
				if d := cmp.Diff(content(t, before), content(t, h.State())); d != "" {
					t.Errorf("%s: the state has changed:\n%s", id, d)
				}
				if d := cmp.Diff(servers, h.servers()); d != "" {
					t.Errorf("%s: the members have changed:\n%s", id, d)
				}
			}
		})
	}
}

// content is a state without where it stands in the log.
func content(t *testing.T, s *State) string {
	t.Helper()
	c := *s
	c.Index, c.Chain, c.MinReader = 0, Hash{}, 0
	b, err := c.body()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWhoIsNotRemoved: what can't go stays, and nothing changes.
func TestWhoIsNotRemoved(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(2, nil)
	h := f.other()
	if err := h.RemovePeer(within(t), "hub-9"); CodeOf(err) != CodeUnknownHub || !strings.Contains(err.Error(), "hub-9") {
		t.Errorf("unknown: %v", err)
	}
	if err := h.TransferLeader(within(t), "hub-9"); CodeOf(err) != CodeUnknownHub {
		t.Errorf("unknown: %v", err)
	}
	// A third one that is away: of the two that are left both are needed.
	f.add("hub-3", func(o *Options) { o.Join = []string{"grpc-hub-1"} }).start()
	f.awaitVoters(3)
	leader := f.awaitLeader()
	away := f.other()
	away.kill()
	await(t, "the leader misses a hub", func() bool { _, healthy := leader.census(""); return healthy == 2 })
	for id, h := range f.hubs {
		if h == away {
			continue
		}
		before := content(t, leader.State())
		if err := leader.RemovePeer(within(t), id); CodeOf(err) != CodeQuorumAtRisk {
			t.Errorf("removing %s while %s is away: %v", id, away.NodeID, err)
		}
		if d := cmp.Diff(before, content(t, leader.State())); d != "" {
			t.Errorf("the state has changed:\n%s", d)
		}
	}
	// The one that is away may go; then one more; then nobody.
	if err := leader.RemovePeer(within(t), away.NodeID); err != nil {
		t.Fatal(err)
	}
	if err := leader.RemovePeer(within(t), leader.NodeID); err != nil {
		t.Fatalf("the leader: %v", err)
	}
	last := f.awaitLeader()
	await(t, "one is left", func() bool { return last.voters() == 1 })
	if err := last.RemovePeer(within(t), last.NodeID); CodeOf(err) != CodeLastVoter {
		t.Errorf("the last voter: %v", err)
	}
	if err := last.TransferLeader(within(t), ""); CodeOf(err) != CodeLastVoter {
		t.Errorf("the last voter's leadership: %v", err)
	}
	await(t, "who was removed says so", func() bool { return strings.Contains(leader.Freshness().Problem, "removed") })
	if _, err := leader.Propose(within(t), someNamespace("x")); !errors.Is(err, ErrNoLeader) {
		t.Errorf("a removed hub proposes: %v", err)
	}
	// Started again, it joins again.
	leader.kill()
	leader.Options.Join = []string{last.GRPC}
	leader.start()
	await(t, "it is a member again", func() bool { return last.voters() == 2 && leader.settled() })
}

// TestWipedMember: a hub that has lost its directory is no member by its name and address; it joins
// as another, and takes nobody's vote meanwhile.
func TestWipedMember(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(3, func(o *Options) { o.SnapshotThreshold, o.TrailingLogs = 8, 2 })
	leader := f.awaitLeader()
	for i := range 30 {
		if _, err := leader.Propose(within(t), someNamespace(fmt.Sprint("ns-", i))); err != nil {
			t.Fatal(err)
		}
	}
	h := f.other()
	old := h.id
	h.kill()
	h.wipe()
	h.Options.Join = []string{leader.GRPC}
	h.start()
	await(t, "the wiped hub is a member again", func() bool {
		return leader.server(old) == nil && leader.voters() == 3 && h.settled()
	})
	f.converge()
	if got := h.State().Hubs[h.NodeID]; got == nil || got.Instance != h.InstanceID {
		t.Errorf("%+v", got)
	}
	if list, err := h.stores.Snapshots.List(); err != nil || len(list) == 0 {
		t.Errorf("it got no snapshot: %v", err)
	}
	// And restarted it goes on from that.
	h.kill()
	h.start()
	if len(h.State().Namespaces) != 30 {
		t.Errorf("after a restart it has %d namespaces", len(h.State().Namespaces))
	}
}

// TestWipedMemberTakesNoVote: messages to a member don't reach the hub that has its address
// and no longer is it.
func TestWipedMemberTakesNoVote(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(2, nil)
	leader, h := f.awaitLeader(), f.other()
	h.kill()
	h.wipe()
	h.Options.Join, h.Peers = []string{"grpc-nobody"}, newExchange() // it finds nobody
	h.start()
	await(t, "the leader gives up", func() bool { return leader.Freshness().IsLeader == false })
	ctx, cancel := context.WithTimeout(t.Context(), 3*leader.t.Heartbeat)
	defer cancel()
	if _, err := leader.Propose(ctx, someNamespace("x")); !errors.Is(err, ErrNoLeader) {
		t.Errorf("the wiped hub counts for the one that it was: %v", err)
	}
	if h.raft.LastIndex() != 0 || h.State().Index != 0 {
		t.Errorf("the wiped hub was sent entries of the one that it was")
	}
}

// TestFarHub: a hub without a vote follows, and never gets one.
func TestFarHub(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(1, nil)
	far := f.add("hub-far", func(o *Options) { o.Join, o.Voter = []string{"grpc-hub-1"}, false }).start()
	await(t, "it is in the group", far.settled)
	if _, err := far.Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	leader := f.awaitLeader()
	if _, err := leader.Sync(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := leader.tidy(within(t)); err != nil {
		t.Fatal(err)
	}
	members, err := far.Members(within(t))
	if err != nil || len(members) != 2 || members[1].ID != "hub-far" || members[1].Role != Nonvoter || members[0].Role != Leader {
		t.Errorf("%+v, %v", members, err)
	}
	if err := far.TransferLeader(within(t), "hub-far"); CodeOf(err) != CodeNotVoter {
		t.Errorf("%v", err)
	}
	// It becomes a voter by its configuration, and a far hub again.
	for _, voter := range []bool{true, false} {
		far.kill()
		far.Voter = voter
		far.start()
		want := 1
		if voter {
			want = 2
		}
		await(t, "its vote is as configured", func() bool { l := f.leader(); return l != nil && l.voters() == want && far.settled() })
	}
}

// TestNewAddress: a member that moves says so, and stays the member that it was.
func TestNewAddress(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(3, nil)
	h := f.other()
	h.kill()
	h.Address, h.Options.Advertise = f.port(), ""
	h.Version = "newer"
	h.start()
	await(t, "all know its new address", func() bool {
		for _, o := range f.hubs {
			if s := o.server(h.id); s == nil || string(s.Address) != h.Address || o.State().Hubs[h.NodeID].Version != "newer" {
				return false
			}
		}
		return h.settled()
	})
	f.awaitVoters(3)
}

// TestDeadHubs: a hub that is away for long is removed where enough others are there, and never where
// that would leave fewer than three.
func TestDeadHubs(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(4, func(o *Options) { o.Timeouts.Dead = 1500 * time.Millisecond })
	f.other().kill()
	await(t, "the dead hub is removed", func() bool { l := f.leader(); return l != nil && l.voters() == 3 && len(l.State().Hubs) == 3 })
	second := f.other()
	second.kill()
	leader := f.awaitLeader()
	await(t, "the leader has missed another one for long", func() bool {
		l := f.leader()
		if l == nil {
			return false
		}
		leader = l
		last := l.link.of(second.serverID()).at
		return !last.IsZero() && time.Since(last) > l.t.Dead+l.t.Heartbeat
	})
	if leader.voters() != 3 {
		t.Errorf("%d voters are left", leader.voters())
	}
}

func (h *hub) serverID() raft.ServerID { return serverID(h.NodeID, h.InstanceID) }
