package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// runLink is the network between the hubs: it passes connections on, each FROM=TO of
// two addresses, until it is stopped. Without it the hubs don't reach each other, and
// run on.
func runLink(ctx context.Context, routes []string) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait, which it ends
	failed := make(chan error, len(routes))
	for _, route := range routes {
		from, to, ok := strings.Cut(route, "=")
		if !ok {
			return fmt.Errorf("%q is no route: write it as 127.0.0.1:4903=127.0.0.1:4901", route)
		}
		listener, err := net.Listen("tcp", from)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = listener.Close() })
		running.Go(func() { failed <- forward(ctx, &running, listener, to) })
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// forward passes connections on.
func forward(ctx context.Context, running *sync.WaitGroup, listener net.Listener, to string) error {
	for {
		in, err := listener.Accept()
		if err != nil {
			return err
		}
		running.Go(func() {
			out, err := new(net.Dialer).DialContext(ctx, "tcp", to)
			if err != nil {
				_ = in.Close() // as a network does where nobody answers
				return
			}
			join(ctx, in, out)
		})
	}
}

// join copies both ways until one side ends.
func join(ctx context.Context, a, b net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(a.Close(), b.Close()) })
	defer stop()
	var copying sync.WaitGroup
	defer copying.Wait()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		copying.Go(func() {
			defer cancel()
			_, _ = io.Copy(way[0], way[1]) // it ends when either is closed
		})
	}
	<-ctx.Done()
}
