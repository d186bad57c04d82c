package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// changesFrom reads all changes from an LSN on, up to the commit LSN.
func changesFrom(t testing.TB, n *Namespace, from uint64) (changes []Change) {
	t.Helper()
	tail, err := n.Tail("test", from)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	for last := n.CommitLSN(); from <= last; {
		run, err := tail.Next(context.Background(), 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Changes(func(c Change) error { changes = append(changes, c); return nil }); err != nil {
			t.Fatal(err)
		}
		from = run.Last + 1
	}
	return changes
}

// told is a change as a test expects it.
func told(c Change) string {
	s := fmt.Sprintf("%d/%d %s %s %s", c.Index, c.Count, c.Operation, c.Type, c.Key)
	if c.Columns != nil {
		s += " " + strings.Join(c.Columns, ",")
	}
	if c.Value != nil {
		s += "=" + string(c.Value)
	}
	return s
}

func TestChanges(t *testing.T) {
	ctx := context.Background()
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	update := func(fn func(*Tx) error) func() error {
		return func() error { _, err := n.Update(ctx, fn); return err }
	}
	cols := func(names ...string) map[string][]byte {
		m := map[string][]byte{}
		for _, name := range names {
			m[name] = []byte("v")
		}
		return m
	}
	putObject := func(key string, size int) func() error {
		return func() error {
			_, _, err := n.PutObject(ctx, []byte(key), bytes.NewReader(make([]byte, size)), 0, Cond{})
			return err
		}
	}
	expire := func(d time.Duration) func() error {
		return func() error {
			clock.Advance(d)
			n.expireDue(ctx, clock.Now().UnixNano())
			return nil
		}
	}
	for _, step := range []struct {
		name string
		run  func() error
		want []string
	}{
		{"keys", update(func(t *Tx) error {
			return errors.Join(t.Put([]byte("a"), []byte("1"), 0), t.Put([]byte("b"), nil, 0), t.Delete([]byte("c")))
		}), []string{"0/3 put kv a=1", "1/3 put kv b=", "2/3 delete kv c"}},
		{"columns of one row, and of another", update(func(t *Tx) error {
			return errors.Join(t.PutRow([]byte("r1"), cols("z", "y", "x"), 0), t.PutRow([]byte("r2"), cols("y"), 0), t.PutRow([]byte("r1"), cols("w"), 0))
		}), []string{"0/3 put row r1 x,y,z", "1/3 put row r2 y", "2/3 put row r1 w"}},
		{"puts and deletes of columns don't join", update(func(t *Tx) error {
			return errors.Join(t.PutRow([]byte("r1"), cols("x"), 0), t.DeleteColumns([]byte("r1"), []string{"z", "y"}), t.DeleteColumns([]byte("r2"), []string{"y"}))
		}), []string{"0/3 put row r1 x", "1/3 delete row r1 y,z", "2/3 delete row r2 y"}},
		{"a row is deleted and made anew", update(func(t *Tx) error {
			return errors.Join(t.PutRow([]byte("r3"), cols("x"), 0), t.DeleteRow([]byte("r1")), t.DeleteRow([]byte("r2")), t.PutRow([]byte("r1"), cols("x"), 0))
		}), []string{"0/4 delete_row row r1", "1/4 delete_row row r2", "2/4 put row r3 x", "3/4 put row r1 x"}},
		{"a row whose key begins with another's", func() error {
			var b Batch
			err := errors.Join(b.PutRow([]byte("row"), cols("x"), 0), b.PutRow([]byte("row\x00"), cols("x"), 0), b.PutRow([]byte("row"), cols("x"), 0), b.PutRow([]byte("row"), cols("x", "y"), 0))
			if err == nil {
				_, err = n.Write(ctx, &b)
			}
			return err
		}, []string{"0/3 put row row x", "1/3 put row row\x00 x", "2/3 put row row x,y"}},
		{"a data model's keys", update(func(t *Tx) error {
			return errors.Join(t.PutModel("vector", []byte("k"), []byte("v")), t.DeleteModel("vector", []byte("k\x00l")), t.PutModel("graph", []byte("k"), []byte("w")))
		}), []string{"0/3 put vector k=v", "1/3 delete vector k\x00l", "2/3 put graph k=w"}},
		{"an object with chunks of its own", putObject("o", MaxChunkLen+1), []string{"0/1 put lob o"}},
		{"it is replaced", putObject("o", 10), []string{"0/1 put lob o"}},
		{"and deleted", update(func(t *Tx) error { return t.DeleteObject([]byte("o")) }), []string{"0/1 delete lob o"}},
		{"an object that was never there", update(func(t *Tx) error { return t.DeleteObject([]byte("none")) }), []string{"0/1 delete lob none"}},
		{"a cursor", func() error { _, err := n.PutCursor(ctx, "webhook", []byte("17")); return err }, nil},
		{"a mark", func() error { _, err := n.WriteMark(ctx); return err }, nil},
		{"an upload that is given up", func() error {
			_, _, err := n.PutObject(ctx, []byte("o"), &failingReader{n: MaxChunkLen + 1}, 0, Cond{})
			if err == nil {
				err = errors.New("expected that it fails")
			} else {
				err = nil
			}
			return err
		}, nil},
		{"what expires is put", update(func(t *Tx) error {
			err := errors.Join(t.Put([]byte("x"), []byte("1"), time.Second), t.PutRow([]byte("rx"), cols("b", "a"), time.Second), t.PutRow([]byte("rx"), cols("c"), 2*time.Second))
			t.setObjectForTest([]byte("ox"), time.Second)
			return err
		}), []string{"0/3 put kv x=1", "1/3 put row rx a,b,c", "2/3 put lob ox"}},
		{"and expires", expire(time.Second), []string{"0/3 expire kv x", "1/3 expire row rx a,b", "2/3 expire lob ox"}},
		{"the rest of the row expires", expire(time.Second), []string{"0/1 expire row rx c"}},
	} {
		from := n.Status().LSN + 1
		if err := step.run(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		var got []string
		for _, c := range changesFrom(t, n, from) {
			got = append(got, told(c))
			if c.LSN < from || c.Epoch != n.Status().Epoch || !c.Time.Equal(clock.Now()) {
				t.Errorf("%s: a change of LSN %d, epoch %d, %v", step.name, c.LSN, c.Epoch, c.Time)
			}
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("%s:\n got %q\nwant %q", step.name, got, step.want)
		}
	}
}

// setObjectForTest has the transaction make an empty object.
func (t *Tx) setObjectForTest(key []byte, ttl time.Duration) {
	u, err := t.n.newUpload(ttl)
	if err != nil {
		panic(err)
	}
	t.setObject(key, u)
}

// failingReader fails behind n bytes.
type failingReader struct{ n int }

func (r *failingReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, errors.New("the client is gone")
	}
	n := min(len(p), r.n)
	r.n -= n
	return n, nil
}

// A record of 64 MiB is read without a list of its changes, and an error of the caller
// ends it at once.
func TestChangesEndWithTheCallersError(t *testing.T) {
	n := createNS(t, openDB(t, testOptions(t, vfs.NewMem())), "test")
	var b Batch
	for i := range 10 {
		if err := b.Put(fmt.Appendf(nil, "k%d", i), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	tail, err := n.Tail("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	run, err := tail.Next(context.Background(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	enough, seen := errors.New("enough"), 0
	err = run.Changes(func(Change) error {
		if seen++; seen == 3 {
			return enough
		}
		return nil
	})
	if err != enough || seen != 3 {
		t.Errorf("%d changes, then %v", seen, err)
	}
}

// Bytes that aren't what was written are ErrDamaged, whatever they claim.
func TestChangesOfDamage(t *testing.T) {
	var b codec.Builder
	b.PutKV([]byte("k"), []byte("v"), codec.Expiry{})
	good := b.Seal(7, 1, 1)
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	bad := map[string][]byte{"flipped": flipped, "cut off": good[:len(good)-1], "short": good[:5]}
	for name, key := range map[string][]byte{
		"a column's key": {codec.TypeRow, 1, 2}, "a model's key without a name": {codec.TypeModel, 0, 1}, "a model's key without an end": {codec.TypeModel, 'x'},
	} {
		var b codec.Builder
		b.Put(key, nil, codec.Expiry{})
		bad[name] = b.Seal(7, 1, 1)
	}
	for name, bytes := range bad {
		err := Run{Records: [][]byte{bytes}}.Changes(func(Change) error { return nil })
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a record whose checksum is right says, its changes are as many as they claim,
// or it is damage.
func FuzzChanges(f *testing.F) {
	row := codec.ColumnKey([]byte("row"), "column")
	f.Add([]byte{0, 1, 2, 3}, codec.KVKey([]byte("k")), row)
	f.Add([]byte{8, 9, 10, 11}, codec.ModelKey("m", []byte("k")), codec.RowPrefix([]byte("row")))
	f.Add([]byte{2, 6, 3, 7}, codec.KVKey([]byte("k")), row)
	f.Add([]byte{4, 5, 0}, codec.ManifestKey([]byte("k")), codec.CursorKey("c"))
	f.Fuzz(func(t *testing.T, kinds, a, b []byte) {
		var batch codec.Builder
		for _, kind := range kinds {
			key := a
			if kind&4 != 0 {
				key = b
			}
			switch kind & 3 {
			case 0:
				batch.Put(key, nil, codec.Expiry{})
			case 1:
				batch.Delete(key)
			case 2:
				batch.DeleteRow(key)
			default:
				batch.Expire(key, codec.Version{})
			}
		}
		if batch.Ops() == 0 {
			return
		}
		next, count := 0, 0
		err := Run{Records: [][]byte{batch.Seal(7, 1, 1)}}.Changes(func(c Change) error {
			if c.Index != next || len(c.Type) == 0 || c.Operation == "" || count != 0 && c.Count != count {
				t.Fatalf("change %d of %d is %+v", next, count, c)
			}
			next, count = next+1, c.Count
			return nil
		})
		if err == nil && next != count || err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("%d changes of %d, %v", next, count, err)
		}
	})
}

// BenchmarkChanges reads a run of the log as changes.
func BenchmarkChanges(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			run := Run{Records: [][]byte{nil}}
			value := make([]byte, size)
			const records = 1000
			for i := range records {
				var batch codec.Builder
				batch.PutKV(fmt.Appendf(nil, "user:%06d", i), value, codec.Expiry{})
				run.Records[0] = append(run.Records[0], batch.Seal(uint64(i+1), 1, 1)...)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := run.Changes(func(Change) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/change")
		})
	}
}
