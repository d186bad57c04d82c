package replicator_test

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
)

// pair runs test in virtual time with an owner that serves and a relayer that doesn't follow yet.
func pair(t *testing.T, test func(owner, relayer *node)) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		owner, relayer := newNode(t, network, "hub"), newNode(t, network, "edge")
		owner.serve()
		defer func() {
			relayer.stop()
			owner.stop()
			windDown()
		}()
		test(owner, relayer)
	})
}

func TestFollow(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		write(l, 100)
		relayer.follow("hub")
		relayer.awaitEqual(l)
		if st := relayer.status(); !st.Connected || st.State != replicator.StateServing || st.Source != "hub" || st.Code != "" {
			t.Errorf("status %+v", st)
		}
		if got := relayer.log().Status().Lineage; got != lineage {
			t.Errorf("lineage %v", got)
		}
		write(l, 50)
		relayer.awaitEqual(l)
		relayer.await("acknowledgement", func() bool {
			f := owner.source.Followers()
			return len(f) == 1 && f[0].NodeID == "edge" && f[0].DurableLSN == l.Status().LSN && f[0].AppliedLSN == l.Status().LSN
		})
		for name, acked := range followerPins(l) {
			if acked != l.Status().LSN {
				t.Errorf("pin %s at %d", name, acked)
			}
		}
	})
}

// TestVisibleAtOnce: no timer stands between a commit and its visibility.
func TestVisibleAtOnce(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		relayer.follow("hub")
		relayer.awaitEqual(l)
		for range 20 {
			time.Sleep(17 * time.Millisecond)
			began := time.Now()
			write(l, 3)
			synctest.Wait()
			if got := relayer.log().Status().CommitLSN; got != l.Status().CommitLSN || time.Since(began) != 0 {
				t.Fatalf("LSN %d after %v, want %d at once", got, time.Since(began), l.Status().CommitLSN)
			}
		}
	})
}

// TestCommittedOnly: what isn't synced doesn't leave the owner.
func TestCommittedOnly(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		relayer.follow("hub")
		relayer.awaitEqual(l)
		l.WriteUnsynced(payload(1))
		time.Sleep(time.Second)
		if got := relayer.log().Status().LSN; got != 1 {
			t.Fatalf("an unsynced record arrived: LSN %d", got)
		}
		l.Sync()
		relayer.awaitEqual(l)
	})
}

// TestAcknowledgedIsDurable: what a follower hasn't made durable isn't
// acknowledged, and stays pinned in the source's log.
func TestAcknowledgedIsDurable(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		var slow atomic.Bool
		relayer.store.Prepare = func(l *replicatortest.Log) {
			l.AppendDelay = func() time.Duration {
				if slow.Load() {
					return 10 * time.Second
				}
				return 0
			}
		}
		l := owner.ownerLog()
		relayer.follow("hub")
		relayer.awaitEqual(l)
		slow.Store(true)
		write(l, 10)
		for range 25 { // two appends: the first record may go alone
			time.Sleep(time.Second)
			f, durable := owner.source.Followers(), relayer.log().Status().DurableLSN
			if len(f) != 1 || f[0].DurableLSN > durable || f[0].AppliedLSN > relayer.log().Status().CommitLSN {
				t.Fatalf("%+v is acknowledged, durable is LSN %d", f, durable)
			}
			for name, acked := range followerPins(l) {
				if acked > durable {
					t.Fatalf("pin %s is at LSN %d, durable is %d", name, acked, durable)
				}
			}
		}
		if f := owner.source.Followers(); f[0].DurableLSN != 11 {
			t.Errorf("%+v after the append", f)
		}
	})
}

// TestFailover: a node that is gone costs its followers no more than a moment.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		first, second, edge := newNode(t, network, "first"), newNode(t, network, "second"), newNode(t, network, "edge")
		l := first.ownerLog()
		write(l, 10)
		copyLog(l, second)
		first.serve()
		second.serve()
		edge.follow("nobody", "first", "second")
		edge.awaitEqual(l)
		first.stop()
		began := time.Now()
		write(second.log(), 10)
		edge.awaitEqual(second.log())
		if d := time.Since(began); d > 500*time.Millisecond || edge.status().Source != "second" {
			t.Errorf("failover took %v: %+v", d, edge.status())
		}
		edge.stop()
		second.stop()
		windDown()
	})
}

