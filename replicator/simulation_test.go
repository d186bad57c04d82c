package replicator_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// simulation is an owner, relayers of it and relayers of these: real kernels on
// disks in memory, real gRPC over a network in memory, in virtual time. What goes wrong
// is drawn from the seed; what may never happen is checked throughout.
type simulation struct {
	t       *testing.T
	network *replicatortest.Network
	owner   *simNode
	nodes   []*simNode // the owner first
	model   *model
	storage dbkernel.StorageOptions

	mu   sync.Mutex // guards what follows; nodes use it, too
	rand *rand.Rand
	evil int // one message in so many is lost, repeated or comes late; 0: none

	installs atomic.Int64 // copies that took a namespace's place
}

// topology says who follows whom.
var topology = map[string][]string{
	"a": {"hub"}, "b": {"hub"}, "c": {"a", "b"}, "d": {"b", "a"},
}

// newSimulation makes nodes that have not been started yet.
func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{t: t, network: replicatortest.NewNetwork(), rand: rand.New(rand.NewPCG(seed, 77))}
	s.model = newModel(t)
	s.network.Delay = func() time.Duration { return time.Duration(s.n(2000)) * time.Microsecond }
	s.storage = dbkernel.StorageOptions{
		Engine: dbkernel.EngineMemory, SegmentSize: dbkernel.MinSegmentSize, MemtableSize: dbkernel.MinMemtableSize,
		Retention: dbkernel.Retention{
			MaxBytes: int64(64+s.n(256)) << 10, MinSegments: 1, PinMaxBytes: int64(64+s.n(512)) << 10,
		},
	}
	s.owner = s.add("hub")
	for _, id := range []string{"a", "b", "c", "d"} {
		s.add(id)
	}
	return s
}

// start starts all nodes.
func (s *simulation) start() {
	for _, n := range s.nodes {
		n.start()
	}
}

func (s *simulation) add(id string) *simNode {
	n := &simNode{sim: s, id: id, sources: topology[id], disk: vfs.NewMem(), seen: map[uint64]uint32{}}
	s.nodes = append(s.nodes, n)
	return n
}

func (s *simulation) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

func (s *simulation) newRand() *rand.Rand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rand.New(rand.NewPCG(s.rand.Uint64(), 1))
}

func (s *simulation) anyNode() *simNode    { return s.nodes[s.n(len(s.nodes))] }
func (s *simulation) anyReplica() *simNode { return s.nodes[1+s.n(len(s.nodes)-1)] }

func (s *simulation) setEvil(evil int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evil = evil
}

// heal lets everything go on that was disturbed.
func (s *simulation) heal() {
	s.setEvil(0)
	s.start()
	s.network.Heal()
}

// stop ends all nodes.
func (s *simulation) stop() {
	for _, n := range slices.Backward(s.nodes) {
		n.halt()
	}
	windDown()
}

// simNode is a node of a simulation.
type simNode struct {
	sim     *simulation
	id      string
	sources []string // empty: the owner

	// The schedule's alone.
	up       bool
	server   *grpc.Server
	source   *replicator.Source
	serving  sync.WaitGroup // the gRPC server; the model's reader
	unread   context.CancelFunc
	upstream *replicator.Upstream

	mu    sync.Mutex
	db    *dbkernel.DB
	disk  *vfs.Mem
	life  int  // of the process, counted
	alive bool // there is a process, and no power cut has ended it
	// A power cut comes before so many changes of the disk; 0: none is to come.
	cutIn int
	after *vfs.Mem // what the disk has after it
	cut   chan struct{}

	visible  []visible         // when readers could see what, in this life
	seen     map[uint64]uint32 // checksum of each record that was ever appended
	received uint64            // the highest of them
	// acked is what this node has told others that it has durably.
	acked uint64
}

