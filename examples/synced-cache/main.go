// Command synced-cache is an application with a cache in its process, which hears from the relayer
// beside it what has changed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

const namespace = "catalog"

const usage = `usage: synced-cache app    -relayer=URL -feed=ADDRESS -listen=ADDRESS
       synced-cache fill   [-times=N]
       synced-cache load   [-rounds=N] [-reads=N]
       synced-cache verify`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "synced-cache:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	relayer := flags.String("relayer", "http://127.0.0.1:5210", "the relayer beside the application")
	endpoint := flags.String("feed", "tcp://127.0.0.1:5215", "its notifier")
	listen := flags.String("listen", "127.0.0.1:5216", "where the application is to be seen")
	hub := flags.String("hub", "http://127.0.0.1:5200", "the hub, which takes writes")
	address := flags.String("app", "http://127.0.0.1:5216", "the application")
	maxAge := flags.Duration("max-age", 30*time.Second, "how long an entry is believed without hearing anything")
	times := flags.Int("times", 1, "how often all items are written")
	rounds := flags.Int("rounds", 200, "how many items change")
	reads := flags.Int("reads", 500, "how many items are read for each that changes")
	patience := flags.Duration("patience", 2*time.Minute, "how long to try")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "app" {
		return serve(ctx, *relayer, *endpoint, *listen, *maxAge)
	}
	c, err := client.New(client.Config{Address: *hub, Namespace: namespace})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *patience)
	defer cancel()
	l := load{hub: c, app: *address}
	switch args[0] {
	case "fill":
		return l.fill(ctx, *times)
	case "load":
		return l.run(ctx, *rounds, *reads)
	case "verify":
		return l.verify(ctx)
	}
	return errors.New(usage)
}

// serve runs the application until ctx ends.
func serve(ctx context.Context, relayer, endpoint, address string, maxAge time.Duration) error {
	c, err := client.New(client.Config{Address: relayer, Namespace: namespace})
	if err != nil {
		return err
	}
	session := client.NewSession()
	cache := newCache(maxAge, reader(c.WithSession(session)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	server := &http.Server{Addr: address, Handler: app{cache}.routes(), ReadHeaderTimeout: 10 * time.Second}
	var running sync.WaitGroup
	running.Go(func() { cancel(listen(ctx, endpoint, cache, session, namespace)) })
	running.Go(func() { cancel(server.ListenAndServe()) })
	<-ctx.Done()
	err = errors.Join(context.Cause(ctx), server.Close())
	running.Wait()
	return err
}
