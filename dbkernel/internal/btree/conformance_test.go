package btree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

func TestPutGetDelete(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		update(t, tree, func(tx Tx) error {
			if got := get(t, tx, "a"); got != "absent" {
				t.Errorf("a in an empty tree: %s", got)
			}
			if err := errors.Join(tx.Put([]byte("a"), []byte("1")), tx.Put([]byte("b"), nil), tx.Delete([]byte("c"))); err != nil {
				return err
			}
			if got := get(t, tx, "a"); got != "=1" {
				t.Errorf("a in its transaction: %s", got)
			}
			return nil
		})
		update(t, tree, func(tx Tx) error { return tx.Delete([]byte("a")) })
		s := snapshot(t, tree)
		defer s.Release()
		if a, b := get(t, s, "a"), get(t, s, "b"); a != "absent" || b != "=" {
			t.Errorf("a %s, b %s", a, b)
		}
	})
}

func TestCallersMayReuseBuffers(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		key, value := []byte("key"), []byte("value")
		update(t, tree, func(tx Tx) error {
			if err := tx.Put(key, value); err != nil {
				return err
			}
			copy(key, "xxx")
			copy(value, "xxxxx")
			return nil
		})
		s := snapshot(t, tree)
		defer s.Release()
		if got := get(t, s, "key"); got != "=value" {
			t.Errorf("key %s", got)
		}
	})
}

func TestStateSurvivesReopening(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		m := model{}
		for round := range 3 {
			tree := e.open(t)
			s := snapshot(t, tree)
			m.check(t, s)
			s.Release()
			update(t, tree, func(tx Tx) error {
				for i := range 500 {
					k, v := fmt.Sprintf("key-%d-%d", round, i), strings.Repeat("v", i)
					m[k] = v
					if err := tx.Put([]byte(k), []byte(v)); err != nil {
						return err
					}
				}
				return nil
			})
			st, err := tree.Stats()
			if err != nil || st.Keys != uint64(len(m)) || st.FileBytes == 0 || st.UsedBytes == 0 || st.UsedBytes > st.FileBytes {
				t.Errorf("stats %+v, %v; expected %d keys", st, err, len(m))
			}
			if err := tree.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestFailedUpdateLeavesTheTreeAsItWas(t *testing.T) {
	failures := map[string]func(Tree, func(Tx) error) error{
		"error": func(tree Tree, fn func(Tx) error) error {
			want := errors.New("no")
			err := tree.Update(func(tx Tx) error { return errors.Join(fn(tx), want) })
			if !errors.Is(err, want) {
				return fmt.Errorf("update: %w", err)
			}
			return nil
		},
		"panic": func(tree Tree, fn func(Tx) error) (err error) {
			defer func() {
				if p := recover(); p != "no" {
					err = fmt.Errorf("recovered %v", p)
				}
			}()
			return tree.Update(func(tx Tx) error { panic(or(fn(tx), "no")) })
		},
	}
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		m := model{"a": "1", "b": "2", "d": "3"}
		update(t, tree, func(tx Tx) error {
			for k, v := range m {
				if err := tx.Put([]byte(k), []byte(v)); err != nil {
					return err
				}
			}
			return nil
		})
		for name, failing := range failures {
			err := failing(tree, func(tx Tx) error {
				return errors.Join(
					tx.Put([]byte("a"), []byte("changed")), tx.Delete([]byte("b")), tx.Put([]byte("c"), []byte("new")),
					tx.Apply([]Edit{{Key: []byte("d"), Delete: true}, {Key: []byte("e"), Value: []byte("new")}}, nil))
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			s := snapshot(t, tree)
			m.check(t, s)
			s.Release()
		}
		put(t, tree, "f", "works")
	})
}

// or returns err if there is one, else v.
func or(err error, v any) any {
	if err != nil {
		return err
	}
	return v
}

func TestKeySizes(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		good := [][]byte{{0}, {0xff}, bytes.Repeat([]byte{0}, 511), bytes.Repeat([]byte{0xff}, 511), []byte("a/b%00\x00é")}
		bad := [][]byte{nil, {}, make([]byte, 512), make([]byte, 5000)}
		update(t, tree, func(tx Tx) error {
			for _, k := range good {
				if err := tx.Put(k, k); err != nil {
					return err
				}
			}
			for _, k := range bad {
				_, _, getErr := tx.Get(k)
				for what, err := range map[string]error{
					"put": tx.Put(k, nil), "delete": tx.Delete(k), "get": getErr,
					"apply": tx.Apply([]Edit{{Key: k}}, nil),
				} {
					if !errors.Is(err, ErrKeySize) {
						t.Errorf("%s of a key of %d bytes: %v", what, len(k), err)
					}
				}
			}
			return nil
		})
		s := snapshot(t, tree)
		defer s.Release()
		for _, k := range good {
			if got := get(t, s, string(k)); got != "="+string(k) {
				t.Errorf("key of %d bytes: %.20q", len(k), got)
			}
		}
		c, err := s.Cursor()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// Bounds of a scan may be longer than any key.
		if !c.Seek(append(bytes.Repeat([]byte{0}, 511), 0)) || !bytes.Equal(c.Key(), []byte("a/b%00\x00é")) {
			t.Errorf("seek behind the longest zeros: at %.20q, %v", c.Key(), c.Err())
		}
		if !c.SeekBefore(bytes.Repeat([]byte{0xff}, 600)) || len(c.Key()) != 511 {
			t.Errorf("seek before the longest bound: at %.20q, %v", c.Key(), c.Err())
		}
	})
}

