package topology

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Stores are where a group keeps what it has: on disk, or in memory for tests.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore

	disk *diskLog // nil: in memory
}

// Names below the directory of the control plane.
const (
	identityName = "raft.json"
	logName      = "log.db"
	snapshotsDir = "snapshots" // raft makes it
)

const (
	keptSnapshots = 2
	cachedEntries = 512
)

// keyApplied is where it is noted how far the log was agreed on, beside Raft's own keys.
var keyApplied = []byte("unisondb/applied")

// openStores opens what a directory has, or makes it. What belongs to another hub or is of a
// newer version is refused before anything is written.
func openStores(dir string, id identity, log hclog.Logger) (*Stores, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the control plane's directory: %w", err)
	}
	if err := claim(dir, id); err != nil {
		return nil, err
	}
	if err := readableSnapshot(dir); err != nil {
		return nil, err
	}
	disk, err := openDiskLog(filepath.Join(dir, logName))
	if err != nil {
		return nil, err
	}
	cached, err := raft.NewLogCache(cachedEntries, disk)
	if err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, newSparse(log.Named("raft")))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the control plane's snapshots: %w", err), disk.Close())
	}
	return &Stores{Log: cached, Stable: disk, Snapshots: snapshots, disk: disk}, nil
}

// close closes what openStores has opened.
func (s *Stores) close() error {
	if s.disk == nil {
		return nil
	}
	return s.disk.Close()
}

// load brings a state machine to the newest state that is known to be agreed on: the snapshot
// and the log up to where it was noted. So a hub that starts without a leader knows what it
// knew, up to the last moments. Raft goes on from the snapshot; the machine skips what it has.
func (s *Stores) load(m *machine) error {
	snapshot, err := s.snapshot()
	if err != nil {
		return err
	}
	if snapshot.ID != "" {
		state, err := s.read(snapshot.ID)
		if err != nil {
			return fmt.Errorf("the control plane's newest snapshot (%s): %w", snapshot.ID, err)
		}
		m.set(state)
	}
	upTo, err := s.Stable.GetUint64(keyApplied)
	if err != nil && !isNotFound(err) {
		return err
	}
	last, err := s.Log.LastIndex()
	if err != nil {
		return err
	}
	for i := snapshot.Index + 1; i <= min(upTo, last) && m.problem() == nil; i++ {
		var l raft.Log
		if err := s.Log.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d of the control plane's log: %w", i, err)
		}
		m.Apply(&l)
	}
	return nil
}

// snapshot is the newest one; zero: there is none.
func (s *Stores) snapshot() (raft.SnapshotMeta, error) {
	list, err := s.Snapshots.List()
	if err != nil {
		return raft.SnapshotMeta{}, fmt.Errorf("reading the control plane's snapshots: %w", err)
	}
	if len(list) == 0 {
		return raft.SnapshotMeta{}, nil
	}
	return *list[0], nil
}

// settle has the log go with the newest snapshot, before Raft reads either.
func (s *Stores) settle() error {
	snapshot, err := s.snapshot()
	if err != nil {
		return err
	}
	at := position{snapshot.Index, snapshot.Term}
	if err := s.trim(at); err != nil {
		return err
	}
	apart, err := s.partsBehind(at)
	if err != nil || !apart {
		return err
	}
	last, err := s.Log.LastIndex()
	if err != nil {
		return err
	}
	return s.remove(at.index+1, last)
}

// trim removes the entries up to a snapshot from the log, unless the snapshot's own last entry is among them. They are
// from before it was installed, and may never have been agreed on: Raft leaves them there, where this hub would find
// them as a leader, and send them to who is behind.
func (s *Stores) trim(at position) error {
	var last raft.Log
	err := s.Log.GetLog(at.index, &last)
	if err == nil && last.Term == at.term {
		return nil
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	first, err := s.Log.FirstIndex()
	if err != nil || first == 0 || first > at.index {
		return err
	}
	return s.remove(first, at.index)
}

// partsBehind says whether what the log has behind a snapshot follows another entry than the snapshot's last one, and so
// was never agreed on: terms don't fall within a log.
func (s *Stores) partsBehind(at position) (bool, error) {
	var next raft.Log
	err := s.Log.GetLog(at.index+1, &next)
	if errors.Is(err, raft.ErrLogNotFound) {
		return false, nil
	}
	return err == nil && next.Term < at.term, err
}

func (s *Stores) remove(first, last uint64) error {
	if err := s.Log.DeleteRange(first, last); err != nil {
		return fmt.Errorf("removing entries %d to %d, which a snapshot has taken the place of, from the control plane's log: %w", first, last, err)
	}
	return nil
}

// read reads a snapshot, which its store checks.
func (s *Stores) read(id string) (*State, error) {
	_, r, err := s.Snapshots.Open(id)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	state, _, err := readSnapshot(bytes.NewReader(b))
	return state, err
}

// noteApplied keeps on disk how far the log is agreed on, some moments behind, and at the end.
func (g *Group) noteApplied() {
	noted := uint64(0)
	note := func() {
		index := g.State().Index
		if index == noted {
			return
		}
		if err := g.stores.Stable.SetUint64(keyApplied, index); err != nil {
			g.log.Warn("how far the control plane has come can't be noted", "error", err)
			return
		}
		noted = index
	}
	for g.pause(g.ctx, g.t.Noted) {
		note()
	}
	note()
}
