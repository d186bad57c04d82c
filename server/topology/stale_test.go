package topology

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// mail is a transport whose answers can be held back, and that can be cut off.
type mail struct {
	*raft.InmemTransport
	mu    sync.Mutex
	held  chan struct{}               // closed: answers arrive; nil: they aren't held back
	read  map[raft.ServerAddress]bool // whose answers are held back
	apart map[raft.ServerAddress]bool
}

func (m *mail) away(to raft.ServerAddress) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.apart[to]
}

// hold keeps answers back until release is called, at the end of the test at the latest: the
// hubs couldn't be stopped.
func (m *mail) hold(t *testing.T) (release func()) {
	held := make(chan struct{})
	m.mu.Lock()
	m.held, m.read = held, map[raft.ServerAddress]bool{}
	m.mu.Unlock()
	release = sync.OnceFunc(func() {
		close(held)
		m.mu.Lock()
		m.held = nil
		m.mu.Unlock()
	})
	t.Cleanup(release)
	return release
}

func (m *mail) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (m *mail) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	if m.away(to) {
		return errors.New("cut off")
	}
	err := m.InmemTransport.AppendEntries(id, to, q, a)
	m.mu.Lock()
	held := m.held
	if held != nil {
		m.read[to] = true
	}
	m.mu.Unlock()
	if held != nil {
		<-held
	}
	return err
}

func (m *mail) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	if m.away(to) {
		return errors.New("cut off")
	}
	return m.InmemTransport.RequestVote(id, to, q, a)
}

// newMailHubs are three hubs that write to each other by mail. Nobody misses a leader by itself.
func newMailHubs(t *testing.T) (*tcpHubs, map[string]*mail) {
	t.Helper()
	f := newTCPHubs(t)
	mails := map[string]*mail{}
	f.group(3, func(o *Options) {
		_, in := raft.NewInmemTransportWithTimeout(raft.ServerAddress(o.Address), patience)
		m := &mail{InmemTransport: in, apart: map[raft.ServerAddress]bool{}}
		for _, other := range mails {
			m.Connect(other.LocalAddr(), other.InmemTransport)
			other.Connect(m.LocalAddr(), in)
		}
		mails[o.NodeID] = m
		o.Transport = m
		o.Timeouts.Heartbeat, o.Timeouts.Election, o.Timeouts.Lease = time.Hour, time.Hour, time.Hour
	})
	return f, mails
}

// TestOldAnswersProveNothing: a leader that was stopped, and has lost its leadership meanwhile, finds answers that were
// given to it before. They don't make what it knows the newest.
func TestOldAnswersProveNothing(t *testing.T) {
	f, mails := newMailHubs(t)
	old := f.awaitLeader()
	await(t, "all logs are as long, so that anybody may be elected", func() bool {
		for _, h := range f.hubs {
			if h.raft.LastIndex() != old.raft.LastIndex() || h.State().Index != old.State().Index || !h.settled() {
				return false
			}
		}
		return true
	})
	m := mails[old.NodeID]
	release := m.hold(t)
	old.raft.VerifyLeader() // both others are asked, and answer
	await(t, "both have answered", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.read) == 2 })

	// From here on it is alone, and another one leads.
	for id, other := range mails {
		other.mu.Lock()
		for to := range mails {
			if (id == old.NodeID) != (to == old.NodeID) {
				other.apart[mails[to].LocalAddr()] = true
			}
		}
		other.mu.Unlock()
	}
	var others []*hub
	for id, h := range f.hubs {
		if id != old.NodeID {
			others = append(others, h)
		}
	}
	var next *hub
	asked, elections := time.Time{}, 0
	await(t, "another one leads", func() bool {
		// One that came to nothing isn't followed by another one of the same hub for an hour.
		if time.Since(asked) > time.Second {
			others[elections%2].link.elect()
			asked, elections = time.Now(), elections+1
		}
		for _, h := range others {
			if h.term.Load() != nil {
				next = h
			}
		}
		return next != nil
	})
	if _, err := next.Propose(within(t), someNamespace("new")); err != nil {
		t.Fatal(err)
	}
	if old.term.Load() == nil {
		t.Fatal("the old leader knows that it is none")
	}

	read := make(chan uint64, 1)
	go func() {
		index, err := old.readIndex(t.Context())
		if err != nil {
			index = 1 << 60 // it says that it doesn't know
		}
		read <- index
	}()
	for range 100 { // Raft's loop has taken up the question by then
		_ = old.raft.GetConfiguration().Error()
		_ = old.raft.Apply(nil, 0)
	}
	release()
	select {
	case index := <-read:
		if index < next.State().Index {
			t.Errorf("it reads at %d what is at %d", index, next.State().Index)
		}
	case <-time.After(5 * old.t.Retry): // it still asks, for which it has an hour
	}
}

// TestUnansweredReads: reads that nobody answered in time are in nobody's way when the hub stops, however many
// they were.
func TestUnansweredReads(t *testing.T) {
	f, mails := newMailHubs(t)
	leader := f.awaitLeader()
	m := mails[leader.NodeID]
	release := m.hold(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := leader.readIndex(ctx); err == nil {
				t.Error("a read that nobody has confirmed")
			}
		})
	}
	wg.Wait()
	stopped := make(chan struct{})
	stops := leader.link.stop
	go func() {
		leader.kill()
		close(stopped)
	}()
	await(t, "Raft stops", func() bool { return isClosed(stops) })
	release()
	await(t, "the hub has stopped", func() bool { return isClosed(stopped) })
}
