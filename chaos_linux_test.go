package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// TestChaos runs three hubs and four relayers, one of which follows another, as processes in
// network namespaces, and does to them what a seeded schedule says: kill -9, SIGSTOP, cuts of
// one direction and of both. Meanwhile clients use the control plane and write data. What the
// control plane answered is linearizable, nothing that was acknowledged is lost, data gets from
// owners to all nodes that they can reach while the trouble lasts, and after it all nodes come to
// the same.
func TestChaos(t *testing.T) {
	t.Parallel()
	duration := chaosDuration(t)
	seed := seedFromEnv(t)
	rng := rand.New(rand.NewPCG(seed, 6))
	f := newFleet(t)
	ctx, cancel := context.WithTimeout(t.Context(), duration+10*patience)
	defer cancel()
	defer f.explain()
	f.start()
	f.prepare(ctx)

	doors := newControlDoors(t, f.hubClients(), f.relayerNames())
	streams := f.streams()
	stop := f.load(ctx, doors, streams, seed)
	faults := f.schedule(ctx, rng, duration)
	stop()
	if t.Failed() {
		return
	}
	if _, err := f.streamsGoOn(ctx, "the end"); err != nil {
		t.Fatal(err)
	}
	doors.readAll(ctx)
	doors.history.check(t)
	f.converge(ctx)
	acknowledged := 0
	for _, s := range streams {
		acknowledged += len(s.acknowledged)
		s.check(ctx, t, s.owner)
	}
	t.Logf("%d faults; answers of the control plane: %v; %d acknowledged writes", faults, doors.answers, acknowledged)
	f.stop(ctx)
}

// chaosDuration is how long trouble is made.
func chaosDuration(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("DURATION")
	if s == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("DURATION=%s: %v", s, err)
	}
	return d
}

func (f *fleet) hubClients() (clients []*client.Client) {
	for _, h := range f.hubs {
		clients = append(clients, h.client)
	}
	return clients
}

func (f *fleet) relayerNames() (names []string) {
	for _, r := range f.relayers {
		names = append(names, r.name)
	}
	return names
}

// prepare waits until all nodes have what they are to have at first, and puts one relayer
// below another.
func (f *fleet) prepare(ctx context.Context) {
	f.t.Helper()
	for i, h := range f.hubs {
		awaitNamespace(ctx, f.t, h.process, steadyName(i))
	}
	awaitNamespace(ctx, f.t, f.relayers[chaosRelayers-1].process, insights)
	var last error
	err := poll(ctx, func() (bool, error) { // it has to attend a hub before it is known
		_, last = f.hubs[0].client.SetUpstream(ctx, f.relayers[2].name, f.relayers[0].name)
		return last == nil, nil
	})
	if err != nil {
		f.t.Fatalf("putting %s below %s: %v: %v", f.relayers[2].name, f.relayers[0].name, err, last)
	}
	if _, err := f.streamsGoOn(ctx, "the beginning"); err != nil {
		f.t.Fatal(err)
	}
}

// streams are clients that write at each namespace's owner, at a hub that passes it on, and
// at the relayer that owns a namespace.
func (f *fleet) streams() (all []*stream) {
	for i, owner := range f.hubs {
		other := f.hubs[(i+1)%len(f.hubs)]
		all = append(all,
			&stream{namespace: steadyName(i), label: "direct", door: owner.client, owner: owner.client},
			&stream{namespace: steadyName(i), label: "passed", door: other.client, owner: owner.client})
	}
	edge := f.relayers[chaosRelayers-1].client
	return append(all, &stream{namespace: insights, label: "edge", door: edge, owner: edge})
}

