package dbkernel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

func setAsideUntil(t testing.TB, db *DB, name, reason string, at time.Time) {
	t.Helper()
	if err := db.SetAsideUntil(testContext(t), name, reason, at); err != nil {
		t.Fatal(err)
	}
}

func removeDue(t testing.TB, db *DB, now time.Time) {
	t.Helper()
	if err := db.removeDueAside(now); err != nil {
		t.Fatal(err)
	}
}

// What is set aside for a time goes when that is over, not at it and not before;
// what is set aside for good stays.
func TestSetAsideUntil(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	db := openDB(t, o)
	until := clock.Now().Add(72*time.Hour + time.Nanosecond)
	for _, name := range []string{"kept", "limited", "x.until-20200101T000000.000Z"} {
		putKey(t, createNS(t, db, name), "a", "1")
	}
	setAsideUntil(t, db, "kept", "a human wants it", time.Time{})
	setAsideUntil(t, db, "limited", "deleted by ops", until)
	setAsideUntil(t, db, "x.until-20200101T000000.000Z", "its name looks old", time.Time{})

	names := func() map[string]Aside {
		t.Helper()
		all, err := db.Aside()
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]Aside{}
		for _, a := range all {
			byName[a.Namespace] = a
		}
		return byName
	}
	got := names()
	if len(got) != 3 || !got["kept"].RemoveAfter.IsZero() || got["limited"].Reason != "deleted by ops" {
		t.Fatalf("%+v", got)
	}
	if at := got["limited"].RemoveAfter; at.Before(until) || at.Sub(until) >= time.Millisecond {
		t.Errorf("removed after %v; expected %v, or up to a millisecond later", at, until)
	}
	removeDue(t, db, got["limited"].RemoveAfter)
	if len(names()) != 3 {
		t.Error("removed too early")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, o)
	removeDue(t, db, until.Add(time.Hour))
	if got := names(); len(got) != 2 || got["limited"].Path != "" {
		t.Errorf("left: %+v", got)
	}
	if left, err := o.FS.List(filepath.Join(o.Dir, asideDir)); err != nil || len(left) != 2 {
		t.Errorf("left in aside/: %v, %v", left, err)
	}
	if _, err := db.Create("limited", Lineage{}); err != nil {
		t.Errorf("its name isn't free: %v", err)
	}
}

// Housekeeping does it by itself, by the database's clock.
func TestHousekeepingRemovesAside(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	removed := make(chan struct{})
	var once sync.Once
	o.FS = vfs.WithFaults(o.FS, vfs.Hooks{Before: func(op vfs.Op) *vfs.Fault {
		if op.Kind == vfs.OpRemoveAll && filepath.Base(filepath.Dir(op.Path)) == asideDir {
			once.Do(func() { close(removed) })
		}
		return nil
	}})
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	createNS(t, db, "test")
	setAsideUntil(t, db, "test", "deleted", clock.Now().Add(time.Hour))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * time.Hour)
	openDB(t, o)
	select {
	case <-removed:
	case <-testContext(t).Done():
		t.Fatal("nothing was removed")
	}
}

func TestSetAsideUntilRefuses(t *testing.T) {
	db := openDB(t, testOptions(t, vfs.NewMem()))
	createNS(t, db, "test")
	if err := db.SetAsideUntil(testContext(t), "test", "deleted", time.Unix(1<<40, 0)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a time that no name can say: %v", err)
	}
	if err := db.SetAsideUntil(testContext(t), "none", "deleted", time.Now()); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("a name that isn't there: %v", err)
	}
	if all, err := db.Aside(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// At every crash point the directory is under its name, whole in aside/ with the
// time that was promised, or, once that is over, gone without a rest.
func TestCrashPointsOfAside(t *testing.T) {
	seed, duration := longForm(t)
	start, points := time.Now(), 0
	for first := seed; seed < first+20 || time.Since(start) < duration; seed++ {
		points += asideCrashes(t, seed)
	}
	t.Logf("%d crash points", points)
}

const (
	asideHere = iota
	asideMoving
	asideMoved
	asideRemoving
	asideGone
)

type asidePoint struct {
	op    string
	fs    *vfs.Mem
	phase int
}

func asideCrashes(t *testing.T, seed uint64) int {
	drawing := rand.New(rand.NewPCG(seed, 43))
	clock := newFakeClock()
	until := clock.Now().Add(time.Hour)
	mem := vfs.NewMem()
	var mu sync.Mutex
	phase := asideHere
	var points []asidePoint
	know := func(p int) {
		mu.Lock()
		defer mu.Unlock()
		phase = p
	}
	o := testOptions(t, vfs.WithFaults(mem, vfs.Hooks{Before: func(op vfs.Op) *vfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.Writes() {
			points = append(points, asidePoint{op.String(), mem.Crash(drawing, vfs.AnyCrash(drawing)), phase})
		}
		return nil
	}}))
	o.Clock = clock.Now
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	putKey(t, createNS(t, db, "test"), "a", "1")
	mu.Lock()
	points = nil // others test how a namespace is made
	mu.Unlock()
	know(asideMoving)
	setAsideUntil(t, db, "test", "deleted", until)
	know(asideMoved)
	removeDue(t, db, until)
	know(asideRemoving)
	removeDue(t, db, until.Add(time.Second))
	know(asideGone)
	for range 5 { // nothing is written any more that would make points
		points = append(points, asidePoint{"the end", mem.Crash(drawing, vfs.AnyCrash(drawing)), asideGone})
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for i, p := range points {
		if err := p.verify(t, until); err != nil {
			t.Fatalf("SEED=%d: crash %d, before %s: %v (phase %d)", seed, i, p.op, err, p.phase)
		}
	}
	return len(points)
}

func (p asidePoint) verify(t *testing.T, until time.Time) (err error) {
	o := testOptions(t, p.fs)
	o.Clock = func() time.Time { return until }
	db, err := Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.removeDueAside(until); err != nil {
		return err
	}
	names, err := db.Namespaces()
	if err != nil {
		return err
	}
	all, err := db.Aside()
	if err != nil {
		return err
	}
	switch {
	case p.phase == asideGone || p.phase == asideRemoving && len(all) == 0:
		if left, err := p.fs.List(filepath.Join(o.Dir, asideDir)); err != nil || len(left)+len(names) > 0 {
			return fmt.Errorf("there is %v %v, %w", left, names, err)
		}
		return nil
	case len(names) == 1:
		if p.phase > asideMoving || len(all) > 0 {
			return fmt.Errorf("it has its name and is aside: %v", all)
		}
		n, err := db.Namespace("test")
		if err == nil {
			wantKey(t, n, "a", "1")
		}
		return err
	case len(all) != 1 || !all[0].RemoveAfter.Equal(until) || all[0].Reason != "deleted":
		return fmt.Errorf("set aside: %+v", all)
	}
	return wholeAside(t, db, all[0])
}

// wholeAside gives what was set aside its name again, to see that all of it is there.
func wholeAside(t *testing.T, db *DB, a Aside) error {
	if err := db.opts.FS.Rename(a.Path, db.dir("test")); err != nil {
		return err
	}
	n, err := db.Namespace("test")
	if err == nil {
		wantKey(t, n, "a", "1")
	}
	return err
}
