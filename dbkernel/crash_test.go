package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// The crash test runs writers on a file system in memory. Before every operation
// that changes the disk it notes what a power cut at this moment could leave,
// and what the writers know at this moment. Afterwards each of those disks is
// opened and compared: all that was acknowledged is there, or with sync_interval
// all that was durable; what is there is a beginning of the history; nothing
// that a follower was given is lost or different; and the namespace works on.
//
// SEED=n starts with another seed, DURATION=10m goes on with new ones for that long.

// crashPoints is how many points the short form looks at, at least.
const crashPoints = 3200

func TestCrashPoints(t *testing.T) {
	seed, duration := longForm(t)
	start := time.Now()
	var points, recoveries int
	for ; points+recoveries < crashPoints || time.Since(start) < duration; seed++ {
		r := newCrashRun(t, seed)
		r.run()
		points += r.checked
		recoveries += r.again
	}
	t.Logf("%d crash points, %d more in recoveries, seeds up to %d, %v", points, recoveries, seed-1, time.Since(start).Round(time.Millisecond))
}

// crashRun is the workload of one seed, through a few lives of the database.
type crashRun struct {
	t        *testing.T
	seed     uint64
	rng      *rand.Rand // the driver's
	interval time.Duration
	mem      *vfs.Mem

	ns      atomic.Pointer[Namespace]
	created atomic.Bool

	mu      sync.Mutex // guards what follows
	drawing *rand.Rand
	writers []*crashWriter
	handed  []codec.Record // what a follower was given, from LSN 1 on
	points  []*crashPoint

	checked, again int
}

// crashWriter writes keys of its own, one write after another. Every write sets
// the writer's sequence number, too, so that a state says how far it got.
type crashWriter struct {
	id      int
	states  []*model // after each write; the first is empty
	silent  []bool   // the write leaves the sequence number
	lsns    []uint64 // of each write that was acknowledged; 0: nothing was written
	started int
	acked   int
}

// crashPoint is a disk after a crash, with what was known then.
type crashPoint struct {
	op       string
	fs       *vfs.Mem
	created  bool
	acked    []int
	started  []int
	durable  uint64
	handed   int
	maxEpoch uint64
}

func newCrashRun(t *testing.T, seed uint64) *crashRun {
	r := &crashRun{
		t: t, seed: seed, mem: vfs.NewMem(),
		rng: rand.New(rand.NewPCG(seed, 2)), drawing: rand.New(rand.NewPCG(seed, 3)),
	}
	if seed%3 == 0 {
		r.interval = time.Millisecond
	}
	n := 1
	if seed%2 == 0 {
		n = 3
	}
	for id := range n {
		r.writers = append(r.writers, &crashWriter{id: id, states: []*model{newModel(crashTime)}, silent: []bool{false}, lsns: []uint64{0}})
	}
	return r
}

var crashTime = time.Unix(1_800_000_000, 0)

const crashName = "crash"

func (r *crashRun) options(fsys vfs.FS) Options {
	return Options{
		Dir: "/var/lib/unisondb", FS: fsys, Logger: hclog.NewNullLogger(), Clock: func() time.Time { return crashTime },
		Defaults: NamespaceOptions{Storage: StorageOptions{
			Engine: EngineMemory, SegmentSize: MinSegmentSize, MemtableSize: MinMemtableSize, SyncInterval: r.interval,
		}},
	}
}

func (r *crashRun) run() {
	for life := range 3 {
		r.live(life)
		r.verifyAll()
		if life < 2 && !r.goOnFromCrash() {
			return
		}
	}
}

