package replicator

import "google.golang.org/grpc/mem"

// FeedBytes is what a feed keeps at most.
const FeedBytes = feedBytes

// AckBytes is how much a sink makes durable at most without saying so.
const AckBytes = ackBytes

// SetBufferPool makes a source encode batches in the pool's memory. Before use.
func (s *Source) SetBufferPool(p mem.BufferPool) { s.encoder.pool = p }

// Feeds counts a source's feeds, and their live followers.
func (s *Source) Feeds() (feeds, live int) {
	s.feeds.mu.Lock()
	defer s.feeds.mu.Unlock()
	for _, f := range s.feeds.byName {
		f.mu.Lock()
		feeds++
		live += len(f.live)
		f.mu.Unlock()
	}
	return feeds, live
}

// Decompressor is what a sink does with compressed batches.
type Decompressor struct{ decompressor }

// Decompress turns bytes into the n that they were.
func (d *Decompressor) Decompress(packed []byte, n int) ([]byte, error) {
	return d.decompress(packed, n)
}
