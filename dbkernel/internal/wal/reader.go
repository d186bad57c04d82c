package wal

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// Reader reads the log in order. It is for one goroutine; any number of them
// read while the log grows and is trimmed.
type Reader struct {
	l    *Log
	next uint64 // LSN of the record that comes next
	cuts int    // how many of the view's cuts it has seen

	// The place in the log; seg is nil while there is none.
	seg *segment
	f   vfs.File
	place
}

// place is where a reader is inside a segment.
type place struct {
	off      int64
	frameEnd int64  // behind the records of the frame that off is in; 0 between frames
	lsn      uint64 // of the record at off, if inside a frame
}

// NewReader returns a reader whose first record is from. It may be the one
// after the last.
func (l *Log) NewReader(from uint64) (*Reader, error) {
	if l.closed.Load() {
		return nil, ErrClosed
	}
	v := l.view.Load()
	if from < v.first() {
		return nil, fmt.Errorf("LSN %d: %w: it begins with %d", from, ErrTrimmed, v.first())
	}
	if from > v.last()+1 {
		return nil, fmt.Errorf("LSN %d is beyond the end of the log, which is %d", from, v.last())
	}
	return &Reader{l: l, next: from, cuts: len(v.cuts)}, nil
}

// Close lets go of the file that the reader is in.
func (r *Reader) Close() error { return r.leave() }

func (r *Reader) leave() error {
	if r.seg == nil {
		return nil
	}
	seg := r.seg
	r.seg, r.f, r.place = nil, nil, place{}
	return seg.release()
}

// Next returns whole records, back to back, none with an LSN above limit, and
// the LSNs of the first and the last. They are at least one, and take about
// maxBytes unless one alone is larger. The chunk is nil if there is nothing up
// to limit yet. Every record's CRC and LSN has been checked. The chunk is the
// caller's, who may Recycle it.
//
// ErrTrimmed means that trimming has overtaken the reader, ErrTruncated that
// what it has read was cut off since, codec.ErrCorrupt damage.
func (r *Reader) Next(limit uint64, maxBytes int) (chunk []byte, first, last uint64, err error) {
	for {
		v, err := r.look()
		if err != nil {
			return nil, 0, 0, err
		}
		limit := min(limit, v.last())
		if r.next > limit {
			return nil, 0, 0, nil
		}
		x := v.find(r.next)
		if err := r.enter(x); err != nil {
			if errors.Is(err, ErrTrimmed) {
				continue // the segment left the log after the view was taken
			}
			return nil, 0, 0, err
		}
		first = r.next
		chunk, err = r.read(x, min(limit, x.last), max(maxBytes, 1))
		return chunk, first, r.next - 1, err
	}
}

// look takes the current view, and checks that the reader still fits it.
func (r *Reader) look() (*view, error) {
	if r.l.closed.Load() {
		return nil, ErrClosed
	}
	v := r.l.view.Load()
	if len(v.cuts) > r.cuts {
		cut := slices.Min(v.cuts[r.cuts:])
		if r.next > cut+1 {
			return nil, fmt.Errorf("LSN %d: %w: it was cut off behind %d", r.next, ErrTruncated, cut)
		}
		r.cuts = len(v.cuts)
		if err := r.leave(); err != nil {
			return nil, err
		}
	}
	if r.next < v.first() {
		return nil, fmt.Errorf("LSN %d: %w: it begins with %d", r.next, ErrTrimmed, v.first())
	}
	return v, nil
}

// enter goes to the frame that holds the next record, unless it is there.
func (r *Reader) enter(x extent) error {
	if r.seg == x.seg {
		return nil
	}
	if err := r.leave(); err != nil {
		return err
	}
	f, err := x.seg.acquire()
	if err != nil {
		return err
	}
	r.seg, r.f, r.place = x.seg, f, place{off: framesStart, lsn: x.first}
	if r.next == x.first {
		return nil
	}
	e, err := x.seg.seek(f, x.first, r.next)
	if err != nil {
		return errors.Join(err, r.leave())
	}
	r.off, r.lsn = e.off, e.lsn
	return nil
}

// read gathers records up to limit from one segment.
func (r *Reader) read(x extent, limit uint64, maxBytes int) ([]byte, error) {
	c := chunker{r: r, place: r.place, bound: x.bytes(), limit: limit, maxBytes: maxBytes}
	more, err := true, error(nil)
	for more && err == nil && r.next <= limit {
		more, err = c.step()
	}
	if c.out == 0 {
		return nil, err
	}
	return c.chunk(), nil // an error will come again, at the start of the next chunk
}

