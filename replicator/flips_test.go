package replicator_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// Bits are flipped in the files of a relayer that runs, real kernels over TCP. What
// was hit is never served and never relayed: whoever asks gets the right bytes, or
// an error, or nothing. Then it is found, and the relayer's source puts it right.

// flipForm is how much of that is done: 256 MiB where DURATION is set, and little in
// `make test`. A range of the digests is a thousandth of the namespace in both; but in the
// little one a single value weighs as much as a range, so that its limit is wider.
type flipForm struct {
	limit                     int // bytes that the repair of one flip may move
	bytes                     int
	values, keys, records     int
	segment, memtable, mapped int64
}

func flipFormOf() flipForm {
	if os.Getenv("DURATION") != "" {
		return flipForm{(256 << 20) / 100, 256 << 20, 25, 25, 50, 16 << 20, 64 << 20, 1 << 30}
	}
	return flipForm{(3 << 20) / 40, 3 << 20, 25, 25, 50, 256 << 10, 1 << 20, 64 << 20}
}

func flipSeed(t *testing.T) *rand.Rand {
	seed := uint64(1)
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED=%s: %v", s, err)
		}
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 3))
}

// stored is something that a namespace holds.
type stored struct {
	name string
	key  []byte // of a key-value cell that lies in a leaf page beside its value; nil otherwise
	want []byte
	read func(n *dbkernel.Namespace) ([]byte, error)
}

// flipped is a hub, a relayer of it whose files are damaged, and what they hold.
type flipped struct {
	t    *testing.T
	ctx  context.Context
	form flipForm
	rng  *rand.Rand
	hub  *kernelNode
	edge *kernelNode
	all  []stored
	rows int
}

func newFlipped(t *testing.T) *flipped {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	t.Cleanup(cancel)
	f := &flipped{t: t, ctx: ctx, form: flipFormOf(), rng: flipSeed(t)}
	f.hub, f.edge = f.node("hub", false), f.node("edge", true)
	f.hub.start()
	if _, err := f.hub.db.Create(ns, lineage); err != nil {
		t.Fatal(err)
	}
	f.write(f.form.bytes)
	f.edge.start(f.hub.address)
	f.awaitAt(f.edge)
	f.settle()
	return f
}

// node is one with LMDB, which scrubs only when it is told to.
func (f *flipped) node(id string, replica bool) *kernelNode {
	n := newKernelNode(f.t, id, replica)
	n.tune = func(o *dbkernel.Options, s *dbkernel.StorageOptions) {
		o.ScrubEvery = -1
		s.Engine, s.SegmentSize, s.MemtableSize, s.MapSize = dbkernel.EngineLMDB, f.form.segment, f.form.memtable, f.form.mapped
	}
	return n
}

// write writes new keys, rows and objects that no two bytes of can be mistaken for another's.
func (f *flipped) write(bytesOfAll int) {
	f.t.Helper()
	n := f.hub.namespace(f.ctx)
	for size := 0; size < bytesOfAll; {
		i := f.rows
		f.rows++
		var b dbkernel.Batch
		for range 10 {
			size += f.addKey(&b, len(f.all))
		}
		row, value := fmt.Appendf(nil, "row/%05d", i), f.noise(300+f.rng.IntN(900))
		f.must(b.PutRow(row, map[string][]byte{"column": value}, 0))
		f.add(stored{name: string(row), want: value, read: func(n *dbkernel.Namespace) ([]byte, error) { return readColumn(n, row) }})
		_, err := n.Write(f.ctx, &b)
		f.must(err)
		size += len(value)
		if i%100 == 0 {
			key, object := fmt.Appendf(nil, "object/%05d", i), f.noise(8<<10)
			_, _, err := n.PutObject(f.ctx, key, bytes.NewReader(object), 0, dbkernel.Cond{})
			f.must(err)
			f.add(stored{name: string(key), want: object, read: func(n *dbkernel.Namespace) ([]byte, error) { return readWhole(n, key) }})
			size += len(object)
		}
	}
}

// addKey puts a key whose value lies beside it in a leaf page, or in pages of its own.
func (f *flipped) addKey(b *dbkernel.Batch, i int) (size int) {
	key, inline := fmt.Appendf(nil, "key/%05d", i), f.rng.IntN(30) > 0
	size = 300 + f.rng.IntN(600)
	if !inline {
		size = 2500 + f.rng.IntN(2000)
	}
	s := stored{name: string(key), want: f.noise(size), read: func(n *dbkernel.Namespace) ([]byte, error) { return readKey(n, key) }}
	if inline {
		s.key = key
	}
	f.must(b.Put(key, s.want, 0))
	f.add(s)
	return size
}

