package replicator_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
)

// failover is a hub, two relayers of it, and an edge that follows these two.
type failover struct {
	t            *testing.T
	network      *replicatortest.Network
	hub, a, b    *node
	edge         *node
	stopWriting  chan struct{}
	writes, slow atomic.Int64 // nanoseconds: when the edge got its last record, the longest gap
}

// failedOver runs test in virtual time while the hub writes every 25 ms and the
// edge follows a, with default heartbeats on links of 20 ms.
func failedOver(t *testing.T, addresses []string, test func(f *failover)) {
	synctest.Test(t, func(t *testing.T) {
		f := &failover{t: t, network: replicatortest.NewNetwork(), stopWriting: make(chan struct{})}
		f.network.Delay = func() time.Duration { return 20 * time.Millisecond }
		f.hub, f.a, f.b, f.edge = newNode(t, f.network, "hub"), newNode(t, f.network, "a"), newNode(t, f.network, "b"), newNode(t, f.network, "edge")
		l := f.hub.ownerLog()
		for _, n := range []*node{f.hub, f.a, f.b, f.edge} {
			n.heartbeat = 0 // the default
			n.serve()
		}
		f.a.follow("hub")
		f.b.follow("hub")
		f.a.awaitEqual(l)
		f.b.awaitEqual(l)
		f.edge.store.Prepare = func(l *replicatortest.Log) {
			l.OnAppend = func(uint64, []byte) { f.arrived() }
		}
		f.edge.follow(addresses...)
		f.edge.awaitEqual(l)
		f.slow.Store(0)
		writer := make(chan struct{})
		go func() {
			defer close(writer)
			for {
				select {
				case <-time.After(25 * time.Millisecond):
					write(l, 1)
				case <-f.stopWriting:
					return
				}
			}
		}()
		time.Sleep(3 * time.Second)
		test(f)
		close(f.stopWriting)
		<-writer
		f.network.Heal()
		f.edge.awaitEqual(l)
		for _, n := range []*node{f.edge, f.a, f.b, f.hub} {
			n.stop()
		}
		windDown()
	})
}

func (f *failover) arrived() {
	now := time.Now().UnixNano()
	if last := f.writes.Swap(now); last != 0 {
		f.slow.Store(max(f.slow.Load(), now-last))
	}
}

// TestFailoverInTime: whatever happens to the address in use, records flow again in
// under two seconds, and from where they ended.
func TestFailoverInTime(t *testing.T) {
	for name, kill := range map[string]func(f *failover){
		"stopped":                       func(f *failover) { f.a.stop() },
		"reset, and nobody listens":     func(f *failover) { f.network.Cut("a"); f.a.stop() },
		"reset, and packets disappear":  func(f *failover) { f.network.Stall("a", true); f.network.Cut("a") },
		"packets disappear":             func(f *failover) { f.network.Stall("a", true) },
		"it hears nothing, and leaves":  func(f *failover) { f.network.Block("edge", "a", true); f.a.source.Interrupt() },
		"packets from it disappear":     func(f *failover) { f.network.Block("a", "edge", true) },
		"packets between the two do so": func(f *failover) { f.network.Block("a", "edge", true); f.network.Block("edge", "a", true) },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				failedOver(t, []string{"a", "b"}, func(f *failover) {
					r := rand.New(rand.NewPCG(seed, 1))
					time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
					f.slow.Store(0)
					kill(f)
					time.Sleep(5 * time.Second)
					if gap := time.Duration(f.slow.Load()); gap > 2*time.Second || gap == 0 {
						t.Errorf("seed %d: no record for %v", seed, gap)
					}
					if st := f.edge.status(); st.Source != "b" || !st.Connected {
						t.Errorf("seed %d: %+v", seed, st)
					}
				})
			}
		})
	}
}

// TestFailoverFromACutOffSource: a source that lives and is itself cut off from the hub is left for
// one that isn't; where all are, nobody goes from one to the other all the time.
func TestFailoverFromACutOffSource(t *testing.T) {
	failedOver(t, []string{"a", "b"}, func(f *failover) {
		cut := func(n string, cut bool) {
			f.network.Block("hub", n, cut)
			f.network.Block(n, "hub", cut)
		}
		f.slow.Store(0)
		cut("a", true)
		time.Sleep(10 * time.Second)
		if gap := time.Duration(f.slow.Load()); gap > 8*time.Second || gap == 0 {
			t.Errorf("no record for %v", gap)
		}
		if st := f.edge.status(); st.Source != "b" || !st.Connected {
			t.Errorf("%+v", st)
		}
		cut("b", true)
		before := f.edge.status().Reconnects
		time.Sleep(30 * time.Minute)
		if n := f.edge.status().Reconnects - before; n > 150 {
			t.Errorf("%d streams in half an hour in which no source had anything new", n)
		}
		cut("a", false)
		time.Sleep(10 * time.Minute)
		if st := f.edge.status(); st.Source != "a" || !st.Connected || st.Lag.Owner.Behind > 5*time.Second {
			t.Errorf("%+v", st)
		}
		cut("b", false)
	})
}

