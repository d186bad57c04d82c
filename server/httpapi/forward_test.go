package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// TestTheSameThroughAnotherHub: whoever asks a hub that has nothing of a namespace gets the answers
// of its owner, whatever is asked. The long form (DURATION) asks everything.
func TestTheSameThroughAnotherHub(t *testing.T) {
	throughAHub.Store(true)
	defer throughAHub.Store(false)
	type test struct {
		name string
		run  func(*testing.T)
	}
	tests := []test{
		{"kv", TestKVPutGetDelete}, {"raw", TestKVRaw}, {"conditions", TestConditions}, {"rows", TestRows}, {"ranges", TestObjectRanges},
		{"unfinished", TestAnUnfinishedObjectIsNeverVisible}, {"mixed", TestAMixedTransaction}, {"conflicts", TestTransactionConflicts},
		{"one-shot", TestOneShotTransactions}, {"acks", TestEveryWriteWaitsForFollowers}, {"waits", TestReadsWaitForAPosition},
		{"bad input", TestBadInput}, {"kernel", TestKernelErrors}, {"cut body", TestACutBodyWritesNothing}, {"model", TestModelCall},
		{"slow", TestABodyThatStandsStillIsGivenUp},
	}
	if os.Getenv("DURATION") != "" {
		tests = append(tests, []test{
			{"keys", TestKeysOfAnyBytesComeBackOnEveryRoute}, {"batch", TestKVBatch}, {"faulty batch", TestAFaultyBatchWritesNothing}, {"list", TestKVList},
			{"cursor", TestACursorIsBoundToItsQuery}, {"ttl", TestTimeToLive}, {"limits", TestValueLimits}, {"row batch", TestRowBatchAndList}, {"objects", TestObjects},
			{"damaged", TestADamagedObjectIsRefusedInWords}, {"replaced", TestAReplacedObjectIsReadToItsEnd}, {"typed", TestTypedTransactions},
			{"ids", TestTransactionIDs}, {"outside", TestAWriteOutsideOfATransactionThatNamesOneIsRefused}, {"faulty one-shot", TestAFaultyOneShotChangesNothing},
			{"acks that don't come", TestAWriteThatIsntReplicatedSaysWhatItIs}, {"history", TestAPositionIsOneOfTheHistory}, {"lost", TestLostAndMalformedPositions},
			{"fields", TestErrorsNameTheField}, {"refusal", TestAValueThatLooksLikeARefusalStaysAsItIs}, {"quota", TestQuota},
			{"model errors", TestModelErrors}, {"model acks", TestModelWriteWaitsForFollowers}, {"connection", TestAConnectionIsGoodForManySlowRequests},
		}...)
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.run)
	}
}

