package topology

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// script is a leader of whichever term a test has it lead, and the hub that follows it.
type script struct {
	*testing.T
	*port
	hub *virtualHub
}

// newScript starts a hub that knows of nothing yet.
func newScript(t *testing.T, change func(*Options)) script {
	w := newWeather(1)
	s := script{t, w.open("far"), newVirtualHub(t, w, newArchive(), "b", grpcAddress("a"))}
	s.hub.o.SnapshotThreshold, s.hub.o.TrailingLogs = 1<<20, 1<<20
	if change != nil {
		change(&s.hub.o)
	}
	s.hub.start(t)
	return s
}

func (s script) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("far/i-far"), Addr: []byte(s.LocalAddr())}
}

// append sends entries of the leader's term, or none, behind one that the hub is to have.
func (s script) append(term uint64, prev position, commit uint64, entries ...*raft.Log) raft.AppendEntriesResponse {
	s.Helper()
	q := &raft.AppendEntriesRequest{
		RPCHeader: s.header(), Term: term, PrevLogEntry: prev.index, PrevLogTerm: prev.term, Entries: entries, LeaderCommitIndex: commit,
	}
	sent := *q
	var a raft.AppendEntriesResponse
	if err := s.AppendEntries(s.hub.id, raft.ServerAddress(s.hub.o.Address), q, &a); err != nil {
		s.Fatal(err)
	}
	if q.PrevLogEntry != sent.PrevLogEntry || q.LeaderCommitIndex != sent.LeaderCommitIndex || len(q.Entries) != len(sent.Entries) {
		s.Errorf("the leader's own request was changed to %+v", q)
	}
	synctest.Wait()
	return a
}

// install sends a snapshot, whose state has the namespaces that are named.
func (s script) install(term uint64, at position, namespaces ...string) raft.InstallSnapshotResponse {
	s.Helper()
	a, err := s.tryInstall(term, at, namespaces...)
	if err != nil {
		s.Fatal(err)
	}
	return a
}

func (s script) tryInstall(term uint64, at position, namespaces ...string) (raft.InstallSnapshotResponse, error) {
	s.Helper()
	state := then(s, NewState(), Begin{lin(0xc1)})
	var servers []raft.Server
	for _, id := range []string{"a", "b", "far"} {
		state = then(s, state, SetHub{Hub{ID: id, Instance: "i-" + id, Raft: raftAddress(id), GRPC: grpcAddress(id), Voter: true, ReadsUpTo: newest}})
		servers = append(servers, raft.Server{ID: serverID(id, "i-"+id), Address: raft.ServerAddress(raftAddress(id))})
	}
	for i, name := range namespaces {
		state = then(s, state, CreateNamespace{Name: name, Lineage: lin(i + 1), Owner: hubNode("a"), Created: day})
	}
	data := snapshotOf(s, state.at(at.index-1)) // the last entry is one of Raft's own
	q := &raft.InstallSnapshotRequest{
		RPCHeader: s.header(), SnapshotVersion: raft.SnapshotVersionMax, Term: term, LastLogIndex: at.index, LastLogTerm: at.term, Size: int64(len(data)),
		Configuration: raft.EncodeConfiguration(raft.Configuration{Servers: servers}), ConfigurationIndex: 3,
	}
	var a raft.InstallSnapshotResponse
	err := s.InstallSnapshot(s.hub.id, raft.ServerAddress(s.hub.o.Address), q, &a, bytes.NewReader(data))
	synctest.Wait()
	return a, err
}

// entry makes a namespace, at a position.
func (s script) entry(index, term uint64, namespace string) *raft.Log {
	s.Helper()
	data, err := Encode(CreateNamespace{Name: namespace, Lineage: lin(int(index)), Owner: hubNode("a"), Created: day})
	if err != nil {
		s.Fatal(err)
	}
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data, AppendedAt: time.Now()}
}

