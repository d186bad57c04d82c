package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// BenchmarkGroup appends and syncs groups of records of 1 KiB, and in the same
// run, turn by turn, writes and syncs as much in a bare loop on a zero-filled
// file. The ratio is what the log keeps of the bare loop's speed.
func BenchmarkGroup(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("records=%d", size), func(b *testing.B) { benchmarkGroup(b, size) })
	}
}

func benchmarkGroup(b *testing.B, size int) {
	dir := b.TempDir()
	o := Options{FS: vfs.OS(), Dir: filepath.Join(dir, "wal"), SegmentSize: 16 << 20, Logger: hclog.NewNullLogger()}
	l := mustCreate(b, o, 1)
	fillTo(b, l, o.SegmentSize)
	bare := newBareLoop(b, filepath.Join(dir, "bare"), o.SegmentSize)
	const turn = 8 // groups, before the other side has its turn
	var inLog, inBare time.Duration
	b.SetBytes(int64(size) << 10)
	for n := 0; n < b.N; n += turn {
		groups := make([][]codec.Record, min(turn, b.N-n))
		next := l.LastLSN() + 1
		for i := range groups {
			for range size {
				groups[i] = append(groups[i], record(next, 0, 1024-64))
				next++
			}
		}
		start := time.Now()
		for _, g := range groups {
			mustAppend(b, l, g...)
			mustSync(b, l)
		}
		inLog += time.Since(start)
		start = time.Now()
		for _, g := range groups {
			bare.write(b, g)
		}
		inBare += time.Since(start)
		if _, err := l.Trim(TrimPolicy{Keep: l.LastLSN(), MaxBytes: 4 * o.SegmentSize, MinSegments: 2}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(inLog.Nanoseconds())/float64(b.N), "ns/group")
	b.ReportMetric(float64(b.N*size)/inLog.Seconds(), "records/s")
	b.ReportMetric(inBare.Seconds()/inLog.Seconds(), "of-bare")
	b.ReportMetric(0, "ns/op") // both sides together: says nothing
}

// fillTo appends until the log writes segments of full length.
func fillTo(b *testing.B, l *Log, length int64) {
	for l.view.Load().active.seg.length < length {
		mustAppend(b, l, records(l.LastLSN()+1, l.LastLSN()+100, 1000)...)
		mustSync(b, l)
	}
}

type bareLoop struct {
	f         vfs.File
	off, size int64
	bufs      [][]byte
}

func newBareLoop(b *testing.B, path string, size int64) *bareLoop {
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := vfs.OS().Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return &bareLoop{f: f, size: size}
}

func (l *bareLoop) write(b *testing.B, g []codec.Record) {
	l.bufs = l.bufs[:0]
	n := int64(0)
	for _, r := range g {
		l.bufs = append(l.bufs, r)
		n += int64(len(r))
	}
	if l.off+n > l.size {
		l.off = 0
	}
	if _, err := l.f.WritevAt(l.bufs, l.off); err != nil {
		b.Fatal(err)
	}
	if err := l.f.SyncData(); err != nil {
		b.Fatal(err)
	}
	l.off += n
}

// BenchmarkRead reads a log of 64 MiB from the page cache.
func BenchmarkRead(b *testing.B) {
	o := Options{FS: vfs.OS(), Dir: filepath.Join(b.TempDir(), "wal"), SegmentSize: 16 << 20, Logger: hclog.NewNullLogger()}
	l := mustCreate(b, o, 1)
	total := int64(0)
	for total < 64<<20 {
		for _, r := range records(l.LastLSN()+1, l.LastLSN()+100, 1000) {
			total += int64(len(r))
		}
		mustAppend(b, l, records(l.LastLSN()+1, l.LastLSN()+100, 1000)...)
	}
	b.SetBytes(total)
	for b.Loop() {
		r, err := l.NewReader(1)
		if err != nil {
			b.Fatal(err)
		}
		for {
			chunk, _, _, err := r.Next(noLimit, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			if chunk == nil {
				break
			}
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a log of 256 MiB whose records are all below the
// checkpoint: the last segment is read, of the others only the beginning.
func BenchmarkOpen(b *testing.B) {
	o := Options{FS: vfs.OS(), Dir: filepath.Join(b.TempDir(), "wal"), SegmentSize: 16 << 20, Logger: hclog.NewNullLogger()}
	l := mustCreate(b, o, 1)
	for l.LastLSN() < 256<<10 {
		mustAppend(b, l, records(l.LastLSN()+1, l.LastLSN()+100, 1000)...)
	}
	last := l.LastLSN()
	mustClose(b, l)
	for b.Loop() {
		l, err := Open(o, last)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
