package wal

import (
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// Verify reads the whole log and calls fn for every problem it finds: damage,
// and what can't be read. It goes on behind a damaged place. Segments that are
// trimmed meanwhile are left out.
func (l *Log) Verify(fn func(problem error)) error {
	for _, x := range l.view.Load().extents() {
		if l.closed.Load() {
			return ErrClosed
		}
		f, err := x.seg.acquire()
		if errors.Is(err, ErrTrimmed) {
			continue
		}
		if err != nil {
			fn(err)
			continue
		}
		verifySegment(x, f, fn)
		if err := x.seg.release(); err != nil {
			return err
		}
	}
	return nil
}

func verifySegment(x extent, f vfs.File, fn func(problem error)) {
	w := newWindow(x.seg.path, f, x.seg.length, nil)
	b, err := w.at(0, segHeaderLen)
	if err == nil {
		var h segHeader
		if h, err = parseSegHeader(x.seg.path, b); err == nil && h != x.seg.segHeader {
			err = damaged(x.seg.path, 0, "the header is not the one that was there when the log was opened")
		}
	}
	if err != nil {
		fn(err)
	}
	walkFrames(newScan(w, x.seg.seed, x.first), x.last, func([]byte) {}, fn)
}

// walkFrames hands out the records of each good frame up to the record last, and
// goes on behind a bad one.
func walkFrames(s *scan, last uint64, records func(chunk []byte), problem func(error)) {
	for s.next <= last {
		before := s.end
		if body, err := verifyFrame(s); err == nil {
			records(body)
		} else {
			problem(err)
			if !resync(s, last, problem) {
				return
			}
		}
		if s.end <= before {
			return
		}
	}
}

// verifyFrame checks the frame at s.end, each record's own CRC included, steps
// over it, and answers its records, which are valid until the next call.
func verifyFrame(s *scan) (records []byte, err error) {
	f, ok, err := s.header(s.end)
	if err != nil {
		return nil, err
	}
	if !ok || f.isMark() || f.first != s.next {
		return nil, damaged(s.w.path, s.end, "the frame with LSN %d is bad", s.next)
	}
	body, err := s.w.at(s.end+frameHeaderLen, int(f.length))
	if err != nil {
		return nil, err
	}
	records = body
	for at := s.end + frameHeaderLen; len(body) > 0; {
		rec, _, rest, err := codec.CutRecord(body)
		if err != nil {
			return nil, fmt.Errorf("%s: offset %d: %w", s.w.path, at, err)
		}
		at, body = at+int64(len(rec)), rest
	}
	if ok, err := s.take(f); err != nil || !ok {
		return nil, errors.Join(err, damaged(s.w.path, s.end, "the records of the frame with LSN %d are bad", s.next))
	}
	return records, nil
}

// resync goes to the next frame header behind a bad place; false if there is
// none, or none before the record last.
func resync(s *scan, last uint64, fn func(problem error)) bool {
	off, f, err := nextFrame(s.w, s.seed, s.end+frameAlign)
	if err != nil {
		fn(err)
	}
	if off == 0 || f.first > last {
		return false
	}
	s.end, s.next = off, f.first
	return true
}
