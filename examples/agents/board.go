package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// Board is what the agents share, in one namespace:
//
//	task/<name>     what is to be done, a Task
//	claim/<name>    who is at it; it expires
//	done/<name>     which result it has
//	result/<number> results, numbered in the order of the log
//	head            the number of the last result
//	memory/best     what the team knows
//
// Writes go to the hub, which owns the namespace. Agents look around on the relayer
// beside them. Both clients belong to one session, so that an agent never sees less than what
// it has written.
type Board struct {
	hub   *client.Client
	local *client.Client
}

const (
	taskPrefix   = "task/"
	claimPrefix  = "claim/"
	donePrefix   = "done/"
	resultPrefix = "result/"
	headKey      = "head"
	bestKey      = "memory/best"
)

// Claim is a task that an agent has claimed.
type Claim struct {
	Task string
	// Token is the version of the claim's key. Every write of a key has another, so that whoever
	// claims the task after us has another token, and ours is refused.
	Token string
}

// Holder is the value of a claim's key.
type Holder struct {
	Agent string `json:"agent"`
	Nonce string `json:"nonce"` // tells two claims of one agent apart
}

// Result is an entry of the shared log.
type Result struct {
	Number  int     `json:"number"`
	Task    string  `json:"task"`
	Agent   string  `json:"agent"`
	Token   string  `json:"token"` // of the claim that it was made under
	Finding Finding `json:"finding"`
}

var (
	errTaken  = errors.New("somebody else has the task")
	errFenced = errors.New("the claim is no longer ours")
)

// retryInterval is between two tries of what the hub couldn't do.
const retryInterval = 50 * time.Millisecond

// #region look

// open are the tasks that nobody is at, as the agent's relayer has it; finished says that
// there is nothing left to do. A relayer may lag behind: whether a task is free is decided by claim.
func (b Board) open(ctx context.Context) (open []string, finished bool, err error) {
	var tasks []string
	taken, done := map[string]bool{}, 0
	for item, err := range b.local.KV().List(ctx, client.ListOptions{KeysOnly: true}) {
		if err != nil {
			return nil, false, fmt.Errorf("look at the board: %w", err)
		}
		kind, name, _ := strings.Cut(string(item.Key), "/")
		switch kind + "/" {
		case taskPrefix:
			tasks = append(tasks, name)
		case claimPrefix:
			taken[name] = true
		case donePrefix:
			taken[name] = true
			done++
		}
	}
	for _, name := range tasks {
		if !taken[name] {
			open = append(open, name)
		}
	}
	return open, len(tasks) > 0 && done == len(tasks), nil
}

// #endregion look

// #region claim

// claim takes a task for as long as the lease lasts. The hub decides: of several agents that
// try at the same time one succeeds, and the others have errTaken.
func (b Board) claim(ctx context.Context, task, agent string, lease time.Duration) (Claim, error) {
	key := []byte(claimPrefix + task)
	mine := Holder{Agent: agent, Nonce: rand.Text()}
	value, err := json.Marshal(mine)
	if err != nil {
		return Claim{}, err
	}
	result, err := b.hub.Txn(ctx, client.Txn{
		If:   []client.Condition{client.KeyExists(key, false), client.KeyExists([]byte(donePrefix+task), false)},
		Then: []client.Op{client.OpPut(key, value).WithTTL(lease)},
	})
	if err == nil && !result.Succeeded {
		return Claim{}, errTaken
	}
	if refused(err) {
		return Claim{}, fmt.Errorf("claim %s: %w", task, err)
	}
	// What a failed call has done isn't known. What is there now says it, and the version.
	v, err := b.hub.KV().Get(ctx, key)
	if errors.Is(err, client.ErrNotFound) {
		return Claim{}, errTaken // it has expired, or was never made: try again
	}
	if err != nil {
		return Claim{}, fmt.Errorf("claim %s: %w", task, err)
	}
	var holder Holder
	if err := json.Unmarshal(v.Data, &holder); err != nil || holder != mine {
		return Claim{}, errTaken
	}
	return Claim{Task: task, Token: v.Version}, nil
}

// #endregion claim

// #region finish

