package replicator

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// cellsOf lays cells of the given keys end to end.
func cellsOf(value string, keys ...string) (b []byte) {
	for _, k := range keys {
		b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
		b = append(binary.AppendUvarint(b, uint64(len(value))), value...)
	}
	return b
}

func chunkOf(start, end string, cells []byte) sentChunk {
	c := sentChunk{Chunk: dbkernel.Chunk{Epoch: 3, LSN: 9, Cells: cells}}
	c.Start, c.End = []byte(start), []byte(end)
	return c
}

func compressorIf(zstd bool) *compressor {
	if !zstd {
		return nil
	}
	return new(compressor)
}

func newTestReader(t *testing.T) *chunkReader {
	t.Helper()
	z, err := newChunkDecoder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	return &chunkReader{zstd: z}
}

func TestChunkRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	in := newTestReader(t)
	for i := range 200 {
		var keys []string
		for k := range r.IntN(300) {
			keys = append(keys, fmt.Sprintf("k%05d", k))
		}
		value := strings.Repeat("x", 1+r.IntN(400))
		if i%2 == 0 { // which doesn't compress
			b := make([]byte, len(value))
			for j := range b {
				b[j] = byte(r.Uint32())
			}
			value = string(b)
		}
		c := chunkOf("a", []string{"", "z"}[r.IntN(2)], cellsOf(value, keys...))
		c.digestRange, c.rangeEnds = r.IntN(dbkernel.DigestRanges), r.IntN(2) == 0
		limit := minPartBytes + r.IntN(maxPartBytes)
		var got sentChunk
		var done bool
		parts := 0
		for p := range c.encode(compressorIf(r.IntN(4) > 0)).parts(limit) {
			if done {
				t.Fatal("a part behind the last one")
			}
			if len(p.GetCells()) > limit {
				t.Fatalf("a part of %d bytes, the limit is %d", len(p.GetCells()), limit)
			}
			wire, err := proto.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			var back dbv1.Chunk
			if err := proto.Unmarshal(wire, &back); err != nil {
				t.Fatal(err)
			}
			if got, done, err = in.add(&back); err != nil {
				t.Fatal(err)
			}
			parts++
		}
		if !done || !bytes.Equal(got.Cells, c.Cells) || string(got.Start) != string(c.Start) || string(got.End) != string(c.End) ||
			got.LSN != 9 || got.Epoch != 3 || got.Count != len(keys) || got.digestRange != c.digestRange || got.rangeEnds != c.rangeEnds {
			t.Fatalf("chunk %d came back otherwise, in %d parts, done %v", i, parts, done)
		}
	}
}