func (f *flipped) add(s stored) { f.all = append(f.all, s) }

func (f *flipped) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *flipped) noise(n int) []byte {
	b := make([]byte, (n+7)&^7)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], f.rng.Uint64())
	}
	return b[:n]
}

func readKey(n *dbkernel.Namespace, key []byte) ([]byte, error) {
	v, err := n.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	value, err := v.Get(key)
	return bytes.Clone(value.Data), err
}

func readColumn(n *dbkernel.Namespace, row []byte) ([]byte, error) {
	v, err := n.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	r, err := v.GetRow(row, nil)
	return bytes.Clone(r.Columns["column"]), err
}

func readWhole(n *dbkernel.Namespace, key []byte) ([]byte, error) {
	r, err := n.OpenObject(key)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // it was read
	return io.ReadAll(r)
}

// moved is how many bytes of cells the hub has sent for repairs.
func (f *flipped) moved() int64 { return int64(f.hub.source.SentBytes()[ns].Repairs) }

// settle has the hub write marks, until the relayer has compared itself with the hub at one
// and is equal. What isn't right at the first one is repaired before the next.
func (f *flipped) settle() {
	f.t.Helper()
	status := func() replicator.ComparisonStatus { return f.edge.upstream.Status()[0].Integrity }
	for range 4 {
		mark := f.mark()
		f.await("the relayer has compared itself at the mark", func() bool { return status().ComparedLSN >= mark.LSN })
		if status().Equal {
			return
		}
		repaired := status().Repaired
		f.await("the difference is repaired", func() bool {
			return status().Repaired > repaired || len(f.edge.namespace(f.ctx).Integrity().BadRanges) == 0
		})
	}
	f.t.Fatalf("the relayer doesn't become equal: %+v", status())
}

// mark has the hub write something, and a mark behind it.
func (f *flipped) mark() dbkernel.Position {
	f.t.Helper()
	hub := f.hub.namespace(f.ctx)
	var b dbkernel.Batch
	f.must(b.Put([]byte("settled"), f.noise(16), 0))
	_, err := hub.Write(f.ctx, &b)
	f.must(err)
	mark, err := hub.WriteMark(f.ctx)
	f.must(err)
	return mark
}

func (f *flipped) await(what string, ok func() bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.t.Fatalf("waited in vain: %s; following: %+v; integrity: %+v", what, f.edge.upstream.Status(), f.edge.namespace(f.ctx).Integrity())
		}
	}
}

// check reads something from a node. What is served must be right.
func (f *flipped) check(n *dbkernel.Namespace, s stored) error {
	got, err := s.read(n)
	if err == nil && !bytes.Equal(got, s.want) {
		f.t.Fatalf("%s: a wrong value was served: %d bytes, %d were written", s.name, len(got), len(s.want))
	}
	return err
}

// checkAll reads everything, which must be there.
func (f *flipped) checkAll(id string, n *dbkernel.Namespace) {
	f.t.Helper()
	for _, s := range f.all {
		if err := f.check(n, s); err != nil {
			f.t.Errorf("%s: %s: %v", id, s.name, err)
		}
	}
}

func (f *flipped) treeFile() string {
	return filepath.Join(f.edge.dir, "namespaces", ns, "db", "data.mdb")
}

// flipAt flips a bit of a file, which others may have open or mapped.
func (f *flipped) flipAt(path string, at int64, bit int) {
	f.t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	f.must(err)
	defer func() { f.must(file.Close()) }()
	var b [1]byte
	_, err = file.ReadAt(b[:], at)
	f.must(err)
	b[0] ^= 1 << bit
	_, err = file.WriteAt(b[:], at)
	f.must(err)
}

// cellHeader is how many bytes of a cell lie between its key and its value.
const cellHeader = 29

// flipValue flips a bit of a stored value, or of the header in front of it.
func (f *flipped) flipValue(s stored) {
	f.flipFound(s, f.rng.IntN(cellHeader+len(s.want))-cellHeader)
}

// flipKey flips a bit of a key in the leaf page, in front of its cell.
func (f *flipped) flipKey(s stored) {
	f.flipFound(s, f.rng.IntN(len(s.key))-len(s.key)-cellHeader)
}

