package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

// Stage is a namespace in the making, in incoming/<name>: a snapshot's chunks,
// then the log from the lowest of them on. What was put into it stays through a
// kill at any moment. Nothing of it is read, streamed or listed before Install
// gives it the namespace's name. Its methods may be called concurrently; once it
// is installed or discarded, or an operation has failed half-way, they answer
// ErrSuperseded: look it up again with Staged.
type Stage struct {
	db   *DB
	name string
	dir  string

	change sync.Mutex // held by what changes the stage, also across I/O; before mu

	mu      sync.Mutex // guards what follows; never held across I/O
	lineage Lineage
	tree    btree.Tree // nil once there is a log, which has it then
	staging *staging   // of an unfinished stage; replaced as a whole
	log     *Namespace // nil until the stage is finished
	gone    bool
	failed  bool // the tree takes no more transactions until it is opened again
}

// StagedChunk is a key range of which a stage has all cells as of a record.
type StagedChunk struct {
	KeyRange
	Epoch, LSN uint64
}

// Name is that of the namespace.
func (s *Stage) Name() string { return s.name }

// Lineage is that of the source.
func (s *Stage) Lineage() Lineage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lineage
}

// EpochTable is the history that the stage's cells belong to: that of the source
// it was last rebased on, up to the highest record that it has something of.
func (s *Stage) EpochTable() []EpochStart {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return nil
	case s.log == nil:
		return slices.Clone(epochsUpTo(s.staging.Epochs, highest(s.staging.chunks)))
	}
	table := *s.log.epochs.Load()
	if st := s.log.staging.Load(); st != nil {
		// The chunks may be ahead of the log.
		if ahead := epochsUpTo(st.Epochs, highest(st.chunks)); len(ahead) > len(table) {
			table = ahead
		}
	}
	return slices.Clone(table)
}

// Chunks lists what the stage has, in key order. An LSN is that of the record up
// to which the cells are complete, so it rises while the stage's log is flushed. A
// stage that is complete, or that came from the log alone, is one chunk.
func (s *Stage) Chunks() []StagedChunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chunksLocked()
}

func (s *Stage) chunksLocked() []StagedChunk {
	switch {
	case s.gone:
		return nil
	case s.log == nil:
		return slices.Clone(s.staging.chunks)
	}
	// The account first: a flush that completes the tree in between makes the
	// checkpoint higher than that says, which is no lie.
	st, point := s.log.staging.Load(), s.log.point.Load()
	switch {
	case st != nil && !st.FromStart:
		return raised(st.chunks, point)
	case point.LSN == 0:
		return nil
	}
	return []StagedChunk{{Epoch: point.Epoch, LSN: point.LSN}}
}

// Missing lists the key ranges that the stage has no chunk of, in order. An empty
// one lacks the whole keyspace; a finished one lacks nothing.
func (s *Stage) Missing() []KeyRange {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.log != nil {
		return nil
	}
	return missing(s.staging.chunks)
}

// Finished reports whether Finish or FromStart was done, so that there is a Log.
func (s *Stage) Finished() bool { return s.Log() != nil }

// Log is the replica that takes the stage's records: Append, SetCommit, Status
// and EpochTable work on it, everything that reads answers ErrNotReady. It is nil
// before Finish or FromStart, and superseded by Rebase, Install and Discard.
func (s *Stage) Log() *Namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log
}

// Ready reports whether the stage can be installed: the log that it needs is
// committed and in its B+tree. The flush that makes it so starts by itself.
func (s *Stage) Ready() bool {
	log := s.Log()
	return log != nil && log.staging.Load() == nil
}

// WaitReady waits until the stage is Ready, on a full disk until there is space again.
// It ends early with the error that stops the stage's log, or with ErrSuperseded;
// ErrNotReady where there is no log.
func (s *Stage) WaitReady(ctx context.Context) error {
	log := s.Log()
	if log == nil {
		return fmt.Errorf("namespace %q: %w: chunks of the snapshot are missing", s.name, ErrNotReady)
	}
	var failure error
	err := log.advanced.wait(ctx, func() bool {
		if failure = log.ended(); failure != nil {
			return true
		}
		if err := log.frozen.Load(); err != nil {
			failure = *err
		}
		return failure != nil || log.staging.Load() == nil
	})
	return errors.Join(failure, err)
}

// usable answers why nothing can be done with the stage any more, if so. It needs
// the change lock, as those below do.
func (s *Stage) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return fmt.Errorf("the stage of namespace %q: %w: look it up again", s.name, ErrSuperseded)
	}
	return nil
}

