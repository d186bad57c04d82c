package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

func at(lsn uint64) client.Position { return client.Position{Lineage: "l", Epoch: 1, LSN: lsn} }

// slowNode answers a read when the test says so.
type slowNode struct {
	asked  chan string
	answer chan Value
}

func newSlowNode() *slowNode {
	return &slowNode{asked: make(chan string), answer: make(chan Value)}
}

func (n *slowNode) read(_ context.Context, key string) (Value, error) {
	n.asked <- key
	return <-n.answer, nil
}

func value(text string, lsn uint64) Value { return Value{Data: []byte(text), Found: true, At: at(lsn)} }

// expect gets a key and holds the answer and where it came from against what is expected.
func expect(t *testing.T, c *Cache, key, want string, from Source) {
	t.Helper()
	v, source, err := c.Get(t.Context(), key)
	if err != nil || string(v.Data) != want || source != from {
		t.Fatalf("%s: %q from %s, %v; want %q from %s", key, v.Data, source, err, want, from)
	}
}

// fixed answers each read from a map at once.
func fixed(values map[string]Value) func(context.Context, string) (Value, error) {
	return func(_ context.Context, key string) (Value, error) { return values[key], nil }
}

func TestChanges(t *testing.T) {
	values := map[string]Value{"a": value("1", 10), "b": value("2", 10)}
	c := newCache(time.Hour, fixed(values))
	c.Connected(true)
	expect(t, c, "a", "1", Miss)
	expect(t, c, "b", "2", Miss)
	expect(t, c, "a", "1", Hit)

	c.Changed("a", place{1, 10}, time.Now()) // what was read includes it
	expect(t, c, "a", "1", Hit)
	values["a"] = value("3", 11)
	c.Changed("a", place{1, 11}, time.Now())
	expect(t, c, "a", "3", Miss)
	expect(t, c, "b", "2", Hit)

	c.Empty(true)
	expect(t, c, "a", "3", Miss)
	expect(t, c, "b", "2", Miss)
	if s := c.Stats(); s.Hits != 3 || s.Misses != 5 || s.Dropped != 1 || s.Gaps != 1 || s.Emptied != 2 || s.Entries != 2 {
		t.Errorf("%+v", s)
	}
}

// TestCutOff: without a connection everything there is is answered, and marked; after it nothing is
// believed.
func TestCutOff(t *testing.T) {
	values := map[string]Value{"a": value("1", 10)}
	c := newCache(0, fixed(values)) // no entry is ever young enough
	c.Connected(true)
	expect(t, c, "a", "1", Miss)
	expect(t, c, "a", "1", Miss)
	c.Connected(false)
	values["a"] = value("2", 11)
	expect(t, c, "a", "1", CutOff)
	c.Connected(true)
	expect(t, c, "a", "2", Miss)
}

func TestErrorsAreNotKept(t *testing.T) {
	away := errors.New("away")
	c := newCache(time.Hour, func(context.Context, string) (Value, error) { return Value{}, away })
	c.Connected(true)
	for range 2 {
		if _, source, err := c.Get(t.Context(), "a"); !errors.Is(err, away) || source != Miss {
			t.Errorf("%s, %v", source, err)
		}
	}
}

// TestOvertaken: a change is heard while the key is being read. Whether the value is kept
// depends on whether it includes the change.
func TestOvertaken(t *testing.T) {
	for _, one := range []struct {
		what   string
		heard  func(c *Cache)
		answer uint64
		want   Source
	}{
		{"nothing is heard", func(*Cache) {}, 10, Hit},
		{"an older change", func(c *Cache) { c.Changed("a", place{1, 9}, time.Now()) }, 10, Hit},
		{"a change that it includes", func(c *Cache) { c.Changed("a", place{1, 10}, time.Now()) }, 10, Hit},
		{"a newer change", func(c *Cache) { c.Changed("a", place{1, 11}, time.Now()) }, 10, Miss},
		{"a newer change, then an older one again", func(c *Cache) {
			c.Changed("a", place{1, 11}, time.Now())
			c.Changed("a", place{1, 9}, time.Now())
		}, 10, Miss},
		{"a change of another key", func(c *Cache) { c.Changed("b", place{1, 11}, time.Now()) }, 10, Hit},
		{"a gap", func(c *Cache) { c.Empty(true) }, 10, Miss},
	} {
		t.Run(one.what, func(t *testing.T) {
			node := newSlowNode()
			c := newCache(time.Hour, node.read)
			c.Connected(true)
			var reading sync.WaitGroup
			reading.Go(func() { _, _, _ = c.Get(t.Context(), "a") })
			<-node.asked
			one.heard(c)
			node.answer <- value("1", one.answer)
			reading.Wait()
			again := make(chan Source, 1)
			reading.Go(func() {
				_, source, _ := c.Get(t.Context(), "a")
				again <- source
			})
			var got Source
			select {
			case <-node.asked:
				node.answer <- value("2", 12)
				got = <-again
			case got = <-again:
			}
			if got != one.want {
				t.Errorf("the value is a %s afterwards, want a %s", got, one.want)
			}
			reading.Wait()
		})
	}
}

// TestOneFlight: all that want a key at the same time wait for one read.
func TestOneFlight(t *testing.T) {
	node := newSlowNode()
	c := newCache(time.Hour, node.read)
	c.Connected(true)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { expect(t, c, "a", "1", Miss) })
	}
	<-node.asked
	for c.Stats().Misses < 8 { // all of them are there
		runtime.Gosched()
	}
	node.answer <- value("1", 10)
	all.Wait()
	expect(t, c, "a", "1", Hit)
}

// TestNeverStale has readers, a writer and a listener that is behind run at the same time. Nobody
// ever sees less than what was heard before it asked, and in the end everything is new.
func TestNeverStale(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("SEED=%d", seed)
	var mu sync.Mutex // of the node and of what was heard
	lsn, node, heard := uint64(0), map[string]uint64{}, map[string]uint64{}
	c := newCache(time.Hour, func(_ context.Context, key string) (Value, error) {
		mu.Lock()
		defer mu.Unlock()
		return value(strconv.FormatUint(node[key], 10), lsn), nil
	})
	c.Connected(true)
	told := make(chan uint64, 64)
	keyOf := func(lsn uint64) string { return fmt.Sprint(lsn % 7) }
	var all sync.WaitGroup
	all.Go(func() {
		defer close(told)
		for range 5000 {
			mu.Lock()
			lsn++
			node[keyOf(lsn)] = lsn
			now := lsn
			mu.Unlock()
			told <- now
		}
	})
	all.Go(func() {
		for lsn := range told {
			c.Changed(keyOf(lsn), place{1, lsn}, time.Now())
			mu.Lock()
			heard[keyOf(lsn)] = lsn
			mu.Unlock()
		}
	})
	for i := range 3 {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			for range 5000 {
				key := strconv.Itoa(r.IntN(7))
				mu.Lock()
				least := heard[key]
				mu.Unlock()
				v, source, err := c.Get(t.Context(), key)
				if got, _ := strconv.ParseUint(string(v.Data), 10, 64); err != nil || got < least {
					t.Errorf("%s is %d, a %s, %v; change %d was heard before", key, got, source, err, least)
					return
				}
			}
		})
	}
	all.Wait()
	for key, want := range node {
		v, _, err := c.Get(t.Context(), key)
		if got := string(v.Data); err != nil || got != strconv.FormatUint(want, 10) {
			t.Errorf("in the end %s is %s, and %d on the node", key, got, want)
		}
	}
}