func TestLargeRecords(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		for i, n := range []int{1 << 20, 1<<20 - 24, 1<<20 - 23, 3<<20 + 5, 100, 33 << 20, 100} {
			l.Write(bytes.Repeat([]byte{byte(i + 1)}, n))
		}
		relayer.follow("hub")
		relayer.awaitEqual(l)
	})
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(owner, relayer *node)
		state   string
		code    string
		heal    func(owner, relayer *node) // nil: it stays refused
	}{
		{
			name:    "no such namespace, made later",
			prepare: func(_, _ *node) {},
			state:   replicator.StateBootstrapping, code: replicator.CodeNamespaceNotFound,
			heal: func(owner, _ *node) { owner.ownerLog() },
		},
		{
			name: "another lineage",
			prepare: func(owner, relayer *node) {
				owner.ownerLog()
				l := relayer.store.Add(ns, dbkernel.Lineage{8})
				l.StartEpoch(1)
			},
			state: replicator.StateStalled, code: replicator.CodeLineageMismatch,
		},
		{
			name: "source behind, then caught up",
			prepare: func(owner, relayer *node) {
				l := owner.ownerLog()
				write(l, 10)
				copyLog(l, relayer)
				l.Cut(5)
			},
			state: replicator.StateStalled, code: replicator.CodeSourceBehind,
			heal: func(owner, relayer *node) {
				for lsn := uint64(6); lsn <= 11; lsn++ {
					if err := owner.log().Append(owner.t.Context(), [][]byte{relayer.log().Get(lsn)}, lsn); err != nil {
						owner.t.Error(err)
					}
				}
			},
		},
		{
			name: "source of an older epoch",
			prepare: func(owner, relayer *node) {
				l := owner.ownerLog()
				write(l, 3)
				copyLog(l, relayer)
				relayer.log().StartEpoch(5)
				write(l, 5)
			},
			state: replicator.StateStalled, code: replicator.CodeSourceStale,
		},
		{
			name:    "the source can't open it",
			prepare: func(owner, _ *node) { owner.ownerLog().Quarantine("DAMAGED") },
			state:   replicator.StateBootstrapping, code: replicator.CodeQuarantined,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair(t, func(owner, relayer *node) {
				tt.prepare(owner, relayer)
				var before uint64
				if relayer.log() != nil {
					before = relayer.log().Status().LSN
				}
				relayer.follow("hub")
				time.Sleep(3 * time.Minute)
				st := relayer.status()
				if st.State != tt.state || st.Code != tt.code || st.Reason == "" || st.Connected {
					t.Fatalf("status %+v", st)
				}
				if relayer.log() != nil && relayer.log().Status().LSN != before {
					t.Fatalf("a refused follower took or dropped records: LSN %d, before %d", relayer.log().Status().LSN, before)
				}
				if tt.heal != nil {
					tt.heal(owner, relayer)
					relayer.await("connection", func() bool { return relayer.status().Connected })
					relayer.awaitEqual(owner.log())
				}
			})
		})
	}
}

// copyLog gives a relayer what the log has.
func copyLog(l *replicatortest.Log, to *node) {
	replica := to.store.Add(ns, l.Status().Lineage)
	for lsn := uint64(1); lsn <= l.Status().LSN; lsn++ {
		if err := replica.Append(to.t.Context(), [][]byte{l.Get(lsn)}, lsn); err != nil {
			to.t.Fatal(err)
		}
	}
}

// TestForkIsCutOff: a follower whose records aren't the source's drops those that the source
// doesn't have, and no more, and goes on at once.
func TestForkIsCutOff(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		write(l, 10)
		copyLog(l, relayer)
		l.Cut(5)
		l.StartEpoch(2)
		write(l, 2)
		relayer.follow("hub")
		began := time.Now()
		relayer.await("the cut", func() bool { return relayer.status().Forks.Truncated > 0 })
		relayer.awaitEqual(l)
		st := relayer.status()
		if d := time.Since(began); d > 100*time.Millisecond || st.State != replicator.StateServing || st.Code != "" {
			t.Errorf("after %v: %+v", d, st)
		}
		if st.Forks.Truncated != 1 || !strings.Contains(st.Forks.Last, "LSN 5") {
			t.Errorf("%+v", st.Forks)
		}
	})
}