// TestConflictBehindASnapshot: a hub that has nothing but a snapshot before an entry that nobody agreed on gives that up
// for the next leader's.
func TestConflictBehindASnapshot(t *testing.T) {
	for name, onDisk := range map[string]bool{"in memory": false, "on disk": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t, func(o *Options) {
					if onDisk {
						o.Stores, o.Dir = nil, dir
					}
				})
				defer s.hub.crash(t)
				agreed := position{118, 3}
				if a := s.install(3, agreed); !a.Success {
					t.Fatalf("the snapshot: %+v", a)
				}
				if a := s.append(4, agreed, 118, s.entry(119, 4, "lost")); !a.Success {
					t.Fatalf("the entry of a leader that loses: %+v", a)
				}
				if a := s.append(5, position{119, 5}, 118); a.Success {
					t.Fatalf("an entry that it hasn't got: %+v", a)
				}
				if a := s.append(5, agreed, 119, s.entry(119, 5, "kept")); !a.Success {
					t.Errorf("the entry of the next leader: %+v", a)
				}
				if state := s.hub.State(); state.Index != 119 || state.Namespaces["kept"] == nil || state.Namespaces["lost"] != nil {
					t.Errorf("index %d, namespaces %v", state.Index, names(state.Namespaces))
				}
			})
		})
	}
}

// TestOtherHistory: a leader that has something else than what a hub has applied isn't followed, where the hub can tell. Raft's rules keep
// it from coming to that, but not an operator who recovers two hubs that differ. It is Raft that refuses; what comes before it must leave it the comparison.
func TestOtherHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, nil)
		defer s.hub.crash(t)
		s.install(3, position{118, 3})
		if a := s.append(4, position{118, 4}, 119, s.entry(119, 4, "other")); a.Success {
			t.Errorf("behind another snapshot: %+v", a)
		}
		s.append(4, position{118, 3}, 120, s.entry(119, 3, "x"), s.entry(120, 4, "y"))
		if a := s.append(5, position{119, 4}, 121, s.entry(120, 5, "other"), s.entry(121, 5, "other, too")); a.Success {
			t.Errorf("behind another entry: %+v", a)
		}
		if got := s.hub.State().Index; got != 120 {
			t.Errorf("index %d", got)
		}
	})
}

// TestCommitBeyondWhatWasSent: an entry that nobody agreed on isn't applied because the next leader has agreed with others on another
// one at its index, which it hasn't sent yet.
func TestCommitBeyondWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, nil)
		defer s.hub.crash(t)
		s.install(3, position{117, 3})
		before := s.entry(118, 3, "before")
		s.append(3, position{117, 3}, 118, before)
		s.append(4, position{118, 3}, 118, s.entry(119, 4, "lost"))
		s.append(5, position{118, 3}, 119)
		if state := s.hub.State(); state.Index != 118 {
			t.Errorf("it has applied index %d: %v", state.Index, names(state.Namespaces))
		}
		s.append(5, position{117, 3}, 119, before)
		if state := s.hub.State(); state.Index != 118 {
			t.Errorf("sent again, it has applied index %d: %v", state.Index, names(state.Namespaces))
		}
		s.append(5, position{118, 3}, 119, s.entry(119, 5, "kept"))
		if state := s.hub.State(); state.Index != 119 || state.Namespaces["kept"] == nil {
			t.Errorf("index %d, namespaces %v", state.Index, names(state.Namespaces))
		}
	})
}

// TestBehindASnapshot: whatever a leader has up to the end of a hub's snapshot is there, though the hub's log hasn't got it. A leader
// whose answers were lost sends it again, and as much as it likes at a time.
func TestBehindASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, nil)
		defer s.hub.crash(t)
		s.install(3, position{118, 3})
		s.append(4, position{118, 3}, 118, s.entry(119, 4, "lost"))
		s.store(s.entry(114, 2, "old")) // as from a build that leaves it there
		again := []*raft.Log{s.entry(115, 2, "w"), s.entry(116, 2, "x"), s.entry(117, 3, "y"), s.entry(118, 3, "z"), s.entry(119, 5, "kept")}
		for from := range again {
			for to := range len(again) {
				prev := position{again[from].Index - 1, 2}
				if from > 2 {
					prev.term = 3
				}
				a := s.append(5, prev, 119, again[from:max(from, to)]...)
				if state := s.hub.State(); !a.Success || state.Index != 117 {
					t.Errorf("entries %d to %d of the leader's: %+v; index %d, %v", from, to, a, state.Index, names(state.Namespaces))
				}
			}
		}
		a := s.append(5, position{114, 2}, 119, again...)
		if state := s.hub.State(); !a.Success || state.Index != 119 || state.Namespaces["kept"] == nil {
			t.Errorf("all: %+v; index %d, %v", a, state.Index, names(state.Namespaces))
		}
	})
}

