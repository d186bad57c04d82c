package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// TreeReport is what is in the B+tree.
type TreeReport struct {
	Lineage string `json:"lineage"`
	LSN     uint64 `json:"lsn"` // of the checkpoint: the last record that it contains
	Epoch   uint64 `json:"epoch"`
	Records uint64 `json:"records"` // batches that it contains
	Cells   uint64 `json:"cells"`   // of data: keys, columns, objects and their chunks
	Bytes   int64  `json:"bytes"`   // of the file
}

// checkEvery is how many cells are read between looks at the context.
const checkEvery = 4096

func (d *Directory) verifyTree(ctx context.Context, r *Report) error {
	d.openTree(r, func(snap btree.Reader, r *Report) error {
		if err := readCheckpoint(snap, r); err != nil {
			return err
		}
		return walkCells(ctx, snap, r)
	})
	return ctx.Err()
}

// openTree opens the tree for read, and reports what fails.
func (d *Directory) openTree(r *Report, read func(btree.Reader, *Report) error) {
	tree, err := btree.OpenRead(btree.Options{Engine: r.Meta.Engine, Dir: filepath.Join(d.path, treeDir)})
	if err == nil {
		r.Tree = &TreeReport{}
		err = errors.Join(readTree(tree, r, read), tree.Close())
	}
	if err != nil {
		r.problem("tree", err)
	}
}

func readTree(tree btree.ReadTree, r *Report, read func(btree.Reader, *Report) error) error {
	stats, err := tree.Stats()
	if err != nil {
		return err
	}
	r.Tree.Bytes = stats.FileBytes
	snap, err := tree.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Release()
	return read(snap, r)
}

// readCheckpoint reads what the tree says of itself. A new one says nothing.
func readCheckpoint(snap btree.Reader, r *Report) error {
	key := codec.MetaKey()
	b, found, err := snap.Get(key)
	if err != nil || !found {
		return err
	}
	cell, err := codec.DecodeCell(key, b)
	if err != nil {
		r.problem("tree", fmt.Errorf("the checkpoint: %w", err))
		return nil
	}
	var at struct {
		Format int `json:"format"`
		TreeReport
	}
	if err := json.Unmarshal(cell.Value, &at); err != nil {
		r.problem("tree", fmt.Errorf("the checkpoint: %w", err))
		return nil
	}
	if at.Format > codec.CheckpointFormat {
		r.problem("tree", fmt.Errorf("the checkpoint has format %d, this build reads up to %d: use a newer build", at.Format, codec.CheckpointFormat))
	}
	r.Tree.Lineage, r.Tree.LSN, r.Tree.Epoch, r.Tree.Records = at.Lineage, at.LSN, at.Epoch, at.Records
	return nil
}

// walkCells reads every cell: that its key lies behind the one before, that a search
// finds it, that its checksum is right, and that no record beyond the checkpoint wrote it.
func walkCells(ctx context.Context, snap btree.Reader, r *Report) error {
	c, err := snap.Cursor()
	if err != nil {
		return err
	}
	defer c.Close()
	var last []byte
	for ok := c.Seek(nil); ok; ok = c.Next() {
		key := c.Key()
		if len(key) == 0 {
			r.problem("tree", errors.New("a pair in it has no key"))
			continue
		}
		if last != nil && bytes.Compare(key, last) <= 0 {
			r.problem("tree", fmt.Errorf("the key %x lies behind %x", key, last))
		}
		last = append(last[:0], key...)
		if key[0] >= codec.TypeSystem {
			continue
		}
		if r.Tree.Cells++; r.Tree.Cells%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := checkCell(snap, key, c.Value(), r.Tree.LSN); err != nil {
			r.problem("tree", err)
		}
	}
	return c.Err()
}

func checkCell(snap btree.Reader, key, value []byte, checkpoint uint64) error {
	cell, err := codec.DecodeCell(key, value)
	if err != nil {
		return err
	}
	if cell.Version.LSN > checkpoint {
		return fmt.Errorf("the cell under %x is of LSN %d, the checkpoint of %d", key, cell.Version.LSN, checkpoint)
	}
	head, size, found, err := snap.Head(key)
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("no search finds the key %x", key)
	case size != len(value) || !bytes.HasPrefix(value, head):
		return fmt.Errorf("a search for the key %x finds another cell", key)
	}
	return nil
}
