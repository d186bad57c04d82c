//go:build cgo

package lmdb

/*
#include <stdlib.h>
#include "wrap.h"

#cgo noescape udb_txn_begin
#cgo nocallback udb_txn_begin
#cgo nocallback udb_txn_commit
#cgo nocallback udb_txn_abort
#cgo nocallback udb_txn_reset
#cgo nocallback udb_txn_renew
#cgo nocallback udb_thread
#cgo noescape udb_stat
#cgo nocallback udb_stat
#cgo noescape udb_get
#cgo nocallback udb_get
#cgo noescape udb_put
#cgo nocallback udb_put
#cgo noescape udb_reserve
#cgo nocallback udb_reserve
#cgo noescape udb_del
#cgo nocallback udb_del
*/
import "C"

import (
	"bytes"
	"math"
	"syscall"
	"unsafe"
)

// DBI is a database handle.
type DBI C.MDB_dbi

// TxnOp is what RunTxn, View and Update run.
type TxnOp func(txn *Txn) error

// Txn is a transaction. It is for one goroutine at a time; a write transaction
// for one OS thread, which its goroutine must be locked to from BeginTxn to the
// end. Methods on one that has ended return BadTxn.
type Txn struct {
	// RawRead makes Get and cursors return slices of the map instead of copies:
	// valid until the transaction ends, or writes.
	RawRead bool

	env      *Env
	txn      *C.MDB_txn // nil once ended
	readonly bool
	reset    bool
	gen      uint64      // raised by Renew: cursors from before point to pages that may be gone
	thread   C.uintptr_t // of a write transaction
	// cursors of a write transaction: LMDB frees them when it ends, so that they
	// must end here, too.
	cursors []*Cursor
}

// BeginTxn begins a transaction; flags may be Readonly. Nested transactions are
// not covered: parent must be nil. A write transaction waits for the one before;
// the calling goroutine must have called runtime.LockOSThread, because a write
// transaction that ends on another thread leaves LMDB's writer lock held for
// good.
func (env *Env) BeginTxn(parent *Txn, flags uint) (*Txn, error) {
	if parent != nil {
		return nil, &OpError{Op: "mdb_txn_begin", Errno: syscall.ENOTSUP}
	}
	if err := env.use("mdb_txn_begin"); err != nil {
		return nil, err
	}
	txn := &Txn{env: env, readonly: flags&Readonly != 0}
	rc := C.udb_txn_begin(env.note.counter, env.env, C.uint(flags), &txn.txn)
	if err := operrno("mdb_txn_begin", rc); err != nil {
		env.done()
		return nil, err
	}
	if !txn.readonly {
		txn.thread = C.udb_thread()
	}
	return txn, nil
}

// usable refuses a transaction that has ended or is reset.
func (txn *Txn) usable(op string) error {
	if txn.txn == nil || txn.reset {
		return &OpError{Op: op, Errno: BadTxn}
	}
	return nil
}

// end forgets the handle before LMDB frees it.
func (txn *Txn) end() *C.MDB_txn {
	if !txn.readonly && C.udb_thread() != txn.thread {
		panic("lmdb: a write transaction ends on another thread than it began on: call runtime.LockOSThread before BeginTxn")
	}
	for _, c := range txn.cursors {
		c.cur = nil
	}
	txn.cursors = nil
	t := txn.txn
	txn.txn = nil
	return t
}

func (txn *Txn) ended() {
	if !txn.reset {
		txn.env.active.Add(-1)
	}
	txn.env.live.Add(-1)
}

// Commit ends the transaction and makes its changes durable. After an error
// nothing of it is in the database.
func (txn *Txn) Commit() error {
	if err := txn.usable("mdb_txn_commit"); err != nil {
		return err
	}
	rc := C.udb_txn_commit(txn.env.note.counter, txn.end())
	txn.ended()
	return operrno("mdb_txn_commit", rc)
}

// Abort ends the transaction and drops its changes. On one that has ended it
// does nothing.
func (txn *Txn) Abort() {
	if txn.txn == nil {
		return
	}
	C.udb_txn_abort(txn.env.note.counter, txn.end())
	txn.ended()
}

// Reset ends a read-only transaction but keeps its handle and reader slot for
// Renew.
func (txn *Txn) Reset() {
	if txn.txn == nil || !txn.readonly || txn.reset {
		return
	}
	C.udb_txn_reset(txn.txn)
	txn.reset = true
	txn.env.active.Add(-1)
}

// Renew begins a transaction again on a handle that was Reset.
func (txn *Txn) Renew() error {
	if txn.txn == nil || !txn.reset {
		return &OpError{Op: "mdb_txn_renew", Errno: syscall.EINVAL}
	}
	env := txn.env
	env.mu.RLock()
	env.active.Add(1)
	env.mu.RUnlock()
	if err := operrno("mdb_txn_renew", C.udb_txn_renew(env.note.counter, txn.txn)); err != nil {
		env.active.Add(-1)
		return err
	}
	txn.reset = false
	txn.gen++
	return nil
}

