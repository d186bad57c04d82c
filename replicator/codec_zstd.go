package replicator

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Compressions of batches, as the configuration names them.
const (
	CompressionZstd = "zstd"
	CompressionNone = "none"
)

// minCompressed is how long records must be for compressing them to be tried.
const minCompressed = 512

// zstdStreams is how many goroutines compress, or decompress, at the same time: it
// bounds the memory.
const zstdStreams = 2

// compressor serves all streams of a Source.
type compressor struct {
	once    sync.Once
	encoder *zstd.Encoder
}

// compress appends the compressed form of raw to to; false where that doesn't
// save at least an eighth.
func (c *compressor) compress(to, raw []byte) ([]byte, bool) {
	if len(raw) < minCompressed {
		return to, false
	}
	c.once.Do(func() {
		// Only options can be wrong, and these aren't.
		c.encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(zstdStreams),
			zstd.WithWindowSize(maxPartBytes), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	})
	out := c.encoder.EncodeAll(raw, to)
	return out, len(out)-len(to) <= len(raw)-len(raw)/8
}

// decompressor serves all Sinks of a connection.
type decompressor struct {
	once    sync.Once
	decoder *zstd.Decoder
}

// decompress is the reverse of compress, for what came from elsewhere: n, at most
// maxPartBytes, bounds its memory and must be its length exactly.
func (d *decompressor) decompress(packed []byte, n int) ([]byte, error) {
	d.once.Do(func() {
		// Only options can be wrong, and these aren't.
		d.decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(zstdStreams), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxPartBytes), zstd.WithDecoderMaxWindow(maxPartBytes), zstd.WithDecodeAllCapLimit(true))
	})
	raw, err := d.decoder.DecodeAll(packed, make([]byte, 0, n))
	if err != nil {
		return nil, fmt.Errorf("%d bytes of zstd: %w", len(packed), err)
	}
	if len(raw) != n {
		return nil, fmt.Errorf("%d bytes of zstd are %d decompressed, announced were %d", len(packed), len(raw), n)
	}
	return raw, nil
}

// compressions is what a hello offers beside none.
func compressions(configured string) []dbv1.Compression {
	if cmp.Or(configured, CompressionZstd) == CompressionZstd {
		return []dbv1.Compression{dbv1.Compression_COMPRESSION_ZSTD, dbv1.Compression_COMPRESSION_NONE}
	}
	return []dbv1.Compression{dbv1.Compression_COMPRESSION_NONE}
}

// choose picks what both ends take.
func choose(configured string, offered []dbv1.Compression) dbv1.Compression {
	for _, c := range compressions(configured) {
		if slices.Contains(offered, c) {
			return c
		}
	}
	return dbv1.Compression_COMPRESSION_NONE
}

// compresses reports whether the sink offers any compression.
func (s *Sink) compresses() bool { return len(compressions(s.o.Compression)) > 1 }
