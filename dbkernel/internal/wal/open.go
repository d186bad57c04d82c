package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// Open opens a log and recovers it. Segments that hold nothing above the
// checkpoint are not scanned, only their headers are read, so that opening a
// long log is quick.
//
// Damage, which is anything but a torn end, is an error that wraps
// codec.ErrCorrupt; a segment of a newer format one that wraps ErrNewerFormat.
// Either leaves the files as they are. fs.ErrNotExist means that there is no
// log in the directory.
func Open(o Options, checkpoint uint64) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	files, err := listFiles(o)
	if err != nil {
		return nil, err
	}
	rec := &recovery{o: o, checkpoint: checkpoint, files: files}
	defer rec.close()
	if err := rec.read(); err != nil {
		return nil, err
	}
	return rec.finish()
}

// fileList is what lies in a log's directory.
type fileList struct {
	segments []uint64 // ascending
	spares   []string // paths of trimmed files that were kept
	rest     []string // paths of segments that were never finished
	highest  uint64   // of all numbers in names
}

func listFiles(o Options) (fileList, error) {
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return fileList{}, fmt.Errorf("list the log's directory: %w", err)
	}
	var l fileList
	for _, name := range names {
		path := filepath.Join(o.Dir, name)
		if n, ok := parseName(name, segmentPrefix); ok {
			l.segments, l.highest = append(l.segments, n), max(l.highest, n)
		} else if n, ok := parseName(name, sparePrefix); ok {
			l.spares, l.highest = append(l.spares, path), max(l.highest, n)
		} else if n, ok := parseName(name, preparePrefix); ok {
			l.rest, l.highest = append(l.rest, path), max(l.highest, n)
		} else {
			o.Logger.Warn("unknown file in the log's directory", "path", path)
		}
	}
	slices.Sort(l.segments)
	return l, nil
}

// candidate is a segment that may be part of the log.
type candidate struct {
	segHeader
	fs      vfs.FS
	path    string
	file    vfs.File // nil while it isn't read
	starts  uint64   // LSN of its first record; 0: it holds no frame and its header names none
	framed  bool     // it begins with a frame
	time    int64    // of its first record, if it is framed
	scanned *scan    // nil if it didn't have to be
}

func (c *candidate) open() (err error) {
	if c.file != nil {
		return nil
	}
	c.file, err = c.fs.OpenRead(c.path)
	return err
}

func (c *candidate) window(buf []byte) (*window, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	return newWindow(c.path, c.file, c.length, buf), nil
}

// close lets go of the file: a log may have more segments than a process may
// have open files.
func (c *candidate) close() error {
	if c.file == nil {
		return nil
	}
	f := c.file
	c.file = nil
	return f.Close()
}

// recovery is one Open. read finds out what the log is and changes nothing;
// finish then makes it so.
type recovery struct {
	o          Options
	checkpoint uint64
	files      fileList

	chain []*candidate // the segments that follow one another, oldest first
	tail  int          // index in chain of the last one that is known to begin somewhere
	found evidence     // what lies behind the end of the log
	buf   []byte       // memory of a window that isn't used
}

func (r *recovery) close() {
	for _, c := range r.chain {
		if err := c.close(); err != nil {
			r.o.Logger.Warn("cannot close a segment", "path", c.path, "error", err)
		}
	}
}

func (r *recovery) read() error {
	if err := r.readChain(); err != nil {
		return err
	}
	if err := r.checkStarts(); err != nil {
		return err
	}
	for i := range r.chain[:r.tail+1] {
		if err := r.scan(i); err != nil {
			return err
		}
	}
	return r.judgeEnd()
}

// readChain follows the headers from the newest segment to the oldest. Files
// that are not on that way were replaced or never used.
func (r *recovery) readChain() error {
	have := r.files.segments
	if len(have) == 0 {
		return fmt.Errorf("%s holds no log: %w", r.o.Dir, fs.ErrNotExist)
	}
	for n := have[len(have)-1]; n != 0; {
		c, err := r.readCandidate(n)
		if err != nil {
			return err
		}
		r.chain = slices.Insert(r.chain, 0, c)
		if c.prev >= n {
			return damaged(c.path, 0, "segment %d claims to continue segment %d", n, c.prev)
		}
		if _, ok := slices.BinarySearch(have, c.prev); !ok {
			if c.prev != 0 && have[0] < c.prev {
				return damaged(fileName(r.o.Dir, segmentPrefix, c.prev), 0, "the segment is missing")
			}
			break
		}
		n = c.prev
	}
	return nil
}

