package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// stageOf makes a ready stage of the owner's state in db.
func stageOf(t testing.TB, db *DB, owner *Namespace) *Stage {
	t.Helper()
	c := &copier{rng: rand.New(rand.NewPCG(1, 1)), from: owner, to: db, name: "test"}
	defer c.end()
	for ready := false; !ready; {
		var err error
		if ready, err = c.step(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	return c.stage
}

func replicaDB(t testing.TB) *DB {
	t.Helper()
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Replica = true
	return openDB(t, o)
}

// fork makes the replica end with records that its owner hasn't, of another epoch.
func fork(t testing.TB, replica, owner *Namespace, key string) (records uint64) {
	t.Helper()
	if err := catchUpTo(testContext(t), replica, owner); err != nil {
		t.Fatal(err)
	}
	s := replica.Status()
	epoch := codec.NewEpochRecord(s.LSN+1, s.Epoch+1, replica.head.time, 4711)
	var b codec.Builder
	b.PutKV([]byte(key), []byte("only here"), codec.Expiry{})
	put := b.Seal(s.LSN+2, s.Epoch+1, replica.head.time)
	if err := replica.Append(testContext(t), [][]byte{epoch, put}, s.LSN+2); err != nil {
		t.Fatal(err)
	}
	return 2
}

// TestInstallOverFork replaces a namespace whose B+tree is past the fork: what only
// it has is set aside, whole and in a readable file, and its handle is superseded.
func TestInstallOverFork(t *testing.T) {
	ctx := testContext(t)
	owner := newTestNS(t)
	putKey(t, owner, "a", "1")
	db, old := replicaOf(t, owner)
	common := old.Status().LSN
	fork(t, old, owner, "forked")
	flush(t, old)
	putKey(t, owner, "b", "2")
	if _, err := db.Truncate(ctx, "test", common, "fork"); !errors.Is(err, ErrPastFork) {
		t.Fatalf("%v", err)
	}
	// A higher epoch than any that the source has begun: it must not be used again.
	m := old.meta
	m.LastEpoch += 5
	if err := m.write(db.opts.FS, old.dir); err != nil {
		t.Fatal(err)
	}
	stage := stageOf(t, db, owner)
	wantKey(t, old, "forked", "only here") // served until then
	n, err := stage.Install(ctx, "past the fork")
	if err != nil {
		t.Fatal(err)
	}
	wantKey(t, n, "b", "2")
	wantNoKey(t, n, "forked")
	if _, err := old.View(); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the old handle: %v", err)
	}
	if n.meta.LastEpoch < m.LastEpoch {
		t.Errorf("epoch %d was begun here, meta.json knows %d", m.LastEpoch, n.meta.LastEpoch)
	}
	if err := sameState(ctx, n, owner); err != nil {
		t.Error(err)
	}
	all, err := db.Aside()
	if err != nil || len(all) != 2 {
		t.Fatalf("aside: %+v, %v", all, err)
	}
	dirs := slices.IndexFunc(all, func(a Aside) bool { return a.Directory })
	if dirs < 0 || all[0].Reason != "past the fork" || all[1].Reason != "past the fork" {
		t.Fatalf("aside: %+v", all)
	}
	records := readLines(t, db.opts.FS, all[1-dirs].Path)
	if len(records) != 2 || records[0].LSN != common+1 || *records[1].Ops[0].Key != "forked" {
		t.Errorf("%+v", records)
	}
	if err := stage.Put(ctx, nil); !errors.Is(err, ErrSuperseded) {
		t.Errorf("an installed stage takes chunks: %v", err)
	}
	if _, err := db.Staged("test"); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("an installed stage is still there: %v", err)
	}
	left, err := db.opts.FS.List(filepath.Join(db.opts.Dir, incomingDir))
	if err != nil || len(left) != 0 {
		t.Errorf("incoming has %v, %v", left, err)
	}
}

