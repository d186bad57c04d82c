package wal

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// manySegments is a log of LSNs 1 to n in groups of three, synced, in small segments.
func manySegments(t testing.TB, o Options, n uint64) *Log {
	t.Helper()
	o.SegmentSize = MinSegmentSize
	l := mustCreate(t, o, 1)
	for lsn := uint64(1); lsn <= n; lsn += 3 {
		mustAppend(t, l, records(lsn, min(lsn+2, n), 2000)...)
	}
	mustSync(t, l)
	return l
}

func TestAppendRefusesWhatDoesNotFit(t *testing.T) {
	l := mustCreate(t, testOptions(newDisk()), 5)
	for name, group := range map[string][]codec.Record{
		"gap":       records(6, 6, 1),
		"duplicate": records(4, 4, 1),
		"inner gap": {record(5, 0, 1), record(7, 0, 1)},
		"cut off":   {record(5, 0, 100)[:50]},
	} {
		if err := l.Append(group); err == nil {
			t.Errorf("%s: appended", name)
		}
	}
	if err := l.Append(nil); err != nil || l.LastLSN() != 4 {
		t.Fatalf("an empty group: %v, last LSN %d", err, l.LastLSN())
	}
	if _, err := Create(testOptions(newDisk()), 0); err == nil {
		t.Error("created a log that begins with LSN 0")
	}
	o := testOptions(newDisk())
	o.SegmentSize = MinSegmentSize - 1
	if _, err := Create(o, 1); err == nil {
		t.Error("created a log of tiny segments")
	}
}

func TestSegmentsGrow(t *testing.T) {
	o := testOptions(newDisk())
	l := mustCreate(t, o, 1)
	for l.Segments()[len(l.Segments())-1].Bytes < o.SegmentSize {
		mustAppend(t, l, records(l.LastLSN()+1, l.LastLSN()+5, 1000)...)
	}
	var sizes []int64
	for i, s := range l.Segments() {
		sizes = append(sizes, s.Bytes)
		if i > 0 && s.FirstLSN != l.Segments()[i-1].LastLSN+1 {
			t.Errorf("segment %d begins with LSN %d", s.Number, s.FirstLSN)
		}
		if s.FirstTime != int64(s.FirstLSN)*10 || s.LastTime != int64(s.LastLSN)*10 {
			t.Errorf("segment %d has times %d to %d", s.Number, s.FirstTime, s.LastTime)
		}
		if s.Closed != (i < len(l.Segments())-1) {
			t.Errorf("segment %d is closed: %v", s.Number, s.Closed)
		}
	}
	if want := []int64{MinSegmentSize, 2 * MinSegmentSize, 4 * MinSegmentSize}; !slices.Equal(sizes, want) {
		t.Errorf("segments have %v bytes, want %v", sizes, want)
	}
}

func TestLargeGroupsGetTheirOwnSegment(t *testing.T) {
	onEachFS(t, func(t *testing.T, o Options) {
		l := mustCreate(t, o, 1)
		var all []codec.Record
		for _, group := range [][]codec.Record{
			{record(1, 0, 300_000)}, // larger than any segment, in an empty one
			records(2, 3000, 10),    // more buffers than one write takes
			{record(3001, 0, 9<<20)},
			records(3002, 3004, 100),
		} {
			mustAppend(t, l, group...)
			mustSync(t, l)
			all = append(all, group...)
		}
		wantRecords(t, l, all)
		l.ReleaseMemory()
		wantRecords(t, l, all)
		mustClose(t, l)
		l = mustOpen(t, o, 0)
		wantRecords(t, l, all)
	})
}

// TestRecycle gives the memory of each chunk back, spoilt, before the next is read by one
// of two readers: neither may see it.
func TestRecycle(t *testing.T) {
	const last = 400
	l := manySegments(t, testOptions(newDisk()), last)
	readers := make([]*Reader, 2)
	for i := range readers {
		var err error
		if readers[i], err = l.NewReader(1); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = readers[i].Close() })
	}
	for turn := 0; readers[turn%2].next <= last; turn++ {
		chunk, first, end, err := readers[turn%2].Next(last, pooledChunk)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Join(asBytes(records(first, end, 2000)), nil)
		if !bytes.Equal(chunk, want) {
			t.Fatalf("LSN %d to %d: %d bytes, expected %d, or others", first, end, len(chunk), len(want))
		}
		for i := range chunk[:cap(chunk)] {
			chunk[:cap(chunk)][i] = 0xFF
		}
		Recycle(chunk)
	}
}

