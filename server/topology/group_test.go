package topology

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// someNamespace is a change that nobody refuses the first time.
func someNamespace(name string) Command {
	var c = CreateNamespace{Name: name, Owner: Node{KindHub, "hub-1"}, Settings: Settings{Acks: "local"}, Created: time.Unix(1, 0).UTC()}
	id, err := newClusterID()
	if err != nil {
		panic(err)
	}
	c.Lineage = id
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestAlone: a hub without a raft block leads at once, takes changes, and has them after a restart
// before anybody was elected.
func TestAlone(t *testing.T) {
	f := newTCPHubs(t)
	h := f.add("hub-1", func(o *Options) { o.Address, o.GRPC, o.Peers = "", "", nil }).start()
	began := time.Now()
	index, err := h.Propose(within(t), someNamespace("a"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the first change was made %s after the start", time.Since(began))
	s, err := h.Sync(within(t))
	if err != nil || s.Index < index || s.Namespaces["a"] == nil || s.Hubs["hub-1"] == nil || s.Cluster == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	if f := h.Freshness(); !f.IsLeader || f.Leader != "hub-1" || f.Problem != "" || f.LastContact != 0 {
		t.Errorf("%+v", f)
	}
	_, err = h.Propose(within(t), someNamespace("a"))
	if CodeOf(err) != CodeNamespaceExists {
		t.Errorf("made twice: %v", err)
	}
	h.kill()
	h.Timeouts.Tick = time.Hour
	h.start()
	if s := h.State(); s.Namespaces["a"] == nil || s.Index < index || s.Chain == (Hash{}) {
		t.Errorf("after a restart, before an election: %+v", s)
	}
	again, err := h.Sync(within(t))
	if err != nil || again.Cluster != s.Cluster {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestThree: hubs that join get their vote, any of them takes changes and answers what is
// newest, and they all have the same.
func TestThree(t *testing.T) {
	f := newTCPHubs(t)
	f.group(3, nil)
	for id, h := range f.hubs {
		if _, err := h.Propose(within(t), someNamespace("of-"+id)); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		for other, o := range f.hubs {
			if s, err := o.Sync(within(t)); err != nil || s.Namespaces["of-"+id] == nil {
				t.Fatalf("%s doesn't have what %s was told: %v", other, id, err)
			}
		}
		if _, err := h.Propose(within(t), someNamespace("of-"+id)); CodeOf(err) != CodeNamespaceExists || !strings.Contains(err.Error(), id) {
			t.Errorf("%s: a refusal comes as %v", id, err)
		}
	}
	f.converge()
	for id, h := range f.hubs {
		members, err := h.Members(within(t))
		if err != nil || len(members) != 3 {
			t.Fatalf("%s: %+v, %v", id, members, err)
		}
		leaders := 0
		for _, m := range members {
			if m.Role == Leader {
				leaders++
			}
			if !m.Healthy || m.LastContact < 0 || m.Version != "test" || !m.Voter {
				t.Errorf("%s sees %+v", id, m)
			}
		}
		if leaders != 1 {
			t.Errorf("%s sees %d leaders", id, leaders)
		}
	}
}

// converge waits until all running hubs have the same state.
func (f *tcpHubs) converge() {
	f.t.Helper()
	await(f.t, "all hubs have the same state", func() bool {
		seen := map[string]bool{}
		for _, h := range f.hubs {
			if h.Group != nil {
				s := h.State()
				seen[s.Chain.String()+s.Cluster] = true
			}
		}
		return len(seen) == 1
	})
}

func TestWatch(t *testing.T) {
	f := newTCPHubs(t)
	h := f.add("hub-1", func(o *Options) { o.Address, o.GRPC, o.Peers = "", "", nil }).start()
	if _, err := h.Sync(within(t)); err != nil {
		t.Fatal(err)
	}
	before := h.State().Index
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := h.Group.Watch(ctx, before+1000)
		done <- err
	}()
	if _, err := h.Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	if s, err := h.Watch(within(t), before); err != nil || s.Namespaces["a"] == nil {
		t.Errorf("%+v, %v", s, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
