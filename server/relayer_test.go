package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

func TestRelayersServeWhatTheHubHas(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default", "private")
	hub.Put("default", "before", "1")
	near := servertest.Relayer(t, "near", hub, "default")
	far := servertest.Relayer(t, "far", near, "default")
	p := hub.Put("default", "after", "2")
	for _, r := range []*servertest.Node{near, far} {
		r.WaitReady()
		for key, want := range map[string]string{"before": "1", "after": "2"} {
			if got, _ := r.Get("default", key, p); got != want {
				t.Errorf("%s has %q under %q, want %q", r.ID(), got, key, want)
			}
		}
		refused(t, r.Do("GET", "/api/v1/private/kv/a", nil), 404, httpapi.CodeNamespaceNotFound)
		s := status(t, r, "default")
		if s.Role != "replica" || s.State != "serving" || s.Connected == nil || !*s.Connected || s.Upstream != "up" || s.Lineage != status(t, hub, "default").Lineage {
			t.Errorf("%s: status is %+v", r.ID(), s)
		}
	}
	for _, r := range []*servertest.Node{near, far} {
		servertest.WaitFor(t, "the owner is known", func() bool { return status(t, r, "default").Owner == "hub" })
		w := r.Do("PUT", "/api/v1/default/kv/a", []byte(`{"value":""}`))
		refused(t, w, 403, httpapi.CodeReadOnly)
		if owner := w.Header.Get("X-Unisondb-Owner"); owner != "hub" {
			t.Errorf("%s: the owner is %q", r.ID(), owner)
		}
		refused(t, r.Do("POST", "/v1/namespaces", []byte(`{"name":"x"}`)), 403, httpapi.CodeReadOnly)
	}
	servertest.WaitFor(t, "the far relayer's lag is known and small", func() bool {
		return far.Do("GET", "/ready?max_lag=30s", nil).Status == 200
	})
	refused(t, far.Do("GET", "/ready?leader=true", nil), 503, httpapi.CodeNotReady)
	if text := string(hub.Do("GET", "/metrics", nil).Body); !strings.Contains(text, `unisondb_followers{namespace="default"} 1`) {
		t.Error("the hub's metrics don't show its follower")
	}
	if text := string(near.Do("GET", "/metrics", nil).Body); !strings.Contains(text, `unisondb_upstream_connected{namespace="default",upstream="up"} 1`) {
		t.Error("the relayer's metrics don't show its upstream")
	}
}

func TestARelayerServesWithoutItsUpstream(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	relayer := servertest.Relayer(t, "edge", hub, "default")
	relayer.WaitReady()
	p := hub.Put("default", "a", "1")
	if got, _ := relayer.Get("default", "a", p); got != "1" {
		t.Fatalf("the relayer has %q", got)
	}
	hub.Stop()
	relayer.Restart()
	relayer.WaitReady()
	if got, _ := relayer.Get("default", "a", p); got != "1" {
		t.Errorf("without its upstream the relayer has %q", got)
	}
	refused(t, relayer.Do("GET", "/ready?max_lag=1h", nil), 503, httpapi.CodeNotReady)
	hub.Start()
	p = hub.Put("default", "a", "2")
	if got, _ := relayer.Get("default", "a", p); got != "2" {
		t.Errorf("after its upstream came back the relayer has %q", got)
	}
}

func TestARelayerBeforeItsFirstContact(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := servertest.Config(t, "edge")
	cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{{Name: "up", Addresses: []string{address}, Namespaces: []string{"default"}}}}
	relayer := servertest.Run(t, server.RoleRelayer, cfg)
	refused(t, relayer.Do("GET", "/ready", nil), 503, httpapi.CodeNotReady)
	refused(t, relayer.Do("GET", "/api/v1/default/kv/a", nil), 503, httpapi.CodeNotReady)
	refused(t, relayer.Do("GET", "/api/v1/other/kv/a", nil), 404, httpapi.CodeNamespaceNotFound)
	if s := status(t, relayer, "default"); s.State != "bootstrapping" || s.Role != "replica" {
		t.Errorf("status is %+v", s)
	}
	if r := relayer.Do("GET", "/health", nil); r.Status != 200 || string(r.Body) != "{\"status\":\"ok\",\"namespaces\":[\"default\"]}\n" {
		t.Errorf("health: %d %s", r.Status, r.Body)
	}
	hub := servertest.Config(t, "hub", "default")
	hub.GRPC = &config.Listener{Address: address}
	p := servertest.Run(t, server.RoleHub, hub).Put("default", "a", "1")
	relayer.WaitReady()
	if got, _ := relayer.Get("default", "a", p); got != "1" {
		t.Errorf("the relayer has %q", got)
	}
}

func TestSeveralUpstreams(t *testing.T) {
	a, b := servertest.Hub(t, "hub-a", "one"), servertest.Hub(t, "hub-b", "two", "one")
	cfg := servertest.Config(t, "edge")
	cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{
		{Name: "a", Addresses: []string{a.Addresses().GRPC}, Namespaces: []string{"one"}},
		{Name: "b", Addresses: []string{b.Addresses().GRPC}, Namespaces: []string{"one", "two"}},
	}}
	edge := servertest.Run(t, server.RoleRelayer, cfg)
	pa, pb := a.Put("one", "k", "from a"), b.Put("two", "k", "from b")
	b.Put("one", "k", "not this")
	edge.WaitReady()
	if got, _ := edge.Get("one", "k", pa); got != "from a" {
		t.Errorf("one has %q", got)
	}
	if got, _ := edge.Get("two", "k", pb); got != "from b" {
		t.Errorf("two has %q", got)
	}
	for namespace, owner := range map[string]string{"one": "hub-a", "two": "hub-b"} {
		if s := status(t, edge, namespace); s.Owner != owner {
			t.Errorf("the owner of %s is %q", namespace, s.Owner)
		}
	}
}

