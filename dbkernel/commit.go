package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

// commitLoop is the committer: the one goroutine at a time that appends. It takes all
// that is queued, writes it as one group and syncs it; meanwhile the group is put into
// the memtable in LSN order. Only once both are done may anyone see it. It starts when
// a request comes and ends when none is left; what comes meanwhile is the next
// group, so that groups grow with the load and no timer is needed.
//
// Answering a group overlaps with writing the next one. Whatever needs the state
// after the group before calls settled first: guards, controls, quotas, epochs.
func (n *Namespace) commitLoop() {
	for n.commitNext() {
	}
}

// leadGroup has a writer that finds no committer be it, for the group that it is in. So a lone
// writer waits for the disk alone. With a goroutine that commits in its place it waits twice for the
// processor, too, which one time in ten took longer than the disk where many followers kept it busy.
func (n *Namespace) leadGroup() {
	defer dieOfPanic()
	n.commitNext()
	if !n.queue.over() {
		n.wg.Go(n.commitLoop) // for those who came meanwhile
	}
}

// dieOfPanic, deferred, ends the process where a door would recover from its handler's panic: what was
// left half-done here isn't there after a restart, but would be in the way of all later writes.
func dieOfPanic() {
	cause := recover()
	if cause == nil {
		return
	}
	stack := debug.Stack()
	go panic(fmt.Sprintf("commit: %v\n%s", cause, stack))
	select {}
}

// commitNext commits what is queued. It answers false, and the committer must end, when
// there is nothing.
func (n *Namespace) commitNext() bool {
	n.gather()
	reqs := n.queue.take()
	if reqs == nil {
		return false
	}
	if control := reqs[0].control; control != nil {
		n.settled()
		control()
		reqs[0].finish(nil)
		return true
	}
	err := n.writable()
	if err == nil {
		err = n.waitForRoom()
	}
	if err != nil {
		for _, r := range reqs {
			r.finish(err)
		}
		return true
	}
	n.commitGroup(reqs)
	return true
}

// writable answers why nothing can be appended, if so.
func (n *Namespace) writable() error {
	if err := n.superseded(); err != nil {
		return err
	}
	if n.mems.Load() == nil {
		return ErrClosed
	}
	if err := n.frozen.Load(); err != nil {
		return *err
	}
	return nil
}

// waitForRoom holds the committer back while the memtables are ahead of the
// B+tree: more than two immutable ones, or the node's memory used up. It ends
// with an error where a flush failed that began meanwhile: then writers are told, not
// kept waiting.
func (n *Namespace) waitForRoom() error {
	if n.hasRoom() {
		return nil
	}
	n.settled()
	n.syncNow() // only what is synced can be flushed
	tries := n.flush.begun()
	start := time.Now()
	defer func() { n.counters.stalled.Add(int64(time.Since(start))) }()
	var err error
	waitErr := n.db.relieved.wait(context.Background(), func() (over bool) {
		over, err = n.roomOrError(tries)
		return over
	})
	return errors.Join(err, waitErr)
}

const (
	maxImmutable = 2
	// smallMem is the size up to which a memtable isn't worth a flush, in bytes.
	smallMem = 256 << 10
)

func (n *Namespace) hasRoom() bool {
	return len(n.mems.Load().tables)-1 <= maxImmutable && n.db.memory.Load() <= n.db.opts.MemoryLimit
}

// roomOrError reports whether waiting is over, and why. tries is how many flushes had
// begun before it.
func (n *Namespace) roomOrError(tries uint64) (over bool, err error) {
	if n.hasRoom() {
		return true, nil
	}
	if err := n.frozen.Load(); err != nil {
		return true, *err
	}
	if err := n.superseded(); err != nil {
		return true, err
	}
	if len(n.mems.Load().tables)-1 <= maxImmutable {
		// The node's memory is used up. If no other namespace holds more, this one
		// gives what it has.
		if !n.db.relieve(n) && len(n.mems.Load().tables) == 1 {
			n.rotateAtMark()
		}
		if n.mems.Load().active().counted < smallMem && len(n.mems.Load().tables) == 1 {
			return true, nil // it holds next to nothing: others have to make room
		}
	}
	_, err = n.flushEnded(tries)
	return err != nil, err
}

