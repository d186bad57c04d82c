package main

import (
	"context"
	"time"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// maxRefusalsInARow is how many requests of a lane are refused, with none accepted in
// between, before the search for the events that are at fault ends. Halving a
// request of some thousand events down to its first one takes fewer; more mean that
// the receiver refuses whatever comes.
const maxRefusalsInARow = 16

// lane sends its events in requests, one after the other. It belongs to one goroutine.
type lane struct {
	*delivery
	blocked  map[string]bool // keys of which an event wasn't accepted
	refusals int             // in a row
}

// send brings events to the receiver in as few requests as its limits allow.
func (l *lane) send(ctx context.Context, events []int) {
	for len(events) > 0 {
		n := l.fitting(events)
		l.request(ctx, events[:n])
		events = events[n:]
	}
}

// fitting is how many events go into the next request: at least one.
func (l *lane) fitting(events []int) (n int) {
	limit, size := l.endpoint.bodyLimit(), 0
	for n < len(events) && n < l.endpoint.maxEvents {
		if size += len(l.encoded[events[n]]) + 1; size > limit && n > 0 {
			break
		}
		n++
	}
	return n
}

// request sends events in one request. Where the receiver refuses it, it may be for
// one of them: they are sent again by halves, so that only that one is rejected.
func (l *lane) request(ctx context.Context, events []int) {
	events = l.open(events)
	if len(events) == 0 {
		return
	}
	a := l.endpoint.post(ctx, l.deadline, l.bodyOf(events))
	switch {
	case a.accepted():
		l.refusals = 0
		return
	case a.cause == notifier.Unavailable:
		l.stop(a)
	case a.aboutEvents && len(events) > 1:
		if l.refusals++; l.refusals <= maxRefusalsInARow {
			l.request(ctx, events[:len(events)/2])
			l.request(ctx, events[len(events)/2:])
			return
		}
	default:
		l.refusals++
	}
	for _, i := range events {
		l.blocked[string(l.events[i].Key)] = true
	}
	l.reject(events, a.cause, a.reason)
}

// open leaves out what must not be sent: an event behind a rejected one of its key,
// and everything once the receiver is out of reach or the batch has taken too long.
func (l *lane) open(events []int) []int {
	if time.Now().After(l.deadline) {
		l.reject(events, notifier.Blocked, "the receiver was too slow for the rest of the batch")
		return nil
	}
	if l.isStopped() {
		l.reject(events, notifier.Blocked, "the receiver can't be reached")
		return nil
	}
	open := make([]int, 0, len(events))
	for _, i := range events {
		if l.blocked[string(l.events[i].Key)] {
			l.reject([]int{i}, notifier.Blocked, "an earlier event of the key wasn't accepted")
			continue
		}
		open = append(open, i)
	}
	return open
}

func (l *lane) bodyOf(events []int) []byte {
	parts := make([][]byte, len(events))
	for at, i := range events {
		parts[at] = l.encoded[i]
	}
	return l.endpoint.format.body(parts)
}
