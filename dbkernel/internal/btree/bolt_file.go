package btree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bbolt's file format as far as it is read here. A meta page is a page header and
// then
//
//	0  u32 magic
//	4  u32 version
//	8  u32 page size
//	12 u32 flags
//	16     root bucket, free list: page numbers
//	40 u64 number of pages
//	48 u64 transaction
//	56 u64 FNV-64a of the bytes before
const (
	boltMagic       = 0xED0CDAED
	boltVersion     = 2
	boltPageHeader  = 16
	boltMetaLen     = 64
	boltMinPageSize = 512
	boltMaxPageSize = 1 << 16
)

// checkBoltFile reads the beginning of a file with plain reads and says whether
// bbolt may be let near it. bbolt maps the file and believes its meta page: what
// is missing at the end shows as a fault, in the middle of Open, and leaves the
// file mapped and locked.
func checkBoltFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	meta, err := readBoltMeta(f)
	if err != nil {
		return err
	}
	pages, pageSize := binary.NativeEndian.Uint64(meta[40:]), uint64(binary.NativeEndian.Uint32(meta[8:]))
	if size := uint64(info.Size()); pages > size/pageSize {
		return fmt.Errorf("%w: truncated: it has %d bytes and needs %d", ErrDamaged, size, pages*pageSize)
	}
	return nil
}

// readBoltMeta returns the newer one of the meta pages that are whole. The second
// one lies where the page size says; where the first is lost, it is looked for.
func readBoltMeta(f *os.File) (best []byte, err error) {
	newerVersion := false
	for off := int64(0); off <= boltMaxPageSize; off = max(boltMinPageSize, 2*off) {
		b := make([]byte, boltPageHeader+boltMetaLen)
		if _, err := f.ReadAt(b, off); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		meta := b[boltPageHeader:]
		pageSize := binary.NativeEndian.Uint32(meta[8:])
		if binary.NativeEndian.Uint32(meta) != boltMagic || off != 0 && off != int64(pageSize) {
			continue
		}
		if binary.NativeEndian.Uint32(meta[4:]) != boltVersion {
			newerVersion = true
			continue
		}
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:56]) // a hash never fails
		if sum.Sum64() != binary.NativeEndian.Uint64(meta[56:]) || pageSize < boltMinPageSize || pageSize > boltMaxPageSize {
			continue
		}
		if best == nil || binary.NativeEndian.Uint64(meta[48:]) > binary.NativeEndian.Uint64(best[48:]) {
			best = meta
		}
	}
	switch {
	case best != nil:
		return best, nil
	case newerVersion:
		return nil, fmt.Errorf("%w: another version of bolt than %d", ErrFormat, boltVersion)
	default:
		return nil, fmt.Errorf("%w: not a bolt file, or its beginning is lost", ErrDamaged)
	}
}
