package dbkernel

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

const (
	// keptMarks is how many marks the tree keeps the digests of.
	keptMarks = 8
	// markAfter is how long a write waits at most for a mark behind it.
	markAfter = 10 * time.Minute
)

// markNow ends an owner's log with a mark, unless it ends with one, and answers the
// mark's LSN. Every node's flush of what is in front of it then ends at this record,
// where they can be compared. It begins this process's epoch only if begin is set:
// a node that was started from an old copy of its data must not fork from those
// who are ahead of it before somebody writes. Without begin and an epoch the answer
// is 0. Only the committer calls it, settled.
func (n *Namespace) markNow(begin bool) (lsn uint64, err error) {
	if n.opts.Load().Replica {
		return 0, n.readOnly()
	}
	if err := n.writable(); err != nil {
		return 0, err
	}
	if n.lastMark == n.applied.Load() && n.lastMark > 0 {
		return n.lastMark, nil
	}
	if !n.began && !begin {
		n.unmarked.Store(0) // asked again after the next write
		return 0, nil
	}
	p := &pending{head: n.head, marks: true}
	p.time = max(p.time, n.db.opts.Clock().UnixNano())
	if !n.began {
		if err := n.beginEpoch(p); err != nil {
			return 0, err
		}
	}
	n.mark.Store(markWritten)
	p.add(codec.NewMarkRecord(p.next, p.epoch, p.time))
	if err := n.write(p); err != nil {
		n.notWritten(p)
		return 0, err
	}
	return p.next - 1, n.applyNow(p)
}

// rotateAtMark rotates, on an owner behind a mark where one can be written. Only
// the committer may call it.
func (n *Namespace) rotateAtMark() {
	list := n.mems.Load()
	if list == nil || list.active().last == n.activeFrom {
		return // idle, or nothing in it
	}
	if !n.opts.Load().Replica && !n.closing() {
		if _, err := n.markNow(false); err != nil {
			n.logger.Debug("a memtable is flushed without a mark", "error", err)
		}
	}
	n.rotate()
}

// markByTime has a mark written behind writes that have waited long enough for one.
func (n *Namespace) markByTime(ctx context.Context, now time.Time) {
	at := n.unmarked.Load()
	if at == 0 || now.UnixNano()-at < int64(markAfter) || n.opts.Load().Replica || n.frozen.Load() != nil {
		return
	}
	var failure error
	if err := n.inCommitter(ctx, func() { _, failure = n.markNow(false) }); err != nil {
		return // the database is closing
	}
	if failure != nil {
		n.logger.Warn("a mark couldn't be written; it is tried again", "error", failure)
	}
}

// Marks lists the marks that the B+tree has digests of, newest first, at most 8.
// It reads memory only and works while the namespace is idle.
func (n *Namespace) Marks() []Mark {
	if marks := n.marks.Load(); marks != nil {
		return slices.Clone(*marks)
	}
	return nil
}

// loadMarks reads the marks that the tree has. One that is damaged is passed over:
// it can't be compared.
func (n *Namespace) loadMarks(r btree.Reader) error {
	c, err := r.Cursor()
	if err != nil {
		return err
	}
	defer c.Close()
	prefix := codec.MarkPrefix()
	in := keyRange{prefix, codec.PrefixEnd(prefix)}
	marks := []Mark{}
	for ok := c.Seek(prefix); ok && in.holds(c.Key()); ok = c.Next() {
		d, at, err := decodeDigests(c.Key(), c.Value())
		if err != nil {
			n.logger.Warn("the digests of a mark are damaged", "error", err)
			continue
		}
		marks = append(marks, Mark{Epoch: at.Epoch, LSN: at.LSN, Digest: d.total()})
	}
	slices.Reverse(marks)
	n.marks.Store(&marks)
	return c.Err()
}

// Digests answers the digests of all ranges at a mark. ErrNotFound where the
// B+tree doesn't have them: not yet, or no longer.
func (n *Namespace) Digests(mark uint64) (d [DigestRanges]uint64, err error) {
	if n.staged {
		return d, n.notReady()
	}
	if err := n.acquireUnused(); err != nil {
		return d, err
	}
	defer n.release()
	snap, err := n.tree.Snapshot()
	if err != nil {
		return d, asDamage(err)
	}
	defer snap.Release()
	key := codec.MarkKey(mark)
	b, found, err := snap.Get(key)
	if err != nil {
		return d, n.treeError(err)
	}
	if !found {
		return d, fmt.Errorf("%w: the B+tree has no digests of a mark at LSN %d: ask for one of Marks", ErrNotFound, mark)
	}
	read, _, err := decodeDigests(key, b)
	if err != nil {
		return d, asDamage(err)
	}
	return *read, nil
}

// WriteMark ends the owner's log with a mark and answers the mark's position. A
// log that ends with one already is left as it is. ErrReadOnly on a replica.
func (n *Namespace) WriteMark(ctx context.Context) (Position, error) {
	if n.opts.Load().Replica {
		return Position{}, n.readOnly()
	}
	if err := n.acquire(); err != nil {
		return Position{}, err
	}
	defer n.release()
	var lsn uint64
	var failure error
	err := n.inCommitter(ctx, func() {
		lsn, failure = n.markNow(true)
		n.syncNow()
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		return Position{}, err
	}
	return n.positionAt(lsn), nil
}

// WaitMark waits until the B+tree has the digests of the mark with this LSN.
// ErrNotFound at once where it can't have them any more: the B+tree is past it and
// doesn't keep them, or there is no such mark.
func (n *Namespace) WaitMark(ctx context.Context, lsn uint64) error {
	if err := n.acquireLog(); err != nil {
		return err
	}
	defer n.releaseLog()
	var failure error
	over := func() bool {
		past := n.point.Load().LSN >= lsn // read before the marks, which are noted first
		if slices.ContainsFunc(n.Marks(), func(m Mark) bool { return m.LSN == lsn }) {
			return true
		}
		if past {
			failure = fmt.Errorf("%w: the B+tree is past LSN %d and has no digests of it: ask for one of Marks", ErrNotFound, lsn)
		} else if frozen := n.frozen.Load(); frozen != nil {
			failure = *frozen
		} else {
			failure = n.ended()
		}
		return failure != nil
	}
	if err := n.marked.wait(ctx, over); err != nil {
		return fmt.Errorf("waiting for the digests of the mark at LSN %d: %w", lsn, err)
	}
	return failure
}
