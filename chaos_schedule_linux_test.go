package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// fault is something that is done to the fleet for a while.
type fault struct {
	what       string
	begin, end func()
}

func (f *fleet) killed(n *chaosNode) fault {
	return fault{"kill " + n.name, n.kill, n.revive}
}

func (f *fleet) stopped(n *chaosNode) fault {
	return fault{"stop " + n.name, n.freeze, n.thaw}
}

// deaf cuts one direction: what a sends doesn't come to b.
func (f *fleet) deaf(a, b *chaosNode) fault {
	hear := func(hears bool) func() {
		return func() {
			if err := b.at.hear(a.at, hears); err != nil {
				f.t.Errorf("between %s and %s: %v", a.name, b.name, err)
			}
		}
	}
	return fault{fmt.Sprintf("cut %s>%s", a.name, b.name), hear(false), hear(true)}
}

// apart cuts both directions.
func (f *fleet) apart(a, b *chaosNode) []fault { return []fault{f.deaf(a, b), f.deaf(b, a)} }

// from cuts both directions between one node and others.
func (f *fleet) from(a *chaosNode, others []*chaosNode) (faults []fault) {
	for _, b := range others {
		if a != b {
			faults = append(faults, f.apart(a, b)...)
		}
	}
	return faults
}

// A step is faults that hold at the same time.
type step func(rng *rand.Rand) []fault

// deck is every kind of trouble, once. Which nodes it hits is chosen when it is drawn.
func (f *fleet) deck() []step {
	two := func(rng *rand.Rand, nodes []*chaosNode) (a, b *chaosNode) {
		p := rng.Perm(len(nodes))
		return nodes[p[0]], nodes[p[1]]
	}
	one := func(rng *rand.Rand, nodes []*chaosNode) *chaosNode { return nodes[rng.IntN(len(nodes))] }
	return []step{
		func(rng *rand.Rand) []fault { // a hub dies, and a relayer
			return []fault{f.killed(one(rng, f.hubs)), f.killed(one(rng, f.relayers))}
		},
		func(rng *rand.Rand) []fault { // no majority: two hubs are gone
			a, b := two(rng, f.hubs)
			return []fault{f.killed(a), f.killed(b)}
		},
		func(rng *rand.Rand) []fault { // a hub hangs, a relayer dies
			return []fault{f.stopped(one(rng, f.hubs)), f.killed(one(rng, f.relayers))}
		},
		func(rng *rand.Rand) []fault { // the relayer in the middle hangs, a hub dies
			return []fault{f.stopped(f.relayers[0]), f.killed(one(rng, f.hubs))}
		},
		func(rng *rand.Rand) []fault { // no hub can talk to any other, but to relayers
			return append(f.from(f.hubs[0], f.hubs), f.apart(f.hubs[1], f.hubs[2])...)
		},
		func(rng *rand.Rand) []fault { // one way only, between hubs
			a, b := two(rng, f.hubs)
			return []fault{f.deaf(a, b), f.killed(one(rng, f.relayers))}
		},
		func(rng *rand.Rand) []fault { // hubs see different neighbours
			a, b := two(rng, f.hubs)
			return f.apart(a, b)
		},
		func(rng *rand.Rand) (faults []fault) { // a hub hears nobody, and is heard
			a := one(rng, f.hubs)
			for _, b := range f.all() {
				if b != a {
					faults = append(faults, f.deaf(b, a))
				}
			}
			return faults
		},
		func(rng *rand.Rand) []fault { // a hub is alone
			return f.from(one(rng, f.hubs), f.all())
		},
		func(rng *rand.Rand) []fault { // a relayer loses a hub, and the other way one direction of another
			r := one(rng, f.relayers)
			a, b := two(rng, f.hubs)
			return append(f.apart(r, a), f.deaf(b, r))
		},
		func(rng *rand.Rand) []fault { // two hubs hang: no majority, nobody is told
			a, b := two(rng, f.hubs)
			return []fault{f.stopped(a), f.stopped(b)}
		},
		func(rng *rand.Rand) []fault { // the relayers in a row lose each other, a hub hangs
			return append(f.apart(f.relayers[0], f.relayers[2]), f.stopped(one(rng, f.hubs)))
		},
	}
}