func TestReader(t *testing.T) {
	l := manySegments(t, testOptions(newDisk()), 200)
	for from := uint64(1); from <= 201; from += 20 {
		got, err := readAll(l, from, 5000)
		if err != nil || len(got) != int(201-from) {
			t.Fatalf("from LSN %d: %d records, %v", from, len(got), err)
		}
	}
	if _, err := l.NewReader(202); err == nil || errors.Is(err, ErrTrimmed) {
		t.Fatalf("a reader beyond the end: %v", err)
	}
	r, err := l.NewReader(10)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if chunk, _, _, err := r.Next(9, 1000); chunk != nil || err != nil {
		t.Fatalf("read beyond the limit: %d bytes, %v", len(chunk), err)
	}
	chunk, first, last, err := r.Next(11, 1<<20)
	if err != nil || first != 10 || last != 11 || len(chunk) != len(record(10, 0, 2000))*2 {
		t.Fatalf("LSNs %d to %d, %d bytes, %v", first, last, len(chunk), err)
	}
	want := slices.Clone(chunk)
	if _, first, last, err := r.Next(math.MaxUint64, 1); err != nil || first != 12 || last != 12 {
		t.Fatalf("LSNs %d to %d, %v", first, last, err)
	}
	if !bytes.Equal(chunk, want) {
		t.Fatal("a chunk changed after the next was read")
	}
	mustClose(t, l)
	if _, _, _, err := r.Next(100, 1); !errors.Is(err, ErrClosed) {
		t.Fatalf("read from a closed log: %v", err)
	}
}

func TestOffset(t *testing.T) {
	o := testOptions(newDisk())
	l := manySegments(t, o, 200)
	check := func() {
		t.Helper()
		for lsn := uint64(1); lsn <= 200; lsn++ {
			seg, off, err := l.Offset(lsn)
			if err != nil {
				t.Fatal(err)
			}
			x := l.view.Load().find(lsn)
			b := readFiles(t, o)["segment-0000000"+string(rune('0'+seg))]
			f, ok := parseFrameHeader(b[off:], x.seg.seed)
			if !ok || lsn < f.first || lsn > f.last() || seg != x.seg.number {
				t.Fatalf("LSN %d is not in the frame at segment %d, offset %d", lsn, seg, off)
			}
		}
	}
	check()
	l.ReleaseMemory()
	check()
	if _, _, err := l.Offset(201); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("offset of a record that isn't there: %v", err)
	}
}

func TestLSNAt(t *testing.T) {
	o := testOptions(newDisk())
	l := manySegments(t, o, 200)
	check := func(first uint64) {
		t.Helper()
		for _, lsn := range []uint64{first, first + 1, 100, 177, 199, 200} {
			for _, late := range []int64{0, 9} {
				if got, err := l.LSNAt(int64(lsn)*10 + late); err != nil || got != lsn {
					t.Fatalf("at the time of LSN %d: %d, %v", lsn, got, err)
				}
			}
		}
		if got, err := l.LSNAt(math.MaxInt64); err != nil || got != 200 {
			t.Fatalf("at the end of time: %d, %v", got, err)
		}
	}
	check(1)
	if got, err := l.LSNAt(9); err != nil || got != 0 {
		t.Fatalf("before all: %d, %v", got, err)
	}
	l.ReleaseMemory()
	check(1)
	mustClose(t, l)
	l = mustOpen(t, o, 200)
	check(1)
	if _, err := l.Trim(TrimPolicy{Keep: 90, MaxBytes: 1}); err != nil {
		t.Fatal(err)
	}
	check(l.FirstLSN())
	if _, err := l.LSNAt(9); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("before the first record held: %v", err)
	}
}

