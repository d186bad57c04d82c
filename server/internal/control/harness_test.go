package control

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backstop is for what has to happen: only a test that fails waits for it.
const backstop = 2 * time.Minute

// within answers a context for one step of a test.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), backstop)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(backstop); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it doesn't come to be that %s", what)
		}
	}
}

// network reaches hubs by their addresses. A hub can be cut off from relayers.
type network struct {
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
	cut       map[string]bool
	conns     map[string][]net.Conn
}

func newNetwork() *network {
	return &network{listeners: map[string]*bufconn.Listener{}, cut: map[string]bool{}, conns: map[string][]net.Conn{}}
}

func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	l, cut := n.listeners[address], n.cut[address]
	n.mu.Unlock()
	if l == nil || cut {
		return nil, fmt.Errorf("dial %s: connection refused", address)
	}
	c, err := l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.conns[address] = append(n.conns[address], c)
	n.mu.Unlock()
	return c, nil
}

// sever breaks the connections to a hub, and while down holds no new one is made.
func (n *network) sever(address string, down bool) {
	n.mu.Lock()
	conns := n.conns[address]
	n.conns[address], n.cut[address] = nil, down
	n.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// moody is a group that at times has no leader, or is behind.
type moody struct {
	*topology.Group
	leaderless atomic.Bool
	behind     atomic.Pointer[topology.State] // what State answers before the next Sync; nil: the group's
	lags       atomic.Bool                    // what is proposed doesn't come here
}

var errNoLeader = errors.New("no leader is known")

func (m *moody) State() *topology.State {
	if s := m.behind.Load(); s != nil {
		return s
	}
	return m.Group.State()
}

func (m *moody) Sync(ctx context.Context) (*topology.State, error) {
	if m.leaderless.Load() {
		return nil, errNoLeader
	}
	if behind := m.behind.Load(); m.lags.Load() && behind.Index < m.Group.State().Index {
		return nil, errNoLeader
	}
	s, err := m.Group.Sync(ctx)
	if err == nil && !m.lags.Load() {
		m.behind.Store(nil)
	}
	return s, err
}

func (m *moody) Watch(ctx context.Context, after uint64) (*topology.State, error) {
	for {
		s, err := m.Group.Watch(ctx, after)
		if err != nil || !m.lags.Load() {
			return s, err
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

// lag has what is proposed from here on not come to this hub, until catchUp.
func (m *moody) lag() {
	m.behind.Store(m.Group.State())
	m.lags.Store(true)
}

func (m *moody) catchUp() {
	m.behind.Store(nil)
	m.lags.Store(false)
}

func (m *moody) Propose(ctx context.Context, c topology.Command) (uint64, error) {
	if m.leaderless.Load() {
		return 0, errNoLeader
	}
	return m.Group.Propose(ctx, c)
}

// testHub is a hub's control plane behind a gRPC server.
type testHub struct {
	id, address string
	group       *moody
	desk        *Desk
	server      *grpc.Server
	close       func()
}

// newGroup is a group of one hub, in memory.
func newGroup(t testing.TB, id string) *topology.Group {
	t.Helper()
	log := raft.NewInmemStore()
	g, err := topology.Start(t.Context(), topology.Options{
		NodeID: id, InstanceID: "instance of " + id, Version: "test", Voter: true, GRPC: id + ":4001",
		Stores: &topology.Stores{Log: log, Stable: log, Snapshots: raft.NewInmemSnapshotStore()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if _, err := g.Sync(within(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hub is in its own group", func() bool { return g.State().Hubs[id] != nil })
	return g
}

// serve puts a hub on the network.
func serve(t testing.TB, n *network, id string, group *topology.Group, change func(*DeskOptions)) *testHub {
	t.Helper()
	h := &testHub{id: id, address: id + ":4001", group: &moody{Group: group}}
	o := DeskOptions{NodeID: id, Version: "test", Group: h.group, Logger: hclog.NewNullLogger()}
	if change != nil {
		change(&o)
	}
	h.desk = NewDesk(o)
	h.server = grpc.NewServer(replicator.ServerOptions()...)
	dbv1.RegisterControlServer(h.server, h.desk)
	l := bufconn.Listen(64 << 10)
	n.mu.Lock()
	n.listeners[h.address] = l
	n.mu.Unlock()
	var serving sync.WaitGroup
	serving.Go(func() { _ = h.server.Serve(l) })
	h.close = sync.OnceFunc(func() {
		h.desk.Interrupt()
		h.server.Stop()
		serving.Wait()
		h.desk.Close()
		n.mu.Lock()
		if n.listeners[h.address] == l {
			delete(n.listeners, h.address)
		}
		n.mu.Unlock()
	})
	t.Cleanup(h.close)
	return h
}

// propose changes the state.
func (h *testHub) propose(t testing.TB, c topology.Command) uint64 {
	t.Helper()
	index, err := h.group.Group.Propose(within(t), c)
	if err != nil {
		t.Fatalf("%T: %v", c, err)
	}
	return index
}

// namespace makes a namespace that the hub owns.
func (h *testHub) namespace(t testing.TB, name string) {
	t.Helper()
	h.propose(t, topology.CreateNamespace{
		Name: name, Lineage: lineage(name), Owner: topology.Node{Kind: topology.KindHub, ID: h.id},
		Settings: topology.Settings{Acks: "local"}, Created: time.Unix(1, 0),
	})
}

func lineage(name string) string { return hashOf(name)[:32] }

func (h *testHub) assign(t testing.TB, namespace, relayer string) uint64 {
	t.Helper()
	return h.propose(t, topology.Assign{Assignment: topology.Assignment{Namespace: namespace, Relayer: relayer}})
}

func (h *testHub) unassign(t testing.TB, namespace, relayer string) uint64 {
	t.Helper()
	return h.propose(t, topology.Unassign{Assignment: topology.Assignment{Namespace: namespace, Relayer: relayer}})
}

// session is what the hub knows of a relayer's session; nil: there is none.
func (h *testHub) session(id string) *dbv1.RelayerSession {
	for _, s := range h.desk.Sessions() {
		if s.GetNodeId() == id {
			return s
		}
	}
	return nil
}

// rawRelayer speaks the protocol by itself.
type rawRelayer struct {
	t      testing.TB
	conn   *grpc.ClientConn
	stream dbv1.Control_AttendClient
	cancel context.CancelFunc
}

func hello(id string) *dbv1.RelayerHello {
	return &dbv1.RelayerHello{NodeId: id, InstanceId: "instance of " + id, Version: "test"}
}

// dial opens a stream and says hello, unless that is nil.
func (h *testHub) dial(t testing.TB, n *network, hello *dbv1.RelayerHello) *rawRelayer {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+h.address, grpc.WithContextDialer(n.dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &rawRelayer{t: t, conn: conn, cancel: cancel}
	t.Cleanup(r.leave)
	if r.stream, err = dbv1.NewControlClient(conn).Attend(ctx); err != nil {
		t.Fatal(err)
	}
	if hello != nil {
		r.say(&dbv1.RelayerMessage{Body: &dbv1.RelayerMessage_Hello{Hello: hello}})
	}
	return r
}

func (r *rawRelayer) leave() {
	r.cancel()
	_ = r.conn.Close()
}

func (r *rawRelayer) say(m *dbv1.RelayerMessage) {
	r.t.Helper()
	if err := r.stream.Send(m); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rawRelayer) report(gone []string, reports ...*dbv1.NamespaceReport) {
	r.t.Helper()
	r.say(&dbv1.RelayerMessage{Body: &dbv1.RelayerMessage_Report{Report: &dbv1.RelayerReport{Namespaces: reports, Gone: gone}}})
}

// hears is the next message that is no heartbeat.
func (r *rawRelayer) hears() *dbv1.HubMessage {
	r.t.Helper()
	for {
		m, err := r.stream.Recv()
		if err != nil {
			r.t.Fatalf("the hub says nothing more: %v", err)
		}
		if m.GetHeartbeat() == nil {
			return m
		}
	}
}

// joins takes the hub's hello and the first assignment.
func (r *rawRelayer) joins() (*dbv1.HubHello, *dbv1.Assignment) {
	r.t.Helper()
	m := r.hears()
	if m.GetHello() == nil {
		r.t.Fatalf("got %v, want the hub's hello", m)
	}
	return m.GetHello(), r.assigned()
}

func (r *rawRelayer) assigned() *dbv1.Assignment {
	r.t.Helper()
	m := r.hears()
	if m.GetAssignment() == nil {
		r.t.Fatalf("got %v, want an assignment", m)
	}
	return m.GetAssignment()
}

// refused is why the session ends.
func (r *rawRelayer) refused() *dbv1.SessionRefused {
	r.t.Helper()
	for {
		m := r.hears()
		if refused := m.GetRefused(); refused != nil {
			return refused
		}
	}
}

// namesOf are the namespaces of an assignment.
func namesOf(a *dbv1.Assignment) []string {
	names := []string{}
	for _, ns := range a.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	return names
}

// showing is a PeerOf that answers a certificate.
func showing(cert *x509.Certificate) func(context.Context) (*x509.Certificate, net.Addr) {
	return func(context.Context) (*x509.Certificate, net.Addr) { return cert, &net.TCPAddr{} }
}
