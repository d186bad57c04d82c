package codec

import "fmt"

// Cells of a tree that is still being put together from a snapshot. They go with
// the transaction that completes it.
const (
	systemStage = 0x40 // what the stage knows of itself
	systemChunk = 0x41 // a key: the chunk that begins with it
)

// StageKey is where a staged tree keeps what it knows of itself.
func StageKey() []byte { return []byte{TypeSystem, systemStage} }

// StagedChunkKey is the entry of a chunk that begins with the cell key start.
func StagedChunkKey(start []byte) []byte {
	return append([]byte{TypeSystem, systemChunk}, start...)
}

// StagedChunkPrefix is what those entries begin with.
func StagedChunkPrefix() []byte { return []byte{TypeSystem, systemChunk} }

// SplitStagedChunkKey returns the cell key that the chunk of an entry begins with.
func SplitStagedChunkKey(key []byte) (start []byte, err error) {
	if len(key) < 2 || key[0] != TypeSystem || key[1] != systemChunk {
		return nil, fmt.Errorf("%w: not an entry of a staged chunk: %x", ErrCorrupt, key)
	}
	return key[2:], nil
}
