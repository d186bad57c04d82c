package wal

import (
	"errors"
	"io"
)

// windowSize is how much of a file is read at once while scanning it.
const windowSize = 64 << 10

// window reads a file in large pieces and hands out parts of them.
type window struct {
	path string
	r    io.ReaderAt
	size int64
	buf  []byte
	off  int64 // of buf in the file
}

// newWindow reads r. buf is memory to begin with, nil for none.
func newWindow(path string, r io.ReaderAt, size int64, buf []byte) *window {
	return &window{path: path, r: r, size: size, buf: buf[:0]}
}

// at returns n bytes at off, valid until the next call. The caller has made
// sure that they lie inside the file.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		if err := w.fill(off, n); err != nil {
			return nil, err
		}
	}
	in := off - w.off
	return w.buf[in : in+int64(n) : in+int64(n)], nil
}

// rest returns what the window holds from off on, at least a frame header's
// length. The caller has made sure that this much lies inside the file.
func (w *window) rest(off int64) ([]byte, error) {
	if _, err := w.at(off, frameHeaderLen); err != nil {
		return nil, err
	}
	return w.buf[off-w.off:], nil
}

func (w *window) fill(off int64, n int) error {
	n = max(n, int(min(windowSize, w.size-off)))
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	w.buf, w.off = w.buf[:n], off
	if err := readFull(w.path, w.r, w.buf, off); err != nil {
		w.buf = w.buf[:0]
		return err
	}
	return nil
}

// readFull fills b from off. An end of the file before that is damage:
// segments have their full length before they get their name.
func readFull(path string, r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return damaged(path, off+int64(n), "the file is cut off")
	}
	return err
}
