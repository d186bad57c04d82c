package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// healing is an owner and a replica whose log is to be damaged.
type healing struct {
	t     testing.TB
	owner *Namespace
	o     Options // of the replica
	fsys  vfs.FS  // its files, without faults
	db    *DB
	n     *Namespace
	keys  int
}

func newHealing(t testing.TB, mem vfs.FS, hooks vfs.Hooks) *healing {
	t.Helper()
	h := &healing{t: t, fsys: mem, o: replicaOptions(vfs.WithFaults(mem, hooks))}
	o := faultOptions(vfs.NewMem())
	for _, s := range []*StorageOptions{&h.o.Defaults.Storage, &o.Defaults.Storage} {
		s.MemtableSize = 1 << 20 // nothing is flushed unasked, and there are no marks to flush at
	}
	h.owner = createNS(t, openDB(t, o), "test")
	h.write(80) // a few segments
	db, err := Open(h.o)
	h.must(err)
	t.Cleanup(func() {
		if err := h.db.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	h.db = db
	h.n, err = db.Create("test", h.owner.Status().Lineage)
	h.must(err)
	h.catchUp()
	return h
}

func (h *healing) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *healing) write(keys int) {
	h.t.Helper()
	for range keys {
		putKey(h.t, h.owner, fmt.Sprintf("key/%04d", h.keys), fmt.Sprintf("%d%2000d", h.keys, h.keys))
		h.keys++
	}
}

func (h *healing) catchUp() {
	h.t.Helper()
	h.must(catchUpTo(testContext(h.t), h.n, h.owner))
}

// damage flips a bit of a record of the log, and has a scrub find it.
func (h *healing) damage(lsn uint64) {
	h.t.Helper()
	h.flip(lsn)
	if i := scrubNow(h.t, h.n); !i.LogDamaged {
		h.t.Fatalf("the damage isn't found: %+v", i)
	}
}

func (h *healing) flip(lsn uint64) {
	h.t.Helper()
	path := h.n.segmentOf(lsn).Path
	b, err := readFile(h.fsys, path)
	h.must(err)
	want := codec.NewMarkRecord(lsn, h.n.epoch.Load(), 0)[8:24] // LSN and epoch
	at := bytes.Index(b, want)
	if at < 0 {
		h.t.Fatalf("record LSN %d isn't in %s", lsn, filepath.Base(path))
	}
	f, err := h.fsys.Open(path)
	h.must(err)
	_, err = f.WritevAt([][]byte{{b[at+len(want)] ^ 1}}, int64(at+len(want)))
	h.must(errors.Join(err, f.Sync(), f.Close()))
}

func (h *healing) reopen() {
	h.t.Helper()
	h.must(h.db.Close())
	var err error
	h.db, err = Open(h.o)
	h.must(err)
	h.n, err = h.db.Namespace("test")
	h.must(err)
}

// healed checks that the log is sound and begins behind a record, and that all is there.
func (h *healing) healed(lsn uint64) {
	h.t.Helper()
	if i := h.n.Integrity(); i.LogDamaged || i.LogDamagedLSN != 0 {
		h.t.Errorf("healed, the log is still said to be damaged: %+v", i)
	}
	if first := h.n.Status().FirstLSN; first <= lsn {
		h.t.Errorf("the log begins with LSN %d, damaged was %d", first, lsn)
	}
	if i := scrubNow(h.t, h.n); i.Damaged() {
		h.t.Errorf("healed, a scrub finds %+v", i)
	}
	h.must(sameState(testContext(h.t), h.n, h.owner))
}

// TestHealLog damages a record in a closed segment, and in the one that is written to,
// above the checkpoint and below.
func TestHealLog(t *testing.T) {
	for _, place := range []string{"closed, flushed", "closed", "active, flushed", "active", "two segments"} {
		t.Run(place, func(t *testing.T) {
			h := newHealing(t, vfs.NewMem(), vfs.Hooks{})
			last := h.n.Status().LSN
			lsn := last - 1
			if place == "closed" || place == "closed, flushed" || place == "two segments" {
				lsn = h.n.log.Segments()[1].FirstLSN + 3
			}
			flushed := place == "closed, flushed" || place == "active, flushed"
			if flushed {
				flush(t, h.n)
			}
			if below := h.n.Status().CheckpointLSN >= lsn; below != flushed {
				t.Fatalf("LSN %d is to be damaged, the checkpoint is at %d", lsn, h.n.Status().CheckpointLSN)
			}
			tail, err := h.n.Tail("slow", 2)
			h.must(err)
			defer tail.Close()
			h.n.ring.Store(nil)
			h.damage(lsn)
			damaged, err := readFile(h.fsys, h.n.segmentOf(lsn).Path)
			h.must(err)
			worst := lsn
			if place == "two segments" {
				worst = h.n.log.Segments()[2].FirstLSN
				h.damage(worst)
				if i := h.n.Integrity(); i.LogDamagedLSN != lsn {
					t.Fatalf("LSNs %d and %d are damaged: %+v", lsn, worst, i)
				}
			}
			h.must(h.n.HealLog(testContext(t)))
			h.healed(worst)
			if _, err := tail.Next(context.Background(), 1); !errors.Is(err, ErrTrimmed) {
				t.Errorf("a reader of what is gone: %v", err)
			}
			aside, err := h.db.Aside()
			if err != nil || len(aside) != 1 && place != "two segments" || len(aside) == 0 {
				t.Fatalf("aside: %+v, %v", aside, err)
			}
			if a := aside[0]; a.FirstLSN > lsn || a.LastLSN < lsn || a.Directory || a.Reason == "" {
				t.Errorf("aside: %+v", a)
			}
			if got, err := readFile(h.fsys, aside[0].Path); err != nil || !bytes.Equal(got, damaged) {
				t.Errorf("what is aside isn't the damaged segment: %v", err)
			}
			h.reopen()
			h.write(40)
			h.catchUp()
			h.healed(worst)
			h.must(h.n.HealLog(testContext(t))) // there is nothing to do
		})
	}
}

// TestHealLogWaitsForCommit damages a record that isn't committed: nothing is touched
// before it is.
func TestHealLogWaitsForCommit(t *testing.T) {
	h := newHealing(t, vfs.NewMem(), vfs.Hooks{})
	before := h.n.Status()
	h.write(3)
	tail, err := h.owner.Tail("test", before.LSN+1)
	h.must(err)
	defer tail.Close()
	for h.n.Status().LSN < h.owner.Status().LSN {
		run, err := tail.Next(testContext(t), 1<<20)
		h.must(err)
		h.must(h.n.Append(testContext(t), run.Records, before.CommitLSN))
	}
	lsn := before.LSN + 2
	h.damage(lsn)
	first := h.n.Status().FirstLSN
	if err := h.n.HealLog(testContext(t)); !errors.Is(err, ErrNotCaughtUp) {
		t.Fatalf("LSN %d isn't committed: %v", lsn, err)
	}
	if s, i := h.n.Status(), h.n.Integrity(); s.FirstLSN != first || !i.LogDamaged {
		t.Errorf("something was touched: first LSN %d, was %d; %+v", s.FirstLSN, first, i)
	}
	h.n.SetCommit(h.owner.Status().LSN)
	h.must(h.n.HealLog(testContext(t)))
	h.healed(lsn)
}

// TestHealLogNeedsTheFlush: where the B+tree can't take what the log has, the log stays.
func TestHealLogNeedsTheFlush(t *testing.T) {
	var full atomic.Bool
	h := newHealing(t, vfs.NewMem(), vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
		if full.Load() && o.Kind.Writes() {
			return &vfs.Fault{Err: syscall.ENOSPC}
		}
		return nil
	}})
	lsn := h.n.log.Segments()[1].FirstLSN
	h.damage(lsn)
	full.Store(true)
	if err := h.n.HealLog(testContext(t)); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("on a full disk: %v", err)
	}
	if s, i := h.n.Status(), h.n.Integrity(); s.FirstLSN > lsn || i.LogDamagedLSN != lsn {
		t.Errorf("something was touched: first LSN %d; %+v", s.FirstLSN, i)
	}
	full.Store(false)
	h.must(h.n.HealLog(testContext(t)))
	h.healed(lsn)
	if a := onlyAside(t, h.db); a.FirstLSN > lsn || a.LastLSN < lsn {
		t.Errorf("aside: %+v", a)
	}
}

