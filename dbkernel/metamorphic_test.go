package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// The metamorphic test makes a list of operations from a seed, with what each
// of them must answer by the model, and runs the same list under many option
// sets. Engines, sizes, flushes, restarts, idle releases, trimming and reading
// from a replica must not change a single answer.
//
// SEED=n starts with another seed, DURATION=10m goes on with new ones for that long.

const (
	metamorphicSeeds = 20
	metamorphicSteps = 220
)

// longForm reads the environment: the first seed, and how long the test goes on.
func longForm(t *testing.T) (seed uint64, d time.Duration) {
	t.Helper()
	seed = 1
	var err error
	if s := os.Getenv("SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	if s := os.Getenv("DURATION"); s != "" {
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatalf("DURATION: %v", err)
		}
	}
	return seed, d
}

// optionSet is one way to run the list.
type optionSet struct {
	name         string
	storage      StorageOptions
	onDisk       bool // the operating system's file system: what LMDB and bbolt need
	restartEvery int  // steps; 0: only where the list says so
	idleEvery    int  // steps
	flushEvery   int  // steps
	follow       bool // a replica follows
	readReplica  bool // and answers the reads
}

var smallRetention = Retention{MaxAge: time.Nanosecond, MaxBytes: 1 << 16, MinSegments: 1}

func tiny(engine string) StorageOptions {
	return StorageOptions{Engine: engine, SegmentSize: MinSegmentSize, MemtableSize: MinMemtableSize, Retention: smallRetention}
}

var optionSets = []optionSet{
	{name: "memory", storage: tiny(EngineMemory), follow: true},
	{name: "lmdb", storage: tiny(EngineLMDB), onDisk: true, flushEvery: 40},
	{name: "bolt", storage: tiny(EngineBolt), onDisk: true, restartEvery: 60, flushEvery: 40},
	{name: "interval", storage: StorageOptions{Engine: EngineMemory, SegmentSize: MinSegmentSize, MemtableSize: MinMemtableSize, SyncInterval: time.Millisecond}},
	{name: "huge memtable", storage: StorageOptions{Engine: EngineMemory, SegmentSize: 4 << 20}, restartEvery: 90},
	{name: "replica", storage: tiny(EngineMemory), follow: true, readReplica: true, flushEvery: 11},
	{name: "restarts", storage: tiny(EngineMemory), restartEvery: 9},
	{name: "idle", storage: tiny(EngineMemory), idleEvery: 7, flushEvery: 3},
}

// exercised counts what happened over all runs: a test that never flushes or
// trims would prove nothing.
type exercised struct {
	flushes, trims, restarts, releases, conflicts, failedConds, hiddenReads, expired, droppedWhileRead atomic.Int64
	copies, copied, dropped                                                                            atomic.Int64
}

func TestMetamorphic(t *testing.T) {
	first, duration := longForm(t)
	end := time.Now().Add(duration)
	var seen exercised
	for seed := first; seed < first+metamorphicSeeds || time.Now().Before(end); seed++ {
		if !runSeed(t, seed, &seen) {
			t.Fatalf("failed with SEED=%d", seed)
		}
	}
	for name, n := range map[string]int64{
		"flushes": seen.flushes.Load(), "trims": seen.trims.Load(), "restarts": seen.restarts.Load(), "idle releases": seen.releases.Load(),
		"conflicts": seen.conflicts.Load(), "failed conditions": seen.failedConds.Load(), "reads of what is due": seen.hiddenReads.Load(),
		"expiries": seen.expired.Load(), "objects replaced while they were read": seen.droppedWhileRead.Load(),
		"copies through a stage": seen.copies.Load(), "records that a stage took": seen.copied.Load(), "chunks copied again": seen.dropped.Load(),
	} {
		t.Logf("%s: %d", name, n)
		if n == 0 {
			t.Errorf("no %s in the whole test", name)
		}
	}
}

func runSeed(t *testing.T, seed uint64, seen *exercised) bool {
	t.Helper()
	g := newGenerator(seed)
	for range metamorphicSteps {
		g.next()
	}
	g.finish()
	return t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		for _, o := range optionSets {
			t.Run(o.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, o, g.start, seen)
				e.run(g.steps, seed)
			})
		}
	})
}

// step is one operation of the list, with what it must answer.
type step struct {
	name  string
	quiet bool // no transaction and no object reader is open after it
	run   func(e *env)
}

