//go:build cgo

package lmdb

/*
#cgo linux LDFLAGS: -l:liblmdb.a -lpthread
#cgo darwin CFLAGS: -I/opt/homebrew/include -I/usr/local/include
#cgo darwin LDFLAGS: -L/opt/homebrew/lib -L/usr/local/lib -llmdb
#include "wrap.h"
*/
import "C"

// Flags of Env.Open. NoTLS is always set, whether given or not: goroutines move
// between threads.
const (
	NoSubdir    = C.MDB_NOSUBDIR
	Readonly    = C.MDB_RDONLY
	NoTLS       = C.MDB_NOTLS
	NoReadahead = C.MDB_NORDAHEAD
	NoMemInit   = C.MDB_NOMEMINIT
	// NoLock leaves the lock file alone: the caller keeps writers away.
	NoLock = C.MDB_NOLOCK
	// NoSync and NoMetaSync give up durability, NoSync the file's integrity at a
	// power cut as well. They are here for measurements.
	NoSync     = C.MDB_NOSYNC
	NoMetaSync = C.MDB_NOMETASYNC
)

// CopyCompact is a flag of Env.CopyFlag and Env.CopyFDFlag: leave free pages out.
const CopyCompact = C.MDB_CP_COMPACT

// Create is a flag of Txn.OpenDBI: make the database if it isn't there.
const Create = C.MDB_CREATE

// Flags of Txn.Put and Cursor.Put.
const (
	Current     = C.MDB_CURRENT
	NoOverwrite = C.MDB_NOOVERWRITE
	Append      = C.MDB_APPEND
)

// Operations of Cursor.Get.
const (
	First      = C.MDB_FIRST
	GetCurrent = C.MDB_GET_CURRENT
	Last       = C.MDB_LAST
	Next       = C.MDB_NEXT
	Prev       = C.MDB_PREV
	Set        = C.MDB_SET
	SetKey     = C.MDB_SET_KEY
	SetRange   = C.MDB_SET_RANGE
)

// Version reports the version of the LMDB library that is linked in.
func Version() (major, minor, patch int, s string) {
	var a, b, c C.int
	s = C.GoString(C.mdb_version(&a, &b, &c))
	return int(a), int(b), int(c), s
}
