package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// headerStale says on an answer how old the state is that it was made from.
const headerStale = "X-Unisondb-Stale"

// A StateOption changes how the state of the control plane is read. Without one an
// answer is as new as the call, and needs a leader: otherwise it is [ErrNoLeader].
type StateOption interface{ applyState(r *stateRead) }

// Staleness says how old the state may be that an answer was made from.
type Staleness struct {
	// Index is that of the last change in it.
	Index uint64
	// Age is how long ago the node last heard of the leader; nil: never.
	Age *time.Duration
}

// Stale has a node answer from the state that it has itself, with a leader or
// without. How old that may be is told to s, which may be nil.
func Stale(s *Staleness) StateOption { return staleOption{s} }

type staleOption struct{ to *Staleness }

func (o staleOption) applyState(r *stateRead) {
	r.query.Set("stale", "true")
	r.staleness = o.to
}

// stateRead is a read of the control plane's state.
type stateRead struct {
	*request
	staleness *Staleness // nil: nobody wants to know
}

// callState reads the control plane's state and decodes the answer into out.
func (c *Client) callState(ctx context.Context, path string, out any, opts []StateOption) error {
	r := &stateRead{request: c.system(path)}
	for _, o := range opts {
		o.applyState(r)
	}
	resp, _, err := c.send(ctx, r.request)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.notOurJSON(err)
	}
	return r.readStaleness(resp.Header)
}

func (r *stateRead) readStaleness(h http.Header) error {
	text := h.Get(headerStale)
	if r.staleness == nil || text == "" {
		return nil
	}
	*r.staleness = Staleness{}
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		var err error
		switch name {
		case "index":
			r.staleness.Index, err = strconv.ParseUint(value, 10, 64)
		case "age":
			if value == "unknown" {
				continue
			}
			var age time.Duration
			age, err = time.ParseDuration(value)
			r.staleness.Age = &age
		}
		if err != nil {
			return fmt.Errorf("the node's answer says %s: %s, which can't be read: %w", headerStale, text, err)
		}
	}
	return nil
}

// changeState sends a change of the control plane's state, with a JSON body unless in is
// nil, and decodes the answer into out.
func (c *Client) changeState(ctx context.Context, method, path string, in, out any) error {
	r := c.system(path)
	if in != nil {
		var err error
		if r, err = r.withJSON(in); err != nil {
			return err
		}
	}
	r.method = method
	_, err := c.call(ctx, r, out)
	return err
}
