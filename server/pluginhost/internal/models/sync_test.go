package models

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// expect syncs and holds the index against a scan.
func (f *fixture) expect(x *index, resets, items int) {
	f.t.Helper()
	x.resets = 0
	f.check(x.sync(f.ctx, f.client))
	if x.resets != resets || x.items != items {
		f.t.Errorf("%d resets and %d items, expected %d and %d", x.resets, x.items, resets, items)
	}
	f.compare(x)
}

func (f *fixture) compare(x *index) {
	f.t.Helper()
	cells, at := f.scanned(0)
	if at.String() != x.position.String() {
		f.t.Errorf("the index is at %v, a scan at %v", x.position, at)
	}
	if !maps.Equal(cells, x.cells) {
		f.t.Errorf("the index has %d cells, a scan %d:\n%.500v\n%.500v", len(x.cells), len(cells), x.cells, cells)
	}
}

func TestSync(t *testing.T) {
	f := newFixture(t)
	var x index
	f.expect(&x, 1, 0) // an empty namespace
	f.put("a", "1")
	f.expect(&x, 0, 1)
	f.expect(&x, 0, 0)
	f.put("a", "2")
	f.put("b", "1")
	f.update(func(t *dbkernel.Tx) error {
		return errors.Join(t.DeleteModel(model, []byte("a")), t.PutModel(model, []byte("c"), []byte("3")), t.PutModel("other", []byte("a"), nil), t.Put([]byte("a"), nil, 0))
	})
	f.expect(&x, 0, 4)
	var other index
	f.expect(&other, 1, 2)
	f.check(f.ns().Flush(f.ctx))
	f.expect(&x, 0, 0)
	// After a restart the log is read, since nothing is known of it.
	f.check(f.db.Close())
	f.db = f.open()
	f.expect(&x, 0, 0)
	f.put("a", "4")
	f.expect(&x, 0, 1)
}

// A position of another history, or one that isn't reached, is none.
func TestSyncBeginsAnew(t *testing.T) {
	f := newFixture(t)
	f.put("a", "1")
	var x index
	f.expect(&x, 1, 1)
	good := x.position
	for name, p := range map[string]*pluginv1.Position{
		"lineage": {Lineage: strings.Repeat("0", 31) + "1", Epoch: good.GetEpoch(), Lsn: good.GetLsn()},
		"epoch":   {Lineage: good.GetLineage(), Epoch: good.GetEpoch() - 1, Lsn: good.GetLsn()},
		"later":   {Lineage: good.GetLineage(), Epoch: good.GetEpoch() + 1, Lsn: good.GetLsn() + 10},
		"LSN":     {Lineage: good.GetLineage(), Epoch: good.GetEpoch(), Lsn: good.GetLsn() + 1},
	} {
		t.Log(name)
		x.position = p
		f.expect(&x, 1, 1)
	}
	// The position of a namespace that had no records is one.
	x.cells, x.position = map[string]cell{}, &pluginv1.Position{Lineage: good.GetLineage()}
	f.expect(&x, 0, 1)
}

// Records that were cut off take the index along.
func TestSyncAfterTruncation(t *testing.T) {
	f := newFixture(t)
	kept := f.put("a", "kept")
	f.put("a", "lost")
	f.put("b", "lost")
	var x index
	f.expect(&x, 1, 2)
	if _, err := f.db.Truncate(f.ctx, space, kept.LSN, "a test"); err != nil {
		t.Fatal(err)
	}
	f.expect(&x, 1, 1)
	f.put("b", "again")
	f.put("c", "again")
	f.expect(&x, 0, 2)
}

func tiny(o *dbkernel.Options) {
	o.Defaults.Storage.SegmentSize, o.Defaults.Storage.MemtableSize = dbkernel.MinSegmentSize, dbkernel.MinMemtableSize
	o.Defaults.Storage.Retention = dbkernel.Retention{MaxAge: time.Nanosecond, MaxBytes: 1 << 16, MinSegments: 1}
}

// fill writes so much else that the log is trimmed behind it.
func (f *fixture) fill() {
	f.t.Helper()
	from := f.ns().Status().LSN
	for f.ns().Status().FirstLSN <= from {
		f.update(func(t *dbkernel.Tx) error { return t.Put([]byte("filler"), make([]byte, 30<<10), 0) })
		f.check(f.ns().Flush(f.ctx))
	}
}