func TestValueSizes(t *testing.T) {
	sizes := []int{0, 1, 31, 32, 33, 100, 1000, 2000, 2040, 4080, 4096, 5000, 1 << 16, 1<<16 + 1, 1 << 20, 8 << 20}
	forEngines(t, func(t *testing.T, e engine) {
		e.o.MapSize = 1 << 20
		tree := e.open(t)
		m := model{}
		for i, n := range sizes {
			m[fmt.Sprintf("put-%02d", i)] = strings.Repeat(string(rune('a'+i)), n)
			m[fmt.Sprintf("apply-%02d", i)] = strings.Repeat(string(rune('A'+i)), n)
		}
		for range 2 { // the second time everything is replaced
			update(t, tree, func(tx Tx) error {
				var edits []Edit
				for _, k := range m.keys() {
					if strings.HasPrefix(k, "apply") {
						edits = append(edits, Edit{Key: []byte(k), Value: []byte(m[k])})
					} else if err := tx.Put([]byte(k), []byte(m[k])); err != nil {
						return err
					}
				}
				return tx.Apply(edits, nil)
			})
		}
		s := snapshot(t, tree)
		defer s.Release()
		m.check(t, s)
		for k, v := range m {
			if got := get(t, s, k); got != "="+v {
				t.Errorf("%s has %d bytes, expected %d", k, len(got)-1, len(v))
			}
		}
	})
}

func TestSnapshotsAreIsolated(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		states := []model{{}}
		snaps := []Snapshot{snapshot(t, tree)}
		for i := range 20 {
			m := model{}
			update(t, tree, func(tx Tx) error {
				for j := range 50 {
					k := fmt.Sprintf("k%03d", (i*13+j)%70)
					m[k] = fmt.Sprint(i)
					if err := tx.Put([]byte(k), []byte(m[k])); err != nil {
						return err
					}
				}
				for k, v := range states[i] {
					if _, written := m[k]; written {
						continue
					}
					if m[k] = v; i%3 == 0 {
						delete(m, k)
						if err := tx.Delete([]byte(k)); err != nil {
							return err
						}
					}
				}
				return nil
			})
			states, snaps = append(states, m), append(snaps, snapshot(t, tree))
		}
		st, err := tree.Stats()
		if err != nil || st.Snapshots != len(snaps) || st.OldestSnapshot <= 0 {
			t.Errorf("stats %+v, %v", st, err)
		}
		for i, s := range snaps {
			states[i].check(t, s)
			s.Release()
		}
		if st, err := tree.Stats(); err != nil || st.Snapshots != 0 || st.OldestSnapshot != 0 {
			t.Errorf("after release: stats %+v, %v", st, err)
		}
	})
}

