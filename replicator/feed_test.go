package replicator_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// countingPool knows which of its buffers are out.
type countingPool struct {
	mu    sync.Mutex
	out   map[*[]byte]int
	gets  int
	bytes int // that are out
	most  int // that were out at a time
}

func newCountingPool() *countingPool { return &countingPool{out: make(map[*[]byte]int)} }

func (p *countingPool) Get(n int) *[]byte {
	b := make([]byte, n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out[&b] = n
	p.gets++
	p.bytes += n
	p.most = max(p.most, p.bytes)
	return &b
}

func (p *countingPool) Put(b *[]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.out[b]
	if !ok {
		panic("a buffer came back twice")
	}
	delete(p.out, b)
	p.bytes -= n
	for i := range *b {
		(*b)[i] = 0xdb // whoever still reads it sees nonsense
	}
}

func (p *countingPool) counts() (out, gets, most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.out), p.gets, p.most
}

// tap is a stream whose sink is the test: each message is handed to heard, which may wait.
type tap struct {
	ctx   context.Context
	say   chan *dbv1.SinkMessage
	heard func(raw []byte, m *dbv1.SourceMessage)
}

func (s *tap) Context() context.Context         { return s.ctx }
func (s *tap) Recv() (*dbv1.SinkMessage, error) { return recv(s.ctx, s.say) }
func (s *tap) Send(m *dbv1.SourceMessage) error { return s.SendMsg(m) }
func (s *tap) ack(lsn uint64)                   { s.say <- ackOf(lsn) }
func ackOf(lsn uint64) *dbv1.SinkMessage {
	return &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Ack{Ack: &dbv1.Ack{ReceivedLsn: lsn, DurableLsn: lsn, AppliedLsn: lsn}}}
}

func (s *tap) SendMsg(v any) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	data, err := replicator.Codec().Marshal(v)
	if err != nil {
		return err
	}
	defer data.Free()
	m := new(dbv1.SourceMessage)
	if err := replicator.Codec().Unmarshal(data, m); err != nil {
		return err
	}
	s.heard(data.Materialize(), m)
	return nil
}

// tapped is a follower of a log that checks what it is sent: each record once, in
// order, as it is in the log.
type tapped struct {
	t      *testing.T
	log    *replicatortest.Log
	tap    *tap
	cancel context.CancelFunc
	gate   func() // is called before each message is taken
	unzip  replicator.Decompressor
	packed int // compressed batches

	mu       sync.Mutex
	resumed  *dbv1.Resume
	next     uint64
	part     []byte
	messages int
	batches  int
	beats    int
	raw      [][]byte // all messages with batches, if keep
	keep     bool
}

// serveTap has the source serve a follower that has all up to lsn.
func serveTap(t *testing.T, wg *sync.WaitGroup, source *replicator.Source, l *replicatortest.Log, f *tapped, hello *dbv1.SinkHello) {
	ctx, cancel := context.WithCancel(context.Background())
	f.t, f.log, f.cancel, f.next = t, l, cancel, hello.GetLsn()+1
	f.tap = &tap{ctx: ctx, say: make(chan *dbv1.SinkMessage, 1000), heard: f.heard}
	hello.ProtocolVersion, hello.MinProtocolVersion, hello.Namespace = 1, 1, ns
	if hello.GetLsn() > 0 {
		hello.Lineage = lineage[:]
		for _, e := range l.EpochTable() {
			if e.FirstLSN <= hello.GetLsn() {
				hello.Epochs = append(hello.Epochs, &dbv1.EpochStart{Epoch: e.Epoch, FirstLsn: e.FirstLSN, Bits: e.Bits})
			}
		}
	}
	f.tap.say <- &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: hello}}
	wg.Go(func() {
		// How it ends is the test's doing.
		_ = source.Serve(f.tap)
		cancel()
	})
}

