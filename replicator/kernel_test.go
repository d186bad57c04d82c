package replicator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// kernelNode is a node with a real kernel on a real disk, reached over TCP on loopback.
type kernelNode struct {
	t       *testing.T
	id      string
	dir     string
	replica bool
	address string                                            // stays the same across restarts
	tune    func(*dbkernel.Options, *dbkernel.StorageOptions) // may be nil

	db       *dbkernel.DB
	store    replicator.Store
	server   *grpc.Server
	source   *replicator.Source
	serving  sync.WaitGroup
	upstream *replicator.Upstream
}

func newKernelNode(t *testing.T, id string, replica bool) *kernelNode {
	n := &kernelNode{t: t, id: id, dir: t.TempDir(), replica: replica, address: "127.0.0.1:0"}
	t.Cleanup(n.stop)
	return n
}

func (n *kernelNode) start(upstreams ...string) {
	n.t.Helper()
	options, storage := dbkernel.Options{Dir: n.dir}, dbkernel.DefaultStorage()
	storage.Engine, storage.SegmentSize, storage.MemtableSize = dbkernel.EngineBolt, 256<<10, 256<<10
	if n.tune != nil {
		n.tune(&options, &storage)
	}
	db, err := dbkernel.Open(options)
	if err != nil {
		n.t.Fatal(err)
	}
	n.db = db
	if err := db.Configure(ns, dbkernel.NamespaceOptions{Replica: n.replica, Storage: storage}); err != nil {
		n.t.Fatal(err)
	}
	store := replicator.KernelStore(db)
	n.store = store
	n.source = replicator.NewSource(replicator.SourceOptions{NodeID: n.id, Store: store, Heartbeat: 20 * time.Millisecond})
	n.server = grpc.NewServer(replicator.ServerOptions()...)
	dbv1.RegisterReplicationServer(n.server, replicator.NewService(n.source, replicator.NewAcceptor(replicator.AcceptorOptions{NodeID: n.id, Store: store})))
	l, err := net.Listen("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.address = l.Addr().String()
	n.serving.Go(func() {
		if err := n.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			n.t.Errorf("%s: serve: %v", n.id, err)
		}
	})
	if len(upstreams) > 0 {
		n.follow(upstreams...)
	}
}

// follow begins to follow the namespace.
func (n *kernelNode) follow(upstreams ...string) {
	n.t.Helper()
	var err error
	n.upstream, err = replicator.NewUpstream(replicator.UpstreamOptions{
		Name: "up", NodeID: n.id, Addresses: upstreams, Namespaces: []string{ns}, Store: n.store,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.upstream.Start()
}

func (n *kernelNode) stop() {
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
	n.server.Stop()
	n.serving.Wait()
	n.source.Close()
	if err := n.db.Close(); err != nil {
		n.t.Errorf("%s: %v", n.id, err)
	}
	n.db = nil
}

// namespace waits until the node has the namespace.
func (n *kernelNode) namespace(ctx context.Context) *dbkernel.Namespace {
	n.t.Helper()
	for {
		got, err := n.db.Namespace(ns)
		if err == nil {
			return got
		}
		if !errors.Is(err, dbkernel.ErrNamespaceNotFound) {
			n.t.Fatal(err)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			n.t.Fatalf("%s: no namespace: %+v", n.id, n.upstream.Status())
		}
	}
}

// logOf reads the whole log.
func logOf(t *testing.T, n *dbkernel.Namespace) []byte {
	t.Helper()
	end := n.Status().CommitLSN
	tail, err := n.Tail("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	var all []byte
	for last := uint64(0); last < end; {
		run, err := tail.Next(t.Context(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Concat(run.Records...)...)
		last = run.Last
	}
	return all
}

// TestKernels: an owner, a relayer and a relayer of that relayer, real kernels
// over TCP, are restarted while the owner writes; at the end all three logs are the
// same bytes, and every acknowledged write can be read on each.
func TestKernels(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	hub, edge, far := newKernelNode(t, "hub", false), newKernelNode(t, "edge", true), newKernelNode(t, "far", true)
	hub.start()
	if _, err := hub.db.Create(ns, lineage); err != nil {
		t.Fatal(err)
	}
	edge.start(hub.address)
	far.start(edge.address)

	r := rand.New(rand.NewPCG(1, 1))
	written := make(map[string]int)
	var last dbkernel.Position
	for round := range 9 {
		owner := hub.namespace(ctx)
		for range 40 {
			key := fmt.Sprint("key ", r.IntN(500))
			size := r.IntN(4000)
			if r.IntN(100) == 0 {
				size = 3 << 20
			}
			var b dbkernel.Batch
			if err := b.Put([]byte(key), make([]byte, size), 0); err != nil {
				t.Fatal(err)
			}
			pos, err := owner.Write(ctx, &b)
			if err != nil {
				t.Fatal(err)
			}
			written[key], last = size, pos
		}
		switch restarted := []*kernelNode{hub, edge, far}[round%3]; restarted {
		case hub:
			hub.stop()
			hub.start()
		case edge:
			edge.stop()
			edge.start(hub.address)
		default:
			far.stop()
			far.start(edge.address)
		}
	}
	want := logOf(t, hub.namespace(ctx))
	for _, n := range []*kernelNode{edge, far} {
		replica := n.namespace(ctx)
		if err := replica.WaitFor(ctx, last); err != nil {
			t.Fatalf("%s: %v: %+v", n.id, err, n.upstream.Status())
		}
		if got := logOf(t, replica); !slices.Equal(got, want[:min(len(got), len(want))]) {
			t.Errorf("%s: another log", n.id)
		}
		readBack(t, n.id, replica, written)
	}
}

func readBack(t *testing.T, id string, n *dbkernel.Namespace, written map[string]int) {
	t.Helper()
	v, err := n.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for key, size := range written {
		got, err := v.Get([]byte(key))
		if err != nil || len(got.Data) != size {
			t.Errorf("%s: %s has %d bytes, want %d: %v", id, key, len(got.Data), size, err)
		}
	}
}
