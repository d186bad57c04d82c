package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// ErrCrashed is what every operation answers after a simulated crash.
var ErrCrashed = errors.New("crashed")

// OpKind names a method of FS or File.
type OpKind uint8

// The kinds of operations.
const (
	OpCreate OpKind = iota + 1
	OpOpen
	OpOpenRead
	OpRename
	OpRemove
	OpRemoveAll
	OpMkdirAll
	OpList
	OpStat
	OpSyncDir
	OpLock
	OpRead
	OpWrite
	OpSync
	OpSyncData
	OpAllocate
	OpTruncate
	OpSize
	OpClose
	numOps
)

var opNames = [numOps]string{
	OpCreate: "create", OpOpen: "open", OpOpenRead: "open read", OpRename: "rename", OpRemove: "remove",
	OpRemoveAll: "remove all", OpMkdirAll: "mkdir", OpList: "list", OpStat: "stat", OpSyncDir: "sync dir",
	OpLock: "lock", OpRead: "read", OpWrite: "write", OpSync: "sync", OpSyncData: "sync data",
	OpAllocate: "allocate", OpTruncate: "truncate", OpSize: "size", OpClose: "close",
}

func (k OpKind) String() string {
	if k < numOps {
		return opNames[k]
	}
	return fmt.Sprintf("operation %d", uint8(k))
}

// Writes reports whether such an operation may change what is on the disk, syncs included.
func (k OpKind) Writes() bool {
	switch k {
	case OpCreate, OpRename, OpRemove, OpRemoveAll, OpMkdirAll, OpSyncDir, OpLock,
		OpWrite, OpSync, OpSyncData, OpAllocate, OpTruncate:
		return true
	}
	return false
}

// IsSync reports whether such an operation makes something durable.
func (k OpKind) IsSync() bool { return k == OpSync || k == OpSyncData || k == OpSyncDir }

// Op is one operation on a file system.
type Op struct {
	Kind OpKind
	Path string // of a rename the old name
	To   string // of a rename the new name
	N    int    // the n-th operation of all, from 1
	Nth  int    // the n-th of its kind
	Off  int64  // of a read, write or allocation
	Len  int64  // likewise; the length of a truncation
}

func (o Op) String() string {
	if o.To != "" {
		return fmt.Sprintf("#%d %s %s to %s", o.N, o.Kind, o.Path, o.To)
	}
	return fmt.Sprintf("#%d %s %s [%d+%d]", o.N, o.Kind, o.Path, o.Off, o.Len)
}

// Fault makes an operation fail.
type Fault struct {
	Err error
	// Applied carries the operation out first; the error comes all the same.
	Applied bool
	// Written is how many bytes of a write reach the file before the error.
	Written int
}

// Hooks watch and disturb a file system. They are called without any lock, on
// the goroutine that does the operation, and may be called concurrently.
type Hooks struct {
	// Before is asked before each operation; nil lets it through.
	Before func(Op) *Fault
	// After is told of each operation that was carried out, with its error.
	After func(Op, error)
}

// FailNth fails the n-th operation (from 1) of a kind with err.
func FailNth(kind OpKind, n int, err error) Hooks {
	return Hooks{Before: func(o Op) *Fault {
		if o.Kind == kind && o.Nth == n {
			return &Fault{Err: err}
		}
		return nil
	}}
}

// CrashAfter lets k operations that change something through. Everything from
// then on fails with ErrCrashed; the caller then takes a Crash of the Mem.
func CrashAfter(k int) Hooks {
	var mu sync.Mutex
	return Hooks{Before: func(o Op) *Fault {
		mu.Lock()
		defer mu.Unlock()
		if k <= 0 && o.Kind != OpClose {
			return &Fault{Err: ErrCrashed}
		}
		if o.Kind.Writes() {
			k--
		}
		return nil
	}}
}

// WithFaults is fs with hooks around every operation. A sync that a hook fails
// on a Mem loses what it should have written, as on Linux.
func WithFaults(fs FS, h Hooks) FS { return &faultFS{fs: fs, hooks: h} }

type faultFS struct {
	fs    FS
	hooks Hooks

	mu    sync.Mutex
	n     int
	kinds [numOps]int
}

// run counts an operation, asks and tells the hooks, and carries it out.
func (f *faultFS) run(op Op, do func() error) error {
	f.mu.Lock()
	f.n++
	f.kinds[op.Kind]++
	op.N, op.Nth = f.n, f.kinds[op.Kind]
	f.mu.Unlock()
	if f.hooks.Before != nil {
		if fault := f.hooks.Before(op); fault != nil {
			if fault.Applied {
				if err := do(); err != nil {
					return err
				}
			}
			return &fs.PathError{Op: op.Kind.String(), Path: op.Path, Err: &injected{fault}}
		}
	}
	err := do()
	if f.hooks.After != nil {
		f.hooks.After(op, err)
	}
	return err
}

// injected carries a fault to the method that has to act on it.
type injected struct{ *Fault }

func (i *injected) Error() string { return i.Err.Error() + " (injected)" }
func (i *injected) Unwrap() error { return i.Err }

