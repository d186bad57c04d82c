package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// TestAnswers goes through what a receiver may answer, and what follows.
func TestAnswers(t *testing.T) {
	const accepted = notifier.Cause(0)
	cases := []struct {
		status int
		want   notifier.Cause
	}{
		{200, accepted}, {201, accepted}, {202, accepted}, {204, accepted}, {207, accepted}, {299, accepted},
		{300, notifier.Refused}, {301, notifier.Refused}, {302, notifier.Refused}, {304, notifier.Refused}, {307, notifier.Refused}, {308, notifier.Refused},
		{400, notifier.Refused}, {401, notifier.Refused}, {403, notifier.Refused}, {404, notifier.Refused}, {405, notifier.Refused},
		{409, notifier.Refused}, {410, notifier.Refused}, {413, notifier.Refused}, {415, notifier.Refused}, {422, notifier.Refused}, {451, notifier.Refused},
		{408, notifier.Unavailable}, {425, notifier.Unavailable}, {429, notifier.Unavailable},
		{500, notifier.Unavailable}, {502, notifier.Unavailable}, {503, notifier.Unavailable}, {504, notifier.Unavailable}, {507, notifier.Unavailable}, {599, notifier.Unavailable},
	}
	var answer int
	r := newReceiver(t, func(w http.ResponseWriter, c call) {
		if c.path != "/hook" {
			t.Errorf("%s was called", c.path)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(answer)
	})
	w := notifierOf(t, r, nil)
	for _, c := range cases {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			answer = c.status
			result := notify(t, w, batchOf("a"))
			if c.want == accepted {
				if len(result.Rejected) != 0 {
					t.Fatalf("it was rejected: %+v", result.Rejected)
				}
				return
			}
			if len(result.Rejected) != 1 || result.Rejected[0].Cause != c.want {
				t.Fatalf("rejected are %+v, expected the event for cause %d", result.Rejected, c.want)
			}
			if reason := result.Rejected[0].Reason; !strings.Contains(reason, fmt.Sprint(c.status)) {
				t.Errorf("the reason %q doesn't name the status", reason)
			}
		})
	}
}

// TestReasonRepeatsTheAnswer repeats the beginning of what the receiver says, in
// one line that a terminal can bear.
func TestReasonRepeatsTheAnswer(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ call) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, "no such \x1b[31mtopic\r\n\xff\xfe  here"+strings.Repeat("x", 10<<10))
	})
	result := notify(t, notifierOf(t, r, nil), batchOf("a"))
	reason := result.Rejected[0].Reason
	if !strings.HasPrefix(reason, "the receiver answered 422 Unprocessable Entity: no such [31mtopic herexxx") || len(reason) > 2*maxReason {
		t.Errorf("the reason is %q", reason)
	}
}

// TestEndlessAnswer doesn't read it to its end, accepted or not.
func TestEndlessAnswer(t *testing.T) {
	for _, code := range []int{http.StatusOK, http.StatusBadRequest} {
		r := newReceiver(t, func(w http.ResponseWriter, _ call) {
			w.WriteHeader(code)
			for {
				if _, err := w.Write(make([]byte, 4<<10)); err != nil {
					return
				}
			}
		})
		result := notify(t, notifierOf(t, r, nil), batchOf("a"))
		if accepted := len(result.Rejected) == 0; accepted != (code == http.StatusOK) {
			t.Errorf("an endless answer of status %d: %+v", code, result)
		}
	}
}

// TestRetryAfterIsHonoured leaves the receiver alone, for all namespaces.
func TestRetryAfterIsHonoured(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ call) {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	w := notifierOf(t, r, map[string]any{"max_in_flight": 1, "max_events": 1})
	result := notify(t, w, batchOf("a", "b", "c"))
	if result.RetryAfter != 10*time.Minute {
		t.Errorf("retry after %v, expected 10 minutes", result.RetryAfter)
	}
	want := []notifier.Cause{notifier.Unavailable, notifier.Blocked, notifier.Blocked}
	if got := causes(result, 3); !slices.Equal(got, want) {
		t.Errorf("causes are %v, expected %v", got, want)
	}
	other := batchOf("z")
	other.Namespace = "other"
	result = notify(t, w, other)
	if got := causes(result, 1); got[0] != notifier.Unavailable || result.RetryAfter < 9*time.Minute || result.RetryAfter > 10*time.Minute {
		t.Errorf("another namespace: %+v, expected to leave the receiver alone", result)
	}
	if n := len(r.requests()); n != 1 {
		t.Errorf("%d requests came, expected the one", n)
	}
}

