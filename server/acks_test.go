package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

// putAcks writes on a node and waits for followers.
func putAcks(n *servertest.Node, value, query string) servertest.Response {
	return n.Do(http.MethodPut, "/api/v1/default/kv/k?"+query, []byte(value), servertest.Header{Name: "Content-Type", Value: "application/octet-stream"})
}

// durableAt says whether a node has the record of a write's answer durably.
func durableAt(t *testing.T, n *servertest.Node, r servertest.Response) bool {
	t.Helper()
	return status(t, n, "default").DurableLSN >= lsnOf(t, r.Header.Get(httpapi.HeaderPosition))
}

func TestWritesWaitForFollowers(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	r := putAcks(hub, "alone", "acks=1&wait=50ms")
	refused(t, r, 504, httpapi.CodeNotReplicated)
	if got, _ := hub.Get("default", "k", r.Header.Get(httpapi.HeaderPosition)); got != "alone" {
		t.Errorf("the write that wasn't replicated reads %q", got)
	}
	one := servertest.Relayer(t, "one", hub, "default")
	one.WaitReady()
	if r = putAcks(hub, "1", "acks=1&wait=30s"); r.Status != 200 || !durableAt(t, one, r) {
		t.Errorf("with one follower: %d %s", r.Status, r.Body)
	}
	r = putAcks(hub, "2", "acks=2&wait=50ms")
	refused(t, r, 504, httpapi.CodeNotReplicated)
	two := servertest.Relayer(t, "two", hub, "default")
	two.WaitReady()
	if r = putAcks(hub, "3", "acks=2&wait=30s"); r.Status != 200 || !durableAt(t, one, r) || !durableAt(t, two, r) {
		t.Errorf("with two followers: %d %s", r.Status, r.Body)
	}
	// A follower of a follower is no direct one.
	below := servertest.Relayer(t, "below", one, "default")
	below.WaitReady()
	below.Get("default", "k", r.Header.Get(httpapi.HeaderPosition))
	r = putAcks(hub, "4", "acks=3&wait=100ms")
	refused(t, r, 504, httpapi.CodeNotReplicated)
	if !strings.Contains(string(r.Body), "2 of the 3 followers") {
		t.Errorf("the answer is %s", r.Body)
	}
}

func TestAFollowerThatIsKilledWhileItIsWaitedFor(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	one, two := servertest.Relayer(t, "one", hub, "default"), servertest.Relayer(t, "two", hub, "default")
	hub.Put("default", "k", "0")
	one.WaitReady()
	two.WaitReady()
	if r := putAcks(hub, "1", "acks=2&wait=30s"); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	two.Stop()
	answers := make(chan servertest.Response, 1)
	waits := func(query string) {
		go func() { answers <- putAcks(hub, "2", query) }()
		servertest.WaitFor(t, "a write waits", func() bool {
			return strings.Contains(string(hub.Do("GET", "/metrics", nil).Body), "unisondb_http_requests_in_flight 2")
		})
	}
	waits("acks=2&wait=60s")
	two.Start()
	if r := <-answers; r.Status != 200 || !durableAt(t, two, r) {
		t.Errorf("it came back, and the answer is %d %s", r.Status, r.Body)
	}
	two.Stop()
	waits("acks=2&wait=1s")
	one.Stop()
	refused(t, <-answers, 504, httpapi.CodeNotReplicated)
}

func TestAStopTellsThoseWhoWaitForFollowers(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	answers := make(chan servertest.Response, 1)
	go func() { answers <- putAcks(hub, "v", "acks=1&wait=10m") }()
	servertest.WaitFor(t, "the write waits", func() bool {
		return strings.Contains(string(hub.Do("GET", "/metrics", nil).Body), "unisondb_http_requests_in_flight 2")
	})
	hub.Stop()
	r := <-answers
	refused(t, r, 504, httpapi.CodeNotReplicated)
	hub.Start()
	if got, _ := hub.Get("default", "k", r.Header.Get(httpapi.HeaderPosition)); got != "v" {
		t.Errorf("after a restart the write that was called durable reads %q", got)
	}
}
