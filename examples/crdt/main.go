// Command crdt keeps a counter and a register that two hubs change without asking each
// other: conflict-free replicated data types in the client, over two namespaces.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

const usage = `usage: crdt read  -node=URL
       crdt write -node=URL -own=NAMESPACE -writer=NAME [-visits=N] [-title=TEXT]
       crdt watch -node=URL -feeds=NAMESPACE=ADDRESS,…
       crdt link  FROM=TO…`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "crdt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	node := flags.String("node", client.DefaultAddress, "the node to read from, and to write to")
	namespaces := flags.String("namespaces", "crdt-east,crdt-west", "the namespaces of all hubs")
	own := flags.String("own", "", "the namespace that the node owns")
	name := flags.String("writer", "", "the writer's name, which no other has")
	visits := flags.Int("visits", 0, "how much to add to the counter, one by one")
	title := flags.String("title", "", "what to set the register to")
	feeds := flags.String("feeds", "", "ZeroMQ addresses of the namespaces, namespace=address")
	patience := flags.Duration("patience", 2*time.Minute, "how long a write is tried")
	every := flags.Duration("every", 5*time.Second, "how long nothing may be heard before all is read again")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	c, err := client.New(client.Config{Address: *node})
	if err != nil {
		return err
	}
	r := replica{client: c, namespaces: strings.Split(*namespaces, ",")}
	switch args[0] {
	case "read":
		s, err := r.read(ctx)
		if err == nil {
			fmt.Println(s)
		}
		return err
	case "write":
		ctx, cancel := context.WithTimeout(ctx, *patience)
		defer cancel()
		return writer{replica: r, name: *name, own: *own}.write(ctx, *visits, *title)
	case "watch":
		return watch(ctx, &watcher{replica: r, every: *every, out: os.Stdout}, strings.Split(*feeds, ","))
	case "link":
		return runLink(ctx, flags.Args())
	}
	return errors.New(usage)
}

// watch follows all namespaces until one can't be followed.
func watch(ctx context.Context, w *watcher, feeds []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var following sync.WaitGroup
	for _, one := range feeds {
		namespace, endpoint, _ := strings.Cut(one, "=")
		following.Go(func() { cancel(w.follow(ctx, endpoint, namespace)) })
	}
	following.Wait()
	return context.Cause(ctx)
}