// TestHealLogIsForReplicas: an owner's log is what others follow.
func TestHealLogIsForReplicas(t *testing.T) {
	n := newTestNS(t)
	putKey(t, n, "a", "b")
	if err := n.HealLog(testContext(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("an owner: %v", err)
	}
}

// TestTrimForgetsLogDamage: what was damaged and is trimmed isn't damage any more, also
// where a reader that was in it says so late.
func TestTrimForgetsLogDamage(t *testing.T) {
	h := newHealing(t, vfs.NewMem(), vfs.Hooks{})
	segment := h.n.log.Segments()[0]
	h.damage(segment.FirstLSN + 3)
	flush(t, h.n)
	h.must(h.n.log.DropThrough(segment.LastLSN, nil))
	h.n.forgetLogDamage()
	h.n.noteLogDamage(segment.FirstLSN+3, codec.ErrCorrupt)
	if i := h.n.Integrity(); i.LogDamaged {
		t.Errorf("integrity %+v", i)
	}
}

// TestCrashPointsOfHealLog cuts the power before every operation of HealLog that changes
// the disk. There is the damaged log or the healed one, never one with a gap, and from
// the damaged one it is healed again.
func TestCrashPointsOfHealLog(t *testing.T) {
	seed, duration := longForm(t)
	ctx, stop := context.WithTimeout(context.Background(), duration)
	defer stop()
	seen := map[string]int{}
	for first := seed; seed < first+12 || ctx.Err() == nil; seed++ {
		crashHealLog(t, seed, seen)
	}
	t.Logf("crash points: %v", seen)
	if seen["damaged"] == 0 || seen["healed"] == 0 {
		t.Errorf("crash points: %v", seen)
	}
}

// healPoint is a disk after a power cut.
type healPoint struct {
	op   string
	fs   *vfs.Mem
	done bool // HealLog had answered
}

func crashHealLog(t *testing.T, seed uint64, seen map[string]int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 31))
	mem := vfs.NewMem()
	points := healPoints{drawing: rand.New(rand.NewPCG(seed, 32))}
	h := newHealing(t, mem, vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
		if o.Kind.Writes() {
			points.add(o.String(), mem)
		}
		return nil
	}})
	if rng.IntN(2) == 0 {
		flush(t, h.n)
		h.write(10)
		h.catchUp()
	}
	lsn := 3 + rng.Uint64N(h.n.Status().LSN-3)
	// Where an open finds the damage at once, the namespace is quarantined.
	refused := h.n.point.Load().LSN < lsn || !h.n.segmentOf(lsn).Closed
	h.damage(lsn)
	points.record(true, false)
	h.must(h.n.HealLog(testContext(t)))
	points.record(true, true)
	h.write(1)
	h.catchUp()
	points.record(false, true)
	h.healed(lsn)
	for i, p := range points.all {
		what, err := verifyHealed(t, h, p, lsn, refused)
		if err != nil {
			t.Fatalf("SEED=%d: LSN %d, crash %d, before %s: %v", seed, lsn, i, p.op, err)
		}
		seen[what]++
	}
}

