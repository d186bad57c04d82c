package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

const (
	// scrubPiece is how much of the tree is read with one snapshot, and with flushes
	// kept waiting, in bytes; of the log it is read at once.
	scrubPiece = 1 << 20
	// scrubSettles is how long after the start the first scrub begins at least, so
	// that a node that is started again and again does other things, too.
	scrubSettles = 10 * time.Minute
)

// Scrub reads the whole B+tree and the log from the files once, at most this many
// bytes a second (0 or less: as fast as it goes), and notes what is damaged; see
// Integrity. Housekeeping does the same in the background; where a scrub of this
// namespace is under way, this one waits for its end and then runs. It doesn't
// count as a use of the namespace. A finding is no error.
func (n *Namespace) Scrub(ctx context.Context, bytesPerSecond int64) error {
	select {
	case n.scrubSlot <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-n.scrubSlot }()
	s := &scrub{n: n, pace: pacer{rate: bytesPerSecond}}
	return s.run(ctx)
}

// scrub is one pass over a namespace's files.
//
// Flushes go on meanwhile. Each piece of the tree is read with a short snapshot
// while nobody may write to the tree, and what is written between two pieces tells
// the pass by how much it changes what was read already. So at the end the sums
// are those of the tree as it is then, and every range can be compared with its
// digest, however busy the namespace is.
type scrub struct {
	n    *Namespace
	pace pacer
	pass *pass

	lsn     uint64 // the checkpoint at the end
	damaged uint64 // cells
	broken  bool   // the tree can't be walked to its end
	// misplaced says that searches miss keys; again, that the pass before said so
	// and all that it found was repaired.
	misplaced, again bool

	logDamage logDamage // what it has found in the log
	knownBad  logDamage // what was known of that at the beginning
}

func (s *scrub) run(ctx context.Context) error {
	s.n.integrity.begin(s)
	err := s.scrubTree(ctx)
	if s.broken = errors.Is(err, btree.ErrDamaged); s.broken {
		err = nil // that is a finding, and it is noted
	}
	if err == nil {
		err = s.scrubLog(ctx)
	}
	s.n.integrity.end(s, err, s.n.db.opts.Clock())
	if err == nil && s.misplaced && s.again {
		// Keys that were put where a search looks for them lie out of order there: it
		// is the pages above them that lead astray.
		s.n.noteTreeDamage(fmt.Errorf("%w: searches miss keys again that were put right", btree.ErrDamaged))
	}
	return err
}

// begin notes that a pass begins: what is found from here on stays known at its end.
func (s *integrity) begin(p *scrub) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scrubbing = true
	s.found.clear()
	p.again = s.misplaced && s.bad.empty()
	p.knownBad = s.logDamage
}

// end takes over what a pass has found. One that has read everything clears what
// was known before and wasn't found again.
func (s *integrity) end(p *scrub, err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scrubbing = false
	if err != nil {
		return
	}
	s.scrubs++
	s.misplaced = p.misplaced
	s.scrubbedAt, s.scrubbedLSN = now, p.lsn
	if known := p.knownBad.first; known != 0 && known != p.logDamage.first && known == s.logDamage.first {
		s.logDamage = p.logDamage
	}
	if p.broken {
		return
	}
	s.treeDamage.Store(nil)
	left := uint64(0)
	for r := range DigestRanges {
		if !s.found.has(r) {
			s.bad.remove(r)
		} else if s.bad.has(r) {
			left = p.damaged
		}
	}
	s.damagedCells.Store(left)
}

// scrubTree reads the tree and compares.
func (s *scrub) scrubTree(ctx context.Context) error {
	s.pass = &pass{only: -1}
	if err := s.join(); err != nil {
		return err
	}
	defer s.leave()
	for from := []byte(nil); ; {
		next, read, err := s.piece(from)
		if err != nil {
			return err
		}
		if next == nil {
			return nil
		}
		from = next
		if err := s.pace.wait(ctx, read); err != nil {
			return err
		}
	}
}

