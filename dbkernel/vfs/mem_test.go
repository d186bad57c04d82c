package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// newTestMem is a Mem with a durable directory /d.
func newTestMem(t testing.TB) *Mem {
	t.Helper()
	m := NewMem()
	if err := errors.Join(m.MkdirAll("/d"), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return m
}

func testRand() *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }

func names(t testing.TB, m *Mem, dir string) []string {
	t.Helper()
	all, err := m.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCrashKeepsWhatIsSynced(t *testing.T) {
	rng := testRand()
	for range 200 {
		m := newTestMem(t)
		f := create(t, m, "/d/a", bytes.Repeat([]byte{1}, 5000))
		if err := errors.Join(f.SyncData(), m.SyncDir("/d")); err != nil {
			t.Fatal(err)
		}
		write(t, f, 700, bytes.Repeat([]byte{2}, 6000))
		create(t, m, "/d/b", []byte("b"))
		c := m.Crash(rng, AnyCrash(rng))
		got := content(t, c, "/d/a")
		if len(got) != 5000 && len(got) != 6700 {
			t.Fatalf("%d bytes", len(got))
		}
		for i, b := range got {
			if i < 700 && b != 1 || i < 5000 && b == 0 {
				t.Fatalf("byte %d, which was synced, is %d", i, b)
			}
		}
		// What a crash leaves is durable.
		again := c.Crash(rng, CrashOptions{})
		if !bytes.Equal(content(t, again, "/d/a"), got) || !slices.Equal(names(t, again, "/d"), names(t, c, "/d")) {
			t.Fatal("a second crash lost what the first one left")
		}
		if len(content(t, m, "/d/a")) != 6700 {
			t.Fatal("the crash changed the file system that it was taken of")
		}
	}
}

func TestCrashAllOrNothing(t *testing.T) {
	m := newTestMem(t)
	f := create(t, m, "/d/a", []byte("old"))
	if err := errors.Join(f.Sync(), m.SyncDir("/d")); err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, []byte("newer"))
	create(t, m, "/d/b", nil)
	lost := m.Crash(testRand(), CrashOptions{})
	if got := content(t, lost, "/d/a"); string(got) != "old" || len(names(t, lost, "/d")) != 1 {
		t.Errorf("%q, %q", got, names(t, lost, "/d"))
	}
	kept := m.Crash(testRand(), CrashOptions{Keep: 1})
	if got := content(t, kept, "/d/a"); string(got) != "newer" || len(names(t, kept, "/d")) != 2 {
		t.Errorf("%q, %q", got, names(t, kept, "/d"))
	}
}

// Sectors, lengths and entries are decided one by one: every mixture happens.
func TestCrashMixes(t *testing.T) {
	rng, seen := testRand(), map[string]bool{}
	for range 2000 {
		m := newTestMem(t)
		f := create(t, m, "/d/a", make([]byte, 1024))
		if err := errors.Join(f.Sync(), m.SyncDir("/d")); err != nil {
			t.Fatal(err)
		}
		write(t, f, 0, bytes.Repeat([]byte{1}, 1025))
		c := m.Crash(rng, CrashOptions{Keep: 0.5, Torn: 0.2})
		got := content(t, c, "/d/a")
		key := ""
		for s := range 2 {
			sector := got[s*512 : (s+1)*512]
			switch ones := bytes.Count(sector, []byte{1}); {
			case ones == 512:
				key += "kept "
			case ones == 0:
				key += "lost "
			case bytes.Equal(sector[:ones], bytes.Repeat([]byte{1}, ones)):
				key += "torn "
			default:
				t.Fatal("a torn sector is no beginning of the new one")
			}
		}
		if len(got) == 1025 {
			key += "longer"
		}
		seen[key] = true
	}
	if len(seen) != 3*3*2 {
		t.Errorf("%d mixtures of 18: %v", len(seen), seen)
	}
}