// schedule draws from the deck until the time is over, and counts the faults.
func (f *fleet) schedule(ctx context.Context, rng *rand.Rand, duration time.Duration) (faults int) {
	f.t.Helper()
	began := time.Now()
	var deck []step
	for number := 1; time.Since(began) < duration && !f.t.Failed(); number++ {
		if len(deck) == 0 {
			deck = f.deck()
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		trouble := deck[0](rng)
		deck = deck[1:]
		faults += len(trouble)
		f.step(ctx, rng, number, trouble)
		pause(ctx, time.Duration(rng.IntN(500))*time.Millisecond)
	}
	return faults
}

// step makes trouble, for as long as the seed says and until everything has come through
// that must come through: a step is over when the streams have gone on, however slow the machine
// is.
func (f *fleet) step(ctx context.Context, rng *rand.Rand, number int, trouble []fault) {
	f.t.Helper()
	var what []string
	for _, t := range trouble {
		what = append(what, t.what)
	}
	began := time.Now()
	for _, t := range trouble {
		t.begin()
	}
	pause(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
	came, err := f.streamsGoOn(ctx, fmt.Sprintf("step/%03d", number))
	if err == nil && f.hasMajority() {
		err = f.controlGoesOn(ctx)
	}
	f.t.Logf("step %d, %v: %s; %d streams went on", number, time.Since(began).Round(time.Millisecond), strings.Join(what, ", "), came)
	if err != nil {
		f.t.Errorf("step %d: %v", number, err)
	}
	rng.Shuffle(len(trouble), func(i, j int) { trouble[i], trouble[j] = trouble[j], trouble[i] })
	for _, t := range trouble {
		t.end()
	}
}

// streamsGoOn writes to each namespace whose owner works, and waits until that is on every node
// that the owner can reach and be reached by. It answers how many these were.
func (f *fleet) streamsGoOn(ctx context.Context, key string) (came int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	note := func(e error) {
		mu.Lock()
		defer mu.Unlock()
		came++
		err = errors.Join(err, e)
	}
	for i, owner := range f.hubs {
		var reached []*chaosNode
		for _, n := range f.all() {
			if n != owner && n.reaches(owner) {
				reached = append(reached, n)
			}
		}
		if !owner.works() {
			continue
		}
		wg.Go(func() {
			p, e := owner.write(ctx, steadyName(i), key)
			if e != nil {
				note(e)
				return
			}
			for _, n := range reached {
				wg.Go(func() { note(n.await(ctx, steadyName(i), key, p)) })
			}
		})
	}
	wg.Wait()
	return came, err
}

// write writes one key, on the owner itself.
func (n *chaosNode) write(ctx context.Context, namespace, key string) (p client.Position, err error) {
	err = until(ctx, func() error {
		p, err = n.client.In(namespace).KV().Put(ctx, []byte(key), streamValue(key))
		return err
	})
	if err != nil {
		return p, fmt.Errorf("%s doesn't take a write to its %s: %w", n.name, namespace, err)
	}
	return p, nil
}

// await waits until a write has come to a node.
func (n *chaosNode) await(ctx context.Context, namespace, key string, p client.Position) error {
	var last error
	err := poll(ctx, func() (bool, error) {
		_, last = n.client.In(namespace).KV().Get(ctx, []byte(key), client.AtLeast(p), client.Wait(5*time.Second))
		return last == nil, nil
	})
	if err == nil {
		return nil
	}
	s, statusErr := n.client.Status(context.WithoutCancel(ctx))
	for _, ns := range s.Namespaces {
		if ns.Name == namespace {
			return fmt.Errorf("%s doesn't get what is written to %s: %w, %w; its status: %+v", n.name, namespace, err, last, ns)
		}
	}
	return fmt.Errorf("%s doesn't get what is written to %s: %w, %w; it doesn't have it (%v)", n.name, namespace, err, last, statusErr)
}

// hasMajority says that two hubs work and reach each other.
func (f *fleet) hasMajority() bool {
	for i, a := range f.hubs {
		for _, b := range f.hubs[:i] {
			if a.reaches(b) {
				return true
			}
		}
	}
	return false
}

// controlGoesOn waits until a hub answers from the newest state.
func (f *fleet) controlGoesOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answered, done := context.WithCancel(ctx)
	defer done()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, hub := range f.hubs {
		if !hub.works() {
			continue
		}
		wg.Go(func() {
			var last error
			err := poll(answered, func() (bool, error) {
				ctx, cancel := context.WithTimeout(answered, controlPatience)
				defer cancel()
				_, last = hub.client.Topology(ctx)
				return last == nil, nil
			})
			if err == nil {
				done()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, fmt.Errorf("%s: %w", hub.name, last))
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("a majority of the hubs is connected, and the control plane answers nothing: %w", errors.Join(errs...))
}
