package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/memtable"
)

// flusher runs a namespace's flushes, one after another, in a goroutine that is
// there only while there is something to flush.
type flusher struct {
	mu      sync.Mutex
	running bool
	held    bool          // no flush begins: the log is to be cut off
	tries   uint64        // flushes that have begun
	failed  failedFlush   // the last one that failed, if none has succeeded since
	rest    time.Time     // when the next one may begin
	quit    chan struct{} // closed when the namespace closes; made on demand
	quitted bool
}

// failedFlush is the outcome of a flush that failed; zero: there is none.
type failedFlush struct {
	try uint64
	err error
}

func (f *flusher) quitChannel() chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.quit == nil {
		f.quit = make(chan struct{})
	}
	return f.quit
}

// stop ends pauses.
func (f *flusher) stop() {
	quit := f.quitChannel()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.quitted {
		f.quitted = true
		close(quit)
	}
}

// pause waits for d or until the namespace closes.
func (f *flusher) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.quitChannel():
	}
}

// begun counts the flushes that have begun. Who waits for one asks before it waits.
func (f *flusher) begun() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tries
}

// failedSince is why a flush failed that began later than those that were counted
// before, nil where none has. What an older one met may have passed since, as a full
// disk does.
func (f *flusher) failedSince(tries uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed.try > tries {
		return f.failed.err
	}
	return nil
}

// waitOutRest waits as long as there is to be no flush after a flush that failed.
func (f *flusher) waitOutRest() {
	f.mu.Lock()
	rest := time.Until(f.rest)
	f.mu.Unlock()
	if rest > 0 {
		f.pause(rest)
	}
}

// begin counts a flush.
func (f *flusher) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tries++
}

// end notes how the flush went that began last. One that failed is followed by a rest
// as long as it took, so that a full disk doesn't keep a core busy.
func (f *flusher) end(err error, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.failed = failedFlush{}
		return
	}
	f.failed, f.rest = failedFlush{f.tries, err}, time.Now().Add(min(took, housekeepingInterval))
	f.running = false // whoever waits for it tries again, or else housekeeping
}

// scheduleFlush starts the flusher if there is something that may be flushed.
func (n *Namespace) scheduleFlush() {
	f := &n.flush
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running || f.quitted || n.nextFlush() == nil {
		return
	}
	f.running = true
	n.wg.Go(n.flushLoop)
}

// flushEnded reports whether no flush is under way and none can begin, or a flush that
// began later than those that were counted before has failed. Otherwise it sees to it
// that one is under way: who asks again at each end of a flush waits for no other's.
func (n *Namespace) flushEnded(tries uint64) (ended bool, failure error) {
	if failure := n.flush.failedSince(tries); failure != nil {
		return true, failure
	}
	n.scheduleFlush()
	n.flush.mu.Lock()
	defer n.flush.mu.Unlock()
	return !n.flush.running, nil
}

// holdFlushes has no flush begin, and waits for the one under way, so that the checkpoint
// stays where it is.
func (n *Namespace) holdFlushes(ctx context.Context) error {
	f := &n.flush
	f.mu.Lock()
	f.held = true
	f.mu.Unlock()
	err := n.db.relieved.wait(ctx, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !f.running
	})
	if err != nil {
		n.letFlush()
	}
	return err
}

// letFlush ends what holdFlushes began.
func (n *Namespace) letFlush() {
	n.flush.mu.Lock()
	n.flush.held = false
	n.flush.mu.Unlock()
	n.scheduleFlush()
}

// nextFlush is the oldest immutable memtable, if all of it is committed. It needs
// the flusher's lock.
func (n *Namespace) nextFlush() *mem {
	list := n.mems.Load()
	if list == nil || len(list.tables) < 2 || n.frozen.Load() != nil || n.flush.held {
		return nil
	}
	if m := list.tables[len(list.tables)-1]; m.last <= n.commit.Load() {
		return m
	}
	return nil
}

func (n *Namespace) flushLoop() {
	n.flush.waitOutRest()
	for {
		n.flush.mu.Lock()
		m := n.nextFlush()
		if m == nil {
			n.flush.running = false
			n.flush.mu.Unlock()
			n.db.relieved.broadcast()
			return
		}
		n.flush.mu.Unlock()

		if err := n.flushOne(m); err != nil {
			n.db.relieved.broadcast()
			return
		}
		n.trim()
		n.db.relieved.broadcast()
	}
}

// flushOne flushes a memtable when a slot is free, and notes how that went.
func (n *Namespace) flushOne(m *mem) error {
	n.db.flushSlots <- struct{}{}
	defer func() { <-n.db.flushSlots }()
	n.flush.begin()
	began := time.Now()
	err := n.flushMem(m)
	if err != nil {
		n.flushFailed(err) // before another may begin: none must where this froze the namespace
	}
	n.flush.end(err, time.Since(began))
	return err
}

