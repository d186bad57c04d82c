package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testLineage = [16]byte{1, 2, 3}

// newDisk is a file system in memory with a durable directory /data.
func newDisk() *vfs.Mem {
	mem := vfs.NewMem()
	if err := errors.Join(mem.MkdirAll("/data"), mem.SyncDir("/")); err != nil {
		panic(err)
	}
	return mem
}

func testOptions(fs vfs.FS) Options {
	return Options{
		FS: fs, Dir: "/data/wal", Lineage: testLineage, SegmentSize: 4 * MinSegmentSize,
		Logger: hclog.NewNullLogger(), inline: true,
	}
}

// record makes a record whose bytes depend on the LSN and salt alone. Its time
// is ten times its LSN.
func record(lsn uint64, salt uint64, size int) codec.Record {
	value := make([]byte, size)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], lsn*0x9e3779b97f4a7c15^salt)
	for i := range value {
		value[i] = b[i%8] + byte(i>>8)
	}
	var bd codec.Builder
	bd.Put([]byte(fmt.Sprintf("k%d", lsn)), value, codec.Expiry{})
	return bd.Seal(lsn, 1, int64(lsn)*10)
}

func records(from, to uint64, size int) (all []codec.Record) {
	for lsn := from; lsn <= to; lsn++ {
		all = append(all, record(lsn, 0, size))
	}
	return all
}

func mustCreate(t testing.TB, o Options, first uint64) *Log {
	t.Helper()
	l, err := Create(o, first)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustOpen(t testing.TB, o Options, checkpoint uint64) *Log {
	t.Helper()
	l, err := Open(o, checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustAppend(t testing.TB, l *Log, recs ...codec.Record) {
	t.Helper()
	if err := l.Append(recs); err != nil {
		t.Fatal(err)
	}
}

func mustSync(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// readAll reads the log from an LSN to its end in chunks of about maxBytes.
func readAll(l *Log, from uint64, maxBytes int) (all []codec.Record, err error) {
	r, err := l.NewReader(from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for next := from; ; {
		chunk, first, last, err := r.Next(noLimit, maxBytes)
		if err != nil || chunk == nil {
			return all, err
		}
		if first != next {
			return all, fmt.Errorf("chunk begins with LSN %d, expected %d", first, next)
		}
		for len(chunk) > 0 {
			rec, h, rest, err := codec.CutRecord(chunk)
			if err != nil {
				return all, err
			}
			if h.LSN != next {
				return all, fmt.Errorf("LSN %d, expected %d", h.LSN, next)
			}
			all, chunk, next = append(all, rec), rest, next+1
		}
		if last != next-1 {
			return all, fmt.Errorf("chunk ends with LSN %d, said %d", next-1, last)
		}
	}
}

func wantRecords(t testing.TB, l *Log, want []codec.Record) {
	t.Helper()
	for _, maxBytes := range []int{1, 3000, 1 << 20} {
		got, err := readAll(l, l.FirstLSN(), maxBytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("read %d records, want %d", len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("record LSN %d differs", want[i].LSN())
			}
		}
	}
}

// onEachFS runs a test on the operating system's file system and on one in memory.
func onEachFS(t *testing.T, fn func(t *testing.T, o Options)) {
	t.Run("mem", func(t *testing.T) { fn(t, testOptions(newDisk())) })
	t.Run("os", func(t *testing.T) {
		o := testOptions(vfs.OS())
		o.Dir = t.TempDir() + "/wal"
		o.inline = false
		fn(t, o)
	})
}

func TestAppendReadReopen(t *testing.T) {
	onEachFS(t, func(t *testing.T, o Options) {
		rng := rand.New(rand.NewPCG(1, 2))
		l := mustCreate(t, o, 7)
		if l.FirstLSN() != 7 || l.LastLSN() != 6 || l.SyncedLSN() != 6 {
			t.Fatalf("new log has LSNs %d %d %d", l.FirstLSN(), l.LastLSN(), l.SyncedLSN())
		}
		if _, ok := l.LastRecordHeader(); ok {
			t.Fatal("an empty log has a last record")
		}
		var all []codec.Record
		for round := range 4 {
			for range 40 {
				var group []codec.Record
				for range 1 + rng.IntN(8) {
					group = append(group, record(7+uint64(len(all)+len(group)), 0, rng.IntN(4000)))
				}
				mustAppend(t, l, group...)
				all = append(all, group...)
				if rng.IntN(2) == 0 {
					mustSync(t, l)
					if l.SyncedLSN() != l.LastLSN() {
						t.Fatal("synced, but not all of it")
					}
				}
			}
			wantRecords(t, l, all)
			h, ok := l.LastRecordHeader()
			if !ok || h.LSN != l.LastLSN() || h.Time != int64(h.LSN)*10 {
				t.Fatalf("last record %+v %v", h, ok)
			}
			seg, off, err := l.Offset(l.LastLSN())
			if err != nil || seg != l.Segments()[len(l.Segments())-1].Number || off < framesStart {
				t.Fatalf("offset of the last record: %d %d %v", seg, off, err)
			}
			if round%2 == 0 {
				mustClose(t, l)
			}
			segments := len(l.Segments())
			l = mustOpen(t, o, uint64(round*20))
			if round%2 == 0 && len(l.Segments()) != segments {
				t.Fatalf("%d segments after a clean end, %d before", len(l.Segments()), segments)
			}
			if l.SyncedLSN() != l.LastLSN() || l.FirstLSN() != 7 {
				t.Fatalf("opened with LSNs %d %d %d", l.FirstLSN(), l.LastLSN(), l.SyncedLSN())
			}
			wantRecords(t, l, all)
		}
		if err := l.Verify(func(err error) { t.Error(err) }); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		if err := l.Append(records(1, 1, 1)); !errors.Is(err, ErrClosed) {
			t.Fatalf("append to a closed log: %v", err)
		}
		if err := l.Sync(); !errors.Is(err, ErrClosed) {
			t.Fatalf("sync of a closed log: %v", err)
		}
		if _, err := Create(o, 1); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("created over a log: %v", err)
		}
	})
}
