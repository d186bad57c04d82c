package dbkernel

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// fullTree is a disk in memory that has no room for the B+tree while it is full. A
// flush that meets it says so and fails when the test lets it.
type fullTree struct {
	full atomic.Bool
	met  chan struct{}
	fail chan struct{}
}

func (d *fullTree) fs() vfs.FS {
	return vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
		if o.Kind != vfs.OpWrite || !strings.Contains(o.Path, "/"+treeDir+"/") || !d.full.Load() {
			return nil
		}
		if d.met != nil {
			d.met <- struct{}{}
			<-d.fail
		}
		return &vfs.Fault{Err: syscall.ENOSPC}
	}})
}

// TestFlushWithSpaceAgain asks for a flush while one is under way that has met the full
// disk: it is told how its own went, not that one.
func TestFlushWithSpaceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fullTree{met: make(chan struct{}), fail: make(chan struct{})}
		o := testOptions(t, disk.fs())
		o.Logger = hclog.NewNullLogger()
		n := createNS(t, openDB(t, o), "test")
		putKey(t, n, "a", "1")
		disk.full.Store(true)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- n.Flush(context.Background()) }()
		<-disk.met
		disk.full.Store(false)
		go func() { second <- n.Flush(context.Background()) }()
		synctest.Wait() // the second waits for the first
		disk.fail <- struct{}{}
		if err := <-first; err != nil && !errors.Is(err, ErrDiskFull) { // nil where the second was faster
			t.Errorf("the flush that met the full disk: %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("the flush that was asked for when there was space again: %v", err)
		}
		if at, last := n.point.Load().LSN, n.CommitLSN(); at != last {
			t.Errorf("the B+tree is at LSN %d of %d", at, last)
		}
	})
}

// TestWriteWithSpaceAgain fills memory while nothing can be flushed. The first write that
// begins when there is space again succeeds, however short ago a flush failed.
func TestWriteWithSpaceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fullTree{}
		r := newFaultRun(t, faultOptions(disk.fs()))
		defer func() {
			if err := r.db.Close(); err != nil {
				t.Error(err)
			}
		}()
		disk.full.Store(true)
		for range 2 { // the second time nobody but the writer tries
			var err error
			for err == nil && r.next < 10_000 {
				err = r.put()
			}
			if !errors.Is(err, ErrDiskFull) {
				t.Fatalf("write %d on a full disk: %v", r.next, err)
			}
		}
		disk.full.Store(false)
		if err := r.put(); err != nil {
			t.Errorf("the first write with space again: %v", err)
		}
	})
}

// TestKnownRecordsCommit: the owner's commit LSN comes with records that a replica has
// already. What they complete is flushed at once.
func TestKnownRecordsCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		owner := newTestNS(t)
		putKey(t, owner, "a", "1")
		flush(t, owner) // behind a mark, where replicas rotate, too
		tail, err := owner.Tail("test", 1)
		if err != nil {
			t.Fatal(err)
		}
		defer tail.Close()
		var records [][]byte
		last := uint64(0)
		for last < owner.CommitLSN() {
			run, err := tail.Next(ctx, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			records, last = append(records, run.Records...), run.Last
		}
		replica, err := replicaDB(t).Create("test", owner.Status().Lineage)
		if err != nil {
			t.Fatal(err)
		}
		if err := replica.Append(ctx, records, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if at := replica.point.Load().LSN; at != 0 || len(replica.mems.Load().tables) < 2 {
			t.Fatalf("the B+tree is at LSN %d, and there are %d memtables: the test shows nothing", at, len(replica.mems.Load().tables))
		}
		if err := replica.Append(ctx, records, last); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // no time passes, so that housekeeping does nothing
		if at := replica.point.Load().LSN; at != last {
			t.Errorf("the B+tree is at LSN %d, %d is committed", at, last)
		}
	})
}

// TestStageReadyWithSpaceAgain: who waits for a stage whose flush meets a full disk goes on
// waiting, and is told when there was space again.
func TestStageReadyWithSpaceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		owner := busyOwner(t, testOptions(t, vfs.NewMem()), rand.New(rand.NewPCG(8, 8))).n
		disk := &fullTree{}
		o := testOptions(t, disk.fs())
		o.Defaults.Replica, o.Logger = true, hclog.NewNullLogger()
		stage, err := openDB(t, o).Stage("test", owner.Status().Lineage)
		if err == nil {
			err = stage.FromStart(owner.EpochTable(), owner.CommitLSN())
		}
		if err != nil {
			t.Fatal(err)
		}
		disk.full.Store(true)
		if err := catchUpTo(ctx, stage.Log(), owner); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() { waited <- stage.WaitReady(ctx) }()
		synctest.Wait()
		select {
		case err := <-waited:
			t.Fatalf("on a full disk: %v, ready %v", err, stage.Ready())
		default:
		}
		disk.full.Store(false)
		if err := <-waited; err != nil || !stage.Ready() {
			t.Errorf("with space again: %v, ready %v", err, stage.Ready())
		}
	})
}

// What looks whether there is something to flush looks while others write: housekeeping by
// time, and a writer whom the quota sends back. (Run with -race.)
func TestLookingForFlushesBesideWrites(t *testing.T) {
	ctx := context.Background()
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Storage.FlushInterval = time.Nanosecond
	n := createNS(t, openDB(t, o), "test")
	full := *n.opts.Load()
	full.Quota.MaxBytes = 1
	n.opts.Store(&full)
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for range 100 {
				var b Batch
				err := b.Delete([]byte("key")) // passes every quota
				if w == 0 {
					err = b.Put([]byte("key"), nil, 0)
				}
				if err == nil {
					_, err = n.Write(ctx, &b)
				}
				if err != nil && !errors.Is(err, ErrQuota) {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for {
		n.flushByTime(ctx, time.Now())
		select {
		case <-done:
			return
		default:
		}
	}
}
