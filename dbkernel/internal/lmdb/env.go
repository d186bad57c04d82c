//go:build cgo

package lmdb

/*
#include <stdlib.h>
#include "wrap.h"

#cgo noescape udb_env_stat
#cgo nocallback udb_env_stat
#cgo noescape udb_env_info
#cgo nocallback udb_env_info
#cgo nocallback udb_env_open
#cgo nocallback udb_env_close
#cgo nocallback udb_env_copyfd
#cgo nocallback udb_env_set_mapsize
#cgo nocallback udb_env_sync
*/
import "C"

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Env is an environment: one file and its map. Its methods may be called
// concurrently.
type Env struct {
	name string // in the crash note

	// mu is held shared for the moment in which a transaction begins, and
	// exclusively to close and to resize, which LMDB allows only without
	// transactions. It is never held while a call waits for LMDB's writer lock.
	mu     sync.RWMutex
	env    *C.MDB_env // nil once closed
	opened bool
	key    envKey
	note   note

	live    atomic.Int64 // handles that the environment must outlive
	active  atomic.Int64 // of these, the ones that look at the map
	mapSize atomic.Int64 // bytes; no value can be longer
}

// Stat describes a database.
type Stat struct {
	PSize         uint   // size of a page
	Depth         uint   // height of the tree
	BranchPages   uint64 // number of inner pages
	LeafPages     uint64 // number of leaf pages
	OverflowPages uint64 // number of overflow pages
	Entries       uint64 // number of keys
}

// EnvInfo describes an environment.
type EnvInfo struct {
	MapSize    int64 // size of the map
	LastPNO    int64 // number of the last used page
	LastTxnID  int64 // id of the last committed transaction
	MaxReaders uint  // number of reader slots
	NumReaders uint  // number of reader slots in use or used once
}

var mallocSetup = sync.OnceFunc(func() { C.udb_malloc_setup() })

// NewEnv allocates an environment handle. Close releases it.
func NewEnv() (*Env, error) {
	mallocSetup()
	env := &Env{}
	if err := operrno("mdb_env_create", C.mdb_env_create(&env.env)); err != nil {
		return nil, err
	}
	return env, nil
}

// SetName says under which name the crash note knows the environment; without a
// name it is not in there. It must be called before Open. (Not in lmdb-go.)
func (env *Env) SetName(name string) { env.name = name }