func TestTrim(t *testing.T) {
	o := testOptions(newDisk())
	l := manySegments(t, o, 300)
	segs := l.Segments()
	trim := func(p TrimPolicy, want int) {
		t.Helper()
		if n, err := l.Trim(p); n != want || err != nil {
			t.Fatalf("%+v removed %d, %v; want %d", p, n, err, want)
		}
	}
	all := uint64(math.MaxUint64)
	trim(TrimPolicy{Keep: 0, MaxBytes: 1, Before: math.MaxInt64}, 0)
	trim(TrimPolicy{Keep: all}, 0)
	trim(TrimPolicy{Keep: segs[0].LastLSN, MaxBytes: 1}, 0)
	trim(TrimPolicy{Keep: all, Before: segs[0].LastTime}, 0)
	trim(TrimPolicy{Keep: all, Before: segs[0].LastTime + 1}, 1)
	trim(TrimPolicy{Keep: all, MaxBytes: int64(len(segs)-3) * MinSegmentSize}, 2)
	trim(TrimPolicy{Keep: segs[4].FirstLSN, MaxBytes: 1}, 1)
	trim(TrimPolicy{Keep: all, MaxBytes: 1, MinSegments: len(segs) - 5}, 1)
	if got := l.FirstLSN(); got != segs[5].FirstLSN {
		t.Fatalf("the log begins with LSN %d, want %d", got, segs[5].FirstLSN)
	}
	if _, err := l.NewReader(segs[4].LastLSN); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("a reader of what is trimmed: %v", err)
	}
	trim(TrimPolicy{Keep: all, MaxBytes: 1}, len(segs)-6)
	wantRecords(t, l, records(l.FirstLSN(), 300, 2000))
	mustClose(t, l)
	l = mustOpen(t, o, 300)
	wantRecords(t, l, records(l.FirstLSN(), 300, 2000))
	if n := len(readFiles(t, o)); n > 2 {
		t.Fatalf("%d files are left", n)
	}
}

// A file that a reader is in is removed and not used again, and the reader is told.
func TestTrimOvertakesReader(t *testing.T) {
	o := testOptions(newDisk())
	l := manySegments(t, o, 300)
	r, err := l.NewReader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, _, last, err := r.Next(300, 5000); err != nil || last == 0 {
		t.Fatal(err)
	}
	spare := fileName(o.Dir, sparePrefix, r.seg.number)
	if _, err := l.Trim(TrimPolicy{Keep: 200, MaxBytes: 1}); err != nil {
		t.Fatal(err)
	}
	if len(l.spares) == 0 || slices.Contains(l.spares, spare) {
		t.Fatalf("spares are %q; %s was being read", l.spares, spare)
	}
	for lsn := uint64(301); lsn < 500; lsn++ {
		mustAppend(t, l, record(lsn, 0, 2000))
	}
	if _, _, _, err := r.Next(300, 5000); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("read what was trimmed: %v", err)
	}
}

func TestBytesBetween(t *testing.T) {
	l := manySegments(t, testOptions(newDisk()), 300)
	size := int64(len(record(100, 0, 2000)))
	for _, tt := range []struct{ from, to uint64 }{{1, 300}, {50, 60}, {299, 300}} {
		want := float64(int64(tt.to-tt.from+1) * size)
		if got := float64(l.BytesBetween(tt.from, tt.to)); math.Abs(got-want) > 0.05*want+20 {
			t.Errorf("LSNs %d to %d: %v bytes, want about %v", tt.from, tt.to, got, want)
		}
	}
	if got := l.BytesBetween(301, 400); got != 0 {
		t.Errorf("beyond the end: %d", got)
	}
}

