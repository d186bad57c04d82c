package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// The keyspace is one ordered space with a type byte in front for each model.
// Numbers are never reused.
const (
	TypeKV       = 0x10 // key
	TypeRow      = 0x20 // group-encoded row, group-encoded column
	TypeManifest = 0x30 // key of a large object
	TypeChunk    = 0x31 // object id, chunk number (u64, big-endian)
	TypeModel    = 0x50 // a data model's name, 0x00, a key of its own
	TypeCursor   = 0xe0 // a notifier's name
	TypeSystem   = 0xf0 // the tree's own cells: checkpoint, expiry index, uploads
)

const (
	// MaxKey bounds a key, and a row key together with a column name, in bytes.
	MaxKey = 400
	// MaxCellKey bounds an encoded cell key: a type byte and two group-encoded
	// parts of MaxKey bytes together. With a suffix of 8 bytes it is 477.
	MaxCellKey = 469
)

// KVKey is the cell key of a key.
func KVKey(key []byte) []byte { return typed(TypeKV, key) }

// ManifestKey is the cell key of a large object's manifest.
func ManifestKey(key []byte) []byte { return typed(TypeManifest, key) }

// CursorKey is the cell key of a notifier's cursor.
func CursorKey(name string) []byte { return typed(TypeCursor, []byte(name)) }

func typed(t byte, key []byte) []byte {
	b := make([]byte, 1+len(key))
	b[0] = t
	copy(b[1:], key)
	return b
}

// RowPrefix is what the cell keys of a row, and no others, begin with.
func RowPrefix(row []byte) []byte {
	b := make([]byte, 0, 1+groupedLen(len(row)))
	return appendGrouped(append(b, TypeRow), row)
}

// ColumnKey is the cell key of a column.
func ColumnKey(row []byte, column string) []byte {
	b := make([]byte, 0, 1+groupedLen(len(row))+groupedLen(len(column)))
	b = appendGrouped(append(b, TypeRow), row)
	return appendGrouped(b, []byte(column))
}

// RowSearchPrefix is what the cell keys of all rows begin with whose row key
// begins with p. So may those of rows below p, where p ends in zeros, which look
// like padding: a search begins at RowPrefix(p). It is no cell key of its own.
func RowSearchPrefix(p []byte) []byte {
	b := append(make([]byte, 0, 2+len(p)*9/8), TypeRow)
	for len(p) >= groupLen {
		b = append(append(b, p[:groupLen]...), groupMore)
		p = p[groupLen:]
	}
	return append(b, p...)
}

// SplitColumnKey takes a column's cell key apart.
func SplitColumnKey(cell []byte) (row []byte, column string, err error) {
	if len(cell) == 0 || cell[0] != TypeRow {
		return nil, "", fmt.Errorf("%w: not a column's cell key: %x", ErrCorrupt, cell)
	}
	row, rest, err := cutGrouped(cell[1:])
	if err != nil {
		return nil, "", err
	}
	col, rest, err := cutGrouped(rest)
	if err != nil {
		return nil, "", err
	}
	if len(rest) != 0 {
		return nil, "", fmt.Errorf("%w: %d bytes behind a column's cell key", ErrCorrupt, len(rest))
	}
	return row, string(col), nil
}

// SplitRowPrefix takes a row's prefix (as in OpDeleteRow) apart.
func SplitRowPrefix(prefix []byte) (row []byte, err error) {
	if len(prefix) == 0 || prefix[0] != TypeRow {
		return nil, fmt.Errorf("%w: not a row's prefix: %x", ErrCorrupt, prefix)
	}
	row, rest, err := cutGrouped(prefix[1:])
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%w: %d bytes behind a row's prefix", ErrCorrupt, len(rest))
	}
	return row, err
}

// RowPrefixOf returns the part of a column's cell key that is its row's prefix.
func RowPrefixOf(cell []byte) ([]byte, error) {
	if len(cell) == 0 || cell[0] != TypeRow {
		return nil, fmt.Errorf("%w: not a column's cell key: %x", ErrCorrupt, cell)
	}
	for i := 1; i+groupLen < len(cell); i += groupLen + 1 {
		if cell[i+groupLen] != groupMore {
			return cell[: i+groupLen+1 : i+groupLen+1], nil
		}
	}
	return nil, fmt.Errorf("%w: an encoded key has no end: %x", ErrCorrupt, cell)
}