// start starts the node's process, unless it runs.
func (n *simNode) start() {
	if n.up {
		return
	}
	s := n.sim
	n.mu.Lock()
	disk := n.disk
	n.mu.Unlock()
	db, err := dbkernel.Open(dbkernel.Options{
		Dir: "data", FS: vfs.WithFaults(disk, vfs.Hooks{Before: n.beforeDisk}), IdleAfter: time.Hour,
		Defaults: dbkernel.NamespaceOptions{Replica: n != s.owner, Storage: s.storage},
	})
	if err != nil {
		s.t.Fatalf("%s: %v", n.id, err)
	}
	n.mu.Lock()
	n.db, n.alive, n.up, n.visible = db, true, true, nil
	n.life++
	n.mu.Unlock()
	n.checkStart()

	store := checkedStore{replicator.KernelStore(db), n}
	n.source = replicator.NewSource(replicator.SourceOptions{NodeID: n.id, Store: store})
	n.server = grpc.NewServer(append(replicator.ServerOptions(), grpc.StreamInterceptor(s.mangled))...)
	acceptor := replicator.NewAcceptor(replicator.AcceptorOptions{NodeID: n.id, Store: store})
	dbv1.RegisterReplicationServer(n.server, replicator.NewService(n.source, acceptor))
	l := s.network.Listen(n.id)
	n.serving.Go(func() {
		if err := n.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.t.Errorf("%s: serve: %v", n.id, err)
		}
	})
	if n == s.owner {
		n.startOwner()
		return
	}
	r := s.newRand()
	var mu sync.Mutex
	n.upstream, err = replicator.NewUpstream(replicator.UpstreamOptions{
		Name: "up", NodeID: n.id, Addresses: n.sources, Namespaces: []string{ns}, Store: store, Dial: s.network.Dialler(n.id),
		Rand: func() float64 {
			mu.Lock()
			defer mu.Unlock()
			return r.Float64()
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	n.upstream.Start()
}

// startOwner makes the namespace at the first start, and has the model read the log.
func (n *simNode) startOwner() {
	if n.life == 1 {
		if _, err := n.db.Create(ns, lineage); err != nil {
			n.sim.t.Fatal(err)
		}
	}
	log := n.namespace()
	tail, err := log.Tail("model", n.sim.model.next())
	if err != nil {
		n.sim.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.unread = cancel
	n.serving.Go(func() {
		defer tail.Close()
		n.sim.model.read(ctx, tail, n)
	})
}

// checkStart compares what a process finds with what the ones before it promised.
func (n *simNode) checkStart() {
	staged, stageErr := n.staged()
	log, err := n.db.Namespace(ns)
	if err != nil {
		if !errors.Is(err, dbkernel.ErrNamespaceNotFound) || n.acked > staged {
			n.sim.t.Errorf("%s: LSN %d was acknowledged, now: %v; LSN %d is staged (%v)", n.id, n.acked, err, staged, stageErr)
		}
		return
	}
	st := log.Status()
	if st.State != dbkernel.StateServing {
		n.sim.t.Errorf("%s: starts %s: %s", n.id, st.State, st.Reason)
	}
	if max(st.LSN, staged) < n.acked {
		n.sim.t.Errorf("%s: LSN %d was acknowledged, it has %d after the start, and %d staged (%v)", n.id, n.acked, st.LSN, staged, stageErr)
	}
	if n != n.sim.owner {
		return
	}
	for _, r := range n.sim.nodes[1:] {
		r.mu.Lock()
		received := r.received
		r.mu.Unlock()
		if received > st.LSN {
			n.sim.t.Errorf("%s: has LSN %d after the start, %s has received %d", n.id, st.LSN, r.id, received)
		}
	}
}

// staged is the last record of a copy that isn't installed yet.
func (n *simNode) staged() (uint64, error) {
	stage, err := n.db.Staged(ns)
	if err != nil || stage.Log() == nil {
		return 0, err
	}
	return stage.Log().Status().LSN, nil
}

// halt ends the node's process, if one runs.
func (n *simNode) halt() {
	if !n.up {
		return
	}
	n.up = false
	n.mu.Lock()
	lost := !n.alive
	n.alive = false
	n.mu.Unlock()
	for _, other := range n.sim.nodes {
		if other != n && other.up {
			for _, f := range other.source.Followers() {
				if f.NodeID == n.id {
					n.acked = max(n.acked, f.DurableLSN)
				}
			}
		}
	}
	var errs []error
	if n.upstream != nil {
		errs = append(errs, n.upstream.Close())
	}
	if n.unread != nil {
		n.unread()
	}
	n.source.Interrupt()
	n.server.Stop()
	n.serving.Wait()
	n.source.Close()
	n.mu.Lock()
	db := n.db
	n.db = nil
	n.mu.Unlock()
	errs = append(errs, db.Close())
	if err := errors.Join(errs...); err != nil && !lost {
		n.sim.t.Errorf("%s: %v", n.id, err)
	}
}

// powerCut ends the node's process at some change of its disk, or a little later.
func (n *simNode) powerCut() {
	if !n.up {
		return
	}
	n.mu.Lock()
	n.cutIn, n.cut = 1+n.sim.n(1+n.sim.n(40)), make(chan struct{})
	n.mu.Unlock()
	select {
	case <-n.cut:
	case <-time.After(time.Duration(n.sim.n(1000)) * time.Millisecond):
	}
	n.mu.Lock()
	n.loseLocked()
	n.disk = n.after
	n.mu.Unlock()
	n.halt()
	// Who talks to it learns that it is gone, or only when it is back.
	if n.sim.n(2) == 0 {
		n.sim.network.Cut(n.id)
	}
}

// restart starts a node that had lost its power.
func (n *simNode) restart() {
	n.sim.network.Cut(n.id)
	n.sim.network.Stall(n.id, false)
	n.start()
}

// beforeDisk sees each operation on the disk. Syncs take a while.
func (n *simNode) beforeDisk(op vfs.Op) *vfs.Fault {
	if op.Kind == vfs.OpSyncData && n.sim.n(4) == 0 {
		time.Sleep(time.Duration(n.sim.n(3000)) * time.Microsecond)
	}
	if !op.Kind.Writes() {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cutIn == 1 {
		n.loseLocked()
	} else if n.cutIn > 0 {
		n.cutIn--
	}
	return nil
}

// loseLocked is the moment of a power cut: nothing leaves the node any more, and
// the disk is what survives.
func (n *simNode) loseLocked() {
	if n.cut == nil {
		return
	}
	select {
	case <-n.cut:
		return
	default:
	}
	n.alive, n.cutIn = false, 0
	n.sim.network.Stall(n.id, true)
	r := n.sim.newRand()
	n.after = n.disk.Crash(r, vfs.AnyCrash(r))
	close(n.cut)
}

// namespace is the node's namespace; nil where there is none, or no process.
func (n *simNode) namespace() *dbkernel.Namespace {
	n.mu.Lock()
	db := n.db
	if !n.alive {
		db = nil
	}
	n.mu.Unlock()
	if db == nil {
		return nil
	}
	// Not under the lock, which the disk takes: a copy may be taking the namespace's place.
	log, err := db.Namespace(ns)
	if err != nil {
		return nil
	}
	return log
}

// current is the process that runs; 0: none.
func (n *simNode) current() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.alive {
		return 0
	}
	return n.life
}

// visible is a moment from which on readers see records up to an LSN.
type visible struct {
	lsn uint64
	at  time.Time
}

// shows notes what readers see from here on.
func (n *simNode) shows(lsn uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.visible) == 0 || n.visible[len(n.visible)-1].lsn < lsn {
		n.visible = append(n.visible, visible{lsn, time.Now()})
	}
}

// since is when readers of this process could first see a record; zero: not known.
func (n *simNode) since(lsn uint64) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, _ := slices.BinarySearchFunc(n.visible, lsn, func(v visible, lsn uint64) int { return cmp.Compare(v.lsn, lsn) })
	if i == len(n.visible) {
		return time.Time{}
	}
	return n.visible[i].at
}

// appending checks records before they are appended.
func (n *simNode) appending(records [][]byte, commit uint64) {
	owner := n.sim.owner.namespace()
	var prev uint64
	for _, b := range records {
		for len(b) >= 24 {
			length, lsn := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint64(b[8:])
			if prev != 0 && lsn > prev+1 { // a repetition is passed over
				n.sim.t.Errorf("%s: LSN %d behind LSN %d", n.id, lsn, prev)
			}
			prev = max(prev, lsn)
			n.note(lsn, b[:length])
			b = b[length:]
		}
	}
	if owner == nil {
		return
	}
	if st := owner.Status(); st.State == dbkernel.StateServing && (prev > st.DurableLSN || commit > st.CommitLSN) {
		n.sim.t.Errorf("%s: receives LSN %d, commit LSN %d; the owner's durable LSN is %d, its commit LSN %d", n.id, prev, commit, st.DurableLSN, st.CommitLSN)
	}
}

func (n *simNode) note(lsn uint64, record []byte) {
	sum := crc32.ChecksumIEEE(record)
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, ok := n.seen[lsn]; ok && old != sum {
		n.sim.t.Errorf("%s: received LSN %d twice, with other bytes", n.id, lsn)
	}
	n.seen[lsn], n.received = sum, max(n.received, lsn)
}

// check compares a node with the model.
func (n *simNode) check() {
	m := n.sim.model
	n.mu.Lock()
	for lsn, sum := range n.seen {
		if want, ok := m.record(lsn); ok && want != sum {
			n.sim.t.Errorf("%s: LSN %d isn't the owner's record", n.id, lsn)
		}
	}
	n.mu.Unlock()
	life, log := n.current(), n.namespace()
	if log == nil {
		return
	}
	st := log.Status()
	if n.current() != life {
		return
	}
	if st.State != dbkernel.StateServing || st.CheckpointLSN > st.CommitLSN || st.CommitLSN > st.DurableLSN || st.DurableLSN > st.LSN {
		n.sim.t.Errorf("%s: %+v", n.id, st)
	}
	pos, sum, err := stateOf(log)
	if err != nil {
		if !gone(err) {
			n.sim.t.Errorf("%s: %v", n.id, err)
		}
		return
	}
	if want, ok := m.state(pos.LSN); ok && want != sum {
		n.sim.t.Errorf("%s: another state than the owner's at LSN %d", n.id, pos.LSN)
	}
}

// gone reports whether an error says that a process or a handle has ended.
func gone(err error) bool {
	return errors.Is(err, dbkernel.ErrClosed) || errors.Is(err, dbkernel.ErrSuperseded)
}

// stateOf is a checksum of all that a view shows, and the view's position.
func stateOf(log *dbkernel.Namespace) (dbkernel.Position, uint64, error) {
	v, err := log.View()
	if err != nil {
		return dbkernel.Position{}, 0, err
	}
	defer v.Close()
	var sum uint64
	for after, more := []byte(nil), true; more; {
		page, err := v.Scan(dbkernel.Scan{After: after})
		if err != nil {
			return v.Position(), 0, err
		}
		for _, item := range page.Items {
			sum += cellSum("k", string(item.Key), "", string(item.Data))
		}
		after, more = page.Last, page.More
	}
	for after, more := []byte(nil), true; more; {
		page, err := v.ScanRows(dbkernel.Scan{After: after})
		if err != nil {
			return v.Position(), 0, err
		}
		for _, item := range page.Items {
			for column, value := range item.Columns {
				sum += cellSum("r", string(item.Key), column, string(value))
			}
		}
		after, more = page.Last, page.More
	}
	return v.Position(), sum, nil
}

func cellSum(kind, key, column, value string) uint64 {
	return xxhash.Sum64String(kind + "\x00" + key + "\x00" + column + "\x00" + value)
}

// checkedStore sees what is appended to a node's logs.
type checkedStore struct {
	replicator.Store
	node *simNode
}

func (s checkedStore) Open(namespace string) (replicator.Log, error) {
	return s.checked(s.Store.Open(namespace))
}

func (s checkedStore) checked(l replicator.Log, err error) (replicator.Log, error) {
	if err != nil {
		return nil, err
	}
	return checkedLog{l, s.node}, nil
}

func (s checkedStore) Stage(namespace string, lineage dbkernel.Lineage) (replicator.Stage, error) {
	stage, err := s.Store.Stage(namespace, lineage)
	if err != nil {
		return nil, err
	}
	return checkedStage{stage, s}, nil
}

func (s checkedStore) Staged(namespace string) (replicator.Stage, error) {
	stage, err := s.Store.Staged(namespace)
	if err != nil {
		return nil, err
	}
	return checkedStage{stage, s}, nil
}

type checkedStage struct {
	replicator.Stage
	store checkedStore
}

func (s checkedStage) Log() replicator.Log {
	if l := s.Stage.Log(); l != nil {
		return checkedLog{l, s.store.node}
	}
	return nil
}

func (s checkedStage) Install(ctx context.Context, reason string) (replicator.Log, error) {
	l, err := s.store.checked(s.Stage.Install(ctx, reason))
	if err == nil {
		s.store.node.sim.installs.Add(1)
	}
	return l, err
}

type checkedLog struct {
	replicator.Log
	node *simNode
}

func (l checkedLog) Append(ctx context.Context, records [][]byte, commit uint64) error {
	l.node.appending(records, commit)
	err := l.Log.Append(ctx, records, commit)
	l.node.shows(l.Status().CommitLSN)
	return err
}

func (l checkedLog) SetCommit(commit uint64) {
	l.Log.SetCommit(commit)
	l.node.shows(l.Status().CommitLSN)
}

// model is what the owner's history must be: each record's bytes, and the
// state behind each.
type model struct {
	t *testing.T

	mu      sync.Mutex
	records []uint32           // checksums, of LSN 1, 2, 3 …
	states  []uint64           // state sums behind them
	cells   map[simCell]uint64 // sums of the cells that there are
	sum     uint64
	writes  map[int]simWrite
	acked   []ack
}

// simWrite is a batch of the simulation: what it puts, and "" for what it removes.
type simWrite map[simCell]string

// simCell is a key ("k"), a column of a row ("r"), or a whole row that is deleted ("d").
type simCell struct{ kind, key, column string }

type ack struct {
	write int
	pos   dbkernel.Position
}

// The mark of a write in its records: the number of the write stands behind it.
const (
	writeMark    = "«write»"
	writeMarkKey = "the last write"
)

func newModel(t *testing.T) *model {
	return &model{t: t, cells: map[simCell]uint64{}, writes: map[int]simWrite{}}
}

func (m *model) next() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.records) + 1)
}

