package wal

import (
	"hash/crc32"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// tailCopy copies the frames of a segment that aren't proven to be durable
// into a new one, with a clean end behind them.
type tailCopy struct {
	src         *candidate
	from        int64 // offset of the first frame that is copied; the segment's end if there is none
	first, last uint64

	// What fill has written.
	frame     int64 // offset of the last frame, 0 for none
	end       int64 // behind it
	firstTime int64
	notes     []indexEntry
}

func newTailCopy(src *candidate, synced uint64) (*tailCopy, error) {
	s := src.scanned
	t := &tailCopy{src: src, from: framesStart, first: src.starts, last: s.next - 1}
	for _, e := range s.notes {
		if e.lsn <= synced+1 {
			t.from, t.first = e.off, e.lsn
		}
	}
	for t.from < s.end {
		f, _, err := s.header(t.from)
		if err != nil {
			return nil, err
		}
		if f.last() > synced {
			break
		}
		t.from += frameLen(int64(f.length))
		t.first = f.last() + 1
	}
	return t, nil
}

// room is how long the new segment must be.
func (t *tailCopy) room() int64 {
	return framesStart + (t.src.scanned.end - t.from) + frameHeaderLen
}

func (t *tailCopy) fill(f vfs.File, h segHeader) error {
	t.end = framesStart
	for off := t.from; off < t.src.scanned.end; {
		fh, err := t.copyFrame(f, h, off)
		if err != nil {
			return err
		}
		off += frameLen(int64(fh.length))
	}
	var mark [frameHeaderLen]byte
	cleanEnd(t.last, h.seed).put(mark[:], h.seed)
	_, err := f.WritevAt([][]byte{mark[:]}, t.end)
	return err
}

// copyFrame checks a frame once more, and writes its records in a frame of the
// new segment.
func (t *tailCopy) copyFrame(f vfs.File, h segHeader, off int64) (frameHeader, error) {
	s := t.src.scanned
	fh, ok, err := s.header(off)
	if err != nil {
		return fh, err
	}
	var body []byte
	if ok {
		if body, err = s.w.at(off+frameHeaderLen, int(fh.length)); err != nil {
			return fh, err
		}
	}
	if !ok || !fh.checkBody(body, s.seed) {
		return fh, damaged(t.src.path, off, "the frame was good a moment ago")
	}
	fh.synced = t.first - 1
	fh.body = crc32.Update(h.seed, codec.Castagnoli, body)
	var header [frameHeaderLen]byte
	fh.put(header[:], h.seed)
	end := t.end + frameHeaderLen + int64(fh.length)
	if _, err := f.WritevAt([][]byte{header[:], body, padding[:alignUp(end)-end]}, t.end); err != nil {
		return fh, err
	}
	at := codec.Record(body).Time()
	if t.frame == 0 {
		t.firstTime = at
	}
	t.notes = append(t.notes, indexEntry{lsn: fh.first, off: t.end, time: at})
	t.frame, t.end = t.end, alignUp(end)
	return fh, nil
}