// Where the log doesn't reach back, an index that nothing has touched needs no more,
// and another begins anew.
func TestSyncBehindTheLog(t *testing.T) {
	f := newFixture(t, tiny)
	f.put("a", "1")
	var x index
	f.expect(&x, 1, 1)
	f.fill()
	f.expect(&x, 0, 0)
	f.put("a", "2")
	f.fill()
	f.expect(&x, 1, 1)
}

// Messages are about as long as they may be, and a value that is longer comes alone.
func TestSyncMessages(t *testing.T) {
	f := newFixture(t)
	f.client = f.connect(NewView(model, []string{space}, f.source))
	write := func(prefix string, n, size int) {
		f.update(func(t *dbkernel.Tx) error {
			var errs []error
			for i := range n {
				errs = append(errs, t.PutModel(model, fmt.Appendf(nil, "%s%06d", prefix, i), make([]byte, size)))
			}
			return errors.Join(errs...)
		})
	}
	var fresh, kept index
	f.expect(&kept, 1, 0)
	write("small", 1500, 1000)
	write("large", 6, 300<<10)
	for _, x := range []*index{&fresh, &kept} {
		f.check(x.sync(f.ctx, f.client))
		if x.longest > messageLen || x.messages > 6 || x.items != 1506 {
			t.Errorf("%d items in %d messages of at most %d bytes", x.items, x.messages, x.longest)
		}
		f.compare(x)
	}
	f.put("long", string(make([]byte, dbkernel.MaxValueLen)))
	f.put("last", "")
	f.check(kept.sync(f.ctx, f.client))
	if kept.messages != 2 || kept.items != 2 {
		t.Errorf("%d items in %d messages", kept.items, kept.messages)
	}
}

// What a client was told is in the index, also where the log is synced later.
func TestSyncSeesWhatIsNotYetSynced(t *testing.T) {
	f := newFixture(t, func(o *dbkernel.Options) { o.Defaults.Storage.SyncInterval = 5 * time.Millisecond })
	var x index
	for i := range 20 {
		value := fmt.Sprint(i)
		at := f.put("a", value)
		f.check(x.sync(f.ctx, f.client))
		if got := x.cells["a"].value; got != value || x.position.GetLsn() < at.LSN {
			t.Fatalf("%q as of LSN %d, expected %q of LSN %d", got, x.position.GetLsn(), value, at.LSN)
		}
	}
}

// busyStream is a stream on which something is written whenever a message is sent.
type busyStream struct {
	grpc.ServerStreamingServer[pluginv1.SyncResponse]
	f      *fixture
	ctx    context.Context // nil: the fixture's
	take   func(*pluginv1.SyncResponse) error
	onSend func()
}

func (s *busyStream) Context() context.Context {
	if s.ctx == nil {
		return s.f.ctx
	}
	return s.ctx
}

func (s *busyStream) Send(m *pluginv1.SyncResponse) error {
	s.onSend()
	if err := s.Context().Err(); err != nil {
		return err
	}
	return s.take(m)
}

// What is written between two pages, and behind the last, is told once, in order, and only up
// to the position.
func TestSyncWhileWritten(t *testing.T) {
	for _, flush := range []bool{false, true} {
		f := newFixture(t, func(o *dbkernel.Options) {
			if flush {
				tiny(o)
			}
		})
		key := func(i int) string { return fmt.Sprintf("%02d", i) }
		for i := range 20 {
			f.put(key(i), "")
		}
		v := NewView(model, []string{space}, f.source)
		v.pageItems, v.messageLen = 5, 1
		var x index
		sends := 0
		stream := &busyStream{f: f, take: x.take, onSend: func() {
			for i := sends % 3; i < 20; i += 3 {
				f.put(key(i), fmt.Sprint(sends))
			}
			f.update(func(t *dbkernel.Tx) error { return t.DeleteModel(model, []byte(key((sends*7+3)%20))) })
			if sends == 8 {
				f.put("00-once", "in the first page's range, while later ones are told")
			}
			sends++
			if flush {
				f.check(f.ns().Flush(f.ctx))
			}
		}}
		f.check(v.Sync(&pluginv1.SyncRequest{Namespace: space}, stream))
		if x.checkState(t); x.resets != 1 || sends < 15 {
			t.Errorf("%d resets, %d messages", x.resets, sends)
		}
		stream.onSend = func() {}
		x.messages = 0
		f.check(v.Sync(&pluginv1.SyncRequest{Namespace: space, From: x.position}, stream))
		f.compare(&x)
		if x.resets != 1 && !flush { // with it the log is trimmed meanwhile
			t.Errorf("%d resets", x.resets)
		}
	}
}

