package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// The crash test of stages copies a namespace into a database on a file system in
// memory, over one that is there already, installs it, has it fork, cuts the fork
// off, and sets it aside. Before every operation that changes the disk it notes what
// a power cut at this moment could leave, and what was acknowledged. Each of those
// disks is opened: the name has the old namespace or the new one, whole; of the stage
// there is what was acknowledged, and it goes on from there; what was taken away is in
// aside/.
//
// SEED=n starts with another seed, DURATION=10m goes on with new ones for that long.
func TestCrashPointsOfStage(t *testing.T) {
	seed, duration := longForm(t)
	ctx, stop := context.WithTimeout(context.Background(), duration)
	defer stop()
	points, deep := 0, 0
	for first := seed; seed < first+12 || ctx.Err() == nil; seed++ {
		r := newStageCrash(t, seed)
		r.run()
		points += len(r.points)
		deep += r.deep
	}
	t.Logf("%d crash points, %d copied on to the end", points, deep)
}

// How far the script of a run is.
const (
	copying    = iota // the old namespace is served, if there was one
	installing        // the old or the new one
	installed
	cutting // the new one, with its fork or without
	cut
	leaving // the new one, or the name is free
	left
)

// stageCrash is one run of the script.
type stageCrash struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	mem   *vfs.Mem
	owner *Namespace
	busy  *busy

	mu      sync.Mutex // guards what follows
	drawing *rand.Rand
	now     stageKnown
	points  []stagePoint
	deep    int
}

// stageKnown is what is acknowledged at a moment.
type stageKnown struct {
	phase    int
	hadOld   bool
	forked   bool // the old one, so that it is set aside
	old      uint64
	chunks   []StagedChunk
	finished bool
	log      uint64 // last LSN of the stage's log
	ready    bool
	target   uint64 // the new one's first LSN to be served with
	end      uint64 // of the new one, before it forks
	fork     uint64 // last record of the fork
}

type stagePoint struct {
	op    string
	fs    *vfs.Mem
	known stageKnown
}

func newStageCrash(t *testing.T, seed uint64) *stageCrash {
	t.Helper()
	r := &stageCrash{
		t: t, seed: seed, mem: vfs.NewMem(),
		rng: rand.New(rand.NewPCG(seed, 21)), drawing: rand.New(rand.NewPCG(seed, 22)),
	}
	r.busy = busyOwner(t, faultOptions(vfs.NewMem()), r.rng)
	r.owner = r.busy.n
	return r
}

func (r *stageCrash) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("SEED=%d: %v", r.seed, err)
	}
}

// know notes what has been acknowledged, or begun.
func (r *stageCrash) know(change func(k *stageKnown)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.now)
}

func (r *stageCrash) before(o vfs.Op) *vfs.Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.Kind.Writes() {
		r.points = append(r.points, stagePoint{op: o.String(), known: r.now, fs: r.mem.Crash(r.drawing, vfs.AnyCrash(r.drawing))})
	}
	return nil
}

func (r *stageCrash) run() {
	ctx := testContext(r.t)
	o := replicaOptions(vfs.WithFaults(r.mem, vfs.Hooks{Before: r.before}))
	db, err := Open(o)
	r.check(err)
	r.makeOld(db)
	c := &copier{rng: r.rng, from: r.owner, to: db, name: "test"}
	defer c.end()
	for ready := false; !ready; {
		for range r.rng.IntN(3) {
			r.busy.write()
		}
		if r.rng.IntN(12) == 0 {
			r.check(db.Close())
			db, err = Open(o)
			r.check(err)
			c.to, c.stage = db, nil
		}
		if c.stage == nil {
			r.know(func(k *stageKnown) { k.chunks, k.finished, k.log = nil, false, 0 }) // a rebase may drop them
		}
		ready, err = c.step(ctx)
		r.check(err)
		r.acknowledge(c.stage, ready)
	}
	c.end()
	n := r.install(ctx, c.stage)
	n = r.truncate(ctx, db, n)
	r.know(func(k *stageKnown) { k.phase = leaving })
	r.check(db.SetAside(ctx, n.name, "it leaves"))
	r.know(func(k *stageKnown) { k.phase = left })
	r.check(db.Close())
	for i, p := range r.points {
		if err := r.verify(p, i%9 == 0); err != nil {
			r.t.Fatalf("SEED=%d: crash %d, before %s: %v (known: %+v)", r.seed, i, p.op, err, p.known)
		}
	}
}

