package replicator

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Limits of snapshots and repair.
const (
	// snapshotChunkBytes is about how many bytes of cells a chunk has: few enough
	// that one is read within a moment, kept whole in memory and sent again without
	// regret; many enough that the table of chunks stays small.
	snapshotChunkBytes = 512 << 10
	// maxChunkBytes bounds what a sink puts together from parts: one cell of the largest
	// value, with room to spare.
	maxChunkBytes = 16 << 20
	maxCellKeyLen = 511 // LMDB's
	// maxWantBytes bounds what one SnapshotWant lists; what is missing beyond it is
	// asked for on another stream.
	maxWantBytes = 1 << 20
	maxUploads   = 1 << 16
)

func rangesToProto(ranges []int) []uint32 {
	out := make([]uint32, len(ranges))
	for i, r := range ranges {
		out[i] = uint32(r)
	}
	return out
}

// rangesFromProto reads ranges of the digests: ascending, none twice.
func rangesFromProto(in []uint32) ([]int, error) {
	if len(in) > dbkernel.DigestRanges {
		return nil, refuse(CodeInvalidMessage, "%d ranges are asked for, there are %d", len(in), dbkernel.DigestRanges)
	}
	out := make([]int, len(in))
	for i, r := range in {
		if r >= dbkernel.DigestRanges || i > 0 && int(r) <= out[i-1] {
			return nil, refuse(CodeInvalidMessage, "range %d is asked for, out of order or not one of %d", r, dbkernel.DigestRanges)
		}
		out[i] = int(r)
	}
	return out, nil
}

func keyRangeToProto(r dbkernel.KeyRange) *dbv1.KeyRange {
	return &dbv1.KeyRange{Start: r.Start, End: r.End}
}

func keyRangeFromProto(p *dbv1.KeyRange) (r dbkernel.KeyRange, err error) {
	r.Start, r.End = p.GetStart(), p.GetEnd()
	if len(r.Start) > maxCellKeyLen+1 || len(r.End) > maxCellKeyLen+1 || len(r.End) > 0 && bytes.Compare(r.Start, r.End) >= 0 {
		return r, refuse(CodeInvalidMessage, "a key range from %x to %x", clip(string(r.Start), maxCellKeyLen), clip(string(r.End), maxCellKeyLen))
	}
	return r, nil
}

// want is a checked SnapshotWant.
type want struct {
	missing []dbkernel.KeyRange
	pin     uint64 // the log is needed from behind this record on; 0: from what is read first
}

// proto lists as much of what is missing as one message may.
func (w want) proto() *dbv1.SinkMessage {
	m := &dbv1.SnapshotWant{PinLsn: w.pin}
	size := 0
	for _, r := range w.missing {
		if size += len(r.Start) + len(r.End) + 16; size > maxWantBytes {
			break
		}
		m.Missing = append(m.Missing, keyRangeToProto(r))
	}
	return &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Want{Want: m}}
}

// parseWant checks that the ranges are in order and apart from each other.
func parseWant(p *dbv1.SnapshotWant) (w want, err error) {
	w.pin = p.GetPinLsn()
	for i, m := range p.GetMissing() {
		r, err := keyRangeFromProto(m)
		if err != nil {
			return w, err
		}
		if i > 0 {
			if before := w.missing[i-1]; len(before.End) == 0 || bytes.Compare(before.End, r.Start) > 0 {
				return w, refuse(CodeInvalidMessage, "the key ranges that are wanted overlap, or aren't in order")
			}
		}
		w.missing = append(w.missing, r)
	}
	return w, nil
}

// sentChunk is a chunk as it travels.
type sentChunk struct {
	dbkernel.Chunk
	digestRange int // of a stream for repair
	rangeEnds   bool
}

// encodedChunk is a chunk ready to be sent.
type encodedChunk struct {
	sentChunk
	wire []byte // the cells, compressed where that helps
	crc  uint32
}

// encode compresses the cells where the sink takes that and it is worth it; zstd is nil
// where it doesn't.
func (c sentChunk) encode(zstd *compressor) encodedChunk {
	e := encodedChunk{sentChunk: c, wire: c.Cells, crc: crc32.Checksum(c.Cells, castagnoli)}
	if zstd == nil {
		return e
	}
	if packed, pays := zstd.compress(nil, c.Cells); pays {
		e.wire = packed
	}
	return e
}