func (f *tapped) heard(raw []byte, m *dbv1.SourceMessage) {
	if f.gate != nil {
		f.gate()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := m.GetAnswer().GetResume(); r != nil {
		f.resumed = r
	}
	f.messages++
	if m.GetHeartbeat() != nil {
		f.beats++
	}
	if f.keep && len(m.GetBatches()) > 0 {
		f.raw = append(f.raw, raw)
	}
	for _, b := range m.GetBatches() {
		f.batches++
		f.take(b)
	}
}

func (f *tapped) take(b *dbv1.Batch) {
	records := b.GetRecords()
	if b.GetUncompressedBytes() > 0 {
		f.packed++
		var err error
		if records, err = f.unzip.Decompress(records, int(b.GetUncompressedBytes())); err != nil {
			f.t.Errorf("batch of LSN %d: %v", b.GetFirstLsn(), err)
			return
		}
	}
	if b.GetFirstLsn() != f.next {
		f.t.Errorf("LSN %d came where %d is next", b.GetFirstLsn(), f.next)
	}
	if b.GetCommitLsn() < b.GetLastLsn() {
		f.t.Errorf("LSN %d isn't committed", b.GetLastLsn())
	}
	if total := int(b.GetRecordBytes()); total > 0 {
		if int(b.GetPartOffset()) != len(f.part) {
			f.t.Errorf("a part of LSN %d at %d instead of %d", b.GetFirstLsn(), b.GetPartOffset(), len(f.part))
		}
		if f.part = append(f.part, records...); len(f.part) < total {
			return
		}
		records, f.part = f.part, nil
	}
	for len(records) > 0 {
		n := binary.LittleEndian.Uint32(records)
		if want := f.log.Get(f.next); !bytes.Equal(records[:n], want) {
			f.t.Errorf("LSN %d isn't the owner's", f.next)
		}
		records = records[n:]
		f.next++
	}
	if f.next != b.GetLastLsn()+1 {
		f.t.Errorf("a batch up to LSN %d ended before LSN %d", b.GetLastLsn(), f.next)
	}
}

func (f *tapped) has() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next - 1
}

func (f *tapped) heartbeats() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.beats
}

// TestFeedSharesBatches: however many follow, a batch is encoded once and goes to
// all as the same bytes; its memory comes back when the last has let go of it.
func TestFeedSharesBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, pool := replicatortest.NewStore(1), newCountingPool()
		l := store.Add(ns, lineage)
		l.StartEpoch(1)
		source := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: store, Compression: replicator.CompressionNone})
		source.SetBufferPool(pool)
		var wg sync.WaitGroup
		followers := make([]*tapped, 30)
		for i := range followers {
			followers[i] = &tapped{keep: true}
			serveTap(t, &wg, source, l, followers[i], &dbv1.SinkHello{NodeId: fmt.Sprint("edge ", i), Lsn: 1})
		}
		synctest.Wait()
		if feeds, live := source.Feeds(); feeds != 1 || live != len(followers) {
			t.Errorf("%d feeds with %d live followers", feeds, live)
		}
		for i := range 50 {
			l.Write(payload(i), make([]byte, 3000))
			time.Sleep(10 * time.Millisecond) // the feed rests between rounds
			synctest.Wait()
		}
		_, gets, _ := pool.counts()
		if batches := followers[0].batches; gets == 0 || gets > 2*batches {
			t.Errorf("%d buffers for %d batches", gets, batches)
		}
		for i, f := range followers {
			if f.has() != 101 {
				t.Errorf("follower %d has LSN %d", i, f.has())
			}
			if !bytes.Equal(bytes.Join(f.raw, nil), bytes.Join(followers[0].raw, nil)) {
				t.Errorf("follower %d was sent other bytes than the first", i)
			}
		}
		for _, f := range followers {
			f.cancel()
		}
		wg.Wait()
		source.Close()
		if out, _, _ := pool.counts(); out != 0 {
			t.Errorf("%d buffers didn't come back", out)
		}
		if feeds, _ := source.Feeds(); feeds != 0 {
			t.Errorf("%d feeds without followers", feeds)
		}
	})
}

// TestHandOver: followers come at any position, stall so that they fall out of
// the feed, come back and leave, while records of all sizes are written. Each is sent
// every record once, in order, and no buffer is lost.
func TestHandOver(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) { handOver(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func handOver(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	store, pool := replicatortest.NewStore(seed), newCountingPool()
	l := store.Add(ns, lineage)
	l.StartEpoch(1)
	source := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: store, Heartbeat: 2 * time.Second})
	source.SetBufferPool(pool)
	var wg sync.WaitGroup
	var followers []*tapped
	for range 45 {
		switch r.IntN(4) {
		case 0:
			at := uint64(0)
			if r.IntN(3) > 0 {
				at = 1 + r.Uint64N(l.Status().CommitLSN)
			}
			f := &tapped{gate: slowly(rand.New(rand.NewPCG(seed, r.Uint64())))}
			hello := &dbv1.SinkHello{NodeId: fmt.Sprint("edge ", len(followers)), Lsn: at}
			if r.IntN(2) == 0 {
				hello.Compressions = []dbv1.Compression{dbv1.Compression_COMPRESSION_ZSTD}
			}
			if r.IntN(3) == 0 {
				hello.MaxPartBytes = uint32(4<<10 + r.IntN(200<<10))
			}
			serveTap(t, &wg, source, l, f, hello)
			followers = append(followers, f)
		case 1:
			if len(followers) > 0 && r.IntN(4) == 0 {
				followers[r.IntN(len(followers))].cancel()
			}
		default:
			writeMixed(l, r)
		}
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
	}
	time.Sleep(3 * time.Minute)
	for i, f := range followers {
		if f.tap.ctx.Err() == nil && f.has() != l.Status().CommitLSN {
			t.Errorf("follower %d ends with LSN %d of %d", i, f.has(), l.Status().CommitLSN)
		}
		f.cancel()
	}
	wg.Wait()
	source.Close()
	if out, _, _ := pool.counts(); out != 0 {
		t.Errorf("%d buffers didn't come back", out)
	}
}

