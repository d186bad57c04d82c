package replicator

import (
	"encoding/binary"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that this one is made of
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/unisondb/unisondb/dbkernel"
)

// Codec is what gRPC ends that carry replication use: protobuf, but for messages
// that are encoded already, which it passes on as they are. All followers are sent
// the same buffers.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

// encoded is a message in its protobuf encoding.
type encoded mem.BufferSlice

// Marshal implements encoding.CodecV2. The caller keeps its references to an
// encoded message; gRPC gets its own.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(encoded); ok {
		mem.BufferSlice(m).Ref()
		return mem.BufferSlice(m), nil
	}
	return c.CodecV2.Marshal(v)
}

// Numbers of fields in replication.proto.
const (
	fieldBatches protowire.Number = 9 // of SourceMessage

	// Of Batch.
	fieldFirstLSN          protowire.Number = 1
	fieldLastLSN           protowire.Number = 2
	fieldRecords           protowire.Number = 3
	fieldCommitLSN         protowire.Number = 4
	fieldPartOffset        protowire.Number = 5
	fieldRecordBytes       protowire.Number = 6
	fieldUncompressedBytes protowire.Number = 7
)

// maxBatchHead is more than appendHead ever appends: two tags with their lengths
// and six numbers with their tags.
const maxBatchHead = 2*(1+binary.MaxVarintLen64) + 6*(1+binary.MaxVarintLen64)

// appendHead appends a SourceMessage with one batch, up to its records: of those n
// bytes must follow. uncompressed is their length before compression; 0: they aren't compressed.
func (b batch) appendHead(to []byte, n, uncompressed int) []byte {
	var buf [maxBatchHead]byte
	head := buf[:0]
	for _, f := range [...]struct {
		number protowire.Number
		value  uint64
	}{
		{fieldFirstLSN, b.first}, {fieldLastLSN, b.last}, {fieldCommitLSN, b.commit},
		{fieldPartOffset, uint64(b.partOffset)}, {fieldRecordBytes, uint64(b.recordBytes)},
		{fieldUncompressedBytes, uint64(uncompressed)},
	} {
		if f.value != 0 {
			head = protowire.AppendTag(head, f.number, protowire.VarintType)
			head = protowire.AppendVarint(head, f.value)
		}
	}
	head = protowire.AppendTag(head, fieldRecords, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(n))
	to = protowire.AppendTag(to, fieldBatches, protowire.BytesType)
	to = protowire.AppendVarint(to, uint64(len(head)+n))
	return append(to, head...)
}

// bufferPool is where the memory of batches comes from. Sizes are from what one
// write takes to the largest batch that followers share, with its head.
var bufferPool = mem.NewTieredBufferPool(2<<10, 4<<10, 8<<10, 16<<10, 32<<10, liveBatchBytes+maxBatchHead)

// batchEncoder encodes the batches of a Source.
type batchEncoder struct {
	pool mem.BufferPool
	zstd compressor
}

// plain is a batch in one buffer, and where in it the records begin.
func (e *batchEncoder) plain(b batch) (buf mem.Buffer, head int) {
	var space [maxBatchHead]byte
	start := b.appendHead(space[:0], b.size, 0)
	data := e.get(len(start) + b.size)
	to := (*data)[copy(*data, start):]
	for _, piece := range b.pieces {
		to = to[copy(to, piece):]
	}
	return mem.NewBuffer(data, e.pool), len(start)
}

// packed is a batch of the given records, compressed; nil where that doesn't pay.
func (e *batchEncoder) packed(b batch, records []byte) mem.Buffer {
	// The records go behind the longest head that there may be; once their length
	// is known the head is put where it belongs.
	data := e.get(maxBatchHead + len(records))
	out, pays := e.zstd.compress((*data)[:maxBatchHead], records)
	if !pays {
		e.pool.Put(data)
		return nil
	}
	var space [maxBatchHead]byte
	n := copy(*data, b.appendHead(space[:0], len(out)-maxBatchHead, len(records)))
	n += copy((*data)[n:], out[maxBatchHead:])
	*data = (*data)[:n]
	return mem.NewBuffer(data, e.pool)
}

// get takes n bytes from the pool, in a buffer that is large enough to be counted:
// grpc's mem leaves the smallest to the garbage collector.
func (e *batchEncoder) get(n int) *[]byte {
	const counted = 2 << 10
	data := e.pool.Get(max(n, counted))
	*data = (*data)[:n]
	return data
}

// encodeInPlace encodes a batch around the records, which stay where they are, in what was lent.
func (b batch) encodeInPlace(l lent) encoded {
	m := make(encoded, 0, 1+len(b.pieces))
	m = append(m, mem.SliceBuffer(b.appendHead(nil, b.size, 0)))
	for _, piece := range b.pieces {
		m = append(m, l.slice(piece))
	}
	return m
}

// lent is the memory of a run, which goes back to the log once gRPC has written all
// messages that are in it.
type lent struct {
	records []byte     // empty where the run's memory is others', too
	all     mem.Buffer // of records
}

func lend(run dbkernel.Run) lent {
	if run.Live || len(run.Records) != 1 {
		return lent{}
	}
	records := run.Records[0]
	return lent{records, mem.NewBuffer(&records, lender{run})}
}

// slice is a piece of the records as a buffer. Slicing keeps the end of the capacity, which tells
// where in the records a piece begins.
func (l lent) slice(piece []byte) mem.Buffer {
	if l.all == nil {
		return mem.SliceBuffer(piece)
	}
	at := cap(l.records) - cap(piece)
	return l.all.Slice(at, at+len(piece))
}

// free ends the borrower's own use.
func (l lent) free() {
	if l.all != nil {
		l.all.Free()
	}
}

// lender is the pool that one run's memory returns to.
type lender struct{ run dbkernel.Run }

// Get implements mem.BufferPool. Nothing is taken from it.
func (lender) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements mem.BufferPool.
func (l lender) Put(*[]byte) { l.run.Release() }

// free gives the caller's references back.
func (m encoded) free() { mem.BufferSlice(m).Free() }

func (m encoded) len() int { return mem.BufferSlice(m).Len() }