// TestInstallOverPrefix replaces a namespace that has nothing of its own: nothing is
// set aside.
func TestInstallOverPrefix(t *testing.T) {
	ctx := testContext(t)
	owner := newTestNS(t)
	putKey(t, owner, "a", "1")
	db, _ := replicaOf(t, owner)
	putKey(t, owner, "b", "2")
	n, err := stageOf(t, db, owner).Install(ctx, "too far behind")
	if err != nil {
		t.Fatal(err)
	}
	wantKey(t, n, "b", "2")
	if all, err := db.Aside(); err != nil || len(all) != 0 {
		t.Errorf("aside: %+v, %v", all, err)
	}
	names, err := db.opts.FS.List(filepath.Join(db.opts.Dir, namespacesDir))
	if err != nil || len(names) != 1 {
		t.Errorf("namespaces has %v, %v", names, err)
	}
	if err := sameState(ctx, n, owner); err != nil {
		t.Error(err)
	}
}

// TestInstallOverFrozen replaces one that has nothing of its own, but has stopped.
func TestInstallOverFrozen(t *testing.T) {
	owner := newTestNS(t)
	putKey(t, owner, "a", "1")
	db, old := replicaOf(t, owner)
	_ = old.freeze(errors.New("a test"))
	n, err := stageOf(t, db, owner).Install(testContext(t), "it stopped")
	if err != nil {
		t.Fatal(err)
	}
	wantKey(t, n, "a", "1")
	if a := onlyAside(t, db); !a.Directory {
		t.Errorf("%+v", a)
	}
}

