package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// formatVersion is the segment format that this build writes; it reads no newer one.
const formatVersion = 1

// Layout of a segment's header. Every format keeps the magic, the version and
// the CRC at their places, so that a newer format can be told from damage.
const (
	segMagic = "UNISWAL\n"

	segOffVersion = 8  // u32
	segOffFrames  = 12 // u32, where the first frame begins
	segOffNumber  = 16 // u64, the file's number: a swapped file is damage
	segOffPrev    = 24 // u64, number of the segment that this one continues, 0 for none
	segOffLength  = 32 // u64, of the file
	segOffFirst   = 40 // u64, first LSN; 0: that of the first valid frame
	segOffLineage = 48 // 16 bytes
	segOffSeed    = 64 // u32, random, new at every use of the file
	segOffCRC     = 68 // u32, CRC-32C of bytes [0, 68)

	segHeaderLen = 72

	// framesStart gives the header a block of its own: writing frames can't tear it.
	framesStart = 4096
)

// Layout of a frame's header.
const (
	frameMagic = 0x4d524655 // "UFRM"

	frameOffCRC    = 4  // u32, CRC-32C of bytes [8, 40), seeded
	frameOffFirst  = 8  // u64, LSN of the first record
	frameOffSynced = 16 // u64, the last LSN that was durable before this frame was written
	frameOffCount  = 24 // u32, number of records; 0: a clean end
	frameOffLength = 28 // u32, of the records, padding left out
	frameOffBody   = 32 // u32, CRC-32C of the records, seeded
	frameOffRsv    = 36 // u32, zero

	frameHeaderLen = 40
	frameAlign     = 8
)

var frameMagicBytes = binary.LittleEndian.AppendUint32(nil, frameMagic)

// segHeader is the decoded header of a segment.
type segHeader struct {
	number  uint64
	prev    uint64
	length  int64
	first   uint64
	lineage [16]byte
	seed    uint32
}

// block is the header with the rest of its block, zeroed.
func (h segHeader) block() []byte {
	b := make([]byte, framesStart)
	copy(b, segMagic)
	binary.LittleEndian.PutUint32(b[segOffVersion:], formatVersion)
	binary.LittleEndian.PutUint32(b[segOffFrames:], framesStart)
	binary.LittleEndian.PutUint64(b[segOffNumber:], h.number)
	binary.LittleEndian.PutUint64(b[segOffPrev:], h.prev)
	binary.LittleEndian.PutUint64(b[segOffLength:], uint64(h.length))
	binary.LittleEndian.PutUint64(b[segOffFirst:], h.first)
	copy(b[segOffLineage:], h.lineage[:])
	binary.LittleEndian.PutUint32(b[segOffSeed:], h.seed)
	binary.LittleEndian.PutUint32(b[segOffCRC:], crc32.Checksum(b[:segOffCRC], codec.Castagnoli))
	return b
}

// parseSegHeader decodes and checks the header at the start of a segment. path
// is for the error.
func parseSegHeader(path string, b []byte) (segHeader, error) {
	if len(b) < segHeaderLen {
		return segHeader{}, damaged(path, 0, "the file is too short for a header")
	}
	if string(b[:len(segMagic)]) != segMagic {
		return segHeader{}, damaged(path, 0, "this is no log segment: its magic number is wrong")
	}
	if got, want := crc32.Checksum(b[:segOffCRC], codec.Castagnoli), binary.LittleEndian.Uint32(b[segOffCRC:]); got != want {
		return segHeader{}, damaged(path, 0, "the header has CRC %08x, expected %08x", got, want)
	}
	if v := binary.LittleEndian.Uint32(b[segOffVersion:]); v > formatVersion {
		return segHeader{}, fmt.Errorf("%s: %w: it has version %d, this build reads up to %d: use a newer build",
			path, ErrNewerFormat, v, formatVersion)
	}
	h := segHeader{
		number: binary.LittleEndian.Uint64(b[segOffNumber:]),
		prev:   binary.LittleEndian.Uint64(b[segOffPrev:]),
		length: int64(binary.LittleEndian.Uint64(b[segOffLength:])),
		first:  binary.LittleEndian.Uint64(b[segOffFirst:]),
		seed:   binary.LittleEndian.Uint32(b[segOffSeed:]),
	}
	copy(h.lineage[:], b[segOffLineage:])
	if at := binary.LittleEndian.Uint32(b[segOffFrames:]); at != framesStart || h.length < framesStart {
		return segHeader{}, damaged(path, 0, "the header has a first frame at %d and a length of %d", at, h.length)
	}
	return h, nil
}