// causes lists what became of each of n events; 0: accepted.
func causes(r notifier.Result, n int) []notifier.Cause {
	all := make([]notifier.Cause, n)
	for _, rejection := range r.Rejected {
		all[rejection.Event] = rejection.Cause
	}
	return all
}

// TestOrderUnderConcurrency plays the node against a receiver that answers late,
// refuses, is busy and finds bodies too large, all at random: in the end every event was
// accepted exactly once, in order per key, and resets stand where they belong.
func TestOrderUnderConcurrency(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkOrder(t, seed) })
	}
}

func checkOrder(t *testing.T, seed uint64) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	r := newReceiver(t, func(w http.ResponseWriter, _ call) {
		switch chance(12) {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			w.WriteHeader(http.StatusBadRequest)
		case 2:
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case 3:
			w.WriteHeader(http.StatusForbidden)
		case 4:
			panic(http.ErrAbortHandler) // the connection breaks
		}
	})
	w := notifierOf(t, r, map[string]any{"max_in_flight": 4, "max_events": 1 + chance(40), "max_bytes": fmt.Sprint(500 + chance(5000))})

	b := batchOf()
	for i := range 400 {
		e := notifier.Event{
			Key: fmt.Appendf(nil, "k%d", chance(60)), Operation: notifier.Put, EntryType: "kv",
			LSN: uint64(i + 1), Epoch: 7, Count: 1, Time: noon,
		}
		switch chance(100) {
		case 0:
			e.Operation, e.Key, e.EntryType = notifier.Reset, nil, ""
		case 1, 2, 3:
			e.Operation, e.EntryType = notifier.DeleteRow, "row"
		}
		b.Events = append(b.Events, e)
	}
	for left := b; len(left.Events) > 0; {
		left.Events = rejectedOf(t, left, notify(t, w, left))
	}
	checkAccepted(t, b, r.accepted)
}

// rejectedOf is what the node would send again. It checks that order by key isn't lost.
func rejectedOf(t *testing.T, b notifier.Batch, result notifier.Result) (again []notifier.Event) {
	t.Helper()
	keys, reset, last := map[string]bool{}, false, -1
	next := 0
	for i, e := range b.Events {
		rejected := next < len(result.Rejected) && result.Rejected[next].Event == i
		isReset := e.Operation == notifier.Reset
		if !rejected && (keys[string(e.Key)] || reset || isReset && len(again) > 0) {
			t.Fatalf("event %d was accepted behind a rejected one", i)
		}
		if !rejected {
			continue
		}
		if result.Rejected[next].Event <= last || result.Rejected[next].Cause == 0 {
			t.Fatalf("rejection %d is %+v", next, result.Rejected[next])
		}
		last = i
		next++
		keys[string(e.Key)] = true
		reset = reset || isReset
		again = append(again, e)
	}
	if next != len(result.Rejected) {
		t.Fatalf("%d rejections, %d of them of the batch", len(result.Rejected), next)
	}
	return again
}

// checkAccepted holds what a receiver accepted against what was sent.
func checkAccepted(t *testing.T, b notifier.Batch, accepted []notifier.Message) {
	t.Helper()
	seen := map[uint64]bool{}
	last := map[string]uint64{}
	var floor, highest uint64 // LSN of the last reset; the highest of any
	for _, e := range accepted {
		if seen[e.LSN] {
			t.Fatalf("LSN %d came twice", e.LSN)
		}
		seen[e.LSN] = true
		switch {
		case e.Operation == notifier.Reset && e.LSN < highest, e.LSN < floor:
			t.Fatalf("LSN %d (%s) came on the wrong side of a reset", e.LSN, e.Operation)
		case e.LSN < last[string(e.Key)]:
			t.Fatalf("LSN %d of key %s came behind %d", e.LSN, e.Key, last[string(e.Key)])
		}
		last[string(e.Key)] = e.LSN
		highest = max(highest, e.LSN)
		if e.Operation == notifier.Reset {
			floor = e.LSN
		}
	}
	if len(seen) != len(b.Events) {
		t.Fatalf("%d events were accepted, expected %d", len(seen), len(b.Events))
	}
}