// TestInstallOverDamage replaces one that can't be opened, and one of another lineage.
func TestInstallOverDamage(t *testing.T) {
	for _, damaged := range []bool{true, false} {
		t.Run(fmt.Sprint("damaged=", damaged), func(t *testing.T) {
			ctx := testContext(t)
			owner := newTestNS(t)
			putKey(t, owner, "a", "1")
			db := replicaDB(t)
			old, err := db.Create("test", Lineage{9})
			if err == nil && damaged {
				err = replaceFile(db.opts.FS, filepath.Join(old.dir, quarantineName), []byte("a test"))
			}
			if err != nil {
				t.Fatal(err)
			}
			n, err := stageOf(t, db, owner).Install(ctx, "accepted by an operator")
			if err != nil {
				t.Fatal(err)
			}
			wantKey(t, n, "a", "1")
			if a := onlyAside(t, db); !a.Directory {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestStageRefuses what would make it lie.
func TestStageRefuses(t *testing.T) {
	ctx := testContext(t)
	rng := rand.New(rand.NewPCG(3, 3))
	owner := busyOwner(t, testOptions(t, vfs.NewMem()), rng).n
	s := owner.Status()
	db := replicaDB(t)
	stage, err := db.Stage("test", s.Lineage)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := owner.ReadChunk(ctx, KeyRange{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	want := func(err, target error, what string) {
		t.Helper()
		if !errors.Is(err, target) {
			t.Errorf("%s: %v, expected %v", what, err, target)
		}
	}
	want(stage.Put(ctx, []Chunk{whole}), ErrGap, "a chunk of an epoch that the stage doesn't know")
	if err := stage.Rebase([]EpochStart{{Epoch: s.Epoch - 1, FirstLSN: 1}, {Epoch: s.Epoch, FirstLSN: s.LSN + 1}}, nil); err != nil {
		t.Fatal(err)
	}
	want(stage.Put(ctx, []Chunk{whole}), ErrFork, "a chunk of another history")
	if err := stage.Rebase(owner.EpochTable(), nil); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		bad := whole
		bad.Cells = slices.Clone(whole.Cells)
		bad.Cells[rng.IntN(len(bad.Cells))] ^= 1 << rng.IntN(8)
		want(stage.Put(ctx, []Chunk{bad}), ErrDamaged, "a flipped bit")
	}
	bad := whole
	bad.End = codec.KVKey([]byte("a"))
	want(stage.Put(ctx, []Chunk{bad}), ErrDamaged, "keys outside the range")
	bad = whole
	bad.LSN = 2
	want(stage.Put(ctx, []Chunk{bad}), ErrDamaged, "cells that are newer than the chunk")
	bad = whole
	bad.Count++
	want(stage.Put(ctx, []Chunk{bad}), ErrDamaged, "a wrong count")
	end, err := owner.SnapshotEnd(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want(stage.Finish(ctx, end), ErrNotReady, "finishing without chunks")
	if _, err := stage.Install(ctx, "x"); !errors.Is(err, ErrNotReady) {
		t.Errorf("installing without chunks: %v", err)
	}
	want(stage.WaitReady(ctx), ErrNotReady, "waiting without a log")
	if err := stage.Put(ctx, []Chunk{whole}); err != nil {
		t.Fatal(err)
	}
	want(stage.Put(ctx, []Chunk{whole}), ErrInvalid, "a chunk that is there")
	low := end
	low.LSN--
	want(stage.Finish(ctx, low), ErrInvalid, "an end below a chunk")
	end.LSN += 3 // the log will come
	if err := stage.Finish(ctx, end); err != nil {
		t.Fatal(err)
	}
	log := stage.Log()
	_, err = log.View()
	want(err, ErrNotReady, "a view of a stage")
	_, _, err = log.Get([]byte("a"))
	want(err, ErrNotReady, "a get from a stage")
	_, err = log.Tail("test", end.LSN)
	want(err, ErrNotReady, "a tail of a stage")
	_, err = log.ReadChunk(ctx, KeyRange{}, 1)
	want(err, ErrNotReady, "a chunk of a stage")
	_, err = log.SnapshotEnd(ctx)
	want(err, ErrNotReady, "the end of a stage")
	want(log.WaitFor(ctx, Position{Lineage: s.Lineage, Epoch: s.Epoch, LSN: 1}), ErrNotReady, "waiting at a stage")
	if _, err := stage.Install(ctx, "x"); !errors.Is(err, ErrNotReady) {
		t.Errorf("installing without the log: %v", err)
	}
	forked := codec.NewEpochRecord(end.LSN-2, s.Epoch+1, log.head.time, 1)
	want(log.Append(ctx, [][]byte{forked}, end.LSN), ErrFork, "a record that the chunks' history hasn't")
	names, err := db.Namespaces()
	if err != nil || len(names) != 0 {
		t.Errorf("a stage is listed: %v, %v", names, err)
	}
	if _, err := db.Namespace("test"); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("a stage is served: %v", err)
	}
	if err := stage.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Staged("test"); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("a discarded stage: %v", err)
	}
}

// TestHalfMadeIsNotServed puts a stage where only a namespace may be.
func TestHalfMadeIsNotServed(t *testing.T) {
	db := replicaDB(t)
	stage, err := db.Stage("test", Lineage{1})
	if err == nil {
		err = stage.FromStart([]EpochStart{{Epoch: 1, FirstLSN: 1, Bits: 1}}, 5)
	}
	if err == nil {
		err = stage.shutdown()
	}
	if err == nil {
		_, err = db.moveIn(stage.dir, db.dir("test"))
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := db.Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	if s := n.Status(); s.State != StateQuarantined || s.Code != "DAMAGED" {
		t.Errorf("%+v", s)
	}
}

// TestStageFromStart copies a namespace by its log alone.
func TestStageFromStart(t *testing.T) {
	ctx := testContext(t)
	source := busyOwner(t, testOptions(t, vfs.NewMem()), rand.New(rand.NewPCG(4, 4)))
	owner := source.n
	db := replicaDB(t)
	stage, err := db.Stage("test", owner.Status().Lineage)
	if err == nil {
		err = stage.FromStart(owner.EpochTable(), owner.CommitLSN())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := stage.Chunks(); len(got) != 0 || stage.Ready() || !stage.Finished() {
		t.Errorf("chunks %v, ready %v, finished %v", got, stage.Ready(), stage.Finished())
	}
	for range 20 {
		source.write()
	}
	if err := catchUpTo(ctx, stage.Log(), owner); err != nil {
		t.Fatal(err)
	}
	if err := stage.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	n, err := stage.Install(ctx, "new")
	if err != nil {
		t.Fatal(err)
	}
	if err := sameState(ctx, n, owner); err != nil {
		t.Error(err)
	}
}

// TestRebase drops a part of what a stage has, whether it takes chunks, takes the log
// or is complete, and fetches it again.
func TestRebase(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 5))
		ctx := testContext(t)
		source := busyOwner(t, engineOptions(t, EngineMemory), rng)
		owner := source.n
		db := replicaDB(t)
		c := &copier{rng: rng, from: owner, to: db, name: "test"}
		for range 1 + rng.IntN(60) {
			source.write()
			ready, err := c.step(ctx)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if ready {
				break
			}
		}
		var want []StagedChunk
		if err := c.pin(owner.Status().FirstLSN); err != nil {
			t.Fatal(err)
		}
		err := c.stage.Rebase(owner.EpochTable(), func(chunk StagedChunk) bool {
			keep := rng.IntN(3) > 0 && chunk.LSN+1 >= owner.Status().FirstLSN
			if keep {
				want = append(want, chunk)
			}
			return keep
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if c.stage.Finished() {
			t.Fatalf("seed %d: it is finished", seed)
		}
		if got := c.stage.Chunks(); !slices.EqualFunc(got, want, func(a, b StagedChunk) bool {
			return string(a.Start) == string(b.Start) && string(a.End) == string(b.End) && a.Epoch == b.Epoch && a.LSN == b.LSN
		}) {
			t.Fatalf("seed %d: chunks %v, expected %v", seed, got, want)
		}
		for range rng.IntN(40) {
			source.write()
		}
		n, err := c.finish(ctx)
		if err == nil {
			err = sameState(ctx, n, owner)
		}
		c.end()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestStagesAreReplaced: another lineage discards what there is, damage too.
func TestStagesAreReplaced(t *testing.T) {
	ctx := testContext(t)
	owner := newTestNS(t)
	putKey(t, owner, "a", "1")
	db := replicaDB(t)
	stage := stageOf(t, db, owner)
	other, err := db.Stage("test", Lineage{5})
	if err != nil {
		t.Fatal(err)
	}
	if other == stage || other.Lineage() != (Lineage{5}) || other.Ready() || len(other.Chunks()) != 0 {
		t.Errorf("%+v", other)
	}
	if err := stage.WaitReady(ctx); !errors.Is(err, ErrSuperseded) {
		t.Errorf("waiting at a stage that is gone: %v", err)
	}
	if err := errors.Join(other.shutdown(), db.opts.FS.Remove(filepath.Join(other.dir, metaName))); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Staged("test"); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("a damaged stage: %v", err)
	}
	crashed, err := db.Stage("test", Lineage{6})
	if err == nil {
		err = errors.Join(crashed.shutdown(), replaceFile(db.opts.FS, filepath.Join(crashed.dir, quarantineName), []byte("a test")))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Staged("test"); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("a stage that the process died in: %v", err)
	}
}

// TestStageOnFullDisk has a stage fail where the disk is full, at any step, and go on
// when there is room again. It runs in virtual time: flushes that fail are tried again
// once a second, so that how long it takes says nothing.
func TestStageOnFullDisk(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stageOnFullDisk(t, seed) })
		})
	}
}

func stageOnFullDisk(t *testing.T, seed uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	rng := rand.New(rand.NewPCG(seed, 6))
	owner := busyOwner(t, testOptions(t, vfs.NewMem()), rng)
	var room atomic.Int64
	room.Store(1 << 40)
	o := testOptions(t, vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
		if !o.Kind.Writes() || o.Kind == vfs.OpRemove {
			return nil
		}
		if left := room.Add(-1); left < 0 && left > -20 { // after a while somebody frees some space
			return &vfs.Fault{Err: syscall.ENOSPC}
		}
		return nil
	}}))
	o.Defaults.Replica, o.Logger = true, hclog.NewNullLogger()
	db := openDB(t, o)
	c := &copier{rng: rng, from: owner.n, to: db, name: "test"}
	var n *Namespace
	for n == nil {
		room.Store(int64(rng.IntN(60)))
		for err := error(nil); err == nil && n == nil; {
			owner.write()
			var ready bool
			if ready, err = c.step(ctx); ready && err == nil {
				n, err = c.install(ctx)
			}
			if err != nil && !errors.Is(err, ErrDiskFull) && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, ErrSuperseded) && !errors.Is(err, ErrFrozen) {
				t.Fatal(err)
			}
		}
		room.Store(1 << 40)
		if n == nil {
			c.stage = nil
		}
	}
	c.end()
	if err := sameState(ctx, n, owner.n); err != nil {
		t.Fatal(err)
	}
}