func TestApplyReportsOldValues(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		long := strings.Repeat("0123456789", 5000)
		m := model{"b": "", "c": "short", "d": long[:32], "e": long[:33], "f": long, "h": "kept"}
		update(t, tree, func(tx Tx) error {
			for k, v := range m {
				if err := tx.Put([]byte(k), []byte(v)); err != nil {
					return err
				}
			}
			return nil
		})
		edits := []Edit{
			{Key: []byte("a"), Value: []byte("new")},
			{Key: []byte("b"), Value: []byte("longer than before")},
			{Key: []byte("c"), Delete: true},
			{Key: []byte("d"), Value: []byte("x")},
			{Key: []byte("e"), Value: []byte(long)},
			{Key: []byte("f"), Value: nil},
			{Key: []byte("g"), Delete: true},
			{Key: []byte("i"), Value: []byte("at the end")},
		}
		next := 0
		update(t, tree, func(tx Tx) error {
			return tx.Apply(edits, func(i int, head []byte, n int) error {
				if i != next {
					t.Errorf("told of edit %d, expected %d", i, next)
				}
				next++
				v, was := m[string(edits[i].Key)]
				if (head != nil) != was || n != len(v) || string(head) != v[:min(len(v), HeadLen)] {
					t.Errorf("edit of %q: old head %q (nil: %t), length %d; expected %d bytes", edits[i].Key, head, head == nil, n, len(v))
				}
				return nil
			})
		})
		if next != len(edits) {
			t.Errorf("told of %d edits", next)
		}
		s := snapshot(t, tree)
		defer s.Release()
		model{"a": "new", "b": "longer than before", "d": "x", "e": long, "f": "", "h": "kept", "i": "at the end"}.check(t, s)
	})
}

func TestApplyRefuses(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		put(t, tree, "m", "1")
		stop := errors.New("stop")
		for name, apply := range map[string]func(Tx) error{
			"descending": func(tx Tx) error {
				return tx.Apply([]Edit{{Key: []byte("b")}, {Key: []byte("a")}}, nil)
			},
			"twice the same": func(tx Tx) error {
				return tx.Apply([]Edit{{Key: []byte("b")}, {Key: []byte("b"), Delete: true}}, nil)
			},
			"callback": func(tx Tx) error {
				return tx.Apply([]Edit{{Key: []byte("b")}, {Key: []byte("m"), Delete: true}}, func(i int, _ []byte, _ int) error {
					if i == 1 {
						return stop
					}
					return nil
				})
			},
		} {
			err := tree.Update(apply)
			if err == nil || (name == "callback") != errors.Is(err, stop) {
				t.Errorf("%s: %v", name, err)
			}
		}
		s := snapshot(t, tree)
		defer s.Release()
		model{"m": "1"}.check(t, s)
	})
}

func TestApplyOfNothing(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		update(t, tree, func(tx Tx) error {
			return errors.Join(tx.Apply(nil, nil), tx.Apply([]Edit{{Key: []byte("a"), Delete: true}}, nil))
		})
		s := snapshot(t, tree)
		defer s.Release()
		model{}.check(t, s)
	})
}

func TestCursorMoves(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		s := snapshot(t, tree)
		c, err := s.Cursor()
		if err != nil {
			t.Fatal(err)
		}
		if c.Next() || c.Prev() || c.Seek(nil) || c.SeekBefore(nil) || c.Seek([]byte("a")) || c.Key() != nil || c.Value() != nil || c.Err() != nil {
			t.Errorf("a cursor of an empty tree moves: at %q, %v", c.Key(), c.Err())
		}
		c.Close()
		s.Release()

		update(t, tree, func(tx Tx) error {
			for i := range 1000 {
				if err := tx.Put(fmt.Appendf(nil, "k%04d", 2*i), fmt.Appendf(nil, "v%d", i)); err != nil {
					return err
				}
			}
			return nil
		})
		s = snapshot(t, tree)
		defer s.Release()
		if c, err = s.Cursor(); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		at := func(what string, ok bool, want string) {
			t.Helper()
			if got := string(c.Key()); ok != (want != "") || got != want {
				t.Fatalf("%s: %t at %q, expected %q (%v)", what, ok, got, want, c.Err())
			}
		}
		at("seek to a key", c.Seek([]byte("k0010")), "k0010")
		at("seek between", c.Seek([]byte("k0011")), "k0012")
		at("prev", c.Prev(), "k0010")
		at("prev", c.Prev(), "k0008")
		at("next", c.Next(), "k0010")
		at("next", c.Next(), "k0012")
		at("seek before a key", c.SeekBefore([]byte("k0010")), "k0008")
		at("next", c.Next(), "k0010")
		at("seek before between", c.SeekBefore([]byte("k0011")), "k0010")
		at("seek before all", c.SeekBefore([]byte("a")), "")
		at("next of none", c.Next(), "")
		at("seek before an empty key", c.SeekBefore([]byte{}), "")
		at("seek behind all", c.Seek([]byte("l")), "")
		at("prev of none", c.Prev(), "")
		at("last", c.SeekBefore(nil), "k1998")
		at("next of last", c.Next(), "")
		at("last below", c.SeekBefore([]byte("zzz")), "k1998")
		at("first", c.Seek(nil), "k0000")
		at("prev of first", c.Prev(), "")
		at("long walk", c.Seek([]byte("k0500")), "k0500")
		for i := 502; i <= 1400; i += 2 {
			at("next", c.Next(), fmt.Sprintf("k%04d", i))
		}
		for i := 1398; i >= 100; i -= 2 {
			at("prev", c.Prev(), fmt.Sprintf("k%04d", i))
		}
		for i := 102; i <= 1998; i += 2 {
			at("next", c.Next(), fmt.Sprintf("k%04d", i))
			if got := string(c.Value()); got != fmt.Sprintf("v%d", i/2) {
				t.Fatalf("value %q at %q", got, c.Key())
			}
		}
		at("end", c.Next(), "")
	})
}

