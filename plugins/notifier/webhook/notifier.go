package main

import (
	"context"
	"fmt"
	"time"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

// webhook posts changes to an HTTP receiver.
type webhook struct {
	version  string
	endpoint *endpoint
}

// Configure checks everything that can be known without a call.
func (w *webhook) Configure(_ context.Context, c plugin.Config) error {
	a := defaults()
	if err := c.Decode(&a); err != nil {
		return err
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	if s.clear && len(s.secrets) == 0 {
		c.Logger.Warn("events are sent in the clear and unsigned: set an https url and a secret, unless the network can be trusted")
	}
	w.endpoint, err = newEndpoint(s, "unisondb-webhook/"+w.version)
	return err
}

// Notify posts a batch in as many requests as limits and concurrency ask for.
func (w *webhook) Notify(ctx context.Context, b notifier.Batch) (notifier.Result, error) {
	if wait := w.endpoint.paused(); wait > 0 {
		return leftAlone(b, wait), nil
	}
	d := delivery{
		endpoint: w.endpoint, events: b.Events, rejected: map[int]notifier.Rejection{},
		deadline: time.Now().Add(w.endpoint.batchTime),
	}
	for i := range b.Events {
		encoded, err := w.endpoint.format.event(b, i)
		if err != nil {
			return notifier.Result{}, fmt.Errorf("encode event %d of LSN %d: %w", b.Events[i].Index, b.Events[i].LSN, err)
		}
		d.encoded = append(d.encoded, encoded)
	}
	result := d.run(ctx)
	return result, ctx.Err()
}

// leftAlone rejects a batch while the receiver wants no request.
func leftAlone(b notifier.Batch, wait time.Duration) notifier.Result {
	r := notifier.Result{RetryAfter: wait}
	for i := range b.Events {
		r.Rejected = append(r.Rejected, notifier.Rejection{Event: i, Cause: notifier.Unavailable,
			Reason: fmt.Sprintf("the receiver asked to be left alone for another %v", wait.Round(time.Second))})
	}
	return r
}

// Close gives the connections back. Nothing waits here: what was accepted is with
// the receiver.
func (w *webhook) Close(context.Context) error {
	if w.endpoint != nil {
		w.endpoint.close()
	}
	return nil
}
