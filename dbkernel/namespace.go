package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

const (
	walDir  = "wal"
	treeDir = "db"
)

// Namespace is an isolated database: its own log, memtables and B+tree. Its
// methods may be called concurrently.
//
// Lock order: life.mu, then pins.mu or queue.mu; none is held across I/O but
// life.mu, while the namespace is being opened or released.
type Namespace struct {
	db     *DB
	name   string
	dir    string
	logger hclog.Logger
	opts   atomic.Pointer[NamespaceOptions]
	staged bool // of a Stage: it takes records, and nothing of it may be read

	life life
	over atomic.Pointer[error] // ErrClosed or ErrSuperseded once nobody may enter; set under life.mu
	wg   sync.WaitGroup        // the committer, flushes, interval syncs

	// Set when the namespace is loaded, and kept while it is idle.
	lineage Lineage
	log     *wal.Log
	epochs  atomic.Pointer[[]EpochStart] // the epoch table; replaced as a whole
	point   atomic.Pointer[checkpoint]   // the tree's

	appended atomic.Uint64 // last LSN written to the log
	applied  atomic.Uint64 // last LSN in the memtables
	durable  atomic.Uint64 // last LSN synced
	commit   atomic.Uint64 // last LSN committed
	epoch    atomic.Uint64 // of the last record
	advanced signal        // one of the above rose, or the namespace froze or closed
	frozen   atomic.Pointer[error]

	// Given back while idle.
	tree btree.Tree // guarded by life: stable for its users
	mems atomic.Pointer[memList]
	// memsMu orders the replacing of mems: by a rotation, and by a flush.
	memsMu sync.Mutex
	ring   atomic.Pointer[ring]

	queue  queue
	flush  flusher
	pins   pinSet
	holds  holds
	limits limits
	txs    txSet
	reads  objectReads
	models modelLSNs

	// The committer's alone.
	head         head
	applying     chan struct{} // closed when the group before is applied; nil once that was seen
	answering    int           // requests of that group
	began        bool          // this process has begun its epoch
	pendingEpoch *EpochStart   // in meta.json, its record not yet appended

	// Whoever applies: recovery, the group being applied, the settled committer.
	meta       meta
	activeFrom uint64 // the last LSN before the active memtable
	uploads    map[codec.ObjectID]int64
	recovering bool
	applyErr   error // why nothing can be applied any more

	tended      atomic.Bool  // housekeeping is at work
	mark        atomic.Int32 // how far the mark is that a full memtable asks for
	syncPending atomic.Bool  // with sync_interval: a sync is on its way

	staging atomic.Pointer[staging] // of a stage, until its tree has all that it needs
	// treeWriter is held by what writes to the tree, and by those who must not see
	// it change between two snapshots. It comes before memsMu.
	treeWriter sync.Mutex
	passes     []*pass                // walks under way; guarded by treeWriter
	repairs    map[int]*pass          // of these, those of repairs, by range
	liveDrift  int64                  // by how much the checkpoint's live bytes are too low; guarded by treeWriter
	marks      atomic.Pointer[[]Mark] // those that the tree has digests of, newest first
	marked     signal                 // a flush has ended
	lastMark   uint64                 // LSN of the last mark; whoever applies
	unmarked   atomic.Int64           // time of the first batch behind it, 0 for none
	integrity  integrity
	scrubSlot  chan struct{} // has room for the one scrub
	scrubTried atomic.Int64  // when housekeeping began the last, 0: not yet

	nextDue   atomic.Int64 // earliest expiry that is known, 0 for none
	counters  counters
	lastWrite atomic.Int64 // time of the last record that this process applied, 0 for none
}

func newNamespace(db *DB, name string, o NamespaceOptions) *Namespace {
	n := &Namespace{db: db, name: name, dir: db.dir(name), logger: db.opts.Logger.With("namespace", name), scrubSlot: make(chan struct{}, 1)}
	n.opts.Store(&o)
	n.life.idle.L = &n.life.mu
	return n
}

// Name is the namespace's name.
func (n *Namespace) Name() string { return n.name }

// life counts who uses the namespace, so that it can be opened on first use,
// released when idle and closed when nobody is inside. A count and not a
// RWMutex: a user may become a user again without waiting for a closer.
type life struct {
	mu    sync.Mutex
	idle  sync.Cond // users or followers fell to zero
	users int
	// followers use the log alone; they don't keep the rest in memory.
	followers int
	touched   bool // used since housekeeping looked last
	quiet     time.Time
	loaded    bool
	hot       bool  // tree and memtables are there
	err       error // why it can't be loaded; sticky
}

// acquire makes the namespace usable until release: loaded, its tree open.
func (n *Namespace) acquire() error {
	l := &n.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := n.openLocked(); err != nil {
		return err
	}
	l.users++
	l.touched = true
	return nil
}