// TestPoisonIsFound rejects the events that the receiver doesn't want, what
// follows them with the same key, and nothing else.
func TestPoisonIsFound(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, c call) {
		if slices.ContainsFunc(c.events, func(e notifier.Message) bool { return e.LSN == 100 || e.LSN == 301 }) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	var keys []string
	for i := range 400 {
		keys = append(keys, fmt.Sprintf("k%03d", i%200))
	}
	b := batchOf(keys...)
	got := causes(notify(t, notifierOf(t, r, nil), b), len(keys))
	for i, cause := range got {
		var want notifier.Cause
		switch i {
		case 99, 300:
			want = notifier.Refused
		case 299:
			want = notifier.Blocked
		}
		if cause != want {
			t.Errorf("event %d: cause %d, expected %d", i, cause, want)
		}
	}
	if n := len(r.requests()); n > 60 {
		t.Errorf("it took %d requests", n)
	}
}

// TestReceiverThatRefusesEverything isn't called once for each event.
func TestReceiverThatRefusesEverything(t *testing.T) {
	for _, code := range []int{http.StatusBadRequest, http.StatusUnauthorized} {
		r := newReceiver(t, func(w http.ResponseWriter, _ call) { w.WriteHeader(code) })
		var keys []string
		for i := range 1000 {
			keys = append(keys, fmt.Sprint(i))
		}
		got := causes(notify(t, notifierOf(t, r, map[string]any{"max_in_flight": 2}), batchOf(keys...)), len(keys))
		for i, cause := range got {
			if cause != notifier.Refused {
				t.Fatalf("status %d: event %d has cause %d", code, i, cause)
			}
		}
		if n, limit := len(r.requests()), 2*2*(maxRefusalsInARow+4); n > limit {
			t.Errorf("status %d: %d requests, at most %d are in order", code, n, limit)
		}
	}
}

// TestTooLarge sends less at once, and remembers.
func TestTooLarge(t *testing.T) {
	const limit = 20 << 10
	r := newReceiver(t, func(w http.ResponseWriter, c call) {
		if len(c.body) > limit {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	w := notifierOf(t, r, map[string]any{"max_in_flight": 1})
	var keys []string
	for i := range 500 {
		keys = append(keys, fmt.Sprint(i))
	}
	if result := notify(t, w, batchOf(keys...)); len(result.Rejected) > 0 {
		t.Fatalf("rejected: %+v", result.Rejected)
	}
	checkAccepted(t, batchOf(keys...), r.accepted)
	before := len(r.requests())
	if result := notify(t, w, batchOf(keys...)); len(result.Rejected) > 0 {
		t.Fatalf("rejected: %+v", result.Rejected)
	}
	for _, c := range r.requests()[before:] {
		if len(c.body) > limit {
			t.Errorf("%d bytes were sent again to a receiver that takes %d", len(c.body), limit)
		}
	}
	w.endpoint.learned = w.endpoint.learned.Add(-keepLimit)
	if got := w.endpoint.bodyLimit(); got != w.endpoint.maxBytes {
		t.Errorf("the limit is %d for ever", got)
	}
}

// TestHugeBatch keeps every request within its bounds.
func TestHugeBatch(t *testing.T) {
	r := newReceiver(t, nil)
	w := notifierOf(t, r, map[string]any{"max_events": 300, "max_bytes": "32KiB"})
	var keys []string
	for i := range 4_000 {
		keys = append(keys, strings.Repeat("k", 1+i%400)+fmt.Sprint(i))
	}
	b := batchOf(keys...)
	if result := notify(t, w, b); len(result.Rejected) > 0 {
		t.Fatalf("rejected: %+v", result.Rejected)
	}
	for _, c := range r.requests() {
		if len(c.body) > 32<<10+20 || len(c.events) > 300 || len(c.events) == 0 {
			t.Fatalf("a request has %d events in %d bytes", len(c.events), len(c.body))
		}
	}
	checkAccepted(t, b, r.accepted)
}

// TestMaxInFlight has several namespaces share what one receiver bears, and use it.
func TestMaxInFlight(t *testing.T) {
	const most = 3
	full, open := make(chan struct{}, 1000), make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter, call) {
		full <- struct{}{}
		<-open
		<-time.After(5 * time.Millisecond) // a receiver that takes its time: others may come meanwhile
	})
	w := notifierOf(t, r, map[string]any{"max_in_flight": most, "max_events": 1})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			b := batchOf("a", "b", "c", "d", "e")
			b.Namespace = fmt.Sprint("n", i)
			if result, err := w.Notify(t.Context(), b); err != nil || len(result.Rejected) > 0 {
				t.Errorf("namespace %d: %+v, %v", i, result, err)
			}
		})
	}
	for range most {
		<-full
	}
	close(open)
	wg.Wait()
	if r.most != most {
		t.Errorf("%d requests were under way at the same time, expected %d", r.most, most)
	}
}

