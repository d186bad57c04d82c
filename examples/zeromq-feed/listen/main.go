// Command listen prints what a notifier tells: listen tcp://127.0.0.1:5555 orders.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	feed "example.com/zeromq-feed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := listen(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "listen:", err)
		os.Exit(1)
	}
}

// #region listen

func listen(ctx context.Context, args []string) (err error) {
	if len(args) < 2 {
		return errors.New("usage: listen ADDRESS TOPIC…")
	}
	f, err := feed.Subscribe(args[0], args[1:]...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		e, err := f.Next(ctx)
		if err != nil {
			return err
		}
		switch {
		case e.Kind == feed.Connected:
			fmt.Println("connected: read everything")
		case e.Kind == feed.Disconnected:
			fmt.Println("disconnected: nothing is heard")
		case e.Missed:
			fmt.Printf("%s %d: something may be missing before this: read everything\n", e.Topic, e.Message.TopicSeq)
		default:
			fmt.Printf("%s %d: %s of %s at LSN %d\n", e.Topic, e.Message.TopicSeq, e.Message.Operation, e.Message.Key, e.Message.LSN)
		}
	}
}

// #endregion listen