// acquireLog makes the namespace's log usable until releaseLog, without opening
// the tree and without counting as a use that keeps its memory: what followers
// of the log need.
func (n *Namespace) acquireLog() error {
	l := &n.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loaded || l.err != nil || n.closing() {
		if err := n.openLocked(); err != nil {
			return err
		}
	}
	l.followers++
	return nil
}

// acquireHot makes the namespace usable until release if its tree is open
// anyway. It doesn't count as a use that keeps it open.
func (n *Namespace) acquireHot() bool {
	l := &n.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.hot || n.closing() {
		return false
	}
	l.users++
	return true
}

func (n *Namespace) release()    { n.life.leave(&n.life.users) }
func (n *Namespace) releaseLog() { n.life.leave(&n.life.followers) }

func (l *life) leave(count *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *count--; *count == 0 {
		l.idle.Broadcast()
	}
}

func (n *Namespace) openLocked() error {
	l := &n.life
	switch {
	case n.closing():
		return fmt.Errorf("namespace %q: %w", n.name, n.ended())
	case l.hot:
		return nil
	case l.err != nil:
		return l.err
	}
	var err error
	if !l.loaded {
		if err = n.load(); err == nil {
			l.loaded = true
		}
	} else {
		err = n.reopen()
	}
	if err == nil {
		l.hot = true
		return nil
	}
	err = diskFull(fmt.Errorf("opening namespace %q: %w", n.name, err))
	n.logger.Error("namespace can't be opened", "error", err)
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrMissing) {
		l.err = err
		n.db.event(n, EventQuarantined, err)
	}
	return err
}

// reopen opens what an idle namespace had given back. All of its log is in the tree.
func (n *Namespace) reopen() error {
	tree, err := n.openTree()
	if err != nil {
		return asDamage(err)
	}
	last := n.applied.Load()
	point, err := n.loadCheckpoint(tree)
	if err == nil && point.LSN != last {
		err = fmt.Errorf("%w: the B+tree was left at LSN %d and is at %d: it was changed or replaced meanwhile; restart the node", ErrDamaged, last, point.LSN)
	}
	if err != nil {
		return errors.Join(err, tree.Close())
	}
	n.tree = tree
	n.activeFrom = last
	n.mems.Store(&memList{tables: []*mem{newMem(last, n.head.epoch, n.head.time)}, base: last})
	return nil
}

func (n *Namespace) openTree() (btree.Tree, error) {
	name := n.name
	if n.staged {
		name = incomingDir + "/" + name
	}
	return n.db.openTreeIn(n.dir, name, n.opts.Load().Storage)
}

// openTreeIn opens the B+tree of a directory. The name is what the crash note and
// messages call it.
func (db *DB) openTreeIn(dir, name string, o StorageOptions) (btree.Tree, error) {
	tree, err := btree.Open(btree.Options{
		Engine: o.Engine, Dir: filepath.Join(dir, treeDir), MapSize: o.MapSize,
		FS: db.opts.FS, Logger: db.opts.Logger.Named("btree").With("namespace", name), Name: name, Noted: db.unguard != nil,
	})
	if err != nil {
		return nil, err
	}
	if err := db.opts.FS.SyncDir(dir); err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	return tree, nil
}

