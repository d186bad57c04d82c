package vfs

import (
	"bytes"
	"io"
	"io/fs"
	"syscall"
)

const (
	sectorSize     = 512 // what a disk writes as a whole, or tears at worst
	pageSize       = 4096
	sectorsPerPage = pageSize / sectorSize
	allSectors     = 1<<sectorsPerPage - 1
)

// page is never changed once it is in a file: a write makes another one. So
// files, their durable state and their copies share pages freely.
type page [pageSize]byte

var zeroPage page

// memFile is a file's content. A nil page is a hole.
type memFile struct {
	pages   []*page // as programs see it
	size    int64
	durable []*page // as it is on the disk
	dsize   int64

	// dirty has a bit for each sector that the next sync makes durable. After a
	// failed sync a sector may differ from the disk without being dirty: it is
	// lost, and nobody will say so again.
	dirty     map[int]uint8
	sizeDirty bool
	unlinked  bool
}

// blocks is how many pages the file takes on the disk.
func (f *memFile) blocks() int64 {
	var n int64
	for _, p := range f.pages {
		if p != nil {
			n++
		}
	}
	return n
}

func pageAt(pages []*page, i int) *page {
	if i < len(pages) && pages[i] != nil {
		return pages[i]
	}
	return &zeroPage
}

func setPage(pages *[]*page, i int, p *page) {
	for len(*pages) <= i {
		*pages = append(*pages, nil)
	}
	(*pages)[i] = p
}

func (f *memFile) readAt(p []byte, off int64) int {
	if off >= f.size {
		return 0
	}
	p = p[:min(int64(len(p)), f.size-off)]
	for n := 0; n < len(p); {
		at := off + int64(n)
		n += copy(p[n:], pageAt(f.pages, int(at/pageSize))[at%pageSize:])
	}
	return len(p)
}

// reserve takes a block of the disk for page i, if it has none.
func (m *Mem) reserve(f *memFile, i int) error {
	if i < len(f.pages) && f.pages[i] != nil {
		return nil
	}
	if !f.unlinked {
		if m.capacity >= 0 && m.used >= m.capacity {
			return syscall.ENOSPC
		}
		m.used++
	}
	setPage(&f.pages, i, &zeroPage)
	f.dirty[i] |= 0 // no sector has changed, but the block has to become durable
	return nil
}

func (m *Mem) writeAt(f *memFile, p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		i, in := int(at/pageSize), int(at%pageSize)
		if err := m.reserve(f, i); err != nil {
			return n, err
		}
		c := min(pageSize-in, len(p)-n)
		f.pages[i] = overwrite(f.pages[i], in, p[n:n+c])
		f.dirty[i] |= sectorMask(in, c)
		n += c
		f.grow(at + int64(c))
	}
	return len(p), nil
}

// overwrite is the page old with b at in.
func overwrite(old *page, in int, b []byte) *page {
	if len(b) == pageSize && bytes.Equal(b, zeroPage[:]) {
		return &zeroPage
	}
	written := new(page)
	if len(b) < pageSize {
		*written = *old
	}
	copy(written[in:], b)
	return written
}

// sectorMask names the sectors of a page that n bytes at off touch.
func sectorMask(off, n int) uint8 {
	first, last := off/sectorSize, (off+n-1)/sectorSize
	return uint8((1<<(last+1) - 1) &^ (1<<first - 1))
}

func (f *memFile) grow(size int64) {
	if size > f.size {
		f.size, f.sizeDirty = size, true
	}
}

func (m *Mem) allocate(f *memFile, off, n int64) error {
	for i := off / pageSize; i*pageSize < off+n; i++ {
		if err := m.reserve(f, int(i)); err != nil {
			return err
		}
	}
	f.grow(off + n)
	return nil
}

