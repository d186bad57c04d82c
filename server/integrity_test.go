package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

// digestsAt are a node's digests at a mark.
func digestsAt(t *testing.T, n *servertest.Node, mark uint64) []string {
	t.Helper()
	var d struct {
		LSN    uint64   `json:"lsn"`
		Ranges []string `json:"ranges"`
	}
	r := n.Do("GET", fmt.Sprintf("/v1/namespaces/default/digests?mark=%d&wait=30s", mark), nil)
	if err := json.Unmarshal(r.Body, &d); err != nil || r.Status != 200 || d.LSN != mark || len(d.Ranges) != dbkernel.DigestRanges {
		t.Fatalf("digests of node %s: %d %v: %.200s", n.Config.NodeID, r.Status, err, r.Body)
	}
	return d.Ranges
}

// differences are the ranges in which two nodes differ at a new mark.
func differences(t *testing.T, hub, edge *servertest.Node) (ranges []int) {
	t.Helper()
	r := hub.Do("POST", "/v1/namespaces/default/mark", nil)
	if r.Status != 200 {
		t.Fatalf("mark: %d %s", r.Status, r.Body)
	}
	mark := lsnOf(t, r.Header.Get(httpapi.HeaderPosition))
	a, b := digestsAt(t, hub, mark), digestsAt(t, edge, mark)
	for i := range a {
		if a[i] != b[i] {
			ranges = append(ranges, i)
		}
	}
	return ranges
}

// loseRange takes the cells of a range of the digests out of a replica.
func loseRange(t *testing.T, hub, edge *servertest.Node) (lost int) {
	t.Helper()
	from, err := hub.Kernel().Namespace("default")
	if err != nil {
		t.Fatal(err)
	}
	to, err := edge.Kernel().Namespace("default")
	if err != nil {
		t.Fatal(err)
	}
	for r := range dbkernel.DigestRanges {
		c, more, err := from.ReadRange(t.Context(), r, nil, 1<<20)
		if err != nil || more {
			t.Fatal(err, more)
		}
		if c.Count == 0 {
			continue
		}
		c.Cells, c.Count = nil, 0
		if changed, err := to.RepairRange(t.Context(), r, c); err != nil || changed == 0 {
			t.Fatalf("%d cells were taken out: %v", changed, err)
		}
		return r
	}
	t.Fatal("there is no cell")
	return 0
}

func TestADifferenceIsSeenAndRepaired(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	edge := servertest.Relayer(t, "edge", hub, "default")
	p := ""
	for i := range 100 {
		p = hub.Put("default", fmt.Sprint("k", i), "v")
	}
	edge.WaitReady()
	edge.Get("default", "k99", p)
	if d := differences(t, hub, edge); d != nil {
		t.Fatalf("ranges %v differ", d)
	}
	lost := loseRange(t, hub, edge)
	p = hub.Put("default", "another", "v")
	if d := differences(t, hub, edge); len(d) == 0 || d[0] != lost {
		t.Errorf("ranges %v differ, range %d lost its cells", d, lost)
	}
	servertest.WaitFor(t, "the difference is found and repaired", func() bool {
		s := status(t, edge, "default")
		return s.Compared.Differences > 0 && s.Compared.RepairedCells > 0 && !s.Integrity.Damaged
	})
	hub.Put("default", "and another", "v")
	if d := differences(t, hub, edge); d != nil {
		t.Errorf("after the repair ranges %v differ", d)
	}
	for i := range 100 {
		if _, found := edge.Get("default", fmt.Sprint("k", i), p); !found {
			t.Errorf("key %d is lost", i)
		}
	}
	if text := string(hub.Do("GET", "/metrics", nil).Body); !strings.Contains(text, `unisondb_repair_bytes_total{namespace="default"} `) {
		t.Error("the hub's metrics don't tell what the repair has sent")
	}
	text := string(edge.Do("GET", "/metrics", nil).Body)
	for _, line := range []string{`unisondb_differences_total{namespace="default",upstream="up"} 1`, `unisondb_repaired_cells_total{namespace="default"} `} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics don't say %s", line)
		}
	}
}