// flipFound flips the same bit in every copy of a cell that the file has, at an offset from
// the beginning of its value: pages that are free hold old ones. What is there in part only
// is left alone: the rest belongs to others by now.
func (f *flipped) flipFound(s stored, offset int) {
	f.t.Helper()
	content, err := os.ReadFile(f.treeFile())
	f.must(err)
	bit, found := f.rng.IntN(8), 0
	for at := 0; ; at++ {
		i := bytes.Index(content[at:], s.want)
		if i < 0 {
			break
		}
		at += i
		if key := at - cellHeader - len(s.key); key >= 0 && bytes.HasPrefix(content[key:], s.key) {
			f.flipAt(f.treeFile(), int64(at+offset), bit)
			found++
		}
	}
	if found == 0 {
		f.t.Fatalf("%s isn't in the file", s.name)
	}
}

// TestFlipsInTheTree flips bits in keys and values of the relayer's B+tree. One scrub pass
// finds them, and the hub sends less than a hundredth of the namespace to repair one.
func TestFlipsInTheTree(t *testing.T) {
	f := newFlipped(t)
	far := f.node("far", true)
	far.start(f.edge.address)
	inline := slices.DeleteFunc(slices.Clone(f.all), func(s stored) bool { return s.key == nil })
	seen := map[string]int{}
	var most, total int64
	for i := range f.form.values + f.form.keys {
		f.unfollow()
		var s stored
		if i%2 == 0 {
			s = f.all[f.rng.IntN(len(f.all))]
			f.flipValue(s)
		} else {
			s = inline[f.rng.IntN(len(inline))]
			f.flipKey(s)
		}
		seen[f.answer(s)]++
		n, before := f.edge.namespace(f.ctx), f.moved()
		f.must(n.Scrub(f.ctx, 0))
		if len(n.Integrity().BadRanges) == 0 {
			t.Errorf("flip %d, in %s: one scrub pass doesn't find it: %+v", i, s.name, n.Integrity())
		}
		f.edge.follow(f.hub.address)
		f.await(s.name+" is right again", func() bool {
			n := f.edge.namespace(f.ctx)
			return !n.Integrity().Damaged() && f.check(n, s) == nil
		})
		f.settle()
		if forks := f.edge.upstream.Status()[0].Forks; forks.Replaced > 0 {
			t.Errorf("flip %d, in %s: the relayer was copied anew: %+v", i, s.name, forks)
		}
		moved := f.moved() - before
		most, total = max(most, moved), total+moved
		if limit := int64(f.form.limit); moved > limit {
			t.Errorf("flip %d, in %s: repair moved %d bytes, at most %d may be", i, s.name, moved, limit)
		}
		if i%10 == 9 {
			f.checkAll("edge", f.edge.namespace(f.ctx))
		}
	}
	t.Logf("answers before the scrub: %v; repair moved %.3f %% of the namespace at most, %.3f %% on average",
		seen, 100*float64(most)/float64(f.form.bytes), 100*float64(total)/float64(f.form.bytes*(f.form.values+f.form.keys)))
	f.checkAll("edge", f.edge.namespace(f.ctx))
	f.awaitAt(far)
	f.checkAll("far", far.namespace(f.ctx))
	if !bytes.Equal(logOf(t, far.namespace(f.ctx)), logOf(t, f.hub.namespace(f.ctx))) {
		t.Error("the relayer's follower has another log than the hub")
	}
	f.sameDigests(f.edge, far)
}

// unfollow ends the relayer's following, so that nobody repairs what is damaged.
func (f *flipped) unfollow() {
	f.t.Helper()
	f.must(f.edge.upstream.Close())
	f.edge.upstream = nil
}

// answer says what becomes of whoever asks for what was hit, before anybody has looked for
// damage: who reads it, and who copies it from here.
func (f *flipped) answer(s stored) string {
	n := f.edge.namespace(f.ctx)
	if s.key != nil {
		f.copied(n, s)
	}
	switch err := f.check(n, s); {
	case err == nil:
		return "right"
	case errors.Is(err, dbkernel.ErrDamaged):
		return "damaged"
	case errors.Is(err, dbkernel.ErrNotFound):
		return "not found"
	default:
		f.t.Fatalf("%s: %v", s.name, err)
		return ""
	}
}

// copied reads a chunk of a snapshot from a key on. It has no wrong byte, or there is none.
func (f *flipped) copied(n *dbkernel.Namespace, s stored) {
	f.t.Helper()
	c, err := n.ReadChunk(f.ctx, dbkernel.KeyRange{Start: append([]byte{0x10}, s.key...)}, 16<<10)
	if errors.Is(err, dbkernel.ErrDamaged) {
		return
	}
	f.must(err)
	right, err := f.hub.namespace(f.ctx).ReadChunk(f.ctx, c.KeyRange, 1<<20)
	f.must(err)
	if !bytes.Equal(c.Cells, right.Cells) && c.Count >= right.Count {
		f.t.Fatalf("a chunk from %s on has cells that the hub hasn't", s.name)
	}
}

