package btree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	boltDataFile = "data.bolt"
	boltNewFile  = "data.bolt.new" // a tree that is being made

	// boltSnapshots is how many snapshots may be open at a time.
	boltSnapshots = 1024
	// boltLockWait is how long Open waits for another process to let go.
	boltLockWait = 100 * time.Millisecond
)

// The buckets: the tree, and beside it the number of its keys, because bbolt
// would walk the whole tree for that.
var (
	boltBucket  = []byte("tree")
	boltMeta    = []byte("meta")
	boltKeysKey = []byte("keys") // u64, little endian
)

// boltTree is a tree in a bbolt file.
//
// bbolt checks little of what it reads: a damaged page shows as a panic, and one
// that can't be read as a fault in the map. Both become errors here; see guard.
type boltTree struct {
	name string
	path string
	log  hclog.Logger
	db   *bolt.DB
	gate *gate

	writer sync.Mutex // held by Update and Close
	failed error      // why no more updates are taken; belongs to writer's holder
	stuck  bool       // bbolt panicked and couldn't roll back: it may hold its own locks
}

func openBolt(o Options) (Tree, error) {
	path := filepath.Join(o.Dir, boltDataFile)
	t, err := openBoltTree(o, path)
	if err != nil {
		return nil, advise(path, boltErr(err))
	}
	return t, nil
}

func openBoltTree(o Options, path string) (*boltTree, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := makeBolt(o.Dir, path); err != nil {
		return nil, err
	}
	db, err := openBoltFile(path, o.MapSize, false)
	if err != nil {
		return nil, err
	}
	return &boltTree{name: o.Name, path: path, log: o.Logger, db: db, gate: newGate(boltSnapshots)}, nil
}

// readBolt opens a tree that is only read.
func readBolt(o Options) (ReadTree, error) {
	path := filepath.Join(o.Dir, boltDataFile)
	db, err := (*bolt.DB)(nil), missing(path)
	if err == nil {
		db, err = openBoltFile(path, 0, true)
	}
	if err != nil {
		return nil, advise(path, boltErr(err))
	}
	return &boltTree{name: o.Name, path: path, log: o.Logger, db: db, gate: newGate(boltSnapshots), failed: errOnlyRead}, nil
}

// makeBolt makes a file with an empty bucket where there is none. It gets its
// name only when it is complete and synced.
func makeBolt(dir, path string) error {
	tmp := filepath.Join(dir, boltNewFile)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if there, err := exists(path); there || err != nil {
		return errors.Join(err, syncDead(path, dir))
	}
	db, err := bolt.Open(tmp, 0o600, &bolt.Options{Timeout: boltLockWait})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket(boltBucket)
		if err != nil {
			return err
		}
		_, err = tx.CreateBucket(boltMeta)
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncPath(dir)
}

// openBoltFile opens a file that exists.
func openBoltFile(path string, mapSize int64, readOnly bool) (db *bolt.DB, err error) {
	if err := checkBoltFile(path); err != nil {
		return nil, err
	}
	var file *os.File
	o := &bolt.Options{
		Timeout:      boltLockWait,
		ReadOnly:     readOnly,
		FreelistType: bolt.FreelistMapType,
		// With a map of this size from the start, reads seldom wait for a larger
		// one. bbolt maps what is there and reserves the rest.
		InitialMmapSize: int(mapSize),
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	}
	err = guard(func() error {
		db, err = bolt.Open(path, 0o600, o)
		return err
	})
	if err != nil {
		if file != nil {
			// After a panic bbolt still has the file, and its map keeps the lock;
			// otherwise these fail, because bbolt has closed it.
			_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
			_ = file.Close()
		}
		return nil, err
	}
	err = guard(func() error { return checkBuckets(db) })
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// checkBuckets refuses a bolt file that isn't a tree.
func checkBuckets(db *bolt.DB) error {
	return db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(boltBucket) == nil || tx.Bucket(boltMeta) == nil {
			return fmt.Errorf("%w: it has no buckets %q and %q", ErrFormat, boltBucket, boltMeta)
		}
		return nil
	})
}

// guard runs fn, which works on bbolt's pages, and turns a panic and a fault in
// the map into ErrDamaged.
func guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: bbolt panicked: %v", ErrDamaged, p)
		}
	}()
	return fn()
}

func (t *boltTree) Snapshot() (Snapshot, error) {
	s := &boltSnapshot{tree: t}
	if err := t.gate.enter(&s.ticket); err != nil {
		return nil, err
	}
	err := guard(func() (err error) {
		s.tx, err = t.db.Begin(false)
		return err
	})
	if err == nil {
		err = guard(func() error {
			s.bucket = s.tx.Bucket(boltBucket)
			return nil
		})
	}
	if err == nil && s.bucket == nil {
		err = fmt.Errorf("%w: it has no bucket %q", ErrDamaged, boltBucket)
	}
	if err != nil {
		if s.tx != nil {
			_ = s.tx.Rollback() // of a read: nothing to lose
		}
		t.gate.leave(&s.ticket)
		return nil, boltErr(err)
	}
	return s, nil
}

func (t *boltTree) Update(fn func(Tx) error) (err error) {
	t.writer.Lock()
	defer t.writer.Unlock()
	if t.gate.isClosed() {
		return ErrClosed
	}
	if t.failed != nil {
		return fmt.Errorf("%w: %w; open the tree again", ErrFailed, t.failed)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	x := &boltTx{tree: t}
	defer x.end()
	if err := x.begin(); err != nil {
		return boltErr(err)
	}
	if err := fn(x); err != nil {
		return err
	}
	if x.broken != nil {
		return boltErr(x.broken)
	}
	return x.commit()
}

// fail decides whether an error of a commit is the end of updates.
func (t *boltTree) fail(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOMEM) {
		t.failed = err
		t.log.Error("a commit failed: no more updates until the tree is opened again", "tree", t.name, "error", err)
	}
	return boltErr(err)
}

func (t *boltTree) Stats() (Stats, error) {
	var s Stats
	err := t.gate.visit(false, func() error {
		return guard(func() error {
			return t.db.View(func(tx *bolt.Tx) error {
				free := int64(t.db.Stats().FreePageN) * int64(t.db.Info().PageSize)
				s = Stats{Keys: boltKeys(tx), FileBytes: tx.Size(), UsedBytes: max(0, tx.Size()-free)}
				return nil
			})
		})
	})
	if err != nil {
		return Stats{}, boltErr(err)
	}
	t.gate.describe(&s)
	return s, nil
}

func boltKeys(tx *bolt.Tx) uint64 {
	if b := tx.Bucket(boltMeta).Get(boltKeysKey); len(b) == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (t *boltTree) Close() error {
	if !t.gate.close() {
		return ErrClosed
	}
	t.gate.drain()
	t.writer.Lock()
	defer t.writer.Unlock()
	if t.stuck {
		return fmt.Errorf("close %s: %w: it stays open until the process ends", t.path, t.failed)
	}
	return boltErr(t.db.Close())
}

// boltErr adds our sentinel to errors that have one.
func boltErr(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrDamaged), errors.Is(err, ErrFormat):
		return err
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return ErrClosed
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrOpen, err)
	case errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", ErrFormat, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrInvalidMapping):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	default:
		return err
	}
}
