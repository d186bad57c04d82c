package replicator_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	"github.com/unisondb/unisondb/replicator"
)

// oldCopy returns the node's disk, whole, as it is at the moment.
func (n *diskNode) oldCopy() *vfs.Mem { return n.copyDisk(1, vfs.CrashOptions{Keep: 1}) }

// chain makes two relayers, one behind the other, that have what the hub has.
func (c *diskCluster) chain(memtable int64) (edge, far *diskNode) {
	edge, far = c.node("edge"), c.node("far")
	for n, source := range map[*diskNode]string{edge: "hub", far: "edge"} {
		n.memtable, n.logBytes = memtable, 1<<30
		n.start(source)
	}
	c.hub.write("a", []byte("b"))
	edge.awaitSame(c.hub)
	far.awaitSame(c.hub)
	return edge, far
}

// asideWords returns what a node has set aside of records, as text.
func (n *diskNode) asideWords() (all string) {
	n.t.Helper()
	aside, err := n.db.Aside()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, a := range aside {
		if a.Directory {
			continue
		}
		f, err := n.fs.OpenRead(a.Path)
		if err != nil {
			n.t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			n.t.Fatal(err)
		}
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil {
			n.t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			n.t.Fatal(err)
		}
		if got := bytes.Count(b, []byte("\n")); got < int(a.Records) || a.LastLSN-a.FirstLSN+1 != a.Records {
			n.t.Errorf("%s: %+v has %d lines", n.id, a, got)
		}
		all += string(b)
	}
	return all
}

// TestForkTruncated: the owner comes back from an old copy of its disk. Followers keep what they have,
// and say so, until it writes again; then they cut off what it doesn't have, hop by hop, and keep it aside.
func TestForkTruncated(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		edge, far := c.chain(16 << 20)
		old := c.hub.oldCopy()
		lost := c.hub.write("lost", []byte("acknowledged, and gone"))
		c.hub.write("lost too", []byte("x"))
		for _, n := range []*diskNode{edge, far} {
			n.await("what will be lost", func() bool { return n.commit() >= lost.LSN+1 })
		}
		c.hub.restartFrom(old)
		edge.await("the complaint", func() bool { return edge.status().Code == replicator.CodeSourceBehind })
		time.Sleep(time.Minute)
		for _, n := range []*diskNode{edge, far} {
			if got := n.get("lost"); got == "" {
				t.Fatalf("%s dropped what its source merely doesn't have", n.id)
			}
		}
		c.hub.write("new", []byte("value"))
		for _, n := range []*diskNode{edge, far} {
			n.await("the cut", func() bool { return n.status().Forks.Truncated == 1 })
			n.awaitSame(c.hub)
			n.follows()
			if got := n.get("lost"); got != "" {
				t.Errorf("%s: %q is still there", n.id, got)
			}
			if words := n.asideWords(); !strings.Contains(words, fmt.Sprint(lost.LSN)) {
				t.Errorf("%s: set aside: %s", n.id, words)
			}
			if st := n.status(); st.Forks.Replaced != 0 || !strings.Contains(st.Forks.Last, "set aside") {
				t.Errorf("%s: %+v", n.id, st.Forks)
			}
		}
	})
}

// TestForkPastCheckpoint: where the B+tree has what must go, a new copy takes its place, and all of the old
// one goes aside.
func TestForkPastCheckpoint(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		edge, far := c.chain(dbkernel.MinMemtableSize)
		old := c.hub.oldCopy()
		lost := c.hub.write("lost", []byte("acknowledged, and gone"))
		c.hub.put(1, 200, 200)
		for _, n := range []*diskNode{edge, far} {
			n.awaitSame(c.hub)
			n.await("a checkpoint", func() bool { return n.ns().Status().CheckpointLSN > lost.LSN })
		}
		c.hub.restartFrom(old)
		edge.await("the complaint", func() bool { return edge.status().Code == replicator.CodeSourceBehind })
		c.hub.write("new", []byte("value"))
		for _, n := range []*diskNode{edge, far} {
			n.await("the new copy", func() bool { return n.status().Forks.Replaced == 1 })
			n.awaitSame(c.hub)
			n.follows()
			if got := n.get("lost"); got != "" {
				t.Errorf("%s: %q is still there", n.id, got)
			}
			aside, err := n.db.Aside()
			if err != nil || len(aside) == 0 || !aside[0].Directory && !aside[len(aside)-1].Directory {
				t.Errorf("%s: set aside: %+v, %v", n.id, aside, err)
			}
			if words := n.asideWords(); !strings.Contains(words, fmt.Sprint(lost.LSN)) {
				t.Errorf("%s: set aside: %s", n.id, words)
			}
		}
	})
}

