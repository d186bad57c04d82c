// Command drive asks edges for decisions without a pause and holds every answer against the
// release that it names, as the hub has it on record. An answer with parts of two releases is a
// failure, and so is an edge that doesn't answer, or that goes back to an earlier release. Beside
// that it looks, on each relayer, whether a release becomes visible as a whole.
//
// It ends when it is told to (SIGINT, SIGTERM), prints what it has seen, and exits with 1 where
// anything was wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/release"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "drive:", err)
		os.Exit(1)
	}
}

func run() error {
	hub := flag.String("hub", "http://127.0.0.1:4800", "HTTP address of the hub")
	edges := flag.String("edges", "http://127.0.0.1:4818,http://127.0.0.1:4828", "addresses of the edges")
	relayers := flag.String("relayers", "http://127.0.0.1:4810,http://127.0.0.1:4820", "HTTP addresses of their relayers")
	every := flag.Duration("every", 2*time.Millisecond, "how often each edge is asked")
	flag.Parse()

	node, err := client.New(client.Config{Address: *hub, Namespace: release.Namespace})
	if err != nil {
		return err
	}
	defer node.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	t := &tally{truth: newTruth(node)}
	var wg sync.WaitGroup
	for _, edge := range strings.Split(*edges, ",") {
		wg.Go(func() { (&asker{edge: edge, tally: t}).ask(ctx, *every) })
	}
	for _, relayer := range strings.Split(*relayers, ",") {
		c, err := client.New(client.Config{Address: relayer, Namespace: release.Namespace})
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer c.Close()
			(&prober{node: c, tally: t}).probe(ctx, *every)
		})
	}
	wg.Wait()
	return t.report()
}

// pace calls do every so often until the context ends.
func pace(ctx context.Context, every time.Duration, do func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}
