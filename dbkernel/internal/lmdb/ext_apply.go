//go:build cgo

package lmdb

/*
#include "wrap.h"

#cgo noescape udb_apply
#cgo nocallback udb_apply
*/
import "C"

import "unsafe"

// HeadLen is how much of an old value a Batch reports, in bytes.
const HeadLen = C.UDB_HEAD_LEN

// Batch is a list of changes that Cursor.Apply makes in one call across cgo. It
// copies keys and values when they are added and can be used again after Reset.
// (Not in lmdb-go.)
type Batch struct {
	edits []C.udb_edit
	data  []byte
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.edits = b.edits[:0]
	b.data = b.data[:0]
}

// Len is the number of changes.
func (b *Batch) Len() int { return len(b.edits) }

// Size is the length of all keys and values together.
func (b *Batch) Size() int { return len(b.data) }

// Put adds the storing of a value. Values are at most 2 GiB - 1.
func (b *Batch) Put(key, val []byte) {
	b.edits = append(b.edits, C.udb_edit{klen: C.uint32_t(len(key)), vlen: C.uint32_t(len(val))})
	b.data = append(append(b.data, key...), val...)
}

// Delete adds the deletion of a key; an absent one is no error.
func (b *Batch) Delete(key []byte) {
	b.edits = append(b.edits, C.udb_edit{klen: C.uint32_t(len(key)), del: 1})
	b.data = append(b.data, key...)
}

// Old reports, after Apply, the first HeadLen bytes and the full length of the
// value that change i met, or a nil head. The head is valid until Reset.
func (b *Batch) Old(i int) (head []byte, valueLen int) {
	e := &b.edits[i]
	if e.old_len == C.UDB_ABSENT {
		return nil, 0
	}
	h := (*[HeadLen]byte)(unsafe.Pointer(&e.head))
	return h[:e.head_len:e.head_len], int(e.old_len)
}

// Apply makes the changes of a batch, whose keys must ascend strictly, and
// reports the values that they met through Batch.Old. After an error the
// transaction must be aborted.
func (c *Cursor) Apply(b *Batch) error {
	if err := c.usable("mdb_cursor_put"); err != nil {
		return err
	}
	if len(b.edits) == 0 {
		return nil
	}
	var done C.uint32_t
	rc := C.udb_apply(c.txn.env.note.counter, c.cur, &b.edits[0], C.uint32_t(len(b.edits)), cbytes(b.data),
		C.size_t(c.txn.env.mapSize.Load()), &done)
	return operrno("mdb_cursor_put", rc)
}
