package command

import (
	"net/http"
	"testing"
)

func TestOperatorNamespaceSet(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, ordersInfo))
	h.run("operator", "namespace", "set", "orders", "-max-bytes=0").want(t, exitDone, ordersTable)
	h.last().want(t, "PUT", "/v1/namespaces/orders")
	sameJSON(t, h.last().body, `{"quota":{"max_bytes":0}}`)
	h.run("operator", "namespace", "set", "orders", "-json", "-hubs=", "-relayers=", "-selector=").wantJSON(t, exitDone, "["+ordersInfo+"]")
	sameJSON(t, h.last().body, `{"hubs":[],"replicate":{"relayers":[],"selector":{}}}`)
	h.run("operator", "namespace", "set", "orders", "-selector=region=eu", "-acks=local")
	sameJSON(t, h.last().body, `{"acks":"local","replicate":{"selector":{"region":"eu"}}}`)
	h.run("operator", "namespace", "set", "orders").want(t, exitUsage, "", "nothing to set: give at least one of")
	h.run("operator", "namespace", "set", "-acks=local").want(t, exitUsage, "", "NAME is missing")
}

// namespaceSet gives orders to the third hub, too, without taking it from anybody.
func (g *operatorGroup) namespaceSet() {
	got := g.namespacesBy(g.hubs[2], "set", "orders", "-hubs=hub-1,hub-3", "-max-bytes=1GiB", "-write-bytes-per-second=100MiB")[0]
	if !equal(got.Hubs, "hub-1", "hub-2", "hub-3") || got.Quota == nil || got.Quota.MaxBytes != 1<<30 || got.Quota.WriteBytesPerSecond != 100<<20 {
		g.t.Errorf("set to %+v", got)
	}
	g.eventually("the third hub has orders", func() bool { return g.has("hub-3", "orders") })
	got = g.namespacesBy(g.hubs[0], "set", "orders", "-write-bytes-per-second=0")[0]
	if got.Quota == nil || got.Quota.MaxBytes != 1<<30 || got.Quota.WriteBytesPerSecond != 0 || len(got.Hubs) != 3 {
		g.t.Errorf("set to %+v", got)
	}
	g.failed(g.hubs[0], "UNKNOWN_HUB", "operator", "namespace", "set", "orders", "-hubs=hub-9")
	g.failed(g.hubs[0], "UNKNOWN_RELAYER", "operator", "namespace", "set", "orders", "-relayers=edge-9")
	g.failed(g.hubs[0], "UNKNOWN_LABEL", "operator", "namespace", "set", "orders", "-selector=no=body")
	g.failed(g.hubs[0], "NOT_BUILT", "operator", "namespace", "set", "orders", "-acks=2")
	g.failed(g.hubs[0], "NAMESPACE_NOT_FOUND", "operator", "namespace", "set", "none", "-acks=local")
	if after := g.namespacesBy(g.hubs[0], "info", "orders")[0]; !equal(after.Hubs, got.Hubs...) || *after.Quota != *got.Quota || after.Acks != "local" {
		g.t.Errorf("what was refused has changed %+v to %+v", got, after)
	}
}
