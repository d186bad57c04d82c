package command

import (
	"net/http"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

const (
	ordersInfo  = `{"name":"orders","owner":"hub-1","epoch":1048577,"hubs":["hub-1"],"acks":"local","lsn":7}`
	ordersTable = "NAMESPACE  OWNER  EPOCH    HUBS   ACKS   LSN\n" +
		"orders     hub-1  1048577  hub-1  local  7\n"
)

func TestOperatorNamespaceCreate(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, ordersInfo))
	h.run("operator", "namespace", "create", "orders").want(t, exitDone, ordersTable)
	h.last().want(t, "POST", "/v1/namespaces")
	sameJSON(t, h.last().body, `{"name":"orders"}`)
	h.run("operator", "namespace", "create", "orders", "-replace", "-json").wantJSON(t, exitDone, "["+ordersInfo+"]")
	sameJSON(t, h.last().body, `{"name":"orders","replace":true}`)
	h.run("operator", "namespace", "create").want(t, exitUsage, "", "NAME is missing")
}

func TestOperatorNamespaceCreateRefused(t *testing.T) {
	h := newHarness(t, answer(http.StatusConflict, `{"error":"namespace \"orders\" is there and can be read: only one that is missing or quarantined is replaced","code":"NOT_REPLACEABLE"}`))
	h.run("operator", "namespace", "create", "-replace", "orders").want(t, exitFailed, "", "only one that is missing or quarantined is replaced (NOT_REPLACEABLE)")
	h.run("operator", "namespace", "create", "-replace", "-hubs=hub-b", "orders").want(t, exitUsage, "", "-replace keeps owner and settings")
}

func TestOperatorNamespaceCreateWithSettings(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, ordersInfo))
	h.run("operator", "namespace", "create", "-owner=hub-b", "-hubs=hub-a,hub-c", "-hubs=hub-d", "-acks=local", "-relayers=edge-*", "-selector=region=eu,tier=store",
		"-max-bytes=10GiB", "-write-bytes-per-second=1KB", "orders").want(t, exitDone, ordersTable)
	sameJSON(t, h.last().body, `{"name":"orders","owner":"hub-b","acks":"local","hubs":["hub-a","hub-c","hub-d"],
		"replicate":{"relayers":["edge-*"],"selector":{"region":"eu","tier":"store"}},"quota":{"max_bytes":10737418240,"write_bytes_per_second":1000}}`)
	for flag, why := range map[string]string{
		"-selector=region": "write it as key=value", "-selector=region=eu,region=us": "two values", "-hubs=a,,b": "nothing between two commas", "-max-bytes=much": "-max-bytes=much",
	} {
		h.run("operator", "namespace", "create", flag, "orders").want(t, exitUsage, "", why)
	}
}

// namespaceCreate makes orders, which the second hub owns and the first one follows, and one
// that the hub owns that is asked.
func (g *operatorGroup) namespaceCreate() {
	got := g.namespacesBy(g.hubs[0], "create", "orders", "-owner=hub-2", "-hubs=hub-1", "-acks=local")
	if ns := got[0]; len(got) != 1 || ns.Name != "orders" || ns.Owner != "hub-2" || !equal(ns.Hubs, "hub-1", "hub-2") || ns.Acks != "local" || ns.State != "serving" {
		g.t.Errorf("created %+v", got)
	}
	if mine := g.namespacesBy(g.hubs[2], "create", "mine"); len(mine) != 1 || mine[0].Owner != "hub-3" || !equal(mine[0].Hubs, "hub-3") {
		g.t.Errorf("created %+v", mine)
	}
	before := g.topology(g.hubs[0])
	g.failed(g.hubs[0], "NAMESPACE_EXISTS", "operator", "namespace", "create", "orders")
	g.failed(g.hubs[0], "UNKNOWN_HUB", "operator", "namespace", "create", "other", "-owner=hub-9")
	g.failed(g.hubs[0], "UNKNOWN_HUB", "operator", "namespace", "create", "other", "-hubs=hub-9")
	g.failed(g.hubs[0], "UNKNOWN_LABEL", "operator", "namespace", "create", "other", "-selector=no=body")
	g.failed(g.hubs[0], "NOT_BUILT", "operator", "namespace", "create", "other", "-acks=quorum")
	g.failed(g.hubs[0], "BAD_REQUEST", "operator", "namespace", "create", "no/name")
	g.failed(g.hubs[0], "NOT_REPLACEABLE", "operator", "namespace", "create", "-replace", "none")
	if after := g.topology(g.hubs[0]); len(after.Namespaces) != len(before.Namespaces) {
		g.t.Errorf("what was refused has changed %+v to %+v", before.Namespaces, after.Namespaces)
	}
}

// namespacesBy are the namespaces that a command prints.
func (g *operatorGroup) namespacesBy(hub hubNode, args ...string) []client.NamespaceInfo {
	g.t.Helper()
	var list []client.NamespaceInfo
	g.json(hub, &list, append([]string{"operator", "namespace"}, args...)...)
	if len(list) == 0 {
		g.t.Fatalf("%v prints no namespaces", args)
	}
	return list
}
