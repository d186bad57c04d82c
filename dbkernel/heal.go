package dbkernel

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

// segmentEnd ends the name of a segment of the log that was set aside as it is.
const segmentEnd = ".segment"

// HealLog has the log of a replica begin behind the damaged records that are known
// (see Integrity): the B+tree, brought up to them first, holds what they say. The
// segments with the first and the last of them are moved to aside/, what lies before
// and between is removed. Tails that still need that get ErrTrimmed, and followers a
// snapshot. Nothing is done where no damage is known.
//
// ErrNotCaughtUp where what must be flushed for that isn't committed yet: try again
// when it is. After any error the records are still there, and damaged. A crash leaves
// the damaged log or the healed one.
func (n *Namespace) HealLog(ctx context.Context) error {
	if !n.opts.Load().Replica {
		return fmt.Errorf("%w: namespace %q is owned by this node, whose log is the only one: restore it from a backup", ErrInvalid, n.name)
	}
	if n.staged {
		return n.notReady()
	}
	if err := n.acquire(); err != nil {
		return err
	}
	defer n.release()
	n.forgetLogDamage()
	damage := n.integrity.knownLogDamage()
	if damage.first == 0 {
		return nil
	}
	if err := n.healLog(ctx, damage); err != nil {
		return diskFull(asDamage(fmt.Errorf("healing the log of namespace %q, damaged at LSN %d: %w", n.name, damage.first, err)))
	}
	n.logger.Warn("the log was damaged and begins behind that", "damaged_lsn", damage.first, "last_damaged_lsn", damage.last, "first_lsn", n.log.FirstLSN())
	n.db.event(n, EventRepaired, nil)
	return nil
}

func (n *Namespace) healLog(ctx context.Context, damage logDamage) error {
	end, err := n.closeSegment(damage.last)
	if err != nil {
		return err
	}
	if err := n.flushThrough(ctx, end); err != nil {
		return err
	}
	aside, reasons, err := n.damagedAside(damage)
	if err == nil {
		err = n.log.DropThrough(damage.last, aside)
	}
	n.forgetLogDamage()
	if err != nil {
		for _, path := range reasons {
			n.removeUnused(path)
		}
	}
	return err
}

// closeSegment answers the last LSN of the segment that holds a record. If that is
// the active one, another is begun.
func (n *Namespace) closeSegment(lsn uint64) (last uint64, err error) {
	if s := n.segmentOf(lsn); s.Closed {
		return s.LastLSN, nil
	}
	if err := n.log.BeginSegment(); err != nil {
		return 0, err
	}
	return n.segmentOf(lsn).LastLSN, nil
}

// segmentOf describes the segment that holds a record of the log.
func (n *Namespace) segmentOf(lsn uint64) (s wal.SegmentInfo) {
	for _, s = range n.log.Segments() {
		if lsn <= s.LastLSN {
			break
		}
	}
	return s
}

// flushThrough brings the tree up to a record at least.
func (n *Namespace) flushThrough(ctx context.Context, lsn uint64) error {
	if n.point.Load().LSN >= lsn {
		return nil
	}
	if commit := n.commit.Load(); commit < lsn {
		return fmt.Errorf("%w: LSN %d must be committed, %d is", ErrNotCaughtUp, lsn, commit)
	}
	if err := n.flushAll(ctx); err != nil {
		return err
	}
	if at := n.point.Load().LSN; at < lsn {
		return fmt.Errorf("%w: LSN %d must be in the B+tree, %d is: it waits for what was written after", ErrNotCaughtUp, lsn, at)
	}
	return nil
}

// damagedAside names places in aside/ for the segments with the first and the last
// damaged record, by number, and writes beside them why they are there.
func (n *Namespace) damagedAside(damage logDamage) (paths map[uint64]string, reasons []string, err error) {
	paths = map[uint64]string{}
	for _, s := range n.log.Segments() {
		if !s.Closed || !damage.isIn(s.FirstLSN, s.LastLSN) {
			continue
		}
		path, err := n.db.asidePath(n.name, fmt.Sprintf("-%d-%d%s", s.FirstLSN, s.LastLSN, segmentEnd))
		if err != nil {
			return nil, reasons, err
		}
		reason := strings.TrimSuffix(path, segmentEnd) + reasonEnding
		reasons = append(reasons, reason)
		if err := n.db.writeReason(reason, fmt.Sprintf("segment of the log (%s) with a damaged record", filepath.Base(s.Path))); err != nil {
			return nil, reasons, err
		}
		paths[s.Number] = path
	}
	return paths, reasons, nil
}

// removeUnused removes the reason of a segment that hasn't moved.
func (n *Namespace) removeUnused(reason string) {
	if !n.db.absent(strings.TrimSuffix(reason, reasonEnding) + segmentEnd) {
		return
	}
	if err := n.db.opts.FS.Remove(reason); err != nil {
		n.logger.Warn("removing a file in aside/ failed", "path", reason, "error", err)
	}
}

// logDamage is what is known of records that can't be read.
type logDamage struct{ first, last uint64 } // 0: none

func (d logDamage) isIn(first, last uint64) bool {
	return first <= d.first && d.first <= last || first <= d.last && d.last <= last
}

// knownLogDamage says which records are damaged, as far as is known.
func (s *integrity) knownLogDamage() logDamage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logDamage
}

// forgetLogDamage forgets the damaged records that have left the log.
func (n *Namespace) forgetLogDamage() {
	s, begins := &n.integrity, n.log.FirstLSN()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch d := &s.logDamage; {
	case d.last < begins:
		*d = logDamage{}
	case d.first < begins:
		d.first = d.last
	}
}