func TestChunkRefused(t *testing.T) {
	good := cellsOf("value", "b", "c", "d")
	first := func(c sentChunk) *dbv1.Chunk {
		for p := range c.encode(nil).parts(maxPartBytes) {
			return p
		}
		return nil
	}
	for name, tt := range map[string]struct {
		chunk sentChunk
		spoil func(*dbv1.Chunk)
		code  string
	}{
		"good":             {chunkOf("a", "e", good), nil, ""},
		"no cells":         {chunkOf("a", "e", nil), nil, ""},
		"a flipped bit":    {chunkOf("a", "e", good), func(p *dbv1.Chunk) { p.Cells = bytes.Clone(p.Cells); p.Cells[3] ^= 1 }, CodeDamagedRecord},
		"a wrong sum":      {chunkOf("a", "e", good), func(p *dbv1.Chunk) { p.Crc32C++ }, CodeDamagedRecord},
		"before the range": {chunkOf("c", "e", good), nil, CodeInvalidMessage},
		"behind the range": {chunkOf("a", "d", good), nil, CodeInvalidMessage},
		"disorder":         {chunkOf("a", "e", cellsOf("v", "c", "b")), nil, CodeInvalidMessage},
		"a key twice":      {chunkOf("a", "e", cellsOf("v", "b", "b")), nil, CodeInvalidMessage},
		"no key":           {chunkOf("a", "e", cellsOf("v", "")), nil, CodeInvalidMessage},
		"no cell":          {chunkOf("a", "e", cellsOf("", "b")), nil, CodeInvalidMessage},
		"a cut cell":       {chunkOf("a", "e", good[:len(good)-1]), nil, CodeInvalidMessage},
		"a range backward": {chunkOf("e", "a", nil), nil, CodeInvalidMessage},
		"a long key":       {chunkOf("", "", cellsOf("v", strings.Repeat("k", 512))), nil, CodeInvalidMessage},
		"no such range":    {chunkOf("a", "e", good), func(p *dbv1.Chunk) { p.DigestRange = 1024 }, CodeInvalidMessage},
		"too many bytes":   {chunkOf("a", "e", good), func(p *dbv1.Chunk) { p.TotalBytes = 1 << 30 }, CodeInvalidMessage},
		"too many inside":  {chunkOf("a", "e", good), func(p *dbv1.Chunk) { p.UncompressedBytes = 1 << 30 }, CodeInvalidMessage},
		"not compressed":   {chunkOf("a", "e", good), func(p *dbv1.Chunk) { p.UncompressedBytes = 100 }, CodeDamagedRecord},
		"the second part":  {chunkOf("a", "e", good), func(p *dbv1.Chunk) { p.PartOffset = 5 }, CodeGap},
		"nothing of it":    {chunkOf("a", "e", good), func(p *dbv1.Chunk) { p.Cells = nil }, CodeInvalidMessage},
	} {
		p := first(tt.chunk)
		if tt.spoil != nil {
			tt.spoil(p)
		}
		_, done, err := newTestReader(t).add(p)
		if codeOf(err) != tt.code || done != (tt.code == "") {
			t.Errorf("%s: done %v, %v", name, done, err)
		}
	}
}

func TestWantRoundTrip(t *testing.T) {
	w := want{pin: 7, missing: []dbkernel.KeyRange{{End: []byte("b")}, {Start: []byte("b"), End: []byte("c")}, {Start: []byte("x")}}}
	got, err := parseWant(w.proto().GetWant())
	if err != nil || got.pin != 7 || len(got.missing) != 3 || string(got.missing[1].End) != "c" || len(got.missing[2].End) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, missing := range map[string][]dbkernel.KeyRange{
		"overlap":             {{End: []byte("c")}, {Start: []byte("b")}},
		"disorder":            {{Start: []byte("x"), End: []byte("y")}, {Start: []byte("b"), End: []byte("c")}},
		"behind the last one": {{Start: []byte("x")}, {Start: []byte("y")}},
		"backward":            {{Start: []byte("y"), End: []byte("x")}},
	} {
		if _, err := parseWant(want{missing: missing}.proto().GetWant()); codeOf(err) != CodeInvalidMessage {
			t.Errorf("%s: %v", name, err)
		}
	}
	var many want
	for i := range 4000 {
		many.missing = append(many.missing, dbkernel.KeyRange{Start: fmt.Appendf(nil, "%0400d", 2*i), End: fmt.Appendf(nil, "%0400d", 2*i+1)})
	}
	if n := proto.Size(many.proto()); n > MaxMessageBytes || n < maxWantBytes/2 {
		t.Errorf("%d bytes for 4,000 ranges", n)
	}
}

