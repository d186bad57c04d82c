package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// delivery is what becomes of a batch's events on one connection.
type delivery struct {
	conn *connection
	qos  byte

	mu       sync.Mutex
	states   []state
	failed   map[string]bool // keys of which an event wasn't accepted
	blocked  bool            // a reset wasn't accepted: nothing behind it is
	open     int             // messages without an answer
	answered chan struct{}   // has an element if open has come down to 0
}

// state is an event's.
type state struct {
	key    string // with its entry type; a reset's is empty
	sent   bool   // all of its messages
	open   int    // messages without an answer
	cause  notifier.Cause
	reason string // empty: how the connection ended
}

func newDelivery(conn *connection, qos int, events []notifier.Event) *delivery {
	d := &delivery{
		conn: conn, qos: byte(qos), states: make([]state, len(events)),
		failed: map[string]bool{}, answered: make(chan struct{}, 1),
	}
	for i, e := range events {
		if e.Operation != notifier.Reset {
			d.states[i].key = e.EntryType + "/" + string(e.Key)
		}
	}
	return d
}

// reject says that an event wasn't accepted; what was said first stays.
func (d *delivery) reject(event int, cause notifier.Cause, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rejectLocked(event, cause, reason)
}

func (d *delivery) rejectLocked(event int, cause notifier.Cause, reason string) {
	s := &d.states[event]
	if s.cause == 0 {
		s.cause, s.reason = cause, reason
	}
	d.failLocked(s.key)
}

func (d *delivery) failLocked(key string) {
	if key == "" {
		d.blocked = true
	} else {
		d.failed[key] = true
	}
}

// barred reports whether an event has to wait for one before it, as far as is
// known.
func (d *delivery) barred(event int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.blocked || d.failed[d.states[event].key]
}

// send publishes an event's messages. An error means that the connection takes
// no more.
func (d *delivery) send(ctx context.Context, event int, messages []message) error {
	for _, m := range messages {
		if largest := d.conn.largest; largest > 0 && m.size() > largest {
			d.reject(event, notifier.Invalid, fmt.Sprintf("the message has up to %d bytes, and the broker takes %d at most", m.size(), largest))
			return nil
		}
	}
	for _, m := range messages {
		if err := d.publish(ctx, event, m); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.states[event].sent = true
	return nil
}

func (d *delivery) publish(ctx context.Context, event int, m message) error {
	if d.qos > 0 {
		d.add(event, 1)
		ctx = withAnswer(ctx, func(a answer) { d.answer(event, a) })
	}
	_, err := d.conn.client.PublishWithOptions(ctx, m.packet(d.qos), paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	if err == nil || errors.Is(err, paho.ErrNetworkErrorAfterStored) {
		return nil // the answer comes, if only that there is none
	}
	if d.qos > 0 {
		d.add(event, -1)
	}
	return err
}

func (d *delivery) add(event, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open += n
	d.states[event].open += n
}

// answer takes the broker's answer to one message of an event.
func (d *delivery) answer(event int, a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open--
	d.states[event].open--
	switch {
	case a.err != nil:
		d.rejectLocked(event, notifier.Unavailable, "")
	case a.code >= 0x80:
		d.rejectLocked(event, causeOf(a.code), "the broker answered: "+describe(a.code, a.reason))
	}
	if d.open == 0 {
		select {
		case d.answered <- struct{}{}:
		default:
		}
	}
}

// lost takes back what was sent without asking for an answer: nobody knows how
// much of it arrived before the connection ended.
func (d *delivery) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.states {
		if d.qos == 0 {
			d.states[i].sent = false
		}
	}
}

// blame makes an event the reason why the broker ended the connection.
func (d *delivery) blame(event int, code byte, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cause := causeOf(code)
	if cause == notifier.Unavailable {
		cause = notifier.Refused
	}
	d.states[event].cause = 0
	d.rejectLocked(event, cause, reason)
}

// wait returns when all that was sent has its answer, or when ctx ends. A
// connection on which nothing is answered is ended, which is an answer, too.
func (d *delivery) wait(ctx context.Context) {
	before := d.conn.messages.answered.Load()
	stalled := time.NewTicker(d.conn.patience)
	defer stalled.Stop()
	for d.underWay() {
		select {
		case <-d.answered:
		case <-stalled.C:
			now := d.conn.messages.answered.Load()
			if now == before {
				d.conn.abort()
			}
			before = now
		case <-ctx.Done():
			return
		}
	}
}

func (d *delivery) underWay() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open > 0
}

// result is what the node is told. What follows a rejected event of its key is
// rejected as well, even if the broker took it: it comes again behind that one, so
// that the newest state is the last.
func (d *delivery) result() notifier.Result {
	lost, _, _ := d.conn.why()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed, d.blocked = map[string]bool{}, false
	var r notifier.Result
	for i, s := range d.states {
		switch {
		case d.blocked || d.failed[s.key]:
			s.cause, s.reason = notifier.Blocked, "an earlier event wasn't accepted"
		case s.cause == 0 && (!s.sent || s.open > 0):
			s.cause = notifier.Unavailable
		}
		if s.cause == 0 {
			continue
		}
		if s.reason == "" {
			s.reason = lost
		}
		d.failLocked(s.key)
		r.Rejected = append(r.Rejected, notifier.Rejection{Event: i, Cause: s.cause, Reason: s.reason})
	}
	return r
}
