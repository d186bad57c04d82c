package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// copier copies a namespace into a stage of another database, a step at a time, as
// replication does: chunks from anywhere in what is missing, the end, the log.
type copier struct {
	rng  *rand.Rand
	from *Namespace
	to   *DB
	name string

	stage *Stage
	tail  *Tail // pins the source's log

	chunks, records int // that came
	dropped         int // chunks that the source's log didn't reach back to
}

// begin opens the stage and brings it onto the source's history. What the source's
// log no longer reaches back to goes.
func (c *copier) begin() error {
	var err error
	if c.stage, err = c.to.Stage(c.name, c.from.Status().Lineage); err != nil {
		return err
	}
	first := c.from.Status().FirstLSN
	for err = c.pin(first); errors.Is(err, ErrTrimmed); err = c.pin(first) {
		first = c.from.Status().FirstLSN
	}
	if err != nil {
		return err
	}
	if c.stage.Finished() && c.stage.Log().Status().LSN+1 >= first {
		return c.follow()
	}
	keep := func(chunk StagedChunk) bool { return chunk.LSN+1 >= first }
	dropped := len(c.stage.Chunks())
	if err := c.stage.Rebase(c.from.EpochTable(), keep); err != nil {
		return err
	}
	c.dropped += dropped - len(c.stage.Chunks())
	if chunks := c.stage.Chunks(); len(chunks) > 0 {
		return c.pin(lowest(chunks) + 1)
	}
	return c.pin(c.from.CommitLSN() + 1)
}

// pin keeps the source's log from an LSN on.
func (c *copier) pin(from uint64) error {
	tail, err := c.from.Tail("copy", from)
	c.end()
	c.tail = tail
	return err
}

func (c *copier) end() {
	if c.tail != nil {
		c.tail.Close()
		c.tail = nil
	}
}

func (c *copier) follow() error { return c.pin(c.stage.Log().Status().LSN + 1) }

// step does a little. It answers true when the stage is ready.
func (c *copier) step(ctx context.Context) (ready bool, err error) {
	if c.stage == nil {
		return false, c.begin()
	}
	if c.stage.Finished() {
		return c.feed(ctx)
	}
	if gaps := c.stage.Missing(); len(gaps) > 0 {
		err = c.chunk(ctx, gaps)
	} else {
		err = c.complete(ctx)
	}
	if errors.Is(err, ErrGap) {
		err = c.begin() // the source has begun an epoch
	}
	return false, err
}

func (c *copier) complete(ctx context.Context) error {
	end, err := c.from.SnapshotEnd(ctx)
	if err == nil {
		err = c.stage.Finish(ctx, end)
	}
	if err == nil {
		err = c.follow()
	}
	return err
}

// chunk copies one or two chunks, not always from the beginning of a gap.
func (c *copier) chunk(ctx context.Context, gaps []KeyRange) error {
	r := gaps[c.rng.IntN(len(gaps))]
	if c.rng.IntN(3) > 0 {
		var err error
		if r.Start, err = c.somewhere(ctx, r); err != nil {
			return err
		}
	}
	first, err := c.from.ReadChunk(ctx, r, 1+c.rng.IntN(4<<10))
	if err != nil {
		return err
	}
	chunks := []Chunk{first}
	if !bytes.Equal(first.End, r.End) && c.rng.IntN(3) == 0 {
		second, err := c.from.ReadChunk(ctx, KeyRange{first.End, r.End}, 1+c.rng.IntN(64<<10))
		if err != nil {
			return err
		}
		chunks = append(chunks, second)
	}
	c.chunks += len(chunks)
	return c.stage.Put(ctx, chunks)
}

// somewhere is a key of the range: chunks begin in the middle of rows and objects.
func (c *copier) somewhere(ctx context.Context, r KeyRange) ([]byte, error) {
	all, err := c.from.ReadChunk(ctx, r, 1<<20)
	if err != nil {
		return nil, err
	}
	at, i := r.Start, c.rng.IntN(all.Count+1)
	err = all.each(func(key, _ []byte) error {
		if i--; i == 0 {
			at = key
		}
		return nil
	})
	return at, err
}