// read follows the owner's log until ctx or the owner's process ends.
func (m *model) read(ctx context.Context, tail *dbkernel.Tail, owner *simNode) {
	for {
		run, err := tail.Next(ctx, 1<<20)
		if err != nil {
			if ctx.Err() == nil && !gone(err) {
				m.t.Errorf("the owner's log can't be read: %v", err)
			}
			return
		}
		if !m.addRun(run, owner) {
			return
		}
		tail.Ack(run.Last)
	}
}

// addRun adds what was read, unless the power went meanwhile: what a process
// does afterwards never was.
func (m *model) addRun(run dbkernel.Run, owner *simNode) bool {
	owner.mu.Lock()
	defer owner.mu.Unlock()
	if !owner.alive {
		return false
	}
	for _, b := range run.Records {
		for len(b) > 0 {
			length := binary.LittleEndian.Uint32(b)
			m.add(binary.LittleEndian.Uint64(b[8:]), b[:length])
			b = b[length:]
		}
	}
	return true
}

func (m *model) add(lsn uint64, record []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lsn != uint64(len(m.records)+1) {
		m.t.Errorf("the owner's log has LSN %d behind LSN %d", lsn, len(m.records))
		return
	}
	m.records = append(m.records, crc32.ChecksumIEEE(record))
	if i := writeOf(record); i >= 0 {
		for c, value := range m.writes[i] {
			m.apply(c, value)
		}
	}
	m.states = append(m.states, m.sum)
}