// TestCursorSeesWritesOfItsTransaction reads ahead, changes what was read ahead,
// and moves on.
func TestCursorSeesWritesOfItsTransaction(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		update(t, tree, func(tx Tx) error {
			for i := range 300 {
				if err := tx.Put(fmt.Appendf(nil, "k%03d", i), []byte("old")); err != nil {
					return err
				}
			}
			c, err := tx.Cursor()
			if err != nil {
				return err
			}
			defer c.Close()
			seen := 0
			for ok := c.Seek(nil); ok; ok = c.Next() {
				i := 0
				if _, err := fmt.Sscanf(string(c.Key()), "k%03d", &i); err != nil {
					return err
				}
				if want := map[bool]string{true: "old", false: "new"}[i == 0]; string(c.Value()) != want {
					t.Fatalf("at %s: %s, expected %s", c.Key(), c.Value(), want)
				}
				seen++
				// The pair at the cursor goes, the next one too, and the one after it changes.
				if err := errors.Join(
					tx.Delete(bytes.Clone(c.Key())), tx.Delete(fmt.Appendf(nil, "k%03d", i+1)),
					tx.Put(fmt.Appendf(nil, "k%03d", i+2), []byte("new"))); err != nil {
					return err
				}
				if i == 296 {
					break
				}
			}
			if seen != 149 {
				t.Errorf("saw %d pairs", seen)
			}
			return c.Err()
		})
		s := snapshot(t, tree)
		defer s.Release()
		model{"k298": "new", "k299": "old"}.check(t, s)
	})
}

// TestCursorPassesEmptiedPages deletes runs of keys that fill whole pages and walks
// over the gaps in the same transaction.
func TestCursorPassesEmptiedPages(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		const n = 400
		key := func(i int) []byte { return fmt.Appendf(nil, "k%04d", i) }
		update(t, tree, func(tx Tx) error {
			for i := range n {
				if err := tx.Put(key(i), make([]byte, 500)); err != nil {
					return err
				}
			}
			return nil
		})
		for _, gap := range [][2]int{{100, 300}, {0, 200}, {200, n}, {1, n - 1}, {0, n}} {
			err := tree.Update(func(tx Tx) error {
				m := model{}
				for i := range n {
					if i < gap[0] || i >= gap[1] {
						m[string(key(i))] = string(make([]byte, 500))
					} else if err := tx.Delete(key(i)); err != nil {
						return err
					}
				}
				m.check(t, tx)
				c, err := tx.Cursor()
				if err != nil {
					return err
				}
				defer c.Close()
				for _, at := range []int{gap[0], (gap[0] + gap[1]) / 2, gap[1]} {
					if ok := c.SeekBefore(key(at)); ok != (gap[0] > 0) || ok && !bytes.Equal(c.Key(), key(gap[0]-1)) {
						t.Errorf("gap %v: before %d: %t at %q", gap, at, ok, c.Key())
					}
					if ok := c.Seek(key(at)); ok != (gap[1] < n) || ok && !bytes.Equal(c.Key(), key(gap[1])) {
						t.Errorf("gap %v: from %d: %t at %q", gap, at, ok, c.Key())
					}
				}
				return errAborted
			})
			if !errors.Is(err, errAborted) {
				t.Fatal(err)
			}
		}
	})
}