// TestWhatIsPassedOn: writes, and what belongs to a transaction, go to the owner; all else is
// answered here where the namespace is.
func TestWhatIsPassedOn(t *testing.T) {
	p := newPair(t, time.Minute)
	here, owner := p.lineages()
	p.owner.do("PUT", "/kv/k", putJSON("the owner's"))
	txn := p.begin("{}")
	for _, tt := range []struct {
		method, path, body string
		by                 dbkernel.Lineage
	}{
		{"PUT", "/kv/k", putJSON("v"), owner}, {"PUT", "/kv/raw", "v", owner}, {"POST", "/kv/k/touch?ttl=1h", "", owner}, {"DELETE", "/kv/raw", "", owner},
		{"POST", "/kv/batch", `{"operation":"put","items":[{"key":"b","value":""}]}`, owner}, {"POST", "/kv/batch", `{"operation":"delete","keys":["b"]}`, owner},
		{"PUT", "/row/r", `{"columns":{"a":""}}`, owner}, {"POST", "/row/batch", `{"operation":"put","rows":[{"rowKey":"r","columns":{"b":""}}]}`, owner},
		{"DELETE", "/row/r/columns?columns=a", "", owner}, {"DELETE", "/row/r/columns", `{"columns":{"b":""}}`, owner}, {"DELETE", "/row/r", "", owner},
		{"PUT", "/lob/o", "bytes", owner}, {"DELETE", "/lob/o", "", owner},
		{"POST", "/tx", `{"then":[{"op":"get","key":"k"}]}`, owner}, {"GET", "/kv/k?txn=" + txn, "", owner},
		{"POST", "/tx/" + txn + "/commit", "", owner}, {"POST", "!/v1/namespaces/default/mark", "", owner},

		{"GET", "/kv/k", "", here}, {"GET", "/kv", "", here}, {"POST", "/kv/batch", `{"operation":"get","keys":["k"]}`, here},
		{"GET", "/row/r", "", here}, {"GET", "/row", "", here}, {"GET", "/lob", "", here}, {"GET", "/offset", "", here}, {"GET", "/checkpoint", "", here},
		{"GET", "!/v1/namespaces/default/digests", "", here},
	} {
		var headers []header
		if tt.path == "/kv/raw" {
			headers = []header{octets}
		}
		if got := p.do(tt.method, tt.path, tt.body, headers...).refusedWith(200).position(); got.Lineage != tt.by {
			t.Errorf("%s %s was answered at %v", tt.method, tt.path, got)
		}
	}
	p.do("POST", "/tx/"+p.begin("{}")+"/kv", `{"key":"a","value":""}`).want(200, ok)
	p.do("POST", "/kv/batch", `{"operation":"increase"}`).refused(400, httpapi.CodeUnknownOperation)
	p.do("POST", "/kv/batch", `{`).refused(400, httpapi.CodeInvalidJSON)
	p.do("GET", "!/api/v1/none/kv/a", "").refused(404, httpapi.CodeNamespaceNotFound)
	p.do("PUT", "!/api/v1/none/kv/a", "").refused(404, httpapi.CodeNamespaceNotFound)
	if a := p.do("PUT", "/kv/k?acks=1&wait=0s", putJSON("v")).refused(504, httpapi.CodeNotReplicated); a.position().Lineage != owner {
		t.Errorf("the position is %v", a.position())
	}
	later := p.owner.do("PUT", "/kv/k", putJSON("v")).position()
	if got := p.do("PUT", "/kv/k", putJSON("w"), header{httpapi.HeaderAtLeast, later.String()}).want(200, ok).position(); got.LSN <= later.LSN {
		t.Errorf("%v isn't behind %v", got, later)
	}
}

// TestOfANamespaceThatIsntHere everything is passed on but what is about this hub's own copy.
func TestOfANamespaceThatIsntHere(t *testing.T) {
	p := newPair(t, time.Minute)
	_, owner := p.lineages()
	object := randomBytes(1 << 20)
	p.owner.send("PUT", "/lob/o", bytes.NewReader(object))
	p.owner.do("PUT", "/kv/k", "value", octets)
	p.node.absent.Store(true)
	if got := p.do("GET", "/kv/k", "").want(200, `{"value":"`+b64("value")+`","found":true,"version":"<any>"}`).position(); got.Lineage != owner {
		t.Errorf("it was answered at %v", got)
	}
	a := p.do("HEAD", "/lob/o", "")
	if a.status != 200 || a.header.Get("Content-Length") != fmt.Sprint(len(object)) || len(a.body) != 0 {
		t.Errorf("HEAD: %d %v, %d bytes", a.status, a.header, len(a.body))
	}
	if b := p.do("GET", "/lob/o", "", header{"If-None-Match", a.header.Get("ETag")}); b.status != http.StatusNotModified {
		t.Errorf("not modified: %d", b.status)
	}
	if b := p.do("GET", "/lob/o", "", header{"Range", "bytes=100-299"}); b.status != 206 || !bytes.Equal(b.body, object[100:300]) || b.header.Get("Content-Range") != fmt.Sprintf("bytes 100-299/%d", len(object)) {
		t.Errorf("range: %d %v", b.status, b.header)
	}
	for _, path := range []string{"!/v1/namespaces/default/digests", "!/api/v1/none/kv/a"} {
		p.do("GET", path, "").refused(404, httpapi.CodeNamespaceNotFound)
	}
	p.do("POST", "!/v1/namespaces/default/scrub", "").refused(404, httpapi.CodeNamespaceNotFound)
	p.do("POST", "/wal/backup", `{"afterSegmentId":0,"backupDir":"b"}`).refused(404, httpapi.CodeNamespaceNotFound)

	p.node.elsewhere.Store(false) // nobody knows yet who owns it, or this hub does and hasn't made it
	if a := p.do("PUT", "/kv/k", "v", octets).refused(503, httpapi.CodeNoOwner); a.header.Get("Retry-After") == "" {
		t.Errorf("%v", a.header)
	}
	p.node.relayers.Store(true)
	p.do("GET", "/kv/k?raw=true", "").refusedWith(200)
	if a := p.do("PUT", "/kv/k", "v", octets).refused(403, httpapi.CodeReadOnly); a.header.Get(httpapi.HeaderOwner) != "hub-a" {
		t.Errorf("%v", a.header)
	}
}