// env runs the list under one option set.
type env struct {
	t     *testing.T
	o     optionSet
	seen  *exercised
	clock *fakeClock
	step  string

	opts Options
	db   *DB
	ns   *Namespace

	replicaOpts Options
	replicaDB   *DB
	replica     *Namespace
	tail        *Tail

	copyOpts Options
	copyDB   *DB
	copier   *copier // copies through a stage; nil until the list asks for it

	txs      map[int]*Tx
	readers  map[int]*ObjectReader
	flushed  map[*Namespace]uint64
	versions map[string]Version // by cell and model version
	ids      map[string]string  // model versions by cell and version
}

func newEnv(t *testing.T, o optionSet, start time.Time, seen *exercised) *env {
	e := &env{
		t: t, o: o, seen: seen, clock: &fakeClock{now: start},
		flushed: map[*Namespace]uint64{},
		txs:     map[int]*Tx{}, readers: map[int]*ObjectReader{}, versions: map[string]Version{}, ids: map[string]string{},
	}
	options := func() Options {
		opts := testOptions(t, vfs.NewMem())
		if o.onDisk {
			opts.FS, opts.Dir = vfs.OS(), t.TempDir()
		}
		opts.Clock, opts.Defaults.Storage = e.clock.Now, o.storage
		return opts
	}
	e.opts, e.copyOpts = options(), options()
	e.copyOpts.Defaults.Replica = true
	e.open()
	e.ns = createNS(t, e.db, "test")
	if o.follow {
		e.replicaOpts = options()
		e.replicaOpts.Defaults.Replica = true
		e.openReplica()
		var err error
		if e.replica, err = e.replicaDB.Create("test", e.ns.Status().Lineage); err != nil {
			t.Fatal(err)
		}
		e.follow()
	}
	t.Cleanup(e.close)
	return e
}

func (e *env) open() {
	var err error
	if e.db, err = Open(e.opts); err != nil {
		e.fatalf("open: %v", err)
	}
}

func (e *env) openReplica() {
	var err error
	if e.replicaDB, err = Open(e.replicaOpts); err != nil {
		e.fatalf("open the replica: %v", err)
	}
}

func (e *env) close() {
	for _, r := range e.readers {
		if err := r.Close(); err != nil {
			e.t.Error(err)
		}
	}
	if e.tail != nil {
		e.tail.Close()
	}
	if e.replicaDB != nil {
		if err := e.replicaDB.Close(); err != nil {
			e.t.Errorf("closing the replica: %v", err)
		}
	}
	if e.copyDB != nil {
		e.copier.end()
		if err := e.copyDB.Close(); err != nil {
			e.t.Errorf("closing the copy: %v", err)
		}
	}
	if err := e.db.Close(); err != nil {
		e.t.Errorf("closing: %v", err)
	}
}

func (e *env) fatalf(format string, args ...any) {
	e.t.Helper()
	e.t.Fatalf("%s: %s", e.step, fmt.Sprintf(format, args...))
}

func (e *env) check(err error) {
	e.t.Helper()
	if err != nil {
		e.fatalf("%v", err)
	}
}

func (e *env) run(steps []step, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 99))
	due := func(every int) bool { return every > 0 && rng.IntN(every) == 0 }
	for i, s := range steps {
		e.step = fmt.Sprintf("seed %d, %s, step %d, %s", seed, e.o.name, i, s.name)
		s.run(e)
		e.checkDigests()
		if due(e.o.flushEvery) {
			e.flush()
		}
		if s.quiet && due(e.o.restartEvery) {
			e.restart()
		}
		if due(e.o.idleEvery) {
			e.releaseIdle()
		}
	}
	e.seen.flushes.Add(int64(e.ns.Counters().Flushes))
	e.seen.expired.Add(int64(e.ns.Counters().Expired))
	if e.ns.Status().FirstLSN > 1 {
		e.seen.trims.Add(1)
	}
	e.catchUp()
	checkSound(e.t, e.ns)
	if e.replica != nil {
		checkSound(e.t, e.replica)
		e.compareAtMark()
	}
}

// checkDigests holds the digests against the cells wherever a flush has been.
func (e *env) checkDigests() {
	e.t.Helper()
	for _, n := range []*Namespace{e.ns, e.replica} {
		if n == nil || n.counters.flushes.Load() == e.flushed[n] {
			continue
		}
		e.flushed[n] = n.counters.flushes.Load()
		e.check(cellsAgree(n))
	}
}

// compareAtMark compares owner and replica where both can be compared.
func (e *env) compareAtMark() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pos, err := e.ns.WriteMark(ctx)
	e.check(err)
	e.catchUp()
	e.check(errors.Join(e.ns.WaitMark(ctx, pos.LSN), e.replica.WaitMark(ctx, pos.LSN)))
	if ranges := differing(e.t, e.ns, e.replica, pos.LSN); ranges != nil {
		e.fatalf("at the mark with LSN %d %d ranges differ", pos.LSN, len(ranges))
	}
}

