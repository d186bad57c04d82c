package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// files are the contents of a log's directory.
type files map[string][]byte

func readFiles(t testing.TB, o Options) files {
	t.Helper()
	names, err := o.FS.List(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	all := files{}
	for _, name := range names {
		f, err := o.FS.OpenRead(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}

// write makes a file system that holds nothing but these files.
func (f files) write(t testing.TB) Options {
	t.Helper()
	o := sampleOptions(newDisk())
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	for name, b := range f {
		w, err := o.FS.Create(filepath.Join(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WritevAt([][]byte{b}, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Sync(), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// with is a copy in which one file is another.
func (f files) with(name string, b []byte) files {
	all := files{}
	for n, was := range f {
		all[n] = was
	}
	if all[name] = b; b == nil {
		delete(all, name)
	}
	return all
}

func (f files) flip(name string, off int, bit byte) files {
	b := bytes.Clone(f[name])
	b[off] ^= bit
	return f.with(name, b)
}

func (f files) equal(g files) bool {
	if len(f) != len(g) {
		return false
	}
	for name, b := range f {
		if !bytes.Equal(b, g[name]) {
			return false
		}
	}
	return true
}

// sample is a log of three segments, each group synced by itself, before and
// after it was closed.
type sample struct {
	recs            []codec.Record
	unclean, clean  files
	last            string // the last segment's name
	frames          []int  // offsets of its frames
	end             int    // behind them, where the clean end is
	checkpointLast  uint64 // the last LSN before the last segment
	lastGroupsFirst uint64
}

func sampleOptions(fs vfs.FS) Options {
	o := testOptions(fs)
	o.smallest, o.SegmentSize = smallSegment, smallSegment
	return o
}

func makeSample(t testing.TB) sample {
	t.Helper()
	o := sampleOptions(newDisk())
	l := mustCreate(t, o, 1)
	var s sample
	for len(l.Segments()) < 3 || len(s.frames) < 4 {
		from := l.LastLSN() + 1
		group := records(from, from+1, 800)
		if len(l.Segments()) == 3 {
			group = records(from, from+2, 40)
		}
		mustAppend(t, l, group...)
		mustSync(t, l)
		s.recs = append(s.recs, group...)
		if segs := l.Segments(); len(segs) == 3 {
			_, off, err := l.Offset(l.LastLSN())
			if err != nil {
				t.Fatal(err)
			}
			s.frames = append(s.frames, int(off))
			s.last, s.checkpointLast, s.lastGroupsFirst = filepath.Base(segs[2].Path), segs[1].LastLSN, from
		}
	}
	s.end = int(l.view.Load().active.end)
	s.unclean = readFiles(t, o)
	mustClose(t, l)
	s.clean = readFiles(t, o)
	return s
}

type outcome int

const (
	refused outcome = iota // Open finds damage
	whole                  // all records are there
	torn                   // the last group is cut off
	partial                // Open sees nothing; readers and Verify do
)

func (o outcome) String() string { return [...]string{"refused", "whole", "torn", "partial"}[o] }

// open says what becomes of a log, and fails the test if wrong data is read or
// a refused log was changed.
func (s sample) open(t testing.TB, f files, checkpoint uint64) outcome {
	t.Helper()
	o := f.write(t)
	l, err := Open(o, checkpoint)
	if err != nil {
		if !errors.Is(err, codec.ErrCorrupt) {
			t.Fatalf("refused with %v", err)
		}
		if !strings.Contains(err.Error(), "segment-") || !strings.Contains(err.Error(), "offset") {
			t.Fatalf("the error doesn't name file and offset: %v", err)
		}
		if !readFiles(t, o).equal(f) {
			t.Fatalf("a refused log was changed: %v", err)
		}
		return refused
	}
	defer mustClose(t, l)
	got, err := readAll(l, 1, 1000)
	if err != nil && !errors.Is(err, codec.ErrCorrupt) {
		t.Fatal(err)
	}
	for i, r := range got {
		if !bytes.Equal(r, s.recs[i]) {
			t.Fatalf("LSN %d is wrong", i+1)
		}
	}
	problems := 0
	if err := l.Verify(func(error) { problems++ }); err != nil {
		t.Fatal(err)
	}
	switch {
	case err != nil || problems > 0:
		if err != nil && problems == 0 {
			t.Fatalf("Verify doesn't see %v", err)
		}
		return partial
	case len(got) == len(s.recs):
		return whole
	case l.LastLSN() == s.lastGroupsFirst-1 && len(got) == int(l.LastLSN()):
		return torn
	}
	t.Fatalf("%d records of %d are left", len(got), len(s.recs))
	return 0
}

func (s sample) want(t *testing.T, what string, f files, checkpoint uint64, want outcome) {
	t.Helper()
	if got := s.open(t, f, checkpoint); got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestFlippedBits(t *testing.T) {
	s := makeSample(t)
	rng := rand.New(rand.NewPCG(7, 7))
	bit := func() byte { return 1 << rng.IntN(8) }
	first := "segment-00000001"

	for off := range segHeaderLen {
		for _, name := range []string{first, "segment-00000002", s.last} {
			s.want(t, "segment header", s.clean.flip(name, off, bit()), s.checkpointLast, refused)
		}
	}
	s.want(t, "behind the segment header", s.clean.flip(first, segHeaderLen+rng.IntN(framesStart-segHeaderLen), bit()), 0, whole)

	// Frames of the last segment: all but the last are known to have been synced.
	for i, at := range s.frames {
		end := s.end
		if i+1 < len(s.frames) {
			end = s.frames[i+1]
		}
		f, _ := parseFrameHeader(s.unclean[s.last][at:], mustHeader(t, s.unclean[s.last]).seed)
		used := at + frameHeaderLen + int(f.length)
		for off := at; off < end; off++ {
			switch {
			case off >= used:
				s.want(t, "padding", s.unclean.flip(s.last, off, bit()), 0, whole)
			case i+1 < len(s.frames):
				s.want(t, "synced frame", s.unclean.flip(s.last, off, bit()), 0, refused)
			default:
				s.want(t, "last frame", s.unclean.flip(s.last, off, bit()), 0, torn)
				s.want(t, "last frame before a clean end", s.clean.flip(s.last, off, bit()), 0, refused)
			}
		}
	}
	for off := range frameHeaderLen {
		s.want(t, "clean end", s.clean.flip(s.last, s.end+off, bit()), 0, whole)
	}

	// Closed segments: damage, but only where it is looked for.
	for range 200 {
		off := framesStart + rng.IntN(3000)
		s.want(t, "closed segment", s.clean.flip(first, off, bit()), 0, refused)
		off += 4000
		got := s.open(t, s.clean.flip(first, off, bit()), s.checkpointLast)
		if got != partial && got != whole {
			t.Errorf("closed segment below the checkpoint: %v", got)
		}
	}
}

func mustHeader(t testing.TB, b []byte) segHeader {
	t.Helper()
	h, err := parseSegHeader("x", b)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestVerifyFindsWhatReadersFind(t *testing.T) {
	s := makeSample(t)
	at := framesStart + frameHeaderLen + 2500 // in the second frame's records
	o := s.clean.flip("segment-00000001", at, 1).write(t)
	l := mustOpen(t, o, s.checkpointLast)
	var problems []string
	if err := l.Verify(func(err error) { problems = append(problems, err.Error()) }); err != nil {
		t.Fatal(err)
	}
	if len(problems) != 1 || !strings.Contains(problems[0], "segment-00000001") {
		t.Fatalf("problems: %q", problems)
	}
	// Behind the damage reading works.
	r, err := l.NewReader(5)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, _, _, err := r.Next(noLimit, 100); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFiles(t *testing.T) {
	s := makeSample(t)
	one, two, three := "segment-00000001", "segment-00000002", s.last
	for _, name := range []string{one, two, three} {
		b := s.clean[name]
		for _, n := range []int{0, 10, segHeaderLen, framesStart, len(b) / 2, len(b) - 1} {
			s.want(t, "cut off", s.clean.with(name, b[:n]), s.checkpointLast, refused)
		}
		s.want(t, "too long", s.clean.with(name, append(bytes.Clone(b), 0)), 0, refused)
	}
	s.want(t, "swapped", s.clean.with(one, s.clean[two]).with(two, s.clean[one]), s.checkpointLast, refused)
	s.want(t, "copied", s.clean.with(three, s.clean[two]), s.checkpointLast, refused)
	s.want(t, "missing in the middle", s.clean.with(two, nil), s.checkpointLast, refused)
	s.want(t, "old content", s.clean.with(two, append(bytes.Clone(s.clean[two][:framesStart]), make([]byte, len(s.clean[two])-framesStart)...)), s.checkpointLast, refused)

	o := s.clean.write(t)
	o.Lineage[0]++
	if _, err := Open(o, 0); !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), "lineage") {
		t.Errorf("another lineage: %v", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	s := makeSample(t)
	b := bytes.Clone(s.clean[s.last])
	binary.LittleEndian.PutUint32(b[segOffVersion:], formatVersion+1)
	binary.LittleEndian.PutUint32(b[segOffCRC:], crc32.Checksum(b[:segOffCRC], codec.Castagnoli))
	f := s.clean.with(s.last, b)
	o := f.write(t)
	if _, err := Open(o, 0); !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), "use a newer build") {
		t.Fatalf("%v", err)
	}
	if !readFiles(t, o).equal(f) {
		t.Fatal("the files were changed")
	}
}

// TestTornEnds cuts the last write at every byte, as a power cut may.
func TestTornEnds(t *testing.T) {
	s := makeSample(t)
	last := s.frames[len(s.frames)-1]
	for at := last; at < s.end; at++ {
		b := bytes.Clone(s.unclean[s.last])
		clear(b[at:])
		want := torn
		if bytes.Equal(b, s.unclean[s.last]) || at >= s.end-7 && bytes.Equal(b[:s.end-7], s.unclean[s.last][:s.end-7]) {
			want = whole // only zeros were lost
		}
		if got := s.open(t, s.unclean.with(s.last, b), 0); got != want && got != torn {
			t.Fatalf("cut at %d: %v, want %v", at, got, want)
		}
	}
}

// A frame that a crash kept, behind one that it lost, must not come to life
// when the place before it is filled by a frame of the lost one's length.
func TestFrameBehindCleanEndStaysDead(t *testing.T) {
	o := sampleOptions(newDisk())
	l := mustCreate(t, o, 1)
	mustAppend(t, l, records(1, 3, 100)...)
	mustClose(t, l)
	before := readFiles(t, o)

	l = mustOpen(t, o, 0)
	lost := l.view.Load().active.end
	mustAppend(t, l, record(4, 1, 100))
	kept := l.view.Load().active.end
	mustAppend(t, l, record(5, 1, 100))
	after := readFiles(t, o)

	name := "segment-00000001"
	b := bytes.Clone(after[name])
	copy(b[lost:kept], before[name][lost:kept])
	o = after.with(name, b).write(t)
	l = mustOpen(t, o, 0)
	if l.LastLSN() != 3 {
		t.Fatalf("the log ends with LSN %d, want 3", l.LastLSN())
	}
	mustAppend(t, l, record(4, 2, 100))
	mustSync(t, l)
	again := readFiles(t, o).write(t)
	l = mustOpen(t, again, 0)
	wantRecords(t, l, append(records(1, 3, 100), record(4, 2, 100)))
}

// FuzzSegment opens logs whose only segment is anything.
func FuzzSegment(f *testing.F) {
	s := makeSample(f)
	f.Add(s.clean["segment-00000001"][framesStart:framesStart+5000], uint64(1), false)
	f.Add(s.unclean[s.last][framesStart:s.end+100], uint64(0), true)
	f.Add(s.clean[s.last][framesStart:s.end+100], uint64(5), true)
	f.Fuzz(func(t *testing.T, frames []byte, first uint64, reseal bool) {
		h := segHeader{number: 1, length: alignBlock(framesStart + int64(len(frames)) + 1), first: first, lineage: testLineage, seed: 42}
		if first > 1<<62 || h.length > 1<<20 {
			t.Skip("no LSN of ours")
		}
		b := make([]byte, h.length)
		copy(b, h.block())
		copy(b[framesStart:], frames)
		if reseal {
			resealFrames(b, h.seed)
		}
		o := files{"segment-00000001": b}.write(t)
		o.SegmentSize = 1 << 20
		l, err := Open(o, 0)
		if err != nil {
			if !errors.Is(err, codec.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		defer mustClose(t, l)
		if _, err := readAll(l, l.FirstLSN(), 500); err != nil && !errors.Is(err, codec.ErrCorrupt) && !strings.Contains(err.Error(), "newer build") {
			t.Fatal(err)
		}
		if err := l.Verify(func(error) {}); err != nil {
			t.Fatal(err)
		}
		if err := l.Append([]codec.Record{record(l.LastLSN()+1, 0, 10)}); err != nil {
			t.Fatal(err)
		}
	})
}

// resealFrames gives everything that has a frame's magic number good CRCs, so
// that the fuzzer gets behind them.
func resealFrames(b []byte, seed uint32) {
	for at := framesStart; at >= 0 && at+frameHeaderLen <= len(b); at = nextMagic(b, at+frameAlign) {
		n := int(binary.LittleEndian.Uint32(b[at+frameOffLength:]))
		if body := b[at+frameHeaderLen:]; n <= len(body) {
			binary.LittleEndian.PutUint32(b[at+frameOffBody:], crc32.Update(seed, codec.Castagnoli, body[:n]))
		}
		crc := crc32.Update(seed, codec.Castagnoli, b[at+frameOffFirst:at+frameHeaderLen])
		binary.LittleEndian.PutUint32(b[at+frameOffCRC:], crc)
	}
}
