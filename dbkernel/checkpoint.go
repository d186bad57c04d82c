package dbkernel

import (
	"encoding/json"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// checkpoint is what the tree says about itself. It is written in the same
// transaction as the cells that it speaks of.
type checkpoint struct {
	Format  int          `json:"format"`
	Lineage Lineage      `json:"lineage"`
	LSN     uint64       `json:"lsn"`     // the last record that the tree contains
	Epoch   uint64       `json:"epoch"`   // of that record
	Time    int64        `json:"time"`    // of that record, nanoseconds since 1970
	Epochs  []EpochStart `json:"epochs"`  // the epoch table up to that record
	Records uint64       `json:"records"` // batch records that the tree contains
	Live    int64        `json:"live"`    // bytes of keys and values, the tree's own cells left out
	// Uploads are the objects whose manifest is still to come, with their bytes so far.
	Uploads map[string]int64 `json:"uploads,omitempty"`
}

const checkpointFormat = codec.CheckpointFormat

// readCheckpoint reads the tree's own account; a new tree has none.
func readCheckpoint(r btree.Reader) (c checkpoint, found bool, err error) {
	key := codec.MetaKey()
	b, found, err := r.Get(key)
	if err != nil || !found {
		return c, false, err
	}
	cell, err := codec.DecodeCell(key, b)
	if err != nil {
		return c, false, fmt.Errorf("%w: the B+tree's checkpoint: %w", ErrDamaged, err)
	}
	if err := json.Unmarshal(cell.Value, &c); err != nil {
		return c, false, fmt.Errorf("%w: the B+tree's checkpoint: %w", ErrDamaged, err)
	}
	if c.Format > checkpointFormat {
		return c, false, fmt.Errorf("%w: the B+tree has format %d, this build reads up to %d: use a newer build", ErrNewerFormat, c.Format, checkpointFormat)
	}
	return c, true, nil
}

func (c checkpoint) write(tx btree.Tx) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	key := codec.MetaKey()
	return tx.Put(key, codec.AppendCell(nil, key, codec.Cell{
		Version: codec.Version{Epoch: c.Epoch, LSN: c.LSN}, Value: b,
	}))
}
