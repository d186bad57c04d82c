package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeHub has what the board asks of a node: keys with versions, transactions, batches, lists.
type fakeHub struct {
	mu   sync.Mutex
	lsn  int
	keys map[string]fakeKey
	// before is called in front of each request, and may break it.
	before func(path string)
	// after is called behind each request that was done, and may lose its answer.
	after func(path string)
}

type fakeKey struct {
	Value   []byte
	Version string
}

type fakeOp struct {
	Op      string  `json:"op"`
	Key     string  `json:"key"`
	Value   []byte  `json:"value"`
	Exists  *bool   `json:"exists"`
	Version *string `json:"version"`
	TTL     string  `json:"ttl"`
}

func startFake(t *testing.T) (*fakeHub, Board) {
	t.Helper()
	f := &fakeHub{keys: map[string]fakeKey{}, before: func(string) {}, after: func(string) {}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	board, err := newBoard(server.URL, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(board.hub.Close)
	t.Cleanup(board.local.Close)
	return f, board
}

func (f *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/v1/board/")
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	before(path)
	f.mu.Lock()
	status, answer := f.do(path, r)
	at := fmt.Sprintf("0123456789abcdef0123456789abcdef:1:%d", f.lsn)
	f.mu.Unlock()
	after(path)
	w.Header().Set("X-Unisondb-Position", at)
	if key, ok := answer.(fakeKey); ok {
		w.Header().Set("ETag", `"`+key.Version+`"`)
		_, _ = w.Write(key.Value)
		return
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *fakeHub) do(path string, r *http.Request) (int, any) {
	switch path {
	case "tx":
		return http.StatusOK, f.tx(r)
	case "kv/batch":
		return http.StatusOK, f.batch(r)
	case "kv":
		items := []map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(f.keys)) {
			items = append(items, map[string]any{"key": name, "value": f.keys[name].Value})
		}
		return http.StatusOK, map[string]any{"items": items}
	}
	key, ok := f.keys[strings.TrimPrefix(path, "kv/")]
	if !ok {
		return http.StatusNotFound, map[string]string{"error": "no such key", "code": "KEY_NOT_FOUND"}
	}
	return http.StatusOK, key
}

func (f *fakeHub) tx(r *http.Request) any {
	var in struct{ If, Then []fakeOp }
	_ = json.NewDecoder(r.Body).Decode(&in)
	for _, c := range in.If {
		key, ok := f.keys[c.Key]
		if c.Exists != nil && *c.Exists != ok || c.Version != nil && (!ok || *c.Version != key.Version) {
			return map[string]any{"succeeded": false, "results": []any{}}
		}
	}
	for _, op := range in.Then {
		f.lsn++
		if op.Op == "delete" {
			delete(f.keys, op.Key)
		} else {
			f.keys[op.Key] = fakeKey{op.Value, fmt.Sprint("v", f.lsn)}
		}
	}
	return map[string]any{"succeeded": true, "results": []any{}}
}

func (f *fakeHub) batch(r *http.Request) any {
	var in struct {
		Operation string
		Keys      []string
		Items     []fakeOp
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	items := []map[string]any{}
	for _, name := range in.Keys {
		key, ok := f.keys[name]
		items = append(items, map[string]any{"key": name, "value": key.Value, "version": key.Version, "found": ok})
	}
	for _, item := range in.Items {
		f.lsn++
		f.keys[item.Key] = fakeKey{item.Value, fmt.Sprint("v", f.lsn)}
	}
	return map[string]any{"items": items, "success": true}
}

// hook has other hooks called from now on; nil is none.
func (f *fakeHub) hook(before, after func(path string)) {
	none := func(string) {}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = none, none
	if before != nil {
		f.before = before
	}
	if after != nil {
		f.after = after
	}
}

// expire ends a claim, as its lease does.
func (f *fakeHub) expire(task string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lsn++
	delete(f.keys, claimPrefix+task)
}

const lease = time.Minute // nothing expires by itself here

func TestClaim(t *testing.T) {
	ctx := t.Context()
	f, board := startFake(t)
	first, err := board.claim(ctx, "1", "ann", lease)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := board.claim(ctx, "1", "bob", lease); !errors.Is(err, errTaken) {
		t.Errorf("a task is claimed twice: %v", err)
	}
	f.hook(func(path string) {
		if path == "tx" {
			panic(http.ErrAbortHandler) // and another process of the same name has the task
		}
	}, nil)
	if _, err := board.claim(ctx, "1", "ann", lease); !errors.Is(err, errTaken) {
		t.Errorf("the claim of a namesake is taken for one's own: %v", err)
	}
	f.hook(nil, nil)
	f.expire("1")
	second, err := board.claim(ctx, "1", "ann", lease)
	if err != nil || second.Token == first.Token {
		t.Errorf("claimed again: %+v after %+v, %v", second, first, err)
	}
	if _, _, err := board.finish(ctx, second, "ann", Finding{1, 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := board.claim(ctx, "1", "bob", lease); !errors.Is(err, errTaken) {
		t.Errorf("a task that is done is claimed: %v", err)
	}
}

// TestFence: whoever has lost its claim hands in nothing, whether the task is free again, at
// somebody else or done.
func TestFence(t *testing.T) {
	ctx := t.Context()
	f, board := startFake(t)
	late, err := board.claim(ctx, "1", "late", lease)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(when string) {
		t.Helper()
		if _, _, err := board.finish(ctx, late, "late", Finding{9, 9}); !errors.Is(err, errFenced) {
			t.Errorf("%s: %v", when, err)
		}
	}
	f.expire("1")
	refused("expired")
	next, err := board.claim(ctx, "1", "next", lease)
	if err != nil {
		t.Fatal(err)
	}
	refused("somebody else is at it")
	if r, _, err := board.finish(ctx, next, "next", Finding{3, 7}); err != nil || r.Number != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	refused("done")
}

// TestLostAnswers: a call whose answer is lost is found out about, and nothing is done twice.
func TestLostAnswers(t *testing.T) {
	ctx := t.Context()
	f, board := startFake(t)
	var lose atomic.Bool
	f.hook(nil, func(path string) {
		if path == "tx" && lose.Swap(false) {
			panic(http.ErrAbortHandler)
		}
	})
	lose.Store(true)
	claim, err := board.claim(ctx, "1", "ann", lease)
	if err != nil {
		t.Fatalf("a claim that was made: %v", err)
	}
	lose.Store(true)
	r, at, err := board.finish(ctx, claim, "ann", Finding{3, 7})
	if err != nil || r.Number != 1 || !at.IsZero() {
		t.Errorf("a result that was appended: %+v at %v, %v", r, at, err)
	}
	s, err := board.read(ctx, "1")
	if err != nil || s.head != 1 || *s.best != (Finding{3, 7}) || *s.done != r {
		t.Errorf("the board: %+v, %v", s, err)
	}
}

// TestBetween has somebody else append between an agent's look and its write.
func TestBetween(t *testing.T) {
	ctx := t.Context()
	f, board := startFake(t)
	ann, err := board.claim(ctx, "1", "ann", lease)
	if err != nil {
		t.Fatal(err)
	}
	bob, err := board.claim(ctx, "2", "bob", lease)
	if err != nil {
		t.Fatal(err)
	}
	var came atomic.Bool
	f.hook(func(path string) {
		if path != "tx" || came.Swap(true) {
			return
		}
		if _, _, err := board.finish(ctx, bob, "bob", Finding{4, 9}); err != nil {
			t.Error(err)
		}
	}, nil)
	r, _, err := board.finish(ctx, ann, "ann", Finding{3, 7})
	if err != nil || r.Number != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if s, err := board.read(ctx, "1"); err != nil || s.best.Number != 4 {
		t.Errorf("the team remembers %+v, %v", s.best, err)
	}
}

// TestTeam runs agents that lose their claims now and then.
func TestTeam(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	f, board := startFake(t)
	if err := board.plan(ctx, 30, 100); err != nil {
		t.Fatal(err)
	}
	requests := 0
	var counting sync.Mutex
	f.hook(func(path string) {
		counting.Lock()
		defer counting.Unlock()
		if requests++; path == "tx" && requests%7 == 0 {
			f.mu.Lock()
			defer f.mu.Unlock()
			for name := range f.keys {
				if strings.HasPrefix(name, claimPrefix) {
					f.lsn++
					delete(f.keys, name)
				}
			}
		}
	}, nil)
	var team sync.WaitGroup
	for _, name := range []string{"ann", "bob", "eve"} {
		team.Go(func() {
			if err := (Agent{board: board, name: name, lease: lease, out: t.Output()}).work(ctx); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	team.Wait()
	if err := board.check(ctx); err != nil {
		t.Error(err)
	}
	delete(f.keys, donePrefix+"001")
	f.keys[string(resultKey(31))] = f.keys[string(resultKey(30))]
	if err := board.check(ctx); err == nil {
		t.Error("a task that is done twice isn't noticed")
	}
}

func TestThink(t *testing.T) {
	if n := chain(27); n != 111 {
		t.Errorf("27 takes %d steps", n)
	}
	if f := think(Task{1, 10}); f != (Finding{9, 19}) {
		t.Errorf("up to 10: %+v", f)
	}
	if (Finding{3, 7}).better(Finding{3, 7}) || !(Finding{2, 7}).better(Finding{3, 7}) || !(Finding{9, 8}).better(Finding{3, 7}) {
		t.Error("findings are compared wrongly")
	}
}
