package wal

import (
	"bytes"
	"math"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// scan walks the frames of one segment from the start, checking everything but
// the CRCs of single records, which the frame's CRC covers.
type scan struct {
	w    *window
	seed uint32

	// Where the walk is, or ended.
	next     uint64 // LSN that comes next
	end      int64  // behind the last valid frame
	frame    int64  // offset of the last valid frame, 0 for none
	synced   uint64 // highest LSN that a valid frame proves durable
	lastTime int64  // of the last record
	clean    bool   // it ended at a clean end
	notes    []indexEntry
}

// newScan begins at the first frame, whose first LSN must be first.
func newScan(w *window, seed uint32, first uint64) *scan {
	return &scan{w: w, seed: seed, next: first, end: framesStart, synced: first - 1}
}

// run walks until the record limit is found, a clean end, or something that
// isn't the frame expected.
func (s *scan) run(limit uint64) error {
	for s.next <= limit {
		f, ok, err := s.header(s.end)
		if err != nil || !ok || f.first != s.next {
			return err
		}
		if f.isMark() {
			s.clean, s.synced = true, f.synced
			return nil
		}
		ok, err = s.take(f)
		if err != nil || !ok {
			return err
		}
	}
	return nil
}

// header reads the frame header at off; false if there is no valid one.
func (s *scan) header(off int64) (f frameHeader, ok bool, err error) {
	if off+frameHeaderLen > s.w.size {
		return f, false, nil
	}
	b, err := s.w.at(off, frameHeaderLen)
	if err != nil {
		return f, false, err
	}
	f, ok = parseFrameHeader(b, s.seed)
	if off+frameHeaderLen+int64(f.length) > s.w.size {
		ok = false
	}
	return f, ok, nil
}

// take checks the frame at s.end and steps over it; false if its records are bad.
func (s *scan) take(f frameHeader) (bool, error) {
	body, err := s.w.at(s.end+frameHeaderLen, int(f.length))
	if err != nil {
		return false, err
	}
	if !f.checkBody(body, s.seed) {
		return false, nil
	}
	s.note(codec.Record(body).Time())
	s.frame = s.end
	s.end += frameLen(int64(f.length))
	s.next = f.last() + 1
	s.synced = max(s.synced, f.synced)
	s.lastTime = lastRecord(body).Time()
	return true, nil
}

func (s *scan) note(t int64) {
	if len(s.notes) == 0 || s.end-s.notes[len(s.notes)-1].off >= indexStride {
		s.notes = append(s.notes, indexEntry{lsn: s.next, off: s.end, time: t})
	}
}

// lastRecord is the last of the records in a checked body.
func lastRecord(body []byte) codec.Record {
	for {
		n, err := codec.PeekLen(body)
		if err != nil || n >= len(body) {
			return body
		}
		body = body[n:]
	}
}

// evidence is what frames behind the end of a scan tell.
type evidence struct {
	found  bool   // there is a valid frame header at all
	synced uint64 // the highest LSN that one of them proves durable
	path   string // where that one is
	off    int64
}

// search looks for valid frame headers from off to the end of the segment. A
// header is enough: what it says of syncs before it was written is true even
// if its records were lost.
func (e *evidence) search(w *window, seed uint32, off int64) error {
	for {
		at, f, err := nextFrame(w, seed, off)
		if err != nil || at == 0 {
			return err
		}
		e.add(w.path, at, f)
		off = at + frameAlign
	}
}

func (e *evidence) add(path string, off int64, f frameHeader) {
	if !e.found || f.synced > e.synced {
		e.synced, e.path, e.off = f.synced, path, off
	}
	e.found = true
}

// nextFrame finds the first valid frame header at off or behind, at every place
// where one may begin. Its offset is 0 if there is none.
func nextFrame(w *window, seed uint32, off int64) (int64, frameHeader, error) {
	for off+frameHeaderLen <= w.size {
		b, err := w.rest(off)
		if err != nil {
			return 0, frameHeader{}, err
		}
		for at := nextMagic(b, 0); at >= 0; at = nextMagic(b, at+frameAlign) {
			if f, ok := parseFrameHeader(b[at:], seed); ok {
				return off + int64(at), f, nil
			}
		}
		// A header may begin in this piece and end in the next.
		off += int64(len(b)-frameHeaderLen+frameAlign) &^ (frameAlign - 1)
	}
	return 0, frameHeader{}, nil
}

// nextMagic is the first place in b, from at on, where a frame may begin and
// its header fits; -1 if there is none.
func nextMagic(b []byte, at int) int {
	for at+frameHeaderLen <= len(b) {
		i := bytes.Index(b[at:], frameMagicBytes)
		if i < 0 {
			return -1
		}
		if at += i; at%frameAlign == 0 && at+frameHeaderLen <= len(b) {
			return at
		}
		at = int(alignUp(int64(at + 1)))
	}
	return -1
}

const noLimit = math.MaxUint64
