package topology

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/certs"
)

// patience is how long anything may take; nothing waits for it in a test that passes.
const patience = 2 * time.Minute

// exchange connects groups of one test by their gRPC addresses, without a network.
type exchange struct {
	mu     sync.Mutex
	groups map[string]*Group
}

func newExchange() *exchange { return &exchange{groups: make(map[string]*Group)} }

func (x *exchange) set(address string, g *Group) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if g == nil {
		delete(x.groups, address)
		return
	}
	x.groups[address] = g
}

// Hubs implements Peers.
func (x *exchange) Hubs(address string) (dbv1.HubsClient, error) {
	return &line{x: x, address: address}, nil
}

// line is a HubsClient of the exchange.
type line struct {
	dbv1.HubsClient
	x       *exchange
	address string
}

func (l *line) group() (*Group, error) {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	if g := l.x.groups[l.address]; g != nil {
		return g, nil
	}
	return nil, status.Errorf(codes.Unavailable, "nobody is at %s", l.address)
}

// call is one call to a group, which says by its options that the group was reached.
func call[Q, A any](ctx context.Context, l *line, q Q, of func(*Group) func(context.Context, Q) (A, error), opts []grpc.CallOption) (A, error) {
	g, err := l.group()
	if err != nil {
		var none A
		return none, err
	}
	for _, o := range opts {
		if p, ok := o.(grpc.PeerCallOption); ok {
			p.PeerAddr.Addr = advertised(l.address)
		}
	}
	return of(g)(ctx, q)
}

func (l *line) Join(ctx context.Context, r *dbv1.JoinRequest, o ...grpc.CallOption) (*dbv1.JoinResponse, error) {
	return call(ctx, l, r, func(g *Group) func(context.Context, *dbv1.JoinRequest) (*dbv1.JoinResponse, error) { return g.Join }, o)
}

func (l *line) Leave(ctx context.Context, r *dbv1.LeaveRequest, o ...grpc.CallOption) (*dbv1.LeaveResponse, error) {
	return call(ctx, l, r, func(g *Group) func(context.Context, *dbv1.LeaveRequest) (*dbv1.LeaveResponse, error) { return g.Leave }, o)
}

func (l *line) Transfer(ctx context.Context, r *dbv1.TransferRequest, o ...grpc.CallOption) (*dbv1.TransferResponse, error) {
	return call(ctx, l, r, func(g *Group) func(context.Context, *dbv1.TransferRequest) (*dbv1.TransferResponse, error) {
		return g.Transfer
	}, o)
}

func (l *line) Propose(ctx context.Context, r *dbv1.ProposeRequest, o ...grpc.CallOption) (*dbv1.ProposeResponse, error) {
	return call(ctx, l, r, func(g *Group) func(context.Context, *dbv1.ProposeRequest) (*dbv1.ProposeResponse, error) {
		return g.ProposeRPC
	}, o)
}

func (l *line) ReadIndex(ctx context.Context, r *dbv1.ReadIndexRequest, o ...grpc.CallOption) (*dbv1.ReadIndexResponse, error) {
	return call(ctx, l, r, func(g *Group) func(context.Context, *dbv1.ReadIndexRequest) (*dbv1.ReadIndexResponse, error) {
		return g.ReadIndex
	}, o)
}

func (l *line) Observe(_ context.Context, _ *dbv1.ObserveRequest, _ ...grpc.CallOption) (*dbv1.ObserveResponse, error) {
	g, err := l.group()
	if err != nil {
		return nil, err
	}
	return &dbv1.ObserveResponse{NodeId: g.o.NodeID, Members: g.Health()}, nil
}

// tcpHubs are hubs of one test, over real TCP.
type tcpHubs struct {
	t    *testing.T
	x    *exchange
	hubs map[string]*hub
}

// hub is one of them: what stays when its process ends.
type hub struct {
	f *tcpHubs
	Options
	*Group // nil: it is stopped
}

func newTCPHubs(t *testing.T) *tcpHubs {
	t.Helper()
	t.TempDir() // the first call has it removed after the hubs that write into it are stopped
	f := &tcpHubs{t: t, x: newExchange(), hubs: map[string]*hub{}}
	t.Cleanup(func() {
		for _, h := range f.hubs {
			h.kill()
		}
	})
	return f
}

