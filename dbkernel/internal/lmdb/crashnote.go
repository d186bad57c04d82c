package lmdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// The crash note is a small file, mapped shared, in which every open environment
// counts the calls that are inside LMDB. Stores to the mapping survive the death
// of the process, whatever kills it; so that after a SIGSEGV, SIGBUS or SIGABRT
// the next start can tell whose file it was. What killed the process the note
// doesn't say: a SIGKILL or a power cut may also leave counters above zero.
//
//	header, 256 bytes
//	0  8  "UNILNOTE"
//	8  u32 format version
//	12 u32 number of slots
//	slot i, 256 bytes, at 256 + 256·i
//	0  u64 calls inside, in the machine's byte order
//	8  u32 length of the name; 0: the slot is free
//	16     name, cut at 240 bytes
//
// The file is written out in full, never sparse: on a full disk a store to a hole
// of a mapped file kills the process by SIGBUS.
const (
	noteMagic   = "UNILNOTE"
	noteVersion = 1
	noteSlots   = 1 << 13
	noteSlotLen = 256
	noteNameOff = 16
	noteSize    = noteSlotLen * (noteSlots + 1)
)

// noteSlot is one environment's place in the note.
type noteSlot struct {
	counter *uint64
	index   int
}

var crashNote struct {
	sync.Mutex
	mem  []byte // nil without a note
	free []int  // slots given back
	next int    // slots from here on were never used
	used int
}

// ErrCrashNoteInUse is returned by CloseCrashNote while environments are open.
var ErrCrashNoteInUse = errors.New("lmdb: environments are open")

// SetCrashNote makes the file at path, replacing one left behind (read that
// first), and from then on lists every environment there that Open opens under a
// name. It lasts until CloseCrashNote. Environments beyond 8,192 are not listed.
func SetCrashNote(path string) error {
	crashNote.Lock()
	defer crashNote.Unlock()
	if crashNote.mem != nil {
		return fmt.Errorf("set crash note %s: one is set already", path)
	}
	mem, err := mapNote(path)
	if err != nil {
		return fmt.Errorf("set crash note: %w", err)
	}
	crashNote.mem, crashNote.next, crashNote.used, crashNote.free = mem, 0, 0, nil
	return nil
}

func mapNote(path string) ([]byte, error) {
	// A new file, not a truncated one: a process that still maps the old one
	// would die by SIGBUS.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // the mapping keeps the file; nothing is buffered
	if _, err := f.Write(make([]byte, noteSize)); err != nil {
		return nil, err
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, noteSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	copy(mem, noteMagic)
	binary.LittleEndian.PutUint32(mem[8:], noteVersion)
	binary.LittleEndian.PutUint32(mem[12:], noteSlots)
	return mem, nil
}

// CloseCrashNote ends the note, at a clean stop, when every environment is
// closed. The file stays.
func CloseCrashNote() error {
	crashNote.Lock()
	defer crashNote.Unlock()
	if crashNote.mem == nil {
		return nil
	}
	if crashNote.used > 0 {
		return ErrCrashNoteInUse
	}
	err := syscall.Munmap(crashNote.mem)
	crashNote.mem = nil
	return err
}

// ReadCrashNote returns the names of the environments that were inside a call
// when the process that wrote the note ended. A missing file lists none.
func ReadCrashNote(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read crash note: %w", err)
	}
	if len(b) < noteSlotLen || string(b[:8]) != noteMagic {
		return nil, fmt.Errorf("read crash note: %s is not a crash note; delete it", path)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != noteVersion {
		return nil, fmt.Errorf("read crash note: %s has format %d, this version knows %d; delete it", path, v, noteVersion)
	}
	var inside []string
	for slot := b[noteSlotLen:]; len(slot) >= noteSlotLen; slot = slot[noteSlotLen:] {
		n := binary.LittleEndian.Uint32(slot[8:])
		if n == 0 || binary.NativeEndian.Uint64(slot) == 0 {
			continue
		}
		n = min(n, noteSlotLen-noteNameOff)
		inside = append(inside, string(slot[noteNameOff:noteNameOff+n]))
	}
	return inside, nil
}

// claimNoteSlot returns a slot under name, or nil where there is no name, no
// note or no room in it.
func claimNoteSlot(name string) *noteSlot {
	crashNote.Lock()
	defer crashNote.Unlock()
	if crashNote.mem == nil || name == "" {
		return nil
	}
	i := crashNote.next
	switch n := len(crashNote.free); {
	case n > 0:
		i = crashNote.free[n-1]
		crashNote.free = crashNote.free[:n-1]
	case i == noteSlots:
		return nil
	default:
		crashNote.next++
	}
	crashNote.used++
	slot := noteAt(i)
	n := copy(slot[noteNameOff:], name)
	binary.LittleEndian.PutUint32(slot[8:], uint32(n))
	return &noteSlot{counter: (*uint64)(unsafe.Pointer(&slot[0])), index: i}
}

func (s *noteSlot) release() {
	crashNote.Lock()
	defer crashNote.Unlock()
	clear(noteAt(s.index))
	crashNote.free = append(crashNote.free, s.index)
	crashNote.used--
}

func noteAt(i int) []byte {
	off := noteSlotLen * (i + 1)
	return crashNote.mem[off : off+noteSlotLen : off+noteSlotLen]
}
