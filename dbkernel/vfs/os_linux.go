package vfs

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxIovecs is IOV_MAX: as many buffers go into one pwritev.
const maxIovecs = 1024

// WritevAt writes the buffers one after another at off, with as few pwritev as
// the system allows: one, up to 1,024 buffers, unless the kernel stops half way.
func (f *osFile) WritevAt(bufs [][]byte, off int64) (int, error) {
	total := 0
	for len(bufs) > 0 {
		batch := bufs[:min(len(bufs), maxIovecs)]
		bufs = bufs[len(batch):]
		n, err := f.writeBatch(batch, off+int64(total))
		total += n
		if err != nil {
			return total, f.fail("pwritev", err)
		}
	}
	return total, nil
}

// writeBatch goes on behind a short write until all is written or an error
// says why not.
func (f *osFile) writeBatch(batch [][]byte, off int64) (int, error) {
	total, want := 0, 0
	for _, b := range batch {
		want += len(b)
	}
	for total < want {
		n := 0
		err := control(f.rc, func(fd int) (err error) {
			n, err = unix.Pwritev(fd, batch, off+int64(total))
			return err
		})
		if err != nil {
			return total, err
		}
		if n <= 0 {
			return total, io.ErrShortWrite
		}
		if total += n; total < want {
			batch = skip(batch, n)
		}
	}
	return total, nil
}

// skip drops the first n bytes of bufs, which stay the caller's and unchanged.
func skip(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n == 0 {
		return bufs
	}
	rest := append([][]byte(nil), bufs...)
	rest[0] = rest[0][n:]
	return rest
}

// SyncData makes content durable, and the length where it changed (fdatasync).
func (f *osFile) SyncData() error {
	return f.fail("fdatasync", control(f.rc, promptly(unix.Fdatasync)))
}

// Allocate reserves blocks with fallocate, or by writing zeros on a file
// system that has no fallocate.
func (f *osFile) Allocate(off, n int64) error {
	err := control(f.rc, func(fd int) error { return unix.Fallocate(fd, 0, off, n) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		err = f.extend(off, n)
	}
	return f.fail("fallocate", err)
}