// TestFailoverPastDeadAddresses: each address that can't be reached costs half a second.
func TestFailoverPastDeadAddresses(t *testing.T) {
	failedOver(t, []string{"a", "void", "nowhere", "b"}, func(f *failover) {
		f.network.Stall("void", true)
		f.network.Stall("a", true)
		f.slow.Store(0)
		time.Sleep(5 * time.Second)
		if gap := time.Duration(f.slow.Load()); gap > 2500*time.Millisecond || gap == 0 {
			t.Errorf("no record for %v", gap)
		}
	})
}

// TestOnlyAddressComesBack: where there is nowhere else to go, records flow
// soon after a partition.
func TestOnlyAddressComesBack(t *testing.T) {
	for _, length := range []time.Duration{time.Second, 5 * time.Second, time.Minute} {
		failedOver(t, []string{"a"}, func(f *failover) {
			f.network.Stall("a", true)
			time.Sleep(length)
			f.network.Stall("a", false)
			began := time.Now()
			f.edge.await("a record", func() bool { return f.writes.Load() > began.UnixNano() })
			if d := time.Since(began); d > max(2*time.Second, min(length/2, 10*time.Second)) {
				t.Errorf("the first record came %v after a partition of %v", d, length)
			}
		})
	}
}

// TestForgottenConnection: a connection that carries nothing any more is made
// anew, though there is no other address and nobody says that it is dead.
func TestForgottenConnection(t *testing.T) {
	failedOver(t, []string{"a"}, func(f *failover) {
		f.slow.Store(0)
		f.network.ForgetBetween("edge", "a")
		time.Sleep(30 * time.Second)
		if gap := time.Duration(f.slow.Load()); gap > 2*time.Second || gap == 0 {
			t.Errorf("no record for %v", gap)
		}
	})
}

// stuckStore is a store whose logs can be made to say nothing more.
type stuckStore struct {
	replicator.Store
	stuck  atomic.Bool            // readers find nothing to read
	silent atomic.Pointer[string] // the namespace whose status can't be had
	freed  chan struct{}
}

func (s *stuckStore) Open(namespace string) (replicator.Log, error) {
	l, err := s.Store.Open(namespace)
	return stuckLog{l, s, namespace}, err
}

type stuckLog struct {
	replicator.Log
	store *stuckStore
	name  string
}

func (l stuckLog) Status() dbkernel.Status {
	if name := l.store.silent.Load(); name != nil && *name == l.name {
		<-l.store.freed
	}
	return l.Log.Status()
}

func (l stuckLog) Tail(name string, from uint64) (replicator.Reader, error) {
	r, err := l.Log.Tail(name, from)
	return &stuckReader{Reader: r, store: l.store}, err
}

// stuckReader stays stuck once it is.
type stuckReader struct {
	replicator.Reader
	store *stuckStore
	stuck bool
}

func (r *stuckReader) Next(ctx context.Context, maxBytes int) (dbkernel.Run, error) {
	if r.stuck = r.stuck || r.store.stuck.Load(); r.stuck {
		<-ctx.Done()
		return dbkernel.Run{}, ctx.Err()
	}
	return r.Reader.Next(ctx, maxBytes)
}

// TestStuckSender: a source that goes on saying that it has more, and sends
// nothing, is asked again.
func TestStuckSender(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		owner.stop()
		store := &stuckStore{Store: owner.store}
		owner.serveFrom(store)
		l := owner.ownerLog()
		relayer.follow("hub")
		relayer.awaitEqual(l)
		store.stuck.Store(true)
		time.Sleep(2 * time.Minute)
		if n := relayer.status().Reconnects; n > 0 {
			t.Fatalf("%d streams of an idle namespace were given up: %s", n, relayer.status().LastError)
		}
		write(l, 5)
		time.Sleep(20 * time.Second)
		store.stuck.Store(false)
		began := time.Now()
		if n := relayer.status().Reconnects; n > 0 {
			t.Errorf("a stream was given up after 20 s: %s", relayer.status().LastError)
		}
		relayer.awaitEqual(l)
		if d := time.Since(began); d > 15*time.Second {
			t.Errorf("the records came after %v more", d)
		}
	})
}

