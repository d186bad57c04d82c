package replicator

import (
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"
)

// sharedBatch is a batch that was encoded once and goes to many followers. The
// ring has a reference to it, and so has everyone who is about to send it.
type sharedBatch struct {
	batch // without its pieces
	refs  atomic.Int32
	enc   *batchEncoder
	plain mem.Buffer
	head  int // bytes of plain before the records

	once   sync.Once
	packed mem.Buffer // compressed; nil: it doesn't pay, or nobody has asked
}

func newSharedBatch(b batch, enc *batchEncoder) *sharedBatch {
	s := &sharedBatch{batch: b, enc: enc}
	s.plain, s.head = enc.plain(b)
	s.pieces = nil
	s.refs.Store(1)
	return s
}

func (s *sharedBatch) ref() *sharedBatch {
	s.refs.Add(1)
	return s
}

func (s *sharedBatch) free() {
	if s.refs.Add(-1) > 0 {
		return
	}
	s.plain.Free()
	if s.packed != nil {
		s.packed.Free()
	}
}

// encoding is the batch as it is sent: compressed if that is wanted and pays.
// The caller has a reference to the batch; the buffer is good for as long.
func (s *sharedBatch) encoding(zstd bool) mem.Buffer {
	if !zstd {
		return s.plain
	}
	s.once.Do(s.pack)
	if s.packed == nil {
		return s.plain
	}
	return s.packed
}

// pack compresses the batch, where that pays.
func (s *sharedBatch) pack() {
	s.packed = s.enc.packed(s.batch, s.records())
}

// records are those of the batch, uncompressed.
func (s *sharedBatch) records() []byte { return s.plain.ReadOnlyData()[s.head:] }

// reachesBack reports whether the batch has the record as a whole, or its
// first part.
func (s *sharedBatch) reachesBack(lsn uint64) bool {
	return s.first <= lsn && s.partOffset == 0
}

// behind is the batch without the records before LSN from, in buffers that are the
// caller's to free.
func (s *sharedBatch) behind(from uint64) (encoded, error) {
	at := s.head
	for lsn := s.first; lsn < from; lsn++ {
		n, err := recordLen(s.plain.ReadOnlyData()[at:])
		if err != nil {
			return nil, err
		}
		at += n
	}
	rest := batch{first: from, last: s.last, commit: s.commit, size: s.head + s.size - at}
	return encoded{mem.SliceBuffer(rest.appendHead(nil, rest.size, 0)), s.plain.Slice(at, s.head+s.size)}, nil
}
