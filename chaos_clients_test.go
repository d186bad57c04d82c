package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// How long clients wait for an answer before they take its outcome for unknown, how
// they pace themselves, and when they go on to another name: one that much was done to,
// or not known, makes its history slow to check.
const (
	controlPatience = 4 * time.Second
	controlLong     = 15 * time.Second // longer than a hub waits for a leader
	controlPause    = 30 * time.Millisecond
	controlNames    = 4
	controlOps      = 60
	controlUnknown  = 3
)

// controlDoors are hubs whose control plane clients use.
type controlDoors struct {
	t        *testing.T
	hubs     []*client.Client
	relayers []string // which namespaces are given to
	history  *controlHistory
	values   atomic.Int64 // each is written once

	mu          sync.Mutex
	generations [controlNames]int
	answers     map[string]int // how many of what kind
}

func newControlDoors(t *testing.T, hubs []*client.Client, relayers []string) *controlDoors {
	return &controlDoors{t: t, hubs: hubs, relayers: relayers, history: newControlHistory(), answers: map[string]int{}}
}

// name chooses a name to do something with. Clients share a few.
func (d *controlDoors) name(rng *rand.Rand) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := rng.IntN(controlNames)
	name := fmt.Sprintf("churn-%d-%d", i, d.generations[i])
	if ops, unknown := d.history.sizes(name); ops >= controlOps || unknown >= controlUnknown {
		d.generations[i]++
		name = fmt.Sprintf("churn-%d-%d", i, d.generations[i])
	}
	return name
}

// names are all that were used.
func (d *controlDoors) names() (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, last := range d.generations {
		for g := range last + 1 {
			names = append(names, fmt.Sprintf("churn-%d-%d", i, g))
		}
	}
	return names
}

// work is one client, until ctx ends.
func (d *controlDoors) work(ctx context.Context, number int, rng *rand.Rand) {
	for ctx.Err() == nil {
		hub := d.hubs[rng.IntN(len(d.hubs))]
		wait := controlPatience
		if rng.IntN(2) == 0 {
			wait = controlLong
		}
		d.do(context.WithoutCancel(ctx), number, hub, d.choose(rng), wait)
		pause(ctx, controlPause)
	}
}

func (d *controlDoors) choose(rng *rand.Rand) controlCall {
	c := controlCall{Name: d.name(rng), Value: d.values.Add(1), Relayer: rng.IntN(len(d.relayers))}
	switch p := rng.IntN(100); {
	case p < 14:
		c.Kind = controlCreate
	case p < 20:
		c.Kind = controlDelete
	case p < 32:
		c.Kind = controlSet
	case p < 42:
		c.Kind = controlSetRate
	case p < 56:
		c.Kind = controlAssign
	case p < 66:
		c.Kind = controlUnassign
	case p < 85:
		c.Kind = controlRead
	default:
		c.Kind = controlReadList
	}
	return c
}

// do makes a call and notes what came of it, unless it is sure that nothing did.
func (d *controlDoors) do(ctx context.Context, number int, hub *client.Client, c controlCall, wait time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	called := d.history.now()
	a, err := d.call(ctx, hub, c)
	returned := d.history.now()
	noted, kind := d.understand(&a, err)
	d.mu.Lock()
	d.answers[kind]++
	d.mu.Unlock()
	if noted {
		d.history.note(number, c, a, called, returned)
	}
	return noted && !a.Unknown
}

// understand makes of an error what it says of the call. What the contract calls not done
// has no place in the history.
func (d *controlDoors) understand(a *controlAnswer, err error) (noted bool, kind string) {
	var answer *client.Error
	switch {
	case err == nil:
		return true, "ok"
	case errors.Is(err, client.ErrUnreachable):
		return false, "down"
	case !errors.As(err, &answer):
		a.Unknown = true
		return true, "no answer"
	case answer.Code == "NO_LEADER":
		return false, answer.Code
	case answer.Status >= 500:
		a.Unknown = true
		if answer.Status == http.StatusInternalServerError {
			d.t.Errorf("a hub answers %v", answer)
		}
		return true, answer.Code
	}
	a.Refused = answer.Code
	return true, "refused"
}

