package dbkernel

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

const (
	incomingDir = "incoming"
	// oldPrefix begins the name of a directory that is being removed, so that no
	// half of it is ever taken for the whole. It is no valid name.
	oldPrefix = ".old-"
)

// Stage opens the stage of a namespace, or makes an empty one. One of another
// lineage is discarded first, and so is one that is damaged. A database has one
// Stage for a name: calls answer the same one until it is installed or discarded, or
// an I/O error has stopped it.
func (db *DB) Stage(name string, lineage Lineage) (*Stage, error) {
	if !ValidName(name) || lineage.IsZero() {
		return nil, fmt.Errorf("%w stage: %q of lineage %s: give a namespace's name and its lineage", ErrInvalid, name, lineage)
	}
	db.staging.Lock()
	defer db.staging.Unlock()
	s, err := db.openStage(name)
	if err == nil && s.Lineage() != lineage {
		if err := s.Discard(); err != nil {
			return nil, err
		}
		err = ErrNamespaceNotFound
	}
	if !errors.Is(err, ErrNamespaceNotFound) {
		return s, err
	}
	if err := db.makeStage(name, lineage, nil); err != nil {
		return nil, diskFull(fmt.Errorf("making the stage of namespace %q: %w", name, err))
	}
	return db.openStage(name)
}

// Staged opens the stage of a namespace where there is one.
// ErrNamespaceNotFound where there is none; one that is damaged is discarded.
func (db *DB) Staged(name string) (*Stage, error) {
	if !ValidName(name) {
		return nil, fmt.Errorf("%w: %q is no valid name", ErrNamespaceNotFound, name)
	}
	db.staging.Lock()
	defer db.staging.Unlock()
	return db.openStage(name)
}

// openStage is the stage that is open already, or the one in the files. It needs
// the lock of stagings.
func (db *DB) openStage(name string) (*Stage, error) {
	db.mu.Lock()
	s, closed := db.stages[name], db.closed
	db.mu.Unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case s != nil && !s.stopped():
		return s, nil
	case s != nil:
		if err := s.abandon(); err != nil {
			db.opts.Logger.Warn("closing a stage that has stopped failed", "namespace", name, "error", err)
		}
	}
	dir := db.stageDir(name)
	if _, err := db.opts.FS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no stage of %q", ErrNamespaceNotFound, name)
	} else if err != nil {
		return nil, err
	}
	s = &Stage{db: db, name: name, dir: dir}
	if err := s.open(); err != nil {
		return nil, db.giveUpStage(name, err)
	}
	db.mu.Lock()
	if closed = db.closed; !closed {
		db.stages[name] = s
	}
	db.mu.Unlock()
	if closed {
		return nil, errors.Join(ErrClosed, s.close())
	}
	return s, nil
}

// giveUpStage removes the files of a stage that is no good: all that it had can be
// copied again. Other errors leave it alone.
func (db *DB) giveUpStage(name string, cause error) error {
	if !errors.Is(cause, ErrDamaged) && !errors.Is(cause, ErrMissing) && !errors.Is(cause, fs.ErrNotExist) {
		return diskFull(fmt.Errorf("opening the stage of namespace %q: %w", name, cause))
	}
	db.opts.Logger.Warn("a stage is damaged and is removed; it is copied again", "namespace", name, "error", cause)
	if err := db.removeDir(db.stageDir(name)); err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w: the stage of %q was damaged", ErrNamespaceNotFound, name)
}

func (db *DB) stageDir(name string) string { return filepath.Join(db.opts.Dir, incomingDir, name) }

// stageOptions are the namespace's, for one that takes another node's records.
func (db *DB) stageOptions(name string) NamespaceOptions {
	db.mu.Lock()
	defer db.mu.Unlock()
	o := db.optionsLocked(name)
	o.Replica = true
	return o
}

// makeStage makes the directory of an empty stage, as a whole or not at all. It is
// that of a namespace without a log.
func (db *DB) makeStage(name string, lineage Lineage, epochs []EpochStart) error {
	fsys, dir := db.opts.FS, db.stageDir(name)
	if err := makeDir(fsys, filepath.Dir(dir)); err != nil {
		return err
	}
	building := filepath.Join(filepath.Dir(dir), newPrefix+name+"-"+unique())
	err := fsys.MkdirAll(building)
	if err == nil {
		err = db.fillStage(building, name, lineage, epochs)
	}
	if err == nil {
		err = fsys.Rename(building, dir)
	}
	if err != nil {
		return errors.Join(err, fsys.RemoveAll(building))
	}
	return fsys.SyncDir(filepath.Dir(dir))
}