func TestTruncateAfter(t *testing.T) {
	onEachFS(t, func(t *testing.T, o Options) {
		l := manySegments(t, o, 200)
		past, err := l.NewReader(1)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = past.Close() }()
		behind, err := l.NewReader(1)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = behind.Close() }()
		for _, r := range []*Reader{past, behind} {
			limit := uint64(150)
			if r == behind {
				limit = 100
			}
			for next := uint64(1); next <= limit; {
				_, _, last, err := r.Next(limit, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				next = last + 1
			}
		}
		var aside []byte
		keep := func(b []byte) error { aside = append(aside, b...); return nil }
		if err := l.TruncateAfter(200, keep); err != nil || aside != nil {
			t.Fatalf("nothing to cut off: %d bytes, %v", len(aside), err)
		}
		refuse := errors.New("no place")
		if err := l.TruncateAfter(100, func([]byte) error { return refuse }); !errors.Is(err, refuse) || l.LastLSN() != 200 {
			t.Fatalf("cut off although it could not be set aside: %v", err)
		}
		if err := l.TruncateAfter(100, keep); err != nil {
			t.Fatal(err)
		}
		if want := bytes.Join(asBytes(records(101, 200, 2000)), nil); !bytes.Equal(aside, want) {
			t.Fatalf("%d bytes were set aside, want %d", len(aside), len(want))
		}
		if l.LastLSN() != 100 || l.SyncedLSN() != 100 {
			t.Fatalf("last LSN %d, synced %d", l.LastLSN(), l.SyncedLSN())
		}
		if h, ok := l.LastRecordHeader(); !ok || h.LSN != 100 {
			t.Fatalf("last record %+v, %v", h, ok)
		}
		want := records(1, 100, 2000)
		for lsn := uint64(101); lsn <= 150; lsn++ {
			r := record(lsn, 9, 500)
			mustAppend(t, l, r)
			want = append(want, r)
		}
		mustSync(t, l)
		wantRecords(t, l, want)
		if _, _, _, err := past.Next(200, 1000); !errors.Is(err, ErrTruncated) {
			t.Fatalf("a reader past the cut: %v", err)
		}
		if chunk, first, last, err := behind.Next(101, 1<<20); err != nil || first != 101 || last != 101 || !bytes.Equal(chunk, want[100]) {
			t.Fatalf("a reader before the cut: LSNs %d to %d, %v", first, last, err)
		}
		// An odd end of it all: everything is cut off.
		if err := l.TruncateAfter(0, keep); err != nil || l.LastLSN() != 0 || l.FirstLSN() != 1 {
			t.Fatalf("%v, LSNs %d to %d", err, l.FirstLSN(), l.LastLSN())
		}
		mustAppend(t, l, record(1, 3, 10))
		mustClose(t, l)
		l = mustOpen(t, o, 0)
		wantRecords(t, l, []codec.Record{record(1, 3, 10)})
	})
}

func asBytes(recs []codec.Record) (all [][]byte) {
	for _, r := range recs {
		all = append(all, r)
	}
	return all
}

func TestTruncateBelowTheFirstRecord(t *testing.T) {
	l := mustCreate(t, testOptions(newDisk()), 10)
	mustAppend(t, l, records(10, 12, 10)...)
	if err := l.TruncateAfter(8, nil); !errors.Is(err, ErrTrimmed) {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	for _, inline := range []bool{true, false} {
		mem := newDisk()
		o := testOptions(mem)
		o.inline = inline
		l := mustCreate(t, o, 1)
		mem.SetCapacity(mem.Used() + 20_000)
		var all []codec.Record
		var err error
		for err == nil {
			group := records(l.LastLSN()+1, l.LastLSN()+3, 2000)
			if err = l.Append(group); err == nil {
				mustSync(t, l)
				all = append(all, group...)
			}
		}
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrFailed) {
			t.Fatalf("on a full disk: %v", err)
		}
		if len(all)*2000 < MinSegmentSize*3/4 {
			t.Fatalf("only %d records fit into the first segment", len(all))
		}
		wantRecords(t, l, all)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		mem.SetCapacity(-1)
		more := records(l.LastLSN()+1, l.LastLSN()+60, 2000)
		mustAppend(t, l, more...)
		mustSync(t, l)
		wantRecords(t, l, append(all, more...))
		mustClose(t, l)
		l = mustOpen(t, o, 0)
		wantRecords(t, l, append(all, more...))
	}
}

// A log with an unsynced tail opens on a full disk if something in its
// directory can make room.
func TestOpenOnFullDisk(t *testing.T) {
	mem := newDisk()
	o := testOptions(mem)
	o.SegmentSize = MinSegmentSize
	l := manySegments(t, o, 100)
	if _, err := l.Trim(TrimPolicy{Keep: 50, MaxBytes: 1}); err != nil || len(l.spares) == 0 {
		t.Fatalf("%v, %d spares", err, len(l.spares))
	}
	first := l.FirstLSN()
	mem.SetCapacity(mem.Used())
	l = mustOpen(t, o, 0)
	wantRecords(t, l, records(first, 100, 2000))
}

