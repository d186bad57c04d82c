package replicator

import (
	"testing"

	"google.golang.org/protobuf/proto"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// smallBatches are a ring of so many batches of one record of the given length each.
func smallBatches(n, bytes int, enc *batchEncoder) *ring {
	r := &ring{next: 1}
	for lsn := uint64(1); lsn <= uint64(n); lsn++ {
		record := testRecord(lsn, bytes)
		r.add(newSharedBatch(batch{first: lsn, last: lsn, commit: lsn, pieces: [][]byte{record}, size: len(record)}, enc))
	}
	return r
}

// TestJoinedBatches: small batches that queued up are one for all who take them in a row, with the same
// records; nobody keeps what they were made of.
func TestJoinedBatches(t *testing.T) {
	const records = 20
	enc := &batchEncoder{pool: bufferPool}
	r := smallBatches(records, 700, enc)
	parts := append([]*sharedBatch(nil), r.batches...)
	var one *sharedBatch
	for follower := range 3 {
		taken, at := r.take(place{next: 1}, liveBatchBytes, enc)
		if len(taken) != 1 || at != (place{records, records + 1}) {
			t.Fatalf("%d batches, up to %+v", len(taken), at)
		}
		if follower > 0 && taken[0] != one {
			t.Error("a batch was made for one follower alone")
		}
		one = taken[0]
		for _, zstd := range []bool{false, true} {
			m := new(dbv1.SourceMessage)
			if err := proto.Unmarshal(one.encoding(zstd).ReadOnlyData(), m); err != nil {
				t.Fatal(err)
			}
			b := m.GetBatches()[0]
			if b.GetCommitLsn() != records || zstd != (b.GetUncompressedBytes() > 0) {
				t.Errorf("zstd %v: commit LSN %d, %d bytes before compression", zstd, b.GetCommitLsn(), b.GetUncompressedBytes())
			}
			u := unpacker{next: 1, zstd: new(decompressor)}
			if got, err := u.unpack(b); err != nil || len(got) != records {
				t.Errorf("zstd %v: %d records, %v", zstd, len(got), err)
			}
		}
		freeAll(taken)
	}
	for i, b := range parts {
		if n := b.refs.Load(); n != 1 {
			t.Errorf("batch %d has %d references beside the ring", i, n-1)
		}
	}
	r.forget(r.end())
	for i, b := range append(parts, one) {
		if n := b.refs.Load(); n != 0 {
			t.Errorf("batch %d has %d references", i, n)
		}
	}
}

// TestNotJoined: what wouldn't be worth it, or isn't of whole records that the follower lacks,
// stays as it is.
func TestNotJoined(t *testing.T) {
	enc := &batchEncoder{pool: bufferPool}
	part := batch{first: 3, last: 3, commit: 3, pieces: [][]byte{make([]byte, 100)}, size: 100, recordBytes: 200}
	withPart := smallBatches(2, 100, enc)
	withPart.add(newSharedBatch(part, enc))
	inside := &ring{next: 1}
	for first := uint64(1); first < 9; first += 2 {
		records := append(testRecord(first, 100), testRecord(first+1, 100)...)
		inside.add(newSharedBatch(batch{first: first, last: first + 1, commit: first + 1, pieces: [][]byte{records}, size: len(records)}, enc))
	}
	for name, c := range map[string]struct {
		ring *ring
		at   place
		want int
	}{
		"one":                   {smallBatches(1, 100, enc), place{next: 1}, 1},
		"large ones":            {smallBatches(5, smallBatch, enc), place{next: 1}, 5},
		"a part of a record":    {withPart, place{next: 1}, 3},
		"from inside the first": {inside, place{next: 2}, 4},
		"too much together":     {smallBatches(40, smallBatch-100, enc), place{next: 1}, 40},
	} {
		taken, _ := c.ring.take(c.at, 1<<20, enc)
		if len(taken) != c.want {
			t.Errorf("%s: %d batches, expected %d", name, len(taken), c.want)
		}
		freeAll(taken)
		c.ring.forget(c.ring.end())
	}
}

// TestJointBatchesAreFew: followers of which each is somewhere else don't fill the memory.
func TestJointBatchesAreFew(t *testing.T) {
	enc := &batchEncoder{pool: bufferPool}
	r := smallBatches(20, 100, enc)
	var all []*sharedBatch
	for batch := range uint64(15) {
		taken, _ := r.take(place{batch: batch, next: batch + 1}, liveBatchBytes, enc)
		all = append(all, taken...)
		freeAll(taken)
	}
	kept := 0
	for _, b := range all {
		if b.refs.Load() > 0 {
			kept++
		}
	}
	if kept != keptJoint || len(r.joint) != keptJoint {
		t.Errorf("%d of %d joint batches are kept", kept, len(all))
	}
	r.forget(0)
	for i, b := range all {
		if b.refs.Load() != 0 {
			t.Errorf("joint batch %d is kept for nobody", i)
		}
	}
	r.forget(r.end())
}