// unfinished is the stage's tree and what it says, as long as chunks may come.
func (s *Stage) unfinished() (btree.Tree, *staging, error) {
	if err := s.usable(); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != nil {
		return nil, nil, fmt.Errorf("%w: the stage of namespace %q has all its chunks: rebase it first", ErrInvalid, s.name)
	}
	return s.tree, s.staging, nil
}

func (s *Stage) set(st *staging) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staging = st
}

// update runs a transaction on the stage's tree. Like a flush it takes one of the
// node's few slots.
func (s *Stage) update(ctx context.Context, tree btree.Tree, fn func(tx btree.Tx) error) error {
	select {
	case s.db.flushSlots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.db.flushSlots }()
	err := tree.Update(fn)
	if errors.Is(err, btree.ErrFailed) {
		s.mu.Lock()
		s.failed = true
		s.mu.Unlock()
	}
	return diskFull(asDamage(err))
}

// Put adds chunks in one transaction; they are durable when it returns. Each must
// lie within what is missing. ErrDamaged where a chunk isn't what it should be:
// keys outside its range or out of order, a cell whose checksum is wrong; ErrFork
// where its position isn't in the history of the last Rebase, ErrGap where it is of a
// newer epoch than that has. Then nothing was added.
func (s *Stage) Put(ctx context.Context, chunks []Chunk) error {
	s.change.Lock()
	defer s.change.Unlock()
	tree, st, err := s.unfinished()
	if err != nil {
		return err
	}
	chunks = slices.Clone(chunks)
	slices.SortFunc(chunks, func(a, b Chunk) int { return bytes.Compare(a.Start, b.Start) })
	next := *st
	for _, c := range chunks {
		staged := StagedChunk{KeyRange: c.cloned(), Epoch: c.Epoch, LSN: c.LSN}
		if err := next.fits(staged); err != nil {
			return err
		}
		live, err := c.check()
		if err != nil {
			return fmt.Errorf("a chunk of the snapshot of namespace %q: %w", s.name, err)
		}
		next.chunks = slices.Insert(slices.Clip(next.chunks), chunkOf(next.chunks, c.Start)+1, staged)
		next.Live += live
	}
	err = s.update(ctx, tree, func(tx btree.Tx) error {
		for _, c := range chunks {
			if err := c.store(tx); err != nil {
				return err
			}
		}
		return next.stagingState.write(tx)
	})
	if err == nil {
		s.set(&next)
	}
	return err
}

// fits checks that a chunk is of the stage's history and overlaps no other.
func (s *staging) fits(c StagedChunk) error {
	if len(c.Start) > codec.MaxCellKey+1 || len(c.End) > codec.MaxCellKey+1 || len(c.End) > 0 && bytes.Compare(c.Start, c.End) >= 0 {
		return fmt.Errorf("%w: a chunk from %x up to %x has no such keys", ErrDamaged, c.Start, c.End)
	}
	if err := s.contains(c.Epoch, c.LSN); err != nil {
		return err
	}
	at := chunkOf(s.chunks, c.Start)
	if at >= 0 && s.chunks[at].holds(c.Start) {
		return fmt.Errorf("%w: a chunk from %x on is there already", ErrInvalid, c.Start)
	}
	if at++; at < len(s.chunks) && (len(c.End) == 0 || bytes.Compare(s.chunks[at].Start, c.End) < 0) {
		return fmt.Errorf("%w: a chunk from %x up to %x overlaps the next", ErrInvalid, c.Start, c.End)
	}
	return nil
}

// contains checks that a position is in the history of the source.
func (s *staging) contains(epoch, lsn uint64) error {
	if last := len(s.Epochs) - 1; last < 0 && epoch > 0 || last >= 0 && epoch > s.Epochs[last].Epoch {
		return fmt.Errorf("%w: LSN %d is of epoch %d, which began after the history of the snapshot was taken: begin again with the source's history of today", ErrGap, lsn, epoch)
	}
	if here := epochAt(s.Epochs, lsn); here != epoch {
		return fmt.Errorf("%w: LSN %d is of epoch %d, by the history of the snapshot of %d", ErrFork, lsn, epoch, here)
	}
	return nil
}

// Finish begins the stage's log behind the lowest chunk. It needs all chunks. From
// then on Log takes the records, and end says when they are enough. ErrNotReady
// where chunks are missing; ErrFork and ErrGap as from Put, ErrInvalid where end is
// below a chunk.
func (s *Stage) Finish(ctx context.Context, end SnapshotEnd) error {
	s.change.Lock()
	defer s.change.Unlock()
	tree, st, err := s.unfinished()
	if err != nil {
		return err
	}
	if gaps := missing(st.chunks); len(gaps) > 0 {
		return fmt.Errorf("namespace %q: %w: chunks of the snapshot are missing from %x on", s.name, ErrNotReady, gaps[0].Start)
	}
	if err := st.contains(end.Epoch, end.LSN); err != nil {
		return err
	}
	if end.LSN < highest(st.chunks) {
		return fmt.Errorf("%w snapshot end: LSN %d is below the chunk of LSN %d", ErrInvalid, end.LSN, highest(st.chunks))
	}
	next := *st
	next.Finished = true
	next.Target = stagedTarget{LSN: end.LSN, Epoch: end.Epoch, Records: end.Records, Uploads: map[string]int64{}}
	for id, size := range end.Uploads {
		next.Target.Uploads[codec.ObjectID(id).String()] = size
	}
	return s.beginLog(ctx, tree, &next, lowest(st.chunks))
}

