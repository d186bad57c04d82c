package server_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

func nodeStatus(t *testing.T, n *servertest.Node) (s httpapi.Status) {
	t.Helper()
	r := n.Do("GET", "/v1/status", nil)
	if err := json.Unmarshal(r.Body, &s); err != nil || r.Status != 200 {
		t.Fatalf("status: %d %v: %s", r.Status, err, r.Body)
	}
	return s
}

func removeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// copyDir copies the directory of a node that is stopped.
func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func replaceDir(t *testing.T, dir, with string) {
	t.Helper()
	removeDir(t, dir)
	if err := os.CopyFS(dir, os.DirFS(with)); err != nil {
		t.Fatal(err)
	}
}

func accept(t *testing.T, n *servertest.Node, lineage string) {
	t.Helper()
	if r := n.Do("POST", "/v1/namespaces/default/accept", fmt.Appendf(nil, `{"lineage":%q}`, lineage)); r.Status != 200 {
		t.Fatalf("accept on %s: %d %s", n.Config.NodeID, r.Status, r.Body)
	}
}

// follows writes a value on a hub and waits until a relayer has it.
func follows(t *testing.T, hub, edge *servertest.Node, value string) {
	t.Helper()
	p := hub.Put("default", "k", value)
	edge.WaitReady()
	if got, _ := edge.Get("default", "k", p); got != value {
		t.Fatalf("the relayer has %q", got)
	}
}

// wiped is a hub whose disk is lost, and a relayer that has followed it.
func wiped(t *testing.T) (hub, edge *servertest.Node) {
	hub = servertest.Hub(t, "hub", "default")
	edge = servertest.Relayer(t, "edge", hub, "default")
	follows(t, hub, edge, "old")
	hub.Stop()
	removeDir(t, hub.Config.DataDir)
	return hub, edge
}

// hasTaken waits until a relayer has what its hub has by now.
func hasTaken(t *testing.T, hub, edge *servertest.Node) {
	t.Helper()
	want := status(t, hub, "default").Lineage
	servertest.WaitFor(t, "the relayer has taken the hub's lineage", func() bool { return status(t, edge, "default").Lineage == want })
	p := hub.Put("default", "k", "new")
	if got, _ := edge.Get("default", "k", p); got != "new" {
		t.Errorf("the relayer has %q", got)
	}
	s := nodeStatus(t, edge)
	if len(s.Aside) != 1 || !s.Aside[0].Directory || s.Aside[0].Namespace != "default" {
		t.Errorf("what it had isn't set aside: %+v", s.Aside)
	} else if _, err := os.Stat(s.Aside[0].Path); err != nil {
		t.Error(err)
	}
	if ns := s.Namespaces[0]; ns.Accepted != "" || ns.State != "serving" || ns.Code != "" {
		t.Errorf("its status is %+v", ns)
	}
	b, err := os.ReadFile(filepath.Join(edge.Config.DataDir, "node.json"))
	if err != nil || strings.Contains(string(b), "accepted") {
		t.Errorf("node.json still has it accepted: %v: %s", err, b)
	}
}

func TestAWipedHubIsFollowedOnceAnOperatorSaysSo(t *testing.T) {
	hub, edge := wiped(t)
	hub.Start()
	lineage := status(t, hub, "default").Lineage
	command := "unisondb operator namespace accept default -lineage=" + lineage
	servertest.WaitFor(t, "the relayer says what to do", func() bool {
		s := status(t, edge, "default")
		return s.Code == "LINEAGE_MISMATCH" && strings.Contains(s.Reason, command)
	})
	if got, _ := edge.Get("default", "k", ""); got != "old" {
		t.Errorf("meanwhile the relayer has %q", got)
	}
	if s := status(t, edge, "default"); s.State != "stalled" {
		t.Errorf("the relayer's state is %s", s.State)
	}
	edge.WaitReady() // it serves what it has
	other := strings.Repeat("ab", 16)
	accept(t, edge, other)
	if s := status(t, edge, "default"); s.Accepted != other {
		t.Errorf("accepted is %q, not %q", s.Accepted, other)
	}
	start := time.Now()
	accept(t, edge, lineage)
	hasTaken(t, hub, edge)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the relayer took %v: it didn't try again when the lineage was accepted", took)
	}
	accept(t, edge, lineage) // it is there: nothing to do
	if s := status(t, edge, "default"); s.Accepted != "" {
		t.Errorf("accepted is %q", s.Accepted)
	}
}

// TestALineageIsAcceptedAheadOfTime: what an operator says is kept until the source
// is reached, over a restart, too.
func TestALineageIsAcceptedAheadOfTime(t *testing.T) {
	hub, edge := wiped(t)
	hub.Start()
	lineage := status(t, hub, "default").Lineage
	hub.Put("default", "k", "new")
	hub.Stop()
	accept(t, edge, lineage)
	edge.Restart()
	if s := status(t, edge, "default"); s.Accepted != lineage {
		t.Errorf("after a restart accepted is %q, not %q", s.Accepted, lineage)
	}
	if got, _ := edge.Get("default", "k", ""); got != "old" {
		t.Errorf("before the hub is reached the relayer has %q", got)
	}
	hub.Start()
	hasTaken(t, hub, edge)
}