func TestFailedSyncIsFinal(t *testing.T) {
	mem := newDisk()
	o := testOptions(vfs.WithFaults(mem, vfs.FailNth(vfs.OpSyncData, 2, syscall.EIO)))
	l := mustCreate(t, o, 1)
	mustAppend(t, l, records(1, 3, 100)...)
	mustSync(t, l)
	mustAppend(t, l, records(4, 6, 100)...)
	for range 2 {
		if err := l.Sync(); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v", err)
		}
		if err := l.Append(records(7, 7, 1)); !errors.Is(err, ErrFailed) {
			t.Fatalf("append: %v", err)
		}
	}
	if _, err := l.Trim(TrimPolicy{}); !errors.Is(err, ErrFailed) {
		t.Fatalf("trim: %v", err)
	}
	if l.SyncedLSN() != 3 {
		t.Fatalf("synced LSN %d", l.SyncedLSN())
	}
	wantRecords(t, l, records(1, 6, 100))
	mustClose(t, l)

	// The cache shows the tail, the disk doesn't have it. What Open keeps must
	// be there for good.
	l = mustOpen(t, testOptions(mem), 0)
	wantRecords(t, l, records(1, 6, 100))
	if l.SyncedLSN() != 6 {
		t.Fatalf("synced LSN %d", l.SyncedLSN())
	}
	l = mustOpen(t, testOptions(mem.Crash(nil, vfs.CrashOptions{})), 0)
	wantRecords(t, l, records(1, 6, 100))
}

// Everybody at once: an appender, syncs beside it, readers at the tail and from
// the start, trims, forgotten memory, verification.
func TestConcurrency(t *testing.T) {
	onEachFS(t, func(t *testing.T, o Options) {
		o.inline = false
		o.SegmentSize = 2 * MinSegmentSize
		l := mustCreate(t, o, 1)
		const last = 6000
		var wg sync.WaitGroup
		stop := make(chan struct{})
		until := func(step func() error) {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := step(); err != nil {
						t.Error(err)
						return
					}
					runtime.Gosched()
				}
			})
		}
		until(func() error { return l.Sync() })
		until(func() error {
			_, err := l.Trim(TrimPolicy{Keep: max(l.SyncedLSN(), 500) - 500, MaxBytes: 1, MinSegments: 2})
			return err
		})
		until(func() error { l.ReleaseMemory(); return l.Verify(func(err error) { t.Error(err) }) })
		until(func() error {
			_, err := readAll(l, l.FirstLSN(), 3000)
			return ignoreTrimmed(err)
		})
		until(func() error {
			_, _, err := l.Offset(l.FirstLSN() + 100)
			if err != nil {
				return ignoreTrimmed(err) // or not there yet
			}
			first := l.FirstLSN()
			if lsn, err := l.LSNAt(int64(first+50) * 10); err == nil && lsn != first+50 {
				t.Errorf("LSN %d at the time of LSN %d", lsn, first+50)
			}
			return nil
		})
		wg.Go(func() {
			defer close(stop)
			for lsn := uint64(1); lsn <= last; lsn += 3 {
				if err := l.Append(records(lsn, lsn+2, int(lsn%500))); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Wait()
		mustClose(t, l)
		first := l.FirstLSN()
		l = mustOpen(t, o, 0)
		if l.FirstLSN() != first || l.LastLSN() < last {
			t.Fatalf("reopened with LSNs %d to %d", l.FirstLSN(), l.LastLSN())
		}
		if _, err := readAll(l, first, 1<<20); err != nil {
			t.Fatal(err)
		}
	})
}

func ignoreTrimmed(err error) error {
	if errors.Is(err, ErrTrimmed) {
		return nil
	}
	return err
}

// A thousand idle namespaces have a thousand open logs.
func TestIdleLogIsSmall(t *testing.T) {
	mem := newDisk()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	logs := make([]*Log, 100)
	fill := func(i int) {
		o := testOptions(mem)
		o.Dir = "/n" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "/wal"
		logs[i] = mustCreate(t, o, 1)
		mustAppend(t, logs[i], records(1, 20, 100)...)
		mustSync(t, logs[i])
		logs[i].ReleaseMemory()
	}
	fill(0)
	before := heap()
	for i := range logs[1:] {
		fill(i + 1)
	}
	perLog := (int64(heap()) - int64(before)) / int64(len(logs)-1)
	runtime.KeepAlive(logs)
	t.Logf("an idle log takes %d bytes, the file in memory included", perLog)
	// Of these the file in memory has three pages of 4 KiB, and lists of pages.
	if limit := int64(16 << 10); perLog > limit {
		t.Errorf("at most %d expected", limit)
	}
}
