package replicator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// testRecord makes a record of n bytes in all.
func testRecord(lsn uint64, n int) []byte {
	r := make([]byte, n)
	for i := recPrefix; i < n; i++ {
		r[i] = byte(i)
	}
	binary.LittleEndian.PutUint32(r[recLength:], uint32(n))
	binary.LittleEndian.PutUint64(r[recLSN:], lsn)
	binary.LittleEndian.PutUint64(r[recEpoch:], 1)
	binary.LittleEndian.PutUint32(r[recCRC:], crc32.Checksum(r[recLSN:], castagnoli))
	return r
}

// testRun makes a run of records of the given lengths, some side by side in memory.
func testRun(r *rand.Rand, first uint64, lengths ...int) dbkernel.Run {
	run := dbkernel.Run{First: first, Last: first - 1}
	for _, n := range lengths {
		run.Last++
		rec := testRecord(run.Last, n)
		run.Bytes += n
		if k := len(run.Records); k > 0 && r.IntN(2) == 0 {
			run.Records[k-1] = append(slices.Clip(run.Records[k-1]), rec...)
		} else {
			run.Records = append(run.Records, rec)
		}
	}
	run.Commit = run.Last + uint64(r.IntN(3))
	return run
}

// decoded is what gRPC's protobuf codec makes of an encoded message.
func decoded(t *testing.T, m encoded) *dbv1.SourceMessage {
	t.Helper()
	out := new(dbv1.SourceMessage)
	if err := proto.Unmarshal(mem.BufferSlice(m).Materialize(), out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPackUnpack: whatever the lengths, the records come out as they went in,
// in batches within the limit that don't waste it.
func TestPackUnpack(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		limit := 100 + r.IntN(2000)
		lengths := make([]int, 1+r.IntN(60))
		for i := range lengths {
			lengths[i] = recPrefix + r.IntN(300)
			if r.IntN(10) == 0 {
				lengths[i] = recPrefix + r.IntN(5*limit)
			}
		}
		run := testRun(r, 1+uint64(r.IntN(100)), lengths...)
		u := unpacker{next: run.First}
		var got []byte
		batches := 0
		p := packer{limit: limit, emit: func(b batch) error {
			if b.size > limit {
				t.Fatalf("seed %d: a batch of %d bytes, the limit is %d", seed, b.size, limit)
			}
			batches++
			records, err := u.unpack(decoded(t, b.encodeInPlace(lent{})).GetBatches()[0])
			for _, rec := range records {
				got = append(got, rec...)
			}
			return err
		}}
		if err := p.pack(run); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if want := slices.Concat(run.Records...); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d bytes came out of %d, or others", seed, len(got), len(want))
		}
		if u.next != run.Last+1 {
			t.Fatalf("seed %d: next LSN %d, want %d", seed, u.next, run.Last+1)
		}
		// Two neighbours that both hold whole records are over the limit together.
		if most := 2*run.Bytes/limit + len(lengths)/2 + 2; batches > most {
			t.Errorf("seed %d: %d batches for %d bytes with a limit of %d", seed, batches, run.Bytes, limit)
		}
	}
}

// TestPackDoesNotCopyOnePiece: what lies side by side goes out as it lies.
func TestPackDoesNotCopyOnePiece(t *testing.T) {
	piece := slices.Concat(testRecord(1, 50), testRecord(2, 60))
	p := packer{limit: 1000, emit: func(b batch) error {
		if m := b.encodeInPlace(lent{}); len(m) != 2 || &m[1].ReadOnlyData()[0] != &piece[0] {
			t.Error("the records were copied")
		}
		return nil
	}}
	if err := p.pack(dbkernel.Run{First: 1, Last: 2, Commit: 2, Records: [][]byte{piece}}); err != nil {
		t.Fatal(err)
	}
}

