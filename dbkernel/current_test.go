package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// receiver keeps what somebody who is told changes knows: the newest put of each key.
type receiver map[string]uint64

func (f receiver) take(c Change) {
	if c.Operation == ChangeDeleteRow {
		row := fmt.Sprintf("%s %q ", c.Type, c.Key)
		maps.DeleteFunc(f, func(id string, _ uint64) bool { return strings.HasPrefix(id, row) })
	}
	for _, id := range idsOf(c) {
		if c.Operation == ChangePut {
			f[id] = c.LSN
		} else {
			delete(f, id)
		}
	}
}

// keys are what is there. Rows' columns have one LSN together in a page, so those of
// columns don't count.
func (f receiver) keys() map[string]uint64 {
	out := maps.Clone(f)
	for id := range out {
		if strings.HasPrefix(id, EntryRow) {
			out[id] = 0
		}
	}
	return out
}

// Pages and the log behind the first of them add up to what all changes from the
// beginning do, whatever is written and flushed in between, and whatever the size of a page.
func TestSnapshotChanges(t *testing.T) {
	ctx := context.Background()
	clock := newFakeClock()
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 7))
		o := testOptions(t, vfs.NewMem())
		o.Clock = clock.Now
		if seed%3 == 0 {
			o.Defaults.Storage.SyncInterval = time.Millisecond
		}
		n := createNS(t, openDB(t, o), "test")
		write := func() {
			if err := scribble(n, rng); err != nil {
				t.Fatal(err)
			}
		}
		for range 40 {
			write()
		}
		all, paged := receiver{}, receiver{}
		var from []byte
		var first uint64
		for page := 0; ; page++ {
			p, err := n.SnapshotChanges(ctx, from, 1+rng.IntN(7))
			if err != nil {
				t.Fatal(err)
			}
			if page == 0 {
				first = p.Position.LSN
			}
			for i, c := range p.Changes {
				if p.Position.LSN > n.CommitLSN() {
					t.Fatalf("seed %d: a page of LSN %d, which isn't committed", seed, p.Position.LSN)
				}
				if c.Operation != ChangePut || c.Count != 0 || c.LSN > p.Position.LSN || c.LSN == 0 {
					t.Fatalf("seed %d: a page of LSN %d says %+v", seed, p.Position.LSN, c)
				}
				if i > 0 && c.Type == p.Changes[i-1].Type && bytes.Compare(c.Key, p.Changes[i-1].Key) <= 0 {
					t.Fatalf("seed %d: %q behind %q", seed, c.Key, p.Changes[i-1].Key)
				}
				paged.take(c)
			}
			if p.Next == nil {
				break
			}
			from = p.Next
			write()
			switch rng.IntN(5) {
			case 0:
				if err := n.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			case 1:
				clock.Advance(time.Second)
				n.expireDue(ctx, clock.Now().UnixNano())
			}
		}
		if _, err := n.Committed(ctx); err != nil {
			t.Fatal(err)
		}
		for _, c := range changesFrom(t, n, 1) {
			all.take(c)
		}
		for _, c := range changesFrom(t, n, first+1) {
			paged.take(c)
		}
		if !maps.Equal(all.keys(), paged.keys()) {
			t.Fatalf("seed %d: pages and log say\n%v\nthe log alone\n%v", seed, paged.keys(), all.keys())
		}
		// What is read at once, of a namespace at rest, has the cells' own versions.
		now := receiver{}
		p, err := n.SnapshotChanges(ctx, nil, 0)
		if err != nil || p.Next != nil {
			t.Fatal(p.Next, err)
		}
		for _, c := range p.Changes {
			now.take(c)
		}
		if !maps.Equal(all.keys(), now.keys()) {
			t.Fatalf("seed %d: at rest\n%v\nby the log\n%v", seed, now, all)
		}
		rows := map[string]uint64{}
		for id, lsn := range all {
			if row, _, ok := strings.Cut(strings.TrimPrefix(id, EntryRow+" "), `" `); ok && strings.HasPrefix(id, EntryRow) {
				rows[row+`"`] = max(rows[row+`"`], lsn)
			}
		}
		for _, c := range p.Changes {
			if c.Type == EntryRow && c.LSN != rows[fmt.Sprintf("%q", c.Key)] {
				t.Errorf("seed %d: row %q is told with LSN %d, its newest column has %d", seed, c.Key, c.LSN, rows[fmt.Sprintf("%q", c.Key)])
			}
		}
	}
}