func TestHandlesAfterTheirEnd(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		put(t, tree, "a", "1")
		s := snapshot(t, tree)
		c, err := s.Cursor()
		if err != nil || !c.Seek(nil) {
			t.Fatal(err, c.Err())
		}
		open, err := s.Cursor() // never closed
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		c.Close()
		if c.Seek(nil) || !errors.Is(c.Err(), ErrEnded) || c.Key() != nil {
			t.Errorf("a closed cursor: %v", c.Err())
		}
		v, _, err := s.Get([]byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		s.Release()
		if string(v) != "1" {
			t.Errorf("a value changed when its snapshot was released: %q", v)
		}
		if _, _, err := s.Get([]byte("a")); !errors.Is(err, ErrEnded) {
			t.Errorf("get of a released snapshot: %v", err)
		}
		if _, err := s.Cursor(); !errors.Is(err, ErrEnded) {
			t.Errorf("cursor of a released snapshot: %v", err)
		}
		if open.Seek(nil) || !errors.Is(open.Err(), ErrEnded) {
			t.Errorf("cursor that outlived its snapshot: %v", open.Err())
		}
		open.Close()

		var old Tx
		var oldCursor Cursor
		update(t, tree, func(tx Tx) (err error) {
			old = tx
			oldCursor, err = tx.Cursor()
			return err
		})
		_, _, getErr := old.Get([]byte("a"))
		_, cursorErr := old.Cursor()
		for what, err := range map[string]error{
			"get": getErr, "cursor": cursorErr, "put": old.Put([]byte("a"), nil), "delete": old.Delete([]byte("a")),
			"apply": old.Apply([]Edit{{Key: []byte("a")}}, nil),
		} {
			if !errors.Is(err, ErrEnded) {
				t.Errorf("%s of an ended transaction: %v", what, err)
			}
		}
		if oldCursor.Seek(nil) || !errors.Is(oldCursor.Err(), ErrEnded) {
			t.Errorf("cursor of an ended transaction: %v", oldCursor.Err())
		}
		oldCursor.Close()
	})
}

func TestClosed(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		put(t, tree, "a", "1")
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		_, snapErr := tree.Snapshot()
		_, statErr := tree.Stats()
		_, backupErr := tree.Backup(&bytes.Buffer{})
		for what, err := range map[string]error{
			"snapshot": snapErr, "stats": statErr, "backup": backupErr,
			"update": tree.Update(func(Tx) error { return nil }), "close": tree.Close(),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestBackupIsATree(t *testing.T) {
	files := map[string]string{EngineLMDB: "data.mdb", EngineBolt: "data.bolt", EngineMemory: "data.mem"}
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		m := model{}
		for round := range 4 {
			update(t, tree, func(tx Tx) error {
				for i := range 2000 {
					k := fmt.Sprintf("key-%05d", i)
					m[k] = strings.Repeat(fmt.Sprint(round), 100)
					if err := tx.Put([]byte(k), []byte(m[k])); err != nil {
						return err
					}
				}
				return nil
			})
		}
		update(t, tree, func(tx Tx) error {
			for i := range 1500 {
				k := fmt.Sprintf("key-%05d", i)
				delete(m, k)
				if err := tx.Delete([]byte(k)); err != nil {
					return err
				}
			}
			return nil
		})
		var b bytes.Buffer
		n, err := tree.Backup(&b)
		if err != nil || n != int64(b.Len()) {
			t.Fatalf("backup: %d bytes of %d, %v", n, b.Len(), err)
		}
		st, err := tree.Stats()
		if err != nil || n > st.FileBytes {
			t.Errorf("the backup has %d bytes, the file %d (%v)", n, st.FileBytes, err)
		}

		copied := newEngine(t, e.name)
		if e.name == EngineMemory {
			writeMem(t, copied.o.FS, filepath.Join(copied.o.Dir, files[e.name]), b.Bytes())
		} else if err := os.WriteFile(filepath.Join(copied.o.Dir, files[e.name]), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		restored := copied.open(t)
		s := snapshot(t, restored)
		m.check(t, s)
		s.Release()
		put(t, restored, "more", "works")
	})
}

func writeMem(t testing.TB, fsys vfs.FS, path string, b []byte) {
	t.Helper()
	if err := fsys.MkdirAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WritevAt([][]byte{b}, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), fsys.SyncDir(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
}

type failingWriter struct{ left int }

var errFull = errors.New("full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestBackupToAFailingWriter(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		put(t, tree, "a", strings.Repeat("x", 4<<20))
		for _, room := range []int{0, 1 << 20} {
			if _, err := tree.Backup(&failingWriter{left: room}); !errors.Is(err, errFull) {
				t.Errorf("backup: %v", err)
			}
		}
		put(t, tree, "b", "works")
	})
}

