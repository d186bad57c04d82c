package btree

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// engine is one of the engines under test, on a directory of its own.
type engine struct {
	name string
	o    Options
}

// lmdbBuilt is whether this build has LMDB.
var lmdbBuilt = func() bool {
	_, err := Open(Options{Engine: EngineLMDB, Dir: "/proc/nowhere"})
	return !errors.Is(err, ErrNoEngine)
}()

// forEngines runs fn on every engine of this build.
func forEngines(t *testing.T, fn func(t *testing.T, e engine)) {
	for _, name := range []string{EngineLMDB, EngineBolt, EngineMemory} {
		t.Run(name, func(t *testing.T) {
			if name == EngineLMDB && !lmdbBuilt {
				t.Skip("built without cgo: LMDB is not in this build")
			}
			fn(t, newEngine(t, name))
		})
	}
}

func newEngine(t testing.TB, name string) engine {
	return engine{name: name, o: Options{Engine: name, Dir: t.TempDir(), FS: vfs.NewMem(), Name: t.Name()}}
}

// open opens the tree for the length of the test.
func (e engine) open(t testing.TB) Tree {
	t.Helper()
	tree, err := Open(e.o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return tree
}

// update runs fn in an update that must succeed.
func update(t testing.TB, tree Tree, fn func(tx Tx) error) {
	t.Helper()
	if err := tree.Update(fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func put(t testing.TB, tree Tree, key, value string) {
	t.Helper()
	update(t, tree, func(tx Tx) error { return tx.Put([]byte(key), []byte(value)) })
}

func snapshot(t testing.TB, tree Tree) Snapshot {
	t.Helper()
	s, err := tree.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return s
}

// get returns the value of key as "=value", or "absent".
func get(t testing.TB, r Reader, key string) string {
	t.Helper()
	v, found, err := r.Get([]byte(key))
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	if !found {
		return "absent"
	}
	if v == nil {
		t.Fatalf("get %q: found, with a nil value", key)
	}
	return "=" + string(v)
}

// scan returns all pairs in order.
func scan(t testing.TB, r Reader) []Edit {
	t.Helper()
	c, err := r.Cursor()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all []Edit
	for ok := c.Seek(nil); ok; ok = c.Next() {
		all = append(all, Edit{Key: bytes.Clone(c.Key()), Value: bytes.Clone(c.Value())})
	}
	if err := c.Err(); err != nil {
		t.Fatalf("scan: %v", err)
	}
	return all
}

// model is what a tree should hold.
type model map[string]string

func (m model) keys() []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// check compares a whole state with the model, forwards and backwards.
func (m model) check(t testing.TB, r Reader) {
	t.Helper()
	if err := m.diff(t, r); err != nil {
		t.Fatal(err)
	}
}

func (m model) diff(t testing.TB, r Reader) error {
	t.Helper()
	keys := m.keys()
	got := scan(t, r)
	if len(got) != len(keys) {
		return fmt.Errorf("the tree has %d keys, the model %d", len(got), len(keys))
	}
	for i, k := range keys {
		if string(got[i].Key) != k || string(got[i].Value) != m[k] {
			return fmt.Errorf("pair %d is %.40q (%d bytes), expected %.40q (%d bytes)", i, got[i].Key, len(got[i].Value), k, len(m[k]))
		}
	}
	c, err := r.Cursor()
	if err != nil {
		return err
	}
	defer c.Close()
	i := len(keys)
	for ok := c.SeekBefore(nil); ok; ok = c.Prev() {
		i--
		if i < 0 || string(c.Key()) != keys[i] || string(c.Value()) != m[keys[i]] {
			return fmt.Errorf("backwards, pair %d is %.40q", i, c.Key())
		}
	}
	if i != 0 || c.Err() != nil {
		return fmt.Errorf("backwards, %d pairs are missing: %v", i, c.Err())
	}
	return nil
}
