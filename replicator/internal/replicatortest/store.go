package replicatortest

import (
	"fmt"
	"sync"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// Store keeps logs in memory.
type Store struct {
	mu   sync.Mutex
	logs map[string]*Log
	seed uint64
	// Prepare sees each replica when it is made. Set before use.
	Prepare func(*Log)
}

// NewStore makes an empty store.
func NewStore(seed uint64) *Store { return &Store{logs: make(map[string]*Log), seed: seed} }

// Add makes a log.
func (s *Store) Add(namespace string, lineage dbkernel.Lineage) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := NewLog(namespace, lineage, s.seed)
	if s.Prepare != nil {
		s.Prepare(l)
	}
	s.logs[namespace] = l
	return l
}

// Log returns a log, nil where there is none.
func (s *Store) Log(namespace string) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs[namespace]
}

// Open implements replicator.Store.
func (s *Store) Open(namespace string) (replicator.Log, error) {
	if l := s.Log(namespace); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%q: %w", namespace, dbkernel.ErrNamespaceNotFound)
}

// Create implements replicator.Store.
func (s *Store) Create(namespace string, lineage dbkernel.Lineage) (replicator.Log, error) {
	if s.Log(namespace) != nil {
		return nil, fmt.Errorf("%q: %w", namespace, dbkernel.ErrNamespaceExists)
	}
	return s.Add(namespace, lineage), nil
}
