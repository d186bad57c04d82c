package replicator_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
)

// TestFollowAndUnfollow: namespaces come and go while an upstream runs.
func TestFollowAndUnfollow(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		write(l, 5)
		relayer.start(replicator.UpstreamOptions{Addresses: []string{"hub"}})
		if s := relayer.upstream.Status(); len(s) != 0 {
			t.Errorf("without namespaces the status is %+v", s)
		}
		relayer.upstream.Follow(ns)
		relayer.upstream.Follow(ns)
		relayer.awaitEqual(l)
		relayer.upstream.Unfollow(ns)
		relayer.upstream.Unfollow(ns)
		had := relayer.log().Status().LSN
		write(l, 5)
		time.Sleep(time.Minute)
		if has := relayer.log().Status().LSN; has != had || len(relayer.upstream.Status()) != 0 {
			t.Errorf("after Unfollow records up to %d came, before they were %d; status %+v", has, had, relayer.upstream.Status())
		}
		relayer.upstream.Follow(ns)
		relayer.awaitEqual(l)
	})
}

// TestWithdraw: what is no longer offered doesn't arrive.
func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		hub, edge := newNode(t, network, "hub"), newNode(t, network, "edge")
		hub.accept = func(name string) bool { return name == ns }
		hub.serve()
		l := edge.ownerLog()
		edge.start(replicator.UpstreamOptions{Addresses: []string{"hub"}})
		edge.upstream.Offer(ns)
		write(l, 3)
		hub.awaitEqual(l)
		edge.upstream.Withdraw(ns)
		had := hub.log().Status().LSN
		write(l, 3)
		time.Sleep(time.Minute)
		if has := hub.log().Status().LSN; has != had {
			t.Errorf("after Withdraw the hub got records up to %d, before it had %d", has, had)
		}
		edge.upstream.Offer(ns)
		hub.awaitEqual(l)
		edge.stop()
		hub.stop()
		windDown()
	})
}

// TestReturnToEarlierAddress: a follower goes back to the first of its addresses when that
// can be reached again.
func TestReturnToEarlierAddress(t *testing.T) {
	failedOver(t, []string{"a", "b"}, func(f *failover) {
		f.a.stop()
		f.edge.await("following b", func() bool { s := f.edge.status(); return s.Connected && s.Address == "b" })
		f.a.serve()
		f.a.follow("hub")
		f.edge.await("following a again", func() bool { s := f.edge.status(); return s.Connected && s.Address == "a" })
	})
}

// TestReturnInVain: an earlier address that can be reached and doesn't have what is wanted
// costs ever fewer interruptions.
func TestReturnInVain(t *testing.T) {
	failedOver(t, []string{"a", "b"}, func(f *failover) {
		f.a.stop()
		f.edge.await("following b", func() bool { s := f.edge.status(); return s.Connected && s.Address == "b" })
		f.a.store = replicatortest.NewStore(1)
		f.a.serve() // and it follows nobody
		before := f.edge.status().Reconnects
		time.Sleep(6 * time.Minute)
		if n := f.edge.status().Reconnects - before; n == 0 || n > 6 {
			t.Errorf("%d interruptions in six minutes", n)
		}
		f.edge.await("following b", func() bool { s := f.edge.status(); return s.Connected && s.Address == "b" })
		f.a.follow("hub")
	})
}
