//go:build cgo

package lmdb

/*
#include "wrap.h"
*/
import "C"

import (
	"syscall"
	"unsafe"
)

// note is an environment's counter of calls that are inside LMDB: in the crash
// note where there is one, else in C memory of its own.
type note struct {
	counter *C.uint64_t
	slot    *noteSlot // nil without a crash note
}

func newNote(name string) (note, error) {
	if s := claimNoteSlot(name); s != nil {
		return note{counter: (*C.uint64_t)(unsafe.Pointer(s.counter)), slot: s}, nil
	}
	c := C.udb_note_new()
	if c == nil {
		return note{}, &OpError{Op: "mdb_env_open", Errno: syscall.ENOMEM}
	}
	return note{counter: c}, nil
}

func (n note) free() {
	if n.slot != nil {
		n.slot.release()
		return
	}
	C.udb_note_free(n.counter)
}
