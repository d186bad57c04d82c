package wal

import (
	"fmt"
	"sort"
	"sync"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// segment is a file of the log, as readers use it. They share one descriptor,
// which is open while one of them is in the segment.
type segment struct {
	segHeader
	fs   vfs.FS
	path string
	idx  index

	mu    sync.Mutex
	file  vfs.File
	users int
	gone  bool
}

func newSegment(o Options, h segHeader) *segment {
	return &segment{segHeader: h, fs: o.FS, path: fileName(o.Dir, segmentPrefix, h.number)}
}

// acquire opens the segment for reading; release must follow. A segment that
// has left the log answers ErrTrimmed.
func (s *segment) acquire() (vfs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, fmt.Errorf("%s: %w", s.path, ErrTrimmed)
	}
	if s.file == nil {
		f, err := s.fs.OpenRead(s.path)
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	s.users++
	return s.file, nil
}

func (s *segment) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.users > 0 {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// retire lets no new reader in. It reports whether the file is free to be used
// again: while somebody reads it, it may only be removed.
func (s *segment) retire() (free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	return s.users == 0
}

// hop reads the header of the frame at off and the time of its first record.
func (s *segment) hop(f vfs.File, off int64) (fh frameHeader, e indexEntry, err error) {
	var b [frameHeaderLen + codec.RecordHeaderLen]byte
	if off+int64(len(b)) > s.length {
		return fh, e, damaged(s.path, off, "a frame is missing at the end of the segment")
	}
	if err := readFull(s.path, f, b[:], off); err != nil {
		return fh, e, err
	}
	fh, ok := parseFrameHeader(b[:], s.seed)
	if !ok || fh.isMark() {
		return fh, e, damaged(s.path, off, "the frame header is bad")
	}
	return fh, indexEntry{lsn: fh.first, off: off, time: codec.Record(b[frameHeaderLen:]).Time()}, nil
}

// seek finds the frame that holds lsn, which must lie in the segment.
func (s *segment) seek(f vfs.File, first, lsn uint64) (indexEntry, error) {
	at := s.idx.floor(indexEntry{lsn: first, off: framesStart}, func(e indexEntry) bool { return e.lsn <= lsn })
	for off, next := at.off, at.lsn; ; {
		fh, e, err := s.hop(f, off)
		if err != nil {
			return e, err
		}
		if fh.first != next {
			return e, damaged(s.path, off, "the frame begins with LSN %d, expected %d", fh.first, next)
		}
		s.idx.note(e)
		if lsn <= fh.last() {
			return e, nil
		}
		next = fh.last() + 1
		off += frameLen(int64(fh.length))
	}
}

// extent is a segment and the part of the log that counts in it.
type extent struct {
	seg         *segment
	first, last uint64 // last is first-1 while it is empty
	// Bounds of the times of its records: none is earlier than firstTime, none
	// later than lastTime. Exact where this process has seen the records.
	firstTime, lastTime int64
	end                 int64 // behind the last frame; 0 if unknown
}

func (x extent) empty() bool { return x.last < x.first }

// bytes is how much of the file is in use, as far as is known.
func (x extent) bytes() int64 {
	if x.end != 0 {
		return x.end
	}
	return x.seg.length
}

// view is the state of the log that readers see: never changed, only replaced.
type view struct {
	closed []extent // oldest first, none empty
	active extent
	frame  int64 // offset of the active segment's last frame, 0 for none
	// cuts lists the LSNs behind which the log was cut off since it was opened:
	// a reader that is past one of them has read another history.
	cuts []uint64
}

func (v *view) first() uint64 {
	if len(v.closed) > 0 {
		return v.closed[0].first
	}
	return v.active.first
}

func (v *view) last() uint64 { return v.active.last }

// find is the extent that holds lsn, which must be in the log.
func (v *view) find(lsn uint64) extent {
	if lsn >= v.active.first {
		return v.active
	}
	i := sort.Search(len(v.closed), func(i int) bool { return v.closed[i].first > lsn })
	return v.closed[i-1]
}

// extents lists all, oldest first.
func (v *view) extents() []extent {
	return append(v.closed[:len(v.closed):len(v.closed)], v.active)
}
