package lmdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// What CheckFile finds.
var (
	// ErrNotLMDB: the file doesn't begin as an LMDB file does.
	ErrNotLMDB = errors.New("not an LMDB file")
	// ErrTruncated: the file ends before the pages that it refers to.
	ErrTruncated = errors.New("truncated")
	// ErrVersion: the file is of another format version, or another machine.
	ErrVersion = errors.New("another LMDB format")
	// ErrDamagedFile: pages that were looked at make no sense.
	ErrDamagedFile = errors.New("damaged LMDB file")
)

// LMDB 0.9's file format as far as it is read here: what mdb_env_open checks,
// and what it doesn't.
const (
	dataVersion   = 1
	dataMagic     = 0xBEEFC0DE
	pageHeaderLen = 16
	dbLen         = 48
	metaFreeDB    = pageHeaderLen + 24
	metaMainDB    = metaFreeDB + dbLen
	metaLastPage  = metaMainDB + dbLen
	metaTxnID     = metaLastPage + 8
	metaEnd       = metaTxnID + 8

	flagBranch, flagLeaf, flagOverflow, flagMeta = 0x01, 0x02, 0x04, 0x08
	nodeHeaderLen                                = 8
	nodeBigData                                  = 0x01
	noPage                                       = ^uint64(0)
	maxDepth                                     = 32 // LMDB's own
)