// verifyHealed opens the disk of a point, and says what is there.
func verifyHealed(t *testing.T, h *healing, p healPoint, lsn uint64, refused bool) (what string, err error) {
	o := h.o
	o.FS = p.fs
	db, err := Open(o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n, err := db.Namespace("test")
	if err != nil {
		return "", err
	}
	s := n.Status()
	if s.State == StateQuarantined && s.Code == "DAMAGED" && refused && !p.done {
		return "quarantined", nil
	}
	if s.State != StateServing {
		return "", fmt.Errorf("%s: %s", s.State, s.Reason)
	}
	what = "healed"
	if i := scrubNow(t, n); i.LogDamaged {
		what = "damaged"
		if p.done || i.LogDamagedLSN != lsn {
			return "", fmt.Errorf("integrity: %+v", i)
		}
		if err := n.HealLog(testContext(t)); err != nil {
			return "", err
		}
	} else if s.LSN < lsn && refused && !p.done {
		what = "torn" // damage to the very last group can't be told from that
	} else if s.FirstLSN <= lsn {
		return "", fmt.Errorf("the log begins with LSN %d and isn't damaged", s.FirstLSN)
	}
	return what, sameState(testContext(t), n, h.owner)
}

// healPoints collects points while it is told to.
type healPoints struct {
	mu        sync.Mutex
	drawing   *rand.Rand
	recording bool
	done      bool
	all       []healPoint
}

func (c *healPoints) record(on, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recording, c.done = on, done
}

func (c *healPoints) add(op string, mem *vfs.Mem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recording {
		c.all = append(c.all, healPoint{op: op, done: c.done, fs: mem.Crash(c.drawing, vfs.AnyCrash(c.drawing))})
	}
}
