// Command edge decides about payments beside a relayer. It keeps the release that is in force in
// memory, hears of the next one by ZeroMQ from its relayer, reads it there, and goes over to it at
// once and as a whole. Without hub or relayer it goes on with what it has.
//
//	POST /decide     {"card":"card-007","amount":12.5,"hour":13,"x":0.4,"y":0.6}
//	GET  /release    what is in force here, and how it came
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/release"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "edge:", err)
		os.Exit(1)
	}
}

func run() error {
	relayer := flag.String("relayer", "http://127.0.0.1:4810", "HTTP address of the relayer")
	notifications := flag.String("notifications", "tcp://127.0.0.1:4815", "where the relayer publishes its notifications")
	listen := flag.String("listen", "127.0.0.1:4818", "where to answer")
	check := flag.Duration("check", time.Second, "how long nothing may be heard before the relayer is asked")
	flag.Parse()

	node, err := client.New(client.Config{Address: *relayer, Namespace: release.Namespace})
	if err != nil {
		return err
	}
	defer node.Close()
	heard, err := subscribe(*notifications, release.Namespace+".kv")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	var current holder
	server := &http.Server{Addr: *listen, Handler: handler(&current), ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() {
		f := follower{node: node, current: &current, check: *check}
		f.follow(ctx, heard)
	})
	wg.Go(func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background()) // answers under way are short
	})
	log.Printf("answering on http://%s", *listen)
	err = server.ListenAndServe()
	stop()
	wg.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
