// Package vfs is the kernel's only way to the file system: one small interface,
// the operating system behind it in production, and in tests a file system in
// memory that forgets what was not synced and fails on demand.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// ErrLocked says that another holder has the lock.
var ErrLocked = errors.New("locked by another holder")

// FS is a file system. Names are paths as package os takes them. All methods
// may be called concurrently. Errors satisfy errors.Is with fs.ErrNotExist,
// fs.ErrExist, syscall.ENOSPC and the like, as those of package os do.
//
// Nothing is durable before it is synced: a file's content and length by
// File.Sync (or SyncData), its name by SyncDir on the directory that holds it.
type FS interface {
	// Create makes a new file, open for reading and writing. It fails with
	// fs.ErrExist if the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading only.
	OpenRead(name string) (File, error)
	// Rename moves a file or directory, replacing a file that has the new name.
	Rename(oldName, newName string) error
	// Remove deletes a file or an empty directory.
	Remove(name string) error
	// RemoveAll deletes a tree; an absent one is no error.
	RemoveAll(name string) error
	// MkdirAll makes a directory and its parents. Making is not syncing.
	MkdirAll(dir string) error
	// List names the entries of a directory, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the directory's entries durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on the named file, made if absent, for the
	// life of the process or until the Closer is closed. It does not wait: if
	// another holder has it, the error is ErrLocked.
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt and Size may be called concurrently with
// everything but Close; of the writing methods one at a time.
type File interface {
	io.ReaderAt
	io.Closer
	// WritevAt writes the buffers one after another at off, as one pwritev
	// where the system has it. A short write is an error.
	WritevAt(bufs [][]byte, off int64) (int, error)
	// Sync makes content and all metadata durable (fsync).
	Sync() error
	// SyncData makes content durable, and the length where it changed (fdatasync).
	SyncData() error
	// Allocate reserves blocks for [off, off+n) and extends the file over
	// them, so that a full disk is an error here and not at a later write.
	Allocate(off, n int64) error
	// Truncate sets the length.
	Truncate(size int64) error
	// Size is the file's length in bytes.
	Size() (int64, error)
}