// live runs the writers once, with a point before each change of the disk.
func (r *crashRun) live(life int) {
	fsys := vfs.WithFaults(r.mem, vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
		if o.Kind.Writes() {
			r.note(o.String())
		}
		return nil
	}})
	db, err := Open(r.options(fsys))
	r.check(err)
	n, err := r.namespace(db)
	r.check(err)
	r.ns.Store(n)
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { r.follow(ctx, n) })
	var wg sync.WaitGroup
	for _, w := range r.writers {
		rng := rand.New(rand.NewPCG(r.seed, uint64(100*life+w.id)))
		wg.Go(func() {
			for range 45 / len(r.writers) {
				if !r.write(n, w, rng) {
					return
				}
			}
		})
	}
	wg.Wait()
	stop()
	following.Wait()
	r.check(db.Close())
	r.note("the end")
	r.ns.Store(nil)
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// namespace makes it, or opens it where it is there. Points that are noted
// meanwhile may be without one.
func (r *crashRun) namespace(db *DB) (*Namespace, error) {
	if n, err := db.Namespace(crashName); err == nil {
		return n, nil
	}
	n, err := db.Create(crashName, Lineage{1, 2, 3})
	r.created.Store(err == nil)
	return n, err
}

func (r *crashRun) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("SEED=%d: %v", r.seed, err)
	}
}

// note takes a point. What must be there is read before the disk is copied,
// what may be there after it.
func (r *crashRun) note(op string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &crashPoint{op: op, created: r.created.Load(), handed: len(r.handed)}
	if n := r.ns.Load(); n != nil {
		p.durable, p.maxEpoch = n.durable.Load(), n.epoch.Load()
	}
	for _, w := range r.writers {
		p.acked = append(p.acked, w.acked)
	}
	p.fs = r.mem.Crash(r.drawing, vfs.AnyCrash(r.drawing))
	for _, w := range r.writers {
		p.started = append(p.started, w.started)
	}
	r.points = append(r.points, p)
}

// follow notes what a reader of the log is given.
func (r *crashRun) follow(ctx context.Context, n *Namespace) {
	r.mu.Lock()
	from := uint64(len(r.handed)) + 1
	r.mu.Unlock()
	tail, err := n.Tail("test", from)
	if err != nil {
		r.t.Errorf("SEED=%d: %v", r.seed, err)
		return
	}
	defer tail.Close()
	for {
		run, err := tail.Next(ctx, 32<<10)
		if err != nil {
			if ctx.Err() == nil {
				r.t.Errorf("SEED=%d: following: %v", r.seed, err)
			}
			return
		}
		if durable := n.durable.Load(); run.Last > durable {
			r.t.Errorf("SEED=%d: a follower got LSN %d, durable is %d", r.seed, run.Last, durable)
		}
		r.mu.Lock()
		for _, b := range run.Records {
			for len(b) > 0 {
				rec, _, rest, err := codec.CutRecord(b)
				if err != nil {
					r.t.Errorf("SEED=%d: following: %v", r.seed, err)
					break
				}
				r.handed, b = append(r.handed, rec), rest
			}
		}
		r.mu.Unlock()
	}
}