// awaitAt waits until a node has all that the hub has.
func (f *flipped) awaitAt(n *kernelNode) {
	f.t.Helper()
	p, err := f.hub.namespace(f.ctx).Position()
	f.must(err)
	if err := n.namespace(f.ctx).WaitFor(f.ctx, p); err != nil {
		f.t.Fatalf("%s: %v: %+v", n.id, err, n.upstream.Status())
	}
}

// sameDigests compares nodes with the hub at a mark.
func (f *flipped) sameDigests(nodes ...*kernelNode) {
	f.t.Helper()
	hub, mark := f.hub.namespace(f.ctx), f.mark()
	f.must(hub.WaitMark(f.ctx, mark.LSN))
	want, err := hub.Digests(mark.LSN)
	f.must(err)
	for _, n := range nodes {
		f.awaitAt(n)
		f.must(n.namespace(f.ctx).WaitMark(f.ctx, mark.LSN))
		got, err := n.namespace(f.ctx).Digests(mark.LSN)
		f.must(err)
		if got != want {
			f.t.Errorf("%s has other digests than the hub", n.id)
		}
	}
}

// TestFlipsInTheLog flips bits in records of the relayer's log. Its followers get what the
// hub wrote or nothing. Once the damage is known and the relayer connected, its log begins
// behind that, and nothing was sent for it: the B+tree has what the records say. Who
// needs them gets a snapshot from the relayer.
func TestFlipsInTheLog(t *testing.T) {
	f := newFlipped(t)
	far, late := f.node("far", true), f.node("late", true)
	far.start(f.edge.address)
	late.start(f.edge.address)
	f.awaitAt(late)
	late.stop()
	const perRound = 10
	relayed := map[string]int{}
	for round := 0; round < f.form.records; round += perRound {
		f.write(f.form.bytes / 8)
		f.awaitAt(f.edge)
		want := recordsOf(t, f.hub.namespace(f.ctx))
		f.edge.stop()
		f.edge.start() // what it sends comes from its files
		hits := make([]uint64, min(perRound, f.form.records-round))
		first := f.edge.namespace(f.ctx).Status().FirstLSN
		for i := range hits {
			hits[i] = first + f.rng.Uint64N(uint64(len(want))-first)
		}
		slices.Sort(hits)
		slices.Reverse(hits) // so that each is the first that a follower comes to
		for i, lsn := range hits {
			if !f.flipRecord(want[lsn-1]) {
				continue // hit before
			}
			f.tailed(lsn, want)
			if i%5 == 0 {
				relayed[f.relayed(fmt.Sprintf("probe-%d-%d", round, i), want)]++
			}
		}
		f.checkAll("edge", f.edge.namespace(f.ctx))
		f.healed(hits[0], round%(2*perRound) == 0)
		f.checkAll("edge", f.edge.namespace(f.ctx))
	}
	t.Logf("followers of the relayer: %v", relayed)
	f.sameDigests(f.edge, far)
	f.checkAll("far", far.namespace(f.ctx))
	before := f.edge.source.SentBytes()[ns].Snapshots
	late.start(f.edge.address)
	f.await("who was away has a new copy", func() bool { // the old one serves until then
		return late.namespace(f.ctx).Status().CommitLSN >= f.hub.namespace(f.ctx).Status().CommitLSN
	})
	f.checkAll("late", late.namespace(f.ctx))
	if f.edge.source.SentBytes()[ns].Snapshots == before {
		t.Error("a follower that needs what was damaged got no snapshot")
	}
}