// scribble makes one random write.
func scribble(n *Namespace, rng *rand.Rand) error {
	ctx := context.Background()
	key := fmt.Appendf(nil, "k%d\x00", rng.IntN(9))
	ttl := time.Duration(rng.IntN(2)) * time.Second * time.Duration(rng.IntN(3))
	_, err := n.Update(ctx, func(tx *Tx) error {
		switch rng.IntN(10) {
		case 0, 1:
			return tx.Put(key, []byte("v"), ttl)
		case 2:
			return tx.Delete(key)
		case 3, 4:
			return tx.PutRow(key, map[string][]byte{fmt.Sprintf("c%d", rng.IntN(12)): nil, "d": nil}, ttl)
		case 5:
			return tx.DeleteColumns(key, []string{"d", fmt.Sprintf("c%d", rng.IntN(12))})
		case 6:
			return errors.Join(tx.DeleteRow(key), tx.PutRow([]byte("k1\x00"), map[string][]byte{"e": nil}, 0))
		case 7, 8:
			return tx.PutModel("vector", key, []byte("v"))
		default:
			return tx.DeleteModel("vector", key)
		}
	})
	if err == nil && rng.IntN(4) == 0 {
		_, _, err = n.PutObject(ctx, key, strings.NewReader("object"), ttl, Cond{})
	}
	if err == nil && rng.IntN(6) == 0 {
		_, err = n.PutCursor(ctx, "webhook", nil)
	}
	return err
}