// feed brings some of the log. Without more to come the stage is waited for.
func (c *copier) feed(ctx context.Context) (ready bool, err error) {
	log := c.stage.Log()
	commit := c.from.CommitLSN()
	if s := log.Status(); s.LSN < commit {
		run, err := c.tail.Next(ctx, 1+c.rng.IntN(32<<10))
		if err != nil {
			return false, err
		}
		c.records += int(run.Last - run.First + 1)
		return false, log.Append(ctx, run.Records, run.Commit)
	}
	log.SetCommit(commit)
	return true, c.stage.WaitReady(ctx)
}

// finish goes on until the stage is ready, and installs it.
func (c *copier) finish(ctx context.Context) (*Namespace, error) {
	for ready := false; !ready; {
		var err error
		if ready, err = c.step(ctx); err != nil {
			return nil, err
		}
	}
	return c.install(ctx)
}

func (c *copier) install(ctx context.Context) (*Namespace, error) {
	c.end()
	n, err := c.stage.Install(ctx, "the test wants it")
	c.stage = nil
	return n, err
}

// sameState brings a copy to where its source is and compares all that they hold.
func sameState(ctx context.Context, got, want *Namespace) error {
	for same := false; !same; same = got.point.Load().LSN == want.point.Load().LSN { // housekeeping may have written something
		if err := sound(want); err != nil {
			return fmt.Errorf("the source: %w", err)
		}
		if err := catchUpTo(ctx, got, want); err != nil {
			return err
		}
		if err := sound(got); err != nil {
			return fmt.Errorf("the copy: %w", err)
		}
	}
	a, b := got.point.Load(), want.point.Load()
	if a.LSN != b.LSN || a.Epoch != b.Epoch || a.Records != b.Records || !maps.Equal(a.Uploads, b.Uploads) {
		return fmt.Errorf("the checkpoint is %+v, expected %+v", a, b)
	}
	var trees [2]*treeState
	for i, n := range []*Namespace{got, want} {
		if err := n.acquire(); err != nil {
			return err
		}
		tree, err := readTree(n)
		n.release()
		if err != nil {
			return err
		}
		for key := range tree.cells {
			if id, _, err := codec.SplitChunkKey([]byte(key)); err == nil && tree.dropped[id] {
				delete(tree.cells, key)
			}
		}
		trees[i] = tree
	}
	return trees[0].equals(trees[1].cells)
}

// catchUpTo feeds a replica from the owner's log.
func catchUpTo(ctx context.Context, replica, owner *Namespace) error {
	tail, err := owner.Tail("test", replica.Status().LSN+1)
	if err != nil {
		return err
	}
	defer tail.Close()
	for target := owner.CommitLSN(); replica.CommitLSN() < target; {
		run, err := tail.Next(ctx, 64<<10)
		if err != nil {
			return err
		}
		if err := replica.Append(ctx, run.Records, run.Commit); err != nil {
			return err
		}
	}
	return nil
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// busy writes to a namespace: something of everything, to few keys, so that what is
// written later meets what was written before.
type busy struct {
	t     testing.TB
	n     *Namespace
	rng   *rand.Rand
	clock *fakeClock

	uploads []*upload
	readers []*ObjectReader
}

// busyOwner makes a namespace that is written to. The clock is set in o.
func busyOwner(t testing.TB, o Options, rng *rand.Rand) *busy {
	t.Helper()
	b := &busy{t: t, rng: rng, clock: newFakeClock()}
	o.Clock = b.clock.Now
	b.n = createNS(t, openDB(t, o), "test")
	t.Cleanup(b.closeReaders)
	for range 60 {
		b.write()
	}
	return b
}

func (b *busy) closeReaders() {
	for _, r := range b.readers {
		if err := r.Close(); err != nil {
			b.t.Error(err)
		}
	}
	b.readers = nil
}

func (b *busy) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *busy) ttl() time.Duration { return time.Duration(b.rng.IntN(3)) * time.Second }