// write does the writer's next write. It answers false where that failed.
func (r *crashRun) write(n *Namespace, w *crashWriter, rng *rand.Rand) bool {
	seq := len(w.states)
	prefix := fmt.Sprintf("w%d/", w.id)
	ctx := context.Background()
	number := edit{kind: editPut, key: prefix + "seq", value: []byte(strconv.Itoa(seq))}
	value := func() []byte { return bytes.Repeat([]byte(fmt.Sprintf("%d:%d ", w.id, seq)), 1+rng.IntN(800)) }
	key := func() string { return prefix + strconv.Itoa(rng.IntN(8)) }
	var edits []edit
	silent := false
	var do func() (Position, error)
	inTx := func() (Position, error) {
		tx, err := n.Begin()
		if err != nil {
			return Position{}, err
		}
		for _, d := range edits {
			if err := txWriteEdit(ctx, tx, d); err != nil {
				return Position{}, errors.Join(err, tx.Abort(ctx))
			}
		}
		pos, _, err := tx.Commit(ctx)
		return pos, err
	}
	switch rng.IntN(9) {
	case 0, 1, 2:
		edits = []edit{number}
		for range 1 + rng.IntN(4) {
			edits = append(edits, edit{kind: editPut, key: key(), value: value(), ttl: time.Duration(rng.IntN(2)) * time.Hour})
		}
		do = func() (Position, error) { return n.Write(ctx, batchOf(edits)) }
	case 3:
		edits = []edit{{kind: editDelete, key: key()}, number}
		do = func() (Position, error) { return n.Write(ctx, batchOf(edits)) }
	case 4:
		row := prefix + strconv.Itoa(rng.IntN(3))
		edits = []edit{{kind: editDeleteRow, key: row}, {kind: editPutColumn, key: row, column: "a", value: value()}, number}
		do = func() (Position, error) { return n.Write(ctx, batchOf(edits)) }
	case 5:
		row := prefix + strconv.Itoa(rng.IntN(3))
		edits = []edit{{kind: editPutColumn, key: row, column: strconv.Itoa(seq % 3), value: value(), ttl: time.Hour}, number}
		do = inTx
	case 6:
		edits = []edit{{kind: editPutObject, key: key(), value: value()}, number}
		do = inTx
	case 7:
		edits = []edit{{kind: editDeleteObject, key: key()}, {kind: editPut, key: key(), value: value()}, number}
		do = inTx
	default:
		silent = true
		do = func() (Position, error) { return Position{}, r.background(ctx, n, rng, len(r.writers) == 1) }
	}
	state := w.states[seq-1].clone()
	state.apply(edits)
	r.mu.Lock()
	w.states, w.silent = append(w.states, state), append(w.silent, silent)
	w.started = seq
	r.mu.Unlock()
	pos, err := do()
	if err != nil {
		r.t.Errorf("SEED=%d: writer %d, write %d: %v", r.seed, w.id, seq, err)
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w.acked, w.lsns = seq, append(w.lsns, pos.LSN)
	return true
}

// background does something that leaves what readers see: a flush, or an upload
// that is dropped or left open.
func (r *crashRun) background(ctx context.Context, n *Namespace, rng *rand.Rand, flush bool) error {
	if flush && rng.IntN(2) == 0 {
		return n.Flush(ctx)
	}
	if err := n.acquire(); err != nil {
		return err
	}
	defer n.release()
	u, err := n.newUpload(0)
	if err != nil {
		return err
	}
	for range 1 + rng.IntN(2) {
		u.last = make([]byte, 1+rng.IntN(3000))
		if err := u.flushChunk(ctx); err != nil {
			return err
		}
	}
	if rng.IntN(2) == 0 {
		return u.drop()
	}
	return nil
}

func batchOf(edits []edit) *Batch {
	var b Batch
	var err error
	for _, d := range edits {
		key := []byte(d.key)
		switch d.kind {
		case editPut:
			err = errors.Join(err, b.Put(key, d.value, d.ttl))
		case editDelete:
			err = errors.Join(err, b.Delete(key))
		case editPutColumn:
			err = errors.Join(err, b.PutRow(key, map[string][]byte{d.column: d.value}, d.ttl))
		case editDeleteRow:
			err = errors.Join(err, b.DeleteRow(key))
		default:
			err = errors.Join(err, fmt.Errorf("a batch has no %v", d))
		}
	}
	if err != nil {
		panic(err) // the edits are made right
	}
	return &b
}

// verifyAll checks all points that were taken.
func (r *crashRun) verifyAll() {
	work := make(chan int)
	var wg sync.WaitGroup
	var again atomic.Int64
	for range 2 {
		wg.Go(func() {
			for i := range work {
				rng := rand.New(rand.NewPCG(r.seed, uint64(10_000+i)))
				n, err := r.verify(r.points[i], rng, i%6 == 0)
				again.Add(int64(n))
				if err != nil {
					r.t.Errorf("SEED=%d: crash before %s: %v", r.seed, r.points[i].op, err)
				}
			}
		})
	}
	for i := range r.points {
		work <- i
	}
	close(work)
	wg.Wait()
	r.checked += len(r.points)
	r.again += int(again.Load())
	r.points = nil
	if r.t.Failed() {
		r.t.FailNow()
	}
}

// verify opens the disk of a point and checks it. With deeper it also crashes
// the recovery a few times and checks those disks; it answers how many.
func (r *crashRun) verify(p *crashPoint, rng *rand.Rand, deeper bool) (again int, err error) {
	var fsys vfs.FS = p.fs
	recovering := &recoveryCrashes{r: r, p: p, rng: rng}
	if deeper {
		fsys = vfs.WithFaults(p.fs, vfs.Hooks{Before: recovering.before})
	}
	err = r.verifyOn(fsys, p, recovering)
	for _, next := range recovering.points {
		if err != nil {
			break
		}
		if _, err = r.verify(next, rng, false); err != nil {
			err = fmt.Errorf("second crash, before %s: %w", next.op, err)
		}
	}
	return len(recovering.points), err
}

// recoveryCrashes takes points while a database recovers.
type recoveryCrashes struct {
	r   *crashRun
	p   *crashPoint
	rng *rand.Rand

	mu     sync.Mutex
	done   bool
	points []*crashPoint
	proven uint64 // the last LSN that the recovered namespace has shown
}

func (c *recoveryCrashes) before(o vfs.Op) *vfs.Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done || !o.Kind.Writes() || c.rng.IntN(4) != 0 {
		return nil
	}
	next := *c.p
	next.op, next.durable = o.String(), max(c.p.durable, c.proven)
	next.fs = c.p.fs.Crash(c.rng, vfs.AnyCrash(c.rng))
	c.points = append(c.points, &next)
	return nil
}