// slowly takes most messages at once, and some after seconds.
func slowly(r *rand.Rand) func() {
	return func() {
		if r.IntN(20) == 0 {
			time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
		}
	}
}

// writeMixed writes records of all sizes, sometimes more than a feed keeps.
func writeMixed(l *replicatortest.Log, r *rand.Rand) {
	switch r.IntN(24) {
	case 0:
		l.Write(make([]byte, 64<<10+r.IntN(500<<10)))
	case 1:
		for range 12 {
			l.Write(bytes.Repeat(payload(r.IntN(1e6)), 40<<10))
		}
	default:
		for range r.IntN(30) {
			l.Write(bytes.Repeat(payload(r.IntN(1e6)), 1+r.IntN(100)))
		}
	}
}

// TestCompressionIsEachFollowersOwn: one follower takes zstd and another doesn't;
// both get the same records from one feed, and small batches stay as they are.
func TestCompressionIsEachFollowersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, pool := replicatortest.NewStore(1), newCountingPool()
		l := store.Add(ns, lineage)
		l.StartEpoch(1)
		source := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: store})
		source.SetBufferPool(pool)
		var wg sync.WaitGroup
		zstd, plain := &tapped{}, &tapped{}
		serveTap(t, &wg, source, l, zstd, &dbv1.SinkHello{NodeId: "a", Lsn: 1, Compressions: []dbv1.Compression{dbv1.Compression_COMPRESSION_ZSTD, dbv1.Compression_COMPRESSION_NONE}})
		serveTap(t, &wg, source, l, plain, &dbv1.SinkHello{NodeId: "b", Lsn: 1, Compressions: []dbv1.Compression{dbv1.Compression_COMPRESSION_NONE}})
		synctest.Wait()
		if got := zstd.resumed.GetCompression(); got != dbv1.Compression_COMPRESSION_ZSTD {
			t.Errorf("the source chose %v", got)
		}
		if got := plain.resumed.GetCompression(); got != dbv1.Compression_COMPRESSION_NONE {
			t.Errorf("the source chose %v for one that doesn't take any", got)
		}
		noise := make([]byte, 10_000)
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		for i, record := range [][]byte{[]byte("small"), noise, bytes.Repeat([]byte("much of the same "), 1000)} {
			l.Write(record)
			synctest.Wait()
			if want := i / 2; zstd.packed != want || plain.packed != 0 {
				t.Errorf("record %d: %d and %d compressed batches, want %d and 0", i, zstd.packed, plain.packed, want)
			}
		}
		if zstd.has() != 4 || plain.has() != 4 {
			t.Errorf("LSN %d and %d", zstd.has(), plain.has())
		}
		zstd.cancel()
		plain.cancel()
		wg.Wait()
		source.Close()
		if out, _, _ := pool.counts(); out != 0 {
			t.Errorf("%d buffers didn't come back", out)
		}
	})
}

