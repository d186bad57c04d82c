// Command orders is a service that lives on a namespace's changes: a webhook brings them, a
// projection is made of them, and each is handled exactly once although it may come more often.
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
	"syscall"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

const usage = `usage: orders serve  -journal=FILE [-listen=ADDRESS] [-crash]    secret: HOOK_SECRET
       orders place  -first=N -last=N
       orders cancel -first=N -last=N
       orders wait   -changes=N
       orders check  -changes=N`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	hub := flags.String("hub", "http://127.0.0.1:5100", "a node that has the namespace")
	address := flags.String("service", "http://127.0.0.1:5105", "where the service is")
	listen := flags.String("listen", "127.0.0.1:5105", "where to serve")
	path := flags.String("journal", "", "the service's file")
	crash := flags.Bool("crash", false, "end without a word when a request is stored and not answered")
	first := flags.Int("first", 1, "the first order")
	last := flags.Int("last", 0, "the last order")
	changes := flags.Int("changes", 0, "how many there were")
	patience := flags.Duration("patience", 2*time.Minute, "how long wait waits, and a write is tried")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	c, err := client.New(client.Config{Address: *hub, Namespace: "orders"})
	if err != nil {
		return err
	}
	if args[0] == "serve" {
		return serve(ctx, c, *listen, *path, *crash)
	}
	ctx, cancel := context.WithTimeout(ctx, *patience)
	defer cancel()
	switch args[0] {
	case "place":
		return shop{c}.place(ctx, *first, *last)
	case "cancel":
		return shop{c}.cancel(ctx, *first, *last)
	case "wait":
		return wait(ctx, *address, *changes)
	case "check":
		return shop{c}.check(ctx, *address, *changes)
	}
	return errors.New(usage)
}

// serve runs the service until ctx ends.
func serve(ctx context.Context, c *client.Client, listen, path string, crash bool) (err error) {
	secret := os.Getenv("HOOK_SECRET")
	if secret == "" {
		return errors.New("HOOK_SECRET is missing: set it to the notifier's secret")
	}
	s := &service{client: c, secret: secret, projection: newProjection(), stored: func() {}}
	if crash {
		s.stored = func() { os.Exit(3) }
	}
	if s.journal, err = openJournal(path, s.projection.apply); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.journal.close()) }()
	log.Printf("%d changes in the journal", s.projection.Changes)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hook", s.hook)
	mux.HandleFunc("GET /projection", s.show)
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stopped <- server.Shutdown(context.Background()) // what is under way ends first
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
