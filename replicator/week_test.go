package replicator_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
)

// offlineForm is for how long the edge is offline, writing a record a second, and the
// age that its log is trimmed at: a week and the default where DURATION is set.
func offlineForm() (seconds int, age time.Duration) {
	if os.Getenv("DURATION") != "" {
		return 7 * 24 * 60 * 60, dbkernel.DefaultStorage().Retention.MaxAge
	}
	return 1200, 2 * time.Minute
}

// TestWeekOffline: an edge owns a namespace that it offers its hub, and writes a record a
// second while it can't reach it, through a power cut and a restart, for many times
// the age at which its log is trimmed. Then everything is at the hub and at another
// relayer of the hub, byte for byte and in order, and came by the log.
func TestWeekOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &week{diskCluster: diskCluster{t: t, network: replicatortest.NewNetwork()}}
		defer func() {
			for _, n := range w.nodes {
				n.stop()
			}
			windDown()
		}()
		w.run()
	})
}

// connected is how many records the edge writes before it is offline: several segments.
const connected = 300

type week struct {
	diskCluster
	edge    *diskNode
	written int
}

func (w *week) run() {
	seconds, age := offlineForm()
	const wholeLog = 20 * 365 * 24 * time.Hour
	w.hub, w.edge = w.node("hub"), w.node("edge")
	other := w.node("other")
	w.edge.replica, w.edge.logAge = false, age
	w.hub.logAge, other.logAge = wholeLog, wholeLog
	for _, n := range w.nodes {
		n.logBytes = 1 << 40
	}
	w.hub.start()
	w.startEdge()
	w.edge.create(lineage)
	w.write(connected)
	w.hub.await("what was written while the edge was connected", w.hubHasAll)

	acked := w.hub.commit()
	w.edge.await("the edge to hear so", func() bool { return w.heldFrom() >= acked })
	w.network.Cut("edge")
	w.network.Stall("edge", true)
	for part := range 3 {
		for end := connected + (part+1)*seconds/3; w.written < end; {
			w.write(min(100, end-w.written))
			if first := w.edge.ns().Status().FirstLSN; first > acked+1 {
				w.t.Fatalf("after %d records the edge's log begins at LSN %d, the hub has %d", w.written, first, acked)
			}
		}
		switch part {
		case 0:
			w.restartEdge(func() { w.edge.cutPower(1) })
		case 1:
			w.restartEdge(func() { w.edge.restartFrom(w.edge.fs) })
		}
	}
	if got := w.hub.commit(); got != acked {
		w.t.Fatalf("the hub went on from LSN %d to %d while the edge was away", acked, got)
	}
	held := w.edge.ns().Status()
	if held.FirstLSN == 1 {
		w.t.Errorf("age trimmed nothing at all: the edge's log begins at LSN 1, the hub had %d", acked)
	}

	// What the hub has acknowledged age may trim at once: the log is read before.
	atEdge, _ := w.sum(w.edge, held.FirstLSN)
	w.network.Heal()
	w.network.Cut("edge")
	other.start("hub")
	w.hub.await("all that the edge has", w.hubHasAll)
	other.await("all that the hub has", func() bool { return other.commit() >= w.edge.commit() })
	atHub, _ := w.sum(w.hub, held.FirstLSN)
	whole, readings := w.sum(w.hub, 1)
	atOther, _ := w.sum(other, 1)
	if !bytes.Equal(atEdge, atHub) || !bytes.Equal(whole, atOther) {
		w.t.Error("the logs differ")
	}
	if readings != w.written {
		w.t.Errorf("the hub has %d records of %d", readings, w.written)
	}
	w.hub.awaitSame(w.edge)
	other.awaitSame(w.edge)
	w.t.Logf("%d records, %d of them offline; the edge's log held LSNs %d to %d", w.written, seconds, held.FirstLSN, held.LSN)
	w.letGo(held.FirstLSN + connected)
}

// letGo shows that age would have trimmed what wasn't acknowledged, but for the hold.
func (w *week) letGo(until uint64) {
	if err := w.edge.ns().EndHold(replicator.HoldName); err != nil {
		w.t.Fatal(err)
	}
	w.edge.await("age to trim what nobody holds", func() bool {
		w.write(10)
		return w.edge.ns().Status().FirstLSN > until
	})
}

// startEdge starts the edge, which offers its namespace for as long as it runs.
func (w *week) startEdge() {
	w.edge.start()
	w.offer()
}

func (w *week) offer() {
	w.edge.up(replicator.UpstreamOptions{Addresses: []string{"hub"}, Offers: []string{ns}})
}

func (w *week) restartEdge(restart func()) {
	restart()
	w.offer()
}

// heldFrom is how far the edge knows that the hub has the namespace.
func (w *week) heldFrom() uint64 {
	w.t.Helper()
	holds, err := w.edge.ns().Held()
	if err != nil || len(holds) != 1 || holds[0].Name != replicator.HoldName {
		w.t.Fatalf("the edge holds %v, %v", holds, err)
	}
	return holds[0].LSN
}

func (w *week) hubHasAll() bool { return w.hub.commit() >= w.edge.commit() }

// write writes records, one a second.
func (w *week) write(count int) {
	for range count {
		w.edge.write(readingKey(w.written), readingValue(w.written))
		w.written++
		time.Sleep(time.Second)
	}
}

func readingKey(i int) string { return fmt.Sprintf("reading %07d", i) }

// readingValue is what a sensor says: 600 bytes that differ with every record.
func readingValue(i int) []byte {
	sum := sha256.Sum256([]byte(readingKey(i)))
	return bytes.Repeat(sum[:], 19)[:600]
}

// sum reads a node's log from an LSN to its end, and answers the hash of its bytes and how
// many readings it has; they must be those that were written, in order.
func (w *week) sum(n *diskNode, from uint64) ([]byte, int) {
	w.t.Helper()
	end := w.edge.commit()
	tail, err := n.ns().Tail("test", from)
	if err != nil {
		w.t.Fatalf("%s: %v", n.id, err)
	}
	defer tail.Close()
	h, readings := sha256.New(), 0
	for last := from - 1; last < end; {
		run, err := tail.Next(w.t.Context(), 1<<20)
		if err != nil {
			w.t.Fatalf("%s: %v", n.id, err)
		}
		if run.Last > end {
			w.t.Fatalf("%s: the log goes on beyond LSN %d", n.id, end)
		}
		last = run.Last
		readings = w.check(n, run, h, from == 1, readings)
	}
	return h.Sum(nil), readings
}

func (w *week) check(n *diskNode, run dbkernel.Run, h io.Writer, whole bool, readings int) int {
	w.t.Helper()
	for _, b := range run.Records {
		if _, err := h.Write(b); err != nil {
			w.t.Fatal(err)
		}
	}
	err := run.Changes(func(c dbkernel.Change) error {
		if whole && (string(c.Key) != readingKey(readings) || !bytes.Equal(c.Value, readingValue(readings))) {
			return fmt.Errorf("reading %d is %q at LSN %d", readings, c.Key, c.LSN)
		}
		readings++
		return nil
	})
	if err != nil {
		w.t.Fatalf("%s: %v", n.id, err)
	}
	return readings
}
