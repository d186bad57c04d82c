package dbkernel

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
)

// DigestRanges is how many parts a hash of their keys divides the cells into.
// Each part has a digest; parts, not the whole, are compared and repaired.
const DigestRanges = 1024

// Mark is a mark record that the B+tree has been at: all nodes whose history
// contains it have the same digest there, or one of them is wrong.
type Mark struct {
	Epoch, LSN uint64
	Digest     uint64 // over the digests of all ranges
}

// Integrity is what this node knows of its own damage. It is of this process:
// after a restart the next scrub finds again what is still there.
type Integrity struct {
	// ScrubbedAt is when the last whole scrub ended, zero if there was none;
	// ScrubbedLSN is the checkpoint that it compared the B+tree at.
	ScrubbedAt  time.Time
	ScrubbedLSN uint64
	Scrubs      uint64 // whole scrubs
	Scrubbing   bool   // one is under way
	// ScrubbedBytes counts what scrubs have read of B+tree and log, in bytes.
	ScrubbedBytes uint64

	// BadRanges are the digest ranges, ascending, that a scrub or a read found
	// damaged, or that differ from the source's, and that were not repaired since.
	BadRanges []int
	// DamagedCells is how many stored values are known to be damaged.
	DamagedCells uint64
	// RepairedCells counts the cells that repairs have changed.
	RepairedCells uint64
	// TreeDamage says what is wrong with the structure of the B+tree, where
	// repairing ranges can't help; empty: nothing is known to be.
	TreeDamage string

	// LogDamaged says that the log holds a record that can't be read, the first of
	// them being LogDamagedLSN.
	LogDamaged    bool
	LogDamagedLSN uint64

	// Diverged is the last difference that was found by comparing with the
	// source's digests, and is not repaired yet; nil: there is none.
	Diverged *Divergence
}

// Damaged reports whether anything is known to be wrong.
func (i Integrity) Damaged() bool {
	return len(i.BadRanges) > 0 || i.DamagedCells > 0 || i.LogDamaged || i.TreeDamage != "" || i.Diverged != nil
}

// Divergence is a difference between two nodes at the same mark.
type Divergence struct {
	Mark   uint64 // LSN
	Ranges []int  // those that differ, ascending; none: they aren't known
	At     time.Time
}

// integrity is where readers, flushes and scrubs put what they find. Readers take
// no lock.
type integrity struct {
	bad     rangeSet // damaged, as far as is known
	found   rangeSet // of these, what was found since the scrub under way began
	differs rangeSet // from the source's

	damagedCells  atomic.Uint64
	repairedCells atomic.Uint64
	scrubbedBytes atomic.Uint64
	treeDamage    atomic.Pointer[string] // what is wrong with the tree's structure

	mu          sync.Mutex
	scrubbing   bool
	scrubbedAt  time.Time
	scrubbedLSN uint64
	scrubs      uint64
	logDamage   logDamage
	divergence  *Divergence
	misplaced   bool // the last scrub found keys that searches miss
}

// rangeSet is a set of digest ranges. It is for many goroutines at once.
type rangeSet [DigestRanges / 64]atomic.Uint64

// add reports whether r wasn't in the set.
func (s *rangeSet) add(r int) bool {
	bit := uint64(1) << (r % 64)
	return s[r/64].Or(bit)&bit == 0
}

func (s *rangeSet) remove(r int) { s[r/64].And(^(uint64(1) << (r % 64))) }

func (s *rangeSet) has(r int) bool { return s[r/64].Load()&(1<<(r%64)) != 0 }

func (s *rangeSet) empty() bool {
	for i := range s {
		if s[i].Load() != 0 {
			return false
		}
	}
	return true
}

func (s *rangeSet) clear() {
	for i := range s {
		s[i].Store(0)
	}
}

