package model

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/filter"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/index"
)

// space is the index of one namespace: all its sets at one position. It is a
// function of the cells there.
type space struct {
	cache     *cache
	namespace string

	// Guarded by cache.mu.
	users   int
	lastUse uint64
	bytes   int64

	// turn guards the flights: one that reads the namespace, and one behind it that
	// all who came meanwhile wait for together.
	turn    sync.Mutex
	flying  bool
	waiting *flight

	// An index that was too large isn't built again at once: each try reads as much as
	// fits. Only the one flight touches these.
	refusal error
	retryAt time.Time

	// mu guards the sets. position is changed with it held, or, where the sets
	// stay as they are, by the one flight.
	mu       sync.RWMutex
	sets     map[string]*set // nil: nothing is known
	touched  map[*set]bool   // changed since they were last refreshed
	total    int64           // bytes of the sets, as of their last measure
	position atomic.Pointer[datamodel.Position]
}

// set is what the cells say of one set.
type set struct {
	settings cell.Settings
	known    bool       // settings were read
	rows     *index.Set // nil: the set doesn't exist
	measured int64      // bytes of rows when they were last measured
	// ahead are vectors of a later incarnation than the settings': while an index is
	// built from pages of different positions, they may come first.
	ahead map[string]cell.Vector
}

// flight is one Sync, that several calls wait for.
type flight struct {
	view datamodel.View
	done chan struct{}
	err  error // once done is closed
}