// FromStart begins a log that needs no chunks, from LSN 1 on, and is ready when it
// has the record target: what there is of chunks, or of another log, is removed.
func (s *Stage) FromStart(epochs []EpochStart, target uint64) error {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.renew(epochs); err != nil {
		return err
	}
	tree, st, err := s.unfinished()
	if err != nil {
		return err
	}
	next := *st
	next.Finished, next.FromStart = true, true
	next.Target = stagedTarget{LSN: target, Epoch: epochAt(epochs, target)}
	return s.beginLog(context.Background(), tree, &next, 0)
}

// beginLog makes a log behind base, then has the tree say so: without the one the
// other doesn't count. Where no record is needed any more, the stage is complete.
func (s *Stage) beginLog(ctx context.Context, tree btree.Tree, st *staging, base uint64) error {
	if err := s.makeLog(base + 1); err != nil {
		return diskFull(fmt.Errorf("making the log of the stage of namespace %q: %w", s.name, err))
	}
	err := s.update(ctx, tree, func(tx btree.Tx) error {
		point := checkpoint{
			Format: checkpointFormat, Lineage: st.Lineage, LSN: base, Epoch: epochAt(st.Epochs, base),
			Epochs: epochsUpTo(st.Epochs, base), Live: st.Live,
		}
		var err error
		if base == st.Target.LSN {
			var d *digests
			if d, err = st.complete(tx, &point); err == nil {
				err = d.write(tx, codec.DigestsKey(), codec.Version{Epoch: point.Epoch, LSN: point.LSN})
			}
		} else {
			err = st.stagingState.write(tx)
		}
		return errors.Join(err, point.write(tx))
	})
	if err != nil {
		return err
	}
	return s.reopen()
}

func (s *Stage) makeLog(first uint64) error {
	if err := s.removeLog(); err != nil {
		return err
	}
	log, err := wal.Create(s.db.walOptions(s.dir, s.Lineage(), s.db.stageOptions(s.name)), first)
	if err != nil {
		return err
	}
	return log.Close()
}

// removeLog removes what there is of a log, durably: an unfinished stage has none.
func (s *Stage) removeLog() error {
	fsys := s.db.opts.FS
	return errors.Join(fsys.RemoveAll(filepath.Join(s.dir, walDir)), fsys.SyncDir(s.dir))
}

// Rebase makes a source's history the stage's and drops the chunks that keep
// doesn't want: those must go that the history doesn't contain, and those that the
// source's log doesn't reach back to. A finished stage becomes an unfinished one,
// whose chunks are as far as its log was flushed. ErrFork where a chunk that is to
// be kept isn't of that history; then nothing was done.
func (s *Stage) Rebase(epochs []EpochStart, keep func(StagedChunk) bool) error {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.stopLog(); err != nil {
		return err
	}
	kept, dropped := divide(s.Chunks(), keep)
	for _, c := range kept {
		if here := epochAt(epochs, c.LSN); here != c.Epoch {
			err := fmt.Errorf("%w: a chunk as of LSN %d is of epoch %d, by the new history of %d", ErrFork, c.LSN, c.Epoch, here)
			if s.Finished() {
				err = errors.Join(err, s.reopen())
			}
			return err
		}
	}
	if len(kept) == 0 {
		return s.renew(epochs)
	}
	if s.Finished() {
		if err := s.unfinish(); err != nil {
			return err
		}
	}
	for _, c := range dropped {
		if err := s.drop(c); err != nil {
			return err
		}
	}
	tree, st, err := s.unfinished()
	if err != nil {
		return err
	}
	next := *st
	next.Epochs = slices.Clone(epochs)
	if err := s.update(context.Background(), tree, next.stagingState.write); err != nil {
		return err
	}
	s.set(&next)
	return nil
}

// divide parts those chunks that are kept from the others.
func divide(chunks []StagedChunk, keep func(StagedChunk) bool) (kept, dropped []StagedChunk) {
	for _, c := range chunks {
		if keep(c) {
			kept = append(kept, c)
		} else {
			dropped = append(dropped, c)
		}
	}
	return kept, dropped
}
