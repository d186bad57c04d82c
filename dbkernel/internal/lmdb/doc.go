// Package lmdb is a thin binding of LMDB's C library. For what it covers it has
// the names and signatures of lmdb-go's lmdb package, so that either can stand
// in for the other; what it adds is in files named ext_*.go and says so.
//
// It is built with cgo only. The crash note (SetCrashNote, ReadCrashNote) and
// CheckFile are plain Go and always there.
//
// LMDB trusts its file and its caller: a damaged page, a handle used after its
// end, or a second environment on the same directory can kill the process or
// corrupt the file, and no recover helps. This package refuses what it can see:
// an environment that is open already, closing or resizing under a transaction,
// handles that have ended, a write transaction that ends on another thread.
// What it can't see (one transaction or cursor used by two goroutines at once) is
// the caller's to prevent; package btree does.
package lmdb
