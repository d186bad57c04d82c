package replicator

import "sync"

// SentBytes is what a Source has handed to streams for copies of a namespace, and for
// repairs, since it was made: bytes of cells, as they were sent.
type SentBytes struct{ Snapshots, Repairs uint64 }

// sentTotals outlive the streams that they count.
type sentTotals struct {
	mu          sync.Mutex
	byNamespace map[string]SentBytes
}

func (t *sentTotals) add(namespace string, snapshot bool, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byNamespace == nil {
		t.byNamespace = make(map[string]SentBytes)
	}
	total := t.byNamespace[namespace]
	if snapshot {
		total.Snapshots += uint64(bytes)
	} else {
		total.Repairs += uint64(bytes)
	}
	t.byNamespace[namespace] = total
}

// SentBytes says what was sent for copies and repairs, by namespace.
func (s *Source) SentBytes() map[string]SentBytes {
	s.sent.mu.Lock()
	defer s.sent.mu.Unlock()
	out := make(map[string]SentBytes, len(s.sent.byNamespace))
	for namespace, total := range s.sent.byNamespace {
		out[namespace] = total
	}
	return out
}