// healed has the relayer find what is damaged in its log, up to an LSN, and heal it: when it
// begins to follow, or while it does.
func (f *flipped) healed(last uint64, following bool) {
	f.t.Helper()
	sent := func() uint64 { s := f.hub.source.SentBytes()[ns]; return s.Snapshots + s.Repairs }
	before, n := sent(), f.edge.namespace(f.ctx)
	if following {
		f.edge.follow(f.hub.address)
		f.await("the relayer follows", func() bool { return f.edge.upstream.Status()[0].Connected })
	}
	f.must(n.Scrub(f.ctx, 0))
	if !following {
		if !n.Integrity().LogDamaged {
			f.t.Error("a scrub doesn't find the damage in the log")
		}
		f.edge.follow(f.hub.address)
	}
	f.await("the relayer has a sound log", func() bool {
		return !n.Integrity().LogDamaged && n.Status().FirstLSN > last && f.edge.upstream.Status()[0].State == replicator.StateServing
	})
	f.settle()
	f.must(n.Scrub(f.ctx, 0))
	if i := n.Integrity(); i.Damaged() {
		f.t.Errorf("healed, the relayer has %+v", i)
	}
	if moved := sent() - before; moved > 0 {
		f.t.Errorf("%d bytes were sent to heal a log", moved)
	}
	if forks := f.edge.upstream.Status()[0].Forks; forks.Replaced > 0 {
		f.t.Errorf("the relayer was copied anew: %+v", forks)
	}
}

// recordsOf reads a whole log, record by record.
func recordsOf(t *testing.T, n *dbkernel.Namespace) (records [][]byte) {
	t.Helper()
	for log := logOf(t, n); len(log) > 0; {
		size := binary.LittleEndian.Uint32(log)
		records, log = append(records, log[:size]), log[size:]
	}
	return records
}

// flipRecord flips a bit of a record in the relayer's log.
func (f *flipped) flipRecord(record []byte) bool {
	f.t.Helper()
	files, err := filepath.Glob(filepath.Join(f.edge.dir, "namespaces", ns, "wal", "segment-*"))
	f.must(err)
	for _, path := range files {
		content, err := os.ReadFile(path)
		f.must(err)
		if i := bytes.Index(content, record); i >= 0 {
			f.flipAt(path, int64(i+f.rng.IntN(len(record))), f.rng.IntN(8))
			return true
		}
	}
	return false
}

// tailed reads the relayer's log from a record on: right records come, or an error.
func (f *flipped) tailed(lsn uint64, want [][]byte) {
	f.t.Helper()
	tail, err := f.edge.namespace(f.ctx).Tail("test", lsn)
	f.must(err)
	defer tail.Close()
	for at := lsn; at <= uint64(len(want)); {
		run, err := tail.Next(f.ctx, 1<<20)
		if errors.Is(err, dbkernel.ErrDamaged) {
			return
		}
		f.must(err)
		got := slices.Concat(run.Records...)
		right := slices.Concat(want[run.First-1 : min(run.Last, uint64(len(want)))]...)
		if !bytes.HasPrefix(got, right) {
			f.t.Fatalf("the log gives a wrong record between LSN %d and %d", run.First, run.Last)
		}
		if at = run.Last + 1; run.First <= lsn {
			f.t.Fatalf("the record with LSN %d is damaged, and was given", lsn)
		}
	}
}

// relayed has a new node follow the relayer. It gets everything, or an error and only
// what is right.
func (f *flipped) relayed(id string, want [][]byte) string {
	f.t.Helper()
	probe := f.node(id, true)
	probe.start(f.edge.address)
	defer probe.stop()
	status := func() replicator.SinkStatus { return probe.upstream.Status()[0] }
	has := func() uint64 {
		n, err := probe.db.Namespace(ns)
		if err != nil {
			return 0
		}
		return n.Status().CommitLSN
	}
	f.await("a follower of the relayer has all or is told why not", func() bool {
		return has() >= uint64(len(want)) || status().LastError != ""
	})
	n, err := probe.db.Namespace(ns)
	if errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		return "nothing"
	}
	f.must(err)
	first, last := n.Status().FirstLSN, n.Status().CommitLSN
	if last >= first && first > 0 {
		f.sameRecords(n, first, last, want)
	}
	for _, s := range f.all {
		if err := f.check(n, s); err != nil && (has() >= uint64(len(want)) || !errors.Is(err, dbkernel.ErrNotFound)) {
			f.t.Fatalf("%s: %s: %v", id, s.name, err)
		}
	}
	if has() >= uint64(len(want)) {
		return "everything"
	}
	return "the beginning"
}

func (f *flipped) sameRecords(n *dbkernel.Namespace, first, last uint64, want [][]byte) {
	f.t.Helper()
	tail, err := n.Tail("test", first)
	f.must(err)
	defer tail.Close()
	for at := first; at <= last; {
		run, err := tail.Next(f.ctx, 1<<20)
		f.must(err)
		if !bytes.Equal(slices.Concat(run.Records...), slices.Concat(want[run.First-1:run.Last]...)) {
			f.t.Fatalf("a follower has a wrong record between LSN %d and %d", run.First, run.Last)
		}
		at = run.Last + 1
	}
}
