package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
)

// TestEveryWriteWaitsForFollowers: all forms of a write, with a condition or not,
// wait after their commit, for the record that they made.
func TestEveryWriteWaitsForFollowers(t *testing.T) {
	f := newFixture(t)
	var waited []int
	var at dbkernel.Position
	f.node.replicated = func(_ context.Context, p dbkernel.Position, acks int) (int, error) {
		waited, at = append(waited, acks), p
		return acks, nil
	}
	f.do("PUT", "/kv/k", putJSON("v"))
	f.do("PUT", "/row/r", `{"columns":{"a":"","b":"","c":""}}`)
	f.do("PUT", "/lob/o", "x")
	txn := f.do("POST", "/tx/begin", "{}").field("txnId")
	f.do("POST", "/tx/"+txn+"/kv?acks=3", `{"key":"k","value":""}`).want(200, ok)
	if waited != nil {
		t.Errorf("a step of a transaction, which commits nothing, waited for %v", waited)
	}
	match := header{"If-Match", "*"}
	for _, tc := range []struct {
		method, path, body string
		headers            []header
	}{
		{"PUT", "/kv/k", putJSON("v"), nil}, {"PUT", "/kv/k", putJSON("v"), []header{match}}, {"PUT", "/kv/k", "v", []header{octets}},
		{"POST", "/kv/k/touch?ttl=1h", "", nil}, {"DELETE", "/kv/k", "", []header{match}}, {"DELETE", "/kv/k", "", nil},
		{"POST", "/kv/batch", `{"operation":"put","items":[{"key":"k","value":""}]}`, nil}, {"POST", "/kv/batch", `{"operation":"delete","keys":["k"]}`, nil},
		{"PUT", "/row/r", `{"columns":{"a":""}}`, nil}, {"PUT", "/row/r", `{"columns":{"a":""}}`, []header{match}},
		{"DELETE", "/row/r/columns?columns=a", "", nil}, {"POST", "/row/batch", `{"operation":"put","rows":[{"rowKey":"r","columns":{"a":""}}]}`, nil},
		{"DELETE", "/row/r", "", []header{match}}, {"DELETE", "/row/r", "", nil},
		{"PUT", "/lob/o", "x", nil}, {"PUT", "/lob/o", "x", []header{match}}, {"DELETE", "/lob/o", "", nil},
		{"POST", "/tx", `{"then":[{"op":"put","key":"k","value":""}]}`, nil}, {"POST", "/tx/" + txn + "/commit", "", nil},
	} {
		waited = nil
		path := tc.path + "?acks=3"
		if strings.Contains(tc.path, "?") {
			path = tc.path + "&acks=3"
		}
		a := f.do(tc.method, path, tc.body, tc.headers...).refusedWith(200)
		if len(waited) != 1 || waited[0] != 3 {
			t.Errorf("%s %s waited for %v followers", tc.method, path, waited)
		}
		if a.position() != at {
			t.Errorf("%s %s answered %v and waited for %v", tc.method, path, a.position(), at)
		}
	}
	waited = nil
	f.do("PUT", "/kv/k?acks=0", putJSON("v")).want(200, ok)
	f.do("GET", "/kv/k?acks=3", "").refusedWith(200)
	f.do("POST", "/kv/batch?acks=3", `{"operation":"get","keys":["k"]}`).refusedWith(200)
	f.do("POST", "/tx?acks=3", `{"if":[{"key":"k","exists":false}],"then":[{"op":"put","key":"k","value":""}],"else":[{"op":"get","key":"k"}]}`).refusedWith(200)
	f.do("PUT", "/kv/k?acks=3", putJSON("v"), header{"If-None-Match", "*"}).refused(412, httpapi.CodeConditionFailed)
	if waited != nil {
		t.Errorf("where nothing was written, or nobody asked for, %v followers were waited for", waited)
	}
}