func (f *faultFS) file(op Op, open func() (File, error)) (File, error) {
	var file File
	err := f.run(op, func() (err error) {
		file, err = open()
		return err
	})
	if err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, err
	}
	return &faultFile{File: file, fs: f, name: op.Path}, nil
}

func (f *faultFS) Create(name string) (File, error) {
	return f.file(Op{Kind: OpCreate, Path: name}, func() (File, error) { return f.fs.Create(name) })
}

func (f *faultFS) Open(name string) (File, error) {
	return f.file(Op{Kind: OpOpen, Path: name}, func() (File, error) { return f.fs.Open(name) })
}

func (f *faultFS) OpenRead(name string) (File, error) {
	return f.file(Op{Kind: OpOpenRead, Path: name}, func() (File, error) { return f.fs.OpenRead(name) })
}

func (f *faultFS) Rename(oldName, newName string) error {
	return f.run(Op{Kind: OpRename, Path: oldName, To: newName}, func() error { return f.fs.Rename(oldName, newName) })
}

func (f *faultFS) Remove(name string) error {
	return f.run(Op{Kind: OpRemove, Path: name}, func() error { return f.fs.Remove(name) })
}

func (f *faultFS) RemoveAll(name string) error {
	return f.run(Op{Kind: OpRemoveAll, Path: name}, func() error { return f.fs.RemoveAll(name) })
}

func (f *faultFS) MkdirAll(dir string) error {
	return f.run(Op{Kind: OpMkdirAll, Path: dir}, func() error { return f.fs.MkdirAll(dir) })
}

func (f *faultFS) List(dir string) (names []string, err error) {
	err = f.run(Op{Kind: OpList, Path: dir}, func() (err error) {
		names, err = f.fs.List(dir)
		return err
	})
	return names, err
}

func (f *faultFS) Stat(name string) (info fs.FileInfo, err error) {
	err = f.run(Op{Kind: OpStat, Path: name}, func() (err error) {
		info, err = f.fs.Stat(name)
		return err
	})
	return info, err
}

func (f *faultFS) SyncDir(dir string) error {
	err := f.run(Op{Kind: OpSyncDir, Path: dir}, func() error { return f.fs.SyncDir(dir) })
	if m, ok := f.fs.(*Mem); ok && lost(err) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if d, ferr := m.findDir("fsync", dir); ferr == nil {
			m.loseDir(d)
		}
	}
	return err
}

func (f *faultFS) Lock(name string) (c io.Closer, err error) {
	err = f.run(Op{Kind: OpLock, Path: name}, func() (err error) {
		c, err = f.fs.Lock(name)
		return err
	})
	if err != nil && c != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, err
}

// lost reports whether err is an injected failure of a sync that did nothing.
// After a simulated crash the sync wasn't even tried.
func lost(err error) bool {
	var i *injected
	return errors.As(err, &i) && !i.Applied && !errors.Is(err, ErrCrashed)
}

type faultFile struct {
	File
	fs   *faultFS
	name string
}

func (f *faultFile) op(kind OpKind, off, n int64) Op {
	return Op{Kind: kind, Path: f.name, Off: off, Len: n}
}

func (f *faultFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.fs.run(f.op(OpRead, off, int64(len(p))), func() (err error) {
		n, err = f.File.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *faultFile) WritevAt(bufs [][]byte, off int64) (n int, err error) {
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	err = f.fs.run(f.op(OpWrite, off, int64(size)), func() (err error) {
		n, err = f.File.WritevAt(bufs, off)
		return err
	})
	var i *injected
	if errors.As(err, &i) && !i.Applied && i.Written > 0 {
		n, werr := f.File.WritevAt(first(bufs, i.Written), off)
		return n, errors.Join(err, werr)
	}
	return n, err
}

// first is the first n bytes of bufs.
func first(bufs [][]byte, n int) (head [][]byte) {
	for _, b := range bufs {
		b = b[:min(n, len(b))]
		head, n = append(head, b), n-len(b)
	}
	return head
}

func (f *faultFile) Sync() error { return f.sync(OpSync, f.File.Sync) }

func (f *faultFile) SyncData() error { return f.sync(OpSyncData, f.File.SyncData) }

func (f *faultFile) sync(kind OpKind, do func() error) error {
	err := f.fs.run(f.op(kind, 0, 0), do)
	if h, ok := f.File.(*memHandle); ok && lost(err) {
		h.loseUnsynced()
	}
	return err
}

func (f *faultFile) Allocate(off, n int64) error {
	return f.fs.run(f.op(OpAllocate, off, n), func() error { return f.File.Allocate(off, n) })
}

func (f *faultFile) Truncate(size int64) error {
	return f.fs.run(f.op(OpTruncate, 0, size), func() error { return f.File.Truncate(size) })
}

func (f *faultFile) Size() (n int64, err error) {
	err = f.fs.run(f.op(OpSize, 0, 0), func() (err error) {
		n, err = f.File.Size()
		return err
	})
	return n, err
}

// Close closes the file even where a hook fails it, so that tests don't leak.
func (f *faultFile) Close() error {
	err := f.fs.run(f.op(OpClose, 0, 0), func() error { return nil })
	return errors.Join(err, f.File.Close())
}