func (m *model) apply(c simCell, value string) {
	if c.kind == "d" { // a whole row
		for i := range simColumns {
			m.apply(simCell{"r", c.key, columnName(i)}, "")
		}
		return
	}
	m.sum -= m.cells[c]
	delete(m.cells, c)
	if value != "" {
		m.cells[c] = cellSum(c.kind, c.key, c.column, value)
		m.sum += m.cells[c]
	}
}

// simColumns is how many columns the rows of a simulation have.
const simColumns = 4

func columnName(i int) string { return fmt.Sprint("column ", i) }

// writeOf is the number of the write that a record is of; -1: none.
func writeOf(record []byte) int {
	_, rest, found := bytes.Cut(record, []byte(writeMark))
	if !found || len(rest) < 8 {
		return -1
	}
	n, err := strconv.Atoi(string(rest[:8]))
	if err != nil {
		return -1
	}
	return n
}

// record is the checksum of a record, as far as the owner's log was read.
func (m *model) record(lsn uint64) (uint32, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lsn == 0 || lsn > uint64(len(m.records)) {
		return 0, false
	}
	return m.records[lsn-1], true
}

func (m *model) state(lsn uint64) (uint64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case lsn == 0:
		return 0, true
	case lsn > uint64(len(m.states)):
		return 0, false
	}
	return m.states[lsn-1], true
}