// chunker reads a large piece of a segment and moves the records in it together.
type chunker struct {
	r *Reader
	place
	bound    int64 // no byte at or behind it counts
	limit    uint64
	maxBytes int

	buf []byte
	in  int // the place in buf that off stands for
	out int // behind the records gathered, at the start of buf
}

// step takes the next frame header or record; false when the chunk is full.
func (c *chunker) step() (more bool, err error) {
	if c.frameEnd == 0 {
		return c.header()
	}
	head, err := c.peek(codec.RecordHeaderLen)
	if head == nil || err != nil {
		return false, err
	}
	n, err := codec.PeekLen(head)
	if err != nil || c.off+int64(n) > c.frameEnd {
		return false, damaged(c.r.seg.path, c.off, "record LSN %d does not fit its frame", c.lsn)
	}
	if c.lsn < c.r.next {
		c.skip(n)
		return true, nil
	}
	if c.out > 0 && c.out+n > c.maxBytes {
		return false, nil
	}
	rec, err := c.peek(n)
	if rec == nil || err != nil {
		return false, err
	}
	return true, c.take(rec)
}

// take adds a record to the chunk.
func (c *chunker) take(rec codec.Record) error {
	h, err := rec.Check()
	if err != nil {
		return fmt.Errorf("%s: offset %d: %w", c.r.seg.path, c.off, err)
	}
	if h.LSN != c.lsn {
		return damaged(c.r.seg.path, c.off, "the record has LSN %d, expected %d", h.LSN, c.lsn)
	}
	copy(c.buf[c.out:], rec)
	c.out += len(rec)
	c.r.next++
	c.skip(len(rec))
	return nil
}

// skip steps over a record.
func (c *chunker) skip(n int) {
	c.move(n)
	c.lsn++
	if c.off == c.frameEnd {
		c.move(int(alignUp(c.off) - c.off))
		c.frameEnd = 0
	}
	c.r.place = c.place
}

func (c *chunker) move(n int) {
	c.off += int64(n)
	c.in += n
}

// header steps into the frame at off.
func (c *chunker) header() (more bool, err error) {
	b, err := c.peek(frameHeaderLen)
	if b == nil || err != nil {
		return false, err
	}
	f, ok := parseFrameHeader(b, c.r.seg.seed)
	if !ok || f.isMark() || f.first != c.lsn {
		return false, damaged(c.r.seg.path, c.off, "the frame header with LSN %d is bad", c.lsn)
	}
	c.move(frameHeaderLen)
	c.frameEnd = c.off + int64(f.length)
	return true, nil
}

// peek returns the n bytes at off, reading more of the file if nothing has
// been gathered yet. Nil means that they are for the next chunk.
func (c *chunker) peek(n int) ([]byte, error) {
	if c.in+n > len(c.buf) {
		if c.out > 0 {
			return nil, nil
		}
		if err := c.fill(n); err != nil {
			return nil, err
		}
	}
	return c.buf[c.in : c.in+n : c.in+n], nil
}

func (c *chunker) fill(n int) error {
	left := c.bound - c.off
	if int64(n) > left {
		return damaged(c.r.seg.path, c.off, "LSN %d is missing", c.lsn)
	}
	size := max(int64(n), min(int64(c.maxBytes)+frameHeaderLen, left))
	if c.buf != nil {
		Recycle(c.buf) // nothing was gathered in it
	}
	c.buf, c.in = chunkMemory(int(size)), 0
	return readFull(c.r.seg.path, c.r.f, c.buf, c.off)
}

// chunk is what was gathered, without much memory behind it that isn't used.
func (c *chunker) chunk() []byte {
	if c.out < cap(c.buf)/2 {
		chunk := slices.Clone(c.buf[:c.out])
		Recycle(c.buf)
		return chunk
	}
	return c.buf[:c.out]
}

// chunks is memory that chunks were in. Without it one who reads much of the log makes
// a new heap of garbage every second.
var chunks sync.Pool // of *[]byte

// Chunks between these sizes are kept, in bytes: a smaller one isn't worth it, and a larger one,
// of a large record, would stand for many.
const (
	pooledChunk    = 64 << 10
	maxPooledChunk = 1 << 20
)

// chunkMemory is n bytes that may have anything in them.
func chunkMemory(n int) []byte {
	if n >= pooledChunk {
		if buf, ok := chunks.Get().(*[]byte); ok && cap(*buf) >= n {
			return (*buf)[:n]
		}
	}
	return make([]byte, n)
}

// Recycle takes back the memory of a chunk that Reader.Next has returned. Nobody may use
// it any more.
func Recycle(chunk []byte) {
	if cap(chunk) >= pooledChunk && cap(chunk) <= maxPooledChunk {
		chunks.Put(&chunk)
	}
}
