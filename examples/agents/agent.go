package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"time"
)

// Agent takes tasks from the board until all are done.
type Agent struct {
	board Board
	name  string
	lease time.Duration
	// until names a file: until it exists the agent goes on thinking, so that a task can be
	// caught in the middle.
	until string
	out   io.Writer
}

// #region work

// work is an agent's life: look around nearby, claim at the hub, think, hand in.
func (a Agent) work(ctx context.Context) error {
	for {
		open, finished, err := a.board.open(ctx)
		if finished {
			return nil
		}
		if err == nil && len(open) > 0 {
			err = a.take(ctx, open[a.preference()%len(open)])
		} else if err == nil {
			err = errNothing // others are at what is left: perhaps one of them dies
		}
		if refused(err) {
			return err
		}
		if err := pause(ctx, err); err != nil {
			return err
		}
	}
}

// take does one task. That somebody else was quicker, or took over, is no failure.
func (a Agent) take(ctx context.Context, name string) error {
	claim, err := a.board.claim(ctx, name, a.name, a.lease)
	if errors.Is(err, errTaken) {
		return errNothing
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: claimed %s, token %s\n", a.name, name, claim.Token)
	task, err := a.board.task(ctx, name)
	if err != nil {
		return err // the lease expires, and the task is free again
	}
	finding, err := a.think(ctx, task)
	if err != nil {
		return err
	}
	result, at, err := a.board.finish(ctx, claim, a.name, finding)
	if errors.Is(err, errFenced) {
		fmt.Fprintf(a.out, "%s: refused, %s: %v\n", a.name, name, err)
		return nil
	}
	if err != nil {
		return err
	}
	where := fmt.Sprint("LSN ", at.LSN)
	if at.IsZero() {
		where = "done by a call whose answer was lost"
	}
	fmt.Fprintf(a.out, "%s: result %d, %s, %s\n", a.name, result.Number, name, where)
	return a.readBack(ctx, result)
}

// readBack reads the agent's own result on its relayer. The session makes the read wait until the
// relayer has it.
func (a Agent) readBack(ctx context.Context, want Result) error {
	got, err := a.board.result(ctx, want.Number)
	if err == nil && got != want {
		return fmt.Errorf("result %d is %+v on the relayer, and was written as %+v", want.Number, got, want)
	}
	return err
}

// #endregion work

// errNothing says that there is nothing to do at the moment.
var errNothing = errors.New("nothing to do")

// preference spreads agents over the tasks, so that they seldom want the same.
func (a Agent) preference() int {
	h := fnv.New32a()
	h.Write([]byte(a.name))
	return int(h.Sum32() >> 1)
}

// think solves the task, and takes its time.
func (a Agent) think(ctx context.Context, t Task) (Finding, error) {
	f := think(t)
	for a.until != "" {
		if _, err := os.Stat(a.until); err == nil {
			break
		}
		if err := pause(ctx, errNothing); err != nil {
			return f, err
		}
	}
	return f, nil
}
