//go:build cgo

package btree

import (
	"errors"
	"io"
	"os"

	"github.com/unisondb/unisondb/dbkernel/internal/lmdb"
)

func (t *lmdbTree) Backup(w io.Writer) (int64, error) {
	t.backup.Lock()
	defer t.backup.Unlock()
	if err := t.makeRoom(); err != nil {
		return 0, err
	}
	var n int64
	err := t.gate.visit(true, func() (err error) {
		n, err = t.copyTo(w)
		return err
	})
	return n, lmdbErr(err)
}

// makeRoom grows the map far beyond what updates may need while a backup runs:
// it can't grow then, and a map is only address space.
func (t *lmdbTree) makeRoom() error {
	t.writer.Lock()
	defer t.writer.Unlock()
	if t.gate.isClosed() {
		return ErrClosed
	}
	info, err := t.env.Info()
	if err != nil {
		return lmdbErr(err)
	}
	size := mapSizeFor(info.MapSize, 4*t.usedBytes(info)+8*t.step)
	if size == info.MapSize {
		return nil
	}
	if err := t.grow(size, lmdbGrowAhead); err != nil {
		t.log.Warn("growing the map before a backup was put off", "tree", t.name, "bytes", size, "error", err)
	}
	return nil
}

// copyTo has LMDB write its copy into a pipe. The pipe is read to the end even
// when w fails: LMDB's own threads would meet a broken pipe otherwise.
func (t *lmdbTree) copyTo(w io.Writer) (n int64, err error) {
	pr, pw, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	copied := make(chan error, 1)
	go func() {
		err := t.env.CopyFDFlag(pw.Fd(), lmdb.CopyCompact)
		copied <- errors.Join(err, pw.Close())
	}()
	defer func() {
		_, drained := io.Copy(io.Discard, pr)
		err = errors.Join(err, <-copied, drained, pr.Close())
	}()
	return io.Copy(w, pr)
}