// TestStalledFollower: a follower that reads no more, for good, holds back nobody,
// and what it keeps alive is bounded, however much is written.
func TestStalledFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, pool := replicatortest.NewNetwork(), newCountingPool()
		hub, edge := newNode(t, network, "hub"), newNode(t, network, "edge")
		hub.serve()
		hub.source.SetBufferPool(pool)
		l := hub.ownerLog()
		edge.follow("hub")
		edge.awaitEqual(l)
		stalled, done := edge.raw("hub")
		hello := &dbv1.SinkHello{ProtocolVersion: 1, MinProtocolVersion: 1, NodeId: "stalled", Namespace: ns, MaxPartBytes: 64 << 10}
		if err := stalled.Send(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: hello}}); err != nil {
			t.Fatal(err)
		}
		if _, err := stalled.Recv(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, live := hub.source.Feeds(); live != 2 {
			t.Errorf("%d live followers before one stalls", live)
		}
		noise := make([]byte, 60<<10)
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		for range 8 {
			for range 24 {
				l.Write(noise)
			}
			edge.awaitEqual(l)
		}
		// The feed's ring and one batch; and for each follower its stream's quota (64 KiB) and
		// one message.
		if _, _, most := pool.counts(); most > replicator.FeedBytes+(512<<10) {
			t.Errorf("%d bytes of batches were held", most)
		}
		time.Sleep(time.Minute) // in which a heartbeat comes, and its acknowledgement
		synctest.Wait()
		for _, f := range hub.source.Followers() {
			if f.NodeID == "edge" && f.DurableLSN != l.Status().LSN {
				t.Errorf("%+v", f)
			}
			if f.NodeID == "stalled" && f.SentLSN > 100 {
				t.Errorf("%+v: it reads nothing", f)
			}
		}
		done()
		edge.stop()
		hub.stop()
		windDown()
	})
}

// TestRateCap: what a node is sent stays under the cap, over all its streams
// together, live or behind; heartbeats go on.
func TestRateCap(t *testing.T) {
	const perSecond = 100 << 10
	for name, live := range map[string]bool{"live": true, "behind": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := replicatortest.NewStore(1)
				l := store.Add(ns, lineage)
				l.StartEpoch(1)
				source := replicator.NewSource(replicator.SourceOptions{
					NodeID: "hub", Store: store, FollowerBytesPerSecond: perSecond, Heartbeat: time.Second, Compression: replicator.CompressionNone,
				})
				var wg sync.WaitGroup
				first, second, other := &tapped{}, &tapped{}, &tapped{}
				write := func() {
					for range 200 {
						l.Write(make([]byte, 10<<10))
					}
				}
				if !live {
					write()
				}
				serveTap(t, &wg, source, l, first, &dbv1.SinkHello{NodeId: "a", Lsn: 1})
				serveTap(t, &wg, source, l, second, &dbv1.SinkHello{NodeId: "a", Lsn: 1})
				serveTap(t, &wg, source, l, other, &dbv1.SinkHello{NodeId: "b", Lsn: 1})
				synctest.Wait()
				if live {
					write()
				}
				time.Sleep(10 * time.Second)
				sent := (first.has() + second.has()) * (10 << 10)
				if sent > 11*perSecond || sent < 8*perSecond {
					t.Errorf("the two streams of a node carried %d bytes in 10 s", sent)
				}
				if alone := other.has() * (10 << 10); alone > 11*perSecond || alone < 8*perSecond {
					t.Errorf("the stream of another node carried %d bytes in 10 s", alone)
				}
				if n := first.heartbeats(); n < 8 {
					t.Errorf("%d heartbeats in 10 s", n)
				}
				time.Sleep(time.Minute)
				if first.has() != 201 || second.has() != 201 || other.has() != 201 {
					t.Errorf("LSN %d, %d and %d in the end", first.has(), second.has(), other.has())
				}
				for _, f := range []*tapped{first, second, other} {
					f.cancel()
				}
				wg.Wait()
				source.Close()
			})
		})
	}
}

// TestAcksOverStreams: what followers acknowledge on their streams is what a wait
// counts, whichever of the node's sources they follow.
func TestAcksOverStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := replicatortest.NewStore(1)
		l := store.Add(ns, lineage)
		l.StartEpoch(1)
		var acks replicator.Acks
		o := replicator.SourceOptions{NodeID: "hub", Store: store, Acks: &acks}
		sources := []*replicator.Source{replicator.NewSource(o), replicator.NewSource(o)}
		var wg sync.WaitGroup
		a, b := &tapped{}, &tapped{}
		serveTap(t, &wg, sources[0], l, a, &dbv1.SinkHello{NodeId: "a", Lsn: 1})
		serveTap(t, &wg, sources[1], l, b, &dbv1.SinkHello{NodeId: "b", Lsn: 1})
		l.Write([]byte("it"))
		at := dbkernel.Position{Lineage: lineage, Epoch: 1, LSN: 2}
		waited := make(chan error, 1)
		go func() {
			have, err := acks.WaitReplicated(t.Context(), ns, at, 2)
			waited <- errors.Join(err, wrong(have != 2, "%d have it", have))
		}()
		synctest.Wait()
		a.tap.ack(2)
		synctest.Wait()
		select {
		case err := <-waited:
			t.Fatalf("one follower was enough: %v", err)
		default:
		}
		b.tap.ack(2)
		if err := <-waited; err != nil {
			t.Error(err)
		}
		b.tap.ack(99) // a lie ends the stream
		synctest.Wait()
		if b.tap.ctx.Err() == nil {
			t.Error("a follower may acknowledge what it wasn't sent")
		}
		a.cancel()
		wg.Wait()
		for _, s := range sources {
			s.Close()
		}
	})
}