func TestPackRefusesNonsense(t *testing.T) {
	short := testRecord(1, 50)
	for name, run := range map[string]dbkernel.Run{
		"fewer records than announced": {First: 1, Last: 2, Commit: 2, Records: [][]byte{short}},
		"cut off":                      {First: 1, Last: 1, Commit: 1, Records: [][]byte{short[:40]}},
		"no length":                    {First: 1, Last: 1, Commit: 1, Records: [][]byte{make([]byte, 50)}},
	} {
		p := packer{limit: 1000, emit: func(batch) error { return nil }}
		if err := p.pack(run); codeOf(err) != CodeDamagedRecord {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func codeOf(err error) string {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

func TestUnpackRefuses(t *testing.T) {
	batch := func(change func(*dbv1.Batch)) *dbv1.Batch {
		b := &dbv1.Batch{FirstLsn: 5, LastLsn: 6, CommitLsn: 6, Records: slices.Concat(testRecord(5, 50), testRecord(6, 60))}
		change(b)
		return b
	}
	part := func(offset, total, n int) *dbv1.Batch {
		return &dbv1.Batch{FirstLsn: 5, LastLsn: 5, CommitLsn: 5, PartOffset: uint32(offset), RecordBytes: uint32(total), Records: make([]byte, n)}
	}
	for _, tt := range []struct {
		name    string
		batches []*dbv1.Batch
		want    string // code of the last; empty: taken
	}{
		{"as it should be", []*dbv1.Batch{batch(func(*dbv1.Batch) {})}, ""},
		{"twice", []*dbv1.Batch{batch(func(*dbv1.Batch) {}), batch(func(*dbv1.Batch) {})}, ""},
		{"empty", []*dbv1.Batch{{}}, CodeInvalidMessage},
		{"gap", []*dbv1.Batch{{FirstLsn: 6, LastLsn: 6, CommitLsn: 6, Records: testRecord(6, 50)}}, CodeGap},
		{"not committed", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.CommitLsn = 5 })}, CodeInvalidMessage},
		{"fewer records than announced", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.LastLsn, b.CommitLsn = 7, 7 })}, CodeDamagedRecord},
		{"more records than announced", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.LastLsn = 5 })}, CodeInvalidMessage},
		{"backwards", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.LastLsn = 4 })}, CodeInvalidMessage},
		{"a wild LSN", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.LastLsn, b.CommitLsn = ^uint64(0), ^uint64(0) })}, CodeInvalidMessage},
		{"another LSN inside", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.Records = slices.Concat(testRecord(5, 50), testRecord(7, 60)) })}, CodeInvalidMessage},
		{"a flipped bit", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.Records[70] ^= 4 })}, CodeDamagedRecord},
		{"a flipped bit in a length", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.Records[0] ^= 4 })}, CodeDamagedRecord},
		{"cut off", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.Records = b.Records[:100] })}, CodeDamagedRecord},
		{"oversize", []*dbv1.Batch{batch(func(b *dbv1.Batch) { b.Records = make([]byte, maxPartBytes+1) })}, CodeInvalidMessage},
		{"a part too far on", []*dbv1.Batch{part(10, 100, 10)}, CodeGap},
		{"a part twice", []*dbv1.Batch{part(0, 100, 10), part(0, 100, 10)}, CodeGap},
		{"a part of another length", []*dbv1.Batch{part(0, 100, 10), part(10, 101, 10)}, CodeGap},
		{"a part over the end", []*dbv1.Batch{part(0, 100, 90), part(90, 100, 11)}, CodeInvalidMessage},
		{"an empty part", []*dbv1.Batch{part(0, 100, 0)}, CodeInvalidMessage},
		{"too large a record", []*dbv1.Batch{part(0, maxRecordBytes+1, 10)}, CodeInvalidMessage},
		{"a batch between parts", []*dbv1.Batch{part(0, 100, 10), batch(func(*dbv1.Batch) {})}, CodeInvalidMessage},
		{"parts of nonsense", []*dbv1.Batch{part(0, 100, 50), part(50, 100, 50)}, CodeDamagedRecord},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := unpacker{next: 5}
			for i, b := range tt.batches {
				_, err := u.unpack(b)
				if last := i == len(tt.batches)-1; last && codeOf(err) != tt.want || !last && err != nil {
					t.Errorf("batch %d: %v, want %q", i, err, tt.want)
				}
			}
		})
	}
}

// FuzzUnpack feeds a sink's decoder whatever a source may send.
func FuzzUnpack(f *testing.F) {
	add := func(batches ...*dbv1.Batch) {
		var all []byte
		for _, b := range batches {
			m, err := proto.Marshal(b)
			if err != nil {
				f.Fatal(err)
			}
			all = append(binary.AppendUvarint(all, uint64(len(m))), m...)
		}
		f.Add(all)
	}
	add(&dbv1.Batch{FirstLsn: 5, LastLsn: 5, CommitLsn: 5, Records: testRecord(5, 50)})
	long := testRecord(5, 80)
	add(&dbv1.Batch{FirstLsn: 5, LastLsn: 5, CommitLsn: 5, Records: long[:30], RecordBytes: 80},
		&dbv1.Batch{FirstLsn: 5, LastLsn: 5, CommitLsn: 5, Records: long[30:], RecordBytes: 80, PartOffset: 30})
	f.Fuzz(func(t *testing.T, data []byte) {
		u := unpacker{next: 5}
		expect := uint64(5)
		for len(data) > 0 {
			n, k := binary.Uvarint(data)
			if k <= 0 || n > uint64(len(data)-k) {
				return
			}
			var b dbv1.Batch
			if proto.Unmarshal(data[k:k+int(n)], &b) != nil {
				return
			}
			data = data[k+int(n):]
			records, err := u.unpack(&b)
			if err != nil {
				return
			}
			for _, r := range records {
				lsn := binary.LittleEndian.Uint64(r[recLSN:])
				if lsn > expect || lsn > b.GetCommitLsn() {
					t.Fatalf("LSN %d came out where %d is next, commit LSN %d", lsn, expect, b.GetCommitLsn())
				}
				expect = max(expect, lsn+1)
			}
			if len(u.part) > maxRecordBytes {
				t.Fatalf("%d bytes of one record are kept", len(u.part))
			}
		}
	})
}