// An expire that stands in the log has removed what it names: the committer sends back
// the others. Here the removal comes first in the same group, or in one before.
func TestNoVoidExpire(t *testing.T) {
	ctx := context.Background()
	for name, remove := range map[string]func(*Batch) error{
		"overwritten":    func(b *Batch) error { return b.Put([]byte("k"), nil, time.Hour) },
		"deleted":        func(b *Batch) error { return b.Delete([]byte("k")) },
		"row deleted":    func(b *Batch) error { return b.DeleteRow([]byte("k")) },
		"column deleted": func(b *Batch) error { return b.DeleteColumns([]byte("k"), []string{"c"}) },
	} {
		for _, together := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, in the same group %v", name, together), func(t *testing.T) {
				clock := newFakeClock()
				o := testOptions(t, vfs.NewMem())
				o.Clock = clock.Now
				n := createNS(t, openDB(t, o), "test")
				_, err := n.Update(ctx, func(tx *Tx) error {
					if strings.Contains(name, "row") || strings.Contains(name, "column") {
						return tx.PutRow([]byte("k"), map[string][]byte{"c": nil}, time.Second)
					}
					return tx.Put([]byte("k"), nil, time.Second)
				})
				if err != nil {
					t.Fatal(err)
				}
				clock.Advance(time.Second)

				// The committer is held until all have queued up, so that the expire has seen
				// the cell.
				var wg sync.WaitGroup
				hold, held := make(chan struct{}), make(chan struct{})
				wg.Go(func() { check(t, n.inCommitter(ctx, func() { close(held); <-hold })) })
				<-held
				queue := func(fn func() error) {
					want := n.queue.len() + 1
					wg.Go(func() { check(t, fn()) })
					for n.queue.len() < want {
						runtime.Gosched()
					}
				}
				var b Batch
				check(t, remove(&b))
				queue(func() error { _, err := n.Write(ctx, &b); return err })
				if !together {
					queue(func() error { return n.inCommitter(ctx, func() {}) })
				}
				queue(func() error { _, err := n.expireAll(ctx, clock.Now().UnixNano()); return err })
				close(hold)
				wg.Wait()
				for _, c := range changesFrom(t, n, 1) {
					if c.Operation == ChangeExpire {
						t.Errorf("LSN %d lets %s expire, which isn't there", c.LSN, c.Key)
					}
				}
			})
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// The same by chance, with all that can be written.
func TestExpiresRemoveWhatTheyName(t *testing.T) {
	ctx := context.Background()
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	o.Defaults.Storage.MemtableSize = MinMemtableSize
	n := createNS(t, openDB(t, o), "test")
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for range 150 {
				if err := scribble(n, rng); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		clock.Advance(300 * time.Millisecond)
		n.expireDue(ctx, clock.Now().UnixNano())
		if err := n.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	known, expired := receiver{}, 0
	for _, c := range changesFrom(t, n, 1) {
		if c.Operation == ChangeExpire {
			expired++
			for _, id := range idsOf(c) {
				if _, ok := known[id]; !ok {
					t.Fatalf("LSN %d lets %s expire, which isn't there", c.LSN, id)
				}
			}
		}
		known.take(c)
	}
	if expired == 0 {
		t.Error("nothing expired")
	}
}

// idsOf are the things that a change is about, as a receiver calls them.
func idsOf(c Change) (ids []string) {
	if c.Type != EntryRow {
		return []string{fmt.Sprintf("%s %q", c.Type, c.Key)}
	}
	for _, column := range c.Columns {
		ids = append(ids, fmt.Sprintf("%s %q %s", c.Type, c.Key, column))
	}
	return ids
}

// Committed waits for what is applied and not yet synced, and not where it never will be.
func TestCommitted(t *testing.T) {
	ctx := context.Background()
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Storage.SyncInterval = time.Millisecond
	n := createNS(t, openDB(t, o), "test")
	for range 20 {
		seen := putModel(t, n, "m", "k", "v")
		pos, err := n.Committed(ctx)
		if err != nil || pos.LSN < seen.LSN || pos.LSN > n.CommitLSN() {
			t.Fatalf("%v after a write at %v, commit LSN %d: %v", pos, seen, n.CommitLSN(), err)
		}
		if !n.Holds(pos) {
			t.Fatalf("a committed position isn't held: %v", pos)
		}
	}
	pos, err := n.Committed(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Position{
		"beyond the end": {pos.Lineage, pos.Epoch, pos.LSN + 1}, "of another epoch": {pos.Lineage, pos.Epoch + 1, pos.LSN},
		"of another lineage": {Lineage{1}, pos.Epoch, pos.LSN}, "none": {},
	} {
		if n.Holds(p) {
			t.Errorf("a position is held that is %s", name)
		}
	}
	if !n.Holds(Position{Lineage: pos.Lineage}) {
		t.Error("the position before the first record isn't held")
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	n.applied.Add(1) // what will never be synced
	defer n.applied.Add(^uint64(0))
	if _, err := n.Committed(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that is given up: %v", err)
	}
	_ = n.freeze(errors.New("a test"))
	if got, err := n.Committed(ctx); err != nil || got != pos {
		t.Errorf("frozen: %v, %v", got, err)
	}
}

// A page ends within its limit, and the next one begins with what is there then, be it
// in the middle of the models. What is due by the clock alone is there, too.
func TestSnapshotChangesPages(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	update := func(fn func(tx *Tx) error) {
		t.Helper()
		if _, err := n.Update(context.Background(), fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx *Tx) error {
		return errors.Join(tx.Put([]byte("a"), nil, time.Second), tx.PutRow([]byte("r"), map[string][]byte{"x": nil, "y": nil}, 0), tx.PutRow([]byte("s"), map[string][]byte{"x": nil}, 0),
			tx.PutModel("m", []byte("k"), nil), tx.PutModel("n", []byte("k"), nil))
	})
	clock.Advance(time.Hour)
	var got []string
	var from []byte
	for range 5 {
		p, err := n.SnapshotChanges(context.Background(), from, 1)
		if err != nil || len(p.Changes) != 1 {
			t.Fatal(p, err)
		}
		got = append(got, told(p.Changes[0]))
		from = p.Next
		if len(got) == 1 {
			update(func(tx *Tx) error { return tx.PutRow([]byte("r"), map[string][]byte{"b": nil}, 0) })
		}
	}
	want := []string{"0/0 put kv a", "0/0 put row r b,x,y", "0/0 put row s x", "0/0 put m k", "0/0 put n k"}
	if !slices.Equal(got, want) || from != nil {
		t.Errorf("%q, then %x", got, from)
	}
	if p, err := n.SnapshotChanges(context.Background(), []byte{0xff}, 1); err != nil || len(p.Changes) > 0 || p.Next != nil {
		t.Errorf("behind the end: %v, %v", p, err)
	}
}
