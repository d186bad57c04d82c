package dbkernel

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

// load recovers the namespace: meta.json, the B+tree with its checkpoint, the
// log from there on. Called once, under life.mu.
func (n *Namespace) load() (err error) {
	if err := n.checkQuarantine(); err != nil {
		return err
	}
	if n.meta, err = readMeta(n.db.opts.FS, n.dir); err != nil {
		return n.asMissing(err)
	}
	n.lineage = n.meta.Lineage
	if engine := n.opts.Load().Storage.Engine; engine != n.meta.Engine {
		return fmt.Errorf("%w: it was made with engine %q, the configuration says %q: set storage.engine back", ErrInvalid, n.meta.Engine, engine)
	}
	if err := n.loadHolds(); err != nil {
		return err
	}
	tree, err := n.openTree()
	if err != nil {
		return asDamage(err)
	}
	point, err := n.loadCheckpoint(tree)
	if err == nil {
		err = n.loadStaging(tree)
	}
	if err != nil {
		return errors.Join(err, tree.Close())
	}
	log, err := wal.Open(n.db.walOptions(n.dir, n.lineage, *n.opts.Load()), point.LSN)
	if err != nil {
		return errors.Join(n.asMissing(err), tree.Close())
	}
	n.tree, n.log = tree, log
	if err := n.recover(point); err != nil {
		n.dropMems()
		return errors.Join(asDamage(err), log.Close(), tree.Close())
	}
	return nil
}

// asMissing is asDamage where a file that isn't there can only have been lost.
func (n *Namespace) asMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w: restore %s from a backup, or remove what is left of it and let the namespace be replicated or made again", ErrMissing, err, n.dir)
	}
	return asDamage(err)
}

// asDamage gives errors of the floors below the kernel's own names.
func asDamage(err error) error {
	switch {
	case errors.Is(err, wal.ErrNewerFormat):
		return fmt.Errorf("%w: %w", ErrNewerFormat, err)
	case errors.Is(err, codec.ErrCorrupt), errors.Is(err, btree.ErrDamaged), errors.Is(err, btree.ErrFormat):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	default:
		return err
	}
}

func (n *Namespace) loadCheckpoint(tree btree.Tree) (checkpoint, error) {
	snap, err := tree.Snapshot()
	if err != nil {
		return checkpoint{}, err
	}
	defer snap.Release()
	point, found, err := readCheckpoint(snap)
	if err != nil {
		return checkpoint{}, err
	}
	if found && point.Lineage != n.lineage {
		return checkpoint{}, fmt.Errorf("%w: the B+tree is of lineage %s, meta.json says %s: files of two namespaces are mixed", ErrDamaged, point.Lineage, n.lineage)
	}
	if err := n.loadMarks(snap); err != nil {
		return checkpoint{}, err
	}
	if marks := n.Marks(); len(marks) > 0 && marks[0].LSN == point.LSN {
		n.lastMark = point.LSN
	}
	point.Format, point.Lineage = checkpointFormat, n.lineage
	return point, nil
}

// loadStaging reads what a stage's tree lacks. In a namespace's own directory such a
// tree has no business: it would be served half-made.
func (n *Namespace) loadStaging(tree btree.Tree) error {
	st, err := stagingOf(tree, n.lineage)
	switch {
	case !n.staged && err == nil && st != nil:
		return fmt.Errorf("%w: the B+tree is a snapshot that was not complete: set the namespace's directory aside and let it be replicated again", ErrDamaged)
	case !n.staged:
		return nil
	case err == nil && st != nil && !st.Finished:
		return fmt.Errorf("%w: chunks of the snapshot are missing", ErrNotReady)
	}
	n.staging.Store(st)
	return err
}

// recover replays what the log has behind the checkpoint.
func (n *Namespace) recover(point checkpoint) error {
	first, last := n.log.FirstLSN(), n.log.LastLSN()
	n.point.Store(&point)
	n.activeFrom = point.LSN
	n.models.begin(point.LSN)
	n.mems.Store(&memList{tables: []*mem{newMem(point.LSN, point.Epoch, point.Time)}, base: point.LSN})
	n.epochs.Store(&point.Epochs)
	n.epoch.Store(point.Epoch)
	n.head = head{next: point.LSN + 1, epoch: point.Epoch, time: point.Time}
	var err error
	if n.uploads, err = parseUploads(point.Uploads); err != nil {
		return err
	}
	if first > point.LSN+1 {
		return fmt.Errorf("%w: the log begins at LSN %d, but the B+tree ends at %d: restore the missing segments, or set the namespace's directory aside and let it be replicated again", ErrDamaged, first, point.LSN)
	}
	if last < point.LSN {
		n.endsBehind(last, point)
		return nil
	}
	n.recovering = true
	err = n.replay(point.LSN+1, last)
	n.recovering = false
	if err != nil {
		return err
	}
	n.appended.Store(last)
	n.applied.Store(last)
	n.durable.Store(last)
	if err := n.findNextDue(); err != nil {
		return err
	}
	if err := n.keepEpochTable(); err != nil {
		return err
	}
	n.commit.Store(last) // from here on memtables may be flushed
	n.scheduleFlush()
	return nil
}

// endsBehind opens for reading a namespace whose log has lost what its tree
// contains: appending would use LSNs a second time.
func (n *Namespace) endsBehind(last uint64, point checkpoint) {
	err := fmt.Errorf("%w: the log ends at LSN %d, the B+tree at %d: restore the log's last segments, or set the namespace's directory aside and let it be replicated again; reads go on", ErrLogBehind, last, point.LSN)
	n.frozen.Store(&err)
	n.logger.Error("namespace is opened for reading only", "error", err)
	n.db.event(n, EventQuarantined, err)
	n.appended.Store(point.LSN)
	n.applied.Store(point.LSN)
	n.durable.Store(point.LSN)
	n.commit.Store(point.LSN)
}

// replayChunk is how much of the log is read at once, in bytes.
const replayChunk = 4 << 20

func (n *Namespace) replay(from, last uint64) error {
	if from > last {
		return nil
	}
	r, err := n.log.NewReader(from)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	at := &n.head
	for next := from; next <= last; {
		chunk, _, to, err := r.Next(last, replayChunk)
		if err != nil {
			return err
		}
		if chunk == nil {
			return fmt.Errorf("%w: the log ends before LSN %d, expected %d", ErrDamaged, next, last)
		}
		for len(chunk) > 0 {
			var rec codec.Record
			if rec, _, chunk, err = codec.CutRecord(chunk); err != nil {
				return err
			}
			if err := at.follow(rec); err != nil {
				return fmt.Errorf("%w: the log doesn't fit together: %w", ErrDamaged, err)
			}
			if err := n.apply(rec); err != nil {
				return err
			}
		}
		next = to + 1
	}
	n.epoch.Store(at.epoch)
	return nil
}

// keepEpochTable brings meta.json's table up to what the log says: rows whose
// record never became durable go, rows that a replica had not noted yet come.
// The log's table is what counts, so a full disk is no reason to stop: it is
// tried again with the next group.
func (n *Namespace) keepEpochTable() error {
	table := *n.epochs.Load()
	if slices.Equal(table, n.meta.Epochs) {
		return nil
	}
	next := n.meta
	next.Epochs = table
	if len(table) > 0 {
		next.LastEpoch = max(next.LastEpoch, table[len(table)-1].Epoch)
	}
	err := next.write(n.db.opts.FS, n.dir)
	switch {
	case err == nil:
		n.meta = next
	case isDiskFull(err):
		n.logger.Warn("the epoch table couldn't be noted; it is tried again", "error", err)
		return nil
	}
	return err
}