// TestSlowReceiver gives up at the timeout, and begins nothing more.
func TestSlowReceiver(t *testing.T) {
	over := make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter, call) { <-over })
	t.Cleanup(func() { close(over) })
	w := notifierOf(t, r, map[string]any{"timeout": "100ms", "max_in_flight": 1, "max_events": 1})
	result := notify(t, w, batchOf("a", "b"))
	if got := causes(result, 2); got[0] != notifier.Unavailable || got[1] != notifier.Blocked {
		t.Errorf("causes are %v", got)
	}
	if reason := result.Rejected[0].Reason; !strings.Contains(reason, "100ms") {
		t.Errorf("the reason is %q, expected the timeout", reason)
	}
}

// TestBatchTime begins nothing more once a batch has taken too long: the node would
// take the plugin for hung.
func TestBatchTime(t *testing.T) {
	var w *webhook
	r := newReceiver(t, func(http.ResponseWriter, call) { <-time.After(2 * w.endpoint.batchTime) })
	w = notifierOf(t, r, map[string]any{"max_in_flight": 1, "max_events": 1})
	w.endpoint.batchTime = 50 * time.Millisecond
	result := notify(t, w, batchOf("a", "b", "c"))
	if n := len(r.requests()); n > 1 {
		t.Errorf("%d requests were begun", n)
	}
	got := causes(result, 3)
	if got[1] != notifier.Blocked || got[2] != notifier.Blocked {
		t.Errorf("causes are %v, expected the rest to be blocked", got)
	}
}

// TestCancellation ends at once, while a request is under way and others wait.
func TestCancellation(t *testing.T) {
	over, begun := make(chan struct{}), make(chan struct{}, 10)
	r := newReceiver(t, func(http.ResponseWriter, call) {
		begun <- struct{}{}
		<-over
	})
	t.Cleanup(func() { close(over) })
	w := notifierOf(t, r, map[string]any{"timeout": "2m", "max_in_flight": 2, "max_events": 1})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := w.Notify(ctx, batchOf("a", "b", "c", "d")); err == nil {
		t.Error("there is no error: nobody knows what was accepted")
	}
}

// TestReceiverIsDown waits for it, and delivers when it is there.
func TestReceiverIsDown(t *testing.T) {
	r := newReceiver(t, nil)
	w := notifierOf(t, r, nil)
	notify(t, w, batchOf("a"))
	r.CloseClientConnections()
	r.Close()
	result := notify(t, w, batchOf("b"))
	if got := causes(result, 1); got[0] != notifier.Unavailable {
		t.Errorf("the receiver is down: %+v", result)
	}
}