func TestCrashEntries(t *testing.T) {
	rng := testRand()
	var created, removed, renamed, inOrder int
	const rounds = 400
	for range rounds {
		m := newTestMem(t)
		for _, name := range []string{"/d/old", "/d/from"} {
			if err := create(t, m, name, []byte(name)).Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.SyncDir("/d"); err != nil {
			t.Fatal(err)
		}
		create(t, m, "/d/new", nil)
		if err := errors.Join(m.Remove("/d/old"), m.Rename("/d/from", "/d/to"), m.Rename("/d/to", "/d/finally")); err != nil {
			t.Fatal(err)
		}
		c := m.Crash(rng, CrashOptions{Keep: 0.5})
		got := names(t, c, "/d")
		has := func(name string) bool { return slices.Contains(got, name) }
		if n := len(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s == "new" || s == "old" })); n != 1 {
			t.Fatalf("a renamed file has %d names: %q", n, got)
		}
		for _, name := range []string{"from", "to", "finally"} {
			if has(name) && string(content(t, c, "/d/"+name)) != "/d/from" {
				t.Fatal("a renamed file has lost its content")
			}
		}
		created += count(has("new"))
		removed += count(!has("old"))
		renamed += count(!has("from"))
		inOrder += count(has("finally"))
	}
	for what, n := range map[string]int{"created": created, "removed": removed, "renamed": renamed} {
		if n < rounds/4 || n > rounds*3/4 {
			t.Errorf("%s %d times of %d", what, n, rounds)
		}
	}
	if inOrder < rounds/10 || inOrder >= renamed {
		t.Errorf("renamed again %d times of %d", inOrder, renamed)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A directory's sync covers what its entries came from, in other directories too.
func TestSyncDirOfRename(t *testing.T) {
	m := newTestMem(t)
	if err := errors.Join(m.MkdirAll("/e"), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	if err := create(t, m, "/d/a", []byte("a")).Sync(); err != nil {
		t.Fatal(err)
	}
	create(t, m, "/d/other", nil)
	if err := errors.Join(m.Rename("/d/a", "/e/a"), m.SyncDir("/e")); err != nil {
		t.Fatal(err)
	}
	c := m.Crash(testRand(), CrashOptions{})
	if string(content(t, c, "/e/a")) != "a" || len(names(t, c, "/d")) != 0 {
		t.Errorf("%q, %q", names(t, c, "/d"), names(t, c, "/e"))
	}
}

func TestUnsyncedTreeIsLost(t *testing.T) {
	m := NewMem()
	if err := m.MkdirAll("/a/b"); err != nil {
		t.Fatal(err)
	}
	f := create(t, m, "/a/b/c", []byte("c"))
	if err := errors.Join(f.Sync(), m.SyncDir("/a/b"), m.SyncDir("/a")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Crash(testRand(), CrashOptions{}).Stat("/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the entry of /a was never synced: %v", err)
	}
}

// After a failed fsync a later one succeeds, reads show the new content, and
// the crash shows that it was lost.
func TestFailedSyncLosesPages(t *testing.T) {
	m := newTestMem(t)
	fsys := WithFaults(m, FailNth(OpSyncData, 2, syscall.EIO))
	f := create(t, fsys, "/d/a", bytes.Repeat([]byte{1}, 2000))
	if err := errors.Join(f.SyncData(), fsys.SyncDir("/d")); err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, bytes.Repeat([]byte{2}, 600))
	if err := f.SyncData(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	write(t, f, 1500, bytes.Repeat([]byte{3}, 10))
	if err := f.SyncData(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, fsys, "/d/a"); got[0] != 2 || got[1500] != 3 {
		t.Error("reads don't show what was written")
	}
	got := content(t, m.Crash(testRand(), CrashOptions{Keep: 1}), "/d/a")
	if got[0] != 1 || got[599] != 1 || got[1500] != 3 {
		t.Errorf("after the crash: %d %d %d", got[0], got[599], got[1500])
	}
}

func TestFailedSyncDirLosesEntries(t *testing.T) {
	m := newTestMem(t)
	fsys := WithFaults(m, FailNth(OpSyncDir, 1, syscall.EIO))
	create(t, fsys, "/d/a", nil)
	if err := fsys.SyncDir("/d"); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	create(t, fsys, "/d/b", nil)
	if err := fsys.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, m.Crash(testRand(), CrashOptions{Keep: 1}), "/d"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%q", got)
	}
}

func TestCapacity(t *testing.T) {
	m := newTestMem(t)
	m.SetCapacity(10 * pageSize)
	f := create(t, m, "/d/a", nil)
	if err := f.Allocate(0, 8*pageSize); err != nil {
		t.Fatal(err)
	}
	g := create(t, m, "/d/b", nil)
	if n, err := g.WritevAt([][]byte{make([]byte, 3*pageSize)}, 0); n != 2*pageSize || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d bytes to a full disk: %v", n, err)
	}
	write(t, f, 0, make([]byte, 8*pageSize)) // has its blocks
	if err := g.Allocate(0, 3*pageSize); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Truncate(pageSize); err != nil {
		t.Fatal(err)
	}
	if err := g.Allocate(0, 3*pageSize); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Remove("/d/a"), m.Rename("/d/b", "/d/c")); err != nil || m.Used() != 3*pageSize {
		t.Fatalf("%d bytes are used, %v", m.Used(), err)
	}
	if c := m.Crash(testRand(), CrashOptions{Keep: 1}); c.Used() != 3*pageSize {
		t.Fatalf("%d bytes are used after a crash", c.Used())
	}
	m.SetCapacity(-1)
	create(t, m, "/d/d", make([]byte, 100*pageSize))
}

