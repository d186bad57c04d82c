package dbkernel

import (
	"context"
	"errors"
	"fmt"
)

// positionAt is the position of a record of this history.
func (n *Namespace) positionAt(lsn uint64) Position {
	return Position{Lineage: n.lineage, Epoch: epochAt(*n.epochs.Load(), lsn), LSN: lsn}
}

// WaitFor waits until a new view includes the position. ErrNotCaughtUp when ctx
// ends first; ErrPositionLost at once where the position isn't in this history;
// ErrSuperseded where the history was replaced meanwhile: ask the new handle.
func (n *Namespace) WaitFor(ctx context.Context, p Position) error {
	if n.staged {
		return n.notReady()
	}
	if err := n.acquireLog(); err != nil {
		return err
	}
	defer n.releaseLog()
	var lost error
	err := n.advanced.wait(ctx, func() bool {
		lost = n.lost(p)
		return lost != nil || n.readLSN() >= p.LSN && epochAt(*n.epochs.Load(), p.LSN) == p.Epoch || n.closing()
	})
	switch {
	case lost != nil:
		return lost
	case err != nil:
		return fmt.Errorf("%w: this node is at LSN %d, the request asks for at least %d: wait longer, or read from the owner", ErrNotCaughtUp, n.readLSN(), p.LSN)
	}
	return n.ended()
}

// lost answers why a position can never be reached in this history, nil while it may.
func (n *Namespace) lost(p Position) error {
	if p.Lineage != n.lineage {
		return fmt.Errorf("%w: it is of lineage %s, the namespace is of %s: it was deleted and made again, or restored; read without the position", ErrPositionLost, p.Lineage, n.lineage)
	}
	if p.LSN == 0 {
		return nil
	}
	table := *n.epochs.Load()
	if len(table) == 0 || p.Epoch > table[len(table)-1].Epoch {
		return nil // an epoch that this node has not heard of yet
	}
	for i, e := range table {
		if e.Epoch != p.Epoch {
			continue
		}
		if p.LSN >= e.FirstLSN && (i+1 == len(table) || p.LSN < table[i+1].FirstLSN) {
			return nil
		}
	}
	return fmt.Errorf("%w: LSN %d of epoch %d was cut off when the owner changed: read without the position", ErrPositionLost, p.LSN, p.Epoch)
}

// Holds reports whether the position is one of this history and committed here, so
// that what comes behind it follows from the log.
func (n *Namespace) Holds(p Position) bool {
	if n.staged || n.acquireLog() != nil {
		return false
	}
	defer n.releaseLog()
	return n.lost(p) == nil && p.LSN <= n.commit.Load() && epochAt(*n.epochs.Load(), p.LSN) == p.Epoch
}

// Committed waits until all that a view shows now is committed, and says where that
// is: what follows the log then misses nothing that a reader here has seen. With
// sync_interval that takes up to an interval; in a frozen namespace, where it may
// never be so, it is as far as it gets.
func (n *Namespace) Committed(ctx context.Context) (Position, error) {
	if n.staged {
		return Position{}, n.notReady()
	}
	if err := n.acquireLog(); err != nil {
		return Position{}, err
	}
	defer n.releaseLog()
	seen := n.readLSN()
	err := n.advanced.wait(ctx, func() bool {
		return n.commit.Load() >= seen || n.frozen.Load() != nil || n.closing()
	})
	if err != nil {
		return Position{}, err
	}
	return n.positionAt(n.commit.Load()), n.ended()
}

// Position is where a new view would stand. It opens no tree.
func (n *Namespace) Position() (Position, error) {
	if err := n.acquireLog(); err != nil {
		return Position{}, err
	}
	defer n.releaseLog()
	return n.positionAt(n.readLSN()), nil
}

// Offset is the end of the log.
func (n *Namespace) Offset() (LogOffset, error) { return n.logOffset(n.appended.Load) }

// Checkpoint is how far the B+tree has the log.
func (n *Namespace) Checkpoint() (LogOffset, error) {
	return n.logOffset(func() uint64 { return n.point.Load().LSN })
}

func (n *Namespace) logOffset(at func() uint64) (LogOffset, error) {
	if err := n.acquireLog(); err != nil {
		return LogOffset{}, err
	}
	defer n.releaseLog()
	lsn := at()
	o := LogOffset{LSN: lsn, Epoch: epochAt(*n.epochs.Load(), lsn)}
	if lsn == 0 {
		return o, nil
	}
	var err error
	if o.Segment, o.Offset, err = n.log.Offset(lsn); errors.Is(err, errTrimmed) {
		return o, nil // the record was trimmed behind the checkpoint; there is no place to name
	}
	return o, err
}
