package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// installPrefix begins the name of a file in incoming/ that says: the stage of the
// name behind it is ready, and the namespace may be away already.
const installPrefix = ".install-"

// Install makes a ready stage the namespace of its name, and answers its new
// handle. What had the name is removed where it is sound and its history a beginning
// of the stage's; otherwise its directory is set aside whole, and so are, in a readable
// file, the records that only it has, as far as its log holds them. Its handle is
// superseded. A crash leaves the old namespace or the new one under the name once
// the database is opened again. The stage is used up, also where an error ends it
// half-way: then Staged has it again, if it is still to be installed. ErrNotReady.
func (s *Stage) Install(ctx context.Context, reason string) (*Namespace, error) {
	if err := s.install(ctx, reason); err != nil {
		return nil, diskFull(fmt.Errorf("installing the snapshot of namespace %q: %w", s.name, err))
	}
	return s.db.Namespace(s.name)
}

func (s *Stage) install(ctx context.Context, reason string) error {
	s.change.Lock()
	defer s.change.Unlock()
	if err := errors.Join(s.usable(), ctx.Err()); err != nil {
		return err
	}
	if !s.Ready() {
		return ErrNotReady
	}
	db := s.db
	end, err := db.beginSwitch(s.name)
	if err != nil {
		return err
	}
	defer end()
	defer s.leave()
	log := s.Log()
	now := history{lineage: log.lineage, epochs: *log.epochs.Load(), last: log.appended.Load()}
	if err := s.close(); err != nil {
		return err
	}
	from, to := s.dir, db.dir(s.name)
	intent := filepath.Join(filepath.Dir(from), installPrefix+s.name)
	if err := replaceFile(db.opts.FS, intent, []byte(reason+"\n")); err != nil {
		return err
	}
	back, gone, err := db.makeWay(s.name, now, from, reason)
	if err != nil {
		return err
	}
	// Where the new namespace is in its place but that can't be made durable, it
	// stays: the intent has the next start see to it.
	if moved, err := db.moveIn(from, to); err != nil && !moved {
		return errors.Join(err, back())
	} else if err != nil {
		return err
	}
	return errors.Join(gone(), db.removeIntent(intent))
}

// moveIn gives a directory its name, durably. It answers whether it has the name,
// be it durable or not.
func (db *DB) moveIn(from, to string) (moved bool, err error) {
	if err := db.opts.FS.Rename(from, to); err != nil {
		return false, err
	}
	return true, errors.Join(db.opts.FS.SyncDir(filepath.Dir(to)), db.opts.FS.SyncDir(filepath.Dir(from)))
}

func (db *DB) removeIntent(intent string) error {
	return errors.Join(db.opts.FS.Remove(intent), db.opts.FS.SyncDir(filepath.Dir(intent)))
}

// makeWay takes the namespace of a name away, durably, before another moves in. It
// answers how to bring it back, and what is left to do once the other is there.
func (db *DB) makeWay(name string, now history, incoming, reason string) (back, gone func() error, err error) {
	nothing := func() error { return nil }
	dir := db.dir(name)
	if _, err := db.opts.FS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nothing, nothing, nil
	} else if err != nil {
		return nil, nil, err
	}
	n := db.handle(name)
	was, known := n.history()
	sick := n.frozen.Load() != nil // what is wrong with it may be for a human to see
	if err := db.supersede(n); err != nil {
		db.opts.Logger.Warn("closing a namespace that is replaced failed", "namespace", name, "error", err)
	}
	if err := db.keepLastEpoch(dir, incoming); err != nil {
		return nil, nil, err
	}
	away := filepath.Join(filepath.Dir(dir), oldPrefix+name+"-"+unique())
	gone = func() error { return db.opts.FS.RemoveAll(away) }
	if common := was.common(now); !known || sick || common < was.last || was.lineage != now.lineage {
		if known && was.lineage == now.lineage {
			db.setRecordsAside(dir, name, was, common, reason)
		}
		if away, err = db.asidePath(name, "-"+slug(reason)); err != nil {
			return nil, nil, err
		}
		gone = func() error { return db.writeReason(filepath.Join(away, reasonName), reason) }
	}
	back = func() error { return db.opts.FS.Rename(away, dir) }
	moved, err := db.moveIn(dir, away)
	if err != nil && moved {
		err = errors.Join(err, back())
	}
	return back, gone, err
}

