package server_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

func lsnOf(t *testing.T, position string) uint64 {
	t.Helper()
	parts := strings.Split(position, ":")
	lsn, err := strconv.ParseUint(parts[len(parts)-1], 10, 64)
	if err != nil {
		t.Fatalf("position %q: %v", position, err)
	}
	return lsn
}

// atLeast asks for a state that includes a position.
func atLeast(position string) servertest.Header {
	return servertest.Header{Name: httpapi.HeaderAtLeast, Value: position}
}

// TestReadsSeeWritesOnAnyHop writes on the hub and reads hopping over a chain of
// relayers, each read asking for what the one before it has seen.
func TestReadsSeeWritesOnAnyHop(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	a := servertest.Relayer(t, "a", hub, "default")
	b := servertest.Relayer(t, "b", a, "default")
	c := servertest.Relayer(t, "c", b, "default")
	hub.Put("default", "k", "-1")
	c.WaitReady()
	for i := range 20 {
		position, value := hub.Put("default", "k", strconv.Itoa(i)), strconv.Itoa(i)
		for _, n := range []*servertest.Node{c, a, b, c, hub} {
			r := n.Do(http.MethodGet, "/api/v1/default/kv/k?raw=true&wait=30s", nil, atLeast(position))
			if r.Status != 200 || string(r.Body) != value {
				t.Fatalf("write %d on %s: %d %q", i, n.Config.NodeID, r.Status, r.Body)
			}
			if saw := r.Header.Get(httpapi.HeaderPosition); lsnOf(t, saw) < lsnOf(t, position) {
				t.Fatalf("%s saw %s, and %s was asked for", n.Config.NodeID, saw, position)
			} else {
				position = saw
			}
		}
	}
}

// TestEveryReadTakesAPosition: whatever is read, at whatever depth, answers from a
// state that includes the position asked for, and says what it saw.
func TestEveryReadTakesAPosition(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	edge := servertest.Relayer(t, "edge", servertest.Relayer(t, "middle", hub, "default"), "default")
	write := func(method, path, body string) string {
		r := hub.Do(method, "/api/v1/default"+path, []byte(body))
		position := r.Header.Get(httpapi.HeaderPosition)
		if r.Status != 200 || position == "" {
			t.Fatalf("%s %s: %d %s, position %q", method, path, r.Status, r.Body, position)
		}
		return position
	}
	write("PUT", "/kv/k", `{"value":"MQ=="}`)
	write("PUT", "/row/r", `{"columns":{"c":"MQ=="}}`)
	write("PUT", "/lob/o", "the bytes")
	edge.WaitReady()
	for i, read := range []struct{ method, path, body, header, want string }{
		{"GET", "/kv/k", "", "", `"found":true`}, {"GET", "/kv/k?raw=true", "", "", "1"}, {"HEAD", "/kv/k?raw=true", "", "", ""}, {"GET", "/kv/none", "", "", `"found":false`},
		{"GET", "/kv", "", "", `"k"`}, {"POST", "/kv/batch", `{"operation":"get","keys":["k"]}`, "", `"found":true`},
		{"GET", "/row/r", "", "", `"found":true`}, {"GET", "/row", "", "", `"r"`},
		{"GET", "/lob/o", "", "", "the bytes"}, {"GET", "/lob/o", "", "bytes=4-8", "bytes"}, {"HEAD", "/lob/o", "", "", ""}, {"GET", "/lob", "", "", `"o"`},
		{"GET", "/offset", "", "", `"lsn"`}, {"GET", "/checkpoint", "", "", `"lsn"`}, {"GET", "/stats", "", "", `"lsn"`},
	} {
		position := write("PUT", "/kv/other", fmt.Sprintf(`{"value":%q}`, []string{"MQ==", "Mg=="}[i%2]))
		headers := []servertest.Header{atLeast(position)}
		if read.header != "" {
			headers = append(headers, servertest.Header{Name: "Range", Value: read.header})
		}
		r := edge.Do(read.method, "/api/v1/default"+read.path, []byte(read.body), headers...)
		if r.Status != 200 && r.Status != 206 || !strings.Contains(string(r.Body), read.want) {
			t.Errorf("%s %s: %d %s", read.method, read.path, r.Status, r.Body)
		}
		if saw := r.Header.Get(httpapi.HeaderPosition); saw == "" || lsnOf(t, saw) < lsnOf(t, position) {
			t.Errorf("%s %s saw %q, and %s was asked for", read.method, read.path, saw, position)
		}
	}
	txn := hub.Do("POST", "/api/v1/default/tx/begin", []byte("{}"))
	_, id, _ := strings.Cut(string(txn.Body), `"txnId":"`)
	id, _, _ = strings.Cut(id, `"`)
	position := write("PUT", "/kv/other", `{"value":""}`)
	r := hub.Do("GET", "/api/v1/default/kv/k?txn="+id, nil, atLeast(position))
	if saw := r.Header.Get(httpapi.HeaderPosition); r.Status != 200 || lsnOf(t, saw) < lsnOf(t, position) {
		t.Errorf("in a transaction: %d %s, saw %q", r.Status, r.Body, saw)
	}
}