// parts are the messages of a chunk, each of at most limit bytes of cells.
func (c encodedChunk) parts(limit int) func(yield func(*dbv1.Chunk) bool) {
	return func(yield func(*dbv1.Chunk) bool) {
		for at := 0; at == 0 || at < len(c.wire); at += limit {
			p := &dbv1.Chunk{
				Epoch: c.Epoch, Lsn: c.LSN, Cells: c.wire[at:min(at+limit, len(c.wire))],
				PartOffset: uint32(at), TotalBytes: uint32(len(c.wire)),
			}
			if at == 0 {
				p.Range, p.Crc32C = keyRangeToProto(c.KeyRange), c.crc
				p.DigestRange, p.RangeEnds = uint32(c.digestRange), c.rangeEnds
				if len(c.wire) != len(c.Cells) {
					p.UncompressedBytes = uint32(len(c.Cells))
				}
			}
			if !yield(p) {
				return
			}
		}
	}
}

// chunkReader puts chunks together from their parts and checks them. What a source
// sends can't make it hold more than one chunk.
type chunkReader struct {
	zstd *zstd.Decoder
	head *dbv1.Chunk // the first part of the chunk that is arriving; nil: none
	wire []byte
}

// add takes a part; done says that it completed a chunk.
func (r *chunkReader) add(p *dbv1.Chunk) (c sentChunk, done bool, err error) {
	if err := r.check(p); err != nil {
		return c, false, err
	}
	if r.head == nil {
		r.head, r.wire = p, make([]byte, 0, min(p.GetTotalBytes(), snapshotChunkBytes))
	}
	r.wire = append(r.wire, p.GetCells()...)
	if len(r.wire) < int(r.head.GetTotalBytes()) {
		return c, false, nil
	}
	head, wire := r.head, r.wire
	r.head, r.wire = nil, nil
	c, err = r.open(head, wire)
	return c, err == nil, err
}

func (r *chunkReader) check(p *dbv1.Chunk) error {
	total := p.GetTotalBytes()
	if r.head != nil {
		total = r.head.GetTotalBytes()
	}
	n := len(r.wire) + len(p.GetCells())
	switch {
	case len(p.GetCells()) > maxPartBytes || total > maxChunkBytes || p.GetUncompressedBytes() > maxChunkBytes:
		return refuse(CodeInvalidMessage, "a part of %d bytes, of a chunk of %d (uncompressed %d), is over the limit", len(p.GetCells()), total, p.GetUncompressedBytes())
	case p.GetTotalBytes() != total || int(p.GetPartOffset()) != len(r.wire):
		return refuseForNow(CodeGap, "a part of a chunk begins at byte %d of %d where byte %d of %d belongs: it is asked for again",
			p.GetPartOffset(), p.GetTotalBytes(), len(r.wire), total)
	case n > int(total) || len(p.GetCells()) == 0 && total > 0:
		return refuse(CodeInvalidMessage, "a part of %d bytes doesn't fit at byte %d of a chunk of %d", len(p.GetCells()), len(r.wire), total)
	}
	return nil
}

// open checks a whole chunk.
func (r *chunkReader) open(head *dbv1.Chunk, wire []byte) (c sentChunk, err error) {
	c.Epoch, c.LSN = head.GetEpoch(), head.GetLsn()
	c.digestRange, c.rangeEnds = int(head.GetDigestRange()), head.GetRangeEnds()
	if c.digestRange >= dbkernel.DigestRanges {
		return c, refuse(CodeInvalidMessage, "a chunk of range %d of %d", c.digestRange, dbkernel.DigestRanges)
	}
	if c.KeyRange, err = keyRangeFromProto(head.GetRange()); err != nil {
		return c, err
	}
	c.Cells = wire
	if n := head.GetUncompressedBytes(); n > 0 {
		if c.Cells, err = r.zstd.DecodeAll(wire, make([]byte, 0, min(n, 2*snapshotChunkBytes))); err != nil || len(c.Cells) != int(n) {
			return c, refuseForNow(CodeDamagedRecord, "a chunk of %d bytes doesn't decompress to %d: %v; it is asked for again", len(wire), n, err)
		}
	}
	if sum := crc32.Checksum(c.Cells, castagnoli); sum != head.GetCrc32C() {
		return c, refuseForNow(CodeDamagedRecord, "a chunk at LSN %d has CRC %08x, expected %08x: it is asked for again", c.LSN, sum, head.GetCrc32C())
	}
	c.Count, err = countCells(c.Cells, c.KeyRange)
	return c, err
}

// newChunkDecoder makes a decoder for chunkReaders, which bounds what it decompresses to.
func newChunkDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunkBytes))
}