// makeOld makes what the stage will replace: nothing, a replica that is behind, or
// one that has forked.
func (r *stageCrash) makeOld(db *DB) {
	if r.seed%3 == 0 {
		return
	}
	n, err := db.Create("test", r.owner.Status().Lineage)
	r.check(err)
	r.check(catchUpTo(testContext(r.t), n, r.owner))
	forked := r.seed%3 == 1
	if forked {
		fork(r.t, n, r.owner, "forked")
		flush(r.t, n)
	}
	last := n.Status().LSN
	r.know(func(k *stageKnown) { k.hadOld, k.forked, k.old = true, forked, last })
}

func (r *stageCrash) acknowledge(s *Stage, ready bool) {
	finished, chunks, last := s.Finished(), s.Chunks(), uint64(0)
	if finished {
		chunks, last = nil, s.Log().Status().LSN
	}
	r.know(func(k *stageKnown) { k.ready, k.finished, k.chunks, k.log = ready, finished, chunks, last })
}

func (r *stageCrash) install(ctx context.Context, s *Stage) *Namespace {
	target := s.Log().point.Load().LSN
	r.know(func(k *stageKnown) { k.phase, k.target = installing, target })
	n, err := s.Install(ctx, "the test wants it")
	r.check(err)
	end := n.Status().LSN
	r.know(func(k *stageKnown) { k.phase, k.end = installed, end })
	return n
}

func (r *stageCrash) truncate(ctx context.Context, db *DB, n *Namespace) *Namespace {
	end := n.Status().LSN
	r.know(func(k *stageKnown) { k.phase, k.end, k.fork = cutting, end, end }) // from here on it may be longer
	fork(r.t, n, r.owner, "forked")
	after := n.Status().LSN - 2
	r.know(func(k *stageKnown) { k.end, k.fork = after, after+2 })
	n, err := db.Truncate(ctx, "test", after, "the fork")
	r.check(err)
	r.know(func(k *stageKnown) { k.phase = cut })
	return n
}

// verify opens the disk of a point. A deep one also goes on from there to the end.
func (r *stageCrash) verify(p stagePoint, deep bool) (err error) {
	o := replicaOptions(p.fs)
	o.Logger = hclog.NewNullLogger()
	db, err := Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n, err := db.Namespace("test")
	if errors.Is(err, ErrNamespaceNotFound) {
		n, err = nil, nil
	}
	if err != nil {
		return err
	}
	fresh, err := r.verifyName(db, n, p.known)
	if err == nil {
		err = r.verifyDirs(db, p.known)
	}
	if err != nil || fresh || p.known.phase > installing {
		return err
	}
	if err := r.verifyStage(db, p.known); err != nil || !deep {
		return err
	}
	r.deep++
	return r.goOn(db)
}

