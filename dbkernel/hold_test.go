package dbkernel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// heldOptions are those of a database whose closed segments are all trimmed by age
// after an hour.
func heldOptions(t testing.TB, fsys vfs.FS, clock *fakeClock) Options {
	o := testOptions(t, fsys)
	o.Clock = clock.Now
	s := &o.Defaults.Storage
	s.SegmentSize = MinSegmentSize
	s.Retention = Retention{MaxAge: time.Hour, MinSegments: 1, PinMaxAge: time.Hour}
	return o
}

// heldNamespace has a dozen closed segments behind the checkpoint.
func heldNamespace(t testing.TB, db *DB) *Namespace {
	t.Helper()
	n := createNS(t, db, "test")
	fillForTrim(t, n)
	return n
}

func fillForTrim(t testing.TB, n *Namespace) {
	t.Helper()
	value := strings.Repeat("v", 8<<10)
	for i := range 100 {
		putKey(t, n, fmt.Sprintf("key %d", i%10), value)
	}
	if s := n.log.Segments(); len(s) < 10 {
		t.Fatalf("%d segments: too few to trim", len(s))
	}
	flush(t, n)
}

func hold(t testing.TB, n *Namespace, name string, lsn uint64) {
	t.Helper()
	if err := n.HoldFor(name, lsn); err != nil {
		t.Fatal(err)
	}
}

func wantFirst(t testing.TB, n *Namespace, low, high uint64) {
	t.Helper()
	n.Status() // opens it
	n.trim()
	if first := n.Status().FirstLSN; first < low || first > high {
		t.Errorf("the log begins at LSN %d; expected %d to %d", first, low, high)
	}
}

