//go:build cgo

package lmdb

/*
#include "wrap.h"

#cgo noescape udb_cursor_open
#cgo nocallback udb_cursor_open
#cgo nocallback udb_cursor_renew
#cgo nocallback udb_cursor_close
#cgo noescape udb_cursor_get
#cgo nocallback udb_cursor_get
#cgo noescape udb_cursor_put
#cgo nocallback udb_cursor_put
#cgo nocallback udb_cursor_del
*/
import "C"

import (
	"slices"
	"syscall"
)

// Cursor walks a database in key order. One of a write transaction ends with
// it; one of a read-only transaction must be closed, before or after its
// transaction ends but before the environment is closed, and can be renewed.
type Cursor struct {
	txn *Txn
	dbi DBI
	gen uint64        // of its transaction when it was opened or renewed
	cur *C.MDB_cursor // nil once ended
}

// OpenCursor opens a cursor.
func (txn *Txn) OpenCursor(dbi DBI) (*Cursor, error) {
	if err := txn.usable("mdb_cursor_open"); err != nil {
		return nil, err
	}
	c := &Cursor{txn: txn, dbi: dbi, gen: txn.gen}
	rc := C.udb_cursor_open(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), &c.cur)
	if err := operrno("mdb_cursor_open", rc); err != nil {
		return nil, err
	}
	if !txn.readonly {
		txn.cursors = append(txn.cursors, c)
	}
	return c, nil
}

// Renew binds a cursor of a read-only transaction to another, or to the same one
// after Txn.Renew.
func (c *Cursor) Renew(txn *Txn) error {
	if c.cur == nil || !c.txn.readonly || !txn.readonly || c.txn.env != txn.env {
		return &OpError{Op: "mdb_cursor_renew", Errno: syscall.EINVAL}
	}
	if err := txn.usable("mdb_cursor_renew"); err != nil {
		return err
	}
	rc := C.udb_cursor_renew(txn.env.note.counter, txn.txn, c.cur)
	if err := operrno("mdb_cursor_renew", rc); err != nil {
		return err
	}
	c.txn, c.gen = txn, txn.gen
	return nil
}

// Close frees the cursor. On one that has ended it does nothing.
func (c *Cursor) Close() {
	if c.cur == nil {
		return
	}
	if !c.txn.readonly {
		if i := slices.Index(c.txn.cursors, c); i >= 0 {
			c.txn.cursors = slices.Delete(c.txn.cursors, i, i+1)
		}
	}
	C.udb_cursor_close(c.cur)
	c.cur = nil
}

// Txn returns the cursor's transaction.
func (c *Cursor) Txn() *Txn { return c.txn }

// DBI returns the cursor's database.
func (c *Cursor) DBI() DBI { return c.dbi }

func (c *Cursor) usable(op string) error {
	if c.cur == nil || c.gen != c.txn.gen {
		return &OpError{Op: op, Errno: syscall.EINVAL}
	}
	return c.txn.usable(op)
}

// Get moves the cursor by op and returns the pair that it is on. setkey is for
// Set, SetKey and SetRange; setval, for databases with duplicates, must be nil.
// At the end the error is NotFound.
func (c *Cursor) Get(setkey, setval []byte, op uint) (key, val []byte, err error) {
	if setval != nil {
		return nil, nil, &OpError{Op: "mdb_cursor_get", Errno: syscall.ENOTSUP}
	}
	if err := c.usable("mdb_cursor_get"); err != nil {
		return nil, nil, err
	}
	var res C.udb_res
	rc := C.udb_cursor_get(c.txn.env.note.counter, c.cur, cbytes(setkey), C.size_t(len(setkey)), C.int(op), &res)
	if rc == C.MDB_NOTFOUND {
		return nil, nil, errCursorNotFound
	}
	if err := operrno("mdb_cursor_get", rc); err != nil {
		return nil, nil, err
	}
	if op == Set {
		// LMDB leaves the key as it was given.
		return setkey, c.txn.found(res.val, res.vlen), nil
	}
	return c.txn.found(res.key, res.klen), c.txn.found(res.val, res.vlen), nil
}

// Put stores a pair and moves the cursor there. flags may be Current,
// NoOverwrite or Append.
func (c *Cursor) Put(key, val []byte, flags uint) error {
	if err := c.usable("mdb_cursor_put"); err != nil {
		return err
	}
	if len(val) > maxValueLen {
		return &OpError{Op: "mdb_cursor_put", Errno: BadValSize}
	}
	rc := C.udb_cursor_put(c.txn.env.note.counter, c.cur, cbytes(key), C.size_t(len(key)),
		cbytes(val), C.size_t(len(val)), C.uint(flags))
	return operrno("mdb_cursor_put", rc)
}

// Del deletes the pair that the cursor is on.
func (c *Cursor) Del(flags uint) error {
	if err := c.usable("mdb_cursor_del"); err != nil {
		return err
	}
	return operrno("mdb_cursor_del", C.udb_cursor_del(c.txn.env.note.counter, c.cur, C.uint(flags)))
}