// TestDamage: a damaged record isn't applied, what stands before it is, and
// once the source has it whole again the follower goes on.
func TestDamage(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		write(l, 20)
		whole := l.Get(11)
		l.Damage(11)
		relayer.follow("hub")
		relayer.await("the refusal", func() bool { return relayer.status().Code == replicator.CodeDamagedRecord })
		time.Sleep(time.Minute)
		if got := relayer.store.StagedLog(ns).Status().LSN; got > 10 || relayer.log() != nil {
			t.Fatalf("LSN %d behind a damaged record, or a part of a first copy is served", got)
		}
		if n := relayer.status().Reconnects; n > 40 {
			t.Errorf("%d streams in a minute", n)
		}
		l.Restore(11, whole)
		relayer.awaitEqual(l)
	})
}

// TestWatchdog: a connection that swallows everything is replaced by another address.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		hub, second, edge := newNode(t, network, "hub"), newNode(t, network, "second"), newNode(t, network, "edge")
		l := hub.ownerLog()
		hub.serve()
		second.serve()
		second.follow("hub")
		second.awaitEqual(l)
		edge.follow("hub", "second")
		edge.awaitEqual(l)
		network.Stall("hub", true)
		began := time.Now()
		edge.await("the other address", func() bool { return edge.status().Source == "second" && edge.status().Connected })
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("failover took %v", d)
		}
		network.Stall("hub", false)
		write(l, 10)
		edge.awaitEqual(l)
		edge.stop()
		second.stop()
		hub.stop()
		windDown()
	})
}

// TestSlowSink: a slow sink bounds what it keeps, and delays nobody.
func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		hub, slow, quick := newNode(t, network, "hub"), newNode(t, network, "slow"), newNode(t, network, "quick")
		slow.store.Prepare = func(l *replicatortest.Log) {
			l.AppendDelay = func() time.Duration { return 10 * time.Second }
		}
		l := hub.ownerLog()
		hub.serve()
		slow.follow("hub")
		quick.follow("hub")
		for range 32 {
			l.Write(make([]byte, 1<<20))
		}
		synctest.Wait()
		if got, want := quick.log().Status().LSN, l.Status().LSN; got != want {
			t.Errorf("the quick follower is at LSN %d of %d", got, want)
		}
		time.Sleep(15 * time.Second)
		if st := slow.status(); st.Lag.Bytes < 8<<20 || st.Lag.Records < 8 || st.Lag.Behind < 14*time.Second {
			t.Errorf("lag of the slow follower: %+v", st.Lag)
		}
		slow.awaitEqual(l)
		if st := slow.status(); st.Reconnects != 0 {
			t.Errorf("the slow follower's stream was made anew: %+v", st)
		}
		slow.stop()
		quick.stop()
		hub.stop()
		windDown()
	})
}

// TestLag: right under an hour of skew, growing without contact.
func TestLag(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		pair(t, func(owner, relayer *node) {
			owner.stop()
			owner.clock = func() time.Time { return time.Now().Add(skew) }
			owner.serve()
			l := owner.ownerLog()
			var stuck atomic.Bool
			relayer.store.Prepare = func(l *replicatortest.Log) {
				l.AppendDelay = func() time.Duration {
					if stuck.Load() {
						return 20 * time.Second
					}
					return 0
				}
			}
			relayer.follow("hub")
			relayer.awaitEqual(l)
			relayer.await("a heartbeat", func() bool { return relayer.status().Lag.Known })
			if lag := relayer.status().Lag; lag.Records != 0 || lag.Bytes != 0 || lag.Behind != 0 {
				t.Errorf("skew %v: idle lag %+v", skew, lag)
			}
			stuck.Store(true)
			write(l, 10)
			time.Sleep(10 * time.Second)
			if lag := relayer.status().Lag; lag.Records != 10 || lag.Bytes == 0 || lag.Behind < 9*time.Second || lag.Behind > 11*time.Second {
				t.Errorf("skew %v: lag after 10 s %+v", skew, lag)
			}
			stuck.Store(false)
			relayer.awaitEqual(l)
			relayer.await("no lag", func() bool { return relayer.status().Lag.Behind == 0 })
			owner.stop()
			time.Sleep(30 * time.Second)
			if lag := relayer.status().Lag; lag.Behind < 29*time.Second || lag.Behind > 31*time.Second {
				t.Errorf("skew %v: lag after 30 s without contact %+v", skew, lag)
			}
		})
	}
}