// join has transactions tell the pass what they change.
func (s *scrub) join() error {
	if err := s.n.acquireUnused(); err != nil {
		return err
	}
	defer s.n.release()
	s.n.treeWriter.Lock()
	defer s.n.treeWriter.Unlock()
	s.n.passes = append(s.n.passes, s.pass)
	return nil
}

func (s *scrub) leave() {
	s.n.treeWriter.Lock()
	defer s.n.treeWriter.Unlock()
	s.n.dropPass(s.pass)
}

// piece reads the cells from a key on and answers where to go on, nil at the end.
// Between two pieces the namespace may be released.
func (s *scrub) piece(from []byte) (next []byte, read int, err error) {
	n := s.n
	if err := n.acquireUnused(); err != nil {
		return nil, 0, err
	}
	defer n.release()
	n.treeWriter.Lock()
	defer n.treeWriter.Unlock()
	snap, err := n.tree.Snapshot()
	if err != nil {
		return nil, 0, n.treeError(err)
	}
	defer snap.Release()
	next, read, err = s.read(snap, from)
	n.integrity.scrubbedBytes.Add(uint64(read))
	if err != nil {
		return nil, 0, n.treeError(err)
	}
	s.pass.upTo = next
	if next == nil {
		s.pass.done = true
		err = s.compare(snap)
	}
	return next, read, err
}

func (s *scrub) read(snap btree.Snapshot, from []byte) (next []byte, read int, err error) {
	notes, err := readNotes(snap)
	if err != nil {
		return nil, 0, err
	}
	w, err := walkTree(snap, keyRange{from, []byte{codec.TypeSystem}})
	if err != nil {
		return nil, 0, err
	}
	defer w.close()
	var h cellHasher
	for w.next() {
		if read >= scrubPiece && w.mayBreak() {
			return slices.Clone(w.key), read, nil
		}
		read += len(w.key) + len(w.cell)
		if err := s.look(snap, w); err != nil {
			return nil, read, err
		}
		s.pass.live += liveLen(w.key, len(w.cell))
		if !notes.hide(w.key) {
			r, sum := h.hash(w.key, w.cell)
			s.pass.sums[r] += sum
		}
	}
	return nil, read, w.err()
}

// look checks one cell: its checksum, its place among the others, and that a
// search finds it there.
func (s *scrub) look(snap btree.Snapshot, w *treeWalk) error {
	if _, err := codec.DecodeCell(w.key, w.cell); err != nil {
		s.damaged++
		s.found(digestRange(w.key), err.Error())
	}
	if w.stray {
		s.misplaced = true
		s.found(digestRange(w.key), "a key lies where it doesn't belong")
		if w.key[0] >= codec.TypeSystem {
			return fmt.Errorf("%w: the key %x lies among cells", btree.ErrDamaged, w.key)
		}
	}
	head, length, found, err := snap.Head(w.key)
	if err != nil {
		return err
	}
	if !found || length != len(w.cell) || !bytes.HasPrefix(w.cell, head) {
		s.misplaced = true
		s.found(digestRange(w.key), "a search doesn't find a key")
	}
	return nil
}

// found notes a bad range.
func (s *scrub) found(r int, cause string) {
	s.n.noteBad(r, cause)
}

// compare holds the sums against the digests that flushes have kept. Both are of
// the same state: the caller keeps it from changing.
func (s *scrub) compare(snap btree.Snapshot) error {
	point := s.n.point.Load()
	s.lsn = point.LSN
	// Damage may have removed cells, or changed their length. From the next
	// transaction on the checkpoint says what is there.
	s.n.liveDrift = s.pass.live - point.Live
	kept, err := readDigests(snap, s.lsn)
	if err != nil {
		return err
	}
	if kept == nil {
		return nil // the next flush makes them
	}
	for r, sum := range s.pass.sums {
		if sum != kept[r] {
			s.found(r, "the cells don't have the digest of what was written")
		}
	}
	return nil
}