func (c *recoveryCrashes) shown(lsn uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven = lsn
}

func (c *recoveryCrashes) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
}

func (r *crashRun) verifyOn(fsys vfs.FS, p *crashPoint, recovering *recoveryCrashes) (err error) {
	db, err := Open(r.options(fsys))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n, err := r.recovered(db, p)
	if n == nil || err != nil {
		return err
	}
	s := n.Status()
	if s.State != StateServing {
		return fmt.Errorf("state %s: %s", s.State, s.Reason)
	}
	recovering.shown(s.LSN)
	if s.DurableLSN != s.LSN || s.CommitLSN != s.LSN || s.CheckpointLSN > s.LSN {
		return fmt.Errorf("checkpoint %d, commit %d, durable %d, last %d", s.CheckpointLSN, s.CommitLSN, s.DurableLSN, s.LSN)
	}
	if s.LSN < p.durable {
		return fmt.Errorf("the log ends at LSN %d, durable was %d", s.LSN, p.durable)
	}
	if err := cellsAgree(n); err != nil {
		return err
	}
	if err := r.checkHanded(n, p); err != nil {
		return err
	}
	if err := r.checkStates(n, p, s.LSN); err != nil {
		return err
	}
	if err := sound(n); err != nil {
		return err
	}
	recovering.stop()
	return r.worksOn(n, p)
}

// recovered is the namespace, nil where there may be none yet and is none.
func (r *crashRun) recovered(db *DB, p *crashPoint) (*Namespace, error) {
	left, err := db.opts.FS.List(filepath.Join(db.opts.Dir, namespacesDir))
	if err != nil {
		return nil, err
	}
	n, err := db.Namespace(crashName)
	if errors.Is(err, ErrNamespaceNotFound) && !p.created {
		if len(left) > 0 {
			return nil, fmt.Errorf("a namespace that wasn't made left %v", left)
		}
		_, err := db.Create(crashName, Lineage{1, 2, 3})
		return nil, err
	}
	if err == nil && len(left) != 1 {
		err = fmt.Errorf("there is more than the namespace: %v", left)
	}
	return n, err
}

// checkHanded checks that the log still has what a follower was given.
func (r *crashRun) checkHanded(n *Namespace, p *crashPoint) error {
	records, err := readLog(context.Background(), n)
	if err != nil {
		return err
	}
	if len(records) < p.handed {
		return fmt.Errorf("a follower had %d records, the log has %d", p.handed, len(records))
	}
	for i, rec := range records[:p.handed] {
		if !bytes.Equal(rec, r.handed[i]) {
			return fmt.Errorf("record LSN %d isn't the one that a follower was given", i+1)
		}
	}
	return nil
}