// Open opens the environment in the directory path, which must exist. A
// directory that is open in this process already is refused with EBUSY.
func (env *Env) Open(path string, flags uint, mode os.FileMode) error {
	env.mu.Lock()
	defer env.mu.Unlock()
	if env.env == nil || env.opened {
		return &OpError{Op: "mdb_env_open", Errno: syscall.EINVAL}
	}
	key, err := register(path, flags)
	if err != nil {
		return err
	}
	n, err := newNote(env.name)
	if err != nil {
		unregister(key)
		return err
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	rc := C.udb_env_open(n.counter, env.env, cpath, C.uint(flags|NoTLS), C.uint(mode.Perm()))
	if err := operrno("mdb_env_open", rc); err != nil {
		// LMDB requires the close after a failed open; the handle is then gone.
		C.udb_env_close(n.counter, env.env)
		env.env = nil
		n.free()
		unregister(key)
		return err
	}
	env.opened, env.key, env.note = true, key, n
	info, err := env.info()
	if err != nil {
		return err
	}
	env.mapSize.Store(info.MapSize)
	return nil
}

// Close closes the environment. While a transaction or copy is under way it is
// refused with EBUSY: closing under one would kill the process.
func (env *Env) Close() error {
	env.mu.Lock()
	defer env.mu.Unlock()
	if env.env == nil {
		return &OpError{Op: "mdb_env_close", Errno: syscall.EINVAL}
	}
	if env.live.Load() != 0 {
		return &OpError{Op: "mdb_env_close", Errno: syscall.EBUSY}
	}
	if !env.opened {
		C.mdb_env_close(env.env)
		env.env = nil
		return nil
	}
	C.udb_env_close(env.note.counter, env.env)
	env.env = nil
	env.note.free()
	unregister(env.key)
	return nil
}

// use keeps the environment open and its map in place until done.
func (env *Env) use(op string) error {
	env.mu.RLock()
	defer env.mu.RUnlock()
	if env.env == nil || !env.opened {
		return &OpError{Op: op, Errno: syscall.EINVAL}
	}
	env.live.Add(1)
	env.active.Add(1)
	return nil
}

func (env *Env) done() {
	env.active.Add(-1)
	env.live.Add(-1)
}

// FD returns the file's descriptor. It belongs to the environment.
func (env *Env) FD() (uintptr, error) {
	if err := env.use("mdb_env_get_fd"); err != nil {
		return 0, err
	}
	defer env.done()
	var fd C.mdb_filehandle_t
	if err := operrno("mdb_env_get_fd", C.mdb_env_get_fd(env.env, &fd)); err != nil {
		return 0, err
	}
	return uintptr(fd), nil
}

// Path returns the path given to Open.
func (env *Env) Path() (string, error) {
	if err := env.use("mdb_env_get_path"); err != nil {
		return "", err
	}
	defer env.done()
	var path *C.char
	if err := operrno("mdb_env_get_path", C.mdb_env_get_path(env.env, &path)); err != nil {
		return "", err
	}
	return C.GoString(path), nil
}

// ReaderCheck clears the reader slots of processes that have died and returns
// how many there were.
func (env *Env) ReaderCheck() (int, error) {
	if err := env.use("mdb_reader_check"); err != nil {
		return 0, err
	}
	defer env.done()
	var dead C.int
	err := operrno("mdb_reader_check", C.mdb_reader_check(env.env, &dead))
	return int(dead), err
}

// Copy is CopyFlag without flags.
func (env *Env) Copy(path string) error { return env.CopyFlag(path, 0) }

// CopyFlag writes a consistent copy to data.mdb in the directory path, which
// must exist and be empty, while reads and writes go on.
func (env *Env) CopyFlag(path string, flags uint) error {
	if err := env.use("mdb_env_copy2"); err != nil {
		return err
	}
	defer env.done()
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	return operrno("mdb_env_copy2", C.mdb_env_copy2(env.env, cpath, C.uint(flags)))
}

// CopyFD is CopyFDFlag without flags.
func (env *Env) CopyFD(fd uintptr) error { return env.CopyFDFlag(fd, 0) }

// CopyFDFlag writes a consistent copy to a file descriptor. The reader of a pipe
// must read to the end: LMDB's threads don't expect it to be closed.
func (env *Env) CopyFDFlag(fd uintptr, flags uint) error {
	if err := env.use("mdb_env_copyfd2"); err != nil {
		return err
	}
	defer env.done()
	return operrno("mdb_env_copyfd2", C.udb_env_copyfd(env.note.counter, env.env, C.int(fd), C.uint(flags)))
}

// Stat describes the root database as of the last commit.
func (env *Env) Stat() (*Stat, error) {
	if err := env.use("mdb_env_stat"); err != nil {
		return nil, err
	}
	defer env.done()
	var st C.MDB_stat
	if err := operrno("mdb_env_stat", C.udb_env_stat(env.note.counter, env.env, &st)); err != nil {
		return nil, err
	}
	return newStat(&st), nil
}

func newStat(st *C.MDB_stat) *Stat {
	return &Stat{
		PSize: uint(st.ms_psize), Depth: uint(st.ms_depth),
		BranchPages: uint64(st.ms_branch_pages), LeafPages: uint64(st.ms_leaf_pages),
		OverflowPages: uint64(st.ms_overflow_pages), Entries: uint64(st.ms_entries),
	}
}

// Info describes the environment.
func (env *Env) Info() (*EnvInfo, error) {
	if err := env.use("mdb_env_info"); err != nil {
		return nil, err
	}
	defer env.done()
	return env.info()
}

func (env *Env) info() (*EnvInfo, error) {
	var mapsize, last, txnid C.size_t
	var maxr, numr C.uint
	rc := C.udb_env_info(env.note.counter, env.env, &mapsize, &last, &txnid, &maxr, &numr)
	if err := operrno("mdb_env_info", rc); err != nil {
		return nil, err
	}
	return &EnvInfo{
		MapSize: int64(mapsize), LastPNO: int64(last), LastTxnID: int64(txnid),
		MaxReaders: uint(maxr), NumReaders: uint(numr),
	}, nil
}

// Sync flushes the file; commits of an environment without NoSync already do.
func (env *Env) Sync(force bool) error {
	if err := env.use("mdb_env_sync"); err != nil {
		return err
	}
	defer env.done()
	f := C.int(0)
	if force {
		f = 1
	}
	return operrno("mdb_env_sync", C.udb_env_sync(env.note.counter, env.env, f))
}

// SetMapSize sets the size of the map in bytes, before Open or later. On an open
// environment it is refused with EBUSY while a transaction is active.
func (env *Env) SetMapSize(size int64) error {
	env.mu.Lock()
	defer env.mu.Unlock()
	if env.env == nil || size < 0 {
		return &OpError{Op: "mdb_env_set_mapsize", Errno: syscall.EINVAL}
	}
	if !env.opened {
		return operrno("mdb_env_set_mapsize", C.mdb_env_set_mapsize(env.env, C.size_t(size)))
	}
	if env.active.Load() != 0 {
		return &OpError{Op: "mdb_env_set_mapsize", Errno: syscall.EBUSY}
	}
	rc := C.udb_env_set_mapsize(env.note.counter, env.env, C.size_t(size))
	if err := operrno("mdb_env_set_mapsize", rc); err != nil {
		return err
	}
	info, err := env.info()
	if err != nil {
		return err
	}
	env.mapSize.Store(info.MapSize)
	return nil
}

// SetMaxReaders sets the number of reader slots, before Open.
func (env *Env) SetMaxReaders(size int) error {
	return env.beforeOpen("mdb_env_set_maxreaders", size, func() C.int {
		return C.mdb_env_set_maxreaders(env.env, C.uint(size))
	})
}

// SetMaxDBs sets the number of named databases, before Open.
func (env *Env) SetMaxDBs(size int) error {
	return env.beforeOpen("mdb_env_set_maxdbs", size, func() C.int {
		return C.mdb_env_set_maxdbs(env.env, C.MDB_dbi(size))
	})
}

func (env *Env) beforeOpen(op string, size int, set func() C.int) error {
	env.mu.Lock()
	defer env.mu.Unlock()
	if env.env == nil || env.opened || size < 0 {
		return &OpError{Op: op, Errno: syscall.EINVAL}
	}
	return operrno(op, set())
}

// MaxReaders returns the number of reader slots.
func (env *Env) MaxReaders() (int, error) {
	if err := env.use("mdb_env_get_maxreaders"); err != nil {
		return 0, err
	}
	defer env.done()
	var n C.uint
	err := operrno("mdb_env_get_maxreaders", C.mdb_env_get_maxreaders(env.env, &n))
	return int(n), err
}

// MaxKeySize returns how long a key may be, in bytes; 0 on a closed environment.
func (env *Env) MaxKeySize() int {
	if env.use("mdb_env_get_maxkeysize") != nil {
		return 0
	}
	defer env.done()
	return int(C.mdb_env_get_maxkeysize(env.env))
}

// View runs fn in a read-only transaction.
func (env *Env) View(fn TxnOp) error { return env.RunTxn(Readonly, fn) }

// Update runs fn in a write transaction, on a locked OS thread, and commits it
// if fn returns nil.
func (env *Env) Update(fn TxnOp) error { return env.RunTxn(0, fn) }

// RunTxn runs fn in a transaction: committed if fn returns nil, else aborted. fn
// must not end it.
func (env *Env) RunTxn(flags uint, fn TxnOp) error {
	if flags&Readonly == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	txn, err := env.BeginTxn(nil, flags)
	if err != nil {
		return err
	}
	defer txn.Abort()
	if err := fn(txn); err != nil {
		return err
	}
	return txn.Commit()
}