// TestAWaitHasFollowersAskedAtOnce: a sink acknowledges at heartbeats, every ackBytes, and what
// comes after a while; a heartbeat is sent as soon as somebody waits, whether the record has gone
// already or not.
func TestAWaitHasFollowersAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		hub, edge := newNode(t, network, "hub"), newNode(t, network, "edge")
		hub.heartbeat = time.Hour
		var acks replicator.Acks
		hub.acks = &acks
		hub.serve()
		l := hub.ownerLog()
		edge.follow("hub")
		edge.awaitEqual(l)
		durable := func() uint64 {
			synctest.Wait()
			return hub.source.Followers()[0].DurableLSN
		}
		wait := func(lsn uint64) {
			t.Helper()
			began := time.Now()
			at := dbkernel.Position{Lineage: lineage, Epoch: 1, LSN: lsn}
			if have, err := acks.WaitReplicated(t.Context(), ns, at, 1); have != 1 || err != nil {
				t.Fatalf("%d followers, %v", have, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("the wait for LSN %d took %v", lsn, took)
			}
		}
		time.Sleep(time.Second) // after which a record that comes alone is acknowledged
		l.Write([]byte("small"))
		before := durable()
		if before != l.Status().LSN {
			t.Errorf("LSN %d, which came alone, wasn't acknowledged: %d", l.Status().LSN, before)
		}
		for range 10 {
			l.Write([]byte("small"))
			edge.awaitEqual(l)
		}
		if now := durable(); now != before {
			t.Errorf("the follower acknowledged LSN %d unasked", now)
		}
		wait(l.Status().LSN)
		for range 3 {
			var all sync.WaitGroup
			next := l.Status().LSN + 1
			all.Go(func() { wait(next) }) // for what isn't written yet
			synctest.Wait()
			l.Write([]byte("small"))
			all.Wait()
		}
		large := bytes.Repeat([]byte("large "), replicator.AckBytes/4)
		l.Write(large)
		edge.awaitEqual(l)
		if now := durable(); now != l.Status().LSN {
			t.Errorf("%d bytes that are durable weren't acknowledged: LSN %d of %d", len(large), now, l.Status().LSN)
		}
		edge.stop()
		hub.stop()
		windDown()
	})
}

// TestHeartbeatsAfterWaits: waits for followers make heartbeats; those that come by themselves
// don't come later for it. A sink whose source is silent for three of them begins a new stream.
func TestHeartbeatsAfterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := replicatortest.NewNetwork()
		hub, edge := newNode(t, network, "hub"), newNode(t, network, "edge")
		var acks replicator.Acks
		hub.acks = &acks
		hub.serve()
		l := hub.ownerLog()
		edge.follow("hub")
		edge.awaitEqual(l)
		for range 50 {
			l.Write([]byte("small"))
			at := dbkernel.Position{Lineage: lineage, Epoch: 1, LSN: l.Status().LSN}
			if have, err := acks.WaitReplicated(t.Context(), ns, at, 1); have != 1 || err != nil {
				t.Fatalf("%d followers, %v", have, err)
			}
		}
		since := hub.source.Followers()[0].Since
		time.Sleep(time.Minute)
		synctest.Wait()
		if all := hub.source.Followers(); len(all) != 1 || !all[0].Since.Equal(since) {
			t.Errorf("after a quiet minute, the stream was up since %v: %+v", since, all)
		}
		edge.stop()
		hub.stop()
		windDown()
	})
}

