package replicator_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 0, "first seed of TestChaos")
	chaosSeeds = flag.Int("chaos.seeds", 60, "number of seeds of TestChaos")
)

// TestChaos drives an owner, relayers, a relayer of relayers and one more hop
// through seeded schedules of writes, cuts, stalls, crashes and slow disks. At every
// append it checks that the record is the owner's, byte for byte, comes without a gap and is
// committed; at the end that everybody has every acknowledged write.
func TestChaos(t *testing.T) {
	first, enough := seeds(t, *chaosSeed, *chaosSeeds)
	for seed := first; !enough(seed - first); seed++ {
		if !t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newChaos(t, seed).run() })
		}) {
			t.Fatalf("again: go test -run TestChaos -chaos.seed=%d -chaos.seeds=1", seed)
		}
	}
}

// seeds says with which seed to begin and after how many to stop: the long
// form (DURATION) takes new ones until its time is over.
func seeds(t *testing.T, from uint64, n int) (first uint64, enough func(done uint64) bool) {
	if testing.Short() {
		n = 10
	}
	long := os.Getenv("DURATION")
	if long == "" {
		return from, func(done uint64) bool { return done >= uint64(n) }
	}
	d, err := time.ParseDuration(long)
	if err != nil {
		t.Fatalf("DURATION: %v", err)
	}
	first, end := rand.Uint64()>>1, time.Now().Add(d)
	t.Logf("seeds from %d on, for %v", first, d)
	return first, func(uint64) bool { return time.Now().After(end) }
}

type chaos struct {
	t       *testing.T
	network *replicatortest.Network
	owner   *node
	nodes   []*node // relayers
	sources map[*node][]string
	epoch   uint64

	mu   sync.Mutex // guards rand, which nodes use, too
	rand *rand.Rand
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{t: t, network: replicatortest.NewNetwork(), rand: rand.New(rand.NewPCG(seed, 3)), epoch: 1}
	c.network.Delay = func() time.Duration { return time.Duration(c.n(2000)) * time.Microsecond }
	c.owner = newNode(t, c.network, "hub")
	c.owner.heartbeat = time.Second
	c.owner.ownerLog()
	c.sources = make(map[*node][]string)
	for id, sources := range map[string][]string{
		"a": {"hub"}, "b": {"hub", "a"}, "c": {"a", "b"}, "d": {"c"},
	} {
		n := newNode(t, c.network, id)
		n.store.Prepare = c.watch
		n.heartbeat = time.Second
		c.sources[n] = sources
		c.nodes = append(c.nodes, n)
	}
	return c
}

func (c *chaos) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rand.IntN(n)
}

func (c *chaos) node() *node { return c.nodes[c.n(len(c.nodes))] }

var errPassing = errors.New("a fault that passes")

// watch checks each record that a replica takes.
func (c *chaos) watch(l *replicatortest.Log) {
	l.OnAppend = func(lsn uint64, record []byte) {
		owner := c.owner.log()
		if commit := owner.Status().CommitLSN; lsn > commit {
			c.t.Errorf("LSN %d is ahead of the owner's commit LSN %d", lsn, commit)
		}
		if !bytes.Equal(owner.Get(lsn), record) {
			c.t.Errorf("LSN %d differs from the owner's", lsn)
		}
	}
	l.AppendDelay = func() time.Duration {
		if c.n(50) == 0 {
			return time.Duration(c.n(3000)) * time.Millisecond
		}
		return time.Duration(c.n(3)) * time.Millisecond
	}
	l.AppendErr = func() error {
		if c.n(60) == 0 {
			return errPassing
		}
		return nil
	}
}

func (c *chaos) run() {
	defer func() {
		for _, n := range append(c.nodes, c.owner) {
			n.stop()
		}
		windDown()
	}()
	c.owner.serve()
	for _, n := range c.nodes {
		n.serve()
		n.follow(c.sources[n]...)
	}
	steps := []func(){
		c.write, c.write, c.write, c.write, c.writeUnsynced, c.writeLarge, c.cut, c.cut, c.stall, c.restart, c.restartOwner,
	}
	for range 25 + c.n(25) {
		steps[c.n(len(steps))]()
		time.Sleep(time.Duration(c.n(400)) * time.Millisecond)
	}
	c.owner.log().Sync()
	for _, n := range c.nodes {
		n.awaitEqual(c.owner.log())
	}
	for _, n := range c.nodes {
		n.await("no lag", func() bool { return n.status().Lag.Records == 0 && n.status().Lag.Behind == 0 })
	}
}

func (c *chaos) write() { write(c.owner.log(), 1+c.n(40)) }

func (c *chaos) writeLarge() {
	if c.n(4) == 0 {
		c.owner.log().Write(make([]byte, 1<<20+c.n(1<<20)))
	}
}

func (c *chaos) writeUnsynced() {
	for i := range 1 + c.n(5) {
		c.owner.log().WriteUnsynced(payload(c.n(1000) + i))
	}
}

func (c *chaos) cut() { c.network.Cut(c.address()) }

func (c *chaos) address() string {
	if c.n(3) == 0 {
		return "hub"
	}
	return c.node().id
}

// stall lets a node's connections swallow everything for a while.
func (c *chaos) stall() {
	address := c.address()
	c.network.Stall(address, true)
	time.Sleep(time.Duration(c.n(8000)) * time.Millisecond)
	c.network.Stall(address, false)
}

// restart kills a relayer: it forgets part of the commit LSN.
func (c *chaos) restart() {
	n := c.node()
	n.stop()
	if l := n.log(); l != nil {
		l.Crash(uint64(c.n(int(l.Status().CommitLSN) + 1)))
	}
	time.Sleep(time.Duration(c.n(2000)) * time.Millisecond)
	n.serve()
	n.follow(c.sources[n]...)
}

// restartOwner kills the owner: it loses what wasn't synced, and begins an epoch.
func (c *chaos) restartOwner() {
	c.owner.stop()
	c.owner.log().Crash(^uint64(0))
	time.Sleep(time.Duration(c.n(2000)) * time.Millisecond)
	c.epoch++
	c.owner.log().StartEpoch(c.epoch)
	c.owner.serve()
}