// TestHeaders are sent as they are configured, beside our own.
func TestHeaders(t *testing.T) {
	r := newReceiver(t, nil)
	w := notifierOf(t, r, map[string]any{
		"headers": map[string]any{"authorization": "Bearer abc", "User-Agent": "mine", "X-Tenant": "t 1"},
	})
	notify(t, w, batchOf("a"))
	notify(t, w, batchOf("a"))
	notify(t, w, batchOf("b"))
	calls := r.requests()
	for name, want := range map[string]string{
		"Authorization": "Bearer abc", "User-Agent": "mine", "X-Tenant": "t 1", "Content-Type": "application/json",
	} {
		if got := calls[0].header.Get(name); got != want {
			t.Errorf("%s is %q, expected %q", name, got, want)
		}
	}
	if calls[0].header.Get(signatureHeader) != "" {
		t.Error("there is a signature without a secret")
	}
	key := func(i int) string { return calls[i].header.Get("Idempotency-Key") }
	if key(0) == "" || key(0) != key(1) || key(0) == key(2) {
		t.Errorf("the idempotency keys of a, a and b are %q, %q and %q", key(0), key(1), key(2))
	}
}

// TestNoSecretsInReasons keeps what a URL may hold out of status and logs.
func TestNoSecretsInReasons(t *testing.T) {
	for _, url := range []string{"https://user:hunter2@127.0.0.1:1/hook/hunter2?token=hunter2", "http://user:hunter2@nowhere.invalid/hunter2"} {
		w := configured(t, map[string]any{"url": url, "timeout": "1m"})
		result := notify(t, w, batchOf("a"))
		if len(result.Rejected) != 1 || result.Rejected[0].Cause != notifier.Unavailable {
			t.Fatalf("%+v", result)
		}
		if reason := result.Rejected[0].Reason; strings.Contains(reason, "hunter2") || reason == "" {
			t.Errorf("the reason is %q", reason)
		}
	}
}

// TestUserinfoAuthenticates sends what a URL has in front of its host.
func TestUserinfoAuthenticates(t *testing.T) {
	r := newReceiver(t, nil)
	w := notifierOf(t, r, map[string]any{"url": strings.Replace(r.URL, "://", "://me:pass@", 1)})
	notify(t, w, batchOf("a"))
	if got := r.requests()[0].header.Get("Authorization"); got != "Basic bWU6cGFzcw==" {
		t.Errorf("Authorization is %q", got)
	}
}

// TestBody is the contract's, to the letter.
func TestBody(t *testing.T) {
	r := newReceiver(t, nil)
	b := sampleBatch()
	notify(t, notifierOf(t, r, nil), b)
	checkJSON(t, r.requests()[0].body, `{"events":[
		{"key":"user:1","namespace":"default","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,"epoch":1048577,"index":0,"count":2,"timestamp":"2026-11-22T12:00:00.123456789Z","lineage":"0123456789abcdef"},
		{"key_base64":"/w==","namespace":"default","operation":"delete","entry_type":"row","columns":["a","b"],"seq_num":42,"lsn":42,"epoch":1048577,"index":1,"count":2,"timestamp":"2026-11-22T12:00:00.123456789Z","lineage":"0123456789abcdef"}
	]}`)
}

func sampleBatch() notifier.Batch {
	return notifier.Batch{Namespace: "default", Lineage: "0123456789abcdef", Events: []notifier.Event{
		{Key: []byte("user:1"), Operation: notifier.Put, EntryType: "kv", LSN: 42, Epoch: 1048577, Count: 2, Time: noon},
		{Key: []byte{0xff}, Operation: notifier.Delete, EntryType: "row", LSN: 42, Epoch: 1048577, Index: 1, Count: 2, Time: noon, Columns: []string{"a", "b"}},
	}}
}

func checkJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var gotValue, wantValue any
	if err := json.Unmarshal(got, &gotValue); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &wantValue); err != nil {
		t.Fatal(err)
	}
	gotText, _ := json.MarshalIndent(gotValue, "", " ")
	wantText, _ := json.MarshalIndent(wantValue, "", " ")
	if string(gotText) != string(wantText) {
		t.Errorf("sent was\n%s\nexpected\n%s", gotText, wantText)
	}
}