// setRecordsAside writes what only the old log has to a readable file. The old
// directory is kept whole in any case, so a failure is no reason to stop.
func (db *DB) setRecordsAside(dir, name string, was history, common uint64, reason string) {
	log, err := db.openLogIn(dir, name, was.lineage, was.checkpoint)
	if err == nil {
		_, err = db.writeAside(log, name, max(common+1, log.FirstLSN()), reason)
		err = errors.Join(err, log.Close())
	}
	if err != nil {
		db.opts.Logger.Warn("the records behind the fork couldn't be written to a readable file; they are in the directory that is set aside", "namespace", name, "error", err)
	}
}

// keepLastEpoch has the new meta.json know the highest epoch that this node ever
// began, where it is of the same lineage: no number is used twice.
func (db *DB) keepLastEpoch(from, to string) error {
	was, err := readMeta(db.opts.FS, from)
	if err != nil {
		return nil //nolint:nilerr // what can't be read can't be kept, and is set aside
	}
	now, err := readMeta(db.opts.FS, to)
	if err != nil || was.Lineage != now.Lineage || was.LastEpoch <= now.LastEpoch {
		return err
	}
	now.LastEpoch = was.LastEpoch
	return now.write(db.opts.FS, to)
}

// finishInstalls ends installations that a crash has interrupted: where the old
// namespace is away, the new one moves in; where it is not, its stage stays one.
func (db *DB) finishInstalls() error {
	fsys, incoming := db.opts.FS, filepath.Join(db.opts.Dir, incomingDir)
	names, err := fsys.List(incoming)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range names {
		name, ok := strings.CutPrefix(file, installPrefix)
		if !ok {
			continue
		}
		if err := db.finishInstall(name); err != nil {
			return fmt.Errorf("finishing the installation of namespace %q: %w", name, err)
		}
		if err := db.removeIntent(filepath.Join(incoming, file)); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) finishInstall(name string) error {
	if !ValidName(name) || strings.HasSuffix(name, ".tmp") && db.absent(db.stageDir(name)) {
		return nil
	}
	if db.absent(db.stageDir(name)) || !db.absent(db.dir(name)) {
		return nil
	}
	db.opts.Logger.Info("the installation of a snapshot was interrupted and is finished", "namespace", name)
	_, err := db.moveIn(db.stageDir(name), db.dir(name))
	return err
}

func (db *DB) absent(path string) bool {
	_, err := db.opts.FS.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// history is what a log is by its epochs and its end.
type history struct {
	lineage    Lineage
	epochs     []EpochStart
	last       uint64
	checkpoint uint64
}

// history is the namespace's, if it can be opened.
func (n *Namespace) history() (h history, known bool) {
	if err := n.acquireLog(); err != nil {
		return h, false
	}
	defer n.releaseLog()
	return history{lineage: n.lineage, epochs: *n.epochs.Load(), last: n.appended.Load(), checkpoint: n.point.Load().LSN}, true
}

// common is the last record that both histories have, 0 where there is none.
func (h history) common(o history) uint64 {
	if h.lineage != o.lineage {
		return 0
	}
	same := 0
	for same < len(h.epochs) && same < len(o.epochs) && h.epochs[same] == o.epochs[same] {
		same++
	}
	last := min(h.last, o.last)
	for _, table := range [][]EpochStart{h.epochs, o.epochs} {
		if same < len(table) {
			last = min(last, table[same].FirstLSN-1)
		}
	}
	return last
}
