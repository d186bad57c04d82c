package btree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"path/filepath"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// The memory engine's file is a log of commits:
//
//	header, 16 bytes
//	0  8  "UNIMTREE"
//	8  u32 format version
//	12 u32 CRC-32C of bytes [0, 12)
//	frame, one a commit
//	0  u32 length of the payload
//	4  u32 CRC-32C: seeded with the one of the frame before (of the header, for the
//	       first), over the length and the payload
//	8      payload: edits, each u32 key length, u32 value length (all ones: a
//	       deletion), key, value
//
// A frame counts when its CRC fits, so that a commit is there as a whole or not
// at all; the CRCs are chained, so that what a failed write left behind the end
// never fits there. When the log is much longer than what it says, it is replaced by
// one frame in a new file.
const (
	memFile    = "data.mem"
	memNewFile = "data.mem.new"

	memMagic     = "UNIMTREE"
	memVersion   = 1
	memHeaderLen = 16
	memFrameHead = 8
	memEditHead  = 8
	memDeletion  = math.MaxUint32

	// The log is replaced when it is memCompactTimes as long as the data, and at
	// least memCompactMin.
	memCompactTimes = 4
	memCompactMin   = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// memLog is the open file. One goroutine at a time may use it.
type memLog struct {
	fs  vfs.FS
	dir string
	f   vfs.File
	end int64  // where the next frame goes
	crc uint32 // of the last frame
}

// openMemLog opens the log in dir, or makes it, and returns what it says.
func openMemLog(fsys vfs.FS, dir string) (*memLog, *treap, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, nil, err
	}
	l := &memLog{fs: fsys, dir: dir}
	f, err := fsys.Open(filepath.Join(dir, memFile))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil, l.replace(nil)
	}
	if err != nil {
		return nil, nil, err
	}
	l.f = f
	root, err := l.recover()
	if err == nil {
		err = l.replace(root)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return l, root, nil
}

// recover reads the log. What it reads may not be durable: a process may have
// died, or met an error, before the sync; and after a sync that failed, another
// one may succeed and do nothing. So opening writes what it found to a new file.
func (l *memLog) recover() (*treap, error) {
	size, err := l.f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if n, err := l.f.ReadAt(b, 0); int64(n) < size {
		return nil, err
	}
	if size < memHeaderLen || string(b[:8]) != memMagic {
		return nil, fmt.Errorf("%w: not a tree of the memory engine", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != memVersion {
		return nil, fmt.Errorf("%w: version %d, this build knows %d", ErrFormat, v, memVersion)
	}
	crc := binary.LittleEndian.Uint32(b[12:])
	if crc32.Checksum(b[:12], castagnoli) != crc {
		return nil, fmt.Errorf("%w: the header's CRC doesn't fit", ErrDamaged)
	}
	return replay(b[memHeaderLen:], crc)
}

// replay applies the frames that count. seed is the CRC before the first.
func replay(b []byte, seed uint32) (*treap, error) {
	var root *treap
	for len(b) >= memFrameHead {
		n := int64(binary.LittleEndian.Uint32(b))
		if n > int64(len(b)-memFrameHead) {
			break
		}
		payload := b[memFrameHead : memFrameHead+n]
		crc := frameCRC(seed, b[:4], payload)
		if binary.LittleEndian.Uint32(b[4:]) != crc {
			break
		}
		next, ok := replayEdits(root, payload)
		if !ok {
			return nil, fmt.Errorf("%w: a commit with a good CRC makes no sense", ErrDamaged)
		}
		root, seed = next, crc
		b = b[memFrameHead+n:]
	}
	return root, nil
}

func frameCRC(seed uint32, length, payload []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, length), castagnoli, payload)
}

// replayEdits applies one frame, and reports false where it isn't a list of edits.
func replayEdits(root *treap, p []byte) (*treap, bool) {
	for len(p) > 0 {
		if len(p) < memEditHead {
			return nil, false
		}
		klen, vlen := uint64(binary.LittleEndian.Uint32(p)), uint64(binary.LittleEndian.Uint32(p[4:]))
		p = p[memEditHead:]
		del := vlen == memDeletion
		if del {
			vlen = 0
		}
		if klen == 0 || klen > MaxKeyLen || klen+vlen > uint64(len(p)) {
			return nil, false
		}
		key, val := p[:klen:klen], p[klen:klen+vlen:klen+vlen]
		if del {
			root = root.remove(key)
		} else {
			root = root.put(key, val)
		}
		p = p[klen+vlen:]
	}
	return root, true
}

// appendEdit encodes an edit behind b.
func appendEdit(b, key, val []byte, del bool) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(key)))
	if del {
		b = binary.LittleEndian.AppendUint32(b, memDeletion)
		return append(b, key...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(val)))
	return append(append(b, key...), val...)
}

// append writes one frame and syncs it. written tells an error from which
// nothing can remain (the frame was not completely handed over) from one after
// which only reopening can tell.
func (l *memLog) append(payload []byte) (written bool, err error) {
	if int64(len(payload)) > math.MaxUint32 {
		return false, errors.New("btree: a commit of the memory engine is at most 4 GiB")
	}
	head := make([]byte, memFrameHead)
	binary.LittleEndian.PutUint32(head, uint32(len(payload)))
	crc := frameCRC(l.crc, head[:4], payload)
	binary.LittleEndian.PutUint32(head[4:], crc)
	if _, err := l.f.WritevAt([][]byte{head, payload}, l.end); err != nil {
		return false, err
	}
	if err := l.f.Sync(); err != nil {
		return true, err
	}
	l.end += memFrameHead + int64(len(payload))
	l.crc = crc
	return true, nil
}

// overgrown reports whether the log should be replaced by one that holds root.
func (l *memLog) overgrown(root *treap) bool {
	return l.end > memCompactMin && l.end > memCompactTimes*int64(root.size())
}

// replace puts a new log in the place of the old one: header and, unless root is
// empty, one frame. After an error the old one is still there, but which of the two
// a crash would leave is open.
func (l *memLog) replace(root *treap) error {
	tmp := filepath.Join(l.dir, memNewFile)
	if err := l.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := l.fs.Create(tmp)
	if err != nil {
		return err
	}
	next := &memLog{fs: l.fs, dir: l.dir, f: f}
	if err := next.writeAll(root); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := l.fs.Rename(tmp, filepath.Join(l.dir, memFile)); err != nil {
		return errors.Join(err, f.Close())
	}
	// Without this a crash could bring the old log back, and later commits,
	// which only the new one has, would be lost.
	if err := l.fs.SyncDir(l.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	old := l.f
	*l = *next
	if old != nil {
		return old.Close()
	}
	return nil
}

// writeAll writes header and image into an empty file and syncs it.
func (l *memLog) writeAll(root *treap) error {
	h := make([]byte, memHeaderLen)
	copy(h, memMagic)
	binary.LittleEndian.PutUint32(h[8:], memVersion)
	l.crc = crc32.Checksum(h[:12], castagnoli)
	binary.LittleEndian.PutUint32(h[12:], l.crc)
	if _, err := l.f.WritevAt([][]byte{h}, 0); err != nil {
		return err
	}
	l.end = memHeaderLen
	if root == nil {
		return l.f.Sync()
	}
	_, err := l.append(image(root))
	return err
}

// image encodes all of a map.
func image(root *treap) []byte {
	b := make([]byte, 0, root.size()+memEditHead*root.count())
	root.each(func(n *treap) { b = appendEdit(b, n.key, n.val, false) })
	return b
}