// What was told of a history that is cut off can't be gone on with.
func TestSyncInterrupted(t *testing.T) {
	f := newFixture(t)
	var last dbkernel.Position
	for i := range 10 {
		last = f.put(fmt.Sprint(i), "")
	}
	f.put("a", "cut off")
	v := NewView(model, []string{space}, f.source)
	v.pageItems, v.messageLen = 3, 1
	var x index
	cut := sync.OnceFunc(func() {
		_, err := f.db.Truncate(f.ctx, space, last.LSN, "a test")
		f.check(err)
		f.put("b", "later")
	})
	err := v.Sync(&pluginv1.SyncRequest{Namespace: space}, &busyStream{f: f, take: x.take, onSend: cut})
	if status.Code(err) != codes.Aborted || x.messages == 0 || x.position != nil {
		t.Errorf("%v after %d messages, expected that the call is aborted", err, x.messages)
	}
	f.expect(&x, 1, 11)
}

// A program that goes away while it is told ends its call.
func TestSyncGivenUp(t *testing.T) {
	f := newFixture(t)
	for i := range 10 {
		f.put(fmt.Sprint(i), "")
	}
	v := NewView(model, []string{space}, f.source)
	v.pageItems, v.messageLen = 3, 1
	ctx, cancel := context.WithCancel(f.ctx)
	var x index
	err := v.Sync(&pluginv1.SyncRequest{Namespace: space}, &busyStream{f: f, ctx: ctx, take: x.take, onSend: cancel})
	if status.Code(err) != codes.Canceled || x.messages > 0 {
		t.Errorf("%v after %d messages", err, x.messages)
	}
}

// Indexes that are kept by Sync are, at each position, in a state that the namespace
// was in, and in the end in that of a scan at the same position: whatever is written, flushed,
// trimmed and cut off meanwhile.
func TestSyncKeepsAnIndex(t *testing.T) {
	var resets, kept, interrupted, cuts atomic.Int64
	var duration time.Duration // DURATION=10m goes on for that long
	if s := os.Getenv("DURATION"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatalf("DURATION: %v", err)
		}
	}
	for seed, end := uint64(0), time.Now().Add(duration); seed < 4 || time.Now().Before(end); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := newFixture(t, tiny, func(o *dbkernel.Options) {
				if seed%2 == 1 {
					o.Defaults.Storage.Retention.PinMaxBytes = 1 << 16
				}
				if seed%3 == 2 {
					o.Defaults.Storage.SyncInterval = time.Millisecond
				}
			})
			var still sync.RWMutex // held by who wants no writes
			var left atomic.Int64
			left.Store(180)
			// What is done beside the writes takes a turn after each few of them.
			var turns [3]chan struct{}
			for i := range turns {
				turns[i] = make(chan struct{}, 1)
			}
			var wg, writers sync.WaitGroup
			for w := range 3 {
				writers.Go(func() {
					rng := rand.New(rand.NewPCG(seed, uint64(w)))
					for left.Add(-1) >= 0 {
						still.RLock()
						if err := f.scribble(rng); err != nil {
							t.Error(err)
						}
						still.RUnlock()
						if rng.IntN(2) == 0 {
							select {
							case turns[rng.IntN(len(turns))] <- struct{}{}:
							default:
							}
						}
					}
				})
			}
			wg.Go(func() {
				writers.Wait()
				for _, turns := range turns {
					close(turns)
				}
			})
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, 99))
				for range turns[0] {
					if rng.IntN(4) > 0 {
						if err := f.ns().Flush(f.ctx); err != nil && !errors.Is(err, dbkernel.ErrSuperseded) {
							t.Error(err)
						}
						continue
					}
					s := f.ns().Status()
					if s.LSN <= s.CheckpointLSN {
						continue
					}
					at := s.CheckpointLSN + rng.Uint64N(s.LSN-s.CheckpointLSN)
					_, err := f.db.Truncate(f.ctx, space, at, "a test")
					if err == nil {
						cuts.Add(1)
					} else if !errors.Is(err, dbkernel.ErrPastFork) {
						t.Error(err)
					}
				}
			})
			for _, turns := range turns[1:] {
				wg.Go(func() {
					var x index
					round := 0
					for range turns {
						round++
						before, had := x.resets, x.position != nil
						err := x.sync(f.ctx, f.client)
						if status.Code(err) == codes.Aborted {
							interrupted.Add(1)
							continue
						}
						if err != nil {
							t.Error(err)
							return
						}
						if had && x.resets == before && x.items > 0 {
							kept.Add(1)
						}
						resets.Add(int64(x.resets - before))
						x.checkState(t)
						if round%8 == 0 {
							still.Lock()
							if err := x.sync(f.ctx, f.client); err == nil {
								f.compareAt(t, &x)
							} else if status.Code(err) != codes.Aborted {
								t.Error(err)
							}
							still.Unlock()
						}
					}
				})
			}
			wg.Wait()
		})
	}
	for name, n := range map[string]int64{"resets": resets.Load(), "syncs from a position": kept.Load(), "logs cut off": cuts.Load()} {
		if n == 0 {
			t.Errorf("no %s in the whole test", name)
		}
	}
	t.Logf("%d resets, %d syncs from a position, %d interrupted, %d logs cut off", resets.Load(), kept.Load(), interrupted.Load(), cuts.Load())
}

