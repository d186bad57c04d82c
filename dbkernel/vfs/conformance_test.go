package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// eachFS runs a test on every file system: what it checks is what FS promises.
// dir exists and is empty.
func eachFS(t *testing.T, fn func(t *testing.T, fs FS, dir string)) {
	t.Run("os", func(t *testing.T) { fn(t, OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		if err := m.MkdirAll("/tmp/x"); err != nil {
			t.Fatal(err)
		}
		fn(t, m, "/tmp/x")
	})
	t.Run("faults", func(t *testing.T) {
		m := NewMem()
		if err := m.MkdirAll("/tmp/x"); err != nil {
			t.Fatal(err)
		}
		fn(t, WithFaults(m, Hooks{}), "/tmp/x")
	})
}

func create(t testing.TB, fs FS, name string, content []byte) File {
	t.Helper()
	f, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	write(t, f, 0, content)
	return f
}

func write(t testing.TB, f File, off int64, bufs ...[]byte) {
	t.Helper()
	want := 0
	for _, b := range bufs {
		want += len(b)
	}
	if n, err := f.WritevAt(bufs, off); n != want || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, want, err)
	}
}

func content(t testing.TB, fs FS, name string) []byte {
	t.Helper()
	f, err := fs.OpenRead(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n != len(b) {
		t.Fatalf("read %d of %d bytes: %v", n, size, err)
	}
	return b
}

func TestFiles(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a")
		f := create(t, fsys, name, []byte("hello"))
		if _, err := fsys.Create(name); !errors.Is(err, fs.ErrExist) {
			t.Errorf("created twice: %v", err)
		}
		write(t, f, 3, []byte("p"), nil, []byte(" me"), []byte("!"))
		write(t, f, 10_000, []byte("far"))
		want := append([]byte("help me!"), make([]byte, 10_003-8)...)
		copy(want[10_000:], "far")
		if got := content(t, fsys, name); !bytes.Equal(got, want) {
			t.Errorf("read %q", got)
		}
		b := make([]byte, 10)
		if n, err := f.ReadAt(b, 9_998); n != 5 || !errors.Is(err, io.EOF) || string(b[:n]) != "\x00\x00far" {
			t.Errorf("at the end: %q, %v", b[:n], err)
		}
		if n, err := f.ReadAt(b, 20_000); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("behind the end: %d, %v", n, err)
		}
		if err := errors.Join(f.Sync(), f.SyncData()); err != nil {
			t.Error(err)
		}
		if err := f.Truncate(6); err != nil {
			t.Error(err)
		}
		if err := f.Truncate(8); err != nil {
			t.Error(err)
		}
		if got := content(t, fsys, name); string(got) != "help m\x00\x00" {
			t.Errorf("after truncations: %q", got)
		}
		info, err := fsys.Stat(name)
		if err != nil || info.Size() != 8 || info.IsDir() || info.Name() != "a" || !info.Mode().IsRegular() {
			t.Errorf("stat: %+v, %v", info, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.ReadAt(b, 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("read from a closed file: %v", err)
		}
	})
}

func TestManyBuffersInOneWrite(t *testing.T) {
	eachFS(t, func(t *testing.T, fs FS, dir string) {
		var bufs [][]byte
		for i := range 2500 {
			bufs = append(bufs, []byte(fmt.Sprintf("%d,", i))[:i%5])
		}
		for i := range bufs {
			bufs[i] = bytes.Repeat([]byte{byte(i)}, i%5)
		}
		f := create(t, fs, filepath.Join(dir, "a"), nil)
		write(t, f, 7, bufs...)
		if got := content(t, fs, filepath.Join(dir, "a")); !bytes.Equal(got[7:], bytes.Join(bufs, nil)) {
			t.Error("the buffers are not in the file one after another")
		}
	})
}

func TestAllocate(t *testing.T) {
	eachFS(t, func(t *testing.T, fs FS, dir string) {
		name := filepath.Join(dir, "a")
		f := create(t, fs, name, []byte("hello"))
		if err := f.Allocate(0, 100_000); err != nil {
			t.Fatal(err)
		}
		got := content(t, fs, name)
		if len(got) != 100_000 || string(got[:5]) != "hello" || !bytes.Equal(got[5:], make([]byte, 100_000-5)) {
			t.Errorf("%d bytes, beginning with %q", len(got), got[:5])
		}
		if err := f.Allocate(0, 10); err != nil {
			t.Fatal(err)
		}
		if size, err := f.Size(); size != 100_000 || err != nil {
			t.Errorf("size %d, %v", size, err)
		}
	})
}