// releaseIdle gives back the namespace's tree, memtables and ring if nobody has
// used it for a while. A flush comes first, so that the log's tail is all that
// is left in memory.
func (n *Namespace) releaseIdle(ctx context.Context, now time.Time) {
	l := &n.life
	l.mu.Lock()
	if l.touched || l.quiet.IsZero() {
		l.touched, l.quiet = false, now
	}
	due := l.hot && l.users == 0 && now.Sub(l.quiet) >= n.db.opts.IdleAfter
	if due {
		l.users++ // keeps it open during the flush
	}
	l.mu.Unlock()
	if !due || n.txs.open() > 0 {
		if due {
			n.release()
		}
		return
	}
	err := n.flushAll(ctx)
	n.release()
	if err != nil {
		return // reported by the flush; tried again at the next round
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users > 0 || l.touched || !l.hot || n.point.Load().LSN != n.applied.Load() || n.queue.busy() {
		return
	}
	n.dropMems()
	n.ring.Store(nil)
	if err := n.tree.Close(); err != nil {
		n.logger.Error("closing the idle B+tree failed", "error", err)
	}
	n.tree, l.hot = nil, false
	n.log.ReleaseMemory()
}

// dropMems takes the memtables off the node's memory count.
func (n *Namespace) dropMems() {
	for _, m := range n.mems.Load().tables {
		n.db.memory.Add(-m.counted)
	}
	n.mems.Store(nil)
	n.db.relieved.broadcast()
}

// close flushes and closes the namespace. Calls under way end first; waiting
// ones are woken.
func (n *Namespace) close() error { return n.end(ErrClosed) }

// end closes the namespace for good, and gives the cause to all that come later
// or wait. One that is superseded isn't flushed: what follows it reads the log.
func (n *Namespace) end(cause error) error {
	l := &n.life
	l.mu.Lock()
	n.over.CompareAndSwap(nil, &cause)
	n.advanced.broadcast()
	n.marked.broadcast()
	n.db.relieved.broadcast()
	for l.users > 0 || l.followers > 0 {
		l.idle.Wait()
	}
	loaded, hot := l.loaded, l.hot
	l.loaded, l.hot = false, false
	l.mu.Unlock()
	if !loaded {
		return nil
	}
	var errs []error
	if hot && n.frozen.Load() == nil && errors.Is(cause, ErrClosed) {
		errs = append(errs, n.flushAll(context.Background()))
	}
	if errors.Is(cause, ErrClosed) {
		n.keepHolds()
	}
	n.queue.close()
	n.flush.stop()
	n.wg.Wait()
	errs = append(errs, n.log.Close())
	if hot {
		n.dropMems()
		errs = append(errs, n.tree.Close())
	}
	return errors.Join(errs...)
}

// closing reports whether the namespace is being closed.
func (n *Namespace) closing() bool { return n.ended() != nil }

// ended is why nobody may enter any more, nil while they may.
func (n *Namespace) ended() error {
	if cause := n.over.Load(); cause != nil {
		return *cause
	}
	return nil
}

// superseded is ErrSuperseded once another handle has the namespace.
func (n *Namespace) superseded() error {
	if err := n.ended(); errors.Is(err, ErrSuperseded) {
		return fmt.Errorf("namespace %q: %w", n.name, err)
	}
	return nil
}

// freeze stops all writing for good, after an I/O error that leaves open what
// is on the disk. It is never taken back while the process lives.
func (n *Namespace) freeze(cause error) error {
	err := fmt.Errorf("%w: %w: restart the node after the disk was checked; reads go on", ErrFrozen, cause)
	if n.frozen.CompareAndSwap(nil, &err) {
		n.logger.Error("namespace is frozen for writing", "error", cause)
		n.db.event(n, EventFrozen, cause)
	}
	n.advanced.broadcast()
	n.marked.broadcast()
	n.db.relieved.broadcast()
	return *n.frozen.Load()
}

// readLSN is what a new reader sees: the commit LSN; with sync_interval, on the
// owner, what is applied.
func (n *Namespace) readLSN() uint64 {
	if o := n.opts.Load(); o.Storage.SyncInterval > 0 && !o.Replica {
		return n.applied.Load()
	}
	return n.commit.Load()
}

// Replica reports whether another node owns the namespace, so that nothing can be
// written here. It opens nothing.
func (n *Namespace) Replica() bool { return n.opts.Load().Replica }

// CommitLSN is the last committed record.
func (n *Namespace) CommitLSN() uint64 { return n.commit.Load() }

// Status says where the namespace stands. It opens one that was never used.
func (n *Namespace) Status() Status {
	s := Status{Name: n.name, Replica: n.opts.Load().Replica, State: StateServing}
	if err := n.acquireLog(); err != nil {
		s.State, s.Code, s.Reason, s.Unreadable = StateQuarantined, codeOf(err), err.Error(), true
		if m, err := readMeta(n.db.opts.FS, n.dir); err == nil {
			s.Lineage = m.Lineage // what to follow in its place
		}
		return s
	}
	defer n.releaseLog()
	s.Lineage = n.lineage
	s.Epoch, s.LSN = n.epoch.Load(), n.appended.Load()
	s.DurableLSN, s.CommitLSN, s.CheckpointLSN = n.durable.Load(), n.commit.Load(), n.point.Load().LSN
	s.FirstLSN = n.log.FirstLSN()
	if err := n.frozen.Load(); err != nil {
		s.State, s.Code, s.Reason = StateFrozen, codeOf(*err), (*err).Error()
		if errors.Is(*err, ErrLogBehind) || errors.Is(*err, ErrDamaged) {
			s.State = StateQuarantined
		}
	}
	return s
}

// codeOf is the stable code of the reason for a state.
func codeOf(err error) string {
	switch {
	case errors.Is(err, ErrNewerFormat):
		return "NEWER_FORMAT"
	case errors.Is(err, ErrMissing):
		return "NAMESPACE_MISSING"
	case errors.Is(err, ErrLogBehind):
		return "LOG_BEHIND_CHECKPOINT"
	case errors.Is(err, ErrDamaged):
		return "DAMAGED"
	case errors.Is(err, ErrFrozen):
		return "NAMESPACE_FROZEN"
	case errors.Is(err, ErrClosed):
		return "SHUTTING_DOWN"
	case errors.Is(err, ErrSuperseded):
		return "NAMESPACE_SUPERSEDED"
	default:
		return "NAMESPACE_UNAVAILABLE"
	}
}

// EpochTable lists the epochs of the log, oldest first. The slice is the caller's.
func (n *Namespace) EpochTable() []EpochStart {
	if err := n.acquireLog(); err != nil {
		return nil
	}
	defer n.releaseLog()
	return append([]EpochStart(nil), *n.epochs.Load()...)
}
