// Package codec is the byte layout of what the kernel stores: records of the
// log, keys of the one ordered keyspace, and cells of the B+tree. Everything is
// hand-written, versioned and described byte by byte in dbkernel/DESIGN.md.
//
// Integers are little-endian, except inside keys, where big-endian keeps order.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrCorrupt is wrapped by every error that means "these bytes are not what
// was written".
var ErrCorrupt = errors.New("corrupt")

// Castagnoli is the table of the CRC-32C that guards records, frames and cells.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Layout of a record's header. The CRC covers everything behind itself, so
// that a record can be checked without knowing where it came from.
const (
	offLength = 0  // u32, of the whole record, header included
	offCRC    = 4  // u32, CRC-32C of bytes [8, length)
	offLSN    = 8  // u64
	offEpoch  = 16 // u64
	offTime   = 24 // i64, nanoseconds since 1970, never going back within a namespace
	offKind   = 32 // u8, a Kind
	offVer    = 33 // u8, RecordVersion
	offRsv    = 34 // u16, zero
	offOps    = 36 // u32, number of operations

	// RecordHeaderLen is where a record's operations begin.
	RecordHeaderLen = 40

	// RecordVersion is the record format that this build writes; it reads no newer one.
	RecordVersion = 1

	// MaxRecordLen bounds a record: the largest batch (32 MiB of keys and
	// values) with room for what its encoding adds.
	MaxRecordLen = 64 << 20
)

// Kind says what a record is.
type Kind uint8

// The kinds of records. Numbers are never reused.
const (
	KindBatch Kind = 1 // operations, one atomic commit
	KindMark  Kind = 2 // every node flushes exactly here and compares digests
	KindEpoch Kind = 3 // an epoch begins; the payload is its 64 random bits
)

// Header is the decoded header of a record.
type Header struct {
	Length int
	LSN    uint64
	Epoch  uint64
	Time   int64 // nanoseconds since 1970
	Kind   Kind
	Ops    int
}

// Record is one encoded record, header included. It is immutable once sealed;
// its bytes on disk are its bytes on the wire.
type Record []byte

// LSN reads the record's number without checking anything.
func (r Record) LSN() uint64 { return binary.LittleEndian.Uint64(r[offLSN:]) }

// Epoch reads the record's epoch without checking anything.
func (r Record) Epoch() uint64 { return binary.LittleEndian.Uint64(r[offEpoch:]) }

// Time reads the record's time in nanoseconds since 1970 without checking anything.
func (r Record) Time() int64 { return int64(binary.LittleEndian.Uint64(r[offTime:])) }

// Kind reads the record's kind without checking anything.
func (r Record) Kind() Kind { return Kind(r[offKind]) }

// PeekLen returns the length that the record at the start of b claims. It is
// an error if b is too short to say or the length can't be one.
func PeekLen(b []byte) (int, error) {
	if len(b) < RecordHeaderLen {
		return 0, fmt.Errorf("%w: %d bytes are too few for a record header", ErrCorrupt, len(b))
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < RecordHeaderLen || n > MaxRecordLen {
		return 0, fmt.Errorf("%w: a record claims a length of %d bytes", ErrCorrupt, n)
	}
	return n, nil
}

// CutRecord splits the first record off b and checks its length, CRC and header.
func CutRecord(b []byte) (rec Record, h Header, rest []byte, err error) {
	n, err := PeekLen(b)
	if err != nil {
		return nil, Header{}, nil, err
	}
	if n > len(b) {
		return nil, Header{}, nil, fmt.Errorf("%w: a record of %d bytes is cut off after %d", ErrCorrupt, n, len(b))
	}
	rec = Record(b[:n:n])
	if h, err = rec.Check(); err != nil {
		return nil, Header{}, nil, err
	}
	return rec, h, b[n:], nil
}

// Check verifies the record's CRC and decodes its header.
func (r Record) Check() (Header, error) {
	if n, err := PeekLen(r); err != nil {
		return Header{}, err
	} else if n != len(r) {
		return Header{}, fmt.Errorf("%w: a record of %d bytes claims %d", ErrCorrupt, len(r), n)
	}
	h := Header{
		Length: len(r), LSN: r.LSN(), Epoch: r.Epoch(), Time: r.Time(), Kind: r.Kind(),
		Ops: int(binary.LittleEndian.Uint32(r[offOps:])),
	}
	if got, want := crc32.Checksum(r[offLSN:], Castagnoli), binary.LittleEndian.Uint32(r[offCRC:]); got != want {
		return Header{}, fmt.Errorf("%w: record LSN %d has CRC %08x, expected %08x", ErrCorrupt, h.LSN, got, want)
	}
	if v := r[offVer]; v != RecordVersion {
		return Header{}, fmt.Errorf("record LSN %d has format %d; this build reads up to %d: use a newer build", h.LSN, v, RecordVersion)
	}
	return h, nil
}

// seal writes the header of a record whose operations are complete.
func (r Record) seal(lsn, epoch uint64, at int64, kind Kind, ops int) {
	binary.LittleEndian.PutUint32(r[offLength:], uint32(len(r)))
	binary.LittleEndian.PutUint64(r[offLSN:], lsn)
	binary.LittleEndian.PutUint64(r[offEpoch:], epoch)
	binary.LittleEndian.PutUint64(r[offTime:], uint64(at))
	r[offKind], r[offVer] = byte(kind), RecordVersion
	r[offRsv], r[offRsv+1] = 0, 0
	binary.LittleEndian.PutUint32(r[offOps:], uint32(ops))
	binary.LittleEndian.PutUint32(r[offCRC:], crc32.Checksum(r[offLSN:], Castagnoli))
}

// NewEpochRecord makes the record that begins an epoch.
func NewEpochRecord(lsn, epoch uint64, at int64, bits uint64) Record {
	r := make(Record, RecordHeaderLen+8)
	binary.LittleEndian.PutUint64(r[RecordHeaderLen:], bits)
	r.seal(lsn, epoch, at, KindEpoch, 0)
	return r
}

// EpochBits returns the 64 random bits of a checked epoch record.
func (r Record) EpochBits() (uint64, error) {
	if r.Kind() != KindEpoch || len(r) != RecordHeaderLen+8 {
		return 0, fmt.Errorf("%w: record LSN %d is no epoch record", ErrCorrupt, r.LSN())
	}
	return binary.LittleEndian.Uint64(r[RecordHeaderLen:]), nil
}

// NewMarkRecord makes a mark.
func NewMarkRecord(lsn, epoch uint64, at int64) Record {
	r := make(Record, RecordHeaderLen)
	r.seal(lsn, epoch, at, KindMark, 0)
	return r
}

// OpCount reads the number of operations without checking anything.
func (r Record) OpCount() int { return int(binary.LittleEndian.Uint32(r[offOps:])) }