func (m *Mem) truncate(f *memFile, size int64) {
	keep := int((size + pageSize - 1) / pageSize)
	for i := keep; i < len(f.pages); i++ {
		if f.pages[i] != nil && !f.unlinked {
			m.used--
		}
		f.dirty[i] = allSectors
	}
	f.pages = f.pages[:min(keep, len(f.pages))]
	if in := int(size % pageSize); in != 0 && keep <= len(f.pages) && f.pages[keep-1] != nil {
		cut := *f.pages[keep-1]
		clear(cut[in:])
		f.pages[keep-1] = &cut
		f.dirty[keep-1] |= sectorMask(in, pageSize-in)
	}
	f.sizeDirty = f.sizeDirty || size != f.size
	f.size = size
}

func (f *memFile) sync() {
	for i, mask := range f.dirty {
		setPage(&f.durable, i, merge(pageAt(f.durable, i), pageAt(f.pages, i), mask))
	}
	if f.sizeDirty {
		f.dsize = f.size
	}
	f.forget()
}

// forget takes everything for written, whether it is or not.
func (f *memFile) forget() {
	clear(f.dirty)
	f.sizeDirty = false
}

// merge is the page old with the sectors of mask taken from p.
func merge(old, p *page, mask uint8) *page {
	switch mask {
	case 0:
		return old
	case allSectors:
		return p
	}
	merged := *old
	for s := range sectorsPerPage {
		if mask&(1<<s) != 0 {
			copy(merged[s*sectorSize:(s+1)*sectorSize], p[s*sectorSize:])
		}
	}
	return &merged
}

// memHandle is an open memFile.
type memHandle struct {
	m        *Mem
	f        *memFile
	name     string
	writable bool
	closed   bool
}

// begin locks the file system for an operation, if the handle is good for it.
func (h *memHandle) begin(op string, writes bool) error {
	h.m.mu.Lock()
	if h.closed {
		h.m.mu.Unlock()
		return pathError(op, h.name, fs.ErrClosed)
	}
	if writes && !h.writable {
		h.m.mu.Unlock()
		return pathError(op, h.name, syscall.EBADF)
	}
	return nil
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.begin("read", false); err != nil {
		return 0, err
	}
	defer h.m.mu.Unlock()
	if off < 0 {
		return 0, pathError("read", h.name, fs.ErrInvalid)
	}
	n := h.f.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WritevAt(bufs [][]byte, off int64) (int, error) {
	if err := h.begin("write", true); err != nil {
		return 0, err
	}
	defer h.m.mu.Unlock()
	total := 0
	for _, b := range bufs {
		n, err := h.m.writeAt(h.f, b, off+int64(total))
		total += n
		if err != nil {
			return total, pathError("write", h.name, err)
		}
	}
	return total, nil
}

func (h *memHandle) Sync() error {
	if err := h.begin("fsync", false); err != nil {
		return err
	}
	defer h.m.mu.Unlock()
	h.f.sync()
	return nil
}

func (h *memHandle) SyncData() error { return h.Sync() }

func (h *memHandle) Allocate(off, n int64) error {
	if err := h.begin("allocate", true); err != nil {
		return err
	}
	defer h.m.mu.Unlock()
	if err := h.m.allocate(h.f, off, n); err != nil {
		return pathError("allocate", h.name, err)
	}
	return nil
}

func (h *memHandle) Truncate(size int64) error {
	if err := h.begin("truncate", true); err != nil {
		return err
	}
	defer h.m.mu.Unlock()
	h.m.truncate(h.f, size)
	return nil
}

func (h *memHandle) Size() (int64, error) {
	if err := h.begin("stat", false); err != nil {
		return 0, err
	}
	defer h.m.mu.Unlock()
	return h.f.size, nil
}

func (h *memHandle) Close() error {
	if err := h.begin("close", false); err != nil {
		return err
	}
	defer h.m.mu.Unlock()
	h.closed = true
	return nil
}

// loseUnsynced is what a failed fsync does to the file: as on Linux, its dirty
// pages count as clean, a later fsync succeeds, and a crash will show that they
// never reached the disk.
func (h *memHandle) loseUnsynced() {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.f.forget()
}