// gather lets the writers of the group that is being applied come back, if few
// others wait: an fsync costs more than applying a group, and those who write
// again at once belong in the next one. While as many wait as are being
// answered, applying and writing go on side by side.
func (n *Namespace) gather() {
	if n.queue.len() >= n.answering {
		return
	}
	n.settled()
}

// settled waits until all that was appended is applied and published. Only the
// committer calls it.
func (n *Namespace) settled() {
	if n.applying != nil {
		<-n.applying
		n.applying = nil
	}
}

// head is where the log ends: what the next record follows. The committer's alone.
type head struct {
	next  uint64
	epoch uint64
	time  int64
}

// pending is a group while it is being put together.
type pending struct {
	head
	records  []codec.Record
	accepted []*request
	ends     []uint64 // the last LSN of each accepted request
	rejected []*request
	bytes    int
	written  *writtenKeys // what the group writes; nil until a guard asks
	live     int64        // live bytes that the group adds at most
	upTo     uint64       // replica: the owner's commit LSN
	begins   bool         // with this process's epoch
	marks    bool         // with a mark
	epochs   bool         // brings an epoch's record
}

func (p *pending) add(r codec.Record) {
	p.records = append(p.records, r)
	p.epochs = p.epochs || r.Kind() == codec.KindEpoch
	p.bytes += len(r)
	p.next = r.LSN() + 1
	p.epoch = r.Epoch()
	p.time = r.Time()
}

// commitGroup makes one group of the requests and answers all of them.
func (n *Namespace) commitGroup(reqs []*request) {
	if reqs = n.refuseForeign(reqs); len(reqs) == 0 {
		return
	}
	p := &pending{head: n.head}
	if !n.opts.Load().Replica {
		p.time = max(p.time, n.db.opts.Clock().UnixNano())
		if err := n.open(p); err != nil {
			for _, r := range reqs {
				r.finish(err)
			}
			return
		}
	}
	opening := len(p.records)
	for _, r := range reqs {
		n.admit(p, r)
	}
	if len(p.records) == opening {
		n.notWritten(p) // an epoch or a mark waits for something to follow it
		if n.opts.Load().Replica {
			n.settled()
			raise(&n.commit, min(p.upTo, n.durable.Load()))
			n.advanced.broadcast()
			n.scheduleFlush() // the owner may have committed all of a full memtable
		}
		p.finish(nil)
		return
	}
	if err := n.append(p); err != nil {
		n.notWritten(p)
		p.finish(err)
		return
	}
	if p.epochs || len(p.records) == 1 && p.bytes <= smallRecord {
		p.finish(n.applySynced(p))
		return
	}
	before := n.applying
	synced := n.beginApplying(p)
	err := n.syncGroup()
	if err != nil {
		n.notWritten(p)
	}
	synced <- err
	if before != nil { // with sync_interval the committer would run away from those who apply
		<-before
	}
}

// smallRecord is one that is applied at once, in bytes.
const smallRecord = 16 << 10

// applySynced syncs a group and then applies it, here and now. What a new epoch changes is
// seen at once, so that it must be durable before; and handing a small record to another
// goroutine takes longer than applying it.
func (n *Namespace) applySynced(p *pending) error {
	if err := n.syncGroup(); err != nil {
		n.notWritten(p)
		return err
	}
	n.settled()
	return n.applyNow(p)
}

