package dbkernel

import (
	"context"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// MaxCursorLen bounds what a cursor holds, in bytes.
const MaxCursorLen = 64 << 10

func checkCursor(name string) error {
	if name == "" || len(name) > MaxKeyLen {
		return fmt.Errorf("%w cursor name: it has %d bytes, use 1 to %d", ErrInvalid, len(name), MaxKeyLen)
	}
	return nil
}

// Cursor reads the cursor of that name: how far something that follows the
// namespace has got, kept beside the data so that it replicates with it.
func (n *Namespace) Cursor(name string) (value []byte, found bool, err error) {
	if err := checkCursor(name); err != nil {
		return nil, false, err
	}
	v, err := n.View()
	if err != nil {
		return nil, false, err
	}
	defer v.Close()
	c, found, err := v.cell(codec.CursorKey(name))
	return slices.Clone(c.Value), found, err
}

// PutCursor sets a cursor. That is a record of its own, but never a change that
// Run.Changes tells, and no quota holds it back. ErrReadOnly where another node owns
// the namespace.
func (n *Namespace) PutCursor(ctx context.Context, name string, value []byte) (Position, error) {
	if err := checkCursor(name); err != nil {
		return Position{}, err
	}
	if len(value) > MaxCursorLen {
		return Position{}, fmt.Errorf("%w: the cursor has %d bytes, at most %d", ErrTooLarge, len(value), MaxCursorLen)
	}
	if err := n.acquire(); err != nil {
		return Position{}, err
	}
	defer n.release()
	var b codec.Builder
	b.Cursor(codec.CursorKey(name), value)
	return n.commitBatch(ctx, &b, nil, true)
}