// CheckFile reads the beginning of the data file at path with plain reads and
// says whether LMDB may be let near it. LMDB maps the file as long as its meta
// page says: where the file is shorter, touching the missing part kills the
// process by SIGBUS, so that is found out here. It doesn't read the whole file
// and finds no other damage. (Not in lmdb-go.)
func CheckFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	if err := (&fileCheck{r: f}).run(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

type fileCheck struct {
	r     *os.File
	psize int64
	size  int64
	meta  meta
}

type meta struct {
	freeRoot, mainRoot uint64
	freeDepth          uint16
	lastPage           uint64
	txnID              uint64
}

func (c *fileCheck) run() error {
	info, err := c.r.Stat()
	if err != nil {
		return err
	}
	c.size = info.Size()
	if err := c.readMetas(); err != nil {
		return err
	}
	pages := uint64(c.size / c.psize)
	for _, root := range []uint64{c.meta.freeRoot, c.meta.mainRoot} {
		if root != noPage && root >= pages {
			return fmt.Errorf("%w: it has %d bytes, and page %d is needed", ErrTruncated, c.size, root)
		}
	}
	if c.meta.lastPage < pages {
		return nil
	}
	return c.checkTail(pages)
}

// readMetas reads the two meta pages and keeps the newer one, as LMDB does.
func (c *fileCheck) readMetas() error {
	first, err := c.readMeta(0)
	if err != nil {
		return err
	}
	second, err := c.readMeta(c.psize)
	if err != nil {
		return err
	}
	c.meta = first
	if second.txnID > first.txnID {
		c.meta = second
	}
	return nil
}

func (c *fileCheck) readMeta(off int64) (meta, error) {
	b := make([]byte, metaEnd)
	if _, err := c.r.ReadAt(b, off); err != nil {
		if errors.Is(err, io.EOF) {
			return meta{}, fmt.Errorf("%w: it has only %d bytes", ErrTruncated, c.size)
		}
		return meta{}, err
	}
	flags := binary.NativeEndian.Uint16(b[10:])
	if flags&flagMeta == 0 || binary.NativeEndian.Uint32(b[16:]) != dataMagic {
		if binary.BigEndian.Uint32(b[16:]) == dataMagic || binary.LittleEndian.Uint32(b[16:]) == dataMagic {
			return meta{}, fmt.Errorf("%w: it was written on a machine of the other byte order", ErrVersion)
		}
		return meta{}, ErrNotLMDB
	}
	if v := binary.NativeEndian.Uint32(b[20:]); v != dataVersion {
		return meta{}, fmt.Errorf("%w: version %d, this build knows %d", ErrVersion, v, dataVersion)
	}
	psize := int64(binary.NativeEndian.Uint32(b[metaFreeDB:]))
	if psize < 512 || psize > 1<<16 || psize&(psize-1) != 0 {
		return meta{}, fmt.Errorf("%w: its page size is given as %d", ErrDamagedFile, psize)
	}
	c.psize = psize
	return meta{
		freeRoot:  binary.NativeEndian.Uint64(b[metaFreeDB+40:]),
		freeDepth: binary.NativeEndian.Uint16(b[metaFreeDB+6:]),
		mainRoot:  binary.NativeEndian.Uint64(b[metaMainDB+40:]),
		lastPage:  binary.NativeEndian.Uint64(b[metaLastPage:]),
		txnID:     binary.NativeEndian.Uint64(b[metaTxnID:]),
	}, nil
}

// checkTail decides about a file that ends before the last page ever handed out.
// That is no damage where those pages are free: LMDB never writes a page that
// was allocated and freed within one transaction. Then the free list names them.
func (c *fileCheck) checkTail(pages uint64) error {
	missing := c.meta.lastPage + 1 - pages
	free := uint64(0)
	if c.meta.freeRoot != noPage {
		err := c.walkFree(c.meta.freeRoot, int(c.meta.freeDepth), func(page uint64) {
			if page >= pages && page <= c.meta.lastPage {
				free++
			}
		})
		if err != nil {
			return err
		}
	}
	if free < missing {
		return fmt.Errorf("%w: it has %d pages and needs %d", ErrTruncated, pages, c.meta.lastPage+1)
	}
	return nil
}

// walkFree calls fn with every page number in the free list, a tree whose values
// are lists of page numbers, each with its length in front.
func (c *fileCheck) walkFree(pgno uint64, depth int, fn func(page uint64)) error {
	if depth < 1 || depth > maxDepth {
		return fmt.Errorf("%w: the free list is %d levels deep", ErrDamagedFile, depth)
	}
	page, err := c.readPages(pgno, 1)
	if err != nil {
		return err
	}
	flags := binary.NativeEndian.Uint16(page[10:])
	lower := int(binary.NativeEndian.Uint16(page[12:]))
	if (flags&flagBranch != 0) == (depth == 1) || flags&(flagBranch|flagLeaf) == 0 || lower < pageHeaderLen || lower > len(page) {
		return fmt.Errorf("%w: page %d of the free list has flags %#x", ErrDamagedFile, pgno, flags)
	}
	for at := pageHeaderLen; at < lower; at += 2 {
		node := int(binary.NativeEndian.Uint16(page[at:]))
		if node < lower || node+nodeHeaderLen > len(page) {
			return fmt.Errorf("%w: page %d of the free list has a node at %d", ErrDamagedFile, pgno, node)
		}
		if err := c.walkFreeNode(page, node, depth, fn); err != nil {
			return err
		}
	}
	return nil
}

func (c *fileCheck) walkFreeNode(page []byte, node, depth int, fn func(page uint64)) error {
	// lo and hi lie in the machine's byte order; flags and key length follow.
	lo, hi := uint64(binary.NativeEndian.Uint16(page[node:])), uint64(binary.NativeEndian.Uint16(page[node+2:]))
	if bigEndian {
		lo, hi = hi, lo
	}
	flags := uint64(binary.NativeEndian.Uint16(page[node+4:]))
	if depth > 1 {
		return c.walkFree(lo|hi<<16|flags<<32, depth-1, fn)
	}
	size := lo | hi<<16
	at := node + nodeHeaderLen + int(binary.NativeEndian.Uint16(page[node+6:]))
	if flags&nodeBigData == 0 {
		if at+int(size) > len(page) {
			return fmt.Errorf("%w: a node of the free list has %d bytes", ErrDamagedFile, size)
		}
		return eachPage(page[at:at+int(size)], fn)
	}
	if at+8 > len(page) {
		return fmt.Errorf("%w: a node of the free list is cut off", ErrDamagedFile)
	}
	count := (int64(size) + pageHeaderLen + c.psize - 1) / c.psize
	list, err := c.readPages(binary.NativeEndian.Uint64(page[at:]), count)
	if err != nil {
		return err
	}
	return eachPage(list[pageHeaderLen:pageHeaderLen+size], fn)
}

func eachPage(list []byte, fn func(page uint64)) error {
	if len(list) < 8 || binary.NativeEndian.Uint64(list) > uint64(len(list)/8-1) {
		return fmt.Errorf("%w: a list of free pages is cut off", ErrDamagedFile)
	}
	for i := range binary.NativeEndian.Uint64(list) {
		fn(binary.NativeEndian.Uint64(list[8+8*i:]))
	}
	return nil
}

func (c *fileCheck) readPages(pgno uint64, n int64) ([]byte, error) {
	if pgno > uint64(c.size/c.psize) || int64(pgno)+n > c.size/c.psize {
		return nil, fmt.Errorf("%w: page %d of the free list is missing", ErrTruncated, pgno)
	}
	b := make([]byte, n*c.psize)
	if _, err := c.r.ReadAt(b, int64(pgno)*c.psize); err != nil {
		return nil, err
	}
	return b, nil
}

var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1
