// Package dbkernel is the storage engine: a durable log per namespace, a
// memtable and a B+tree that are functions of it, and a tail that everything
// else reads. Read DESIGN.md before you change it.
package dbkernel

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/wal"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// DB is the set of namespaces in one data directory. Its methods may be called
// concurrently.
type DB struct {
	opts Options
	lock io.Closer

	stop context.CancelFunc // ends housekeeping
	// unguard ends the crash guard; nil without one.
	unguard func() error
	wg      sync.WaitGroup // housekeeping

	flushSlots chan struct{} // bounds concurrent flushes
	memory     atomic.Int64  // bytes of all memtables
	relieved   signal        // memory went down
	requests   requestPool

	started      time.Time
	scrubbing    atomic.Bool // housekeeping has a scrub under way
	tidyingAside atomic.Bool // housekeeping removes what was set aside for a time

	making sync.Mutex // held while a namespace's files are made, before mu

	staging sync.Mutex // held while a stage is opened or made, before mu

	mu        sync.Mutex
	closed    bool
	configs   map[string]NamespaceOptions
	open      map[string]*Namespace
	stages    map[string]*Stage
	switching map[string]chan struct{} // names whose directory is being replaced; closed at the end
	switches  sync.WaitGroup           // those, counted
}

const (
	namespacesDir = "namespaces"
	// newPrefix begins the name of a namespace's directory until all its first
	// files are durable. It is no valid name.
	newPrefix = ".new-"
	// concurrentFlushes bounds the flushes of a whole node: each is one large
	// transaction with its own fsync.
	concurrentFlushes = 2
)

// Open locks the data directory and opens the database in it, making the
// directory if need be. Namespaces are opened on first use. It fails with
// ErrLocked where another process has the directory.
func Open(o Options) (*DB, error) {
	o, err := o.validated()
	if err != nil {
		return nil, fmt.Errorf("%w options: %w", ErrInvalid, err)
	}
	dir := filepath.Join(o.Dir, namespacesDir)
	if err := makeDir(o.FS, dir); err != nil {
		return nil, fmt.Errorf("making the data directory: %w: check that %s is a directory that this user may write to", err, o.Dir)
	}
	lock, err := o.FS.Lock(filepath.Join(o.Dir, "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: another process runs on %s: stop it, or give this one a data_dir of its own", ErrLocked, o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w: check that %s is a directory that this user may write to", err, o.Dir)
	}
	ctx, stop := context.WithCancel(context.Background())
	db := &DB{
		opts: o, lock: lock, stop: stop,
		flushSlots: make(chan struct{}, concurrentFlushes),
		started:    o.Clock(),
		configs:    map[string]NamespaceOptions{},
		open:       map[string]*Namespace{},
		stages:     map[string]*Stage{},
		switching:  map[string]chan struct{}{},
	}
	err = db.tidy()
	if err == nil && o.GuardCrashes && vfs.IsOS(o.FS) {
		err = db.guardCrashes()
	}
	if err != nil {
		stop()
		return nil, errors.Join(err, lock.Close())
	}
	db.wg.Go(func() { db.keepHouse(ctx) })
	return db, nil
}

// makeDir makes a directory and what is missing above it, each durable in its
// parent: a data directory that vanishes with a power cut takes all along.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(fsys, parent); err != nil {
		return err
	}
	return errors.Join(fsys.MkdirAll(dir), fsys.SyncDir(parent))
}

func (db *DB) guardCrashes() error {
	quarantined, release, err := guardCrashes(db.opts.Dir)
	if err != nil {
		return fmt.Errorf("preparing for crashes: %w", err)
	}
	for _, name := range quarantined {
		db.opts.Logger.Error("the process before died inside this namespace's B+tree; it is quarantined", "namespace", name)
	}
	db.unguard = release
	return nil
}

// tidy brings the directories into order after a crash: what was half made or half
// removed goes, and an installation that was interrupted is finished.
func (db *DB) tidy() error {
	for _, dir := range []string{namespacesDir, incomingDir, asideDir} {
		if err := db.removeLeftovers(filepath.Join(db.opts.Dir, dir)); err != nil {
			return err
		}
	}
	return db.finishInstalls()
}

func (db *DB) closeStages() (errs []error) {
	db.staging.Lock() // none is being opened
	defer db.staging.Unlock()
	db.mu.Lock()
	stages := slices.Collect(maps.Values(db.stages))
	db.mu.Unlock()
	for _, s := range stages {
		if err := s.shutdown(); err != nil {
			errs = append(errs, fmt.Errorf("the stage of namespace %q: %w", s.name, err))
		}
	}
	return errs
}

// Close flushes and closes every namespace and releases the data directory. It
// waits for calls that are under way and for all of the kernel's goroutines.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	db.mu.Unlock()
	db.switches.Wait()
	db.mu.Lock()
	open := slices.Collect(maps.Values(db.open))
	db.mu.Unlock()

	db.stop()
	db.wg.Wait()
	errs := db.closeStages()
	for _, n := range open {
		if err := n.close(); err != nil {
			errs = append(errs, fmt.Errorf("namespace %q: %w", n.name, err))
		}
	}
	if db.unguard != nil {
		errs = append(errs, db.unguard())
	}
	return errors.Join(append(errs, db.lock.Close())...)
}