func TestReadOnly(t *testing.T) {
	eachFS(t, func(t *testing.T, fs FS, dir string) {
		name := filepath.Join(dir, "a")
		create(t, fs, name, []byte("hello"))
		f, err := fs.OpenRead(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		if _, err := f.WritevAt([][]byte{{1}}, 0); err == nil {
			t.Error("wrote to a file that is open for reading")
		}
		w, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		write(t, w, 0, []byte("J"))
		b := make([]byte, 5)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "Jello" {
			t.Errorf("%q, %v", b, err)
		}
	})
}

func TestDirectories(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		list := func(name string, want ...string) {
			t.Helper()
			if got, err := fsys.List(name); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
			}
		}
		must(fsys.MkdirAll(at("d", "e")))
		must(fsys.MkdirAll(at("d", "e")))
		create(t, fsys, at("d", "z"), []byte("z"))
		create(t, fsys, at("d", "b"), []byte("b"))
		list(at("d"), "b", "e", "z")
		must(fsys.Rename(at("d", "z"), at("d", "e", "y")))
		must(fsys.Rename(at("d", "e", "y"), at("d", "b")))
		list(at("d"), "b", "e")
		if got := content(t, fsys, at("d", "b")); string(got) != "z" {
			t.Errorf("after a rename over a file: %q", got)
		}
		must(fsys.Rename(at("d", "e"), at("f")))
		list(at(), "d", "f")
		must(fsys.SyncDir(at()))
		must(fsys.SyncDir(at("d")))
		if err := fsys.Remove(at("d")); err == nil {
			t.Error("removed a directory that isn't empty")
		}
		must(fsys.Remove(at("d", "b")))
		must(fsys.Remove(at("d")))
		must(fsys.MkdirAll(at("g", "h", "i")))
		create(t, fsys, at("g", "h", "file"), nil)
		must(fsys.RemoveAll(at("g")))
		must(fsys.RemoveAll(at("g")))
		must(fsys.RemoveAll(at("nowhere", "at", "all")))
		list(at(), "f")
		if info, err := fsys.Stat(at("f")); err != nil || !info.IsDir() {
			t.Errorf("stat: %v, %v", info, err)
		}
		for what, err := range map[string]error{
			"open":   second(fsys.Open(at("nowhere"))),
			"read":   second(fsys.OpenRead(at("nowhere"))),
			"create": second(fsys.Create(at("nowhere", "a"))),
			"list":   second(fsys.List(at("nowhere"))),
			"stat":   second(fsys.Stat(at("nowhere"))),
			"remove": fsys.Remove(at("nowhere")),
			"rename": fsys.Rename(at("nowhere"), at("a")),
			"sync":   fsys.SyncDir(at("nowhere")),
		} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of what isn't there: %v", what, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestRemovedFileStaysReadable(t *testing.T) {
	eachFS(t, func(t *testing.T, fs FS, dir string) {
		f := create(t, fs, filepath.Join(dir, "a"), []byte("hello"))
		if err := fs.Remove(filepath.Join(dir, "a")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
	})
}

func TestLock(t *testing.T) {
	eachFS(t, func(t *testing.T, fs FS, dir string) {
		name := filepath.Join(dir, "LOCK")
		l, err := fs.Lock(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fs.Lock(name); !errors.Is(err, ErrLocked) {
			t.Errorf("locked twice: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = fs.Lock(name); err != nil {
			t.Fatalf("locked again: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	eachFS(t, func(t *testing.T, fs FS, dir string) {
		f := create(t, fs, filepath.Join(dir, "a"), make([]byte, 10_000))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				b := make([]byte, 100)
				for i := range 200 {
					if _, err := f.ReadAt(b, int64(i*7)); err != nil {
						t.Error(err)
					}
					if _, err := f.Size(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			for i := range 200 {
				if _, err := f.WritevAt([][]byte{{1, 2}, {3}}, int64(i*11)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 5 {
				if err := f.SyncData(); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
	})
}

// The same random operations must leave the same on both file systems.
func TestSameAsOS(t *testing.T) {
	osDir, mem := t.TempDir(), NewMem()
	rng := rand.New(rand.NewPCG(3, 3))
	onBoth := func(do func(fs FS, dir string) (string, error)) {
		t.Helper()
		got, err := do(mem, "/")
		want, wantErr := do(OS(), osDir)
		if got != want || (err == nil) != (wantErr == nil) {
			t.Fatalf("%q, %v; want %q, %v", got, err, want, wantErr)
		}
		for _, is := range []error{fs.ErrExist, fs.ErrNotExist, syscall.EISDIR} {
			if errors.Is(err, is) != errors.Is(wantErr, is) {
				t.Fatalf("%v, want %v", err, wantErr)
			}
		}
	}
	name := func() string { return string(rune('a' + rng.IntN(5))) }
	for range 2000 {
		a, b, off, n, data := name(), name(), rng.Int64N(20_000), rng.Int64N(9000), byte(rng.Uint32())
		switch rng.IntN(6) {
		case 0, 1:
			onBoth(func(fs FS, dir string) (string, error) {
				f, err := fs.Open(filepath.Join(dir, a))
				if errors.Is(err, syscall.ENOENT) || err != nil {
					if f, err = fs.Create(filepath.Join(dir, a)); err != nil {
						return "", err
					}
				}
				_, err = f.WritevAt([][]byte{bytes.Repeat([]byte{data}, int(n)), {data + 1}}, off)
				return "", errors.Join(err, f.Close())
			})
		case 2:
			onBoth(func(fs FS, dir string) (string, error) {
				f, err := fs.Open(filepath.Join(dir, a))
				if err != nil {
					return "", err
				}
				return "", errors.Join(f.Truncate(off), f.Close())
			})
		case 3:
			onBoth(func(fs FS, dir string) (string, error) {
				return "", fs.Rename(filepath.Join(dir, a), filepath.Join(dir, b))
			})
		case 4:
			onBoth(func(fs FS, dir string) (string, error) { return "", fs.Remove(filepath.Join(dir, a)) })
		case 5:
			onBoth(func(fs FS, dir string) (string, error) {
				names, err := fs.List(dir)
				all := fmt.Sprint(names)
				for _, name := range names {
					all += string(content(t, fs, filepath.Join(dir, name)))
				}
				return all, err
			})
		}
	}
}
