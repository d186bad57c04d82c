package server_test

import (
	"testing"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/servertest"
)

// TestACopyIsNotOwned: a relayer that has followed a namespace, and whose files then say that it owns one of that
// name, doesn't write into the copy.
func TestACopyIsNotOwned(t *testing.T) {
	hub := servertest.Hub(t, "hub", "orders")
	hub.Put("orders", "a", "1")
	edge := servertest.Relayer(t, "edge", hub, "orders")
	reads(t, edge, "orders", "a", "1")
	edge.Stop()
	cfg := attendantConfig(t, "edge", hub)
	cfg.DataDir = edge.Config.DataDir
	cfg.Relayer.Own = []string{"orders"}
	edge = servertest.Run(t, server.RoleRelayer, cfg)
	if s := edge.NamespaceStatus("orders"); s.State != "quarantined" || s.Reason == "" {
		t.Errorf("%+v", s)
	}
	if r := edge.Do("PUT", "/api/v1/orders/kv/a", []byte(`{"value":""}`)); r.Status < 400 {
		t.Errorf("a write to it was answered %d", r.Status)
	}
}