// checkStates checks that each writer's keys are as after one of its writes,
// and that all of those up to the log's last LSN are there and no others.
func (r *crashRun) checkStates(n *Namespace, p *crashPoint, last uint64) error {
	v, err := n.View()
	if err != nil {
		return err
	}
	defer v.Close()
	for i, w := range r.writers {
		got, err := dumpView(v, fmt.Sprintf("w%d/", w.id))
		if err != nil {
			return err
		}
		seq := 0
		if s, ok := got[fmt.Sprintf("kv w%d/seq", w.id)]; ok {
			if seq, err = strconv.Atoi(s); err != nil {
				return fmt.Errorf("writer %d's number: %w", w.id, err)
			}
		}
		floor := 0
		for j := 1; j <= p.acked[i]; j++ {
			if at := w.lsns[j]; !w.silent[j] && (r.interval == 0 || at <= p.durable) {
				floor = j
			}
		}
		if seq < floor || seq > p.started[i] {
			return fmt.Errorf("writer %d is at write %d; %d was acknowledged, %d begun", w.id, seq, floor, p.started[i])
		}
		for j := 1; j <= p.acked[i]; j++ {
			if w.lsns[j] != 0 && (w.lsns[j] <= last) != (j <= seq) {
				return fmt.Errorf("writer %d is at write %d, but the log ends at LSN %d and write %d was LSN %d", w.id, seq, last, j, w.lsns[j])
			}
		}
		if want := w.states[seq].dump(); !maps.Equal(got, want) {
			return fmt.Errorf("writer %d at write %d: %s", w.id, seq, difference(got, want))
		}
	}
	return nil
}

// worksOn checks that the namespace takes a write, in a new epoch.
func (r *crashRun) worksOn(n *Namespace, p *crashPoint) error {
	open := len(n.uploads)
	pos, err := n.Write(context.Background(), batchOf([]edit{{kind: editPut, key: "after", value: []byte("the crash")}}))
	if err != nil {
		return fmt.Errorf("write after recovery: %w", err)
	}
	if pos.Epoch <= p.maxEpoch || pos.Epoch < epochStarts {
		return fmt.Errorf("the new epoch is %d, there was %d before", pos.Epoch, p.maxEpoch)
	}
	if open > 0 && len(n.uploads) > 0 {
		return fmt.Errorf("%d uploads are still open in the new epoch", len(n.uploads))
	}
	return sound(n)
}

// dumpView is all that a view shows under a prefix, in one form with model.dump.
func dumpView(v *View, prefix string) (map[string]string, error) {
	all := map[string]string{}
	s := Scan{Prefix: []byte(prefix)}
	kv, err := v.Scan(s)
	if err != nil || kv.More {
		return nil, fmt.Errorf("scan: %w (more: %v)", err, kv.More)
	}
	for _, i := range kv.Items {
		all["kv "+string(i.Key)] = string(i.Data)
	}
	rows, err := v.ScanRows(s)
	if err != nil || rows.More {
		return nil, fmt.Errorf("scan of rows: %w (more: %v)", err, rows.More)
	}
	for _, i := range rows.Items {
		for column, value := range i.Columns {
			all["row "+string(i.Key)+"/"+column] = string(value)
		}
	}
	objects, err := v.ScanObjects(s)
	if err != nil || objects.More {
		return nil, fmt.Errorf("scan of objects: %w (more: %v)", err, objects.More)
	}
	for _, o := range objects.Items {
		data, err := readObject(v.n, o.Key)
		if err != nil {
			return nil, err
		}
		all["object "+string(o.Key)] = data
	}
	return all, nil
}

