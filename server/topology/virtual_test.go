package topology

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// weather is a network between hubs of one test in virtual time: slow, and cut in any direction.
type weather struct {
	x *exchange

	mu    sync.Mutex
	rand  *rand.Rand
	ports map[raft.ServerAddress]*port
	cut   map[[2]string]bool // what one hub says doesn't reach the other
}

func newWeather(seed uint64) *weather {
	return &weather{x: newExchange(), rand: rand.New(rand.NewPCG(seed, 1)), ports: map[raft.ServerAddress]*port{}, cut: map[[2]string]bool{}}
}

const lost = 400 * time.Millisecond // after which who waits for an answer gives up

var errLost = errors.New("no answer")

// raftAddress of a hub of the test, and its gRPC address.
func raftAddress(id string) string { return id + ":4002" }
func grpcAddress(id string) string { return id + ":4001" }

func (w *weather) pass(from, to string) bool {
	w.mu.Lock()
	delay := time.Duration(w.rand.IntN(3000)) * time.Microsecond
	if w.rand.IntN(50) == 0 {
		delay += 40 * time.Millisecond
	}
	through := !w.cut[[2]string{from, to}]
	w.mu.Unlock()
	if !through {
		delay = lost
	}
	time.Sleep(delay)
	return through
}

// sever cuts what one hub says to another; heal mends everything.
func (w *weather) sever(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{from, to}] = true
}

func (w *weather) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cut)
}

func (w *weather) at(address raft.ServerAddress) *port {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ports[address]
}

// port is a hub's end of the weather: its raft.Transport.
type port struct {
	w      *weather
	id     string
	inbox  chan raft.RPC
	closed chan struct{}
	once   sync.Once
}

func (w *weather) open(id string) *port {
	p := &port{w: w, id: id, inbox: make(chan raft.RPC), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports[p.LocalAddr()] = p
	return p
}

func (p *port) LocalAddr() raft.ServerAddress { return raft.ServerAddress(raftAddress(p.id)) }
func (p *port) Consumer() <-chan raft.RPC     { return p.inbox }
func (p *port) Close() error                  { p.once.Do(func() { close(p.closed) }); return nil }

func (p *port) SetHeartbeatHandler(func(raft.RPC))                      {}
func (p *port) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }
func (p *port) DecodePeer(b []byte) raft.ServerAddress                  { return raft.ServerAddress(b) }
func (p *port) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// ask carries one question and its answer. What is lost on the way back has been done.
func ask[A any](p *port, to raft.ServerAddress, question any, data io.Reader, answer *A) error {
	q := p.w.at(to)
	if q == nil || !p.w.pass(p.id, q.id) {
		return errLost
	}
	rpc := raft.RPC{Command: question, Reader: data}
	answers := make(chan raft.RPCResponse, 1)
	rpc.RespChan = answers
	late := time.NewTimer(lost)
	defer late.Stop()
	select {
	case q.inbox <- rpc:
	case <-q.closed:
		return errLost
	case <-p.closed:
		return errLost
	case <-late.C:
		return errLost
	}
	select {
	case r := <-answers:
		if !p.w.pass(q.id, p.id) {
			return errLost
		}
		if a, ok := r.Response.(*A); ok {
			*answer = *a
		}
		return r.Error
	case <-q.closed:
	case <-p.closed:
	case <-late.C:
	}
	return errLost
}

func (p *port) AppendEntries(_ raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	return ask(p, to, q, nil, a)
}

func (p *port) RequestVote(_ raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	return ask(p, to, q, nil, a)
}

func (p *port) RequestPreVote(_ raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest, a *raft.RequestPreVoteResponse) error {
	return ask(p, to, q, nil, a)
}

func (p *port) TimeoutNow(_ raft.ServerID, to raft.ServerAddress, q *raft.TimeoutNowRequest, a *raft.TimeoutNowResponse) error {
	return ask(p, to, q, nil, a)
}

func (p *port) InstallSnapshot(_ raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse, data io.Reader) error {
	b, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	return ask(p, to, q, bytes.NewReader(b), a)
}

// caller is how a hub of the test calls the others' gRPC listeners.
type caller struct {
	w  *weather
	id string
}

// Hubs implements Peers.
func (c caller) Hubs(address string) (dbv1.HubsClient, error) {
	return &callee{line: &line{x: c.w.x, address: address}, caller: c, to: address[:len(address)-len(grpcAddress(""))]}, nil
}

// callee is another hub as a HubsClient.
type callee struct {
	*line
	caller
	to string
}

func called[Q, A any](ctx context.Context, c *callee, q Q, do func(context.Context, Q, ...grpc.CallOption) (A, error), opts []grpc.CallOption) (A, error) {
	var none A
	if !c.w.pass(c.id, c.to) {
		return none, status.Error(codes.Unavailable, "nobody answers")
	}
	a, err := do(ctx, q, opts...)
	if !c.w.pass(c.to, c.id) {
		return none, status.Error(codes.Unavailable, "the connection was lost")
	}
	return a, err
}

func (c *callee) Join(ctx context.Context, q *dbv1.JoinRequest, o ...grpc.CallOption) (*dbv1.JoinResponse, error) {
	return called(ctx, c, q, c.line.Join, o)
}

func (c *callee) Leave(ctx context.Context, q *dbv1.LeaveRequest, o ...grpc.CallOption) (*dbv1.LeaveResponse, error) {
	return called(ctx, c, q, c.line.Leave, o)
}