// CutColumnKey takes a column's cell key apart and leaves its row encoded, as
// RowPrefixOf does.
func CutColumnKey(cell []byte) (row []byte, column string, err error) {
	if row, err = RowPrefixOf(cell); err != nil {
		return nil, "", err
	}
	col, rest, err := cutGrouped(cell[len(row):])
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%w: %d bytes behind a column's cell key", ErrCorrupt, len(rest))
	}
	return row, string(col), err
}

// modelEnd ends a data model's name in its cell keys. No name contains it.
const modelEnd = 0x00

// ModelPrefix is what the cell keys of a data model, and no others, begin with.
func ModelPrefix(model string) []byte {
	b := make([]byte, 0, 2+len(model))
	return append(append(append(b, TypeModel), model...), modelEnd)
}

// ModelKey is the cell key of a data model's key.
func ModelKey(model string, key []byte) []byte {
	b := make([]byte, 0, 2+len(model)+len(key))
	b = append(append(append(b, TypeModel), model...), modelEnd)
	return append(b, key...)
}

// SplitModelKey takes a data model's cell key apart. The parts point into it.
func SplitModelKey(cell []byte) (model, key []byte, err error) {
	if len(cell) > 0 && cell[0] == TypeModel {
		if end := bytes.IndexByte(cell, modelEnd); end > 1 && end < len(cell)-1 {
			return cell[1:end:end], cell[end+1:], nil
		}
	}
	return nil, nil, fmt.Errorf("%w: not a data model's cell key: %x", ErrCorrupt, cell)
}

// PrefixEnd is the first key behind all that begin with p; nil if there is none.
func PrefixEnd(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			end := append([]byte(nil), p[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// Groups: a part of a composite key is cut into groups of 8 bytes, the last
// one padded with zeros, each followed by a byte that says how it ends: 0xff,
// another group follows; 0 to 8 bytes used, otherwise. So any bytes are
// unambiguous and order is kept.
const (
	groupLen  = 8
	groupMore = 0xff
)

func groupedLen(n int) int { return (n/groupLen + 1) * (groupLen + 1) }

func appendGrouped(b, p []byte) []byte {
	for len(p) >= groupLen {
		b = append(append(b, p[:groupLen]...), groupMore)
		p = p[groupLen:]
	}
	var last [groupLen]byte
	copy(last[:], p)
	return append(append(b, last[:]...), byte(len(p)))
}

func cutGrouped(b []byte) (p, rest []byte, err error) {
	for {
		if len(b) <= groupLen {
			return nil, nil, fmt.Errorf("%w: an encoded key is cut off", ErrCorrupt)
		}
		mark := b[groupLen]
		if mark == groupMore {
			p, b = append(p, b[:groupLen]...), b[groupLen+1:]
			continue
		}
		if mark >= groupLen {
			return nil, nil, fmt.Errorf("%w: an encoded key's group ends in %#x", ErrCorrupt, mark)
		}
		for _, pad := range b[mark:groupLen] {
			if pad != 0 {
				return nil, nil, fmt.Errorf("%w: an encoded key's padding isn't zero", ErrCorrupt)
			}
		}
		return append(p, b[:mark]...), b[groupLen+1:], nil
	}
}

// ObjectID names the chunks of one large object. It is random: a key that is
// written again gets a new object.
type ObjectID [16]byte

func (id ObjectID) String() string { return hex.EncodeToString(id[:]) }

// ChunkKey is the cell key of an object's n-th chunk.
func ChunkKey(id ObjectID, n uint64) []byte {
	b := make([]byte, 0, 1+len(id)+8)
	b = append(append(b, TypeChunk), id[:]...)
	return binary.BigEndian.AppendUint64(b, n)
}

// ChunkPrefix is what the cell keys of an object's chunks begin with.
func ChunkPrefix(id ObjectID) []byte {
	return append([]byte{TypeChunk}, id[:]...)
}

// SplitChunkKey takes a chunk's cell key apart.
func SplitChunkKey(cell []byte) (id ObjectID, n uint64, err error) {
	if len(cell) != 1+len(id)+8 || cell[0] != TypeChunk {
		return id, 0, fmt.Errorf("%w: not a chunk's cell key: %x", ErrCorrupt, cell)
	}
	copy(id[:], cell[1:])
	return id, binary.BigEndian.Uint64(cell[1+len(id):]), nil
}