// TestCloudEvents is their batched content mode.
func TestCloudEvents(t *testing.T) {
	r := newReceiver(t, nil)
	b := sampleBatch()
	w := notifierOf(t, r, map[string]any{"format": "cloudevents"})
	notify(t, w, b)
	c := r.requests()[0]
	if got := c.header.Get("Content-Type"); got != "application/cloudevents-batch+json; charset=utf-8" {
		t.Errorf("the type is %q", got)
	}
	const first = `{"key":"user:1","namespace":"default","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,"epoch":1048577,"index":0,"count":2,"timestamp":"2026-11-22T12:00:00.123456789Z","lineage":"0123456789abcdef"}`
	const second = `{"key_base64":"/w==","namespace":"default","operation":"delete","entry_type":"row","columns":["a","b"],"seq_num":42,"lsn":42,"epoch":1048577,"index":1,"count":2,"timestamp":"2026-11-22T12:00:00.123456789Z","lineage":"0123456789abcdef"}`
	checkJSON(t, c.body, `[
		{"specversion":"1.0","id":"default/0123456789abcdef/1048577/42/0","source":"/unisondb/default","type":"com.github.unisondb.kv.put","subject":"user:1","time":"2026-11-22T12:00:00.123456789Z","datacontenttype":"application/json","data":`+first+`},
		{"specversion":"1.0","id":"default/0123456789abcdef/1048577/42/1","source":"/unisondb/default","type":"com.github.unisondb.row.delete","time":"2026-11-22T12:00:00.123456789Z","datacontenttype":"application/json","data":`+second+`}
	]`)
}

// TestCloudEventIDs are different for different events: those of a snapshot, which
// share the place in a record, and resets, which have none.
func TestCloudEventIDs(t *testing.T) {
	b := batchOf("a", "b", "c")
	for i := range b.Events {
		b.Events[i].LSN, b.Events[i].Count = 9, 0
	}
	b.Events = append(b.Events, b.Events[0],
		notifier.Event{Operation: notifier.Reset, Time: noon}, notifier.Event{Operation: notifier.Reset, Time: noon.Add(1)})
	b.Events[3].EntryType = "lob"
	seen := map[string]bool{}
	for i := range b.Events {
		id := eventID(b, &b.Events[i])
		if seen[id] {
			t.Errorf("two events have the id %s", id)
		}
		seen[id] = true
	}
}

// TestSubject is left out where CloudEvents don't allow the key.
func TestSubject(t *testing.T) {
	for key, want := range map[string]string{
		"user:1": "user:1", "ключ": "ключ", "\x00": "", "a\nb": "", "\xff": "", "\u0085": "", "\ufffe": "", "\U0001ffff": "", "\ufdd0": "", "\ufffd": "\ufffd",
	} {
		if got := subject([]byte(key)); got != want {
			t.Errorf("the subject of %q is %q, expected %q", key, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	date := noon.Add(90 * time.Second).Format(http.TimeFormat)
	for _, c := range []struct {
		name, value, theirDate string
		want                   time.Duration
	}{
		{"absent", "", "", 0},
		{"seconds", "120", "", 2 * time.Minute},
		{"zero", "0", "", 0},
		{"negative", "-5", "", 0},
		{"with spaces", " 5 ", "", 5 * time.Second},
		{"words", "soon", "", 0},
		{"a fraction", "1.5", "", 0},
		{"too long", "86400", "", maxRetryAfter},
		{"beyond all numbers", "99999999999999999999999", "", maxRetryAfter},
		{"a date", date, "", 89*time.Second + 876543211},
		{"a date of a receiver whose clock is an hour late", date, noon.Add(-time.Hour).Format(http.TimeFormat), time.Hour},
		{"a date, and its clock", date, noon.Add(30 * time.Second).Format(http.TimeFormat), time.Minute},
		{"a date that is over", noon.Add(-time.Hour).Format(http.TimeFormat), "", 0},
		{"a date, very far", noon.Add(1e5 * time.Hour).Format(http.TimeFormat), "", maxRetryAfter},
	} {
		h := http.Header{}
		h.Set("Retry-After", c.value)
		h.Set("Date", c.theirDate)
		got := retryAfter(h, noon)
		if c.name == "a date" {
			// HTTP's dates have no fractions.
			got, c.want = got.Truncate(time.Second), c.want.Truncate(time.Second)
		}
		if got != c.want {
			t.Errorf("%s: %v, expected %v", c.name, got, c.want)
		}
	}
}