func TestAWriteThatIsntReplicatedSaysWhatItIs(t *testing.T) {
	f := newFixture(t)
	before := f.do("PUT", "/kv/a", putJSON("1")).position()
	f.node.replicated = func(ctx context.Context, _ dbkernel.Position, _ int) (int, error) {
		<-ctx.Done()
		return 1, ctx.Err()
	}
	start := time.Now()
	a := f.do("PUT", "/kv/a?acks=2&wait=50ms", putJSON("2")).refused(504, httpapi.CodeNotReplicated)
	if took := time.Since(start); took < 50*time.Millisecond || took > 4*time.Second {
		t.Errorf("waited %v of 50ms", took)
	}
	p := a.position()
	if p.LSN <= before.LSN {
		t.Errorf("the position is %v, and %v before the write", p, before)
	}
	for _, part := range []string{"durable on this node", p.String(), "1 of the 2 followers", "50ms have passed", "don't write it again"} {
		if !strings.Contains(a.field("error"), part) {
			t.Errorf("the answer doesn't say %q: %s", part, a.field("error"))
		}
	}
	f.do("GET", "/kv/a", "", header{httpapi.HeaderAtLeast, p.String()}).want(200, `{"value":"`+b64("2")+`","found":true,"version":"<any>"}`)

	f.node.replicated = func(context.Context, dbkernel.Position, int) (int, error) {
		return 0, errors.New("something of its own")
	}
	f.do("PUT", "/kv/a?acks=1", putJSON("3")).refused(504, httpapi.CodeNotReplicated)
}

// TestAWaitForFollowersHoldsNoBody: the memory that the API has for large bodies
// is free while writes wait.
func TestAWaitForFollowersHoldsNoBody(t *testing.T) {
	f := newFixture(t, func(o *fixtureOptions) { o.memory = 1 })
	waiting, goOn := make(chan struct{}), make(chan struct{})
	f.node.replicated = func(context.Context, dbkernel.Position, int) (int, error) {
		waiting <- struct{}{}
		<-goOn
		return 1, nil
	}
	answers := make(chan answer)
	go func() { answers <- f.send("PUT", "/kv/large?acks=1", bytes.NewReader(randomBytes(8<<20)), octets) }()
	<-waiting
	if !f.api.MemoryIsFree() {
		t.Error("the body of a write that waits is still held")
	}
	close(goOn)
	(<-answers).want(200, ok)

	// What a transaction has read is still to be answered, and stays accounted for.
	goOn = make(chan struct{})
	go func() {
		answers <- f.do("POST", "/tx?acks=1", `{"then":[{"op":"get","key":"large"},{"op":"put","key":"a","value":""}]}`)
	}()
	<-waiting
	if f.api.MemoryIsFree() {
		t.Error("an answer of 8 MiB isn't counted while it waits")
	}
	close(goOn)
	(<-answers).refusedWith(200)
	f.api.TakeMemory(t)()
}

func TestAStopEndsTheWaitForFollowersWithTheTruth(t *testing.T) {
	f := newFixture(t)
	waiting := make(chan struct{})
	f.node.replicated = func(ctx context.Context, _ dbkernel.Position, _ int) (int, error) {
		close(waiting)
		<-ctx.Done()
		return 0, ctx.Err()
	}
	answers := make(chan answer)
	go func() { answers <- f.do("PUT", "/kv/a?acks=1&wait=10m", putJSON("1")) }()
	<-waiting
	f.api.Drain()
	a := (<-answers).refused(504, httpapi.CodeNotReplicated)
	if text := a.field("error"); !strings.Contains(text, "durable on this node") || !strings.Contains(text, "shutting down") {
		t.Errorf("the answer says %q", text)
	}
	if v, _, err := f.ns.Get([]byte("a")); err != nil || string(v.Data) != "1" || a.position().LSN == 0 {
		t.Errorf("the write is %q, %v at %v", v.Data, err, a.position())
	}
}
