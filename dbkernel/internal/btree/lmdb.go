//go:build cgo

package btree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/lmdb"
)

const (
	lmdbDataFile = "data.mdb"
	lmdbNewDir   = "new" // where a new environment is made, before it gets its name

	// lmdbSnapshots is how many snapshots may be open at a time. LMDB has a few
	// slots more, for backups and for tools that look in.
	lmdbSnapshots = 240
	lmdbReaders   = lmdbSnapshots + 14
	// lmdbIdleReaders is how many reset read transactions are kept for later.
	lmdbIdleReaders = 16

	// The map grows ahead when this share of it is in use.
	lmdbFullPercent = 80
	// How long growing waits for snapshots: ahead of need, and in need.
	lmdbGrowAhead = time.Second
	lmdbGrowNeed  = 30 * time.Second

	// After a transaction of this many bytes closing gives memory back.
	lmdbTrimBytes = 4 << 20
)

// lmdbTree is a tree in an LMDB environment's root database.
type lmdbTree struct {
	name string
	dir  string
	log  hclog.Logger
	env  *lmdb.Env
	dbi  lmdb.DBI
	gate *gate

	pageSize int64

	// Under the gate's lock; see lmdb_read.go.
	idle     []*lmdbReader
	commits  uint64
	updating bool

	// writer is held by Update and Close; what follows belongs to its holder.
	writer  sync.Mutex
	failed  error // why no more updates are taken
	step    int64 // by how much the largest update so far made the file grow
	largest int   // bytes of keys and values in the largest update so far

	backup sync.Mutex // one at a time, so that reader slots suffice
}

func openLMDB(o Options) (Tree, error) {
	path := filepath.Join(o.Dir, lmdbDataFile)
	t, err := openLMDBTree(o, path)
	if err != nil {
		return nil, advise(path, lmdbErr(err))
	}
	return t, nil
}

