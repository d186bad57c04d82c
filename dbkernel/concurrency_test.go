package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// TestInvariantsUnderConcurrency has everything go on at once while memtables
// of the smallest size rotate and flush all the time: transfers between
// accounts, counters that everybody raises, rows and objects that are replaced,
// and scans that must find each of them whole, at one LSN.
func TestInvariantsUnderConcurrency(t *testing.T) {
	_, duration := longForm(t)
	for _, s := range []StorageOptions{
		{Engine: EngineMemory, SegmentSize: MinSegmentSize, MemtableSize: MinMemtableSize},
		{Engine: EngineMemory, SegmentSize: MinSegmentSize, MemtableSize: MinMemtableSize, SyncInterval: time.Millisecond},
	} {
		t.Run(fmt.Sprintf("sync interval %v", s.SyncInterval), func(t *testing.T) {
			t.Parallel()
			o := testOptions(t, vfs.NewMem())
			o.Defaults.Storage = s
			newBank(createNS(t, openDB(t, o), "bank")).run(t, max(duration, 3*time.Second))
		})
	}
}

const (
	bankAccounts = 8
	bankTotal    = 1000 * bankAccounts
	bankWriters  = 3
)

// bank is the state that the goroutines of the test keep up together.
type bank struct {
	n          *Namespace
	filler     []byte
	increments atomic.Int64
	scans      atomic.Int64
	failed     atomic.Bool
}

func newBank(n *Namespace) *bank { return &bank{n: n, filler: make([]byte, 2000)} }

func account(i int) []byte { return fmt.Appendf(nil, "account/%d", i) }

func (k *bank) run(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var b Batch
	for i := range bankAccounts {
		if err := b.Put(account(i), []byte("1000"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.n.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	loop := func(name string, seed uint64, fn func(rng *rand.Rand) error) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 7))
			for ctx.Err() == nil && !k.failed.Load() {
				if err := fn(rng); err != nil {
					k.failed.Store(true)
					t.Errorf("%s: %v", name, err)
				}
				runtime.Gosched() // readers never wait: writers must get their turn
			}
		})
	}
	for w := range uint64(bankWriters) {
		loop("transfer", w, k.transfer)
		loop("increment", w, k.increment)
	}
	loop("pair", 1, k.pair)
	loop("fill", 1, k.fill)
	loop("object", 1, k.object)
	loop("read object", 2, k.readObject)
	for w := range uint64(2) {
		loop("scan", w, k.scan)
	}
	loop("read counter", 3, func(*rand.Rand) error { return k.counterRises() })
	wg.Wait()
	if got := k.counter(t); got != k.increments.Load() {
		t.Errorf("the counter is %d after %d increments", got, k.increments.Load())
	}
	c := k.n.Counters()
	t.Logf("%d increments, %d scans, %d records, %d flushes", k.increments.Load(), k.scans.Load(), c.Records, c.Flushes)
	if c.Flushes < 3 || k.scans.Load() == 0 || k.increments.Load() == 0 {
		t.Error("the test did next to nothing")
	}
	checkSound(t, k.n)
}

// transfer moves money by a transaction that reads two accounts.
func (k *bank) transfer(rng *rand.Rand) error {
	from, to := rng.IntN(bankAccounts), rng.IntN(bankAccounts)
	if from == to {
		return nil
	}
	_, err := k.n.Update(context.Background(), func(tx *Tx) error {
		a, err := number(tx.Get(account(from)))
		if err != nil {
			return err
		}
		b, err := number(tx.Get(account(to)))
		if err != nil {
			return err
		}
		amount := rng.Int64N(50)
		return errors.Join(
			tx.Put(account(from), strconv.AppendInt(nil, a-amount, 10), 0),
			tx.Put(account(to), strconv.AppendInt(nil, b+amount, 10), 0),
		)
	})
	return err
}

func number(v Value, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(v.Data), 10, 64)
}

func (k *bank) increment(*rand.Rand) error {
	_, err := k.n.Update(context.Background(), func(tx *Tx) error {
		now, err := number(tx.Get([]byte("counter")))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		return tx.Put([]byte("counter"), strconv.AppendInt(nil, now+1, 10), 0)
	})
	if err == nil {
		k.increments.Add(1)
	}
	return err
}