func TestALineageIsAcceptedOnlyWhereOneIsFollowed(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	edge := servertest.Relayer(t, "edge", hub, "default")
	follows(t, hub, edge, "v")
	body := fmt.Appendf(nil, `{"lineage":%q}`, strings.Repeat("ab", 16))
	refused(t, hub.Do("POST", "/v1/namespaces/default/accept", body), 409, httpapi.CodeNamespaceOwned)
	refused(t, hub.Do("POST", "/v1/namespaces/none/accept", body), 404, httpapi.CodeNamespaceNotFound)
	refused(t, edge.Do("POST", "/v1/namespaces/none/accept", body), 404, httpapi.CodeNamespaceNotFound)
	have := status(t, edge, "default").Lineage
	accept(t, edge, have)
	accept(t, edge, strings.Repeat("ab", 16))
	accept(t, edge, have) // takes it back
	if s := status(t, edge, "default"); s.Accepted != "" {
		t.Errorf("accepted is %q", s.Accepted)
	}
}

// replaced makes a namespace anew and returns its new lineage.
func replaced(t *testing.T, hub *servertest.Node, name string) string {
	t.Helper()
	before := status(t, hub, name).Lineage
	if r := hub.Do("POST", "/v1/namespaces", fmt.Appendf(nil, `{"name":%q,"replace":true}`, name)); r.Status != 200 {
		t.Fatalf("replacing %s: %d %s", name, r.Status, r.Body)
	}
	s := status(t, hub, name)
	if s.State != "serving" || s.Code != "" || s.Lineage == before || s.Lineage == "" {
		t.Errorf("replaced, its status is %+v", s)
	}
	p := hub.Put(name, "a", "anew")
	hub.Restart()
	if got, _ := hub.Get(name, "a", p); got != "anew" {
		t.Errorf("after a restart it has %q", got)
	}
	refused(t, hub.Do("POST", "/v1/namespaces", fmt.Appendf(nil, `{"name":%q,"replace":true}`, name)), 409, httpapi.CodeNotReplaceable)
	return s.Lineage
}

func TestAMissingNamespaceIsReplaced(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default", "lost")
	hub.Put("lost", "a", "1")
	hub.Stop()
	removeDir(t, filepath.Join(hub.Config.DataDir, "namespaces", "lost"))
	hub.Start()
	if s := status(t, hub, "lost"); s.State != "missing" || !strings.Contains(s.Reason, "unisondb operator namespace create -replace lost") {
		t.Errorf("status is %+v", s)
	}
	replaced(t, hub, "lost")
	if s := nodeStatus(t, hub); len(s.Aside) != 0 {
		t.Errorf("nothing was there to be set aside: %+v", s.Aside)
	}
}

func TestAQuarantinedNamespaceIsReplaced(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	edge := servertest.Relayer(t, "edge", hub, "default")
	follows(t, hub, edge, "old")
	hub.Stop()
	meta := filepath.Join(hub.Config.DataDir, "namespaces", "default", "meta.json")
	if err := os.WriteFile(meta, []byte("no JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	hub.Start()
	lineage := replaced(t, hub, "default")
	s := nodeStatus(t, hub)
	if len(s.Aside) != 1 || !s.Aside[0].Directory || !strings.Contains(s.Aside[0].Reason, "replaced by an operator") {
		t.Fatalf("what was there isn't set aside: %+v", s.Aside)
	}
	servertest.WaitFor(t, "the relayer says what to do", func() bool {
		return strings.Contains(status(t, edge, "default").Reason, "operator namespace accept default -lineage="+lineage)
	})
	accept(t, edge, lineage)
	hasTaken(t, hub, edge)
}

func TestOnlyWhatIsLostIsReplaced(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	edge := servertest.Relayer(t, "edge", hub, "default")
	hub.Put("default", "k", "v")
	replace := func(n *servertest.Node, name string) servertest.Response {
		return n.Do("POST", "/v1/namespaces", fmt.Appendf(nil, `{"name":%q,"replace":true}`, name))
	}
	refused(t, replace(hub, "default"), 409, httpapi.CodeNotReplaceable)
	refused(t, replace(hub, "none"), 409, httpapi.CodeNotReplaceable)
	refused(t, replace(edge, "default"), 403, httpapi.CodeReadOnly)
	if got, _ := hub.Get("default", "k", ""); got != "v" {
		t.Errorf("the namespace has %q", got)
	}
	hub.Stop()
	meta := filepath.Join(hub.Config.DataDir, "namespaces", "default", "meta.json")
	b, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(b), `"format": 1`, `"format": 9`, 1)
	if err := os.WriteFile(meta, []byte(newer), 0o600); err != nil || newer == string(b) {
		t.Fatalf("%v: %s", err, newer)
	}
	hub.Start()
	if s := status(t, hub, "default"); s.Code != httpapi.CodeNewerFormat {
		t.Errorf("status is %+v", s)
	}
	refused(t, replace(hub, "default"), 409, httpapi.CodeNotReplaceable)
}
