//go:build cgo

package lmdb

/*
#include "wrap.h"
*/
import "C"

import (
	"errors"
	"syscall"
)

// Errno is an error code of LMDB's own. Codes of the operating system come as
// syscall.Errno.
type Errno C.int

// LMDB's error codes.
const (
	KeyExist        = Errno(C.MDB_KEYEXIST)
	NotFound        = Errno(C.MDB_NOTFOUND)
	PageNotFound    = Errno(C.MDB_PAGE_NOTFOUND)
	Corrupted       = Errno(C.MDB_CORRUPTED)
	Panic           = Errno(C.MDB_PANIC)
	VersionMismatch = Errno(C.MDB_VERSION_MISMATCH)
	Invalid         = Errno(C.MDB_INVALID)
	MapFull         = Errno(C.MDB_MAP_FULL)
	DBsFull         = Errno(C.MDB_DBS_FULL)
	ReadersFull     = Errno(C.MDB_READERS_FULL)
	TxnFull         = Errno(C.MDB_TXN_FULL)
	CursorFull      = Errno(C.MDB_CURSOR_FULL)
	PageFull        = Errno(C.MDB_PAGE_FULL)
	MapResized      = Errno(C.MDB_MAP_RESIZED)
	Incompatible    = Errno(C.MDB_INCOMPATIBLE)
	BadRSlot        = Errno(C.MDB_BAD_RSLOT)
	BadTxn          = Errno(C.MDB_BAD_TXN)
	BadValSize      = Errno(C.MDB_BAD_VALSIZE)
	BadDBI          = Errno(C.MDB_BAD_DBI)
)

func (e Errno) Error() string { return C.GoString(C.mdb_strerror(C.int(e))) }

// OpError is the failure of a call into LMDB.
type OpError struct {
	Op    string
	Errno error // an Errno or a syscall.Errno
}

func (err *OpError) Error() string { return err.Op + ": " + err.Errno.Error() }

// Unwrap returns the code, for errors.Is and errors.As.
func (err *OpError) Unwrap() error { return err.Errno }

// Errors that are met so often, and by callers who expect them, that one value
// serves all.
var (
	errGetNotFound    error = &OpError{Op: "mdb_get", Errno: NotFound}
	errCursorNotFound error = &OpError{Op: "mdb_cursor_get", Errno: NotFound}
)

// operrno turns a return code into an error.
func operrno(op string, rc C.int) error {
	switch {
	case rc == C.MDB_SUCCESS:
		return nil
	case rc < 0:
		return &OpError{Op: op, Errno: Errno(rc)}
	default:
		return &OpError{Op: op, Errno: syscall.Errno(rc)}
	}
}

// IsErrno reports whether err is the failure of a call with the code errno.
func IsErrno(err error, errno Errno) bool { return errors.Is(err, errno) }

// IsErrnoSys reports whether err is the failure of a call with a code of the
// operating system.
func IsErrnoSys(err error, errno syscall.Errno) bool {
	var op *OpError
	return errors.As(err, &op) && errors.Is(op.Errno, errno)
}

// IsNotFound reports whether err says that a key is absent or a cursor at its end.
func IsNotFound(err error) bool { return IsErrno(err, NotFound) }

// IsMapFull reports whether err says that the map must grow.
func IsMapFull(err error) bool { return IsErrno(err, MapFull) }

// IsMapResized reports whether another process made the map larger.
func IsMapResized(err error) bool { return IsErrno(err, MapResized) }

// IsNotExist reports whether a file or directory is missing.
func IsNotExist(err error) bool { return IsErrnoSys(err, syscall.ENOENT) }