func (db *DB) fillStage(dir, name string, lineage Lineage, epochs []EpochStart) error {
	o := db.stageOptions(name)
	tree, err := db.openTreeIn(dir, incomingDir+"/"+name, o.Storage)
	if err != nil {
		return err
	}
	st := stagingState{Format: stagingFormat, Lineage: lineage, Epochs: epochs}
	if err := errors.Join(tree.Update(st.write), tree.Close()); err != nil {
		return err
	}
	m := meta{Format: metaFormat, Lineage: lineage, Engine: o.Storage.Engine, CreatedAt: db.opts.Clock().UTC().Truncate(time.Second)}
	return m.write(db.opts.FS, dir)
}

// unique is a part of a name that no other has.
func unique() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// removeDir removes a directory: at once, and then bit by bit.
func (db *DB) removeDir(dir string) error {
	fsys, parent := db.opts.FS, filepath.Dir(dir)
	away := filepath.Join(parent, oldPrefix+filepath.Base(dir)+"-"+unique())
	if err := fsys.Rename(dir, away); err != nil {
		return err
	}
	return errors.Join(fsys.SyncDir(parent), fsys.RemoveAll(away))
}

// open reads what the files are and opens them.
func (s *Stage) open() error {
	if err := s.db.checkQuarantine(s.dir); err != nil {
		return err
	}
	m, err := readMeta(s.db.opts.FS, s.dir)
	if err != nil {
		return err
	}
	o := s.db.stageOptions(s.name)
	if o.Storage.Engine != m.Engine {
		return fmt.Errorf("%w: the stage was made with engine %q", ErrDamaged, m.Engine)
	}
	tree, err := s.db.openTreeIn(s.dir, incomingDir+"/"+s.name, o.Storage)
	if err != nil {
		return asDamage(err)
	}
	st, err := stagingOf(tree, m.Lineage)
	if err != nil {
		return errors.Join(err, tree.Close())
	}
	if st != nil && !st.Finished {
		if err := s.removeLog(); err != nil {
			return errors.Join(err, tree.Close())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lineage, s.tree, s.staging, s.log = m.Lineage, tree, st, nil
		return nil
	}
	if err := tree.Close(); err != nil {
		return err
	}
	log, err := s.openLog(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lineage, s.tree, s.staging, s.log = m.Lineage, nil, nil, log
	return nil
}

// stagingOf reads what a tree says of itself; nil where it is complete.
func stagingOf(tree btree.Tree, lineage Lineage) (*staging, error) {
	snap, err := tree.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	st, err := readStaging(snap)
	if err != nil {
		return nil, asDamage(err)
	}
	if st != nil && st.Lineage != lineage {
		return nil, fmt.Errorf("%w: the staged B+tree is of lineage %s, meta.json says %s", ErrDamaged, st.Lineage, lineage)
	}
	if st == nil {
		if _, found, err := readCheckpoint(snap); err != nil || !found {
			return nil, errors.Join(ErrDamaged, err)
		}
	}
	return st, nil
}

// openLog opens a finished stage as a replica that takes records.
func (s *Stage) openLog(o NamespaceOptions) (*Namespace, error) {
	n := newNamespace(s.db, s.name, o)
	n.dir, n.staged = s.dir, true
	n.logger = n.logger.With("staged", true)
	if err := n.acquireLog(); err != nil {
		return nil, err
	}
	n.releaseLog()
	return n, nil
}

// reopen opens the files anew after they have become something else.
func (s *Stage) reopen() error {
	err := s.close()
	if err == nil {
		err = s.open()
	}
	if err != nil {
		s.leave()
		return diskFull(fmt.Errorf("opening the stage of namespace %q again: %w", s.name, err))
	}
	return nil
}

// stopLog ends the stage's log, if it has one. What it knows stays.
func (s *Stage) stopLog() error {
	if log := s.Log(); log != nil {
		return log.end(ErrSuperseded)
	}
	return nil
}

// close closes the stage's files.
func (s *Stage) close() error {
	s.mu.Lock()
	tree := s.tree
	s.tree = nil
	s.mu.Unlock()
	err := s.stopLog()
	if tree != nil {
		err = errors.Join(err, tree.Close())
	}
	return err
}

// shutdown closes the stage with its database. What its log has is flushed, so
// that the next start has less to do.
func (s *Stage) shutdown() error {
	s.change.Lock()
	defer s.change.Unlock()
	var err error
	if log := s.Log(); log != nil {
		err = log.close()
	}
	s.leave()
	return errors.Join(err, s.close())
}

// stopped reports whether the stage takes nothing any more, after an I/O error.
// Nobody reads a stage, so it needs no restart of the node to be recovered.
func (s *Stage) stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed || s.log != nil && s.log.frozen.Load() != nil
}

// abandon closes the stage, so that what is on the disk is looked at anew.
func (s *Stage) abandon() error {
	s.change.Lock()
	defer s.change.Unlock()
	s.leave()
	return s.close()
}

// leave ends the use of this Stage; the next one reads the files.
func (s *Stage) leave() {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if s.db.stages[s.name] == s {
		delete(s.db.stages, s.name)
	}
}

// Discard removes the stage and all that it has.
func (s *Stage) Discard() error {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	err := errors.Join(s.close(), s.db.removeDir(s.dir))
	s.leave()
	if err != nil {
		return fmt.Errorf("discarding the stage of namespace %q: %w", s.name, err)
	}
	return nil
}

// renew makes the stage an empty one.
func (s *Stage) renew(epochs []EpochStart) error {
	lineage := s.Lineage()
	err := errors.Join(s.close(), s.db.removeDir(s.dir))
	if err == nil {
		err = s.db.makeStage(s.name, lineage, epochs)
	}
	if err == nil {
		err = s.open()
	}
	if err != nil {
		s.leave()
		return diskFull(fmt.Errorf("emptying the stage of namespace %q: %w", s.name, err))
	}
	return nil
}

// unfinish makes a stage whose log is stopped one that takes chunks again: what it
// has is as far as its checkpoint, and the log goes.
func (s *Stage) unfinish() error {
	st := &staging{chunks: s.Chunks(), stagingState: stagingState{
		Format: stagingFormat, Lineage: s.Lineage(), Epochs: s.EpochTable(), Live: s.Log().point.Load().Live,
	}}
	tree, err := s.db.openTreeIn(s.dir, incomingDir+"/"+s.name, s.db.stageOptions(s.name).Storage)
	if err != nil {
		s.leave()
		return asDamage(err)
	}
	err = s.update(context.Background(), tree, func(tx btree.Tx) error {
		if err := deleteSystemCells(tx); err != nil {
			return err
		}
		for _, c := range st.chunks {
			if err := c.write(tx); err != nil {
				return err
			}
		}
		return st.stagingState.write(tx)
	})
	if err = errors.Join(err, tree.Close()); err != nil {
		s.leave()
		return err
	}
	return s.reopen()
}

// deleteSystemCells removes all that a tree has of its own but the expiry index,
// which stays true.
func deleteSystemCells(tx btree.Tx) error {
	index := keyRange{codec.ExpiryPrefix(), codec.PrefixEnd(codec.ExpiryPrefix())}
	for _, r := range []keyRange{{[]byte{codec.TypeSystem}, index.low}, {index.high, nil}} {
		keys, err := keysIn(tx, r)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}

// keysIn lists the keys of a range.
func keysIn(tx btree.Tx, r keyRange) (keys [][]byte, err error) {
	c, err := tx.Cursor()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for ok := c.Seek(r.low); ok && r.holds(c.Key()); ok = c.Next() {
		keys = append(keys, slices.Clone(c.Key()))
	}
	return keys, c.Err()
}

// drop removes a chunk, its cells and its entry in one transaction.
func (s *Stage) drop(c StagedChunk) error {
	tree, st, err := s.unfinished()
	if err != nil {
		return err
	}
	next := *st
	next.chunks = slices.DeleteFunc(slices.Clone(st.chunks), func(o StagedChunk) bool { return string(o.Start) == string(c.Start) })
	err = s.update(context.Background(), tree, func(tx btree.Tx) error {
		freed, err := dropCells(tx, c.KeyRange)
		if err != nil {
			return err
		}
		next.Live = st.Live - freed
		if err := tx.Delete(codec.StagedChunkKey(c.Start)); err != nil {
			return err
		}
		return next.stagingState.write(tx)
	})
	if err == nil {
		s.set(&next)
	}
	return err
}

// removeLeftovers removes what a crash left of directories that were being made or
// removed, and makes the directory itself durable.
func (db *DB) removeLeftovers(dir string) error {
	names, err := db.opts.FS.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, oldPrefix) {
			if err := db.opts.FS.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return errors.Join(db.opts.FS.SyncDir(dir), db.opts.FS.SyncDir(db.opts.Dir))
}