// TestAReplicaThatCantBeServedIsReadElsewhere, as it is for one that isn't there.
func TestAReplicaThatCantBeServedIsReadElsewhere(t *testing.T) {
	p := newPair(t, time.Minute)
	p.owner.do("PUT", "/kv/k", "value", octets)
	p.node.refused["default"] = &httpapi.StateError{Namespace: "default", State: "bootstrapping", Code: httpapi.CodeNotReady, Reason: "nothing is here yet"}
	if a := p.do("GET", "/kv/k?raw=true", ""); string(a.body) != "value" {
		t.Errorf("%d %s", a.status, a.body)
	}
	p.node.elsewhere.Store(false)
	p.do("GET", "/kv/k", "").refused(503, httpapi.CodeNotReady)
}

// TestARequestIsPassedOnOnce: two hubs that each take the other for the owner don't play ball.
func TestARequestIsPassedOnOnce(t *testing.T) {
	p := newPair(t, 200*time.Millisecond)
	p.owner.node.elsewhere.Store(true)
	if a := p.refusedFor("it isn't the owner"); a.header.Get("Retry-After") != "1" {
		t.Errorf("%v", a.header)
	}
	p.owner.node.elsewhere.Store(false)
	p.owner.node.absent.Store(true)
	p.refusedFor("it doesn't have the namespace")
	p.owner.node.absent.Store(false)
	p.untilPut(func(a answer) bool { return a.status == 200 })
}

// refusedFor writes until the other hub says why it doesn't take that.
func (p *pair) refusedFor(reason string) answer {
	p.t.Helper()
	return p.untilPut(func(a answer) bool {
		return a.status == 503 && a.field("code") == httpapi.CodeNoOwner && strings.Contains(a.field("error"), reason)
	})
}

// untilPut writes until the answer is as it should be: a slow machine may not have one of the other
// hub in the time that a request is held.
func (p *pair) untilPut(right func(answer) bool) answer {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		a := p.do("PUT", "/kv/k", putJSON("v"))
		if right(a) {
			return a
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("it is always %d %s", a.status, a.body)
		}
	}
}

// TestABatchIsPassedOnOnce: that it writes is found only where it is read.
func TestABatchIsPassedOnOnce(t *testing.T) {
	var second *fixture
	port := newHubPort(t, nil)
	known := func(string) bool { return true }
	replica := func(o *fixtureOptions) {
		o.replica, o.forwarder = true, forwarderTo(t, port, 200*time.Millisecond, known)
	}
	first := newFixture(t, replica)
	second = newFixture(t, replica)
	port.serve = ownerHub(t, second.api).serve
	first.node.elsewhere.Store(true)
	second.node.elsewhere.Store(true)
	a := first.do("POST", "/kv/batch", `{"operation":"delete","keys":["k"]}`).refused(503, httpapi.CodeNoOwner)
	if port.streams.Load() != 1 || a.header.Get("Retry-After") != "1" || a.header.Get(httpapi.HeaderOwner) != "" {
		t.Errorf("%d streams, %v", port.streams.Load(), a.header)
	}
	first.node.elsewhere.Store(false)
	first.do("POST", "/kv/batch", `{"operation":"delete","keys":["k"]}`).refused(403, httpapi.CodeReadOnly)
}

