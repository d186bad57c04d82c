//go:build cgo

package btree

import "github.com/unisondb/unisondb/dbkernel/internal/lmdb"

// The crash note lists, in a file, which trees are inside a call of the engine
// that may take the process with it. bbolt has no such calls.

// SetCrashNote begins a note, one at a time in a process; trees that are opened
// from then on with Options.Noted are in it.
func SetCrashNote(path string) error { return lmdb.SetCrashNote(path) }

// CloseCrashNote ends the note. All noted trees must be closed.
func CloseCrashNote() error { return lmdb.CloseCrashNote() }

// ReadCrashNote names the trees that a process was inside of when it died. The
// file may be absent.
func ReadCrashNote(path string) ([]string, error) { return lmdb.ReadCrashNote(path) }
