// Command agents runs agents that share a board: tasks, claims that expire, results in the order of
// the log, and a memory. Their thinking is a small program; see think.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

const usage = `usage: agents plan  -tasks=N [-size=N]
       agents work  -name=NAME -local=URL [-lease=DURATION] [-until=FILE]
       agents check -local=URL`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agents:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	hub := flags.String("hub", "http://127.0.0.1:5000", "the hub that owns the board")
	local := flags.String("local", "http://127.0.0.1:5000", "the node to read from")
	name := flags.String("name", "", "the agent's name")
	lease := flags.Duration("lease", 2*time.Second, "how long a claim lasts")
	until := flags.String("until", "", "think until this file exists")
	tasks := flags.Int("tasks", 40, "how many tasks to plan")
	size := flags.Int("size", 20_000, "how many numbers a task has")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	board, err := newBoard(*hub, *local)
	if err != nil {
		return err
	}
	switch args[0] {
	case "plan":
		return board.plan(ctx, *tasks, *size)
	case "work":
		if *name == "" {
			return errors.New("-name is missing: say who claims")
		}
		return Agent{board: board, name: *name, lease: *lease, until: *until, out: os.Stdout}.work(ctx)
	case "check":
		return board.check(ctx)
	}
	return errors.New(usage)
}

// #region session

// newBoard makes the two clients of an agent. What one of them has written or seen, the
// other's reads include.
func newBoard(hub, local string) (Board, error) {
	session := client.NewSession()
	h, err := client.New(client.Config{Address: hub, Namespace: "board"})
	if err != nil {
		return Board{}, err
	}
	l, err := client.New(client.Config{Address: local, Namespace: "board"})
	if err != nil {
		return Board{}, err
	}
	return Board{hub: h.WithSession(session), local: l.WithSession(session)}, nil
}

// #endregion session