// catchUp brings the index to a position at least as new as the call. The work goes on
// where the call ends, so that a large index gets done however impatient callers are.
func (s *space) catchUp(ctx context.Context, view datamodel.View) error {
	s.turn.Lock()
	if s.waiting == nil {
		s.waiting = &flight{view: view, done: make(chan struct{})}
	}
	f := s.waiting
	if !s.flying {
		s.flying = true
		s.cache.hold(s) // as long as it works
		s.cache.working.Go(func() {
			defer s.cache.release(s)
			s.fly()
		})
	}
	s.turn.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fly makes flights until nobody waits for one.
func (s *space) fly() {
	for {
		s.turn.Lock()
		f := s.waiting
		s.waiting = nil
		s.flying = f != nil
		s.turn.Unlock()
		if f == nil {
			return
		}
		f.err = s.attempt(f.view)
		close(f.done)
	}
}

// restFactor is how much longer than a try an index that was too large rests: so it
// costs at most a tenth of the time, whatever callers do.
const restFactor = 9

// attempt is sync, unless that has just found the index too large.
func (s *space) attempt(view datamodel.View) error {
	began := s.cache.now()
	if s.refusal != nil && began.Before(s.retryAt) {
		return s.refusal
	}
	err := s.sync(s.cache.ctx, view)
	s.refusal = nil
	if refused := (*datamodel.Error)(nil); errors.As(err, &refused) {
		s.refusal = err
		ended := s.cache.now()
		s.retryAt = ended.Add(restFactor * ended.Sub(began))
	}
	return err
}

// sync takes in what changed.
func (s *space) sync(ctx context.Context, view datamodel.View) error {
	var from datamodel.Position
	if p := s.position.Load(); p != nil {
		from = *p
	}
	locked := false
	at, err := view.Sync(ctx, from, func(reset bool, items []datamodel.Item) error {
		if !locked { // searches go on until there is something new
			s.mu.Lock()
			locked = true
		}
		if reset || s.sets == nil {
			s.clear()
			s.sets = map[string]*set{}
		}
		return s.apply(items)
	})
	if locked {
		defer s.mu.Unlock()
	}
	if err == nil && locked {
		err = s.refresh()
	}
	if err == nil && s.sets == nil { // a namespace without any cell
		if !locked {
			s.mu.Lock()
			defer s.mu.Unlock()
		}
		s.sets = map[string]*set{}
	}
	if err != nil {
		if !locked {
			return fmt.Errorf("follow namespace %q: %w", s.namespace, err)
		}
		s.clear()
		_ = s.cache.resized(s, 0) // nothing is never too much
		return fmt.Errorf("build the index of namespace %q: %w", s.namespace, err)
	}
	s.position.Store(&at)
	return nil
}

// read calls fn with the sets and answers where they are; ok is false where nothing
// is known.
func (s *space) read(fn func(map[string]*set) error) (at datamodel.Position, ok bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.position.Load()
	if p == nil || s.sets == nil {
		return at, false, nil
	}
	return *p, true, fn(s.sets)
}

// clear forgets all.
func (s *space) clear() {
	s.sets, s.touched, s.total = nil, nil, 0
	s.position.Store(nil)
}

// apply takes in cells' new states and says how much the index takes.
func (s *space) apply(items []datamodel.Item) error {
	for _, item := range items {
		if err := s.applyOne(item); err != nil {
			return err
		}
	}
	return s.measure()
}

func (s *space) applyOne(item datamodel.Item) error {
	name, id, err := cell.ParseKey(item.Key)
	if err != nil {
		return err
	}
	one := s.sets[name]
	if one == nil {
		one = &set{}
		s.sets[name] = one
	}
	if s.touched == nil {
		s.touched = map[*set]bool{}
	}
	s.touched[one] = true
	if id == "" {
		err = one.settle(item)
	} else {
		err = one.put(id, item)
	}
	if err != nil {
		return fmt.Errorf("set %q: %w", name, err)
	}
	return nil
}

// settle takes in settings. Vectors of an earlier incarnation are void from here on.
func (o *set) settle(item datamodel.Item) error {
	if item.Version == "" { // this program never deletes them
		return fmt.Errorf("settings were deleted: %w", cell.ErrDamaged)
	}
	s, err := decodeSettings(item.Value)
	if err != nil {
		return err
	}
	if o.known && s == o.settings {
		return nil
	}
	o.settings, o.known, o.rows = s, true, nil
	if s.Dropped {
		return nil
	}
	o.rows = index.NewSet(index.Metric(s.Metric), s.Dimension)
	for id, v := range o.ahead {
		if v.Incarnation > s.Incarnation {
			continue
		}
		delete(o.ahead, id)
		if v.Incarnation == s.Incarnation {
			if err := o.index(id, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// put takes in a vector, or its end.
func (o *set) put(id string, item datamodel.Item) error {
	delete(o.ahead, id)
	if item.Version == "" {
		if o.rows != nil {
			o.rows.Delete(id)
		}
		return nil
	}
	v, err := cell.DecodeVector(item.Value)
	if err != nil {
		return fmt.Errorf("vector %q: %w", id, err)
	}
	switch {
	case !o.known || v.Incarnation > o.settings.Incarnation:
		if o.ahead == nil {
			o.ahead = map[string]cell.Vector{}
		}
		o.ahead[id] = v
		return nil
	case o.rows == nil:
		return nil
	case v.Incarnation < o.settings.Incarnation: // of a set that was dropped
		o.rows.Delete(id)
		return nil
	}
	return o.index(id, v)
}

// index puts a vector of the set's incarnation into its index.
func (o *set) index(id string, v cell.Vector) error {
	if len(v.Values) != o.settings.Dimension {
		return fmt.Errorf("vector %q has %d values, the set's have %d: %w", id, len(v.Values), o.settings.Dimension, cell.ErrDamaged)
	}
	one := index.Vector{ID: id, Values: v.Values, Metadata: v.Metadata}
	if v.Metadata != nil {
		var err error
		if _, one.Attributes, err = filter.Metadata(v.Metadata); err != nil {
			return fmt.Errorf("vector %q: %w", id, err)
		}
	}
	o.rows.Put(one)
	return nil
}

// refresh makes the indexes of what changed ready to be searched.
func (s *space) refresh() error {
	for one := range s.touched {
		if one.rows != nil {
			one.rows.Refresh()
		}
	}
	err := s.measure()
	s.touched = nil
	return err
}

// setBytes is about what a set takes beside its rows.
const setBytes = 256

// measure says how much the index takes.
func (s *space) measure() error {
	for one := range s.touched {
		bytes := int64(setBytes)
		if one.rows != nil {
			bytes += one.rows.Memory()
		}
		for id, v := range one.ahead {
			bytes += int64(len(id) + len(v.Metadata) + 4*len(v.Values))
		}
		s.total += bytes - one.measured
		one.measured = bytes
	}
	return s.cache.resized(s, s.total)
}