// begin registers a write, before it is handed to the owner.
func (m *model) begin(w simWrite) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := len(m.writes)
	w[simCell{"k", writeMarkKey, ""}] = fmt.Sprintf("%s%08d", writeMark, i)
	m.writes[i] = w
	return i
}

func (m *model) acknowledge(i int, pos dbkernel.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked = append(m.acked, ack{i, pos})
}

// lastAcked is the highest position that was acknowledged.
func (m *model) lastAcked() (last dbkernel.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.acked {
		if a.pos.LSN > last.LSN {
			last = a.pos
		}
	}
	return last
}

// batch is the write as the kernel takes it.
func (w simWrite) batch() (*dbkernel.Batch, error) {
	var b dbkernel.Batch
	var errs []error
	for c, value := range w {
		switch {
		case c.kind == "k" && value == "":
			errs = append(errs, b.Delete([]byte(c.key)))
		case c.kind == "k":
			errs = append(errs, b.Put([]byte(c.key), []byte(value), 0))
		case c.kind == "d":
			errs = append(errs, b.DeleteRow([]byte(c.key)))
		case value == "":
			errs = append(errs, b.DeleteColumns([]byte(c.key), []string{c.column}))
		default:
			errs = append(errs, b.PutRow([]byte(c.key), map[string][]byte{c.column: []byte(value)}, 0))
		}
	}
	return &b, errors.Join(errs...)
}