// TestOffer: the source dials.
func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		hub, edge := newNode(t, network, "hub"), newNode(t, network, "edge")
		hub.accept = func(name string) bool { return name == ns }
		hub.serve()
		l := edge.ownerLog()
		write(l, 30)
		edge.start(replicator.UpstreamOptions{Addresses: []string{"hub"}, Offers: []string{ns}})
		hub.awaitEqual(l)
		network.Cut("hub")
		l.Write(make([]byte, 3<<20))
		hub.awaitEqual(l)
		if f := edge.upstream.Offered(); len(f) != 1 || f[0].DurableLSN != l.Status().LSN {
			t.Errorf("offered %+v", f)
		}
		if st := hub.acceptor.Status(); len(st) != 1 || !st[0].Connected || st[0].Source != "edge" {
			t.Errorf("received %+v", st)
		}
		hub.stop()
		write(l, 5)
		hub.serve()
		hub.awaitEqual(l)
		edge.stop()
		hub.stop()
		windDown()
	})
}

func TestOfferRefused(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		relayer.ownerLog()
		relayer.start(replicator.UpstreamOptions{Addresses: []string{"hub"}, Offers: []string{ns}})
		time.Sleep(time.Minute)
		if owner.log() != nil || len(relayer.upstream.Offered()) != 0 {
			t.Error("an offer that nobody accepts was taken")
		}
	})
}

// TestSlowLink: several namespaces share a connection that carries less in
// the time of silence than one batch of each; no stream is taken for dead.
func TestSlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		network.Rate = 128 << 10
		hub, edge := newNode(t, network, "hub"), newNode(t, network, "edge")
		hub.serve()
		var names []string
		logs := map[string]*replicatortest.Log{}
		for i := range 8 {
			name := fmt.Sprint("ns", i)
			l := hub.store.Add(name, lineage)
			l.StartEpoch(1)
			l.Write(make([]byte, 1<<20))
			write(l, 10)
			names, logs[name] = append(names, name), l
		}
		edge.start(replicator.UpstreamOptions{Addresses: []string{"hub"}, Namespaces: names})
		edge.await("all namespaces", func() bool {
			for name, l := range logs {
				if got := edge.store.Log(name); got == nil || got.Status().CommitLSN != l.Status().CommitLSN {
					return false
				}
			}
			return true
		})
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

// TestQuarantinedSink: a sink that can't read its own log doesn't ask for
// one from the beginning.
func TestQuarantinedSink(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		write(l, 5)
		copyLog(l, relayer)
		relayer.log().Quarantine("NEWER_FORMAT")
		relayer.follow("hub")
		relayer.await("the complaint", func() bool { return relayer.status().Code == "NEWER_FORMAT" })
		if f := owner.source.Followers(); len(f) != 0 || relayer.status().Connected || relayer.status().State != replicator.StateStalled {
			t.Errorf("%+v; %+v", f, relayer.status())
		}
	})
}