// flushFailed reports a failure: each reason in one line, however often it is met.
func (n *Namespace) flushFailed(err error) {
	report := n.logger.Error
	if last := n.flush.failedSince(0); last != nil && last.Error() == err.Error() {
		report = n.logger.Debug
	}
	report("flushing a memtable failed", "error", err)
	n.db.event(n, EventFlushFailed, err)
	if errors.Is(err, btree.ErrFailed) || errors.Is(err, ErrDamaged) || errors.Is(err, syscall.EIO) {
		_ = n.freeze(fmt.Errorf("flushing to the B+tree: %w", err)) // told to every writer from here on
	}
}

// flushMem brings a memtable into the tree, in one transaction with the
// checkpoint, and takes it off the list.
func (n *Namespace) flushMem(m *mem) error {
	n.treeWriter.Lock()
	defer n.treeWriter.Unlock()
	start, err := n.startCount()
	if err != nil {
		return n.treeError(err)
	}
	var point checkpoint
	var f *flushTx
	err = n.tree.Update(func(tx btree.Tx) error {
		f = newFlushTx(n, m, tx, start)
		err := f.run()
		point = f.point()
		if err == nil && f.completes() {
			f.count.digests, err = f.staging.complete(tx, &point)
		}
		if err == nil {
			err = point.write(tx)
		}
		if err == nil {
			err = f.count.write(tx, point, m.marked)
		}
		return err
	})
	if err != nil {
		return diskFull(n.treeError(err))
	}
	f.count.committed()
	n.memsMu.Lock() // who asks for both at once holds it
	n.point.Store(&point)
	n.mems.Store(n.mems.Load().withoutOldest())
	n.memsMu.Unlock()
	n.marked.broadcast()
	n.stageFlushed(point)
	n.db.memory.Add(-m.counted)
	n.counters.flushes.Add(1)
	n.counters.flushedKeys.Add(uint64(m.Keys()))
	return nil
}

// flushTx is one flush inside its transaction.
type flushTx struct {
	n     *Namespace
	m     *mem
	tx    btree.Tx
	live  int64
	index map[string]bool         // changes of the expiry index: true puts, false deletes
	kept  map[codec.ObjectID]bool // dropped objects: whether somebody still reads them

	staging *staging // of a stage that is not complete; nil otherwise
	count   *digestCount

	edits []btree.Edit
	cells []codec.Cell // of the puts among edits
	buf   []byte
}

const (
	flushBatchEdits = 512
	flushBatchBytes = 4 << 20
)

func newFlushTx(n *Namespace, m *mem, tx btree.Tx, start countStart) *flushTx {
	return &flushTx{
		n: n, m: m, tx: tx, live: start.live, index: map[string]bool{}, kept: map[codec.ObjectID]bool{},
		staging: n.staging.Load(), count: newDigestCount(n, start),
	}
}

func (f *flushTx) run() error {
	if err := f.freeDropped(); err != nil {
		return err
	}
	if f.m.HasRanges() {
		if err := f.dropRanges(); err != nil {
			return err
		}
	}
	it := f.m.Iterate(f.m.last)
	for ok := it.Seek(nil); ok; ok = it.Next() {
		if err := f.add(it.Key(), it.Version()); err != nil {
			return err
		}
	}
	if err := f.applyEdits(); err != nil {
		return err
	}
	return f.applyIndex()
}

// add turns a key's versions in the memtable into an edit of the tree.
func (f *flushTx) add(key []byte, v *memtable.Version) error {
	if v.Kind == memtable.RangeDrop || v.Kind == memtable.IndexEntry {
		return nil
	}
	has := f.staging.lsnOf(key) // a chunk has the cell as it was there
	if prefix := dropPrefix(f.m, key); prefix != nil {
		if d := f.m.Newest(prefix); d != nil && v.LSN < d.LSN && !f.keepsChunk(key) {
			return nil // the range is gone from the tree already
		}
	}
	var expired []codec.Version
	for ; v != nil && v.LSN > has; v = v.Older() {
		switch v.Kind {
		case memtable.Put:
			if slices.Contains(expired, v.Version) {
				return f.edit(btree.Edit{Key: key, Delete: true}, codec.Cell{})
			}
			return f.put(key, codec.Cell{Version: v.Version, Expiry: v.Expiry, Value: v.Value})
		case memtable.Expire:
			expired = append(expired, v.Target)
		default:
			return f.edit(btree.Edit{Key: key, Delete: true}, codec.Cell{})
		}
	}
	if expired == nil {
		return nil
	}
	return f.expireInTree(key, expired)
}

