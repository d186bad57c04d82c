// Command display is a program in the shop: it subscribes to the node beside it, and
// prints each change that it is told of.
//
//	display tcp://127.0.0.1:4715 orders.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	feed "example.com/zeromq-feed"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: display ENDPOINT TOPIC")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := display(ctx, os.Stdout, os.Args[1], os.Args[2])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "display:", err)
		os.Exit(1)
	}
}

// #region display

// display prints what the node at an endpoint tells of a topic, until the context ends.
func display(ctx context.Context, out io.Writer, endpoint, topic string) (err error) {
	subscription, err := feed.Subscribe(endpoint, topic)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, subscription.Close()) }()
	for {
		e, err := subscription.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, line(e)); err != nil {
			return err
		}
	}
}

// #endregion display

// line is how an event is shown. What was missed isn't told again: a program that keeps
// something reads it anew from the node.
func line(e feed.Event) string {
	switch e.Kind {
	case feed.Connected:
		return "connected"
	case feed.Disconnected:
		return "disconnected"
	}
	text := fmt.Sprintf("%s %s %s lsn %d", e.Topic, e.Message.Operation, e.Message.Key, e.Message.LSN)
	if e.Missed {
		text += " (there may have been others before)"
	}
	return text
}
