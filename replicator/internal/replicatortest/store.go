package replicatortest

import (
	"context"
	"fmt"
	"sync"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// Store keeps logs in memory.
type Store struct {
	mu       sync.Mutex
	logs     map[string]*Log
	stages   map[string]*stage
	accepted map[string]dbkernel.Lineage
	seed     uint64
	// Prepare sees each replica when it is made. Set before use.
	Prepare func(*Log)
}

// NewStore makes an empty store.
func NewStore(seed uint64) *Store {
	return &Store{logs: make(map[string]*Log), stages: make(map[string]*stage), accepted: make(map[string]dbkernel.Lineage), seed: seed}
}

// Add makes a log.
func (s *Store) Add(namespace string, lineage dbkernel.Lineage) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.newLogLocked(namespace, lineage)
	s.logs[namespace] = l
	return l
}

func (s *Store) newLogLocked(namespace string, lineage dbkernel.Lineage) *Log {
	l := NewLog(namespace, lineage, s.seed)
	if s.Prepare != nil {
		s.Prepare(l)
	}
	return l
}

// Log returns a log, nil where there is none.
func (s *Store) Log(namespace string) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs[namespace]
}

// StagedLog is the log of a copy that is arriving, nil where there is none.
func (s *Store) StagedLog(namespace string) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stages[namespace]; st != nil {
		return st.log
	}
	return nil
}

// Accept names the lineage that is to be taken.
func (s *Store) Accept(namespace string, lineage dbkernel.Lineage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted[namespace] = lineage
}

// Open implements replicator.Store.
func (s *Store) Open(namespace string) (replicator.Log, error) {
	if l := s.Log(namespace); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%q: %w", namespace, dbkernel.ErrNamespaceNotFound)
}

// Accepted implements replicator.Store.
func (s *Store) Accepted(namespace string) dbkernel.Lineage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted[namespace]
}

// Truncate implements replicator.Store.
func (s *Store) Truncate(_ context.Context, namespace string, after uint64, _ string) error {
	l := s.Log(namespace)
	if l == nil {
		return fmt.Errorf("%q: %w", namespace, dbkernel.ErrNamespaceNotFound)
	}
	l.Supersede(after)
	return nil
}

// Stage implements replicator.Store. The stage takes whole logs and no chunks.
func (s *Store) Stage(namespace string, lineage dbkernel.Lineage) (replicator.Stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stages[namespace]
	if st == nil || st.lineage != lineage {
		st = &stage{store: s, name: namespace, lineage: lineage}
		s.stages[namespace] = st
	}
	return st, nil
}

// Staged implements replicator.Store.
func (s *Store) Staged(namespace string) (replicator.Stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stages[namespace]; st != nil {
		return st, nil
	}
	return nil, fmt.Errorf("stage of %q: %w", namespace, dbkernel.ErrNamespaceNotFound)
}

// stage is a copy in the making; the store's mutex guards it.
type stage struct {
	store   *Store
	name    string
	lineage dbkernel.Lineage
	log     *Log
	target  uint64
}

func (s *stage) Lineage() dbkernel.Lineage         { return s.lineage }
func (s *stage) EpochTable() []dbkernel.EpochStart { return nil }
func (s *stage) Chunks() []dbkernel.StagedChunk    { return nil }
func (s *stage) Missing() []dbkernel.KeyRange      { return []dbkernel.KeyRange{{}} }

func (s *stage) Rebase([]dbkernel.EpochStart, func(dbkernel.StagedChunk) bool) error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.log = nil
	return nil
}

func (s *stage) Put(context.Context, []dbkernel.Chunk) error { return errNoSnapshots }

func (s *stage) Finish(context.Context, dbkernel.SnapshotEnd) error { return errNoSnapshots }

func (s *stage) FromStart(_ []dbkernel.EpochStart, target uint64) error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.log, s.target = s.store.newLogLocked(s.name, s.lineage), target
	return nil
}

func (s *stage) Log() replicator.Log {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if s.log == nil {
		return nil
	}
	return s.log
}

func (s *stage) Ready() bool {
	s.store.mu.Lock()
	l, target := s.log, s.target
	s.store.mu.Unlock()
	return l != nil && l.Status().CommitLSN >= target
}

func (s *stage) WaitReady(ctx context.Context) error {
	s.store.mu.Lock()
	l, target := s.log, s.target
	s.store.mu.Unlock()
	return l.Wait(ctx, func(st dbkernel.Status) bool { return st.CommitLSN >= target })
}

func (s *stage) Install(context.Context, string) (replicator.Log, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.logs[s.name] = s.log
	delete(s.store.stages, s.name)
	return s.log, nil
}

func (s *stage) Discard() error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	delete(s.store.stages, s.name)
	return nil
}
