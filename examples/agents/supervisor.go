package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/unisondb/unisondb/sdk/client"
)

// plan puts tasks on the board: the numbers up to count times size, in count pieces.
func (b Board) plan(ctx context.Context, count, size int) error {
	items := make([]client.KeyValue, count)
	for i := range items {
		items[i] = client.KeyValue{
			Key:   fmt.Appendf(nil, "%s%03d", taskPrefix, i+1),
			Value: encode(Task{First: i*size + 1, Last: (i + 1) * size}),
		}
	}
	_, err := b.hub.KV().PutAll(ctx, items)
	return err
}

// check holds the board, as the relayer has it, against what must be: each task has one result, results
// are numbered without a gap, no claim is left, and the team remembers the right answer.
func (b Board) check(ctx context.Context) error {
	end, err := b.read(ctx, "")
	if err != nil {
		return err
	}
	numbers, tokens, tasks := map[string]int{}, map[string]bool{}, 0
	var truth Finding
	for item, err := range b.local.KV().List(ctx, client.ListOptions{}, client.AtLeast(end.at)) {
		if err != nil {
			return err
		}
		key := string(item.Key)
		switch {
		case strings.HasPrefix(key, taskPrefix):
			tasks++
			var t Task
			if err := json.Unmarshal(item.Value, &t); err != nil {
				return err
			}
			if f := think(t); tasks == 1 || f.better(truth) {
				truth = f
			}
		case strings.HasPrefix(key, claimPrefix):
			return fmt.Errorf("%s is left behind", key)
		case strings.HasPrefix(key, resultPrefix):
			var r Result
			if err := json.Unmarshal(item.Value, &r); err != nil {
				return err
			}
			if want := len(numbers) + 1; r.Number != want || numbers[r.Task] != 0 || tokens[r.Token] {
				return fmt.Errorf("result %d, of task %s under token %s, where number %d of a task without a result was expected", r.Number, r.Task, r.Token, want)
			}
			numbers[r.Task], tokens[r.Token] = r.Number, true
		}
	}
	if len(numbers) != tasks || end.head != tasks {
		return fmt.Errorf("%d tasks have %d results, and the last number is %d", tasks, len(numbers), end.head)
	}
	if end.best == nil || *end.best != truth {
		return fmt.Errorf("the team remembers %v, and the answer is %v", end.best, truth)
	}
	fmt.Printf("%d tasks, one result each; the longest chain has %d steps, from %d\n", tasks, truth.Steps, truth.Number)
	return nil
}