// countCells checks that cells are well-formed, in the order of their keys and of the range.
func countCells(cells []byte, r dbkernel.KeyRange) (n int, err error) {
	var last []byte
	for rest := cells; len(rest) > 0; n++ {
		var key, cell []byte
		if key, rest, err = cutField(rest); err == nil {
			cell, rest, err = cutField(rest)
		}
		switch {
		case err != nil:
			return 0, err
		case len(key) == 0 || len(key) > maxCellKeyLen || len(cell) == 0:
			return 0, refuse(CodeInvalidMessage, "a cell of %d bytes under a key of %d bytes", len(cell), len(key))
		case n > 0 && bytes.Compare(key, last) <= 0 || bytes.Compare(key, r.Start) < 0 || len(r.End) > 0 && bytes.Compare(key, r.End) >= 0:
			return 0, refuse(CodeInvalidMessage, "key %x is out of order, or outside the chunk's range", key)
		}
		last = key
	}
	return n, nil
}

// cutField splits off a field that stands behind its length.
func cutField(b []byte) (field, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, refuse(CodeInvalidMessage, "a chunk ends in the middle of a cell")
	}
	return b[w : w+int(n)], b[w+int(n):], nil
}

func snapshotEndToProto(e dbkernel.SnapshotEnd) *dbv1.SourceMessage {
	m := &dbv1.SnapshotEnd{Lsn: e.LSN, Epoch: e.Epoch, Records: e.Records}
	for id, n := range e.Uploads {
		m.Uploads = append(m.Uploads, &dbv1.OpenUpload{ObjectId: id[:], Bytes: uint64(max(0, n))})
	}
	slices.SortFunc(m.Uploads, func(a, b *dbv1.OpenUpload) int { return bytes.Compare(a.ObjectId, b.ObjectId) })
	return &dbv1.SourceMessage{Body: &dbv1.SourceMessage_SnapshotEnd{SnapshotEnd: m}}
}

func parseSnapshotEnd(p *dbv1.SnapshotEnd) (e dbkernel.SnapshotEnd, err error) {
	e.LSN, e.Epoch, e.Records = p.GetLsn(), p.GetEpoch(), p.GetRecords()
	if len(p.GetUploads()) > maxUploads {
		return e, refuse(CodeInvalidMessage, "a snapshot with %d open uploads is over the limit of %d", len(p.GetUploads()), maxUploads)
	}
	e.Uploads = make(map[[16]byte]int64, len(p.GetUploads()))
	for _, u := range p.GetUploads() {
		if len(u.GetObjectId()) != 16 || u.GetBytes() > math.MaxInt64 {
			return e, refuse(CodeInvalidMessage, "an open upload of %d bytes under an id of %d bytes", u.GetBytes(), len(u.GetObjectId()))
		}
		e.Uploads[[16]byte(u.GetObjectId())] = int64(u.GetBytes())
	}
	return e, nil
}

// maxMarksSent bounds the marks of one heartbeat.
const maxMarksSent = 8

func marksToProto(marks []dbkernel.Mark) []*dbv1.Mark {
	marks = marks[:min(len(marks), maxMarksSent)]
	out := make([]*dbv1.Mark, len(marks))
	for i, m := range marks {
		out[i] = &dbv1.Mark{Epoch: m.Epoch, Lsn: m.LSN, Digest: m.Digest}
	}
	return out
}

// marksFromProto reads the marks of a heartbeat; more than there should be are left out.
func marksFromProto(in []*dbv1.Mark) []dbkernel.Mark {
	in = in[:min(len(in), maxMarksSent)]
	out := make([]dbkernel.Mark, len(in))
	for i, m := range in {
		out[i] = dbkernel.Mark{Epoch: m.GetEpoch(), LSN: m.GetLsn(), Digest: m.GetDigest()}
	}
	return out
}

// digests are those of all ranges.
type digests = [dbkernel.DigestRanges]uint64

func digestsToProto(m dbkernel.Mark, d digests) *dbv1.SourceMessage {
	b := make([]byte, 0, 8*len(d))
	for _, v := range d {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return &dbv1.SourceMessage{Body: &dbv1.SourceMessage_Digests{Digests: &dbv1.Digests{
		Mark: &dbv1.Mark{Epoch: m.Epoch, Lsn: m.LSN, Digest: m.Digest}, Ranges: b,
	}}}
}

func parseDigests(p *dbv1.Digests, mark uint64) (d digests, err error) {
	if b := p.GetRanges(); len(b) == 8*len(d) && p.GetMark().GetLsn() == mark {
		for i := range d {
			d[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
		return d, nil
	}
	return d, refuse(CodeInvalidMessage, "digests of %d bytes at LSN %d, expected %d bytes at LSN %d",
		len(p.GetRanges()), p.GetMark().GetLsn(), 8*len(d), mark)
}

// differing lists the ranges in which two sets of digests differ.
func differing(a, b digests) (ranges []int) {
	for i := range a {
		if a[i] != b[i] {
			ranges = append(ranges, i)
		}
	}
	return ranges
}
