package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

const backupChunk = 1 << 20 // bytes copied at once

// BackupLog copies the segments behind afterSegment into dir, which must not
// exist or be empty. The last one may still be written to: what the copy has
// beyond the last whole group is cut off when it is read.
func (n *Namespace) BackupLog(ctx context.Context, afterSegment uint64, dir string) ([]SegmentCopy, error) {
	if err := n.acquireLog(); err != nil {
		return nil, err
	}
	defer n.releaseLog()
	fsys := n.db.opts.FS
	if names, err := fsys.List(dir); err == nil && len(names) > 0 {
		return nil, fmt.Errorf("%w backup directory: %s is not empty: name a new one", ErrInvalid, dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, err
	}
	// A tail keeps the segments from being trimmed while they are copied.
	from := n.log.FirstLSN()
	pin, err := n.Tail("backup", from)
	if err != nil {
		return nil, err
	}
	defer pin.Close()
	copies, err := n.copySegments(ctx, afterSegment, dir)
	// A trimming that had begun before the pin, or a pin that broke, may have had a
	// file removed, or used again, while it was copied.
	if first := n.log.FirstLSN(); first != from {
		return nil, fmt.Errorf("%w: the log was trimmed up to LSN %d during the backup: delete %s and try again", ErrTrimmed, first, dir)
	}
	if err != nil {
		return nil, diskFull(err)
	}
	return copies, errors.Join(fsys.SyncDir(dir), fsys.SyncDir(filepath.Dir(dir)))
}

func (n *Namespace) copySegments(ctx context.Context, after uint64, dir string) ([]SegmentCopy, error) {
	copies := []SegmentCopy{}
	for _, s := range n.log.Segments() {
		if s.Number <= after || s.FirstLSN > s.LastLSN {
			continue
		}
		to := filepath.Join(dir, filepath.Base(s.Path))
		if err := copyFile(ctx, n.db.opts.FS, s.Path, to); err != nil {
			return nil, fmt.Errorf("copying segment %d: %w", s.Number, err)
		}
		copies = append(copies, SegmentCopy{Segment: s.Number, Path: to})
	}
	return copies, nil
}

func copyFile(ctx context.Context, fsys vfs.FS, from, to string) (err error) {
	src, err := fsys.OpenRead(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // it was only read
	dst, err := fsys.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	size, err := src.Size()
	if err != nil {
		return err
	}
	buf := make([]byte, min(size, backupChunk))
	for at := int64(0); at < size; at += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), size-at)]
		if _, err := src.ReadAt(buf, at); err != nil {
			return err
		}
		if _, err := dst.WritevAt([][]byte{buf}, at); err != nil {
			return err
		}
	}
	return dst.Sync()
}

// BackupTree writes a compact copy of the B+tree, as of its checkpoint, to a
// new file. It answers the copy's length.
func (n *Namespace) BackupTree(ctx context.Context, path string) (int64, error) {
	if err := n.Flush(ctx); err != nil {
		return 0, err
	}
	if err := n.acquire(); err != nil {
		return 0, err
	}
	defer n.release()
	f, err := n.db.opts.FS.Create(path)
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("%w backup path: %s exists: name a new one", ErrInvalid, path)
	}
	if err != nil {
		return 0, err
	}
	written, err := n.tree.Backup(&fileWriter{f: f})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = n.db.opts.FS.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return 0, diskFull(errors.Join(err, n.db.opts.FS.Remove(path)))
	}
	return written, nil
}

// fileWriter appends to a file.
type fileWriter struct {
	f  vfs.File
	at int64
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.f.WritevAt([][]byte{p}, w.at)
	w.at += int64(n)
	return n, err
}