// finish appends a result, remembers the finding if it is the best so far, and gives the claim
// back: all in one transaction, which is done only while the claim is still ours. An agent whose lease
// has expired gets errFenced, however late it comes and whatever it believes. The position is that of
// the result, or none where it isn't known.
func (b Board) finish(ctx context.Context, c Claim, agent string, f Finding) (Result, client.Position, error) {
	for {
		s, err := b.read(ctx, c.Task)
		if err == nil {
			if s.done != nil && s.done.Token == c.Token {
				return *s.done, client.Position{}, nil // an earlier try did it, and its answer was lost
			}
			if s.done != nil || s.token != c.Token {
				return Result{}, client.Position{}, errFenced
			}
			r := Result{Number: s.head + 1, Task: c.Task, Agent: agent, Token: c.Token, Finding: f}
			var committed client.TxnResult
			committed, err = b.hub.Txn(ctx, s.append(r))
			if err == nil && committed.Succeeded {
				return r, committed.Position, nil
			}
		}
		// Somebody else has appended (no error), or the hub is away: look again.
		if refused(err) {
			return Result{}, client.Position{}, fmt.Errorf("finish %s: %w", c.Task, err)
		}
		if err := pause(ctx, err); err != nil {
			return Result{}, client.Position{}, err
		}
	}
}

// append is the transaction that makes r the next result. The version of head stands for
// everything that a result changes: no two results are made of the same state.
func (s snapshot) append(r Result) client.Txn {
	txn := client.Txn{
		If: []client.Condition{
			client.KeyVersion([]byte(claimPrefix+r.Task), r.Token),
			s.headIs(),
		},
		Then: []client.Op{
			client.OpPut(resultKey(r.Number), encode(r)),
			client.OpPut([]byte(donePrefix+r.Task), encode(r)),
			client.OpPut([]byte(headKey), encode(r.Number)),
			client.OpDelete([]byte(claimPrefix + r.Task)),
		},
	}
	if s.best == nil || r.Finding.better(*s.best) {
		txn.Then = append(txn.Then, client.OpPut([]byte(bestKey), encode(r.Finding)))
	}
	return txn
}

// #endregion finish

// snapshot is what a result depends on, at one position.
type snapshot struct {
	at          client.Position
	head        int
	headVersion string // empty: there is no result yet
	best        *Finding
	done        *Result
	token       string // of the claim; empty: there is none
}

func (s snapshot) headIs() client.Condition {
	if s.headVersion == "" {
		return client.KeyExists([]byte(headKey), false)
	}
	return client.KeyVersion([]byte(headKey), s.headVersion)
}

// read reads from the hub, all at one position.
func (b Board) read(ctx context.Context, task string) (s snapshot, err error) {
	keys := [][]byte{[]byte(headKey), []byte(bestKey), []byte(claimPrefix + task), []byte(donePrefix + task)}
	found, at, err := b.hub.KV().GetAll(ctx, keys)
	if err != nil {
		return snapshot{}, fmt.Errorf("read the board: %w", err)
	}
	s = snapshot{at: at, headVersion: found[0].Version, token: found[2].Version}
	for i, into := range []any{&s.head, &s.best, nil, &s.done} {
		if into != nil && found[i].Found {
			err = errors.Join(err, json.Unmarshal(found[i].Value, into))
		}
	}
	return s, err
}

// task reads what is to be done, on the relayer.
func (b Board) task(ctx context.Context, name string) (t Task, err error) {
	v, err := b.local.KV().Get(ctx, []byte(taskPrefix+name))
	if err != nil {
		return t, fmt.Errorf("read task %s: %w", name, err)
	}
	return t, json.Unmarshal(v.Data, &t)
}

// result reads a result on the relayer.
func (b Board) result(ctx context.Context, number int) (r Result, err error) {
	v, err := b.local.KV().Get(ctx, resultKey(number))
	if err != nil {
		return r, fmt.Errorf("read result %d: %w", number, err)
	}
	return r, json.Unmarshal(v.Data, &r)
}

func resultKey(number int) []byte { return fmt.Appendf(nil, "%s%06d", resultPrefix, number) }

// encode is a value as JSON. What is given here always has one.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// refused reports whether an error is an answer that another try doesn't change.
func refused(err error) bool {
	var answer *client.Error
	return errors.As(err, &answer) && answer.Status/100 == 4 && !errors.Is(err, client.ErrConflict)
}

// pause waits before another try; without an error there is nothing to wait for.
func pause(ctx context.Context, err error) error {
	if err == nil {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return errors.Join(ctx.Err(), err)
	case <-time.After(retryInterval):
		return nil
	}
}