// beginApplying applies a group in a goroutine of its own, behind the one before. It
// waits to hear how the group's sync went, and answers the requests.
func (n *Namespace) beginApplying(p *pending) (synced chan<- error) {
	before, done, heard := n.applying, make(chan struct{}), make(chan error, 1)
	n.applying, n.answering = done, len(p.accepted)
	n.wg.Go(func() {
		if before != nil {
			<-before
		}
		p.finish(n.applyGroup(p, heard))
		close(done)
		// The scheduler runs next what was made runnable last. That shall not be the
		// committer, but those whom it has answered.
		n.wg.Go(func() {})
	})
	return heard
}

// refuseForeign answers those requests that this node may not take: writes on a
// replica, an owner's records on the owner. Nothing may be done for them, least
// of all an epoch begun.
func (n *Namespace) refuseForeign(reqs []*request) []*request {
	replica := n.opts.Load().Replica
	kept := reqs[:0]
	for _, r := range reqs {
		switch {
		case replica && r.replica == nil:
			r.finish(n.readOnly())
		case !replica && r.replica != nil:
			r.finish(fmt.Errorf("%w: namespace %q is owned by this node and takes no records", ErrInvalid, n.name))
		default:
			kept = append(kept, r)
		}
	}
	return kept
}

func (n *Namespace) readOnly() error {
	return fmt.Errorf("namespace %q: %w: write to its owner", n.name, ErrReadOnly)
}

// notWritten has the next group begin with the mark that this one was to bring.
func (n *Namespace) notWritten(p *pending) {
	if p.marks {
		n.mark.CompareAndSwap(markWritten, markDue)
	}
}

// admit adds a request to the group, or sends it back.
func (n *Namespace) admit(p *pending, r *request) {
	var err error
	if r.replica != nil {
		err = n.admitReplica(p, r)
	} else {
		err = n.admitOwn(p, r)
	}
	if err != nil {
		r.err = err
		p.rejected = append(p.rejected, r)
		return
	}
	p.accepted = append(p.accepted, r)
	p.ends = append(p.ends, p.next-1)
}

func (n *Namespace) admitOwn(p *pending, r *request) error {
	if r.guard != nil {
		n.settled()
		if at := n.changedSince(r.guard, p); at != 0 {
			r.retryAt = at
			return errStale
		}
	}
	if err := n.limits.admit(n, p, r); err != nil {
		return err
	}
	rec := r.batch.Seal(p.next, p.epoch, p.time)
	if len(rec) > codec.MaxRecordLen {
		return fmt.Errorf("%w: the batch takes %d bytes in the log, at most %d: split it", ErrTooLarge, len(rec), codec.MaxRecordLen)
	}
	p.add(rec)
	return nil
}

// write appends the group and makes it durable as the configuration says.
func (n *Namespace) write(p *pending) error {
	if err := n.append(p); err != nil {
		return err
	}
	return n.syncGroup()
}

func (n *Namespace) append(p *pending) error {
	if err := n.log.Append(p.records); err != nil {
		// Where a sync met the full disk, space is not all that is needed.
		if isDiskFull(err) && !errors.Is(err, wal.ErrFailed) {
			return diskFull(err)
		}
		return errors.Join(ErrOutcomeUnknown, n.freeze(err))
	}
	n.head = p.head
	n.appended.Store(p.next - 1)
	n.counters.appended(p)
	if p.begins {
		n.began, n.pendingEpoch = true, nil
	}
	return nil
}

// syncGroup makes durable what was appended, where writers wait for that.
func (n *Namespace) syncGroup() error {
	if !n.synced() {
		return nil
	}
	if err := n.log.Sync(); err != nil {
		return errors.Join(ErrOutcomeUnknown, n.freeze(err))
	}
	n.counters.fsyncs.Add(1)
	return nil
}

// applyGroup brings the group into the memtable while it is being synced, and
// publishes it once it is. A group whose sync fails stays in the memtable, where nobody
// sees it: readers stop at what was published, and a namespace that is frozen neither
// flushes nor publishes any more.
func (n *Namespace) applyGroup(p *pending, synced <-chan error) error {
	n.insert(p)
	if err := <-synced; err != nil {
		return err
	}
	return n.publishGroup(p)
}

