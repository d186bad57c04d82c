package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// lastKind is the kind of the log's last record.
func lastKind(t *testing.T, n *Namespace) codec.Kind {
	t.Helper()
	records, err := readLog(context.Background(), n)
	if err != nil || len(records) == 0 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	return records[len(records)-1].Kind()
}

// TestOwnersFlushesEndAtMarks has an owner flush for every reason that there is:
// each time its tree is at a mark, and has its digests.
func TestOwnersFlushesEndAtMarks(t *testing.T) {
	ctx := context.Background()
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock, o.Defaults.Storage.FlushInterval = clock.Now, time.Hour
	n := createNS(t, openDB(t, o), "test")
	for name, cause := range map[string]func(){
		"asked for": func() { flush(t, n) },
		"by time": func() {
			clock.Advance(2 * time.Hour)
			n.flushByTime(ctx, clock.Now())
		},
		"unmarked for long": func() {
			clock.Advance(markAfter)
			n.markByTime(ctx, clock.Now())
		},
		"idle":   func() { idleOut(t, n, clock) },
		"memory": func() { n.askRotate() },
	} {
		t.Run(name, func(t *testing.T) {
			at := putKey(t, n, "k", name)
			cause()
			wait, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if err := n.WaitMark(wait, at.LSN+1); err != nil {
				t.Fatal(err)
			}
			if got := lastKind(t, n); got != codec.KindMark {
				t.Errorf("the log ends with a record of kind %d", got)
			}
			m := n.Marks()[0]
			if s := n.Status(); m.LSN != at.LSN+1 || m.Epoch != at.Epoch || s.CheckpointLSN != m.LSN {
				t.Errorf("mark %+v, status %+v", m, s)
			}
			// What is marked isn't marked again.
			clock.Advance(2 * markAfter)
			n.markByTime(ctx, clock.Now())
			flush(t, n)
			if pos, err := n.WriteMark(ctx); err != nil || pos.LSN != m.LSN || n.Status().LSN != m.LSN {
				t.Errorf("another mark at %v, %v", pos, err)
			}
		})
	}
	if unmarked := n.unmarked.Load(); unmarked != 0 {
		t.Errorf("unmarked since %d", unmarked)
	}
	putKey(t, n, "k", "early")
	n.markByTime(ctx, clock.Now().Add(markAfter-time.Second))
	if got := lastKind(t, n); got != codec.KindBatch {
		t.Errorf("a mark came too early")
	}
}

// TestMarksSurvive looks at the marks of a namespace through idle times and
// restarts, and that no more than a few are kept.
func TestMarksSurvive(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	open := func() (*DB, *Namespace) {
		db, err := Open(testOptions(t, fsys))
		if err != nil {
			t.Fatal(err)
		}
		n, err := db.Namespace("test")
		if errors.Is(err, ErrNamespaceNotFound) {
			n, err = db.Create("test", Lineage{})
		}
		if err != nil {
			t.Fatal(err)
		}
		return db, n
	}
	db, n := open()
	if _, err := n.Digests(1); !errors.Is(err, ErrNotFound) {
		t.Errorf("digests of an empty namespace: %v", err)
	}
	var marks []Mark
	for i := range keptMarks + 4 {
		putKey(t, n, fmt.Sprint(i), "v")
		mark(t, n)
		marks = append([]Mark{n.Marks()[0]}, marks...)
	}
	if got := n.Marks(); !slices.Equal(got, marks[:keptMarks]) {
		t.Fatalf("marks %v, expected %v", got, marks[:keptMarks])
	}
	if err := n.WaitMark(ctx, marks[keptMarks].LSN); !errors.Is(err, ErrNotFound) {
		t.Errorf("waiting for a mark that is gone: %v", err)
	}
	if _, err := n.Digests(marks[keptMarks].LSN); !errors.Is(err, ErrNotFound) {
		t.Errorf("digests of a mark that is gone: %v", err)
	}
	idleOut(t, n, newFakeClock())
	if got := n.Marks(); !slices.Equal(got, marks[:keptMarks]) {
		t.Errorf("idle, the marks are %v", got)
	}
	if d, err := n.Digests(marks[0].LSN); err != nil || (*digests)(&d).total() != marks[0].Digest {
		t.Errorf("digests of the newest mark: %v", err)
	}
	last := n.Status().LSN
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, n = open()
	// A mark that is asked for is there; nothing is appended that nobody asked for.
	flush(t, n)
	n.markByTime(ctx, time.Now().Add(time.Hour))
	if pos, err := n.WriteMark(ctx); err != nil || pos.LSN != last || n.Status().LSN != last {
		t.Errorf("after a restart the mark is %v, %v, and the log ends at %d", pos, err, n.Status().LSN)
	}
	if got := n.Marks(); !slices.Equal(got, marks[:keptMarks]) {
		t.Errorf("after a restart the marks are %v", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNoMarkBeforeAWrite starts an owner again whose log doesn't end at a mark:
// flushes and time append nothing, since an old copy of the data directory would
// fork from those that are ahead of it. Asked for, the mark comes, in a new epoch.
func TestNoMarkBeforeAWrite(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	db, err := Open(testOptions(t, fsys))
	if err != nil {
		t.Fatal(err)
	}
	n := createNS(t, db, "test")
	first := putKey(t, n, "a", "1")
	crashed := fsys.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	n, err = openDB(t, testOptions(t, crashed)).Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	n.Status()
	n.markByTime(ctx, time.Now().Add(time.Hour))
	flush(t, n)
	if s := n.Status(); s.LSN != first.LSN || s.CheckpointLSN != first.LSN {
		t.Errorf("something was appended: %+v", s)
	}
	pos, err := n.WriteMark(ctx)
	if err != nil || pos.LSN != first.LSN+2 || pos.Epoch <= first.Epoch {
		t.Errorf("mark %v, %v", pos, err)
	}
	if err := n.WaitMark(ctx, pos.LSN); err != nil {
		t.Error(err)
	}
}

func TestReplicaWritesNoMark(t *testing.T) {
	owner := newTestNS(t)
	f := newFollower(t, owner, testOptions(t, vfs.NewMem()))
	putKey(t, owner, "a", "1")
	f.catchUp(t, owner, nil)
	if _, err := f.WriteMark(context.Background()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a replica's mark: %v", err)
	}
	flush(t, f.Namespace)
	if len(f.Marks()) > 0 {
		t.Errorf("marks %v", f.Marks())
	}
	wait, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.WaitMark(wait, 3) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
}