// fast are timeouts for tests: short, and long enough for a machine that is busy.
func fast() *Timeouts {
	t := DefaultTimeouts()
	t.Heartbeat, t.Election, t.Lease = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	t.Commit, t.Retry, t.Tick, t.Noted = 10*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	t.Leader = patience
	return &t
}

// add prepares a hub that isn't started.
func (f *tcpHubs) add(id string, change func(*Options)) *hub {
	f.t.Helper()
	h := &hub{f: f, Options: Options{
		NodeID: id, InstanceID: fmt.Sprintf("%032x", len(f.hubs)+1), Version: "test", Dir: filepath.Join(f.t.TempDir(), "raft"),
		Address: f.port(), GRPC: "grpc-" + id, Voter: true, Peers: f.x, Timeouts: fast(), Logger: testLogger(f.t, id),
	}}
	if change != nil {
		change(&h.Options)
	}
	f.hubs[id] = h
	return h
}

// port is an address that was free a moment ago.
func (f *tcpHubs) port() string {
	f.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was never used
	return l.Addr().String()
}

// start starts a hub.
func (h *hub) start() *hub {
	h.f.t.Helper()
	g, err := Start(h.f.t.Context(), h.Options)
	if err != nil {
		h.f.t.Fatalf("%s: %v", h.NodeID, err)
	}
	h.Group = g
	h.f.x.set(h.GRPC, g)
	return h
}

// kill ends a hub without handing anything over.
func (h *hub) kill() {
	if h.Group == nil {
		return
	}
	h.f.x.set(h.GRPC, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Stop(ctx); err != nil {
		h.f.t.Errorf("%s: %v", h.NodeID, err)
	}
	h.Group = nil
}

// wipe empties the directory of a hub that is stopped, and makes it another instance.
func (h *hub) wipe() {
	h.f.t.Helper()
	if err := os.RemoveAll(h.Dir); err != nil {
		h.f.t.Fatal(err)
	}
	h.InstanceID = fmt.Sprintf("%032x", time.Now().UnixNano())
}

// group starts n hubs, hub-1 first and alone, the others joining it.
func (f *tcpHubs) group(n int, change func(*Options)) {
	f.t.Helper()
	first := f.add("hub-1", change).start()
	for i := 2; i <= n; i++ {
		f.add(fmt.Sprintf("hub-%d", i), func(o *Options) {
			o.Join = []string{first.GRPC}
			if change != nil {
				change(o)
			}
		}).start()
	}
	f.awaitVoters(n)
}

// awaitVoters waits until so many hubs have a vote as the leader sees it, and all know that.
func (f *tcpHubs) awaitVoters(n int) {
	f.t.Helper()
	await(f.t, fmt.Sprintf("%d hubs have a vote", n), func() bool {
		for _, h := range f.hubs {
			if h.Group != nil && !h.removed.Load() && (h.voters() != n || h.Freshness().Leader == "" || len(h.State().Hubs) < n) {
				return false
			}
		}
		return f.leader() != nil
	})
}

func (g *Group) voters() int {
	n, _ := g.census("")
	return n
}

// leader is the hub that leads and has taken over; nil: none does at the moment.
func (f *tcpHubs) leader() *hub {
	for _, h := range f.hubs {
		if h.Group != nil && h.term.Load() != nil {
			return h
		}
	}
	return nil
}

// awaitLeader waits for a leader.
func (f *tcpHubs) awaitLeader() *hub {
	f.t.Helper()
	var l *hub
	await(f.t, "there is a leader", func() bool { l = f.leader(); return l != nil })
	return l
}

// other is a running hub that doesn't lead.
func (f *tcpHubs) other() *hub {
	l := f.awaitLeader()
	for _, h := range f.hubs {
		if h != l && h.Group != nil {
			return h
		}
	}
	f.t.Fatal("there is no other hub")
	return nil
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it doesn't come to pass that %s", what)
		}
	}
}

// testLogger writes into the test's log where it is wanted.
func testLogger(t *testing.T, name string) hclog.Logger {
	if !testing.Verbose() {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Info, Output: testWriter{t}})
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	_, _ = os.Stderr.Write(b) // the test's own log ends before the last goroutine does
	return len(b), nil
}

var _ *certs.Store