func TestHooks(t *testing.T) {
	m := newTestMem(t)
	var before, after []string
	fsys := WithFaults(m, Hooks{
		Before: func(o Op) *Fault {
			before = append(before, o.Kind.String())
			switch {
			case o.Kind == OpWrite && o.Nth == 2:
				return &Fault{Err: syscall.ENOSPC, Written: 3}
			case o.Kind == OpRename:
				return &Fault{Err: syscall.EIO, Applied: true}
			}
			return nil
		},
		After: func(o Op, _ error) { after = append(after, o.Kind.String()) },
	})
	f := create(t, fsys, "/d/a", []byte("hello"))
	if n, err := f.WritevAt([][]byte{[]byte("HE"), []byte("LLO")}, 0); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a short write: %d, %v", n, err)
	}
	if got := content(t, m, "/d/a"); string(got) != "HELlo" {
		t.Fatalf("%q", got)
	}
	if err := fsys.Rename("/d/a", "/d/b"); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if got := names(t, m, "/d"); !slices.Equal(got, []string{"b"}) {
		t.Fatalf("%q", got)
	}
	if want := []string{"create", "write", "write", "rename"}; !slices.Equal(before, want) {
		t.Errorf("before: %q", before)
	}
	if want := []string{"create", "write"}; !slices.Equal(after, want) {
		t.Errorf("after: %q", after)
	}
}

func TestCrashAfter(t *testing.T) {
	m := newTestMem(t)
	fsys := WithFaults(m, CrashAfter(3))
	f := create(t, fsys, "/d/a", []byte("a")) // two operations that change something
	if _, err := fsys.Stat("/d/a"); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"sync dir": fsys.SyncDir("/d"), "stat": second(fsys.Stat("/d/a")), "write": second(f.WritevAt(nil, 0)),
		"open": second(fsys.Open("/d/a")),
	} {
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("%s after the crash: %v", what, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, m.Crash(testRand(), CrashOptions{}), "/d"); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// A crash on hooks that wrap the operating system's files fails likewise.
func TestFaultsOnOS(t *testing.T) {
	fsys := WithFaults(OS(), FailNth(OpSync, 1, syscall.EIO))
	f := create(t, fsys, filepath.Join(t.TempDir(), "a"), []byte("a"))
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}