func (k *bank) counter(t *testing.T) int64 {
	t.Helper()
	s, _ := getKey(t, k.n, "counter")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// counterRises checks that a later view never shows less, and never less than
// what was acknowledged before it.
func (k *bank) counterRises() error {
	before := k.increments.Load()
	v, err := k.n.View()
	if err != nil {
		return err
	}
	defer v.Close()
	now, err := number(v.Get([]byte("counter")))
	if errors.Is(err, ErrNotFound) && before == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if now < before {
		return fmt.Errorf("the counter is %d at LSN %d, %d increments were acknowledged before", now, v.lsn, before)
	}
	return nil
}

// pair replaces all columns of a row, and two keys, by blind batches.
func (k *bank) pair(rng *rand.Rand) error {
	value := strconv.AppendUint(nil, rng.Uint64(), 10)
	var b Batch
	err := errors.Join(b.Put([]byte("pair/a"), value, 0), b.Put([]byte("pair/b"), value, 0), b.DeleteRow([]byte("row")))
	columns := map[string][]byte{}
	for i := range 1 + rng.IntN(4) {
		columns[strconv.Itoa(i)] = value
	}
	if err = errors.Join(err, b.PutRow([]byte("row"), columns, 0)); err != nil {
		return err
	}
	_, err = k.n.Write(context.Background(), &b)
	return err
}

// fill makes memtables full.
func (k *bank) fill(rng *rand.Rand) error {
	var b Batch
	for range 8 {
		if err := b.Put(fmt.Appendf(nil, "fill/%d", rng.IntN(1000)), k.filler, 0); err != nil {
			return err
		}
	}
	_, err := k.n.Write(context.Background(), &b)
	return err
}

// scan reads everything in one view, which must be whole.
func (k *bank) scan(rng *rand.Rand) error {
	v, err := k.n.View()
	if err != nil {
		return err
	}
	defer v.Close()
	p, err := v.Scan(Scan{Prefix: []byte("account/"), Reverse: rng.IntN(2) == 0})
	if err != nil {
		return err
	}
	var total int64
	for _, i := range p.Items {
		n, err := number(i.Value, nil)
		if err != nil {
			return err
		}
		total += n
	}
	if total != bankTotal || len(p.Items) != bankAccounts {
		return fmt.Errorf("%d accounts have %d together at LSN %d, expected %d", len(p.Items), total, v.lsn, bankTotal)
	}
	a, errA := v.Get([]byte("pair/a"))
	b, errB := v.Get([]byte("pair/b"))
	row, errRow := v.GetRow([]byte("row"), nil)
	if errors.Is(errA, ErrNotFound) && errors.Is(errB, ErrNotFound) && errors.Is(errRow, ErrNotFound) {
		return nil
	}
	if err := errors.Join(errA, errB, errRow); err != nil {
		return err
	}
	if string(a.Data) != string(b.Data) || a.Version != b.Version {
		return fmt.Errorf("one of a pair is %s (%s), the other %s (%s), at LSN %d", a.Data, a.Version, b.Data, b.Version, v.lsn)
	}
	for column, value := range row.Columns {
		if string(value) != string(a.Data) {
			return fmt.Errorf("column %s of the row is %s at LSN %d, expected %s", column, value, v.lsn, a.Data)
		}
	}
	k.scans.Add(1)
	return nil
}

// object replaces or deletes an object of several pieces, all of one byte.
func (k *bank) object(rng *rand.Rand) error {
	key := []byte("object")
	if rng.IntN(4) == 0 {
		_, err := k.n.Update(context.Background(), func(tx *Tx) error { return tx.DeleteObject(key) })
		return err
	}
	size := rng.IntN(4000)
	if rng.IntN(10) == 0 {
		size = MaxChunkLen + rng.IntN(MaxChunkLen)
	}
	data := bytes.Repeat([]byte{byte(rng.Uint32())}, size)
	_, _, err := k.n.PutObject(context.Background(), key, bytes.NewReader(data), 0, Cond{})
	return err
}

// readObject reads an object slowly enough for it to be replaced meanwhile.
func (k *bank) readObject(rng *rand.Rand) error {
	r, err := k.n.OpenObject([]byte("object"))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	size := r.Object().Size
	part := make([]byte, 100)
	var first []byte
	for range 5 {
		n, err := r.ReadAt(part, rng.Int64N(size+1))
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(err, r.Close())
		}
		for _, b := range part[:n] {
			if first == nil {
				first = []byte{b}
			}
			if b != first[0] {
				return errors.Join(fmt.Errorf("an object of one byte has %d and %d", first[0], b), r.Close())
			}
		}
		if rng.IntN(3) == 0 {
			if err := k.n.Flush(context.Background()); err != nil {
				return errors.Join(err, r.Close())
			}
		}
	}
	return r.Close()
}

// TestIncrementsAreNeverLost raises one counter by transactions of which every
// few fill a memtable, so that views are opened while the list of memtables
// changes. A view that claims an LSN without showing all of it lets an
// increment overwrite another.
func TestIncrementsAreNeverLost(t *testing.T) {
	_, duration := longForm(t)
	for _, s := range []StorageOptions{
		{Engine: EngineMemory, SegmentSize: MinSegmentSize, MemtableSize: MinMemtableSize},
		{Engine: EngineMemory, SegmentSize: MinSegmentSize, MemtableSize: MinMemtableSize, SyncInterval: time.Millisecond},
	} {
		t.Run(fmt.Sprintf("sync interval %v", s.SyncInterval), func(t *testing.T) {
			t.Parallel()
			o := testOptions(t, vfs.NewMem())
			o.Defaults.Storage = s
			o.Clock = func() time.Time { // opening a view asks for it: a good moment for others
				runtime.Gosched()
				return time.Now()
			}
			n := createNS(t, openDB(t, o), "counter")
			ctx, cancel := context.WithTimeout(context.Background(), max(duration, 2*time.Second))
			defer cancel()
			var want [2]atomic.Int64
			var wg sync.WaitGroup
			filler := make([]byte, MinMemtableSize/3)
			for w := range 6 {
				key := fmt.Appendf(nil, "counter/%d", w%len(want))
				wg.Go(func() {
					for ctx.Err() == nil {
						_, err := n.Update(context.Background(), func(tx *Tx) error {
							now, err := number(tx.Get(key))
							if err != nil && !errors.Is(err, ErrNotFound) {
								return err
							}
							return errors.Join(tx.Put(key, strconv.AppendInt(nil, now+1, 10), 0), tx.Put([]byte("filler"), filler, 0))
						})
						if err != nil {
							t.Error(err)
							return
						}
						want[w%len(want)].Add(1)
					}
				})
			}
			wg.Wait()
			for i := range want {
				wantKey(t, n, fmt.Sprintf("counter/%d", i), strconv.FormatInt(want[i].Load(), 10))
			}
			t.Logf("%d and %d increments, %d flushes", want[0].Load(), want[1].Load(), n.Counters().Flushes)
		})
	}
}