func openLMDBTree(o Options, path string) (*lmdbTree, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := makeLMDB(o.Dir, path); err != nil {
		return nil, err
	}
	if err := lmdb.CheckFile(path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	name := ""
	if o.Noted {
		name = o.Name
	}
	env, err := newLMDBEnv(o.Dir, name, mapSizeFor(o.MapSize, info.Size()), 0)
	if err != nil {
		return nil, err
	}
	t := &lmdbTree{name: o.Name, dir: o.Dir, log: o.Logger, env: env, gate: newGate(lmdbSnapshots)}
	if err := t.prepare(); err != nil {
		_ = env.Close() // nothing was written
		return nil, err
	}
	return t, nil
}

// readLMDB opens a tree that is only read. It leaves LMDB's lock file alone: whoever
// calls this keeps writers away.
func readLMDB(o Options) (ReadTree, error) {
	path := filepath.Join(o.Dir, lmdbDataFile)
	t, err := readLMDBTree(o, path)
	if err != nil {
		return nil, advise(path, lmdbErr(err))
	}
	return t, nil
}

func readLMDBTree(o Options, path string) (*lmdbTree, error) {
	if err := missing(path); err != nil {
		return nil, err
	}
	if err := lmdb.CheckFile(path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	env, err := newLMDBEnv(o.Dir, "", mapSizeFor(0, info.Size()), lmdb.Readonly|lmdb.NoLock)
	if err != nil {
		return nil, err
	}
	t := &lmdbTree{name: o.Name, dir: o.Dir, log: o.Logger, env: env, gate: newGate(lmdbSnapshots), failed: errOnlyRead}
	if err := t.prepare(); err != nil {
		_ = env.Close() // nothing was written
		return nil, err
	}
	return t, nil
}

// makeLMDB makes an environment where there is none. It gets its name only when
// it is complete and synced, so that a crash leaves nothing that looks damaged.
func makeLMDB(dir, path string) error {
	tmp := filepath.Join(dir, lmdbNewDir)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if there, err := exists(path); there || err != nil {
		return errors.Join(err, syncDead(path, dir))
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	env, err := newLMDBEnv(tmp, "", 0, 0)
	if err != nil {
		return err
	}
	if err := env.Close(); err != nil {
		return err
	}
	made := filepath.Join(tmp, lmdbDataFile)
	if err := syncPath(made); err != nil {
		return err
	}
	if err := os.Rename(made, path); err != nil {
		return err
	}
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	return syncPath(dir)
}

func newLMDBEnv(dir, name string, mapSize int64, flags uint) (*lmdb.Env, error) {
	env, err := lmdb.NewEnv()
	if err != nil {
		return nil, err
	}
	env.SetName(name)
	err = env.SetMaxReaders(lmdbReaders)
	if err == nil && mapSize > 0 {
		err = env.SetMapSize(mapSize)
	}
	if err == nil {
		err = env.Open(dir, lmdb.NoTLS|flags, 0o600)
	}
	if err != nil {
		_ = env.Close() // a failed Open has closed it already
		return nil, err
	}
	return env, nil
}

// prepare opens the root database and frees reader slots that a process left
// behind when it died.
func (t *lmdbTree) prepare() error {
	dead, err := t.env.ReaderCheck()
	if err != nil {
		return err
	}
	if dead > 0 {
		t.log.Info("cleared reader slots of a dead process", "tree", t.name, "slots", dead)
	}
	st, err := t.env.Stat()
	if err != nil {
		return err
	}
	t.pageSize = int64(st.PSize)
	return t.env.View(func(txn *lmdb.Txn) (err error) {
		t.dbi, err = txn.OpenRoot(0)
		return err
	})
}

// mapSizeFor is a map size of at least size, of which used bytes are less than
// lmdbFullPercent, in whole pages of any size.
func mapSizeFor(size, used int64) int64 {
	const grain = 1 << 16
	for size = max(size, grain); used > size/100*lmdbFullPercent; {
		size *= 2
	}
	return (size + grain - 1) / grain * grain
}

func (t *lmdbTree) Update(fn func(Tx) error) error {
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
	t.beginUpdate()
	defer t.endUpdate()
	t.growAhead()
	for {
		need, err := t.try(fn)
		if need == 0 {
			return err
		}
		if err := t.grow(need, lmdbGrowNeed); err != nil {
			return fmt.Errorf("grow the map of %s to %d bytes: %w", t.name, need, err)
		}
	}
}

// try runs fn in one transaction. Where the map was too small it returns the
// size that it should have.
func (t *lmdbTree) try(fn func(Tx) error) (need int64, err error) {
	before, err := t.env.Info()
	if err != nil {
		return 0, lmdbErr(err)
	}
	txn, err := t.env.BeginTxn(nil, 0)
	if err != nil {
		return 0, t.fail(err)
	}
	tx := &lmdbTx{tree: t, txn: txn, room: before.MapSize - t.usedBytes(before)}
	defer tx.end()
	err = fn(tx)
	if err == nil && tx.need == 0 {
		err = tx.commit()
	}
	if tx.need > 0 {
		return max(2*before.MapSize, t.usedBytes(before)+tx.need), nil
	}
	if err != nil {
		return 0, err
	}
	t.learn(before, tx)
	return 0, nil
}

// learn remembers how much updates need.
func (t *lmdbTree) learn(before *lmdb.EnvInfo, tx *lmdbTx) {
	t.largest = max(t.largest, tx.written)
	if after, err := t.env.Info(); err == nil {
		t.step = max(t.step, t.usedBytes(after)-t.usedBytes(before))
	}
}

// usedBytes is how far into the map pages were ever handed out. Freed pages
// within are not counted: they only make the map look fuller than it is.
func (t *lmdbTree) usedBytes(info *lmdb.EnvInfo) int64 {
	return (info.LastPNO + 1) * t.pageSize
}

// growAhead makes the map larger before it is full, while that is cheap. Where
// snapshots don't leave in time it lets be: nothing is lost yet.
func (t *lmdbTree) growAhead() {
	info, err := t.env.Info()
	if err != nil {
		return // the transaction will tell
	}
	size := mapSizeFor(info.MapSize, t.usedBytes(info)+2*t.step)
	if size == info.MapSize {
		return
	}
	if err := t.grow(size, lmdbGrowAhead); err != nil {
		t.log.Warn("growing the map was put off", "tree", t.name, "bytes", size, "error", err)
	}
}

// grow sets the map's size when no snapshot is open.
func (t *lmdbTree) grow(size int64, patience time.Duration) error {
	size = mapSizeFor(size, 0)
	err := t.gate.alone(patience, func() error {
		t.coolLocked()
		return t.env.SetMapSize(size)
	})
	if err == nil {
		t.log.Debug("grew the map", "tree", t.name, "bytes", size)
	}
	return err
}

// fail decides whether an error of begin or commit is the end of updates.
func (t *lmdbTree) fail(err error) error {
	if errors.Is(err, syscall.EIO) && diskFull(t.dir) {
		// LMDB calls a write that was cut short EIO.
		return fmt.Errorf("%w (%w)", syscall.ENOSPC, err)
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.ENOMEM),
		lmdb.IsErrno(err, lmdb.TxnFull), lmdb.IsErrno(err, lmdb.BadTxn):
		// The transaction is gone and nothing else.
	default:
		t.failed = err
		t.log.Error("a commit failed: no more updates until the tree is opened again", "tree", t.name, "error", err)
	}
	return lmdbErr(err)
}

// diskFull reports whether the file system has no room for a transaction.
func diskFull(dir string) bool {
	var st syscall.Statfs_t
	return syscall.Statfs(dir, &st) == nil && st.Bavail*uint64(st.Bsize) < 1<<20
}

func (t *lmdbTree) Stats() (s Stats, err error) {
	err = t.gate.visit(false, func() error {
		st, err := t.env.Stat()
		if err != nil {
			return err
		}
		info, err := t.env.Info()
		if err != nil {
			return err
		}
		file, err := os.Stat(filepath.Join(t.dir, lmdbDataFile))
		if err != nil {
			return err
		}
		s = Stats{
			Keys:      st.Entries,
			FileBytes: file.Size(),
			UsedBytes: int64(st.BranchPages+st.LeafPages+st.OverflowPages) * int64(st.PSize),
			MapBytes:  info.MapSize,
		}
		return nil
	})
	if err != nil {
		return Stats{}, lmdbErr(err)
	}
	t.gate.describe(&s)
	return s, nil
}

func (t *lmdbTree) Close() error {
	if !t.gate.close() {
		return ErrClosed
	}
	t.gate.drain()
	t.writer.Lock()
	defer t.writer.Unlock()
	for _, r := range t.idle { // nobody else is left to look at it
		r.free()
	}
	t.idle = nil
	err := t.env.Close()
	if t.largest > lmdbTrimBytes {
		lmdb.TrimMemory()
	}
	return lmdbErr(err)
}

// lmdbErr adds our sentinel to errors that have one.
func lmdbErr(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrDamaged), errors.Is(err, ErrFormat):
		return err
	case errors.Is(err, lmdb.ErrTruncated), errors.Is(err, lmdb.ErrDamagedFile), errors.Is(err, lmdb.ErrNotLMDB),
		lmdb.IsErrno(err, lmdb.PageNotFound), lmdb.IsErrno(err, lmdb.Corrupted), lmdb.IsErrno(err, lmdb.Invalid),
		lmdb.IsErrno(err, lmdb.Panic), lmdb.IsErrno(err, lmdb.CursorFull), lmdb.IsErrno(err, lmdb.PageFull),
		lmdb.IsErrno(err, lmdb.Incompatible): // no kind of database is used but one, so that flags in a page are wrong
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case errors.Is(err, lmdb.ErrVersion), lmdb.IsErrno(err, lmdb.VersionMismatch):
		return fmt.Errorf("%w: %w", ErrFormat, err)
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w: %w", ErrOpen, err)
	default:
		return err
	}
}
