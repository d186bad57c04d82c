package codec

import (
	"encoding/binary"
	"fmt"
)

// Cells of the tree's own, behind TypeSystem. Numbers are never reused.
const (
	systemMeta   = 0x00 // the checkpoint and what belongs to it
	systemExpiry = 0x10 // expiry (u64, big-endian), cell key: what falls due when
	systemDrop   = 0x20 // object id: chunks that go once nobody reads them

	systemDigests = 0x30 // the digests of all ranges at the checkpoint
	systemMark    = 0x31 // LSN of a mark (u64, big-endian): the digests of all ranges there
)

// MetaKey is where the tree keeps its checkpoint.
func MetaKey() []byte { return []byte{TypeSystem, systemMeta} }

// ExpiryKey is the entry of the expiry index for a cell. The index is ordered by expiry.
func ExpiryKey(expiry int64, cell []byte) []byte {
	b := make([]byte, 0, 2+8+len(cell))
	b = binary.BigEndian.AppendUint64(append(b, TypeSystem, systemExpiry), uint64(expiry))
	return append(b, cell...)
}

// ExpiryPrefix is what the entries of the expiry index begin with.
func ExpiryPrefix() []byte { return []byte{TypeSystem, systemExpiry} }

// SplitExpiryKey takes an entry of the expiry index apart.
func SplitExpiryKey(key []byte) (expiry int64, cell []byte, err error) {
	if len(key) <= 10 || key[0] != TypeSystem || key[1] != systemExpiry {
		return 0, nil, fmt.Errorf("%w: not an entry of the expiry index: %x", ErrCorrupt, key)
	}
	return int64(binary.BigEndian.Uint64(key[2:])), key[10:], nil
}

// DropKey is the tree's note that an object's chunks are to be freed.
func DropKey(id ObjectID) []byte { return append([]byte{TypeSystem, systemDrop}, id[:]...) }

// DropPrefix is what those notes begin with.
func DropPrefix() []byte { return []byte{TypeSystem, systemDrop} }

// SplitDropKey returns the object that a note names.
func SplitDropKey(key []byte) (id ObjectID, err error) {
	if len(key) != 2+len(id) || key[0] != TypeSystem || key[1] != systemDrop {
		return id, fmt.Errorf("%w: not a note of a dropped object: %x", ErrCorrupt, key)
	}
	copy(id[:], key[2:])
	return id, nil
}

// DigestsKey is where the tree keeps the digests of its cells at the checkpoint.
func DigestsKey() []byte { return []byte{TypeSystem, systemDigests} }

// MarkKey is where the tree keeps the digests of its cells at a mark.
func MarkKey(lsn uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{TypeSystem, systemMark}, lsn)
}

// MarkPrefix is what those of all marks begin with.
func MarkPrefix() []byte { return []byte{TypeSystem, systemMark} }

// Manifest says where a large object's bytes are. All chunks but the last have
// ChunkLen bytes.
//
//	0  [16] object id
//	16 u64  size, bytes
//	24 u32  ChunkLen, bytes
//	28 u32  CRC-32 (IEEE) of the bytes
type Manifest struct {
	Object   ObjectID
	Size     uint64
	ChunkLen uint32
	CRC32    uint32
}

const manifestLen = 32

// Encode is the value of a manifest's cell.
func (m Manifest) Encode() []byte {
	b := append(make([]byte, 0, manifestLen), m.Object[:]...)
	b = binary.LittleEndian.AppendUint64(b, m.Size)
	b = binary.LittleEndian.AppendUint32(b, m.ChunkLen)
	return binary.LittleEndian.AppendUint32(b, m.CRC32)
}

// DecodeManifest reads the value of a manifest's cell.
func DecodeManifest(b []byte) (m Manifest, err error) {
	if len(b) != manifestLen {
		return m, fmt.Errorf("%w: a manifest has %d bytes, expected %d", ErrCorrupt, len(b), manifestLen)
	}
	copy(m.Object[:], b)
	m.Size = binary.LittleEndian.Uint64(b[16:])
	m.ChunkLen = binary.LittleEndian.Uint32(b[24:])
	m.CRC32 = binary.LittleEndian.Uint32(b[28:])
	if m.ChunkLen == 0 {
		return m, fmt.Errorf("%w: a manifest names chunks of no length", ErrCorrupt)
	}
	return m, nil
}