// expireInTree ends a cell that only the tree has, if it still has one of the
// versions that were to expire.
func (f *flushTx) expireInTree(key []byte, expired []codec.Version) error {
	b, found, err := f.tx.Get(key)
	if err != nil || !found {
		return err
	}
	c, ok := f.header(key, b)
	if !ok || !slices.Contains(expired, c.Version) {
		return nil // whether a damaged one should go is for a repair to say
	}
	return f.edit(btree.Edit{Key: key, Delete: true}, codec.Cell{})
}

func (f *flushTx) put(key []byte, c codec.Cell) error {
	at := len(f.buf)
	if at+codec.CellHeaderLen+len(c.Value) > cap(f.buf) && at > 0 {
		// Growing would move cells that edits point to.
		if err := f.applyEdits(); err != nil {
			return err
		}
		at = 0
	}
	if f.buf == nil {
		size := int64(flushBatchBytes)
		if f.m != nil {
			size = min(size, f.m.Bytes())
		}
		f.buf = make([]byte, 0, size)
	}
	f.buf = codec.AppendCell(f.buf, key, c)
	return f.edit(btree.Edit{Key: key, Value: f.buf[at:len(f.buf):len(f.buf)]}, c)
}

func (f *flushTx) edit(e btree.Edit, c codec.Cell) error {
	f.edits = append(f.edits, e)
	f.cells = append(f.cells, c)
	if len(f.edits) < flushBatchEdits {
		return nil
	}
	return f.applyEdits()
}

// applyEdits hands a batch to the tree and accounts for what it replaced.
func (f *flushTx) applyEdits() error {
	err := f.tx.Apply(f.edits, func(i int, head []byte, valueLen int) error {
		key := f.edits[i].Key
		if head != nil {
			if err := f.gone(key, head, valueLen); err != nil {
				return err
			}
		}
		if !f.edits[i].Delete {
			f.live += int64(len(key) + len(f.cells[i].Value))
			f.count.add(key, f.edits[i].Value)
			if at := f.cells[i].Expiry; at != 0 {
				f.index[string(codec.ExpiryKey(at, key))] = true
			}
		}
		return nil
	})
	f.edits, f.cells, f.buf = f.edits[:0], f.cells[:0], f.buf[:0]
	return err
}

// gone accounts for a cell that the tree loses. One that is too damaged to be
// accounted for goes all the same.
func (f *flushTx) gone(key, head []byte, valueLen int) error {
	f.count.remove(key, head, valueLen)
	f.live -= liveLen(key, valueLen)
	if old, ok := f.header(key, head); ok && old.Expiry != 0 {
		f.index[string(codec.ExpiryKey(old.Expiry, key))] = false
	}
	return nil
}

// header reads a header of the tree's, and notes it where it can't be read.
func (f *flushTx) header(key, head []byte) (c codec.Cell, ok bool) {
	c, err := codec.DecodeCellHeader(key, head)
	if err != nil {
		f.count.damaged(key)
	}
	return c, err == nil
}