func TestSnapshotEndRoundTrip(t *testing.T) {
	e := dbkernel.SnapshotEnd{LSN: 9, Epoch: 3, Records: 5, Uploads: map[[16]byte]int64{{1}: 100, {2}: 0}}
	got, err := parseSnapshotEnd(snapshotEndToProto(e).GetSnapshotEnd())
	if err != nil || fmt.Sprint(got) != fmt.Sprint(e) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, u := range map[string]*dbv1.OpenUpload{"short id": {ObjectId: []byte{1}}, "negative": {ObjectId: make([]byte, 16), Bytes: 1 << 63}} {
		if _, err := parseSnapshotEnd(&dbv1.SnapshotEnd{Uploads: []*dbv1.OpenUpload{u}}); codeOf(err) != CodeInvalidMessage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDigestsRoundTrip(t *testing.T) {
	var d digests
	for i := range d {
		d[i] = uint64(i) << 40
	}
	m := digestsToProto(dbkernel.Mark{LSN: 7}, d).GetDigests()
	got, err := parseDigests(m, 7)
	if err != nil || got != d {
		t.Errorf("%v", err)
	}
	if _, err := parseDigests(m, 8); codeOf(err) != CodeInvalidMessage {
		t.Errorf("of another mark: %v", err)
	}
	other := d
	other[3]++
	other[1000]++
	if got := differing(d, other); !slices.Equal(got, []int{3, 1000}) {
		t.Errorf("%v", got)
	}
}

// FuzzSnapshot feeds both ends of a stream for a snapshot whatever the other may say.
func FuzzSnapshot(f *testing.F) {
	seed := func(m proto.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, zstd := range []bool{false, true} {
		for p := range chunkOf("a", "z", cellsOf(strings.Repeat("value", 500), "b", "c")).encode(compressorIf(zstd)).parts(minPartBytes) {
			seed(&dbv1.SourceMessage{Body: &dbv1.SourceMessage_Chunk{Chunk: p}})
		}
	}
	seed(snapshotEndToProto(dbkernel.SnapshotEnd{LSN: 9, Epoch: 3, Uploads: map[[16]byte]int64{{1}: 100}}))
	seed(digestsToProto(dbkernel.Mark{LSN: 7}, digests{1}))
	seed(want{pin: 7, missing: []dbkernel.KeyRange{{End: []byte("b")}, {Start: []byte("x")}}}.proto())
	seed(answerMessage("hub", hello{version: 1}, extent{history: history{lineageA, 20, rows(1, 1, 7)}, first: 3, commit: 20},
		verdict{snapshotFrom: &trimmed{first: 3}}, time.Second))
	z, err := newChunkDecoder()
	if err != nil {
		f.Fatal(err)
	}
	defer z.Close()
	f.Fuzz(func(t *testing.T, data []byte) {
		var down dbv1.SourceMessage
		if proto.Unmarshal(data, &down) == nil {
			fuzzSnapshotDown(t, &chunkReader{zstd: z}, &down)
		}
		var up dbv1.SinkMessage
		if proto.Unmarshal(data, &up) != nil || up.GetWant() == nil {
			return
		}
		w, err := parseWant(up.GetWant())
		if err != nil {
			return
		}
		for i := 1; i < len(w.missing); i++ {
			if bytes.Compare(w.missing[i-1].End, w.missing[i].Start) > 0 {
				t.Fatalf("overlapping ranges %d and %d were taken", i-1, i)
			}
		}
	})
}

func fuzzSnapshotDown(t *testing.T, chunks *chunkReader, m *dbv1.SourceMessage) {
	if d := m.GetDigests(); d != nil {
		// Any answer will do that isn't taken for that of another mark.
		if _, err := parseDigests(d, 7); err == nil && d.GetMark().GetLsn() != 7 {
			t.Fatal("digests of another mark were taken")
		}
	}
	if hb := m.GetHeartbeat(); hb != nil && len(marksFromProto(hb.GetMarks())) > maxMarksSent {
		t.Fatal("too many marks were taken")
	}
	ours := history{lineage: lineageA}
	d := copyDecoder{ours: ours, chunks: *chunks}
	if item, err := d.decode(m); err == nil && item.answer.snapshot.source.first > item.answer.snapshot.source.lsn+1 {
		t.Fatalf("%+v was agreed on", item.answer.snapshot)
	}
	d.began = true
	for range 2 { // the second time as another part
		item, err := d.decode(m)
		if err != nil {
			return
		}
		for _, c := range item.chunks {
			if len(c.Cells) > maxChunkBytes {
				t.Fatalf("a chunk of %d bytes was taken", len(c.Cells))
			}
			if n, err := countCells(c.Cells, c.KeyRange); err != nil || n != c.Count {
				t.Fatalf("a chunk of %d cells, counted are %d: %v", c.Count, n, err)
			}
		}
	}
}