func (r *recovery) readCandidate(n uint64) (*candidate, error) {
	c := &candidate{fs: r.o.FS, path: fileName(r.o.Dir, segmentPrefix, n)}
	err := c.open()
	if err == nil {
		err = c.readHeader(n, r.o.Lineage)
	}
	if err == nil {
		err = c.readStart()
	}
	return c, errors.Join(err, c.close())
}

func (c *candidate) readHeader(number uint64, lineage [16]byte) error {
	size, err := c.file.Size()
	if err != nil {
		return err
	}
	b := make([]byte, min(size, segHeaderLen))
	if err := readFull(c.path, c.file, b, 0); err != nil {
		return err
	}
	if c.segHeader, err = parseSegHeader(c.path, b); err != nil {
		return err
	}
	switch {
	case c.number != number:
		return damaged(c.path, 0, "the header is that of segment %d", c.number)
	case c.lineage != lineage:
		return damaged(c.path, 0, "the segment belongs to lineage %x, expected %x", c.lineage, lineage)
	case c.length != size:
		return damaged(c.path, 0, "the file has %d bytes, its header says %d", size, c.length)
	}
	return nil
}

// checkStarts finds the last segment that begins somewhere. All before it must.
func (r *recovery) checkStarts() error {
	r.tail = -1
	for i, c := range r.chain {
		if c.starts != 0 {
			r.tail = i
		}
	}
	if r.tail < 0 {
		return damaged(r.chain[0].path, framesStart, "no segment has a first frame")
	}
	for i, c := range r.chain[:r.tail] {
		if c.starts == 0 {
			return damaged(c.path, framesStart, "the first frame is bad, and the segment is not the last")
		}
		if next := r.chain[i+1].starts; next != 0 && next <= c.starts {
			return damaged(r.chain[i+1].path, framesStart, "the segment begins with LSN %d, the one before it with %d", next, c.starts)
		}
	}
	return nil
}

// readStart finds out with which LSN the segment begins.
func (c *candidate) readStart() error {
	c.starts = c.first
	var b [frameHeaderLen + codec.RecordHeaderLen]byte
	if c.length < framesStart+int64(len(b)) {
		return nil
	}
	if err := readFull(c.path, c.file, b[:], framesStart); err != nil {
		return err
	}
	f, ok := parseFrameHeader(b[:], c.seed)
	if !ok || f.isMark() {
		return nil
	}
	if c.starts == 0 {
		c.starts = f.first
	}
	c.framed, c.time = true, codec.Record(b[frameHeaderLen:]).Time()
	return nil
}

// scan checks the frames of a segment. In one that others follow, every record
// up to the first of the next must be there.
func (r *recovery) scan(i int) error {
	c := r.chain[i]
	limit := uint64(noLimit)
	if i < r.tail {
		next := r.chain[i+1]
		if limit = next.starts - 1; limit <= r.checkpoint && next.framed {
			return nil
		}
	}
	w, err := c.window(r.buf)
	if err != nil {
		return err
	}
	r.buf = nil // the last segment's is used until the end
	c.scanned = newScan(w, c.seed, c.starts)
	if err := c.scanned.run(limit); err != nil || i == r.tail {
		return err
	}
	if c.scanned.next <= limit {
		return damaged(c.path, c.scanned.end, "the frame with LSN %d is bad or missing, and the segment is not the last", c.scanned.next)
	}
	r.buf = w.buf
	return c.close()
}

// judgeEnd looks behind the last good frame. If a frame there knows of a sync
// that what is missing had been through, this is damage and no torn end.
func (r *recovery) judgeEnd() error {
	c := r.chain[r.tail]
	s := c.scanned
	from := s.end
	if s.clean {
		from += frameHeaderLen
	}
	if err := r.found.search(s.w, c.seed, from); err != nil {
		return err
	}
	for _, later := range r.chain[r.tail+1:] {
		w, err := later.window(r.buf)
		if err != nil {
			return err
		}
		if err := r.found.search(w, later.seed, framesStart); err != nil {
			return err
		}
		r.buf = w.buf
	}
	if r.found.found && r.found.synced >= s.next {
		return damaged(c.path, s.end, "the frame with LSN %d is bad or missing, and a later one (%s, offset %d) says that %d was synced",
			s.next, r.found.path, r.found.off, r.found.synced)
	}
	return nil
}