// load lets all clients work. The function stops them.
func (f *fleet) load(ctx context.Context, doors *controlDoors, streams []*stream, seed uint64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() { doors.work(ctx, i, rand.New(rand.NewPCG(seed, 100+uint64(i)))) })
	}
	for _, s := range streams {
		wg.Go(func() {
			if err := s.work(ctx); err != nil {
				f.t.Error(err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	f.t.Cleanup(stop)
	return stop
}

// converge waits until every node has exactly the namespaces that it is to have, and at one
// mark the same in each of them.
func (f *fleet) converge(ctx context.Context) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	topology, err := f.hubs[0].client.Topology(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	var wg sync.WaitGroup
	limit := make(chan struct{}, 8)
	for _, ns := range topology.Namespaces {
		if ns.Deleted != nil {
			continue
		}
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			if err := f.equal(ctx, ns, topology.Assignments); err != nil {
				f.t.Errorf("%s doesn't converge: %v", ns.Name, err)
			}
		})
	}
	for _, n := range f.all() {
		wg.Go(func() {
			if err := f.hasOnly(ctx, n, topology); err != nil {
				f.t.Error(err)
			}
		})
	}
	wg.Wait()
	f.t.Logf("%d namespaces converged", len(topology.Namespaces))
}

// holders are the nodes that are to have a namespace, its owner first.
func (f *fleet) holders(ns client.NamespaceInfo, given []client.Assignment) (holders []*chaosNode) {
	for _, n := range f.all() {
		switch {
		case n.name == ns.Owner:
			holders = slices.Insert(holders, 0, n)
		case n.role == "server" && slices.Contains(ns.Hubs, n.name),
			n.role == "relayer" && ns.Replicate != nil && slices.Contains(ns.Replicate.Relayers, "*"),
			slices.ContainsFunc(given, func(a client.Assignment) bool { return a.Namespace == ns.Name && a.Relayer == n.name }):
			holders = append(holders, n)
		}
	}
	return holders
}

// equal waits until all that are to have a namespace have the owner's digests at a mark.
func (f *fleet) equal(ctx context.Context, ns client.NamespaceInfo, given []client.Assignment) error {
	holders := f.holders(ns, given)
	if len(holders) == 0 || holders[0].name != ns.Owner {
		return fmt.Errorf("nobody is %s, the owner", ns.Owner)
	}
	var want client.Digests
	for i, n := range holders {
		var last error
		err := poll(ctx, func() (bool, error) {
			var got client.Digests
			if i == 0 {
				var mark client.Position
				if mark, last = n.client.In(ns.Name).WriteMark(ctx); last == nil {
					want, last = n.client.In(ns.Name).Digests(ctx, mark.LSN, 10*time.Second)
				}
				return last == nil, nil
			}
			if got, last = n.client.In(ns.Name).Digests(ctx, want.LSN, 10*time.Second); last == nil && got.Digest != want.Digest {
				last = fmt.Errorf("its digest at LSN %d is %s, the owner's is %s", want.LSN, got.Digest, want.Digest)
			}
			return last == nil, nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w: %w", n.name, err, last)
		}
	}
	return nil
}

// hasOnly waits until a node has all that it is to have, in order, and nothing else. What a relayer
// owns stays at each hub that it has once come to.
func (f *fleet) hasOnly(ctx context.Context, n *chaosNode, topology client.Topology) error {
	var want, got []string
	for _, ns := range topology.Namespaces {
		if ns.Deleted == nil && slices.Contains(f.holders(ns, topology.Assignments), n) {
			want = append(want, ns.Name+" serving")
		}
	}
	alsoHas := func(name string) bool { return n.role == "server" && name == insights+" serving" }
	slices.Sort(want)
	err := poll(ctx, func() (bool, error) {
		s, err := n.client.Status(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // it is asked again
		}
		got = nil
		for _, ns := range s.Namespaces {
			if has := ns.Name + " " + ns.State; !alsoHas(has) || slices.Contains(want, has) {
				got = append(got, has)
			}
		}
		slices.Sort(got)
		return slices.Equal(got, want), nil
	})
	if err != nil {
		return fmt.Errorf("%s has %v, and is to have %v: %w", n.name, got, want, err)
	}
	return nil
}

// stop ends all nodes as an operator does. One that hangs is shown with its stacks.
func (f *fleet) stop(ctx context.Context) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, n := range f.all() {
		wg.Go(func() {
			if err := n.stop(ctx); err != nil {
				f.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// explain prints the end of what each node said, where the test has failed.
func (f *fleet) explain() {
	if !f.t.Failed() {
		return
	}
	for _, n := range f.all() {
		f.explainNode(n)
	}
}

func (f *fleet) explainNode(n *chaosNode) {
	const end = 8 << 10
	said := n.said.String()
	from := max(0, len(said)-end)
	if stacks := strings.Index(said, "SIGABRT: abort"); stacks >= 0 {
		from = max(0, stacks-end)
	}
	f.t.Logf("%s said:\n%s", n.name, said[from:])
}
