package replicator_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// follows checks that a node follows, with nothing to complain of.
func (n *diskNode) follows() {
	n.t.Helper()
	n.await("a connection", func() bool { return n.status().Connected })
	if st := n.status(); st.State != replicator.StateServing || st.Code != "" || st.Snapshot != nil {
		n.t.Errorf("%s: %+v", n.id, st)
	}
	if _, err := n.db.Staged(ns); err == nil {
		n.t.Errorf("%s: a stage is left", n.id)
	}
}

// TestSnapshot: a new follower, whom the log doesn't reach, gets a snapshot while writes go on, and
// then follows; so does who follows it.
func TestSnapshot(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.put(1, 3000, 2000)
		c.hub.trim(100)
		c.network.Delay = func() time.Duration { return time.Millisecond }
		edge := c.relayer("edge", "hub")
		far := c.relayer("far", "edge")
		for i := range 30 {
			c.hub.put(uint64(200+i), 3000, 20)
			time.Sleep(5 * time.Millisecond)
		}
		edge.awaitSame(c.hub)
		far.awaitSame(c.hub)
		edge.follows()
		far.follows()
		if total, _ := c.hub.chunks.sums(); total == 0 {
			t.Error("no chunk was sent")
		}
		c.hub.put(300, 3000, 50)
		edge.awaitSame(c.hub)
		far.awaitSame(c.hub)
	})
}

// snapshotSeeds are those of TestSnapshotPowerCuts: two, and many in the long form.
func snapshotSeeds() uint64 {
	if os.Getenv("DURATION") != "" {
		return 40
	}
	return 2
}

// TestSnapshotPowerCuts: a follower that loses power over and over, while writes go on,
// never asks again for a chunk that it had stored, and has what its source has in the end.
func TestSnapshotPowerCuts(t *testing.T) {
	for seed := range snapshotSeeds() {
		cluster(t, func(c *diskCluster) {
			c.hub.rate = replicator.NewSnapshotRate(1 << 20)
			c.hub.stop()
			c.hub.start()
			c.hub.put(seed, 4000, 4000)
			c.hub.trim(100)
			edge := c.relayer("edge", "hub")
			cuts := 0
			for cut := uint64(0); cut < 8; cut++ {
				time.Sleep(time.Duration(300+(seed*131+cut*97)%700) * time.Millisecond)
				c.hub.put(1000+cut, 4000, 10)
				if edge.ns() != nil {
					break
				}
				edge.cutPower(100*seed + cut)
				cuts++
			}
			edge.awaitSame(c.hub)
			edge.follows()
			total, twice := c.hub.chunks.sums()
			t.Logf("seed %d: %d cuts, %d bytes of chunks, %d of them twice", seed, cuts, total, twice)
			// What one cut costs at most: a chunk that was under way, and one that was being stored.
			if limit := cuts * 2 * 512 << 10; cuts < 2 || twice > limit {
				t.Errorf("seed %d: after %d cuts %d of %d bytes were sent twice", seed, cuts, twice, total)
			}
		})
	}
}

// TestSnapshotFromAnotherSource: a snapshot that one source began another one of the same lineage completes.
func TestSnapshotFromAnotherSource(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.rate = replicator.NewSnapshotRate(1 << 20)
		c.hub.put(1, 4000, 4000)
		second := c.relayer("second", "hub")
		second.awaitSame(c.hub)
		c.hub.trim(100)
		second.awaitSame(c.hub)
		c.hub.stop()
		c.hub.chunks = newChunkCount()
		c.hub.start()
		edge := c.relayer("edge", "hub", "second")
		edge.await("half of it", func() bool { s := edge.status().Snapshot; return s != nil && s.Chunks >= 4 })
		c.hub.stop()
		edge.await("the namespace", func() bool { return edge.ns() != nil })
		c.hub.start()
		edge.awaitSame(c.hub)
		edge.follows()
		fromHub, _ := c.hub.chunks.sums()
		fromSecond, _ := second.chunks.sums()
		live := c.liveBytes()
		if fromHub < 1<<20 || fromSecond == 0 || fromHub+fromSecond > live+3*512<<10 {
			t.Errorf("%d bytes from one source, %d from the other, of %d", fromHub, fromSecond, live)
		}
	})
}

// liveBytes is about what all chunks take.
func (c *diskCluster) liveBytes() int {
	_, bytes := c.hub.ns().SnapshotCost()
	return int(bytes)
}

// TestFirstCopyBySnapshot: a long log of few keys isn't sent to a new follower.
func TestFirstCopyBySnapshot(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.logBytes = 1 << 30
		c.hub.memtable = 8 << 20
		c.hub.stop()
		c.hub.start()
		big := make([]byte, 1<<20)
		for i := range 70 {
			c.hub.write("same key", big[:len(big)-i])
		}
		edge := c.relayer("edge", "hub")
		edge.awaitSame(c.hub)
		if total, _ := c.hub.chunks.sums(); total == 0 || edge.ns().Status().FirstLSN < 10 {
			t.Errorf("%d bytes of chunks; the follower's log begins at %d", total, edge.ns().Status().FirstLSN)
		}
	})
}