// TestARefusalReachesAClientThatWaits: it has said only the beginning of its body, and says no more
// before it has an answer.
func TestARefusalReachesAClientThatWaits(t *testing.T) {
	p := newPair(t, time.Minute)
	conn := p.dial()
	if _, err := fmt.Fprint(conn, "PUT /api/v1/default/lob/o HTTP/1.1\r\nHost: x\r\nIf-Match: none\r\nContent-Length: 100\r\n\r\nonly this"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusBadRequest || !res.Close {
		t.Fatalf("%v: %v", err, res)
	}
	_ = res.Body.Close()
}

// TestAHubThatStopsWritesNothing: who passes a write on waits, and a hub that starts takes it.
func TestAHubThatStopsWritesNothing(t *testing.T) {
	p := newPair(t, time.Minute)
	p.owner.api.Drain()
	written := make(chan answer, 1)
	go func() { written <- p.do("PUT", "/lob/o", "bytes") }()
	for p.port.streams.Load() < 3 { // it is asked again and again
		select {
		case a := <-written:
			t.Fatalf("%d %s", a.status, a.body)
		default:
		}
	}
	p.port.stop()
	next := newFixture(t)
	p.port.serve = ownerHub(t, next.api).serve
	p.port.start()
	if a := (<-written).refusedWith(200); a.position().Lineage != next.ns.Status().Lineage {
		t.Errorf("%v", a.position())
	}
	p.owner.api.Wait()
}

// TestFates: what a client hears when the owner is lost, by when that happened.
func TestFates(t *testing.T) {
	accepted := &dbv1.ForwardResponse{Body: &dbv1.ForwardResponse_Accepted{Accepted: &dbv1.ForwardAccepted{}}}
	head := &dbv1.ForwardResponse{Body: &dbv1.ForwardResponse_Head{Head: &dbv1.ForwardAnswer{Status: 200}}}
	port := newHubPort(t, nil)
	f := newFixture(t, func(o *fixtureOptions) {
		o.replica, o.forwarder = true, forwarderTo(t, port, 300*time.Millisecond, func(string) bool { return true })
	})
	f.node.elsewhere.Store(true)
	answers := func(messages ...*dbv1.ForwardResponse) {
		port.serve = func(stream grpc.BidiStreamingServer[dbv1.ForwardRequest, dbv1.ForwardResponse]) error {
			for _, m := range messages {
				if err := stream.Send(m); err != nil {
					return err
				}
			}
			if len(messages) > 0 {
				if _, err := stream.Recv(); err != nil {
					return err
				}
				if _, err := stream.Recv(); err != nil && !errors.Is(err, io.EOF) { // it has heard
					return err
				}
			}
			return errors.New("the owner is lost")
		}
		port.streams.Store(0)
	}
	answers()
	if a := f.do("PUT", "/kv/k", putJSON("v")).refused(503, httpapi.CodeNoOwner); a.header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	answers(accepted)
	for _, method := range []string{"PUT", "DELETE"} {
		a := f.do(method, "/kv/k", putJSON("v")).refused(503, httpapi.CodeOutcomeUnknown)
		if a.header.Get("Retry-After") != "" || port.streams.Swap(0) != 1 {
			t.Errorf("%s: a write of which nobody knows how it went was given away again: %v", method, a.header)
		}
	}
	f.node.absent.Store(true)
	if f.do("GET", "/kv/k", "").refused(503, httpapi.CodeNoOwner); port.streams.Load() < 2 {
		t.Error("a read wasn't tried again")
	}
	answers(accepted, head)
	for _, method := range []string{"PUT", "GET"} {
		req, err := http.NewRequestWithContext(t.Context(), method, f.url+"/api/v1/default/kv/k", strings.NewReader(putJSON("v")))
		if err != nil {
			t.Fatal(err)
		}
		if res, err := f.client.Do(req); err == nil {
			_, err = io.ReadAll(res.Body)
			if _ = res.Body.Close(); err == nil {
				t.Errorf("%s: half an answer was taken for the whole", method)
			}
		}
	}
}

// TestModelsAreCalledHereWhereTheyOnlyRead, and at the owner where they write, or where they aren't here.
func TestModelsAreCalledHereWhereTheyOnlyRead(t *testing.T) {
	there, here := &fakePlugins{calls: make(chan pluginhost.Request, 10)}, &fakePlugins{calls: make(chan pluginhost.Request, 10)}
	there.call = func(_ context.Context, r pluginhost.Request) (pluginhost.Answer, error) {
		return pluginhost.Answer{Body: append([]byte("there "), r.Body...), ContentType: r.ContentType}, nil
	}
	owner := newFixture(t, func(o *fixtureOptions) { o.plugins = there })
	f := newFixture(t, func(o *fixtureOptions) {
		o.replica, o.plugins, o.forwarder = true, here, forwarderTo(t, ownerHub(t, owner.api), time.Minute, owner.knows)
	})
	f.node.elsewhere.Store(true)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, "here"}, {fmt.Errorf("it writes: %w", dbkernel.ErrReadOnly), "there body"}, {fmt.Errorf("none: %w", pluginhost.ErrModelNotFound), "there body"},
	} {
		here.call = func(context.Context, pluginhost.Request) (pluginhost.Answer, error) {
			return pluginhost.Answer{Body: []byte("here")}, tt.err
		}
		if a := f.do("POST", "/model/vector/add", "body", header{"Content-Type", "text/x"}).refusedWith(200); string(a.body) != tt.want {
			t.Errorf("%v: %q", tt.err, a.body)
		}
	}
	here.call = func(context.Context, pluginhost.Request) (pluginhost.Answer, error) {
		return pluginhost.Answer{}, pluginhost.ErrMethodNotFound
	}
	f.do("POST", "/model/vector/none", "").refused(404, httpapi.CodeMethodNotFound)
	f.node.absent.Store(true)
	if a := f.do("POST", "/model/vector/add", "body"); string(a.body) != "there body" {
		t.Errorf("%d %q", a.status, a.body)
	}
}