// flip changes a bit of what a file holds wherever a text stands in it.
func flip(t *testing.T, file, text string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.ReplaceAll(b, []byte(text), append([]byte{text[0] ^ 1}, text[1:]...))
	if bytes.Equal(b, damaged) {
		t.Fatalf("%q isn't in %s", text, file)
	}
	if err := os.WriteFile(file, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedValueOnAHubIsReported(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	hub.Put("default", "good", "a sound value")
	hub.Put("default", "bad", "a value that will be damaged")
	hub.Stop()
	flip(t, filepath.Join(hub.Config.DataDir, "namespaces", "default", "db", "data.mdb"), "a value that will be damaged")
	hub.Start()
	r := hub.Do("GET", "/api/v1/default/kv/bad", nil)
	refused(t, r, 500, httpapi.CodeDamaged)
	if strings.Contains(string(r.Body), "value that will be damaged") {
		t.Errorf("the damaged value is part of the answer: %s", r.Body)
	}
	if got, _ := hub.Get("default", "good", ""); got != "a sound value" {
		t.Errorf("the other value is %q", got)
	}
	hub.WaitReady()
	if r := hub.Do("POST", "/v1/namespaces/default/scrub", nil); r.Status != 200 || !strings.Contains(string(r.Body), `"damaged":true`) {
		t.Errorf("scrub: %d %s", r.Status, r.Body)
	}
	if s := status(t, hub, "default"); s.Integrity == nil || !s.Integrity.Damaged || s.Integrity.DamagedCells != 1 || len(s.Integrity.BadRanges) != 1 {
		t.Errorf("its status says %+v", s.Integrity)
	}
	if text := string(hub.Do("GET", "/metrics", nil).Body); !strings.Contains(text, `unisondb_damaged_cells{namespace="default"} 1`) {
		t.Error("the metrics don't tell of the damage")
	}
	hub.Put("default", "bad", "written once more")
	if got, _ := hub.Get("default", "bad", ""); got != "written once more" {
		t.Errorf("written once more it reads %q", got)
	}
}

var metricLine = regexp.MustCompile(`^(unisondb_[a-z0-9_]+)(\{[^}]*\})? [-+0-9.eEINFa]+$`)

// TestMetricsOfAChain scrapes a hub, a relayer and a relayer of that: each line has
// its form, and what somebody would look at is there.
func TestMetricsOfAChain(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	edge := servertest.Relayer(t, "edge", hub, "default")
	below := servertest.Relayer(t, "below", edge, "default")
	p := hub.Put("default", "k", "v")
	below.WaitReady()
	below.Get("default", "k", p)
	servertest.WaitFor(t, "the lag behind the owner is known two hops below", func() bool { return status(t, below, "default").OwnerLag != nil })
	for n, want := range map[*servertest.Node][]string{
		hub: {`unisondb_followers{namespace="default"} 1`, `unisondb_follower_lag_records{follower="edge",namespace="default"} `, `unisondb_follower_durable_lsn{follower="edge",namespace="default"} `,
			`unisondb_tree_oldest_snapshot_seconds{namespace="default"} `, `unisondb_scrubs_total{namespace="default"} `},
		edge: {`unisondb_lag_seconds{namespace="default",scope="upstream",upstream="up"} `, `unisondb_lag_records{namespace="default",scope="owner",upstream="up"} `, `unisondb_hops{namespace="default",upstream="up"} 1`},
		below: {`unisondb_lag_bytes{namespace="default",scope="owner",upstream="up"} `, `unisondb_hops{namespace="default",upstream="up"} 2`,
			`unisondb_forks_total{namespace="default",upstream="up",what="truncated"} 0`, `unisondb_compared_lsn{namespace="default",upstream="up"} `},
	} {
		r := n.Do(http.MethodGet, "/metrics", nil)
		if r.Status != 200 {
			t.Fatalf("%s: %d %s", n.Config.NodeID, r.Status, r.Body)
		}
		for line := range strings.Lines(string(r.Body)) {
			if !strings.HasPrefix(line, "# ") && !metricLine.MatchString(strings.TrimSpace(line)) {
				t.Errorf("%s exports %q", n.Config.NodeID, line)
			}
		}
		for _, w := range want {
			if !strings.Contains(string(r.Body), "\n"+w) {
				t.Errorf("%s doesn't export %s", n.Config.NodeID, w)
			}
		}
	}
	servertest.WaitFor(t, "the hub knows how far its only follower is", func() bool {
		all := status(t, hub, "default").Followers
		return len(all) == 1 && all[0].NodeID == "edge" && all[0].DurableLSN > 0
	})
	if s := status(t, below, "default"); *s.Hops != 2 || s.OwnerLag.Records != 0 || s.LagBytes == nil {
		t.Errorf("two hops below the status is %+v", s)
	}
}