// Configure sets a namespace's options on this node. Before the namespace's
// first use all of them count; afterwards Quota, Retention, FlushInterval and
// MemtableSize take effect, the others with the next start.
func (db *DB) Configure(name string, o NamespaceOptions) error {
	o.Storage = o.Storage.withDefaults(db.opts.Defaults.Storage)
	if err := o.Storage.validate(); err != nil {
		return fmt.Errorf("%w options of namespace %q: %w", ErrInvalid, name, err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.configs[name] = o
	if n := db.open[name]; n != nil {
		live := *n.opts.Load()
		live.Quota = o.Quota
		live.Storage.Retention = o.Storage.Retention
		live.Storage.FlushInterval, live.Storage.MemtableSize = o.Storage.FlushInterval, o.Storage.MemtableSize
		n.opts.Store(&live)
	}
	return nil
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ValidName reports whether name can be a namespace's.
func ValidName(name string) bool { return validName.MatchString(name) }

// Create makes a namespace with the given lineage, or a new one if it is zero.
// Its first files are durable when it returns. ErrNamespaceExists.
func (db *DB) Create(name string, lineage Lineage) (*Namespace, error) {
	if err := db.create(name, lineage); err != nil {
		return nil, err
	}
	return db.Namespace(name)
}

func (db *DB) create(name string, lineage Lineage) error {
	if !ValidName(name) {
		return fmt.Errorf("%w namespace name %q: use 1 to %d letters, digits, '.', '_' and '-', beginning with a letter or digit", ErrInvalid, name, MaxNameLen)
	}
	if lineage.IsZero() {
		if _, err := rand.Read(lineage[:]); err != nil {
			return err
		}
	}
	end, err := db.beginSwitch(name)
	if err != nil {
		return err
	}
	defer end()
	if err := db.makeFiles(name, lineage); err != nil {
		return diskFull(fmt.Errorf("making namespace %q: %w", name, err))
	}
	return nil
}

// makeFiles builds the namespace's directory aside and renames it into place,
// so that it is there as a whole or not at all.
func (db *DB) makeFiles(name string, lineage Lineage) error {
	db.making.Lock()
	defer db.making.Unlock()
	db.mu.Lock()
	closed, o := db.closed, db.optionsLocked(name)
	db.mu.Unlock()
	if closed {
		return ErrClosed
	}
	fsys, dir := db.opts.FS, db.dir(name)
	if _, err := fsys.Stat(dir); err == nil {
		return ErrNamespaceExists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	building := filepath.Join(filepath.Dir(dir), newPrefix+name+"-"+unique())
	err := db.makeFilesIn(building, lineage, o)
	if err == nil {
		err = fsys.Rename(building, dir)
	}
	if err != nil {
		return errors.Join(err, fsys.RemoveAll(building))
	}
	return fsys.SyncDir(filepath.Dir(dir))
}

func (db *DB) makeFilesIn(dir string, lineage Lineage, o NamespaceOptions) error {
	fsys := db.opts.FS
	if err := fsys.MkdirAll(filepath.Join(dir, walDir)); err != nil {
		return err
	}
	log, err := wal.Create(db.walOptions(dir, lineage, o), 1)
	if err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	m := meta{Format: metaFormat, Lineage: lineage, Engine: o.Storage.Engine, CreatedAt: db.opts.Clock().UTC().Truncate(time.Second)}
	return m.write(fsys, dir)
}

func (db *DB) walOptions(dir string, lineage Lineage, o NamespaceOptions) wal.Options {
	return wal.Options{
		FS: db.opts.FS, Dir: filepath.Join(dir, walDir), Lineage: lineage,
		SegmentSize: o.Storage.SegmentSize, Logger: db.opts.Logger.Named("wal"),
	}
}

// Namespace returns a namespace that is on disk. The handle stays valid until
// the DB is closed, or the namespace is replaced, cut off or set aside: then it
// answers ErrSuperseded, and Namespace the new one. A call during such a switch waits
// for its end. ErrNamespaceNotFound.
func (db *DB) Namespace(name string) (*Namespace, error) {
	db.lockAfterSwitch(name)
	defer db.mu.Unlock()
	if n := db.open[name]; n != nil {
		return n, nil
	}
	if db.closed {
		return nil, ErrClosed
	}
	if !ValidName(name) {
		return nil, fmt.Errorf("%w: %q is no valid name", ErrNamespaceNotFound, name)
	}
	if _, err := db.opts.FS.Stat(db.dir(name)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q", ErrNamespaceNotFound, name)
	} else if err != nil {
		return nil, err
	}
	n := newNamespace(db, name, db.optionsLocked(name))
	db.open[name] = n
	return n, nil
}

// Namespaces lists the names on disk, sorted.
func (db *DB) Namespaces() ([]string, error) {
	all, err := db.opts.FS.List(filepath.Join(db.opts.Dir, namespacesDir))
	names := all[:0]
	for _, name := range all {
		if ValidName(name) {
			names = append(names, name)
		}
	}
	return names, err
}

func (db *DB) dir(name string) string { return filepath.Join(db.opts.Dir, namespacesDir, name) }

func (db *DB) optionsLocked(name string) NamespaceOptions {
	if o, ok := db.configs[name]; ok {
		return o
	}
	return db.opts.Defaults
}

// loaded lists the namespaces that were used since the start, and the logs of
// stages, which take memory and need tending like those.
func (db *DB) loaded() []*Namespace {
	db.mu.Lock()
	defer db.mu.Unlock()
	all := slices.Collect(maps.Values(db.open))
	for _, s := range db.stages {
		if log := s.Log(); log != nil {
			all = append(all, log)
		}
	}
	return all
}

func (db *DB) event(n *Namespace, kind EventKind, err error) {
	if db.opts.OnEvent != nil {
		db.opts.OnEvent(Event{Namespace: n.name, Kind: kind, Err: err})
	}
}
