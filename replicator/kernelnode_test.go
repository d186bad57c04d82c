package replicator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// diskNode is a node with a real kernel on a disk in memory, in virtual time.
type diskNode struct {
	t       *testing.T
	id      string
	network *replicatortest.Network
	fs      *vfs.Mem
	replica bool
	rate    *rate.Limiter
	// memtable is large where a checkpoint mustn't come before the test wants one.
	memtable int64
	logBytes int64         // that the log is trimmed to
	logAge   time.Duration // likewise; 0: the default
	accepted atomic.Pointer[dbkernel.Lineage]
	chunks   *chunkCount // that the node has sent
	sources  []string    // that it follows

	db       *dbkernel.DB
	server   *grpc.Server
	source   *replicator.Source
	acceptor *replicator.Acceptor
	serving  sync.WaitGroup
	upstream *replicator.Upstream
}

// cluster runs test in virtual time with an owner that serves and has the namespace.
func cluster(t *testing.T, test func(c *diskCluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &diskCluster{t: t, network: replicatortest.NewNetwork()}
		defer func() {
			for _, n := range c.nodes {
				n.stop()
			}
			windDown()
		}()
		c.hub = c.node("hub")
		c.hub.replica = false
		c.hub.start()
		c.hub.create(lineage)
		test(c)
	})
}

type diskCluster struct {
	t       *testing.T
	network *replicatortest.Network
	hub     *diskNode
	nodes   []*diskNode
}

// node makes a node that isn't started.
func (c *diskCluster) node(id string) *diskNode {
	n := &diskNode{
		t: c.t, id: id, network: c.network, fs: vfs.NewMem(), replica: true, chunks: newChunkCount(),
		memtable: dbkernel.MinMemtableSize, logBytes: 1,
	}
	c.nodes = append(c.nodes, n)
	return n
}

// relayer makes a node and lets it follow.
func (c *diskCluster) relayer(id string, sources ...string) *diskNode {
	n := c.node(id)
	n.start(sources...)
	return n
}

// acceptingStore is the kernel's store with what the test's operator has accepted.
type acceptingStore struct {
	replicator.Store
	n *diskNode
}

func (s acceptingStore) Accepted(string) (l dbkernel.Lineage) {
	if named := s.n.accepted.Load(); named != nil {
		return *named
	}
	return l
}

// start opens the kernel, the door, and the upstream where there are sources.
func (n *diskNode) start(sources ...string) {
	n.t.Helper()
	n.sources = sources
	db, err := dbkernel.Open(dbkernel.Options{Dir: "/data", FS: n.fs})
	if err != nil {
		n.t.Fatal(err)
	}
	storage := dbkernel.DefaultStorage()
	storage.Engine, storage.SegmentSize, storage.MemtableSize = dbkernel.EngineMemory, dbkernel.MinSegmentSize, n.memtable
	storage.Retention.MaxBytes, storage.Retention.MinSegments = n.logBytes, 1
	if n.logAge != 0 {
		storage.Retention.MaxAge, storage.Retention.PinMaxAge = n.logAge, n.logAge
	}
	if err := db.Configure(ns, dbkernel.NamespaceOptions{Replica: n.replica, Storage: storage}); err != nil {
		n.t.Fatal(err)
	}
	n.db = db
	store := acceptingStore{replicator.KernelStore(db), n}
	n.source = replicator.NewSource(replicator.SourceOptions{NodeID: n.id, Store: store, Heartbeat: 100 * time.Millisecond, SnapshotRate: n.rate})
	n.acceptor = replicator.NewAcceptor(replicator.AcceptorOptions{NodeID: n.id, Store: store, Accept: func(context.Context, string, string, dbkernel.Lineage) error {
		if !n.replica {
			return errors.New("this node is no replica")
		}
		return nil
	}})
	n.server = grpc.NewServer(append(replicator.ServerOptions(), grpc.StreamInterceptor(n.chunks.intercept))...)
	dbv1.RegisterReplicationServer(n.server, replicator.NewService(n.source, n.acceptor))
	l := n.network.Listen(n.id)
	n.serving.Go(func() {
		if err := n.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			n.t.Errorf("%s: serve: %v", n.id, err)
		}
	})
	if len(sources) > 0 {
		n.up(replicator.UpstreamOptions{Addresses: sources, Namespaces: []string{ns}})
	}
}