// write hands a write to the owner; it counts as acknowledged if the owner's
// process was there when the answer came.
func (s *simulation) write(ctx context.Context, w simWrite) (dbkernel.Position, bool) {
	life, log := s.owner.current(), s.owner.namespace()
	if log == nil {
		return dbkernel.Position{}, false
	}
	i := s.model.begin(w)
	b, err := w.batch()
	if err != nil {
		s.t.Error(err)
		return dbkernel.Position{}, false
	}
	pos, err := log.Write(ctx, b)
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if err != nil || s.owner.life != life || !s.owner.alive {
		return pos, false
	}
	s.model.acknowledge(i, pos)
	return pos, true
}

// mangled has streams lose, repeat and reorder messages.
func (s *simulation) mangled(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, &mangledStream{ServerStream: stream, sim: s})
}

type mangledStream struct {
	grpc.ServerStream
	sim *simulation

	mu   sync.Mutex
	held *dbv1.SourceMessage // comes behind the next one
}

// SendMsg implements grpc.ServerStream.
func (m *mangledStream) SendMsg(msg any) error {
	m.sim.mu.Lock()
	evil, what := m.sim.evil, 3
	if evil > 0 && m.sim.rand.IntN(evil) == 0 {
		what = m.sim.rand.IntN(3)
	}
	m.sim.mu.Unlock()
	m.mu.Lock()
	held := m.held
	m.held = nil
	m.mu.Unlock()
	if held == nil && what == 3 {
		return m.ServerStream.SendMsg(msg)
	}
	buffers, err := replicator.Codec().Marshal(msg)
	if err != nil {
		return err
	}
	own := &dbv1.SourceMessage{}
	err = proto.Unmarshal(buffers.Materialize(), own)
	buffers.Free()
	if err != nil {
		return err
	}
	var out []*dbv1.SourceMessage
	switch what {
	case 0: // lost
	case 1:
		out = append(out, own, own)
	case 2:
		m.mu.Lock()
		m.held = own
		m.mu.Unlock()
	default:
		out = append(out, own)
	}
	if held != nil {
		out = append(out, held)
	}
	for _, o := range out {
		if err := m.ServerStream.SendMsg(o); err != nil {
			return err
		}
	}
	return nil
}
