package replicator

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// scattered is data in buffers of random lengths.
func scattered(r *rand.Rand, data []byte) (s mem.BufferSlice) {
	for len(data) > 0 {
		n := 1 + r.IntN(len(data))
		s = append(s, mem.SliceBuffer(data[:n]))
		data = data[n:]
	}
	return s
}

func randomBatch(r *rand.Rand) *dbv1.Batch {
	b := &dbv1.Batch{FirstLsn: r.Uint64N(1 << 40), LastLsn: r.Uint64N(300), CommitLsn: r.Uint64()}
	if r.IntN(2) == 0 {
		b.PartOffset, b.RecordBytes, b.UncompressedBytes = r.Uint32(), r.Uint32N(1000), r.Uint32N(2)
	}
	if n := r.IntN(300); n > 0 {
		b.Records = bytes.Repeat([]byte{byte(n)}, n)
	}
	return b
}

// TestCodecAgreesWithProtobuf: what the codec reads by itself is what protobuf reads.
func TestCodecAgreesWithProtobuf(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 7))
	for range 3000 {
		source := &dbv1.SourceMessage{}
		for range r.IntN(4) {
			source.Batches = append(source.Batches, randomBatch(r))
		}
		if r.IntN(3) == 0 {
			source.Body = &dbv1.SourceMessage_Heartbeat{Heartbeat: &dbv1.Heartbeat{CommitLsn: r.Uint64N(9), Owner: "hub"}}
		}
		sink := &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Ack{Ack: &dbv1.Ack{ReceivedLsn: r.Uint64N(3), DurableLsn: r.Uint64(), AppliedLsn: r.Uint64N(2)}}}
		if r.IntN(5) == 0 {
			sink.Body = &dbv1.SinkMessage_Hello{Hello: &dbv1.SinkHello{NodeId: "x", Lsn: r.Uint64N(4)}}
		}
		for _, m := range []proto.Message{source, sink} {
			raw, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			got := m.ProtoReflect().New().Interface()
			if err := Codec().Unmarshal(scattered(r, raw), got); err != nil || !proto.Equal(m, got) {
				t.Fatalf("%v\nwas read as\n%v, %v", m, got, err)
			}
			agree(t, r, raw, m)
		}
	}
}

// agree compares the codec with protobuf on what is damaged.
func agree(t *testing.T, r *rand.Rand, raw []byte, like proto.Message) {
	t.Helper()
	raw = slices.Clone(raw)
	if len(raw) == 0 {
		return
	}
	if r.IntN(2) == 0 {
		raw = raw[:r.IntN(len(raw))]
	} else {
		raw[r.IntN(min(len(raw), 30))] ^= 1 << r.IntN(8)
	}
	got, want := like.ProtoReflect().New().Interface(), like.ProtoReflect().New().Interface()
	gotErr, wantErr := Codec().Unmarshal(scattered(r, raw), got), proto.Unmarshal(raw, want)
	if (gotErr != nil) != (wantErr != nil) {
		t.Fatalf("%x: the codec says %v, protobuf %v", raw, gotErr, wantErr)
	}
	if gotErr == nil && !proto.Equal(known(got), known(want)) {
		t.Fatalf("%x: the codec reads\n%v, protobuf\n%v", raw, got, want)
	}
}

// known is a message without the fields that this build doesn't know.
func known(m proto.Message) proto.Message {
	m.ProtoReflect().SetUnknown(nil)
	if s, ok := m.(*dbv1.SourceMessage); ok {
		for _, b := range s.GetBatches() {
			b.ProtoReflect().SetUnknown(nil)
		}
	}
	return m
}

// TestEncodedLaidEndToEnd: batches and a heartbeat that were encoded one by one are,
// laid end to end, a message that has them all.
func TestEncodedLaidEndToEnd(t *testing.T) {
	enc := batchEncoder{pool: bufferPool}
	one := newSharedBatch(batch{first: 5, last: 6, commit: 9, pieces: [][]byte{testRecord(5, 50), testRecord(6, 60)}, size: 110}, &enc)
	two := newSharedBatch(batch{first: 7, last: 7, commit: 9, pieces: [][]byte{testRecord(7, 40)}, size: 40}, &enc)
	beat, err := proto.Marshal(&dbv1.SourceMessage{Body: &dbv1.SourceMessage_Heartbeat{Heartbeat: &dbv1.Heartbeat{CommitLsn: 9}}})
	if err != nil {
		t.Fatal(err)
	}
	k := catch{batches: []*sharedBatch{one, two}, from: 6, beat: encoded{mem.SliceBuffer(beat)}}
	msg, err := k.message(false)
	if err != nil {
		t.Fatal(err)
	}
	m := decoded(t, msg)
	msg.free()
	k.free()
	if m.GetHeartbeat().GetCommitLsn() != 9 || len(m.GetBatches()) != 2 {
		t.Fatalf("%v", m)
	}
	u := unpacker{next: 6}
	for _, b := range m.GetBatches() {
		if _, err := u.unpack(b); err != nil {
			t.Fatal(err)
		}
	}
	if u.next != 8 || m.GetBatches()[0].GetFirstLsn() != 6 {
		t.Errorf("next is LSN %d: %v", u.next, m)
	}
}

