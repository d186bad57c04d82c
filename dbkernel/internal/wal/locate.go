package wal

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// SegmentInfo describes a segment of the log.
type SegmentInfo struct {
	Number            uint64
	Path              string
	Bytes             int64  // of the file
	FirstLSN, LastLSN uint64 // LastLSN is FirstLSN-1 if it holds no record
	// Nanoseconds since 1970. No record in it is earlier or later; exact where
	// the records have been seen since the log was opened.
	FirstTime, LastTime int64
	Closed              bool // nothing is added to it
}

// Segments lists the segments, oldest first. The last one is not closed.
func (l *Log) Segments() []SegmentInfo {
	v := l.view.Load()
	var infos []SegmentInfo
	for _, x := range v.extents() {
		infos = append(infos, x.info(x.seg != v.active.seg))
	}
	return infos
}

func (x extent) info(closed bool) SegmentInfo {
	return SegmentInfo{
		Number: x.seg.number, Path: x.seg.path, Bytes: x.seg.length, FirstLSN: x.first, LastLSN: x.last,
		FirstTime: x.firstTime, LastTime: x.lastTime, Closed: closed,
	}
}

// Offset says where the frame lies that holds a record: the segment's number
// and the offset in it. For LastLSN it reads nothing.
func (l *Log) Offset(lsn uint64) (segment uint64, offset int64, err error) {
	v := l.view.Load()
	if lsn < v.first() || lsn > v.last() {
		return 0, 0, fmt.Errorf("LSN %d: %w: it holds %d to %d", lsn, ErrTrimmed, v.first(), v.last())
	}
	if lsn == v.last() && v.frame != 0 {
		return v.active.seg.number, v.frame, nil
	}
	x := v.find(lsn)
	f, err := x.seg.acquire()
	if err != nil {
		return 0, 0, err
	}
	e, err := x.seg.seek(f, x.first, lsn)
	return x.seg.number, e.off, errors.Join(err, x.seg.release())
}

// LSNAt is the LSN of the last record whose time is t or earlier, in
// nanoseconds since 1970. 0 means that t is before the first record of all;
// ErrTrimmed that it is before the first record held.
func (l *Log) LSNAt(t int64) (uint64, error) {
	v := l.view.Load()
	all := v.extents()
	i := sort.Search(len(all), func(i int) bool { return all[i].firstTime > t })
	for i--; i >= 0; i-- {
		if all[i].empty() {
			continue
		}
		lsn, err := l.lsnIn(all[i], t)
		if err != nil || lsn >= all[i].first {
			return lsn, err
		}
	}
	if v.first() > 1 {
		return 0, fmt.Errorf("the time is before LSN %d: %w", v.first(), ErrTrimmed)
	}
	return 0, nil
}

// lsnIn is LSNAt inside one segment; first-1 if all of its records are later.
func (l *Log) lsnIn(x extent, t int64) (uint64, error) {
	f, err := x.seg.acquire()
	if err != nil {
		return 0, err
	}
	_, err = x.seg.seek(f, x.first, x.last) // fills the index
	if err = errors.Join(err, x.seg.release()); err != nil {
		return 0, err
	}
	base := indexEntry{lsn: x.first, off: framesStart, time: math.MinInt64}
	at := x.seg.idx.floor(base, func(e indexEntry) bool { return e.time <= t })
	r, err := l.NewReader(at.lsn)
	if err != nil {
		return 0, err
	}
	lsn, err := lastAt(r, x.last, t)
	return max(lsn, x.first-1), errors.Join(err, r.Close())
}

// lastAt reads up to limit and returns the last LSN whose time is t or
// earlier; 0 if the first record is later.
func lastAt(r *Reader, limit uint64, t int64) (lsn uint64, err error) {
	for {
		chunk, _, _, err := r.Next(limit, windowSize)
		if chunk == nil || err != nil {
			return lsn, err
		}
		for len(chunk) > 0 {
			n, err := codec.PeekLen(chunk)
			if err != nil {
				return lsn, err
			}
			rec := codec.Record(chunk[:n])
			if rec.Time() > t {
				return lsn, nil
			}
			lsn, chunk = rec.LSN(), chunk[n:]
		}
	}
}

// BytesBetween estimates how much of the log's files the records from one LSN
// to another take, both included. It reads nothing.
func (l *Log) BytesBetween(fromLSN, toLSN uint64) int64 {
	var total float64
	for _, x := range l.view.Load().extents() {
		first, last := max(fromLSN, x.first), min(toLSN, x.last)
		if x.empty() || first > last {
			continue
		}
		share := float64(last-first+1) / float64(x.last-x.first+1)
		total += share * float64(x.bytes()-framesStart)
	}
	return int64(total)
}
