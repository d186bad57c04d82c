package wal

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

const asideInTest = "/aside"

// TestDropThrough drops a damaged segment and what is before it: the log begins behind
// it, also when it is opened again, and the file is where it was to go.
func TestDropThrough(t *testing.T) {
	onEachFS(t, func(t *testing.T, o Options) {
		l := manySegments(t, o, 300)
		to := filepath.Join(filepath.Dir(o.Dir), "aside")
		if err := o.FS.MkdirAll(to); err != nil {
			t.Fatal(err)
		}
		segs := l.Segments()
		damaged := segs[3]
		flipIn(t, o.FS, damaged.Path, framesStart+frameHeaderLen+100)
		r, err := l.NewReader(damaged.FirstLSN + 5)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		path := filepath.Join(to, "damaged")
		if err := l.DropThrough(damaged.FirstLSN, map[uint64]string{damaged.Number: path}); err != nil {
			t.Fatal(err)
		}
		if _, err := o.FS.Stat(path); err != nil {
			t.Errorf("the damaged segment isn't aside: %v", err)
		}
		if _, _, _, err := r.Next(noLimit, 1); !errors.Is(err, ErrTrimmed) {
			t.Errorf("a reader of the damaged segment: %v", err)
		}
		if err := l.DropThrough(damaged.LastLSN, nil); err != nil {
			t.Errorf("dropped twice: %v", err)
		}
		if err := l.DropThrough(300, nil); err == nil {
			t.Error("the active segment was dropped")
		}
		want := records(damaged.LastLSN+1, 300, 2000)
		wantRecords(t, l, want)
		mustClose(t, l)
		l = mustOpen(t, o, 0)
		wantRecords(t, l, want)
		if _, err := o.FS.Stat(segs[0].Path); err == nil {
			t.Error("a segment before the damaged one is still there")
		}
	})
}

// TestDropWholeLog begins a segment, so that all before it can go.
func TestDropWholeLog(t *testing.T) {
	for _, end := range []string{"closed", "power cut"} {
		t.Run(end, func(t *testing.T) {
			disk := newDisk()
			o := testOptions(disk)
			l := manySegments(t, o, 100)
			for range 2 { // the second one changes nothing
				if err := l.BeginSegment(); err != nil {
					t.Fatal(err)
				}
			}
			segs := l.Segments()
			if last := segs[len(segs)-1]; last.Closed || last.FirstLSN != 101 || last.LastLSN != 100 {
				t.Fatalf("the segment that was begun: %+v", last)
			}
			if err := l.DropThrough(100, nil); err != nil {
				t.Fatal(err)
			}
			if l.FirstLSN() != 101 || l.LastLSN() != 100 {
				t.Fatalf("LSNs %d to %d", l.FirstLSN(), l.LastLSN())
			}
			if end == "power cut" {
				o.FS = disk.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{})
			}
			mustClose(t, l)
			l = mustOpen(t, o, 100)
			if l.FirstLSN() != 101 || l.LastLSN() != 100 {
				t.Fatalf("opened again: LSNs %d to %d", l.FirstLSN(), l.LastLSN())
			}
			mustAppend(t, l, records(101, 200, 2000)...)
			mustSync(t, l)
			wantRecords(t, l, records(101, 200, 2000))
			mustClose(t, l)
			wantRecords(t, mustOpen(t, o, 100), records(101, 200, 2000))
		})
	}
}

// TestDropWithoutPlace drops a segment that can't be moved: it goes all the same.
func TestDropWithoutPlace(t *testing.T) {
	o := testOptions(newDisk())
	mem := o.FS
	o.FS = vfs.WithFaults(mem, vfs.Hooks{Before: func(op vfs.Op) *vfs.Fault {
		if op.Kind == vfs.OpRename && filepath.Dir(op.To) == asideInTest {
			return &vfs.Fault{Err: syscall.EXDEV}
		}
		return nil
	}})
	l := manySegments(t, o, 100)
	first := l.Segments()[0]
	if err := l.DropThrough(1, map[uint64]string{first.Number: filepath.Join(asideInTest, "one")}); err != nil {
		t.Fatal(err)
	}
	if _, err := mem.Stat(first.Path); err == nil {
		t.Error("the segment is still there")
	}
	wantRecords(t, l, records(first.LastLSN+1, 100, 2000))
}

func flipIn(t *testing.T, fsys vfs.FS, path string, at int64) {
	t.Helper()
	f, err := fsys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	if err == nil {
		b[0] ^= 1
		_, err = f.WritevAt([][]byte{b[:]}, at)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