// TestAnotherLineage: a namespace that was made anew at the hub, whose disk was lost, is not followed
// before an operator says so; until then, what was there is served.
func TestAnotherLineage(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		edge, far := c.chain(dbkernel.MinMemtableSize)
		c.hub.put(1, 100, 100)
		edge.awaitSame(c.hub)
		far.awaitSame(c.hub)
		other := dbkernel.Lineage{9}
		c.hub.restartFrom(vfs.NewMem())
		c.hub.create(other)
		c.hub.write("a", []byte("new"))
		edge.await("the complaint", func() bool { return edge.status().Code == replicator.CodeLineageMismatch })
		time.Sleep(2 * time.Minute)
		st := edge.status()
		if st.State != replicator.StateStalled || !strings.Contains(st.Reason, "operator namespace accept") || !strings.Contains(st.Reason, other.String()) {
			t.Errorf("%+v", st)
		}
		if got := edge.get("a"); got != "b" {
			t.Errorf("%q is served", got)
		}
		// A lineage that nobody has changes nothing but the words.
		edge.accepted.Store(&dbkernel.Lineage{8})
		time.Sleep(2 * time.Minute)
		if got := edge.get("a"); got != "b" || edge.status().Code != replicator.CodeLineageMismatch {
			t.Errorf("%q is served: %+v", got, edge.status())
		}
		edge.accepted.Store(&other)
		edge.awaitSame(c.hub)
		edge.follows()
		if st := edge.status(); st.Forks.Replaced != 1 || !strings.Contains(st.Forks.Last, other.String()) {
			t.Errorf("%+v", st.Forks)
		}
		if aside, err := edge.db.Aside(); err != nil || len(aside) != 1 || !aside[0].Directory {
			t.Errorf("set aside: %+v, %v", aside, err)
		}
		// The relayer behind it has been asked for nothing, and keeps what it has.
		far.await("the complaint", func() bool { return far.status().Code == replicator.CodeLineageMismatch })
		if got := far.get("a"); got != "b" {
			t.Errorf("%q is served", got)
		}
		far.accepted.Store(&other)
		far.awaitSame(c.hub)
		far.follows()
	})
}

// TestForkDuringSnapshot: the source of a snapshot is put back to an old copy of its disk in the middle; what had
// arrived and isn't its history is asked for again, and only that.
func TestForkDuringSnapshot(t *testing.T) {
	cluster(t, func(c *diskCluster) {
		c.hub.put(1, 3000, 3000)
		c.hub.trim(100)
		old := c.hub.oldCopy()
		c.hub.put(2, 3000, 100)
		c.hub.rate = replicator.NewSnapshotRate(1 << 20)
		c.hub.stop()
		c.hub.start()
		edge := c.relayer("edge", "hub")
		edge.await("a part", func() bool { s := edge.status().Snapshot; return s != nil && s.Chunks >= 2 })
		c.hub.restartFrom(old)
		edge.await("the complaint", func() bool { return edge.status().Code == replicator.CodeSourceBehind })
		if edge.ns() != nil {
			t.Error("a part of a copy has become the namespace")
		}
		c.hub.write("new", []byte("value"))
		edge.awaitSame(c.hub)
		edge.follows()
	})
}