// readObject reads a whole object; its checksum must be right.
func readObject(n *Namespace, key []byte) (string, error) {
	r, err := n.OpenObject(key)
	if err != nil {
		return "", err
	}
	data := make([]byte, r.Object().Size)
	if len(data) > 0 {
		_, err = r.ReadAt(data, 0)
	}
	if err == nil && crc32.ChecksumIEEE(data) != r.Object().CRC32 {
		err = fmt.Errorf("object %q has another checksum", key)
	}
	return string(data), errors.Join(err, r.Close())
}

// dump is all that the model shows, expiry left out.
func (m *model) dump() map[string]string {
	all := map[string]string{}
	for key, c := range m.kv {
		all["kv "+key] = string(c.value)
	}
	for key, row := range m.rows {
		for column, c := range row {
			all["row "+key+"/"+column] = string(c.value)
		}
	}
	for key, c := range m.objects {
		all["object "+key] = string(c.value)
	}
	return all
}

// difference names what differs between two dumps.
func difference(got, want map[string]string) string {
	var all []string
	for key, value := range got {
		if w, ok := want[key]; !ok {
			all = append(all, fmt.Sprintf("%s is there: %.20q", key, value))
		} else if w != value {
			all = append(all, fmt.Sprintf("%s is %.20q, expected %.20q", key, value, w))
		}
	}
	for key := range want {
		if _, ok := got[key]; !ok {
			all = append(all, key+" is missing")
		}
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// goOnFromCrash crashes for good: the next life begins with what is left. It
// answers false where nothing is.
func (r *crashRun) goOnFromCrash() bool {
	r.mem = r.mem.Crash(r.drawing, vfs.AnyCrash(r.drawing))
	db, err := Open(r.options(r.mem))
	r.check(err)
	n, err := db.Namespace(crashName)
	r.check(err)
	v, err := n.View()
	r.check(err)
	last := n.Status().LSN
	for _, w := range r.writers {
		seq := 0
		value, err := v.Get([]byte(fmt.Sprintf("w%d/seq", w.id)))
		if err == nil {
			seq, err = strconv.Atoi(string(value.Data))
		} else if errors.Is(err, ErrNotFound) {
			err = nil
		}
		r.check(err)
		w.states, w.silent, w.lsns = w.states[:seq+1], w.silent[:seq+1], w.lsns[:seq+1]
		w.acked, w.started = seq, seq
	}
	v.Close()
	r.handed = r.handed[:min(uint64(len(r.handed)), last)]
	r.check(db.Close())
	return true
}

// TestCrashWhileMetaIsReplaced crashes at every operation of a replacement of
// meta.json: the old one is there, or the new one.
func TestCrashWhileMetaIsReplaced(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 4))
		mem := vfs.NewMem()
		if err := mem.MkdirAll("/ns"); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(mem.SyncDir("/"), meta{Format: metaFormat, LastEpoch: 1}.write(mem, "/ns")); err != nil {
			t.Fatal(err)
		}
		var disks []*vfs.Mem
		hooked := vfs.WithFaults(mem, vfs.Hooks{Before: func(vfs.Op) *vfs.Fault {
			disks = append(disks, mem.Crash(rng, vfs.AnyCrash(rng)))
			return nil
		}})
		if err := (meta{Format: metaFormat, LastEpoch: 2}).write(hooked, "/ns"); err != nil {
			t.Fatal(err)
		}
		for i, disk := range append(disks, mem.Crash(rng, vfs.CrashOptions{})) {
			m, err := readMeta(disk, "/ns")
			if err != nil || m.LastEpoch != 1 && m.LastEpoch != 2 || i == len(disks) && m.LastEpoch != 2 {
				t.Fatalf("seed %d, crash %d of %d: %+v, %v", seed, i, len(disks), m, err)
			}
			// What a crash left beside it doesn't hold up the next replacement.
			if err := (meta{Format: metaFormat, LastEpoch: 3}).write(disk, "/ns"); err != nil {
				t.Fatalf("seed %d, crash %d: %v", seed, i, err)
			}
		}
	}
}
