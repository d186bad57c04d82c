package model

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/sdk/datamodel"
)

// cache holds the indexes of namespaces, as many as its memory allows. An index that
// was let go is built again from the namespace's cells when it is asked for.
type cache struct {
	limit  int64
	logger hclog.Logger
	now    func() time.Time

	ctx     context.Context // of all work that isn't a call's own; ends at close
	end     context.CancelFunc
	working sync.WaitGroup

	mu     sync.Mutex
	spaces map[string]*space
	used   int64 // bytes of all spaces
	clock  uint64
}

func newCache(limit int64, logger hclog.Logger) *cache {
	ctx, end := context.WithCancel(context.Background())
	return &cache{limit: limit, logger: logger, now: time.Now, ctx: ctx, end: end, spaces: map[string]*space{}}
}

// close ends all work and waits for it.
func (c *cache) close() {
	c.end()
	c.working.Wait()
}

// memory is what all indexes take, and what they may take.
func (c *cache) memory() (used, limit int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used, c.limit
}

// read calls fn with the sets of a namespace, as new as when it was called, and
// answers their position. fn must not keep what it gets but metadata.
func (c *cache) read(ctx context.Context, call datamodel.Call, fn func(map[string]*set) error) (datamodel.Position, error) {
	s := c.acquire(call.Namespace)
	defer c.release(s)
	for {
		if err := s.catchUp(ctx, call.View); err != nil {
			return datamodel.Position{}, err
		}
		// What another call began meanwhile may have failed and emptied the index.
		if at, ok, err := s.read(fn); ok {
			return at, err
		}
	}
}

// acquire gives the index of a namespace, which isn't let go before release.
func (c *cache) acquire(namespace string) *space {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.spaces[namespace]
	if s == nil {
		s = &space{cache: c, namespace: namespace}
		c.spaces[namespace] = s
	}
	c.clock++
	s.lastUse = c.clock
	s.users++
	return s
}

// hold keeps an index for one more user, who releases it.
func (c *cache) hold(s *space) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.users++
}

func (c *cache) release(s *space) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.users--
}

// resized says how much an index takes. Others that nobody uses are let go, those
// not used for longest first, until all fit. An error says that it alone is too large;
// two that are used at once may exceed the limit together.
func (c *cache) resized(s *space, bytes int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used += bytes - s.bytes
	s.bytes = bytes
	for c.used > c.limit {
		idle := c.idlest(s)
		if idle == nil {
			break
		}
		c.used -= idle.bytes
		delete(c.spaces, idle.namespace)
		c.logger.Info("let an idle index go", "namespace", idle.namespace, "bytes", idle.bytes, "limit", c.limit)
	}
	if bytes <= c.limit {
		return nil
	}
	return &datamodel.Error{Status: 413, Code: codeTooLarge, Message: fmt.Sprintf("the index of namespace %q takes more than the %d bytes that the model's configuration allows: raise memory, and memory_limit with it, or divide the vectors among several namespaces; after a change it may take a while until the index is tried again", s.namespace, c.limit)}
}

// idlest is the index that has gone longest without use, among those that nobody
// uses; nil: there is none.
func (c *cache) idlest(but *space) *space {
	var found *space
	last := uint64(math.MaxUint64)
	for _, s := range c.spaces {
		if s != but && s.users == 0 && s.bytes > 0 && s.lastUse < last {
			found, last = s, s.lastUse
		}
	}
	return found
}