// frameHeader is the decoded header of a frame.
type frameHeader struct {
	first  uint64
	synced uint64
	count  uint32
	length uint32
	body   uint32
}

// last is the LSN of the frame's last record.
func (f frameHeader) last() uint64 { return f.first + uint64(f.count) - 1 }

// isMark reports whether the frame is a clean end.
func (f frameHeader) isMark() bool { return f.count == 0 }

// put encodes the header into b.
func (f frameHeader) put(b []byte, seed uint32) {
	binary.LittleEndian.PutUint32(b, frameMagic)
	binary.LittleEndian.PutUint64(b[frameOffFirst:], f.first)
	binary.LittleEndian.PutUint64(b[frameOffSynced:], f.synced)
	binary.LittleEndian.PutUint32(b[frameOffCount:], f.count)
	binary.LittleEndian.PutUint32(b[frameOffLength:], f.length)
	binary.LittleEndian.PutUint32(b[frameOffBody:], f.body)
	binary.LittleEndian.PutUint32(b[frameOffRsv:], 0)
	crc := crc32.Update(seed, codec.Castagnoli, b[frameOffFirst:frameHeaderLen])
	binary.LittleEndian.PutUint32(b[frameOffCRC:], crc)
}

// parseFrameHeader decodes a frame's header; false if it isn't one of this use
// of the file.
func parseFrameHeader(b []byte, seed uint32) (f frameHeader, ok bool) {
	if len(b) < frameHeaderLen || binary.LittleEndian.Uint32(b) != frameMagic {
		return f, false
	}
	crc := crc32.Update(seed, codec.Castagnoli, b[frameOffFirst:frameHeaderLen])
	if crc != binary.LittleEndian.Uint32(b[frameOffCRC:]) {
		return f, false
	}
	f = frameHeader{
		first:  binary.LittleEndian.Uint64(b[frameOffFirst:]),
		synced: binary.LittleEndian.Uint64(b[frameOffSynced:]),
		count:  binary.LittleEndian.Uint32(b[frameOffCount:]),
		length: binary.LittleEndian.Uint32(b[frameOffLength:]),
		body:   binary.LittleEndian.Uint32(b[frameOffBody:]),
	}
	if f.synced >= f.first || (f.count == 0) != (f.length == 0) || binary.LittleEndian.Uint32(b[frameOffRsv:]) != 0 {
		return f, false
	}
	return f, true
}

// checkBody verifies a frame's records: their CRC, that they fill the frame,
// and that their LSNs follow one another.
func (f frameHeader) checkBody(body []byte, seed uint32) bool {
	if crc32.Update(seed, codec.Castagnoli, body) != f.body {
		return false
	}
	lsn := f.first
	for len(body) > 0 {
		n, err := codec.PeekLen(body)
		if err != nil || n > len(body) || codec.Record(body).LSN() != lsn {
			return false
		}
		body = body[n:]
		lsn++
	}
	return lsn == f.first+uint64(f.count)
}

// alignUp is the next place where a frame may begin.
func alignUp(off int64) int64 { return (off + frameAlign - 1) &^ (frameAlign - 1) }

// frameLen is the room that a frame with this many bytes of records takes.
func frameLen(length int64) int64 { return alignUp(frameHeaderLen + length) }

// Names of files in the log's directory. A file gets a segment's name only
// when its header is durable, and loses it, durably, before its header changes:
// a segment's name with a bad header behind it is therefore damage.
const (
	segmentPrefix = "segment-" // part of the log
	preparePrefix = "prepare-" // being made
	sparePrefix   = "spare-"   // trimmed, to be used again
)

func fileName(dir, prefix string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%08d", prefix, number))
}

// parseName returns the number in a file's name; false if it has another prefix or form.
func parseName(name, prefix string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) < 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || filepath.Base(fileName("", prefix, n)) != name {
		return 0, false
	}
	return n, true
}

// damaged makes an error that names the place and wraps codec.ErrCorrupt.
func damaged(path string, off int64, format string, args ...any) error {
	return fmt.Errorf("%s: offset %d: %w: %s", path, off, codec.ErrCorrupt, fmt.Sprintf(format, args...))
}