func TestUnknownEngine(t *testing.T) {
	_, err := Open(Options{Engine: "rocks", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), `use "lmdb" or "bolt"`) {
		t.Errorf("open: %v", err)
	}
}

// TestSnapshotIsOfTheLastCommit: engines reuse what a snapshot leaves behind; it
// must not bring an old state back.
func TestSnapshotIsOfTheLastCommit(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		put(t, tree, "a", "1")
		before, during := snapshot(t, tree), snapshot(t, tree)
		update(t, tree, func(tx Tx) error {
			during.Release()
			return tx.Put([]byte("a"), []byte("2"))
		})
		before.Release()
		for range 3 {
			s := snapshot(t, tree)
			if got := get(t, s, "a"); got != "=2" {
				t.Errorf("a %s", got)
			}
			t.Cleanup(s.Release)
		}
	})
}

func TestHead(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		values := [][]byte{{}, []byte("short"), bytes.Repeat([]byte("v"), HeadLen), bytes.Repeat([]byte("w"), 1<<20)}
		check := func(r Reader) error {
			for i, value := range values {
				head, n, found, err := r.Head([]byte{'k', byte(i)})
				if err != nil || !found || head == nil || n != len(value) || !bytes.Equal(head, value[:min(n, HeadLen)]) {
					t.Errorf("value of %d bytes: head %q, length %d, found %t, %v", len(value), head, n, found, err)
				}
			}
			if head, n, found, err := r.Head([]byte("absent")); head != nil || n != 0 || found || err != nil {
				t.Errorf("absent: %q, %d, %t, %v", head, n, found, err)
			}
			if _, _, _, err := r.Head(nil); !errors.Is(err, ErrKeySize) {
				t.Errorf("no key: %v", err)
			}
			return nil
		}
		update(t, tree, func(tx Tx) error {
			for i, value := range values {
				if err := tx.Put([]byte{'k', byte(i)}, value); err != nil {
					return err
				}
			}
			return check(tx)
		})
		s := snapshot(t, tree)
		if err := check(s); err != nil {
			t.Error(err)
		}
		s.Release()
		if _, _, _, err := s.Head([]byte("k")); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestPurge(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		m := model{}
		update(t, tree, func(tx Tx) error {
			for i := range 2000 {
				k := fmt.Sprintf("key-%04d", i)
				m[k] = strings.Repeat("v", i)
				if err := tx.Put([]byte(k), []byte(m[k])); err != nil {
					return err
				}
			}
			return nil
		})
		update(t, tree, func(tx Tx) error {
			next := 300
			return tx.Purge([]byte("key-0300"), func(key, value []byte) PurgeStep {
				want := fmt.Sprintf("key-%04d", next)
				if string(key) != want || string(value) != m[want] {
					t.Errorf("met %q with %d bytes, expected %q", key, len(value), want)
				}
				switch next++; {
				case next > 1700:
					return PurgeEnd
				case next%3 == 0 || next > 800 && next < 1200:
					delete(m, want)
					return PurgeDrop
				}
				return PurgeKeep
			})
		})
		s := snapshot(t, tree)
		m.check(t, s)
		s.Release()
		update(t, tree, func(tx Tx) error { // to the end, and all of it
			return tx.Purge(nil, func(key, _ []byte) PurgeStep {
				delete(m, string(key))
				return PurgeDrop
			})
		})
		s = snapshot(t, tree)
		defer s.Release()
		m.check(t, s)
		if len(m) > 0 {
			t.Errorf("%d keys weren't met", len(m))
		}
	})
}
