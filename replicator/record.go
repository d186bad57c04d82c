package replicator

import (
	"encoding/binary"
	"hash/crc32"
)

// The beginning of a record as the wire has it; the kernel, which owns the
// format, reads the rest. Integers are little-endian.
const (
	recLength = 0  // u32, of the whole record
	recCRC    = 4  // u32, CRC-32C of all that follows
	recLSN    = 8  // u64
	recEpoch  = 16 // u64
	recPrefix = 24

	// maxRecordBytes bounds what a sink puts together from parts.
	maxRecordBytes = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordLen is the length that the record at the start of b claims.
func recordLen(b []byte) (int, error) {
	if len(b) < recPrefix {
		return 0, refuseForNow(CodeDamagedRecord, "%d bytes are too few for a record", len(b))
	}
	n := int(binary.LittleEndian.Uint32(b[recLength:]))
	if n < recPrefix || n > maxRecordBytes {
		return 0, refuseForNow(CodeDamagedRecord, "a record claims a length of %d bytes", n)
	}
	return n, nil
}

// cutRecord splits the first record off b and checks that it is the one of this
// LSN, whole and as it was written.
func cutRecord(b []byte, lsn uint64) (record, rest []byte, err error) {
	n, err := recordLen(b)
	if err != nil {
		return nil, nil, err
	}
	if n > len(b) {
		return nil, nil, refuseForNow(CodeDamagedRecord, "the record of LSN %d has %d bytes and claims %d", lsn, len(b), n)
	}
	record = b[:n:n]
	got, want := crc32.Checksum(record[recLSN:], castagnoli), binary.LittleEndian.Uint32(record[recCRC:])
	if got != want {
		return nil, nil, refuseForNow(CodeDamagedRecord, "the record of LSN %d has CRC %08x, expected %08x: it is asked for again", lsn, got, want)
	}
	if is := binary.LittleEndian.Uint64(record[recLSN:]); is != lsn {
		return nil, nil, refuseForNow(CodeInvalidMessage, "the record of LSN %d stands where LSN %d belongs", is, lsn)
	}
	return record, b[n:], nil
}