func (n *diskNode) up(o replicator.UpstreamOptions) {
	n.t.Helper()
	o.Name, o.NodeID, o.Store, o.Dial, o.Rand = "up", n.id, acceptingStore{replicator.KernelStore(n.db), n}, n.network.Dialler(n.id), func() float64 { return 0.5 }
	o.Heartbeat = 100 * time.Millisecond
	u, err := replicator.NewUpstream(o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.upstream = u
	u.Start()
}

// stop ends the node; its disk stays.
func (n *diskNode) stop() {
	if n.db == nil {
		return
	}
	if n.upstream != nil {
		if err := n.upstream.Close(); err != nil {
			n.t.Errorf("%s: %v", n.id, err)
		}
		n.upstream = nil
	}
	n.source.Interrupt()
	n.acceptor.Interrupt()
	n.server.Stop()
	n.serving.Wait()
	n.source.Close()
	n.acceptor.Close()
	if err := n.db.Close(); err != nil {
		n.t.Errorf("%s: %v", n.id, err)
	}
	n.db = nil
}

// copyDisk is the disk as it would be found if the node died now.
func (n *diskNode) copyDisk(seed uint64, o vfs.CrashOptions) *vfs.Mem {
	return n.fs.Crash(rand.New(rand.NewPCG(seed, 6)), o)
}

// cutPower kills the node at this moment and starts it again: what wasn't synced is lost, or half of it.
func (n *diskNode) cutPower(seed uint64) {
	n.t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	disk := n.fs.Crash(rng, vfs.AnyCrash(rng))
	n.stop()
	n.fs = disk
	n.start(n.sources...)
}

// restartFrom starts the node on another disk.
func (n *diskNode) restartFrom(disk *vfs.Mem) {
	n.t.Helper()
	n.stop()
	n.fs = disk
	n.start(n.sources...)
}

func (n *diskNode) create(l dbkernel.Lineage) {
	n.t.Helper()
	if _, err := n.db.Create(ns, l); err != nil {
		n.t.Fatal(err)
	}
}

// ns is the namespace; nil while there is none.
func (n *diskNode) ns() *dbkernel.Namespace {
	n.t.Helper()
	got, err := n.db.Namespace(ns)
	if err != nil && !errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		n.t.Fatal(err)
	}
	return got
}

func (n *diskNode) commit() uint64 {
	if got := n.ns(); got != nil {
		return got.Status().CommitLSN
	}
	return 0
}

// put writes n values of about a KiB that can't be compressed well.
func (n *diskNode) put(seed uint64, keys, count int) {
	n.t.Helper()
	r := rand.New(rand.NewPCG(seed, 8))
	for range count {
		value := make([]byte, 512+r.IntN(1024))
		for i := range value {
			value[i] = byte(r.Uint32())
		}
		n.write(fmt.Sprintf("key %06d", r.IntN(keys)), value)
	}
}

func (n *diskNode) write(key string, value []byte) dbkernel.Position {
	n.t.Helper()
	var b dbkernel.Batch
	if err := b.Put([]byte(key), value, 0); err != nil {
		n.t.Fatal(err)
	}
	pos, err := n.ns().Write(n.t.Context(), &b)
	if err != nil {
		n.t.Fatal(err)
	}
	return pos
}

// trim writes until the log no longer reaches back to its beginning.
func (n *diskNode) trim(seed uint64) {
	n.t.Helper()
	n.await("the log to be trimmed", func() bool {
		n.put(seed, 200, 50)
		seed++
		return n.ns().Status().FirstLSN > 1
	})
}