// wrong is an error if it is.
func wrong(is bool, format string, args ...any) error {
	if !is {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// TestCoalescing: what queues up while a follower is sent something goes out as
// one message, within what the follower takes.
func TestCoalescing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := replicatortest.NewStore(1)
		l := store.Add(ns, lineage)
		l.StartEpoch(1)
		source := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: store, Heartbeat: time.Minute})
		var wg sync.WaitGroup
		open := make(chan struct{})
		closed := make(chan struct{})
		close(closed)
		gate := closed
		f := &tapped{gate: func() { <-gate }}
		serveTap(t, &wg, source, l, f, &dbv1.SinkHello{NodeId: "a", Lsn: 1})
		synctest.Wait()
		gate = open
		l.Write([]byte("held up"))
		synctest.Wait()
		for i := range 100 {
			l.Write(payload(i))
			synctest.Wait()
		}
		before := f.messages
		close(open)
		synctest.Wait()
		if got := f.messages - before; got != 2 || f.has() != 102 {
			t.Errorf("%d messages up to LSN %d", got, f.has())
		}
		f.cancel()
		wg.Wait()
		source.Close()
	})
}

// TestFallsBehindInsideARecord: a follower that loses its place in the feed between two
// parts of a record is sent the rest of it, not all of it again.
func TestFallsBehindInsideARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := replicatortest.NewStore(1)
		l := store.Add(ns, lineage)
		l.StartEpoch(1)
		source := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: store, Heartbeat: time.Minute, Compression: replicator.CompressionNone})
		var wg sync.WaitGroup
		f := &tapped{}
		stuck, open := make(chan struct{}), make(chan struct{})
		messages := 0
		f.gate = func() {
			if messages++; messages == 5 { // the answer, a heartbeat, two parts
				close(stuck)
				<-open
			}
		}
		serveTap(t, &wg, source, l, f, &dbv1.SinkHello{NodeId: "a", Lsn: 1, MaxPartBytes: 64 << 10})
		synctest.Wait()
		l.Write(make([]byte, 640<<10))
		<-stuck
		for range 2 * replicator.FeedBytes / (500 << 10) {
			l.Write(make([]byte, 500<<10))
			synctest.Wait()
		}
		close(open)
		synctest.Wait()
		if got, want := f.has(), l.Status().CommitLSN; got != want {
			t.Errorf("LSN %d of %d", got, want)
		}
		l.Write([]byte("more"))
		synctest.Wait()
		if _, live := source.Feeds(); live != 1 || f.has() != l.Status().CommitLSN {
			t.Errorf("%d live followers, LSN %d in the end", live, f.has())
		}
		f.cancel()
		wg.Wait()
		source.Close()
	})
}

// TestFeedIsOfOneHandle: a log that takes another's place has a feed of its own, even
// while the old one's is still there.
func TestFeedIsOfOneHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := replicatortest.NewStore(1)
		l := store.Add(ns, lineage)
		l.StartEpoch(1)
		source := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: store})
		var wg sync.WaitGroup
		before, after := &tapped{}, &tapped{}
		serveTap(t, &wg, source, l, before, &dbv1.SinkHello{NodeId: "a", Lsn: 1})
		synctest.Wait()
		l.Write([]byte("of the old one"), []byte("too"))
		synctest.Wait()
		replaced := store.Add(ns, lineage)
		replaced.StartEpoch(2)
		serveTap(t, &wg, source, replaced, after, &dbv1.SinkHello{NodeId: "b", Lsn: 1})
		replaced.Write([]byte("of the new one"))
		synctest.Wait()
		if before.has() != 3 || after.has() != 2 {
			t.Errorf("LSN %d of the old log and %d of the new one", before.has(), after.has())
		}
		before.cancel()
		after.cancel()
		wg.Wait()
		source.Close()
	})
}

// TestFeedEndsWithItsLog: when the log's handle is replaced, followers are sent
// away, and new ones are served from the new handle.
func TestFeedEndsWithItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := replicatortest.NewStore(1)
		l := store.Add(ns, lineage)
		l.StartEpoch(1)
		source := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: store})
		var wg sync.WaitGroup
		f := &tapped{}
		serveTap(t, &wg, source, l, f, &dbv1.SinkHello{NodeId: "a", Lsn: 1})
		synctest.Wait()
		l.Crash(l.Status().CommitLSN) // its readers end
		synctest.Wait()
		if f.tap.ctx.Err() == nil {
			t.Error("the stream goes on without its log")
		}
		replaced := store.Add(ns, dbkernel.Lineage{9})
		replaced.StartEpoch(2)
		again := &tapped{}
		serveTap(t, &wg, source, replaced, again, &dbv1.SinkHello{NodeId: "a"})
		replaced.Write([]byte("new"))
		synctest.Wait()
		if again.has() != 2 {
			t.Errorf("LSN %d of the new log", again.has())
		}
		again.cancel()
		wg.Wait()
		source.Close()
	})
}

var _ mem.BufferPool = (*countingPool)(nil)