func (c *callee) Propose(ctx context.Context, q *dbv1.ProposeRequest, o ...grpc.CallOption) (*dbv1.ProposeResponse, error) {
	return called(ctx, c, q, c.line.Propose, o)
}

func (c *callee) ReadIndex(ctx context.Context, q *dbv1.ReadIndexRequest, o ...grpc.CallOption) (*dbv1.ReadIndexResponse, error) {
	return called(ctx, c, q, c.line.ReadIndex, o)
}

// archive has all entries that any hub has ever written, by index and term, each with the term of the
// entry before it. A hub takes an entry only after the same one that its leader has before it, so that the
// last entry that was agreed on leads back to all of them.
type archive struct {
	mu      sync.Mutex
	entries map[position]raft.Log
	before  map[position]uint64 // term
}

func newArchive() *archive {
	return &archive{entries: map[position]raft.Log{}, before: map[position]uint64{}}
}

// upTo are the entries that lead to a position, by index.
func (a *archive) upTo(p position) map[uint64]raft.Log {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[uint64]raft.Log{}
	for p.index > 0 {
		l, ok := a.entries[p]
		before, known := a.before[p]
		if !ok || !known && p.index > 1 {
			break // the test misses what comes before
		}
		all[p.index] = l
		p = position{p.index - 1, before}
	}
	return all
}

// archived is a hub's log that the archive reads along.
type archived struct {
	*raft.InmemStore
	*archive
	terms map[uint64]uint64 // of the hub's entries, compacted or not
}

func (l archived) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

func (l archived) StoreLogs(es []*raft.Log) error {
	if err := l.InmemStore.StoreLogs(es); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range es {
		p := position{e.Index, e.Term}
		l.entries[p] = *e
		l.terms[e.Index] = e.Term
		if before, ok := l.terms[e.Index-1]; ok {
			l.before[p] = before
		}
	}
	return nil
}

// DeleteRange implements raft.LogStore. The store in memory miscounts when it is empty, as it is behind a snapshot.
func (l archived) DeleteRange(from, to uint64) error {
	if last, err := l.LastIndex(); err != nil || last == 0 {
		return err
	}
	return l.InmemStore.DeleteRange(from, to)
}

// last is the position of an index in the hub's log.
func (l archived) last(index uint64) position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return position{index, l.terms[index]}
}

// installed notes what a snapshot stands for.
func (l archived) installed(index, term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.terms[index] = term
}

// shelf keeps the newest snapshot; one that isn't finished is none.
type shelf struct {
	log    archived
	mu     sync.Mutex
	newest *volume
}

type volume struct {
	shelf *shelf
	meta  raft.SnapshotMeta
	bytes.Buffer
}

func (s *shelf) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &volume{shelf: s, meta: raft.SnapshotMeta{Version: version, ID: "s", Index: index, Term: term, Configuration: c, ConfigurationIndex: ci}}, nil
}

func (s *shelf) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return nil, nil
	}
	meta := s.newest.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

func (s *shelf) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	meta := s.newest.meta
	return &meta, io.NopCloser(bytes.NewReader(s.newest.Bytes())), nil
}

func (v *volume) ID() string    { return v.meta.ID }
func (v *volume) Cancel() error { return nil }

func (v *volume) Close() error {
	v.shelf.mu.Lock()
	defer v.shelf.mu.Unlock()
	v.meta.Size = int64(v.Len())
	v.shelf.newest = v
	v.shelf.log.installed(v.meta.Index, v.meta.Term)
	return nil
}

// virtualHub is what stays of a hub when its process ends.
type virtualHub struct {
	w      *weather
	log    archived
	stores *Stores
	o      Options
	*Group // nil: it is stopped
}

// newVirtualHub prepares a hub that isn't started.
func newVirtualHub(t *testing.T, w *weather, a *archive, id string, join ...string) *virtualHub {
	memory := raft.NewInmemStore()
	log := archived{memory, a, map[uint64]uint64{}}
	h := &virtualHub{w: w, log: log, stores: &Stores{Log: log, Stable: memory, Snapshots: &shelf{log: log}}}
	timeouts := DefaultTimeouts()
	timeouts.Commit, timeouts.Noted, timeouts.Tick = 200*time.Millisecond, time.Second, 500*time.Millisecond
	timeouts.Leader, timeouts.IO, timeouts.Dead = 3*time.Second, 5*time.Second, time.Hour
	h.o = Options{
		NodeID: id, InstanceID: "i-" + id, Version: "test", Address: raftAddress(id), GRPC: grpcAddress(id), Voter: true, Join: join,
		Peers: caller{w, id}, Timeouts: &timeouts, Stores: h.stores, Logger: testLogger(t, id), SnapshotThreshold: 12, TrailingLogs: 4,
	}
	return h
}

func (h *virtualHub) start(t *testing.T) {
	h.o.Transport = h.w.open(h.o.NodeID)
	g, err := Start(t.Context(), h.o)
	if err != nil {
		t.Fatalf("%s: %v", h.o.NodeID, err)
	}
	h.Group = g
	h.w.x.set(h.o.GRPC, g)
}

// crash ends a hub in the middle of what it does: nothing that it says from here on is heard.
func (h *virtualHub) crash(t *testing.T) {
	if h.Group == nil {
		return
	}
	h.w.x.set(h.o.GRPC, nil)
	_ = h.w.at(raft.ServerAddress(h.o.Address)).Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Stop(ctx); err != nil {
		t.Errorf("%s: %v", h.o.NodeID, err)
	}
	h.Group = nil
}