// What is held outlives every age, restarts with no reader connected included, and
// goes with what the holder acknowledges.
func TestHoldOutlastsAge(t *testing.T) {
	clock := newFakeClock()
	o := heldOptions(t, vfs.NewMem(), clock)
	db := openDB(t, o)
	n := heldNamespace(t, db)
	hold(t, n, "hub", 0)
	clock.Advance(30 * 24 * time.Hour)
	wantFirst(t, n, 1, 1)

	restart := func() {
		t.Helper()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = openDB(t, o)
		var err error
		if n, err = db.Namespace("test"); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	wantFirst(t, n, 1, 1)

	hold(t, n, "hub", 40)
	hold(t, n, "hub", 30) // late news
	wantFirst(t, n, 25, 41)
	restart()
	if held, err := n.Held(); err != nil || len(held) != 1 || held[0] != (Hold{"hub", 40}) {
		t.Errorf("held after a restart: %v, %v", held, err)
	}
	hold(t, n, "hub", 1<<60)
	if held, err := n.Held(); err != nil || held[0].LSN != n.CommitLSN() {
		t.Errorf("held beyond the log: %v, %v", held, err)
	}
	wantFirst(t, n, 90, n.CommitLSN())
}

func TestLowestHoldCounts(t *testing.T) {
	clock := newFakeClock()
	n := heldNamespace(t, openDB(t, heldOptions(t, vfs.NewMem(), clock)))
	hold(t, n, "hub", 80)
	hold(t, n, "other", 20)
	clock.Advance(24 * time.Hour)
	wantFirst(t, n, 2, 21)
	if err := n.EndHold("other"); err != nil {
		t.Fatal(err)
	}
	wantFirst(t, n, 60, 81)
	if held, err := n.Held(); err != nil || len(held) != 1 {
		t.Errorf("%v, %v", held, err)
	}
}

// The byte limits take what is held, down to the limit and no further, and that is told.
func TestByteLimitsEndHold(t *testing.T) {
	for name, limit := range map[string]func(r *Retention){
		"max_bytes":     func(r *Retention) { r.MaxBytes = 5 * MinSegmentSize },
		"pin_max_bytes": func(r *Retention) { r.PinMaxBytes = 5 * MinSegmentSize },
	} {
		t.Run(name, func(t *testing.T) {
			clock := newFakeClock()
			o := heldOptions(t, vfs.NewMem(), clock)
			limit(&o.Defaults.Storage.Retention)
			told := make(chan Event, 100)
			o.OnEvent = func(e Event) { told <- e }
			db := openDB(t, o)
			n := createNS(t, db, "test")
			hold(t, n, "hub", 1)
			fillForTrim(t, n)
			clock.Advance(24 * time.Hour)
			n.trim()
			n.trim()
			if left := len(n.log.Segments()); left != 5 {
				t.Errorf("%d segments are left, expected 5: %+v", left, n.log.Segments())
			}
			if e := <-told; e.Kind != EventPinBroken { // of whoever trimmed: the last flush does, too
				t.Errorf("event: %+v", e)
			}
			if err := db.Close(); err != nil || len(told) != 0 {
				t.Errorf("%d more events, %v", len(told), err)
			}
		})
	}
}

func TestHoldRefuses(t *testing.T) {
	n := newTestNS(t)
	for _, name := range []string{"", strings.Repeat("x", maxHolderLen+1), "\xff"} {
		if err := n.HoldFor(name, 1); !errors.Is(err, ErrInvalid) {
			t.Errorf("holder %q: %v", name, err)
		}
	}
	if err := n.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.HoldFor("hub", 1); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// A file that can't be read holds everything, and a newer one keeps the namespace shut.
func TestDamagedHolds(t *testing.T) {
	clock := newFakeClock()
	mem := vfs.NewMem()
	o := heldOptions(t, mem, clock)
	db := openDB(t, o)
	n := heldNamespace(t, db)
	hold(t, n, "hub", n.CommitLSN())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(24 * time.Hour)
	path := filepath.Join(n.dir, holdsName)
	good, err := readFile(mem, path)
	if err != nil {
		t.Fatal(err)
	}
	open := func(content string) (*DB, *Namespace) {
		t.Helper()
		if err := replaceFile(mem, path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		db, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		n, err := db.Namespace("test")
		if err != nil {
			t.Fatal(err)
		}
		return db, n
	}
	for _, content := range []string{"", "{", "{}", strings.Replace(string(good), "hub", "hug", 1)} {
		db, n := open(content)
		wantFirst(t, n, 1, 1)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db, n = open(strings.Replace(string(good), `"format": 1`, `"format": 2`, 1))
	if s := n.Status(); s.Code != "NEWER_FORMAT" {
		t.Errorf("%+v", s)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, n = open("{")
	hold(t, n, "hub", 1<<60)
	wantFirst(t, n, 90, n.CommitLSN())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// Cutting the log off takes holds down with it: the LSNs come again, with records
// that nobody has acknowledged.
func TestTruncateLowersHolds(t *testing.T) {
	ctx := testContext(t)
	owner := newTestNS(t)
	putKey(t, owner, "a", "1")
	db, n := replicaOf(t, owner)
	end := n.Status().LSN
	fork(t, n, owner, "forked")
	hold(t, n, "far", 1<<40)
	hold(t, n, "near", 1)
	n.tendHolds()
	n, err := db.Truncate(ctx, "test", end, "the fork")
	if err != nil {
		t.Fatal(err)
	}
	if held, err := n.Held(); err != nil || len(held) != 2 || held[0].LSN != end || held[1].LSN != 1 {
		t.Errorf("held behind the cut at LSN %d: %v, %v", end, held, err)
	}
}

// Acknowledgements cost no write of their own: only the first of a name does.
func TestHoldsAreSavedSeldom(t *testing.T) {
	var mu sync.Mutex
	writes := 0
	o := testOptions(t, vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(op vfs.Op) *vfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind == vfs.OpRename && strings.Contains(op.String(), holdsName) {
			writes++
		}
		return nil
	}}))
	db := openDB(t, o)
	n := createNS(t, db, "test")
	for i := range uint64(1000) {
		putKey(t, n, "key", "value")
		hold(t, n, "hub", i)
	}
	n.tendHolds()
	n.tendHolds()
	mu.Lock()
	defer mu.Unlock()
	if writes > 5 { // housekeeping may have come between
		t.Errorf("%d writes of %s", writes, holdsName)
	}
}

// At every crash point of a namespace that is held, acknowledged, trimmed, cut off
// and closed: a hold that was made is there, none says more than was acknowledged,
// and the log has all that isn't.
func TestCrashPointsOfHold(t *testing.T) {
	seed, duration := longForm(t)
	start, points := time.Now(), 0
	for first := seed; seed < first+2 || time.Since(start) < duration; seed++ {
		points += holdCrashes(t, seed)
	}
	t.Logf("%d crash points", points)
}

type holdPoint struct {
	op          string
	fs          *vfs.Mem
	made        bool
	acked, last uint64 // the hold's highest; last record that was acknowledged
}

func holdCrashes(t *testing.T, seed uint64) int {
	rng, drawing := rand.New(rand.NewPCG(seed, 41)), rand.New(rand.NewPCG(seed, 42))
	clock := newFakeClock()
	mem := vfs.NewMem()
	var mu sync.Mutex
	var now holdPoint
	var points []holdPoint
	know := func(change func(p *holdPoint)) {
		mu.Lock()
		defer mu.Unlock()
		change(&now)
	}
	o := heldOptions(t, vfs.WithFaults(mem, vfs.Hooks{Before: func(op vfs.Op) *vfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.Writes() {
			p := now
			p.op, p.fs = op.String(), mem.Crash(drawing, vfs.AnyCrash(drawing))
			points = append(points, p)
		}
		return nil
	}}), clock)
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	n := createNS(t, db, "test")
	hold(t, n, "hub", 0)
	know(func(p *holdPoint) { p.made = true })
	value := strings.Repeat("v", 8<<10)
	for range 60 {
		pos := putKey(t, n, fmt.Sprint(rng.IntN(10)), value)
		know(func(p *holdPoint) { p.last = pos.LSN })
		clock.Advance(time.Hour)
		switch rng.IntN(8) {
		case 0:
			ack := rng.Uint64N(pos.LSN)
			know(func(p *holdPoint) { p.acked = max(p.acked, ack) })
			hold(t, n, "hub", ack)
		case 1:
			n.tendHolds()
		case 2:
			flush(t, n)
			n.trim()
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for i, p := range points {
		if err := p.verify(t, clock); err != nil {
			t.Fatalf("SEED=%d: crash %d, before %s: %v (known: acknowledged %d, last %d)", seed, i, p.op, err, p.acked, p.last)
		}
	}
	return len(points)
}

func (p holdPoint) verify(t *testing.T, clock *fakeClock) (err error) {
	db, err := Open(heldOptions(t, p.fs, clock))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n, err := db.Namespace("test")
	if errors.Is(err, ErrNamespaceNotFound) && !p.made {
		return nil
	}
	if err != nil {
		return err
	}
	held, err := n.Held()
	if err != nil {
		return err
	}
	if !p.made && len(held) == 0 {
		return nil
	}
	if len(held) != 1 || held[0].LSN > p.acked {
		return fmt.Errorf("held: %v", held)
	}
	n.trim() // Held has opened it
	if s := n.Status(); s.FirstLSN > p.acked+1 || s.LSN < p.last {
		return fmt.Errorf("the log has LSNs %d to %d", s.FirstLSN, s.LSN)
	}
	return nil
}