func (n *diskNode) status() replicator.SinkStatus { return n.upstream.Status()[0] }

// await waits in virtual time.
func (n *diskNode) await(what string, ok func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(10 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			st := ""
			if n.upstream != nil && len(n.sources) > 0 {
				st = fmt.Sprintf("%+v", n.status())
			}
			if got := n.ns(); got != nil {
				st += fmt.Sprintf("\n%+v", got.Status())
			}
			n.t.Fatalf("%s: waited in vain for %s\n%s", n.id, what, st)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitSame waits until the node has what owner has, and compares all of it, by its digests.
func (n *diskNode) awaitSame(owner *diskNode) {
	n.t.Helper()
	// What is complete at a mark already isn't compared there: it may be of chunks.
	want := owner.write("compared", []byte(n.id))
	n.await(fmt.Sprint("LSN ", want.LSN), func() bool {
		got := n.ns()
		return got != nil && got.Status().Lineage == want.Lineage && got.Status().Epoch == want.Epoch && n.commit() >= want.LSN
	})
	owner.write("compared", []byte(n.id))
	mark, err := owner.ns().WriteMark(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	n.await(fmt.Sprint("LSN ", mark.LSN), func() bool { return n.commit() >= mark.LSN })
	if got := n.ns().Status(); got.Lineage != mark.Lineage || got.Epoch != mark.Epoch {
		n.t.Fatalf("%s: %+v, the owner is at %v", n.id, got, mark)
	}
	if theirs, ours := owner.markAt(mark.LSN), n.markAt(mark.LSN); theirs != ours {
		n.t.Fatalf("%s: at LSN %d the digests are %+v, the owner's %+v", n.id, mark.LSN, ours, theirs)
	}
}

func (n *diskNode) markAt(lsn uint64) dbkernel.Mark {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Minute)
	defer cancel()
	if err := n.ns().WaitMark(ctx, lsn); err != nil {
		n.t.Fatalf("%s: no digests at LSN %d: %v; %+v", n.id, lsn, err, n.ns().Status())
	}
	for _, m := range n.ns().Marks() {
		if m.LSN == lsn {
			return m
		}
	}
	n.t.Fatalf("%s: no mark at LSN %d: %+v", n.id, lsn, n.ns().Marks())
	return dbkernel.Mark{}
}

func (n *diskNode) get(key string) string {
	n.t.Helper()
	v, err := n.ns().View()
	if err != nil {
		n.t.Fatal(err)
	}
	defer v.Close()
	got, err := v.Get([]byte(key))
	if errors.Is(err, dbkernel.ErrNotFound) {
		return ""
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return string(got.Data)
}

// chunkCount counts the bytes of chunks that a node hands to its streams.
type chunkCount struct {
	mu    sync.Mutex
	total int
	twice int
	seen  map[string]bool
}

func newChunkCount() *chunkCount { return &chunkCount{seen: make(map[string]bool)} }

func (c *chunkCount) intercept(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return handle(srv, countedStream{s, c, new(string)})
}

// sums are the bytes that were sent in all, and those of a key range that had been sent before.
func (c *chunkCount) sums() (total, twice int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total, c.twice
}

type countedStream struct {
	grpc.ServerStream
	count *chunkCount
	start *string
}

func (s countedStream) SendMsg(m any) error {
	if sm, ok := m.(*dbv1.SourceMessage); ok && sm.GetChunk() != nil {
		s.note(sm.GetChunk())
	}
	return s.ServerStream.SendMsg(m)
}

func (s countedStream) note(p *dbv1.Chunk) {
	s.count.mu.Lock()
	defer s.count.mu.Unlock()
	if p.GetRange() != nil {
		*s.start = string(p.GetRange().GetStart())
	}
	key := fmt.Sprintf("%x/%d", *s.start, p.GetPartOffset())
	s.count.total += len(p.GetCells())
	if s.count.seen[key] {
		s.count.twice += len(p.GetCells())
	}
	s.count.seen[key] = true
}