func (e *env) flush() {
	e.t.Helper()
	e.check(e.ns.Flush(context.Background()))
}

// restart closes and opens owner and replica.
func (e *env) restart() {
	e.t.Helper()
	e.catchUp()
	if e.tail != nil {
		e.tail.Close()
		e.tail = nil
	}
	if e.copier != nil {
		e.copier.end()
		e.copier.stage = nil // the stream breaks, and what the log lost meanwhile is copied again
	}
	e.seen.flushes.Add(int64(e.ns.Counters().Flushes))
	e.seen.expired.Add(int64(e.ns.Counters().Expired))
	e.check(e.db.Close())
	e.open()
	var err error
	e.ns, err = e.db.Namespace("test")
	e.check(err)
	if e.copier != nil {
		e.copier.from = e.ns
	}
	if e.replicaDB != nil {
		e.check(e.replicaDB.Close())
		e.openReplica()
		e.replica, err = e.replicaDB.Namespace("test")
		e.check(err)
		e.follow()
	}
	e.seen.restarts.Add(1)
}

// releaseIdle does what housekeeping does with a namespace that nobody uses.
func (e *env) releaseIdle() {
	now := e.clock.Now()
	for _, n := range []*Namespace{e.ns, e.replica} {
		if n == nil {
			continue
		}
		n.releaseIdle(context.Background(), now)
		n.releaseIdle(context.Background(), now.Add(time.Hour))
		n.life.mu.Lock()
		if !n.life.hot {
			e.seen.releases.Add(1)
		}
		n.life.mu.Unlock()
	}
}

func (e *env) follow() {
	e.t.Helper()
	var err error
	e.tail, err = e.ns.Tail("replica", e.replica.Status().LSN+1)
	e.check(err)
}

// catchUp brings the replica to the owner's commit LSN.
func (e *env) catchUp() {
	e.t.Helper()
	if e.replica == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for target := e.ns.CommitLSN(); e.replica.CommitLSN() < target; {
		run, err := e.tail.Next(ctx, 32<<10)
		e.check(err)
		e.check(e.replica.Append(ctx, run.Records, run.Commit))
		e.tail.Ack(run.Last)
	}
}

// copy goes on for some steps with a copy through a stage. A copy that is there is
// installed, compared, and makes way for the next.
func (e *env) copy(steps int) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if e.copier == nil {
		e.openCopy()
		e.copier = &copier{rng: rand.New(rand.NewPCG(9, 9)), from: e.ns, to: e.copyDB, name: "test"}
	}
	for range steps {
		ready, err := e.copier.step(ctx)
		e.check(err)
		if !ready {
			continue
		}
		e.seen.copies.Add(1)
		e.seen.copied.Add(int64(e.copier.records))
		n, err := e.copier.install(ctx)
		e.check(err)
		e.check(sameState(ctx, n, e.ns))
		e.check(e.copyDB.SetAside(ctx, "test", "it was compared"))
	}
	e.seen.dropped.Add(int64(e.copier.dropped))
	e.copier.dropped = 0
}

func (e *env) openCopy() {
	e.t.Helper()
	var err error
	e.copyDB, err = Open(e.copyOpts)
	e.check(err)
}

// restartCopy closes and opens the database that is copied into.
func (e *env) restartCopy() {
	e.t.Helper()
	if e.copier == nil {
		return
	}
	e.check(e.copyDB.Close())
	e.openCopy()
	e.copier.to, e.copier.stage = e.copyDB, nil
}

// reading is the namespace that answers reads.
func (e *env) reading() *Namespace {
	if e.o.readReplica {
		e.catchUp()
		return e.replica
	}
	return e.ns
}

// view runs fn on a view.
func (e *env) view(fn func(v *View)) {
	e.t.Helper()
	v, err := e.reading().View()
	e.check(err)
	defer v.Close()
	fn(v)
}

// checkVersion holds versions against the model's: equal exactly where those are.
func (e *env) checkVersion(cell string, got Version, want string) {
	e.t.Helper()
	if old, ok := e.versions[cell+"\x00"+want]; ok && old != got {
		e.fatalf("%q has version %s, and had %s though nothing was written", cell, got, old)
	}
	if old, ok := e.ids[cell+"\x00"+string(got)]; ok && old != want {
		e.fatalf("%q still has version %s after it was written", cell, got)
	}
	e.versions[cell+"\x00"+want] = got
	e.ids[cell+"\x00"+string(got)] = want
}

