package dbkernel

import (
	"context"
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

// Truncate cuts the records above LSN after off the namespace's log and answers
// its new handle; the old one is superseded. Before that they are set aside in a
// readable file, durably (see Aside). ErrPastFork where the B+tree contains some of
// them already: then nothing was touched, and only a Stage helps. Nothing is done
// where the log ends at after or before; the answer is the namespace as it is.
func (db *DB) Truncate(ctx context.Context, name string, after uint64, reason string) (*Namespace, error) {
	n, err := db.Namespace(name)
	if err != nil {
		return nil, err
	}
	// A look first: in vain, the namespace shall not have been closed.
	if over, err := n.cutsNothing(after); over || err != nil {
		return n, err
	}
	end, err := db.beginSwitch(name)
	if err != nil {
		return nil, err
	}
	err = db.truncate(ctx, name, after, reason)
	end()
	if err != nil {
		return nil, diskFull(fmt.Errorf("cutting the log of namespace %q off behind LSN %d: %w", name, after, err))
	}
	return db.Namespace(name)
}

// cutsNothing reports whether the log ends at after or before. ErrPastFork where
// the B+tree is beyond.
func (n *Namespace) cutsNothing(after uint64) (bool, error) {
	if err := n.acquireLog(); err != nil {
		return false, err
	}
	defer n.releaseLog()
	if n.appended.Load() <= after {
		return true, nil
	}
	if at := n.point.Load().LSN; at > after {
		return false, fmt.Errorf("namespace %q: %w: it is at LSN %d, the fork behind LSN %d: replace it by a snapshot", n.name, ErrPastFork, at, after)
	}
	return false, nil
}

// truncate cuts the log of a name that is being switched.
func (db *DB) truncate(ctx context.Context, name string, after uint64, reason string) error {
	n := db.handle(name)
	if err := n.holdFlushes(ctx); err != nil {
		return err
	}
	if over, err := n.cutsNothing(after); over || err != nil {
		n.letFlush()
		return err
	}
	dir, lineage, point := n.dir, n.lineage, n.point.Load().LSN
	if err := db.supersede(n); err != nil {
		db.opts.Logger.Warn("closing a namespace whose log is cut off failed", "namespace", name, "error", err)
	}
	log, err := db.openLogIn(dir, name, lineage, point)
	if err != nil {
		return err
	}
	path, err := db.writeAside(log, name, after+1, reason)
	if err == nil {
		err = db.lowerHolds(dir, after)
	}
	if err == nil {
		err = log.TruncateAfter(after, func([]byte) error { return nil }) // they are in the file
	}
	if err = errors.Join(err, log.Close()); err != nil {
		return err
	}
	db.opts.Logger.Warn("records were cut off the log and set aside", "namespace", name, "after", after, "path", path, "reason", reason)
	return nil
}

// openLogIn opens the log of a directory whose namespace is closed.
func (db *DB) openLogIn(dir, name string, lineage Lineage, checkpoint uint64) (*wal.Log, error) {
	db.mu.Lock()
	o := db.optionsLocked(name)
	db.mu.Unlock()
	log, err := wal.Open(db.walOptions(dir, lineage, o), checkpoint)
	return log, asDamage(err)
}