// call makes a call by the operator API.
func (d *controlDoors) call(ctx context.Context, hub *client.Client, c controlCall) (a controlAnswer, err error) {
	given := client.Assignment{Namespace: c.Name, Relayer: d.relayers[c.Relayer]}
	quota := client.NamespaceSettings{MaxBytes: new(1<<40 + c.Value)}
	switch c.Kind {
	case controlCreate:
		_, err = hub.CreateNamespace(ctx, c.Name, client.NewNamespace{NamespaceSettings: quota})
	case controlDelete:
		_, err = hub.DeleteNamespace(ctx, c.Name, time.Hour)
	case controlSet:
		_, err = hub.SetNamespace(ctx, c.Name, quota)
	case controlSetRate:
		_, err = hub.SetNamespace(ctx, c.Name, client.NamespaceSettings{WriteBytesPerSecond: new(1<<40 + c.Value)})
	case controlAssign:
		_, err = hub.Assign(ctx, given)
	case controlUnassign:
		_, err = hub.Unassign(ctx, given)
	case controlRead:
		var info client.NamespaceInfo
		if info, err = hub.NamespaceInfo(ctx, c.Name); err == nil && info.Quota != nil {
			a.Quota, a.Rate = max(0, info.Quota.MaxBytes-1<<40), max(0, info.Quota.WriteBytesPerSecond-1<<40)
		}
	case controlReadList:
		var all client.Topology
		all, err = hub.Topology(ctx)
		for _, given := range all.Assignments {
			if i := slices.Index(d.relayers, given.Relayer); i >= 0 && given.Namespace == c.Name {
				a.Assigned |= 1 << i
			}
		}
	}
	return a, err
}

// readAll reads every name at every hub, as the end of the history: what was acknowledged
// and is lost is seen there.
func (d *controlDoors) readAll(ctx context.Context) {
	d.t.Helper()
	for i, hub := range d.hubs {
		for _, name := range d.names() {
			for _, kind := range []controlKind{controlRead, controlReadList} {
				err := poll(ctx, func() (bool, error) {
					return d.do(ctx, 100+i, hub, controlCall{Kind: kind, Name: name}, controlLong), nil
				})
				if err != nil {
					d.t.Fatalf("%s of %s: %v", kind, name, err)
				}
			}
		}
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// stream is a client that writes to a namespace all the time. Each key is written once,
// so that a request which arrives late changes nothing.
type stream struct {
	namespace string
	label     string         // of its keys
	door      *client.Client // that it writes at
	owner     *client.Client

	mu           sync.Mutex
	acknowledged []string
}

const streamPause = 20 * time.Millisecond

func streamValue(key string) []byte { return noise(key, 1, 100) }

// work writes until ctx ends. What isn't acknowledged is written again, as it is.
func (s *stream) work(ctx context.Context) error {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("%s/%06d", s.label, i)
		if err := s.put(ctx, key); err != nil {
			return err
		}
		pause(ctx, streamPause)
	}
	return nil
}

// put writes a key until that is acknowledged, or ctx ends.
func (s *stream) put(ctx context.Context, key string) error {
	err := until(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, controlPatience)
		defer cancel()
		_, err := s.door.In(s.namespace).KV().Put(ctx, []byte(key), streamValue(key))
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("writing to %s: %w", s.namespace, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acknowledged = append(s.acknowledged, key)
	return nil
}

// check looks on a node for all that was acknowledged, byte for byte.
func (s *stream) check(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := map[string][]byte{}
	for item, err := range c.In(s.namespace).KV().List(ctx, client.ListOptions{Prefix: []byte(s.label + "/")}) {
		if err != nil {
			t.Errorf("listing %s: %v", s.namespace, err)
			return
		}
		stored[string(item.Key)] = item.Value
	}
	for _, key := range s.acknowledged {
		if value, ok := stored[key]; !ok {
			t.Errorf("%s: the acknowledged write of %s is lost", s.namespace, key)
			return
		} else if string(value) != string(streamValue(key)) {
			t.Errorf("%s: %s has another value than what was written", s.namespace, key)
			return
		}
	}
}