// compareAt compares with a scan, unless the log was cut off in between.
func (f *fixture) compareAt(t *testing.T, x *index) {
	cells := map[string]cell{}
	r := &pluginv1.ScanRequest{Namespace: space, Limit: 7}
	for {
		page, err := f.client.Scan(f.ctx, r)
		if err != nil {
			t.Error(err)
			return
		}
		if page.GetPosition().String() != x.position.String() {
			return
		}
		for _, item := range page.GetItems() {
			cells[string(item.GetKey())] = cell{string(item.GetValue()), item.GetVersion()}
		}
		if !page.GetMore() {
			break
		}
		r.After = page.GetLast()
	}
	if !maps.Equal(cells, x.cells) {
		t.Errorf("at %v the index has %d cells, a scan %d:\n%.300v\n%.300v", x.position, len(x.cells), len(cells), x.cells, cells)
	}
}

// checkState: no cell is newer than the position, and the two halves of a pair are always
// written together.
func (x *index) checkState(t *testing.T) {
	for key, c := range x.cells {
		if c.lsn() > x.position.GetLsn() {
			t.Errorf("at %v key %s has version %s", x.position, key, c.version)
		}
		half, ok := strings.CutPrefix(key, "first-")
		if !ok {
			continue
		}
		if other := x.cells["second-"+half]; other != c {
			t.Errorf("at %v pair %s is (%.20s %s) and (%.20s %s)", x.position, half, c.value, c.version, other.value, other.version)
		}
	}
}

// scribble makes one random write: a pair, the end of one, or something else.
func (f *fixture) scribble(rng *rand.Rand) error {
	n, err := f.db.Namespace(space)
	if err != nil {
		return err
	}
	first, second := fmt.Appendf(nil, "first-%d", rng.IntN(60)), []byte(nil)
	second = append([]byte("second-"), first[len("first-"):]...)
	value := fmt.Appendf(nil, "%d%s", rng.Uint32(), strings.Repeat("x", rng.IntN(2000)))
	_, err = n.Update(f.ctx, func(t *dbkernel.Tx) error {
		switch rng.IntN(8) {
		case 0:
			return errors.Join(t.DeleteModel(model, first), t.DeleteModel(model, second))
		case 1, 2:
			return t.Put(first, value, 0)
		case 3:
			return t.PutModel("other", first, value)
		default:
			return errors.Join(t.PutModel(model, first, value), t.PutModel(model, second, value))
		}
	})
	if errors.Is(err, dbkernel.ErrSuperseded) || errors.Is(err, dbkernel.ErrOutcomeUnknown) {
		return nil
	}
	return err
}