// write does one write.
func (b *busy) write() {
	b.t.Helper()
	ctx := context.Background()
	key := modelKeys[b.rng.IntN(len(modelKeys))]
	row, object := modelKeys[b.rng.IntN(4)], modelKeys[b.rng.IntN(4)]
	value := randomBytes(b.rng.Uint64(), b.rng.IntN(600))
	switch b.rng.IntN(14) {
	case 0:
		writeEdits(b.t, b.n, edit{kind: editDeleteRow, key: row})
	case 1:
		writeEdits(b.t, b.n, edit{kind: editDelete, key: key})
	case 2, 3:
		putObject(b.t, b.n, object, value)
	case 4:
		_, err := b.n.Update(ctx, func(tx *Tx) error { return tx.DeleteObject([]byte(object)) })
		b.check(err)
	case 5, 6:
		b.upload(value)
	case 7:
		if b.rng.IntN(3) == 0 {
			flush(b.t, b.n)
		}
	case 8:
		b.clock.Advance(time.Second)
		if b.rng.IntN(2) == 0 {
			b.n.expireDue(ctx, b.clock.Now().UnixNano())
		}
	case 9:
		b.read(object)
	case 10, 11, 12:
		writeEdits(b.t, b.n, edit{kind: editPutColumn, key: row, column: modelColumns[b.rng.IntN(len(modelColumns))], value: value, ttl: b.ttl()})
	default:
		writeEdits(b.t, b.n, edit{kind: editPut, key: key, value: value, ttl: b.ttl()})
	}
}

// upload begins another upload of a few chunks, goes on with one, or gives one up.
func (b *busy) upload(data []byte) {
	b.t.Helper()
	b.check(b.n.acquire())
	defer b.n.release()
	if len(b.uploads) < 3 {
		u, err := b.n.newUpload(0)
		b.check(err)
		b.uploads = append(b.uploads, u)
	}
	i := b.rng.IntN(len(b.uploads))
	u := b.uploads[i]
	if u.chunks > uint64(b.rng.IntN(20)) {
		b.check(u.drop())
		b.uploads = append(b.uploads[:i], b.uploads[i+1:]...)
		return
	}
	u.last = append([]byte("chunk"), data...)
	b.check(u.flushChunk(context.Background()))
}

// read opens an object, so that its chunks are kept, or lets go of one.
func (b *busy) read(key string) {
	b.t.Helper()
	if len(b.readers) > 2 {
		b.check(b.readers[0].Close())
		b.readers = b.readers[1:]
		return
	}
	r, err := b.n.OpenObject([]byte(key))
	if errors.Is(err, ErrNotFound) {
		return
	}
	b.check(err)
	b.readers = append(b.readers, r)
}

func engineOptions(t testing.TB, engine string) Options {
	t.Helper()
	o := testOptions(t, vfs.NewMem())
	if engine != EngineMemory {
		o.FS, o.Dir = vfs.OS(), t.TempDir()
	}
	o.Defaults.Storage = tiny(engine)
	return o
}

// TestStage copies a namespace while it is written to, in every engine, with the
// sink's database closed and opened at times, and compares all of it.
func TestStage(t *testing.T) {
	for engine, seeds := range map[string]uint64{EngineMemory: 25, EngineLMDB: 3, EngineBolt: 3} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				copyBusy(t, engine, seed)
			}
		})
	}
}

func copyBusy(t *testing.T, engine string, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	ctx := testContext(t)
	owner := busyOwner(t, engineOptions(t, engine), rng)
	sink := engineOptions(t, engine)
	sink.Defaults.Replica = true
	db, err := Open(sink)
	if err != nil {
		t.Fatal(err)
	}
	c := &copier{rng: rng, from: owner.n, to: db, name: "test"}
	defer func() {
		c.end()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	for ready := false; !ready; {
		for range rng.IntN(8) {
			owner.write()
		}
		if rng.IntN(6) == 0 {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if db, err = Open(sink); err != nil {
				t.Fatal(err)
			}
			c.to, c.stage = db, nil
		}
		if ready, err = c.step(ctx); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	copied, err := c.finish(ctx)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	owner.write()
	if err := sameState(ctx, copied, owner.n); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
}
