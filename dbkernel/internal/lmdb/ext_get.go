//go:build cgo

package lmdb

/*
#include "wrap.h"

#cgo noescape udb_get_copy
#cgo nocallback udb_get_copy
#cgo noescape udb_get_head
#cgo nocallback udb_get_head
*/
import "C"

// GetTo copies the value of key into buf if it fits there, and returns the
// value's length. When that is beyond len(buf), nothing was copied. One call
// across cgo; the copy is made inside, where a page that can't be read is
// charged to the crash note. (Not in lmdb-go.)
func (txn *Txn) GetTo(dbi DBI, key, buf []byte) (int, error) {
	if txn.txn == nil || txn.reset {
		return 0, &OpError{Op: "mdb_get", Errno: BadTxn}
	}
	var n C.size_t
	rc := C.udb_get_copy(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), cbytes(key), C.size_t(len(key)),
		cbytes(buf), C.size_t(len(buf)), C.size_t(txn.env.mapSize.Load()), &n)
	if rc == C.MDB_SUCCESS {
		return int(n), nil
	}
	if rc == C.MDB_NOTFOUND {
		return 0, errGetNotFound
	}
	return 0, operrno("mdb_get", rc)
}

// GetHead copies the beginning of the value of key into buf, which isn't empty,
// and returns the value's length. (Not in lmdb-go.)
func (txn *Txn) GetHead(dbi DBI, key, buf []byte) (int, error) {
	if txn.txn == nil || txn.reset {
		return 0, &OpError{Op: "mdb_get", Errno: BadTxn}
	}
	var n C.size_t
	rc := C.udb_get_head(txn.env.note.counter, txn.txn, C.MDB_dbi(dbi), cbytes(key), C.size_t(len(key)),
		cbytes(buf), C.size_t(len(buf)), C.size_t(txn.env.mapSize.Load()), &n)
	if rc == C.MDB_SUCCESS {
		return int(n), nil
	}
	if rc == C.MDB_NOTFOUND {
		return 0, errGetNotFound
	}
	return 0, operrno("mdb_get", rc)
}

func (txn *Txn) getCopy(dbi DBI, key []byte) ([]byte, error) {
	var small [128]byte
	n, err := txn.GetTo(dbi, key, small[:])
	if err != nil {
		return nil, err
	}
	val := make([]byte, n)
	if n <= len(small) {
		copy(val, small[:n])
		return val, nil
	}
	_, err = txn.GetTo(dbi, key, val)
	return val, err
}