// Integrity says what is known of the namespace's damage, from memory.
func (n *Namespace) Integrity() Integrity {
	s := &n.integrity
	i := Integrity{
		DamagedCells:  s.damagedCells.Load(),
		RepairedCells: s.repairedCells.Load(),
		ScrubbedBytes: s.scrubbedBytes.Load(),
	}
	if damage := s.treeDamage.Load(); damage != nil {
		i.TreeDamage = *damage
	}
	for r := range DigestRanges {
		if s.bad.has(r) || s.differs.has(r) {
			i.BadRanges = append(i.BadRanges, r)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Scrubbing, i.ScrubbedAt, i.ScrubbedLSN, i.Scrubs = s.scrubbing, s.scrubbedAt, s.scrubbedLSN, s.scrubs
	i.LogDamaged, i.LogDamagedLSN = s.logDamage.first != 0, s.logDamage.first
	if d := s.divergence; d != nil {
		i.Diverged = &Divergence{Mark: d.Mark, Ranges: slices.Clone(d.Ranges), At: d.At}
	}
	return i
}

// NoteDifference notes that at a mark the digests of these ranges are not the
// source's; without ranges, that the digest over all of them isn't. They are bad
// until they are repaired.
func (n *Namespace) NoteDifference(mark uint64, ranges []int) {
	s := &n.integrity
	d := &Divergence{Mark: mark, At: n.db.opts.Clock()}
	for _, r := range ranges {
		if r >= 0 && r < DigestRanges {
			s.differs.add(r)
			d.Ranges = append(d.Ranges, r)
		}
	}
	slices.Sort(d.Ranges)
	s.mu.Lock()
	s.divergence = d
	s.mu.Unlock()
	n.logger.Error("this node's cells differ from the source's", "mark", mark, "ranges", len(d.Ranges))
	n.db.event(n, EventDiverged, fmt.Errorf("at the mark with LSN %d cells differ from the source's, in %d known ranges of %d", mark, len(d.Ranges), DigestRanges))
}

// noteBad notes that a range has a damaged cell, or lacks one. Whoever finds it
// first reports it.
func (n *Namespace) noteBad(r int, cause string) {
	s := &n.integrity
	s.found.add(r)
	if !s.bad.add(r) {
		return
	}
	n.logger.Error("stored cells are damaged", "range", r, "cause", cause)
	n.db.event(n, EventDamaged, fmt.Errorf("%w: cells of digest range %d: %s", ErrDamaged, r, cause))
}

// noteRepaired notes that a range is what the source has.
func (n *Namespace) noteRepaired(r int, cells int) {
	s := &n.integrity
	bad := s.bad.has(r) || s.differs.has(r)
	s.bad.remove(r)
	s.found.remove(r)
	s.differs.remove(r)
	if s.bad.empty() {
		s.damagedCells.Store(0) // each lies in a bad range, as far as is known
	}
	s.mu.Lock()
	if d := s.divergence; d != nil && !slices.ContainsFunc(d.Ranges, s.differs.has) {
		s.divergence = nil
	}
	if s.misplaced && s.bad.empty() {
		n.scrubTried.Store(1) // long ago: whether that has helped shows soon
	}
	s.mu.Unlock()
	if bad || cells > 0 {
		n.logger.Info("a range of cells was repaired", "range", r, "cells", cells)
		n.db.event(n, EventRepaired, nil)
	}
}

// lessDamaged takes cells off those that are known to be damaged.
func (s *integrity) lessDamaged(cells uint64) {
	for {
		old := s.damagedCells.Load()
		if s.damagedCells.CompareAndSwap(old, old-min(old, cells)) {
			return
		}
	}
}

// damagedCell reports a cell that isn't what was written. Only the reader of that
// cell fails; the namespace goes on.
func (n *Namespace) damagedCell(key []byte, err error) error {
	if r := digestRange(key); !n.integrity.bad.has(r) {
		n.integrity.damagedCells.Add(1)
		n.noteBad(r, err.Error())
	}
	return fmt.Errorf("%w: %w: restore the namespace from a backup or a replica", ErrDamaged, err)
}

// noteLogDamage notes that a record in the log can't be read. It is no news where one
// before it is known, or where it has left the log meanwhile.
func (n *Namespace) noteLogDamage(lsn uint64, err error) {
	if !n.addLogDamage(lsn) {
		return
	}
	n.logger.Error("a record in the log is damaged", "lsn", lsn, "error", err)
	n.db.event(n, EventDamaged, fmt.Errorf("%w: the log, LSN %d: %w", ErrDamaged, lsn, err))
}

// addLogDamage reports whether the record is the first that is known to be damaged.
func (n *Namespace) addLogDamage(lsn uint64) (first bool) {
	s := &n.integrity
	s.mu.Lock()
	defer s.mu.Unlock()
	if lsn < n.log.FirstLSN() {
		return false
	}
	d := &s.logDamage
	d.last = max(d.last, lsn)
	if first = d.first == 0 || lsn < d.first; first {
		d.first = lsn
	}
	return first
}

// treeError gives an error of the B+tree the kernel's names. One that speaks of
// damage inside its structure is noted: repairing cells doesn't help there.
func (n *Namespace) treeError(err error) error {
	if errors.Is(err, btree.ErrDamaged) {
		n.noteTreeDamage(err)
	}
	return asDamage(err)
}

// noteTreeDamage notes that the tree's structure is damaged. A replica stops there:
// it is quarantined, also after a restart, and made anew from its source. An owner
// goes on reading what can be read, since nobody else has better. A namespace that
// is frozen is left alone: after an I/O error LMDB calls everything damaged.
func (n *Namespace) noteTreeDamage(err error) {
	text := err.Error()
	if n.frozen.Load() != nil || !n.integrity.treeDamage.CompareAndSwap(nil, &text) {
		return
	}
	n.logger.Error("the B+tree's structure is damaged", "error", err)
	n.db.event(n, EventDamaged, fmt.Errorf("%w: the B+tree: %w", ErrDamaged, err))
	if n.opts.Load().Replica {
		_ = n.freeze(fmt.Errorf("%w: the B+tree's structure: %w", ErrDamaged, err)) // Status says it
		if !n.staged {
			n.quarantine(err)
		}
	}
}

// acquireUnused is acquire for what the node does by itself: it doesn't count as a
// use that keeps the namespace's memory.
func (n *Namespace) acquireUnused() error {
	l := &n.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := n.openLocked(); err != nil {
		return err
	}
	l.users++
	return nil
}
