package control

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// TestSlowReader: a relayer that doesn't read what it is sent delays nobody, and makes the hub keep
// no more than what is under way to it. In the end it is cut off.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		const namespaces = 300 // an assignment is some 30 KiB
		for i := range namespaces {
			hub.namespace(t, fmt.Sprintf("namespace-%03d", i))
		}
		slow, quick, gone := hub.dial(t, n, hello("slow")), hub.dial(t, n, hello("quick")), hub.dial(t, n, hello("gone"))
		quick.joins()
		hub.propose(t, topology.Assign{Assignment: topology.Assignment{Namespace: "namespace-000", Relayer: "quick"}})
		quick.assigned()
		slow.joins()
		gone.joins()
		for i := range namespaces {
			hub.assign(t, fmt.Sprintf("namespace-%03d", i), "slow")
			hub.assign(t, fmt.Sprintf("namespace-%03d", i), "gone")
		}
		before := heap()
		for i := range 300 {
			name := fmt.Sprintf("namespace-%03d", i)
			hub.unassign(t, name, "slow")
			hub.assign(t, name, "slow")
			if i%10 == 0 {
				index := hub.assign(t, fmt.Sprintf("namespace-%03d", 1+i/10), "quick")
				if got := quick.assigned().GetIndex(); got != index {
					t.Fatalf("the quick one hears of %d, want %d", got, index)
				}
			}
		}
		synctest.Wait()
		// What isn't read would be 600 messages of 30 KiB.
		if grown := heap() - before; grown > 4<<20 {
			t.Errorf("%d KiB more are in use", grown>>10)
		}
		hub.propose(t, topology.RemoveRelayer{ID: "gone"})
		time.Sleep(2 * partingGrace)
		if hub.session("gone") != nil || hub.session("slow") == nil {
			t.Error("the session of the one that was removed goes on, or that of the slow one doesn't")
		}
		began := time.Now()
		for hub.session("slow") != nil && time.Since(began) < 2*sendPatience {
			_ = slow.stream.Send(&dbv1.RelayerMessage{Body: &dbv1.RelayerMessage_Report{Report: &dbv1.RelayerReport{}}})
			time.Sleep(time.Second)
		}
		if hub.session("slow") != nil {
			t.Error("the slow one isn't cut off")
		}
	})
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// TestNobodyThere: a connection that says nothing is sent away.
func TestNobodyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		if got := hub.dial(t, n, nil).refused(); got.GetCode() != CodeInvalidMessage || !got.GetRetryable() {
			t.Errorf("got %v", got)
		}
	})
}

// TestSilentRelayer: one that says nothing any more isn't counted as connected.
func TestSilentRelayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		r := hub.dial(t, n, hello("edge-1"))
		r.joins()
		time.Sleep(silencePatience - time.Second)
		r.report(nil)
		time.Sleep(silencePatience - time.Second)
		if hub.session("edge-1") == nil {
			t.Fatal("it is cut off although it reports")
		}
		if got := r.refused(); got.GetCode() != CodeSilent || !got.GetRetryable() {
			t.Errorf("got %v", got)
		}
		eventually(t, "its session has ended", func() bool { return hub.session("edge-1") == nil })
	})
}