// applyNow applies a group that is synced.
func (n *Namespace) applyNow(p *pending) error {
	n.insert(p)
	return n.publishGroup(p)
}

// insert brings the group's records into the memtable.
func (n *Namespace) insert(p *pending) {
	if n.applyErr == nil {
		n.applyErr = n.applyRecords(p.records)
	}
}

// publishGroup lets others see a group that is in the memtable.
func (n *Namespace) publishGroup(p *pending) error {
	if n.applyErr != nil { // nothing may be seen that a failed part should be under
		return errors.Join(ErrOutcomeUnknown, n.freeze(n.applyErr))
	}
	n.share(p)
	n.publish(p, p.records[len(p.records)-1])
	return nil
}

func (n *Namespace) applyRecords(records []codec.Record) error {
	for _, rec := range records {
		if err := n.apply(rec); err != nil {
			return err
		}
	}
	return n.keepEpochTable()
}

// synced reports whether a group is synced before it counts.
func (n *Namespace) synced() bool {
	o := n.opts.Load()
	return o.Storage.SyncInterval == 0 || o.Replica
}

// share puts the group where followers that are close behind find it. They read
// no further than the commit LSN.
func (n *Namespace) share(p *pending) {
	r := n.ring.Load()
	if r == nil {
		r = &ring{}
		n.ring.Store(r)
	}
	last := len(p.records) - 1
	r.add(&group{first: p.records[0].LSN(), last: p.records[last].LSN(), bytes: p.bytes, records: p.records})
}

// publish lets readers and followers see the log up to a record that is applied.
func (n *Namespace) publish(p *pending, rec codec.Record) {
	last := rec.LSN()
	n.applied.Store(last)
	n.epoch.Store(rec.Epoch())
	n.lastWrite.Store(rec.Time())
	if n.synced() {
		raise(&n.durable, last)
		if n.opts.Load().Replica {
			raise(&n.commit, min(p.upTo, last))
		} else {
			raise(&n.commit, last)
		}
	} else {
		n.syncSoon()
	}
	n.advanced.broadcast()
	if len(n.mems.Load().tables) > 1 {
		n.scheduleFlush()
	}
}

// raise sets an LSN if it is higher.
func raise(at *atomic.Uint64, lsn uint64) {
	for {
		old := at.Load()
		if lsn <= old || at.CompareAndSwap(old, lsn) {
			return
		}
	}
}

// syncSoon syncs the log after the configured interval, unless that is under way.
func (n *Namespace) syncSoon() {
	if n.syncPending.Swap(true) {
		return
	}
	interval := n.opts.Load().Storage.SyncInterval
	n.wg.Go(func() {
		n.flush.pause(interval)
		n.syncPending.Store(false)
		last := n.applied.Load()
		if n.frozen.Load() != nil {
			return
		}
		if err := n.log.Sync(); err != nil {
			_ = n.freeze(err) // the writers of this interval are gone; the next ones are told
			return
		}
		n.counters.fsyncs.Add(1)
		raise(&n.durable, last)
		raise(&n.commit, last)
		n.advanced.broadcast()
		n.scheduleFlush()
	})
}

// finish answers all requests. Those that were rejected are told what to wait for:
// nothing, if the group that changed what they rely on has failed.
func (p *pending) finish(err error) {
	for i, r := range p.accepted {
		if err == nil {
			r.position = Position{Epoch: p.epoch, LSN: p.ends[i]}
		}
		r.finish(err)
	}
	for _, r := range p.rejected {
		if err != nil {
			r.retryAt = 0
		}
		r.done <- struct{}{}
	}
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// diskFull gives a full disk the kernel's own name.
func diskFull(err error) error {
	if isDiskFull(err) {
		return fmt.Errorf("%w: %w: free some space; nothing was written, reads go on", ErrDiskFull, err)
	}
	return err
}
