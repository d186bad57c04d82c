package replicator

import (
	"bytes"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Unmarshal implements encoding.CodecV2. Two kinds of message, which are nearly all
// there are, are read here: batches, whose records stay where they were received instead of
// being copied, and acknowledgements, of which a hub has a thousand for each batch.
// Whatever isn't plainly one of them is left to protobuf, which has the same result.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *dbv1.SourceMessage:
		if startsWith(data, fieldBatches) {
			return unmarshalBatches(joined(data), m)
		}
	case *dbv1.SinkMessage:
		if len(data) == 1 && unmarshalAck(data[0].ReadOnlyData(), m) {
			return nil
		}
	}
	return c.CodecV2.Unmarshal(data, v)
}

// joined is a copy of a message. Unlike Materialize, Join doesn't clear the memory that it then fills.
func joined(data mem.BufferSlice) []byte {
	pieces := make([][]byte, len(data))
	for i, b := range data {
		pieces[i] = b.ReadOnlyData()
	}
	return bytes.Join(pieces, nil)
}

// startsWith reports whether a message begins with a field of bytes. Tags of the fields that are
// asked for take one byte.
func startsWith(data mem.BufferSlice, field protowire.Number) bool {
	for _, b := range data {
		if p := b.ReadOnlyData(); len(p) > 0 {
			return uint64(p[0]) == protowire.EncodeTag(field, protowire.BytesType)
		}
	}
	return false
}

// unmarshalBatches reads a message that has batches. It keeps raw.
func unmarshalBatches(raw []byte, m *dbv1.SourceMessage) error {
	m.Reset()
	var rest []byte // of other fields
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeField(raw)
		if n < 0 {
			return protowire.ParseError(n)
		}
		field := raw[:n]
		raw = raw[n:]
		if number != fieldBatches || kind != protowire.BytesType {
			rest = append(rest, field...)
			continue
		}
		_, _, tag := protowire.ConsumeTag(field)
		value, _ := protowire.ConsumeBytes(field[tag:])
		b := new(dbv1.Batch)
		if err := unmarshalBatch(value, b); err != nil {
			return err
		}
		m.Batches = append(m.Batches, b)
	}
	if len(rest) == 0 {
		return nil
	}
	return proto.UnmarshalOptions{Merge: true}.Unmarshal(rest, m)
}

// unmarshalBatch reads a batch, whose records are those bytes of raw. Fields that
// it doesn't know are skipped.
func unmarshalBatch(raw []byte, b *dbv1.Batch) error {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return protowire.ParseError(n)
		}
		raw = raw[n:]
		switch {
		case kind == protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(raw); n >= 0 {
				setBatchNumber(b, number, v)
			}
		case kind == protowire.BytesType && number == fieldRecords:
			var v []byte
			v, n = protowire.ConsumeBytes(raw)
			b.Records = v[:len(v):len(v)]
		default:
			n = protowire.ConsumeFieldValue(number, kind, raw)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		raw = raw[n:]
	}
	return nil
}

func setBatchNumber(b *dbv1.Batch, number protowire.Number, v uint64) {
	switch number {
	case fieldFirstLSN:
		b.FirstLsn = v
	case fieldLastLSN:
		b.LastLsn = v
	case fieldCommitLSN:
		b.CommitLsn = v
	case fieldPartOffset:
		b.PartOffset = uint32(v)
	case fieldRecordBytes:
		b.RecordBytes = uint32(v)
	case fieldUncompressedBytes:
		b.UncompressedBytes = uint32(v)
	}
}

// Fields of SinkMessage and Ack.
const (
	fieldAck         protowire.Number = 2
	fieldReceivedLSN protowire.Number = 1
	fieldDurableLSN  protowire.Number = 2
	fieldAppliedLSN  protowire.Number = 3
)

// unmarshalAck reads a message that is one acknowledgement and nothing else; false: it isn't.
func unmarshalAck(raw []byte, m *dbv1.SinkMessage) bool {
	number, kind, n := protowire.ConsumeTag(raw)
	if n < 0 || number != fieldAck || kind != protowire.BytesType {
		return false
	}
	body, k := protowire.ConsumeBytes(raw[n:])
	if k < 0 || n+k != len(raw) {
		return false
	}
	ack := new(dbv1.Ack)
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 || kind != protowire.VarintType {
			return false
		}
		v, k := protowire.ConsumeVarint(body[n:])
		if k < 0 {
			return false
		}
		switch number {
		case fieldReceivedLSN:
			ack.ReceivedLsn = v
		case fieldDurableLSN:
			ack.DurableLsn = v
		case fieldAppliedLSN:
			ack.AppliedLsn = v
		default:
			return false
		}
		body = body[n+k:]
	}
	m.Reset()
	m.Body = &dbv1.SinkMessage_Ack{Ack: ack}
	return true
}
