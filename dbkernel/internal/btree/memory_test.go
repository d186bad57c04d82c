package btree

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// TestMemoryCrashes cuts the power after every operation of a run with several
// compactions: what comes back is the last acknowledged commit, or the one that was
// under way, whole.
func TestMemoryCrashes(t *testing.T) {
	seeds(t, func(t *testing.T, rng *rand.Rand) {
		points := 0
		for after := 0; ; after++ {
			if finished := memoryCrash(t, rng, after); finished {
				break
			}
			points++
		}
		if points < 200 {
			t.Errorf("only %d crash points", points)
		}
	})
}

// memoryCrash runs updates until the crash after so many operations, and checks
// what is left, through a second crash during recovery, too. It reports whether the
// run came to its end before.
func memoryCrash(t *testing.T, rng *rand.Rand, after int) (finished bool) {
	t.Helper()
	disk := vfs.NewMem()
	o := Options{Engine: EngineMemory, Dir: "/tree", Name: "crash"}
	if err := errors.Join(disk.MkdirAll(o.Dir), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	acknowledged, attempted := model{}, model{}
	o.FS = vfs.WithFaults(disk, vfs.CrashAfter(after))
	tree, err := Open(o)
	if err == nil {
		acknowledged, attempted, err = memoryRun(tree, rand.New(rand.NewPCG(1, 2)))
		_ = tree.Close() // fails where the crash came first
	}
	if err != nil && !errors.Is(err, vfs.ErrCrashed) {
		t.Fatal(err)
	}

	disk = disk.Crash(rng, vfs.AnyCrash(rng))
	o.FS = vfs.WithFaults(disk, vfs.CrashAfter(rng.IntN(6)))
	if tree, err := Open(o); err == nil {
		_ = tree.Close() // may meet the second crash
	}
	disk = disk.Crash(rng, vfs.AnyCrash(rng))

	o.FS = disk
	recovered, openErr := Open(o)
	if openErr != nil {
		t.Fatalf("crash after %d operations: %v", after, openErr)
	}
	s := snapshot(t, recovered)
	if was, then := acknowledged.diff(t, s), attempted.diff(t, s); was != nil && then != nil {
		t.Fatalf("crash after %d operations: neither the last commit (%v) nor the one under way (%v)", after, was, then)
	}
	s.Release()
	put(t, recovered, "more", "works")
	if err := recovered.Close(); err != nil {
		t.Fatal(err)
	}
	return err == nil
}

// memoryRun makes updates until one fails.
func memoryRun(tree Tree, rng *rand.Rand) (acknowledged, attempted model, err error) {
	acknowledged = model{}
	for range 100 {
		attempted = maps.Clone(acknowledged)
		err := tree.Update(func(tx Tx) error {
			for range 1 + rng.IntN(5) {
				k := fmt.Sprintf("key-%d", rng.IntN(20))
				if rng.IntN(4) == 0 {
					delete(attempted, k)
					if err := tx.Delete([]byte(k)); err != nil {
						return err
					}
					continue
				}
				attempted[k] = strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(3000))
				if err := tx.Put([]byte(k), []byte(attempted[k])); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return acknowledged, attempted, err
		}
		acknowledged = attempted
	}
	return acknowledged, attempted, nil
}

// TestMemoryFailedSync: after a sync that failed, nothing is acknowledged until
// the tree is opened again, and what is then read stays.
func TestMemoryFailedSync(t *testing.T) {
	disk := vfs.NewMem()
	broken := errors.New("broken disk")
	o := Options{Engine: EngineMemory, Dir: "/", Name: "sync", FS: vfs.WithFaults(disk, vfs.FailNth(vfs.OpSync, 3, broken))}
	tree, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	put(t, tree, "a", "1")
	bad := func(tx Tx) error { return tx.Put([]byte("b"), []byte("2")) }
	if err := tree.Update(bad); !errors.Is(err, broken) {
		t.Fatalf("update with a failing sync: %v", err)
	}
	if err := tree.Update(bad); !errors.Is(err, ErrFailed) || !errors.Is(err, broken) {
		t.Fatalf("update after it: %v", err)
	}
	s := snapshot(t, tree)
	model{"a": "1"}.check(t, s)
	s.Release()
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	o.FS = disk
	read := func() model {
		tree, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		s := snapshot(t, tree)
		m := model{}
		for _, p := range scan(t, s) {
			m[string(p.Key)] = string(p.Value)
		}
		s.Release()
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		return m
	}
	first := read()
	disk = disk.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{})
	o.FS = disk
	if again := read(); !maps.Equal(first, again) || again["a"] != "1" {
		t.Errorf("read %v, and after a power cut %v", first, again)
	}
}

func TestMemoryDiskFull(t *testing.T) {
	disk := vfs.NewMem()
	tree, err := Open(Options{Engine: EngineMemory, Dir: "/", Name: "full", FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	put(t, tree, "a", "1")
	disk.SetCapacity(disk.Used())
	if err := tree.Update(func(tx Tx) error { return tx.Put([]byte("b"), make([]byte, 1<<20)) }); err == nil {
		t.Fatal("an update of 1 MiB on a full disk passed")
	}
	disk.SetCapacity(1 << 30)
	put(t, tree, "c", "3")
	s := snapshot(t, tree)
	model{"a": "1", "c": "3"}.check(t, s)
	s.Release()
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryDamage(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		want    error
	}{
		"empty":         {"", ErrDamaged},
		"other file":    {"this is some other file", ErrDamaged},
		"newer version": {"UNIMTREE\x09\x00\x00\x00\x00\x00\x00\x00", ErrFormat},
		"header":        {"UNIMTREE\x01\x00\x00\x00\x00\x00\x00\x00", ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, EngineMemory)
			writeMem(t, e.o.FS, filepath.Join(e.o.Dir, memFile), []byte(c.content))
			if _, err := Open(e.o); !errors.Is(err, c.want) {
				t.Errorf("open: %v", err)
			}
		})
	}
}

func FuzzMemoryLog(f *testing.F) {
	disk := vfs.NewMem()
	tree, err := Open(Options{Engine: EngineMemory, Dir: "/", Name: "fuzz", FS: disk})
	if err != nil {
		f.Fatal(err)
	}
	put(f, tree, "a", "1")
	put(f, tree, "b", strings.Repeat("2", 100))
	update(f, tree, func(tx Tx) error { return tx.Delete([]byte("a")) })
	file, err := disk.OpenRead("/" + memFile)
	if err != nil {
		f.Fatal(err)
	}
	size, err := file.Size()
	if err != nil {
		f.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(file.Close(), tree.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := vfs.NewMem()
		writeMem(t, fsys, "/"+memFile, b)
		tree, err := Open(Options{Engine: EngineMemory, Dir: "/", Name: "fuzz", FS: fsys})
		if err != nil {
			return
		}
		put(t, tree, "more", "works")
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
