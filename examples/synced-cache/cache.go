package main

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// Value is what a key held when it was read. One that isn't there is cached, too.
type Value struct {
	Data  []byte
	Found bool
	At    client.Position // what the read saw
}

// Source says where an answer came from.
type Source string

// Sources.
const (
	Hit    Source = "hit"
	Miss   Source = "miss"
	CutOff Source = "cut-off" // from the cache, while nobody can say whether it is still so
)

// Cache keeps in the process what was read from the relayer, until it hears of a change. It may be
// used by many goroutines.
type Cache struct {
	read   func(ctx context.Context, key string) (Value, error)
	maxAge time.Duration // how long an entry is believed although nothing was heard

	mu        sync.Mutex
	entries   map[string]entry
	flights   map[string]*flight // reads under way
	connected bool
	stats     Stats
	staleness []time.Duration
}

type entry struct {
	Value
	since time.Time
}

// flight is a read under way, which all that want the key wait for.
type flight struct {
	done  chan struct{}
	value Value
	err   error
	// What was heard while it was under way: its value is kept only if it includes this.
	change place
	reset  bool
}

// place is where a change stands in the log.
type place struct{ epoch, lsn uint64 }

// within reports whether a state at p includes the change.
func (c place) within(p client.Position) bool {
	return cmp.Or(cmp.Compare(c.epoch, p.Epoch), cmp.Compare(c.lsn, p.LSN)) <= 0
}

// maxSamples is how many of the last changes staleness is told of.
const maxSamples = 10_000

// Stats are counters since the start.
type Stats struct {
	Hits      int           `json:"hits"`
	Misses    int           `json:"misses"`
	CutOff    int           `json:"cut_off"`
	Dropped   int           `json:"dropped"` // entries that a change made old
	Emptied   int           `json:"emptied"` // times that all entries were dropped
	Gaps      int           `json:"gaps"`    // of these, because messages were lost
	Entries   int           `json:"entries"`
	Connected bool          `json:"connected"`
	P50       time.Duration `json:"staleness_p50"` // from the making of a record to the end of the entry
	P99       time.Duration `json:"staleness_p99"`
}

func newCache(maxAge time.Duration, read func(ctx context.Context, key string) (Value, error)) *Cache {
	return &Cache{read: read, maxAge: maxAge, entries: map[string]entry{}, flights: map[string]*flight{}}
}

// #region get

// Get answers from the cache, or reads.
func (c *Cache) Get(ctx context.Context, key string) (Value, Source, error) {
	c.mu.Lock()
	e, cached := c.entries[key]
	if cached && c.connected && time.Since(e.since) < c.maxAge {
		c.stats.Hits++
		c.mu.Unlock()
		return e.Value, Hit, nil
	}
	if cached && !c.connected {
		c.stats.CutOff++
		c.mu.Unlock()
		return e.Value, CutOff, nil
	}
	c.stats.Misses++
	f, waiting := c.flights[key]
	if !waiting {
		f = &flight{done: make(chan struct{})}
		c.flights[key] = f
	}
	c.mu.Unlock()
	if !waiting {
		c.fly(ctx, key, f)
	}
	select {
	case <-f.done:
		return f.value, Miss, f.err
	case <-ctx.Done():
		return Value{}, Miss, ctx.Err()
	}
}

// fly reads a key and keeps the value, unless it was old already when it came.
func (c *Cache) fly(ctx context.Context, key string, f *flight) {
	since := time.Now() // it is believed from before it was read
	f.value, f.err = c.read(ctx, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, key)
	if f.err == nil && !f.reset && f.change.within(f.value.At) {
		c.entries[key] = entry{f.value, since}
	}
	close(f.done)
}

// #endregion get

// #region drop

// Changed drops what a change has made old. A read that is under way when the change is heard
// may have seen the state before it: its value isn't kept then.
func (c *Cache) Changed(key string, p place, made time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil && !p.within(client.Position{Epoch: f.change.epoch, LSN: f.change.lsn}) {
		f.change = p
	}
	e, cached := c.entries[key]
	if !cached || p.within(e.At) {
		return // it was read after the change
	}
	delete(c.entries, key)
	c.stats.Dropped++
	if c.staleness = append(c.staleness, time.Since(made)); len(c.staleness) > maxSamples {
		c.staleness = c.staleness[1:]
	}
}

// Empty drops everything: changes may have been lost.
func (c *Cache) Empty(gap bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	for _, f := range c.flights {
		f.reset = true
	}
	c.stats.Emptied++
	if gap {
		c.stats.Gaps++
	}
}

// Connected says whether changes are heard at the moment. While they aren't, the cache
// answers what it has; when they are again, it begins anew.
func (c *Cache) Connected(yes bool) {
	if yes {
		c.Empty(false)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = yes
}

// #endregion drop

// Stats are the counters as they are.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Entries, s.Connected = len(c.entries), c.connected
	if n := len(c.staleness); n > 0 {
		sorted := slices.Sorted(slices.Values(c.staleness))
		s.P50, s.P99 = sorted[n/2], sorted[n*99/100]
	}
	return s
}