func (f *flushTx) applyIndex() error {
	keys := make([]string, 0, len(f.index))
	for key := range f.index {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	edits := make([]btree.Edit, len(keys))
	for i, key := range keys {
		edits[i] = btree.Edit{Key: []byte(key), Delete: !f.index[key]}
	}
	return f.tx.Apply(edits, nil)
}

// dropRanges removes from the tree what the memtable's drops cover: rows, and
// chunks of objects that nobody reads. Chunks that are being read stay, with a
// note, until a later flush.
func (f *flushTx) dropRanges() error {
	it := f.m.Iterate(f.m.last)
	for ok := it.Seek([]byte{codec.TypeRow}); ok && it.Key()[0] <= codec.TypeChunk; ok = it.Next() {
		for v := it.Version(); v != nil; v = v.Older() {
			if v.Kind == memtable.RangeDrop {
				if err := f.dropRange(it.Key(), v.LSN); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

func (f *flushTx) dropRange(prefix []byte, lsn uint64) error {
	if f.staging != nil {
		return f.dropStaged(prefix, lsn)
	}
	if prefix[0] == codec.TypeChunk {
		var id codec.ObjectID
		copy(id[:], prefix[1:])
		if f.keeps(id) {
			return f.hideChunks(id)
		}
		return f.deleteChunks(id)
	}
	return f.deleteRow(prefix)
}

// hideChunks notes that the chunks of a dropped object stay for those who read
// them here. For everybody else they are gone, so they no longer count.
func (f *flushTx) hideChunks(id codec.ObjectID) error {
	for no := uint64(0); !f.count.notes[id]; no++ {
		key := codec.ChunkKey(id, no)
		head, _, found, err := f.tx.Head(key)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		f.count.hide(key, head)
	}
	f.count.notes[id] = true
	return f.tx.Put(codec.DropKey(id), nil)
}

// keeps decides once for the whole flush whether a dropped object's chunks stay
// because somebody reads them: all of them stay, with a note, or none.
func (f *flushTx) keeps(id codec.ObjectID) bool {
	kept, ok := f.kept[id]
	if !ok {
		kept = f.n.reads.has(id)
		f.kept[id] = kept
	}
	return kept
}

func (f *flushTx) keepsChunk(key []byte) bool {
	id, _, err := codec.SplitChunkKey(key)
	return err == nil && f.keeps(id)
}

// freeDropped frees the chunks of objects that were being read at an earlier
// flush and are no more.
func (f *flushTx) freeDropped() error {
	notes, err := keysUnder(f.tx, codec.DropPrefix())
	if err != nil {
		return err
	}
	for _, note := range notes {
		id, err := codec.SplitDropKey(note)
		if err != nil {
			return err
		}
		f.count.notes[id] = true
		if f.keeps(id) {
			continue
		}
		if err := f.deleteChunks(id); err != nil {
			return err
		}
		if err := f.tx.Delete(note); err != nil {
			return err
		}
		delete(f.count.notes, id)
	}
	return nil
}

func (f *flushTx) deleteRow(prefix []byte) error {
	keys, err := keysUnder(f.tx, prefix)
	if err != nil {
		return err
	}
	_, err = f.deleteKeys(keys)
	return err
}

// deleteChunks deletes an object's chunks by their numbers, which have no gaps,
// so that none of their bytes are read.
func (f *flushTx) deleteChunks(id codec.ObjectID) error {
	const few = 4 // most objects have one chunk
	for first, n := uint64(0), few; ; first, n = first+uint64(n), min(2*n, flushBatchEdits) {
		keys := make([][]byte, n)
		for i := range keys {
			keys[i] = codec.ChunkKey(id, first+uint64(i))
		}
		deleted, err := f.deleteKeys(keys)
		if err != nil || deleted < len(keys) {
			return err
		}
	}
}

// deleteKeys deletes keys in their order and answers how many there were.
func (f *flushTx) deleteKeys(keys [][]byte) (deleted int, err error) {
	edits := make([]btree.Edit, len(keys))
	for i, key := range keys {
		edits[i] = btree.Edit{Key: key, Delete: true}
	}
	err = f.tx.Apply(edits, func(i int, head []byte, valueLen int) error {
		if head == nil {
			return nil
		}
		deleted++
		return f.gone(keys[i], head, valueLen)
	})
	return deleted, err
}

// point is the checkpoint that belongs to this flush.
func (f *flushTx) point() checkpoint {
	old := f.n.point.Load()
	c := checkpoint{
		Format: checkpointFormat, Lineage: f.n.lineage,
		LSN: f.m.last, Epoch: f.m.epoch, Time: f.m.time,
		Epochs:  epochsUpTo(*f.n.epochs.Load(), f.m.last),
		Records: old.Records + f.m.records, Live: f.live,
	}
	if len(f.m.uploads) > 0 {
		c.Uploads = make(map[string]int64, len(f.m.uploads))
		for id, size := range f.m.uploads {
			c.Uploads[id.String()] = size
		}
	}
	return c
}

// Flush brings the tree up to the commit LSN.
func (n *Namespace) Flush(ctx context.Context) error {
	if err := n.acquire(); err != nil {
		return err
	}
	defer n.release()
	return n.flushAll(ctx)
}

// flushAll rotates and waits until the tree contains what was committed then.
func (n *Namespace) flushAll(ctx context.Context) error {
	tries := n.flush.begun()
	var target uint64
	if err := n.inCommitter(ctx, func() {
		n.rotateAtMark()
		n.syncNow()
		target = n.activeFrom
	}); err != nil {
		return err
	}
	var failure error
	err := n.db.relieved.wait(ctx, func() (over bool) {
		if frozen := n.frozen.Load(); frozen != nil {
			failure = *frozen
			return true
		}
		if failure = n.superseded(); failure != nil {
			return true
		}
		if n.mems.Load().base >= target {
			return true
		}
		over, failure = n.flushEnded(tries)
		return over
	})
	if failure != nil {
		return failure
	}
	return err
}

// syncNow syncs what sync_interval has left. Only the committer calls it.
func (n *Namespace) syncNow() {
	last := n.appended.Load()
	if n.synced() || n.durable.Load() == last || n.frozen.Load() != nil {
		return
	}
	if err := n.log.Sync(); err != nil {
		_ = n.freeze(err) // told to every writer from here on
		return
	}
	raise(&n.durable, last)
	raise(&n.commit, last)
	n.advanced.broadcast()
}