// TestUpstreamsFailOver: a namespace comes from the first upstream that has
// it, and from the next one when that goes away.
func TestUpstreamsFailOver(t *testing.T) {
	other, hub := servertest.Hub(t, "other", "private"), servertest.Hub(t, "hub", "default")
	first, second := servertest.Relayer(t, "first", hub, "default"), servertest.Relayer(t, "second", hub, "default")
	p := hub.Put("default", "k", "1")
	first.WaitReady()
	second.WaitReady()
	cfg := servertest.Config(t, "edge")
	cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{
		{Name: "none", Addresses: []string{other.Addresses().GRPC}, Namespaces: []string{"default", "private"}},
		{Name: "near", Addresses: []string{first.Addresses().GRPC}, Namespaces: []string{"default"}},
		{Name: "far", Addresses: []string{second.Addresses().GRPC}, Namespaces: []string{"default"}},
	}}
	edge := servertest.Run(t, server.RoleRelayer, cfg)
	pp := other.Put("private", "k", "2")
	edge.WaitReady()
	if got, _ := edge.Get("default", "k", p); got != "1" {
		t.Errorf("default has %q", got)
	}
	if got, _ := edge.Get("private", "k", pp); got != "2" {
		t.Errorf("private has %q", got)
	}
	if s := status(t, edge, "default"); s.Upstream != "near" {
		t.Errorf("the upstream is %q", s.Upstream)
	}
	first.Stop()
	p = hub.Put("default", "k", "3")
	if got, _ := edge.Get("default", "k", p); got != "3" {
		t.Errorf("after the failover default has %q", got)
	}
	servertest.WaitFor(t, "the upstream in use is named", func() bool { return status(t, edge, "default").Upstream == "far" })
}

func TestDevelopmentGroup(t *testing.T) {
	d, err := server.NewDev(server.DevOptions{Relayers: 2, HTTP: "127.0.0.1:0", GRPC: "127.0.0.1:0", Logger: servertest.Logger(t), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := d.Dir()
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if names := fmt.Sprint(d.Hub().Names()); names != "[default]" || len(d.Relayers()) != 2 {
		t.Errorf("%s, %d relayers", names, len(d.Relayers()))
	}
	for _, n := range append(d.Relayers(), d.Hub()) {
		if n.Addresses().HTTP == "" || n.Addresses().GRPC == "" {
			t.Errorf("node %s listens on %+v", n.ID(), n.Addresses())
		}
	}
	if err := d.Start(t.Context()); err == nil {
		t.Error("it was started twice")
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
}

func TestADevelopmentGroupStaysOnThisMachine(t *testing.T) {
	start := func(o server.DevOptions) error {
		o.Dir, o.Relayers = t.TempDir(), 1
		d, err := server.NewDev(o)
		if err != nil {
			return err
		}
		err = d.Start(t.Context())
		return errors.Join(err, d.Shutdown(t.Context()))
	}
	for _, o := range []server.DevOptions{{HTTP: "0.0.0.0:0", GRPC: "127.0.0.1:0"}, {HTTP: "127.0.0.1:0", GRPC: ":0"}} {
		if err := start(o); err == nil || !strings.Contains(err.Error(), "beyond this machine, without TLS") || !strings.Contains(err.Error(), "insecure = true") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	cfg := servertest.Config(t, "hub", "default")
	cfg.HTTP.Insecure = true
	if err := start(server.DevOptions{HTTP: "0.0.0.0:0", GRPC: "127.0.0.1:0", Config: &cfg}); err != nil {
		t.Errorf("where it is meant: %v", err)
	}
}

func TestADevelopmentGroupNamesTheTakenPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // the test is over
	dir := t.TempDir()
	d, err := server.NewDev(server.DevOptions{HTTP: ln.Addr().String(), GRPC: "127.0.0.1:0", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("the error doesn't name the port: %v", err)
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, bad := range []server.DevOptions{{HTTP: "nonsense"}, {HTTP: "127.0.0.1:65530", Relayers: 1}, {Relayers: -1}, {Relayers: 1000}} {
		if _, err := server.NewDev(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestStatusJSON(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	hub.Put("default", "a", "1")
	var s struct {
		NodeID     string           `json:"node_id"`
		InstanceID string           `json:"instance_id"`
		Role       string           `json:"role"`
		Version    string           `json:"version"`
		Namespaces []map[string]any `json:"namespaces"`
	}
	if err := json.Unmarshal(hub.Do("GET", "/v1/status", nil).Body, &s); err != nil {
		t.Fatal(err)
	}
	if s.NodeID != "hub" || s.Role != "hub" || s.Version != "test" || len(s.InstanceID) != 32 || len(s.Namespaces) != 1 {
		t.Fatalf("status: %+v", s)
	}
	ns := s.Namespaces[0]
	for _, field := range []string{"name", "role", "owner", "lineage", "epoch", "lsn", "durable_lsn", "commit_lsn", "checkpoint_lsn", "state", "code", "reason"} {
		if _, ok := ns[field]; !ok {
			t.Errorf("the status of a namespace has no %s: %v", field, ns)
		}
	}
	if ns["lsn"] == 0.0 || ns["commit_lsn"] != ns["lsn"] || ns["durable_lsn"] != ns["lsn"] {
		t.Errorf("after a write: %v", ns)
	}
}