// TestCursorAheadOfTheFeed: a follower that has more than the feed has encoded is sent
// nothing twice.
func TestCursorAheadOfTheFeed(t *testing.T) {
	f := &feed{Source: &Source{encoder: batchEncoder{pool: bufferPool}}, ring: ring{next: 5}, live: make(map[*cursor]struct{})}
	add := func(lsns ...uint64) {
		b := batch{first: lsns[0], last: lsns[len(lsns)-1], commit: 20}
		for _, lsn := range lsns {
			b.pieces, b.size = append(b.pieces, testRecord(lsn, 50)), b.size+50
		}
		if err := f.add(b); err != nil {
			t.Fatal(err)
		}
	}
	c := f.join(8) // as far as LSN 7
	add(5, 6)
	add(7, 8, 9)
	add(10)
	k, err := c.take(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := k.message(false)
	if err != nil {
		t.Fatal(err)
	}
	u := unpacker{next: 8}
	m := decoded(t, msg)
	for _, b := range m.GetBatches() {
		if b.GetFirstLsn() != u.next {
			t.Errorf("LSN %d came where %d is next", b.GetFirstLsn(), u.next)
		}
		if _, err := u.unpack(b); err != nil {
			t.Fatal(err)
		}
	}
	if u.next != 11 || len(m.GetBatches()) != 2 {
		t.Errorf("next is LSN %d after %d batches", u.next, len(m.GetBatches()))
	}
	msg.free()
	k.free()
	if c := f.join(4); c != nil {
		t.Error("a follower joined whose record the feed never had")
	}
}

// TestCompressedBatchesAreChecked: what doesn't decompress to what it claims is
// refused, within the memory that it may take.
func TestCompressedBatchesAreChecked(t *testing.T) {
	enc := batchEncoder{pool: bufferPool}
	record := testRecord(5, 5000)
	good := func() *dbv1.Batch {
		b := enc.packed(batch{first: 5, last: 5, commit: 5, size: len(record)}, record)
		if b == nil {
			t.Fatal("it wasn't compressed")
		}
		return proto.CloneOf(decoded(t, encoded{b}).GetBatches()[0])
	}
	bomb := enc.packed(batch{first: 5, last: 5, commit: 5, size: 1}, make([]byte, 4<<20))
	for name, tt := range map[string]struct {
		change func(*dbv1.Batch)
		zstd   bool
		want   string
	}{
		"as it should be": {func(*dbv1.Batch) {}, true, ""},
		"not agreed on":   {func(*dbv1.Batch) {}, false, CodeInvalidMessage},
		"cut off":         {func(b *dbv1.Batch) { b.Records = b.Records[:len(b.Records)-3] }, true, CodeDamagedRecord},
		"no zstd":         {func(b *dbv1.Batch) { b.Records = record[:100] }, true, CodeDamagedRecord},
		"shorter":         {func(b *dbv1.Batch) { b.UncompressedBytes++ }, true, CodeDamagedRecord},
		"longer":          {func(b *dbv1.Batch) { b.UncompressedBytes-- }, true, CodeDamagedRecord},
		"over the limit":  {func(b *dbv1.Batch) { b.UncompressedBytes = maxPartBytes + 1 }, true, CodeInvalidMessage},
		"4 MiB of nothing": {func(b *dbv1.Batch) {
			b.Records, b.UncompressedBytes = decoded(t, encoded{bomb}).GetBatches()[0].GetRecords(), maxPartBytes
		}, true, CodeDamagedRecord},
	} {
		t.Run(name, func(t *testing.T) {
			u := unpacker{next: 5}
			if tt.zstd {
				u.zstd = new(decompressor)
			}
			b := good()
			tt.change(b)
			records, err := u.unpack(b)
			if codeOf(err) != tt.want {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if err == nil && (len(records) != 1 || !bytes.Equal(records[0], record)) {
				t.Error("another record came out")
			}
		})
	}
	// A flipped bit is found, by zstd or by the record's CRC.
	u := unpacker{zstd: new(decompressor)}
	for i := range 8 * len(good().GetRecords()) {
		b := good()
		b.Records[i/8] ^= 1 << (i % 8)
		u.next = 5
		if records, err := u.unpack(b); err == nil && !bytes.Equal(records[0], record) {
			t.Fatalf("bit %d: another record came out", i)
		}
	}
}

// returned is a pool that notes what comes back.
type returned struct{ times int }

func (*returned) Get(int) *[]byte { panic("nothing is taken from it") }
func (r *returned) Put(*[]byte)   { r.times++ }

// TestLentMemory: the pieces of a run are where they were, and its memory goes back once,
// when the last message that lies in it is freed.
func TestLentMemory(t *testing.T) {
	records := make([]byte, 100, 4<<10) // a chunk may have room behind it
	for i := range records {
		records[i] = byte(i)
	}
	var pool returned
	l := lent{records, mem.NewBuffer(&records, &pool)}
	var messages []encoded
	for _, cut := range [][2]int{{0, 30}, {30, 31}, {31, 100}, {0, 100}} {
		piece := records[cut[0]:cut[1]]
		m := batch{first: 1, last: 1, commit: 1, pieces: [][]byte{piece}, size: len(piece)}.encodeInPlace(l)
		if got := m[len(m)-1].ReadOnlyData(); !bytes.Equal(got, piece) {
			t.Errorf("records[%d:%d] is sent as %x", cut[0], cut[1], got)
		}
		messages = append(messages, m)
	}
	l.free()
	for i, m := range messages {
		if pool.times != 0 {
			t.Errorf("the memory went back with %d messages under way", len(messages)-i)
		}
		m.free()
	}
	if pool.times != 1 {
		t.Errorf("the memory went back %d times", pool.times)
	}
}
