package btree

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// forFileEngines runs fn on the engines that keep a file of the operating system.
func forFileEngines(t *testing.T, fn func(t *testing.T, e engine, file string)) {
	forEngines(t, func(t *testing.T, e engine) {
		switch e.name {
		case EngineLMDB:
			fn(t, e, filepath.Join(e.o.Dir, "data.mdb"))
		case EngineBolt:
			fn(t, e, filepath.Join(e.o.Dir, "data.bolt"))
		default:
			t.Skip("keeps its files in a vfs.FS")
		}
	})
}

// fill makes a tree of some hundred pages.
func fill(t testing.TB, e engine) {
	t.Helper()
	tree := e.open(t)
	for n := range 5 {
		update(t, tree, func(tx Tx) error { return writeUniform(tx, uint64(n), 5000) })
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	damages := map[string]struct {
		damage func(b []byte) []byte
		want   error
	}{
		"empty":      {func([]byte) []byte { return nil }, ErrDamaged},
		"text":       {func([]byte) []byte { return bytes.Repeat([]byte("some text\n"), 5000) }, ErrDamaged},
		"zeros":      {func(b []byte) []byte { return make([]byte, len(b)) }, ErrDamaged},
		"short text": {func([]byte) []byte { return []byte("x") }, ErrDamaged},
		"cut":        {func(b []byte) []byte { return b[:16*4096] }, ErrDamaged},
		"two pages":  {func(b []byte) []byte { return b[:8192] }, ErrDamaged},
		"newer version": {func(b []byte) []byte {
			for _, page := range [][]byte{b, b[4096:]} {
				page[20] = 99 // both engines keep it there
			}
			return b
		}, ErrFormat},
	}
	forFileEngines(t, func(t *testing.T, e engine, _ string) {
		for name, d := range damages {
			t.Run(name, func(t *testing.T) {
				e := newEngine(t, e.name)
				fill(t, e)
				file := dataFileOf(t, e)
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, d.damage(bytes.Clone(b)), 0o600); err != nil {
					t.Fatal(err)
				}
				_, err = Open(e.o)
				if !errors.Is(err, d.want) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "; ") {
					t.Errorf("open: %v", err)
				}
				// The file is left as it was, for whoever repairs it.
				if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, d.damage(bytes.Clone(b))) {
					t.Errorf("the file was changed: %v", err)
				}
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
				tree := e.open(t)
				if n, err := readOnce(tree, 0); n != 4 || err != nil {
					t.Errorf("repaired: %d, %v", n, err)
				}
			})
		}
	})
}

func dataFileOf(t testing.TB, e engine) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(e.o.Dir, "data.*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("data files: %q, %v", names, err)
	}
	return names[0]
}

func TestOpenTwice(t *testing.T) {
	forFileEngines(t, func(t *testing.T, e engine, _ string) {
		tree := e.open(t)
		if _, err := Open(e.o); !errors.Is(err, ErrOpen) || !strings.Contains(err.Error(), "stop the other process") {
			t.Errorf("second open: %v", err)
		}
		put(t, tree, "a", "1")
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		e.open(t)
	})
}

func TestNoPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read and write everything: run as another user")
	}
	forFileEngines(t, func(t *testing.T, e engine, file string) {
		fill(t, e)
		if err := os.Chmod(file, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(e.o); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "read and write "+file) {
			t.Errorf("open: %v", err)
		}
	})
}

// TestPermissionMessage covers what TestNoPermission can't as root.
func TestPermissionMessage(t *testing.T) {
	err := advise("/file", &os.PathError{Op: "open", Path: "/file", Err: syscall.EACCES})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "let the user that runs the process read and write /file") {
		t.Errorf("%v", err)
	}
}

// TestInterruptedCreation leaves what a crash may leave while a tree is made.
func TestInterruptedCreation(t *testing.T) {
	forFileEngines(t, func(t *testing.T, e engine, file string) {
		for _, left := range []string{"new/data.mdb", "new/lock.mdb", "data.bolt.new", "lock.mdb"} {
			path := filepath.Join(e.o.Dir, left)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tree := e.open(t)
		put(t, tree, "a", "1")
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	})
}

// TestFilePermissions: the data is nobody else's.
func TestFilePermissions(t *testing.T) {
	forFileEngines(t, func(t *testing.T, e engine, file string) {
		e.o.Dir = filepath.Join(e.o.Dir, "made")
		fill(t, e)
		for _, path := range []string{e.o.Dir, filepath.Join(e.o.Dir, filepath.Base(file))} {
			st, err := os.Stat(path)
			if err != nil || st.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", path, st.Mode(), err)
			}
		}
	})
}

// TestBitRotInBolt: bbolt panics on damaged pages; here that is an error, and the
// tree can still be closed. Damage of a value goes unseen: cells carry a CRC.
func TestBitRotInBolt(t *testing.T) {
	e := newEngine(t, EngineBolt)
	fill(t, e)
	file := dataFileOf(t, e)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tree := e.open(t)
	st, err := tree.Stats()
	if err != nil || tree.Close() != nil {
		t.Fatal(err)
	}
	whole = whole[:st.FileBytes] // bbolt allocates ahead
	rng := rand.New(rand.NewPCG(1, 1))
	reported := 0
	for range 200 {
		b := bytes.Clone(whole)
		page := rng.IntN(len(b)/4096) * 4096
		b[page+rng.IntN(64)] ^= 1 << rng.IntN(8)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if useRotten(t, e.o) {
			reported++
		}
	}
	if reported < 10 {
		t.Errorf("only %d of 200 damages were reported", reported)
	}
}

// useRotten reads and writes a damaged tree and reports whether anything failed.
func useRotten(t *testing.T, o Options) (failed bool) {
	t.Helper()
	tree, err := Open(o)
	if err != nil {
		return true
	}
	if _, err := readOnce(tree, 0); err != nil {
		failed = true
	}
	if err := tree.Update(func(tx Tx) error { return writeUniform(tx, 9, 6000) }); err != nil {
		failed = true
	}
	_, err = tree.Stats()
	failed = failed || err != nil
	err = tree.Close()
	return failed || err != nil
}

// TestTruncatedUnderTheMap: what bbolt reads through its map may be gone.
func TestTruncatedUnderTheMap(t *testing.T) {
	e := newEngine(t, EngineBolt)
	fill(t, e)
	tree := e.open(t)
	file := dataFileOf(t, e)
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 4*4096); err != nil {
		t.Fatal(err)
	}
	if _, err := readOnce(tree, 0); !errors.Is(err, ErrDamaged) {
		t.Errorf("read: %v", err)
	}
	if err := os.Truncate(file, st.Size()); err != nil {
		t.Fatal(err)
	}
}