// TestSnapshotOffered: a source that dialled sends a snapshot as well.
func TestSnapshotOffered(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.put(1, 500, 1000)
		c.hub.trim(100)
		edge := c.relayer("edge")
		c.hub.up(replicator.UpstreamOptions{Addresses: []string{"edge"}, Offers: []string{ns}})
		edge.awaitSame(c.hub)
		if st := edge.acceptor.Status(); len(st) != 1 || st[0].State != replicator.StateServing || st[0].Code != "" {
			t.Errorf("%+v", st)
		}
	})
}

// TestServesWhileCopying: a follower that was away for too long serves what it has until the
// new copy is whole, says that one is arriving, and how far.
func TestServesWhileCopying(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.write("old", []byte("value"))
		edge := c.relayer("edge", "hub")
		edge.awaitSame(c.hub)
		edge.stop()
		c.hub.write("old", []byte("changed"))
		c.hub.put(1, 2000, 2000)
		c.hub.trim(100)
		c.hub.rate = replicator.NewSnapshotRate(1 << 20)
		c.hub.stop()
		c.hub.start()
		edge.start("hub")
		edge.await("a part of the copy", func() bool { s := edge.status().Snapshot; return s != nil && s.Percent > 20 })
		st := edge.status()
		if st.State != replicator.StateStalled || st.Code != replicator.CodeCopyArriving || !strings.Contains(st.Reason, "%") {
			t.Errorf("%+v", st)
		}
		if got := edge.get("old"); got != "value" {
			t.Errorf("%q is served", got)
		}
		followers := c.hub.source.Followers()
		if len(followers) != 1 || !followers[0].Snapshot || followers[0].SentBytes == 0 {
			t.Errorf("%+v", followers)
		}
		edge.awaitSame(c.hub)
		edge.follows()
		if got := edge.get("old"); got != "changed" {
			t.Errorf("%q is served", got)
		}
		if aside, err := edge.db.Aside(); err != nil || len(aside) != 0 {
			t.Errorf("set aside: %+v, %v", aside, err)
		}
	})
}

// TestFallsOutOfTheLog: a follower whose pin was broken while it was connected gets a snapshot.
func TestFallsOutOfTheLog(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.write("a", []byte("b"))
		edge := c.relayer("edge", "hub")
		edge.awaitSame(c.hub)
		c.network.Block("hub", "edge", true)
		c.hub.put(1, 2000, 3000)
		c.hub.trim(100)
		c.network.Heal()
		edge.awaitSame(c.hub)
		edge.follows()
	})
}

// TestQuarantinedReplica: a replica whose files are broken is copied anew, and what there was
// of it goes aside.
func TestQuarantinedReplica(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.put(1, 500, 500)
		edge := c.relayer("edge", "hub")
		edge.awaitSame(c.hub)
		edge.stop()
		if err := edge.fs.RemoveAll("/data/namespaces/" + ns + "/db"); err != nil {
			t.Fatal(err)
		}
		edge.start("hub")
		if st := edge.ns().Status(); st.State != dbkernel.StateQuarantined || st.Lineage != lineage {
			t.Fatalf("%+v", st)
		}
		edge.awaitSame(c.hub)
		edge.follows()
	})
}

// TestSlowRate: a source that waits for its rate goes on saying that it lives.
func TestSlowRate(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.put(1, 100, 200)
		c.hub.trim(100)
		c.hub.rate = replicator.NewSnapshotRate(4 << 10)
		c.hub.stop()
		c.hub.start()
		edge := c.relayer("edge", "hub")
		began := time.Now()
		edge.await("the namespace", func() bool { return edge.ns() != nil })
		if st := edge.status(); st.LastError != "" || st.Reconnects != 0 {
			t.Errorf("%+v", st)
		}
		total, twice := c.hub.chunks.sums()
		if d := time.Since(began); twice != 0 || d < time.Duration(total/(4<<10))*time.Second*9/10-5*time.Second {
			t.Errorf("%d bytes came in %v, %d of them twice", total, d, twice)
		}
	})
}

// TestPinOutlivesTheStream: a sink that was killed finds the log that its chunks need when it comes back soon;
// the log isn't kept for long for one that doesn't.
func TestPinOutlivesTheStream(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.put(1, 3000, 3000)
		c.hub.trim(100)
		c.hub.rate = replicator.NewSnapshotRate(1 << 20)
		c.hub.stop()
		c.hub.start()
		edge := c.relayer("edge", "hub")
		edge.await("a part", func() bool { s := edge.status().Snapshot; return s != nil && s.Chunks >= 2 })
		stage, err := edge.db.Staged(ns)
		if err != nil {
			t.Fatal(err)
		}
		pin := stage.Chunks()[0].LSN
		edge.stop()
		c.hub.put(2, 3000, 1000)
		time.Sleep(20 * time.Second)
		if first := c.hub.ns().Status().FirstLSN; first > pin+1 {
			t.Errorf("the log begins at LSN %d, a chunk needs it from %d on", first, pin+1)
		}
		time.Sleep(2 * time.Minute)
		c.hub.put(3, 3000, 1000)
		c.hub.await("the log to be trimmed", func() bool { return c.hub.ns().Status().FirstLSN > pin+1 })
		edge.start("hub")
		edge.awaitSame(c.hub)
		edge.follows()
	})
}