// TestSnapshotOfTheLastEntry: the snapshot of what was agreed on in the place of a hub's last entry is what the hub has there.
func TestSnapshotOfTheLastEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, nil)
		defer s.hub.crash(t)
		s.install(3, position{118, 3})
		s.append(4, position{118, 3}, 118, s.entry(119, 4, "lost"))
		s.install(5, position{119, 5})
		if a := s.append(5, position{119, 5}, 119); !a.Success {
			t.Errorf("nothing new: %+v", a)
		}
		a := s.append(5, position{119, 5}, 120, s.entry(120, 5, "kept"))
		if state := s.hub.State(); !a.Success || state.Index != 120 {
			t.Errorf("what came behind it: %+v; index %d, %v", a, state.Index, names(state.Namespaces))
		}
	})
}

// store puts entries into the hub's log behind Raft's back.
func (s script) store(entries ...*raft.Log) {
	s.Helper()
	if err := s.hub.stores.Log.StoreLogs(entries); err != nil {
		s.Fatal(err)
	}
}

// logged are the entries that the hub's log has of the first so many.
func (s script) logged(n uint64) (all []position) {
	for i := range n {
		var l raft.Log
		if s.hub.stores.Log.GetLog(i, &l) == nil {
			all = append(all, position{l.Index, l.Term})
		}
	}
	return all
}

// TestEntriesBelowASnapshot: entries that nobody agreed on don't outlive the snapshot of what was agreed on in their place. The hub
// would send them to others as a leader.
func TestEntriesBelowASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, nil)
		defer func() { s.hub.crash(t) }()
		s.install(3, position{117, 3})
		s.append(3, position{117, 3}, 117, s.entry(118, 3, "before"), s.entry(119, 3, "agreed"))
		s.append(4, position{119, 3}, 117, s.entry(120, 4, "lost"), s.entry(121, 4, "lost, too"), s.entry(122, 4, "and this"))
		s.install(5, position{119, 3})
		if got, want := s.logged(200), []position{{118, 3}, {119, 3}, {120, 4}, {121, 4}, {122, 4}}; !slices.Equal(got, want) {
			t.Errorf("a snapshot of what the log has: %v", got)
		}
		s.install(5, position{121, 5})
		if got, want := s.logged(200), []position{{122, 4}}; !slices.Equal(got, want) {
			t.Errorf("a snapshot of something else: %v", got)
		}
		a := s.append(5, position{121, 5}, 122, s.entry(122, 5, "kept"))
		if state := s.hub.State(); !a.Success || state.Index != 122 || !slices.Equal(s.logged(200), []position{{122, 5}}) {
			t.Errorf("what came behind the snapshot: %+v; index %d, log %v", a, state.Index, s.logged(200))
		}

		s.install(6, position{130, 6})
		s.hub.crash(t)
		s.store(s.entry(122, 5, "kept"), s.entry(123, 5, "lost")) // as when it had ended in between
		s.hub.start(t)
		if got := s.logged(200); len(got) > 0 {
			t.Errorf("after the start: %v", got)
		}
	})
}

// stuckLog is a log that, for a while, nothing can be removed from.
type stuckLog struct {
	raft.LogStore
	stuck error
}

func (l *stuckLog) DeleteRange(from, to uint64) error {
	if l.stuck != nil {
		return l.stuck
	}
	return l.LogStore.DeleteRange(from, to)
}