// TestWhatARestoredHubHasLostIsLostEverywhere: a hub that comes back from an older
// backup goes on in another direction. Its relayers follow it there, what only they had is set
// aside, and readers that ask for it are told at once.
func TestWhatARestoredHubHasLostIsLostEverywhere(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	edge := servertest.Relayer(t, "edge", hub, "default")
	below := servertest.Relayer(t, "below", edge, "default")
	p := hub.Put("default", "k", "kept")
	below.WaitReady()
	below.Get("default", "k", p)
	hub.Stop()
	backup := copyDir(t, hub.Config.DataDir)
	hub.Start()
	var lost string
	for i := range 30 {
		lost = hub.Put("default", fmt.Sprint("lost", i), "v")
	}
	below.Get("default", "lost29", lost)
	hub.Stop()
	replaceDir(t, hub.Config.DataDir, backup)
	hub.Start()
	hub.Put("default", "k", "once more")
	hub.Restart() // so that the epoch numbers tell the two directions apart
	p = hub.Put("default", "k", "another way")
	for _, n := range []*servertest.Node{below, edge, hub} {
		if got, _ := n.Get("default", "k", p); got != "another way" {
			t.Errorf("%s has %q", n.Config.NodeID, got)
		}
		if _, found := n.Get("default", "lost29", p); found {
			t.Errorf("%s has what was cut off", n.Config.NodeID)
		}
		start := time.Now()
		refused(t, n.Do(http.MethodGet, "/api/v1/default/kv/k?wait=60s", nil, atLeast(lost)), 409, httpapi.CodePositionLost)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s waited %v for a position that is lost", n.Config.NodeID, took)
		}
	}
	for _, n := range []*servertest.Node{edge, below} {
		records := uint64(0)
		for _, a := range nodeStatus(t, n).Aside {
			if a.Namespace != "default" || a.Reason == "" || a.Path == "" || a.At.IsZero() {
				t.Errorf("%s set aside %+v", n.Config.NodeID, a)
			}
			records += a.Records
		}
		if records < 30 {
			t.Errorf("%s has set %d records aside, 30 were cut off", n.Config.NodeID, records)
		}
		if text := string(n.Do("GET", "/metrics", nil).Body); !strings.Contains(text, `unisondb_set_aside_records{namespace="default"}`) {
			t.Errorf("the metrics of %s don't tell of what was set aside", n.Config.NodeID)
		}
		if s := status(t, n, "default"); s.State != "serving" || s.Code != "" {
			t.Errorf("%s is %s: %s %s", n.Config.NodeID, s.State, s.Code, s.Reason)
		}
	}
}

// TestAWaitGoesOnWhereTheNamespaceIsExchanged: who waits for a position while a
// relayer takes another lineage is served by the new one.
func TestAWaitGoesOnWhereTheNamespaceIsExchanged(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	edge := servertest.Relayer(t, "edge", hub, "default")
	follows(t, hub, edge, "old")
	hub.Stop()
	removeDir(t, hub.Config.DataDir)
	hub.Start()
	p := hub.Put("default", "k", "new")
	refused(t, edge.Do(http.MethodGet, "/api/v1/default/kv/k?wait=60s", nil, atLeast(p)), 409, httpapi.CodePositionLost)
	accept(t, edge, status(t, hub, "default").Lineage)
	servertest.WaitFor(t, "the new lineage is there", func() bool {
		r := edge.Do(http.MethodGet, "/api/v1/default/kv/k?raw=true&wait=30s", nil, atLeast(p))
		return r.Status == 200 && string(r.Body) == "new"
	})
}