// TestHungStream: one stream that hangs is found while many others on its
// connection are well.
func TestHungStream(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		owner.stop()
		store := &stuckStore{Store: owner.store, freed: make(chan struct{})}
		owner.heartbeat = 0
		owner.serveFrom(store)
		var names []string
		for i := range 100 {
			name := fmt.Sprint("ns", i)
			owner.store.Add(name, lineage).StartEpoch(1)
			names = append(names, name)
		}
		relayer.start(replicator.UpstreamOptions{Addresses: []string{"hub"}, Namespaces: names})
		connected := func(want int) func() bool {
			return func() bool {
				n := 0
				for _, st := range relayer.upstream.Status() {
					if st.Connected {
						n++
					}
				}
				return n == want
			}
		}
		relayer.await("all streams", connected(len(names)))
		time.Sleep(time.Minute)
		store.silent.Store(&names[7])
		began := time.Now()
		relayer.await("the end of one stream", connected(len(names)-1))
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("it was found after %v", d)
		}
		store.silent.Store(nil)
		close(store.freed)
		relayer.await("all streams again", connected(len(names)))
		for i, st := range relayer.upstream.Status() {
			if want := uint64(0); i != 7 && st.Reconnects != want {
				t.Errorf("%s: %d streams ended: %s", st.Namespace, st.Reconnects, st.LastError)
			}
		}
	})
}

// TestVerySlowLinks: a link of 16 KiB/s is slow, not dead, however many streams
// share it.
func TestVerySlowLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		network.Rate = 16 << 10
		hub, edge := newNode(t, network, "hub"), newNode(t, network, "edge")
		hub.heartbeat = 0
		hub.serve()
		var names []string
		for i := range 6 {
			name := fmt.Sprint("ns", i)
			l := hub.store.Add(name, lineage)
			l.StartEpoch(1)
			l.Write(make([]byte, 200<<10))
			write(l, 10)
			names = append(names, name)
		}
		edge.start(replicator.UpstreamOptions{Addresses: []string{"hub"}, Namespaces: names})
		for _, name := range names {
			edge.await(name, func() bool {
				l := edge.store.Log(name)
				return l != nil && l.Status().CommitLSN == 12
			})
		}
		for _, st := range edge.upstream.Status() {
			if st.Reconnects > 0 || st.LastError != "" {
				t.Errorf("%s: %d streams ended: %s", st.Namespace, st.Reconnects, st.LastError)
			}
		}
		edge.stop()
		hub.stop()
		windDown()
	})
}

// TestLagOverHops: an edge knows how far it is behind the owner, whatever the
// clocks of the three say, and while the relayer between hears nothing.
func TestLagOverHops(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			failedOver(t, []string{"a"}, func(f *failover) { lagOverHops(f, skew) })
		})
	}
}

func lagOverHops(f *failover, skew time.Duration) {
	t := f.t
	set := atomic.Bool{}
	f.hub.stop()
	f.hub.clock = func() time.Time {
		if set.Load() {
			return time.Now()
		}
		return time.Now().Add(skew)
	}
	f.hub.serve()
	lag := func() replicator.OwnerLag { return f.edge.status().Lag.Owner }
	f.edge.await("contact with the owner", func() bool { l := lag(); return l.Known && l.Hops == 2 && l.Behind < 3*time.Second })
	time.Sleep(10 * time.Second)
	if l := lag(); l.Records > 100 || l.Behind > 2*time.Second {
		t.Errorf("while all is well: %+v", l)
	}
	set.Store(true) // the owner's clock is set while it runs
	for range 10 {
		time.Sleep(time.Second)
		if l := lag(); l.Behind > 3*time.Second {
			t.Errorf("after its clock was set: %+v", l)
		}
	}
	f.network.Block("hub", "a", true)
	time.Sleep(20 * time.Second)
	st := f.edge.status().Lag
	if l := st.Owner; l.Behind < 18*time.Second || l.Behind > 22*time.Second || st.Behind > time.Second || st.Records > 0 {
		t.Errorf("20 s after the relayer lost the owner: %+v", st)
	}
	f.network.Heal()
	f.edge.await("contact with the owner", func() bool { return lag().Behind < 2*time.Second })
}