// verifyName checks what has the name, and what must be in aside/ then. It answers
// whether that is the new namespace.
func (r *stageCrash) verifyName(db *DB, n *Namespace, k stageKnown) (fresh bool, err error) {
	if n == nil {
		switch {
		case k.phase >= leaving:
			return false, r.isAside(db, true, "it leaves")
		case k.hadOld || k.phase >= installed:
			return false, errors.New("the namespace is gone")
		}
		return false, nil
	}
	if k.phase == left {
		return false, errors.New("a namespace that was set aside is there")
	}
	s := n.Status()
	if s.State != StateServing {
		return false, fmt.Errorf("%s: %s", s.State, s.Reason)
	}
	if err := sound(n); err != nil {
		return false, err
	}
	fresh = k.phase >= installed || k.phase == installing && (!k.hadOld || s.LSN >= k.target && !r.hasKey(n, "forked"))
	switch {
	case !fresh && k.hadOld && s.LSN != k.old:
		return false, fmt.Errorf("the old namespace ends at LSN %d, expected %d", s.LSN, k.old)
	case !fresh && !k.hadOld && k.phase < installing && s.LSN != 0:
		// It is being made, or caught up, before it counts as the old one.
		return false, nil
	case fresh && s.LSN < max(k.target, k.end):
		return true, fmt.Errorf("the new namespace ends at LSN %d, expected %d", s.LSN, max(k.target, k.end))
	case k.phase >= cut && s.LSN != k.end:
		return true, fmt.Errorf("the log ends at LSN %d and was cut off behind %d", s.LSN, k.end)
	}
	if fresh && k.forked {
		if err := r.isAside(db, true, "the test wants it"); err != nil {
			return true, err
		}
		if err := r.isAside(db, false, "the test wants it"); err != nil {
			return true, err
		}
	}
	if k.phase == cutting && k.fork > k.end && s.LSN < k.fork || k.phase >= cut {
		if s.LSN != k.end {
			return true, fmt.Errorf("the log ends at LSN %d, neither at the fork's end %d nor where it was cut off, %d", s.LSN, k.fork, k.end)
		}
		return true, r.isAside(db, false, "the fork")
	}
	return fresh, nil
}

func (r *stageCrash) hasKey(n *Namespace, key string) bool {
	_, ok := getKey(r.t, n, key)
	return ok
}

// isAside checks that something was set aside for a reason, whole.
func (r *stageCrash) isAside(db *DB, directory bool, reason string) error {
	all, err := db.Aside()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(a Aside) bool {
		return a.Directory == directory && (a.Reason == reason || directory && a.Reason == strings.ReplaceAll(slug(reason), "-", " "))
	})
	if i < 0 {
		return fmt.Errorf("nothing is aside because of %q (directory: %v): %+v", reason, directory, all)
	}
	if directory {
		m, err := readMeta(db.opts.FS, all[i].Path)
		if err == nil && m.Lineage != r.owner.lineage {
			err = fmt.Errorf("what is aside is of lineage %s", m.Lineage)
		}
		return err
	}
	records := readLines(r.t, db.opts.FS, all[i].Path)
	if len(records) != 2 || records[0].LSN != all[i].FirstLSN || *records[1].Ops[0].Key != "forked" {
		return fmt.Errorf("the file of the fork has %+v", records)
	}
	return nil
}

// verifyDirs checks that nothing is left that nobody owns.
func (r *stageCrash) verifyDirs(db *DB, k stageKnown) error {
	for _, dir := range []string{namespacesDir, incomingDir} {
		names, err := db.opts.FS.List(filepath.Join(db.opts.Dir, dir))
		if err != nil && k.phase > copying {
			return err
		}
		for _, name := range names {
			if name != "test" {
				return fmt.Errorf("%s has %v", dir, names)
			}
		}
	}
	return nil
}

// verifyStage checks that the stage has what it has acknowledged.
func (r *stageCrash) verifyStage(db *DB, k stageKnown) error {
	s, err := db.Staged("test")
	if errors.Is(err, ErrNamespaceNotFound) && len(k.chunks) == 0 && !k.finished {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the stage: %w", err)
	}
	switch {
	case k.ready && !s.Ready():
		return errors.New("the stage was ready and isn't")
	case k.finished && (!s.Finished() || s.Log().Status().LSN < k.log):
		return fmt.Errorf("the stage's log was at LSN %d, now finished %v", k.log, s.Finished())
	case k.finished || s.Finished():
		return nil
	}
	chunks := s.Chunks()
	for _, c := range k.chunks {
		if !slices.ContainsFunc(chunks, func(o StagedChunk) bool {
			return string(o.Start) == string(c.Start) && string(o.End) == string(c.End) && o.LSN >= c.LSN
		}) {
			return fmt.Errorf("the chunk from %x on is lost: %v", c.Start, chunks)
		}
	}
	return nil
}

// goOn copies on from where the crash was.
func (r *stageCrash) goOn(db *DB) error {
	ctx := testContext(r.t)
	c := &copier{rng: r.rng, from: r.owner, to: db, name: "test"}
	defer c.end()
	n, err := c.finish(ctx)
	if err == nil {
		err = sameState(ctx, n, r.owner)
	}
	return err
}