func (e *env) checkValue(cell string, got Value, err error, want wantValue) {
	e.t.Helper()
	if want.version == "" {
		if !errors.Is(err, ErrNotFound) {
			e.fatalf("%q is there (%d bytes, %v), expected none", cell, len(got.Data), err)
		}
		return
	}
	if err != nil {
		e.fatalf("%q: %v, expected %d bytes", cell, err, len(want.value))
	}
	if !bytes.Equal(got.Data, want.value) {
		e.fatalf("%q has %d bytes %.20q, expected %d bytes %.20q", cell, len(got.Data), got.Data, len(want.value), want.value)
	}
	e.checkExpiry(cell, got.ExpiresAt, want.expiry)
	e.checkVersion(cell, got.Version, want.version)
}

func (e *env) checkExpiry(cell string, got, want time.Time) {
	e.t.Helper()
	if !got.Equal(want) {
		e.fatalf("%q expires at %v, expected %v", cell, got, want)
	}
}

func (e *env) checkRow(key string, got Row, err error, want wantRow) {
	e.t.Helper()
	if want.version == "" {
		if !errors.Is(err, ErrNotFound) {
			e.fatalf("row %q is there (%v, %v), expected none", key, got.Columns, err)
		}
		return
	}
	if err != nil {
		e.fatalf("row %q: %v, expected %d columns", key, err, len(want.columns))
	}
	e.checkColumns(key, got.Columns, want.columns)
	e.checkExpiry("row "+key, got.ExpiresAt, want.expiry)
	e.checkVersion("row "+key, got.Version, want.version)
}

func (e *env) checkColumns(key string, got, want map[string][]byte) {
	e.t.Helper()
	if !maps.EqualFunc(got, want, bytes.Equal) {
		e.fatalf("row %q has %d columns %v, expected %d %v", key, len(got), slices.Sorted(maps.Keys(got)), len(want), slices.Sorted(maps.Keys(want)))
	}
}

func (e *env) checkObject(got Object, err error, key string, want wantValue) {
	e.t.Helper()
	if want.version == "" {
		if !errors.Is(err, ErrNotFound) {
			e.fatalf("object %q is there (%v), expected none", key, err)
		}
		return
	}
	if err != nil {
		e.fatalf("object %q: %v, expected %d bytes", key, err, len(want.value))
	}
	if got.Size != int64(len(want.value)) || got.CRC32 != crc32.ChecksumIEEE(want.value) || string(got.Key) != key {
		e.fatalf("object %q has %d bytes, CRC %08x, expected %d bytes", got.Key, got.Size, got.CRC32, len(want.value))
	}
	e.checkExpiry("object "+key, got.ExpiresAt, want.expiry)
	e.checkVersion("object "+key, got.Version, want.version)
}

// batch writes the edits as blind writes.
func (e *env) batch(edits []edit) {
	e.t.Helper()
	var b Batch
	for _, d := range edits {
		key := []byte(d.key)
		switch d.kind {
		case editPut:
			e.check(b.Put(key, d.value, d.ttl))
		case editDelete:
			e.check(b.Delete(key))
		case editPutColumn:
			e.check(b.PutRow(key, map[string][]byte{d.column: d.value}, d.ttl))
		case editDeleteColumn:
			e.check(b.DeleteColumns(key, []string{d.column}))
		case editDeleteRow:
			e.check(b.DeleteRow(key))
		default:
			e.fatalf("a batch has no %v", d)
		}
	}
	pos, err := e.ns.Write(context.Background(), &b)
	e.check(err)
	e.wrote(pos)
}

// wrote checks a write's position: a read that waits for it goes on at once.
func (e *env) wrote(pos Position) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e.check(e.ns.WaitFor(ctx, pos))
}

// txWriteEdit has a transaction make the edit.
func txWriteEdit(ctx context.Context, tx *Tx, d edit) error {
	key := []byte(d.key)
	switch d.kind {
	case editPut:
		return tx.Put(key, d.value, d.ttl)
	case editDelete:
		return tx.Delete(key)
	case editPutColumn:
		return tx.PutRow(key, map[string][]byte{d.column: d.value}, d.ttl)
	case editDeleteColumn:
		return tx.DeleteColumns(key, []string{d.column})
	case editPutModel:
		return tx.PutModel(d.column, key, d.value)
	case editDeleteModel:
		return tx.DeleteModel(d.column, key)
	case editDeleteRow:
		return tx.DeleteRow(key)
	case editPutObject:
		return tx.AppendObject(ctx, key, bytes.NewReader(d.value))
	default:
		return tx.DeleteObject(key)
	}
}

