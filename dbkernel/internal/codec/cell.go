package codec

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A cell is a value as the B+tree stores it: LMDB's pages carry no checksum, so
// the cell does, over its key, version, expiry and value.
//
//	0  u32  CRC-32C of the key, then of bytes [4, end)
//	4  u8   CellVersion
//	5  u64  epoch of the record that wrote it
//	13 u64  LSN of that record
//	21 i64  expiry, nanoseconds since 1970; 0 for none
//	29      value
const (
	// CellHeaderLen is where a cell's value begins.
	CellHeaderLen = 29
	// CellVersion is the cell format that this build writes.
	CellVersion = 1
)

// Cell is a decoded cell. Value points into the bytes that it was decoded from.
type Cell struct {
	Version Version
	Expiry  int64 // nanoseconds since 1970, 0 for none
	Value   []byte
}

// AppendCell encodes a cell behind b.
func AppendCell(b, key []byte, c Cell) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, CellVersion)
	b = binary.LittleEndian.AppendUint64(b, c.Version.Epoch)
	b = binary.LittleEndian.AppendUint64(b, c.Version.LSN)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Expiry))
	b = append(b, c.Value...)
	binary.LittleEndian.PutUint32(b[at:], cellCRC(key, b[at:]))
	return b
}

func cellCRC(key, cell []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, Castagnoli), Castagnoli, cell[4:])
}

// DecodeCell checks and decodes the cell that is stored under key.
func DecodeCell(key, b []byte) (Cell, error) {
	h, err := DecodeCellHeader(key, b)
	if err != nil {
		return Cell{}, err
	}
	if got, want := cellCRC(key, b), binary.LittleEndian.Uint32(b); got != want {
		return Cell{}, fmt.Errorf("%w: the cell under %x has CRC %08x, expected %08x", ErrCorrupt, key, got, want)
	}
	h.Value = b[CellHeaderLen:]
	return h, nil
}

// DecodeCellHeader decodes the header alone, unchecked, from a cell's first
// CellHeaderLen bytes. The value stays nil.
func DecodeCellHeader(key, b []byte) (Cell, error) {
	if len(b) < CellHeaderLen {
		return Cell{}, fmt.Errorf("%w: the cell under %x has only %d bytes", ErrCorrupt, key, len(b))
	}
	if b[4] != CellVersion {
		return Cell{}, fmt.Errorf("%w: the cell under %x has the unknown format %d", ErrCorrupt, key, b[4])
	}
	return Cell{
		Version: Version{Epoch: binary.LittleEndian.Uint64(b[5:]), LSN: binary.LittleEndian.Uint64(b[13:])},
		Expiry:  int64(binary.LittleEndian.Uint64(b[21:])),
	}, nil
}
