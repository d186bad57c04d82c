//go:build cgo

package lmdb

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// dataFile makes an environment with that many keys of 800 bytes and a free list,
// and returns its file.
func dataFile(t testing.TB, keys int) string {
	t.Helper()
	dir := t.TempDir()
	env := newEnv(t, dir, 1<<24)
	dbi := root(t, env)
	for round := range 3 {
		must(t, env.Update(func(txn *Txn) error {
			for i := range keys {
				must(t, txn.Put(dbi, fmt.Appendf(nil, "key-%04d", i), bytes.Repeat([]byte{byte(round)}, 800), 0))
			}
			return nil
		}))
	}
	must(t, env.Close())
	return filepath.Join(dir, "data.mdb")
}

func TestCheckFile(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(b []byte) []byte
		want   error
	}{
		"whole":           {func(b []byte) []byte { return b }, nil},
		"empty":           {func([]byte) []byte { return nil }, ErrTruncated},
		"one page":        {func(b []byte) []byte { return b[:4096] }, ErrTruncated},
		"two pages":       {func(b []byte) []byte { return b[:8192] }, ErrTruncated},
		"half":            {func(b []byte) []byte { return b[:len(b)/2] }, ErrTruncated},
		"last page":       {func(b []byte) []byte { return b[:len(b)-4096] }, ErrTruncated},
		"last byte":       {func(b []byte) []byte { return b[:len(b)-1] }, ErrTruncated},
		"text":            {func([]byte) []byte { return bytes.Repeat([]byte("text"), 10000) }, ErrNotLMDB},
		"zeros":           {func(b []byte) []byte { return make([]byte, len(b)) }, ErrNotLMDB},
		"second meta":     {func(b []byte) []byte { clear(b[4096:8192]); return b }, ErrNotLMDB},
		"newer version":   {func(b []byte) []byte { b[20] = 9; return b }, ErrVersion},
		"other byteorder": {func(b []byte) []byte { b[16], b[17], b[18], b[19] = b[19], b[18], b[17], b[16]; return b }, ErrVersion},
		"page size":       {func(b []byte) []byte { b[metaFreeDB] = 7; return b }, ErrDamagedFile},
	} {
		t.Run(name, func(t *testing.T) {
			path := dataFile(t, 1000)
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, c.damage(b), 0o600))
			if err := CheckFile(path); !errors.Is(err, c.want) {
				t.Errorf("got %v, expected %v", err, c.want)
			}
		})
	}
	if err := CheckFile(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

// TestCheckFileShortButWhole: pages that were allocated and freed in one
// transaction are never written, so that a sound file may end before its last page.
func TestCheckFileShortButWhole(t *testing.T) {
	for _, pages := range []int{3, 3000} {
		dir := t.TempDir()
		env := newEnv(t, dir, 1<<26)
		dbi := root(t, env)
		// Free pages of earlier transactions: only with some at hand does LMDB
		// take an unwritten page back.
		for round := range 3 {
			must(t, env.Update(func(txn *Txn) error {
				return txn.Put(dbi, []byte("a"), bytes.Repeat([]byte{byte(round)}, 20000), 0)
			}))
		}
		must(t, env.Update(func(txn *Txn) error {
			must(t, txn.Put(dbi, []byte("a"), []byte("1"), 0))
			for i := range pages {
				must(t, txn.Put(dbi, fmt.Appendf(nil, "big-%d", i), make([]byte, 5000), 0))
			}
			for i := range pages {
				must(t, txn.Del(dbi, fmt.Appendf(nil, "big-%d", i), nil))
			}
			return nil
		}))
		info, err := env.Info()
		must(t, err)
		must(t, env.Close())
		path := filepath.Join(dir, "data.mdb")
		st, err := os.Stat(path)
		must(t, err)
		if st.Size() > info.LastPNO*4096 {
			t.Errorf("the file has %d bytes and %d pages: the case isn't met", st.Size(), info.LastPNO+1)
		}
		if err := CheckFile(path); err != nil {
			t.Errorf("%d pages: %v", pages, err)
		}
		must(t, os.Truncate(path, 2*4096))
		if err := CheckFile(path); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d pages, truncated: %v", pages, err)
		}
	}
}

func FuzzCheckFile(f *testing.F) {
	b, err := os.ReadFile(dataFile(f, 10))
	must(f, err)
	f.Add(b[:5*4096])
	f.Add(b)
	path := filepath.Join(f.TempDir(), "data.mdb")
	f.Fuzz(func(t *testing.T, b []byte) {
		must(t, os.WriteFile(path, b, 0o600))
		_ = CheckFile(path) // must not panic
	})
}