// scanAll reads pages until the limit is reached or nothing follows: a page may
// end early.
func scanAll[T any](e *env, s Scan, page func(Scan) (Page[T], error), key func(T) []byte) (items []T, more bool) {
	e.t.Helper()
	limit := s.Limit
	for {
		p, err := page(s)
		e.check(err)
		items = append(items, p.Items...)
		if !p.More || limit > 0 && len(items) == limit {
			return items, p.More
		}
		if len(p.Items) == 0 {
			e.fatalf("scan %+v: an empty page says that more follows", s)
		}
		if limit > 0 {
			s.Limit = limit - len(items)
		}
		s.After = key(p.Items[len(p.Items)-1])
	}
}

func (e *env) checkKeys(s Scan, got, want []string, more, wantMore bool) {
	e.t.Helper()
	if !slices.Equal(got, want) || more != wantMore {
		e.fatalf("scan %+v: %q (more: %v), expected %q (more: %v)", s, got, more, want, wantMore)
	}
}

// checkAll compares everything with the model, forwards and backwards.
func (e *env) checkAll(m *model) {
	e.t.Helper()
	for _, reverse := range []bool{false, true} {
		e.view(func(v *View) {
			s := Scan{Reverse: reverse}
			e.scanKV(v, m, s)
			e.scanRows(v, m, s)
			e.scanObjects(v, m, s)
			for _, name := range dataModels {
				e.scanOwn(v, m, name, s)
			}
		})
	}
}

func (e *env) scanOwn(v *View, m *model, name string, s Scan) {
	e.t.Helper()
	page := func(s Scan) (Page[KVItem], error) { return v.ScanModel(name, s) }
	items, more := scanAll(e, s, page, func(i KVItem) []byte { return i.Key })
	var keys []string
	for _, i := range items {
		key := string(i.Key)
		keys = append(keys, key)
		e.checkValue(ownCell(name, key), i.Value, nil, m.ownKey(name, key))
	}
	want, wantMore := m.scanOwn(name, s)
	e.checkKeys(s, keys, want, more, wantMore)
}

func (e *env) scanKV(v *View, m *model, s Scan) {
	e.t.Helper()
	items, more := scanAll(e, s, v.Scan, func(i KVItem) []byte { return i.Key })
	var keys []string
	for _, i := range items {
		key := string(i.Key)
		keys = append(keys, key)
		want := m.get(key)
		if s.KeysOnly {
			want.value = nil
		}
		e.checkValue(key, i.Value, nil, want)
	}
	want, wantMore := m.scanKV(s)
	e.checkKeys(s, keys, want, more, wantMore)
}

func (e *env) scanRows(v *View, m *model, s Scan) {
	e.t.Helper()
	items, more := scanAll(e, s, v.ScanRows, func(i RowItem) []byte { return i.Key })
	var keys []string
	for _, i := range items {
		key := string(i.Key)
		keys = append(keys, key)
		e.checkRow(key, i.Row, nil, m.row(key, s.Columns))
	}
	want, wantMore := m.scanRows(s)
	e.checkKeys(s, keys, want, more, wantMore)
}

func (e *env) scanObjects(v *View, m *model, s Scan) {
	e.t.Helper()
	items, more := scanAll(e, s, v.ScanObjects, func(o Object) []byte { return o.Key })
	var keys []string
	for _, o := range items {
		key := string(o.Key)
		keys = append(keys, key)
		e.checkObject(o, nil, key, m.object(key))
	}
	want, wantMore := m.scanObjects(s)
	e.checkKeys(s, keys, want, more, wantMore)
}

// readRange reads a part of an object through ReadAt or Seek and Read.
func (e *env) readRange(r *ObjectReader, data []byte, off, n int, seek bool) {
	e.t.Helper()
	want := data[min(off, len(data)):min(off+n, len(data))]
	got := make([]byte, n)
	var read int
	var err error
	if seek {
		_, err = r.Seek(int64(off), io.SeekStart)
		e.check(err)
		if read, err = io.ReadFull(r, got); errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
	} else {
		read, err = r.ReadAt(got, int64(off))
	}
	if len(want) < n && !errors.Is(err, io.EOF) || len(want) == n && err != nil {
		e.fatalf("reading %d bytes at %d of %d: %v", n, off, len(data), err)
	}
	if !bytes.Equal(got[:read], want) {
		e.fatalf("reading %d bytes at %d of %d: wrong bytes (%d of them)", n, off, len(data), read)
	}
}