// TestEntriesThatCannotBeRemoved: a hub that can't remove the entries below a snapshot takes nothing until it can.
func TestEntriesThatCannotBeRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &stuckLog{}
		s := newScript(t, func(o *Options) { log.LogStore, o.Stores.Log = o.Stores.Log, log })
		defer s.hub.crash(t)
		s.install(3, position{117, 3})
		s.append(3, position{117, 3}, 117, s.entry(118, 3, "before"))
		s.append(4, position{118, 3}, 117, s.entry(119, 4, "lost"))
		log.stuck = errors.New("the disk is full")
		for range 2 {
			if a, err := s.tryInstall(5, position{130, 5}); err == nil {
				t.Errorf("with what it can't remove: %+v", a)
			}
		}
		log.stuck = nil
		a := s.append(5, position{130, 5}, 131, s.entry(131, 5, "kept"))
		if got, want := s.logged(200), []position{{131, 5}}; !a.Success || !slices.Equal(got, want) {
			t.Errorf("once it can: %+v, log %v", a, got)
		}
	})
}

// TestEntriesBehindASnapshotThatPart: entries that follow another one than a snapshot's last aren't there after a start, and
// no recovery counts them as agreed on.
func TestEntriesBehindASnapshotThatPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, nil)
		defer func() { s.hub.crash(t) }()
		s.install(5, position{118, 5})
		s.hub.crash(t)
		s.store(s.entry(119, 4, "lost"), s.entry(120, 4, "lost, too"))
		r := &recovery{machine: newMachine("")}
		if err := r.replay(s.hub.stores); err != nil || len(r.state.Load().Namespaces) != 0 {
			t.Errorf("recovered: %v; %v", err, names(r.state.Load().Namespaces))
		}
		if got := s.logged(200); len(got) != 2 {
			t.Errorf("looking at it has changed the log: %v", got)
		}
		s.hub.start(t)
		if got := s.logged(200); len(got) != 0 {
			t.Errorf("after the start: %v", got)
		}
	})
}

// TestNothingIsTakenBack: a hub that has started again, and knows more than Raft does until it has heard of a leader,
// goes on from there when it gets a snapshot of less.
func TestNothingIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, nil)
		defer func() { s.hub.crash(t) }()
		s.install(3, position{110, 3})
		s.append(3, position{110, 3}, 113, s.entry(111, 3, "x"), s.entry(112, 3, "y"), s.entry(113, 3, "z"))
		s.hub.crash(t)
		s.hub.start(t)
		if got := s.hub.State().Index; got != 113 {
			t.Fatalf("after the start: index %d", got)
		}
		if a := s.install(3, position{112, 3}); !a.Success || s.hub.State().Index != 113 {
			t.Errorf("%+v; index %d", a, s.hub.State().Index)
		}
		a := s.append(3, position{113, 3}, 114, s.entry(114, 3, "next"))
		if state := s.hub.State(); !a.Success || state.Index != 114 || len(state.Namespaces) != 4 {
			t.Errorf("what comes next: %+v; index %d, %v", a, state.Index, names(state.Namespaces))
		}
	})
}

// TestSnapshotOfTheSameIndex: a recovery changes who is in the group and no index, and those who take its snapshot
// learn it.
func TestSnapshotOfTheSameIndex(t *testing.T) {
	before := then(t, NewState(), Begin{lin(0xc1)}).at(10)
	m := newMachine("")
	m.set(before)
	recovered, err := before.withHubs([]Hub{{ID: "b", Instance: "i-b", Raft: raftAddress("b"), GRPC: grpcAddress("b"), Voter: true, ReadsUpTo: newest}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, recovered)))); err != nil {
		t.Fatal(err)
	}
	if hubs := m.state.Load().Hubs; len(hubs) != 1 || hubs["b"] == nil {
		t.Errorf("the hubs are %v", hubs)
	}
}

// TestReplayBehindAGap: a recovery doesn't look for entries that a snapshot has taken the place of.
func TestReplayBehindAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, nil)
		s.install(3, position{118, 3})
		s.hub.crash(t)
		s.store(s.entry(110, 2, "old"), s.entry(119, 3, "kept"))
		r := &recovery{machine: newMachine("")}
		if err := r.replay(s.hub.stores); err != nil || r.state.Load().Index != 119 {
			t.Errorf("%v; index %d", err, r.state.Load().Index)
		}
	})
}
