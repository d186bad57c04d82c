package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	feed "example.com/zeromq-feed"

	"github.com/unisondb/unisondb/sdk/client"
)

// watcher keeps the merged state of a node up to date: ZeroMQ says that something changed,
// HTTP what it is.
type watcher struct {
	replica
	every time.Duration // reads all again, for messages that were lost

	mu    sync.Mutex
	state State
	shown string
	out   io.Writer
}

// #region watch

// follow keeps up with one namespace. Subscribing comes first and reading second: what
// happens in between is told.
func (w *watcher) follow(ctx context.Context, endpoint, namespace string) (err error) {
	f, err := feed.Subscribe(endpoint, namespace+".kv")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var at client.Position // of the last complete read
	for {
		e, err := w.next(ctx, f)
		if err != nil {
			return err
		}
		var changed State
		switch {
		case e.Kind == feed.Disconnected:
			continue // Connected follows one day, and reads again
		case e.Missed || at.IsZero():
			changed, at, err = w.readNamespace(ctx, namespace)
		default:
			p := client.Position{Lineage: at.Lineage, Epoch: e.Message.Epoch, LSN: e.Message.LSN}
			changed, err = w.readKey(ctx, namespace, e.Message.Key, p)
		}
		if err != nil {
			// The node restarts, perhaps. What was to be read is read with all the rest.
			at = client.Position{}
			w.say(err)
			continue
		}
		w.merge(changed)
	}
}

// next is the next event. The last message of all may be lost without another that
// shows the gap: when nothing came for a while, everything is read again.
func (w *watcher) next(ctx context.Context, f *feed.Feed) (feed.Event, error) {
	waiting, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	e, err := f.Next(waiting)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return feed.Event{Missed: true}, nil
	}
	return e, err
}

// merge takes what came in, and prints the state when it is another.
func (w *watcher) merge(changed State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = w.state.Merge(changed)
	if line := w.state.String(); line != w.shown {
		w.shown = line
		fmt.Fprintln(w.out, line)
	}
}

// #endregion watch

// say reports what went wrong; the state is printed again after it.
func (w *watcher) say(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = ""
	fmt.Fprintln(os.Stderr, "crdt:", err)
}