// ID returns the transaction's number: of a read-only one, that of the last
// commit that it sees. 0 once it has ended.
func (txn *Txn) ID() uintptr {
	if txn.txn == nil {
		return 0
	}
	return uintptr(C.mdb_txn_id(txn.txn))
}

// OpenRoot opens the root database.
func (txn *Txn) OpenRoot(flags uint) (DBI, error) { return txn.openDBI(nil, flags) }

// OpenDBI opens a named database. Env.SetMaxDBs must have allowed for it.
func (txn *Txn) OpenDBI(name string, flags uint) (DBI, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	return txn.openDBI(cname, flags)
}

func (txn *Txn) openDBI(name *C.char, flags uint) (DBI, error) {
	if err := txn.usable("mdb_dbi_open"); err != nil {
		return 0, err
	}
	var dbi C.MDB_dbi
	rc := C.udb_dbi_open(txn.env.note.counter, txn.txn, name, C.uint(flags), &dbi)
	return DBI(dbi), operrno("mdb_dbi_open", rc)
}

// Stat describes a database as the transaction sees it.
func (txn *Txn) Stat(dbi DBI) (*Stat, error) {
	if err := txn.usable("mdb_stat"); err != nil {
		return nil, err
	}
	var st C.MDB_stat
	rc := C.udb_stat(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), &st)
	if err := operrno("mdb_stat", rc); err != nil {
		return nil, err
	}
	return newStat(&st), nil
}

// Drop empties a database, and with del deletes it.
func (txn *Txn) Drop(dbi DBI, del bool) error {
	if err := txn.usable("mdb_drop"); err != nil {
		return err
	}
	d := C.int(0)
	if del {
		d = 1
	}
	return operrno("mdb_drop", C.udb_drop(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), d))
}

// Get returns the value of key: a copy, or with RawRead a slice of the map. An
// absent key is NotFound.
func (txn *Txn) Get(dbi DBI, key []byte) ([]byte, error) {
	if !txn.RawRead {
		return txn.getCopy(dbi, key)
	}
	if err := txn.usable("mdb_get"); err != nil {
		return nil, err
	}
	var res C.udb_res
	rc := C.udb_get(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), cbytes(key), C.size_t(len(key)), &res)
	if rc == C.MDB_NOTFOUND {
		return nil, errGetNotFound
	}
	if err := operrno("mdb_get", rc); err != nil {
		return nil, err
	}
	return mapped(res.val, res.vlen), nil
}

// Put stores a value. flags may be NoOverwrite or Append.
func (txn *Txn) Put(dbi DBI, key, val []byte, flags uint) error {
	if err := txn.usable("mdb_put"); err != nil {
		return err
	}
	if len(val) > maxValueLen {
		return &OpError{Op: "mdb_put", Errno: BadValSize}
	}
	rc := C.udb_put(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), cbytes(key), C.size_t(len(key)),
		cbytes(val), C.size_t(len(val)), C.uint(flags))
	return operrno("mdb_put", rc)
}

// PutReserve stores a value of n bytes that the caller writes into the slice
// returned, all of it, before the transaction's next change or end.
func (txn *Txn) PutReserve(dbi DBI, key []byte, n int, flags uint) ([]byte, error) {
	if err := txn.usable("mdb_put"); err != nil {
		return nil, err
	}
	if n < 0 || n > maxValueLen {
		return nil, &OpError{Op: "mdb_put", Errno: BadValSize}
	}
	var res C.udb_res
	rc := C.udb_reserve(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), cbytes(key), C.size_t(len(key)),
		C.size_t(n), C.uint(flags), &res)
	if err := operrno("mdb_put", rc); err != nil {
		return nil, err
	}
	return mapped(res.val, res.vlen), nil
}

// Del deletes a key; an absent one is NotFound. val is for databases with
// duplicates, which are not covered, and must be nil.
func (txn *Txn) Del(dbi DBI, key, val []byte) error {
	if val != nil {
		return &OpError{Op: "mdb_del", Errno: syscall.ENOTSUP}
	}
	if err := txn.usable("mdb_del"); err != nil {
		return err
	}
	rc := C.udb_del(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), cbytes(key), C.size_t(len(key)))
	return operrno("mdb_del", rc)
}

// maxValueLen is the longest value that this binding stores. LMDB's own limit is
// 4 GiB - 1.
const maxValueLen = math.MaxInt32

// cbytes passes Go memory to a call, for the length of that call.
func cbytes(b []byte) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(b)))
}

// mapped makes a slice of memory in LMDB's map, never nil.
func mapped(addr C.uintptr_t, n C.size_t) []byte {
	if n == 0 {
		return []byte{}
	}
	// The address isn't of Go memory; read as a pointer rather than converted,
	// since vet can't know that.
	p := *(*unsafe.Pointer)(unsafe.Pointer(&addr))
	return unsafe.Slice((*byte)(p), int(n))
}

// found returns what LMDB pointed out in the map, or a copy.
func (txn *Txn) found(addr C.uintptr_t, n C.size_t) []byte {
	b := mapped(addr, n)
	if txn.RawRead {
		return b
	}
	if len(b) == 0 {
		return b
	}
	return bytes.Clone(b)
}
