package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/servertest"
)

// offlineForm is how many records the edge writes offline, one a second by its clock, and
// the age that its log is trimmed at: a week and the default where DURATION is set.
func offlineForm() (records int, age time.Duration) {
	if os.Getenv("DURATION") != "" {
		return 7 * 24 * 60 * 60, 24 * time.Hour
	}
	return 2000, 3 * time.Minute
}

const insights = "insights"

// week is an edge that owns a namespace, the hub that it attends, and another relayer of that hub.
type week struct {
	t         *testing.T
	hub, edge *servertest.Node
	now       atomic.Int64 // of the edge's data
	written   int
}

// TestWeekOffline: an edge that owns a namespace writes a record a second while its hub can't be
// reached, through a restart, for many times the age at which its log is trimmed. Then everything is at
// the hub and at another relayer of it, byte for byte and in order, and came by the log.
func TestWeekOffline(t *testing.T) {
	records, age := offlineForm()
	w := &week{t: t}
	const whole = 20 * 365 * 24 * time.Hour // so that the logs can be compared
	hubConfig := servertest.Config(t, "hub")
	w.small(&hubConfig, whole)
	w.hub = servertest.Run(t, server.RoleHub, hubConfig)
	servertest.WaitForGroup(t, w.hub)
	edgeConfig := attendantConfig(t, "edge", w.hub)
	w.small(&edgeConfig, age)
	edgeConfig.Relayer.Own = []string{insights}
	w.now.Store(time.Now().Add(-time.Duration(records) * time.Second).UnixNano())
	w.startEdge(edgeConfig)

	const connected = 300 // several segments
	w.write(connected)
	w.wait("what was written while the hub was there", func() bool { return w.commit(w.hub) >= w.namespace(w.edge).Status().LSN })
	acked := w.commit(w.hub)
	w.wait("the edge has heard so", func() bool { return w.heldFrom() >= acked })
	w.hub.Stop()
	for end := connected + records; w.written < end; {
		w.write(min(50, end-w.written))
		if first := w.namespace(w.edge).Status().FirstLSN; first > acked+1 {
			t.Fatalf("after %d records the edge's log begins at LSN %d, the hub has %d", w.written, first, acked)
		}
		if w.written == connected+records/2 {
			w.restartEdge()
		}
	}
	w.wait("age has trimmed what the hub had", func() bool { return w.namespace(w.edge).Status().FirstLSN > 1 })
	held := w.namespace(w.edge).Status()

	// What the hub has acknowledged age may trim at once: the log is read before.
	atEdge := w.log(w.edge, held.FirstLSN, held.LSN)
	w.hub.Start()
	farConfig := attendantConfig(t, "far", w.hub)
	w.small(&farConfig, whole)
	far := servertest.Run(t, server.RoleRelayer, farConfig)
	joined(t, w.hub, far)
	assign(t, w.hub, insights, "far")
	w.wait("all that the edge has is at the hub", func() bool { return w.commit(w.hub) >= w.namespace(w.edge).Status().LSN })
	w.wait("all that the edge has is at the other relayer", func() bool { return w.commit(far) >= w.namespace(w.edge).Status().LSN })
	if s := w.namespace(w.hub).Status(); s.FirstLSN != 1 || s.Lineage != held.Lineage {
		t.Errorf("it didn't come by the log: %+v", s)
	}
	atHub := w.log(w.hub, held.FirstLSN, held.LSN)
	first := w.namespace(far).Status().FirstLSN // it may have begun with a snapshot
	fromHub, atFar := w.log(w.hub, first, held.LSN), w.log(far, first, held.LSN)
	if !bytes.Equal(atEdge, atHub) || !bytes.Equal(fromHub, atFar) {
		t.Error("the logs differ")
	}
	for _, n := range []*servertest.Node{w.hub, far} {
		w.readAll(n)
	}
	t.Logf("%d records, %d of them offline; the edge's log held LSNs %d to %d", w.written, records, held.FirstLSN, held.LSN)
}

// small has a node keep its data in small pieces, so that there is something to trim.
func (w *week) small(c *config.Config, age time.Duration) {
	s := &c.Storage
	s.SegmentSize, s.MemtableSize = dbkernel.MinSegmentSize, 4*dbkernel.MinMemtableSize
	s.Sync, s.SyncInterval = "interval", 10*time.Millisecond
	s.Retention.MaxAge, s.Retention.PinMaxAge, s.Retention.MinSegments = age, age, 1
	s.Retention.MaxBytes, s.Retention.PinMaxBytes = 1<<40, 1<<40
}