// TestBootstrapping: a sink that begins with nothing isn't serving before it
// has what its source had committed at the first contact.
func TestBootstrapping(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		relayer.store.Prepare = func(l *replicatortest.Log) {
			l.AppendDelay = func() time.Duration { return 10 * time.Second }
		}
		l := owner.ownerLog()
		for range 30 {
			l.Write(make([]byte, 1<<20))
		}
		relayer.follow("hub")
		staged := func() uint64 {
			if got := relayer.store.StagedLog(ns); got != nil {
				return got.Status().CommitLSN
			}
			return 0
		}
		relayer.await("some records", func() bool { return staged() > 0 })
		check := func() {
			if got := staged(); got >= 31 || relayer.log() != nil || relayer.status().State != replicator.StateBootstrapping {
				t.Fatalf("at LSN %d of 31: %+v", got, relayer.status())
			}
		}
		check()
		relayer.stop() // a part of a first copy is none after a restart, either
		relayer.follow("hub")
		relayer.await("the stream", func() bool { return relayer.status().Connected })
		check()
		write(l, 1)
		relayer.await("serving", func() bool { return relayer.status().State == replicator.StateServing })
		if got := relayer.log().Status().CommitLSN; got < 31 {
			t.Errorf("serving at LSN %d of 31", got)
		}
	})
}

// TestOfferSilence: who opens a stream of Offer and says nothing is told so.
func TestOfferSilence(t *testing.T) {
	pair(t, func(_, relayer *node) {
		stream, done := relayer.rawOffer("hub")
		defer done()
		began := time.Now()
		m, err := stream.Recv()
		if err != nil || m.GetRefused().GetCode() != replicator.CodeInvalidMessage || time.Since(began) > 6*time.Second {
			t.Errorf("after %v: %v, %v", time.Since(began), m, err)
		}
	})
}

// TestOfferSilenceAtShutdown: a stream that has said nothing yet doesn't outlast its node.
func TestOfferSilenceAtShutdown(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		stream, done := relayer.rawOffer("hub")
		defer done()
		synctest.Wait()
		owner.acceptor.Interrupt()
		began := time.Now()
		var err error
		for err == nil {
			_, err = stream.Recv()
		}
		if errorInfo(err) != replicator.CodeShuttingDown || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// TestWordsOfAnEnd: the code of a refusal stands before its reason once.
func TestWordsOfAnEnd(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		relayer.follow("hub")
		relayer.awaitEqual(l)
		owner.source.Interrupt()
		relayer.await("the end", func() bool { return relayer.status().LastError != "" })
		if got := relayer.status().LastError; !strings.HasPrefix(got, "SHUTTING_DOWN: ") || strings.Count(got, "SHUTTING_DOWN") != 1 {
			t.Errorf("%q", got)
		}
	})
}

// TestRefusalOutlastsConnections: what a source said stays in the status while
// other addresses merely can't be reached.
func TestRefusalOutlastsConnections(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		owner.ownerLog()
		relayer.store.Add(ns, dbkernel.Lineage{8}).StartEpoch(1)
		relayer.follow("hub", "nobody", "nothing")
		relayer.await("the last address", func() bool { return relayer.status().Address == "nothing" })
		time.Sleep(10 * time.Millisecond)
		if st := relayer.status(); st.Code != replicator.CodeLineageMismatch || st.State != replicator.StateStalled || st.LastError == "" {
			t.Errorf("%+v", st)
		}
	})
}

func TestUpstreamOptions(t *testing.T) {
	good := replicator.UpstreamOptions{Name: "up", NodeID: "x", Addresses: []string{"a"}, Namespaces: []string{ns}, Store: replicatortest.NewStore(1)}
	for name, change := range map[string]func(*replicator.UpstreamOptions){
		"node id":     func(o *replicator.UpstreamOptions) { o.NodeID = "" },
		"address":     func(o *replicator.UpstreamOptions) { o.Addresses = nil },
		"store":       func(o *replicator.UpstreamOptions) { o.Store = nil },
		"named twice": func(o *replicator.UpstreamOptions) { o.Offers = []string{ns} },
	} {
		o := good
		change(&o)
		if _, err := replicator.NewUpstream(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	u, err := replicator.NewUpstream(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	u.Start() // does nothing
}

// followerPins are the pins of those who follow, with what each has acknowledged; the
// feed has one of its own.
func followerPins(l *replicatortest.Log) map[string]uint64 {
	pins := l.Pins()
	maps.DeleteFunc(pins, func(name string, _ uint64) bool { return !strings.HasPrefix(name, "follower/") })
	return pins
}