// TestABodyIsAskedForWhenTheOwnerTakesIt: a client that waits to be asked sends nothing before.
func TestABodyIsAskedForWhenTheOwnerTakesIt(t *testing.T) {
	p := newPair(t, time.Minute)
	p.port.stop()
	conn := p.dial()
	if _, err := fmt.Fprint(conn, "PUT /api/v1/default/lob/o HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	p.waitInFlight(1)
	asked := make(chan string, 1)
	answers := bufio.NewReader(conn)
	go func() {
		line, _ := answers.ReadString('\n')
		asked <- line
	}()
	select {
	case line := <-asked:
		t.Fatalf("it was asked before the owner was there: %q", line)
	default:
	}
	p.port.start()
	if line := <-asked; !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q", line)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "bytes"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(answers, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v: %v", err, res)
	}
	_ = res.Body.Close()
	if a := p.owner.do("GET", "/lob/o", ""); string(a.body) != "bytes" {
		t.Errorf("%d %q", a.status, a.body)
	}
}

// TestAClientThatLeavesInTheMiddle of a body leaves nothing behind, at neither hub.
func TestAClientThatLeavesInTheMiddle(t *testing.T) {
	p := newPair(t, time.Minute)
	conn := p.dial()
	if _, err := fmt.Fprint(conn, "PUT /api/v1/default/lob/o HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this"); err != nil {
		t.Fatal(err)
	}
	p.owner.waitInFlight(1)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	p.owner.api.Wait()
	p.api.Wait()
	p.owner.do("GET", "/lob/o", "").refused(404, httpapi.CodeObjectNotFound)
}

// TestOnlyTheDataAPIIsPassedOn: no hub may do to another what an operator does.
func TestOnlyTheDataAPIIsPassedOn(t *testing.T) {
	p := newPair(t, time.Minute)
	conn := forwarderConn(t, p.port)
	for _, target := range []string{"/v1/namespaces", "/v1/reload", "/v1/namespaces/default/scrub", "/api/v1/default/wal/backup", "/health", "/metrics"} {
		stream, err := conn.Forward(t.Context())
		if err == nil {
			err = stream.Send(&dbv1.ForwardRequest{Body: &dbv1.ForwardRequest_Head{Head: &dbv1.ForwardHead{Method: "POST", Target: target}}})
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.Recv()
		if err != nil || m.GetHead().GetStatus() != 404 && m.GetHead().GetStatus() != 405 {
			t.Errorf("%s: %v, %v", target, m, err)
		}
	}
}