// startEdge starts the edge, whose data goes by the test's clock.
func (w *week) startEdge(cfg config.Config) {
	w.t.Helper()
	node, err := server.New(cfg, server.Options{Role: server.RoleRelayer, Logger: servertest.Logger(w.t).Named("edge"), Version: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	node.SetKernelClock(func() time.Time { return time.Unix(0, w.now.Load()) })
	ctx, cancel := context.WithTimeout(context.Background(), servertest.Deadline)
	defer cancel()
	if err := node.Start(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.edge = &servertest.Node{Node: node, Role: server.RoleRelayer, Config: cfg}
	w.t.Cleanup(func() { w.stop(node) })
}

func (w *week) restartEdge() {
	w.t.Helper()
	w.stop(w.edge.Node)
	w.startEdge(w.edge.Config)
}

// stop stops a node; a second time it does nothing.
func (w *week) stop(node *server.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), servertest.Deadline)
	defer cancel()
	if err := node.Shutdown(ctx); err != nil {
		w.t.Errorf("stopping the edge: %v", err)
	}
}

// write writes records, one a second by the edge's clock.
func (w *week) write(count int) {
	w.t.Helper()
	n := w.namespace(w.edge)
	for range count {
		var b dbkernel.Batch
		err := b.Put([]byte(readingKey(w.written)), readingValue(w.written), 0)
		if err == nil {
			_, err = n.Write(w.t.Context(), &b)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.written++
		w.now.Add(int64(time.Second))
	}
}

func readingKey(i int) string { return fmt.Sprintf("reading %07d", i) }

// readingValue is what a sensor says: 600 bytes that differ with every record.
func readingValue(i int) []byte {
	sum := sha256.Sum256([]byte(readingKey(i)))
	return bytes.Repeat(sum[:], 19)[:600]
}

func (w *week) namespace(n *servertest.Node) *dbkernel.Namespace {
	w.t.Helper()
	ns, err := n.Kernel().Namespace(insights)
	if err != nil {
		w.t.Fatal(err)
	}
	return ns
}

// heldFrom is how far the edge knows that the hub has the namespace.
func (w *week) heldFrom() uint64 {
	w.t.Helper()
	holds, err := w.namespace(w.edge).Held()
	if err != nil || len(holds) != 1 || holds[0].Name != replicator.HoldName {
		w.t.Fatalf("the edge holds %v, %v", holds, err)
	}
	return holds[0].LSN
}

// commit is how far a node has the namespace; 0 where it doesn't have it yet.
func (w *week) commit(n *servertest.Node) uint64 {
	ns, err := n.Kernel().Namespace(insights)
	if err != nil {
		return 0
	}
	return ns.Status().CommitLSN
}

// wait waits longer than servertest does: a week takes a while.
func (w *week) wait(what string, condition func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(2 * servertest.Deadline)
	if os.Getenv("DURATION") != "" {
		limit = time.After(20 * servertest.Deadline)
	}
	for !condition() {
		select {
		case <-tick.C:
		case <-limit:
			w.t.Fatalf("in vain: %s; the hub is at LSN %d, the edge: %+v", what, w.commit(w.hub), w.namespace(w.edge).Status())
		}
	}
}

// log is the hash of a node's log from one LSN to another.
func (w *week) log(n *servertest.Node, from, end uint64) []byte {
	w.t.Helper()
	tail, err := w.namespace(n).Tail("test", from)
	if err != nil {
		w.t.Fatal(err)
	}
	defer tail.Close()
	h := sha256.New()
	for last := from - 1; last < end; {
		run, err := tail.Next(w.t.Context(), 1<<20)
		if err != nil {
			w.t.Fatal(err)
		}
		if last = run.Last; last > end { // nobody writes to it
			w.t.Fatalf("%s: the log goes on beyond LSN %d", n.Config.NodeID, end)
		}
		for _, b := range run.Records {
			if _, err := io.Copy(h, bytes.NewReader(b)); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return h.Sum(nil)
}

// readAll reads every record at a node by its key.
func (w *week) readAll(n *servertest.Node) {
	w.t.Helper()
	ns := w.namespace(n)
	v, err := ns.View()
	if err != nil {
		w.t.Fatal(err)
	}
	defer v.Close()
	for i := range w.written {
		got, err := v.Get([]byte(readingKey(i)))
		if err != nil || !bytes.Equal(got.Data, readingValue(i)) {
			w.t.Fatalf("%s: record %d: %v", n.Config.NodeID, i, err)
		}
	}
}