// scrubLog checks the records of the log, each by its own checksum.
func (s *scrub) scrubLog(ctx context.Context) error {
	n := s.n
	if err := n.acquireLog(); err != nil {
		return err
	}
	from, last := n.log.FirstLSN(), n.durable.Load()
	n.releaseLog()
	for from != 0 && from <= last {
		at, err := s.scrubRecords(ctx, from, last)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errTrimmed):
			from = max(at+1, n.log.FirstLSN())
		case errors.Is(err, codec.ErrCorrupt):
			n.noteLogDamage(at, err)
			s.logDamage.last = at
			if s.logDamage.first == 0 {
				s.logDamage.first = at
			}
			from = n.nextSegment(at) // behind a damaged place the next sure ground
		default:
			return err
		}
	}
	return nil
}

// scrubRecords reads records until one can't be read, and answers which.
func (s *scrub) scrubRecords(ctx context.Context, from, last uint64) (at uint64, err error) {
	r, err := s.n.log.NewReader(from)
	if err != nil {
		return from, err
	}
	defer func() { _ = r.Close() }() // it was only read
	for from <= last {
		read, to, err := s.logPiece(r, last)
		if err != nil || read == 0 {
			return from, err
		}
		from = to + 1
		if err := s.pace.wait(ctx, read); err != nil {
			return from, err
		}
	}
	return from, nil
}

// logPiece reads some records. Between two pieces the namespace may be closed.
func (s *scrub) logPiece(r *wal.Reader, last uint64) (read int, to uint64, err error) {
	if err := s.n.acquireLog(); err != nil {
		return 0, 0, err
	}
	defer s.n.releaseLog()
	chunk, _, to, err := r.Next(last, scrubPiece)
	s.n.integrity.scrubbedBytes.Add(uint64(len(chunk)))
	return len(chunk), to, err
}

// nextSegment is the first LSN of the segment behind the one that holds a record, 0
// if there is none.
func (n *Namespace) nextSegment(lsn uint64) uint64 {
	for _, segment := range n.log.Segments() {
		if segment.FirstLSN > lsn {
			return segment.FirstLSN
		}
	}
	return 0
}

// pacer spreads work over time.
type pacer struct {
	rate int64 // bytes a second; 0 or less: no limit
}

// wait waits for as long as this many bytes take.
func (p *pacer) wait(ctx context.Context, bytes int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(float64(bytes) / float64(p.rate) * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// scrubDue starts the scrubs that are due, one after another in one goroutine, so
// that the rate is the whole node's.
func (db *DB) scrubDue(ctx context.Context, now time.Time) {
	if db.opts.ScrubEvery < 0 || db.nextScrub(now) == nil || db.scrubbing.Swap(true) {
		return
	}
	db.wg.Go(func() {
		defer db.scrubbing.Store(false)
		for n := db.nextScrub(db.opts.Clock()); n != nil && ctx.Err() == nil; n = db.nextScrub(db.opts.Clock()) {
			n.scrubTried.Store(db.opts.Clock().UnixNano())
			if err := n.Scrub(ctx, db.opts.ScrubBytesPerSecond); err != nil && ctx.Err() == nil && !n.closing() {
				n.logger.Warn("a scrub ended early; it is tried again", "error", err)
			}
		}
	})
}

// nextScrub is a namespace whose last scrub is long enough ago, nil if there is none.
func (db *DB) nextScrub(now time.Time) *Namespace {
	every := int64(db.opts.ScrubEvery)
	for _, n := range db.loaded() {
		since := n.scrubTried.Load()
		if since == 0 {
			since = db.started.UnixNano() + min(int64(scrubSettles), every) - every
		}
		if !n.staged && now.UnixNano()-since >= every {
			return n
		}
	}
	return nil
}
