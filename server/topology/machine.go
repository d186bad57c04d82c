package topology

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// machine is the state machine as Raft sees it. Raft calls Apply, Snapshot and Restore one
// at a time; everybody else loads the state.
type machine struct {
	version string // of this build

	state  atomic.Pointer[State]
	broken atomic.Pointer[error]
	failed chan struct{} // closed when something couldn't be read

	mu    sync.Mutex
	moved chan struct{} // closed when there is another state
}

func newMachine(version string) *machine {
	m := &machine{version: version, failed: make(chan struct{}), moved: make(chan struct{})}
	m.state.Store(NewState())
	return m
}

// changes is closed at the next change of the state.
func (m *machine) changes() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moved
}

// set makes s the state.
func (m *machine) set(s *State) {
	m.state.Store(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.moved)
	m.moved = make(chan struct{})
}

// problem is what couldn't be read; nil: nothing.
func (m *machine) problem() error {
	if err := m.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// giveUp ends it: the state stays as it is.
func (m *machine) giveUp(err error) {
	if m.broken.CompareAndSwap(nil, &err) {
		close(m.failed)
	}
}

// applied is what came of an entry.
type applied struct {
	refused *Error // nil: the change was made
}

// Apply implements raft.FSM. An entry that is in the state already, because the disk had it
// noted as agreed on, is skipped.
func (m *machine) Apply(l *raft.Log) any {
	s := m.state.Load()
	if l.Type != raft.LogCommand || l.Index <= s.Index || m.problem() != nil {
		return nil
	}
	next, refused, err := s.applyEntry(l.Index, l.Data)
	if err != nil {
		m.giveUp(fmt.Errorf("entry %d of the control plane's log: %w", l.Index, err))
		return nil
	}
	m.set(next)
	return applied{refused}
}

// Snapshot implements raft.FSM: a state is never changed, so that it is one.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.problem(); err != nil {
		return nil, err
	}
	return frozen{m.state.Load(), m.version}, nil
}

// Restore implements raft.FSM. A snapshot that is older than the state, which the disk may have noted as
// agreed on beyond what Raft knows of at its start, takes nothing back.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close() //nolint:errcheck // it was read
	s, _, err := readSnapshot(r)
	if err != nil {
		m.giveUp(fmt.Errorf("a snapshot of the control plane: %w", err))
		return err
	}
	if s.Index >= m.state.Load().Index { // Recover changes who is in the group, and no index
		m.set(s)
	}
	return nil
}

// frozen is a state that is being written.
type frozen struct {
	state   *State
	version string
}

// Persist implements raft.FSMSnapshot.
func (f frozen) Persist(sink raft.SnapshotSink) error { return f.state.writeSnapshot(sink, f.version) }

// Release implements raft.FSMSnapshot.
func (frozen) Release() {}
