package command

import "testing"

func TestOperatorNamespaceAccept(t *testing.T) {
	h := newHarness(t, success)
	h.run("operator", "namespace", "accept", "orders", "-lineage="+testLineage).want(t, exitDone, "", `"orders" takes lineage `+testLineage)
	h.last().want(t, "POST", "/v1/namespaces/orders/accept")
	sameJSON(t, h.last().body, `{"lineage":"`+testLineage+`"}`)
	h.run("operator", "namespace", "accept", "-json", "orders", "-lineage="+testLineage).wantJSON(t, exitDone, `{"success":true}`)
	h.run("operator", "namespace", "accept", "orders").want(t, exitUsage, "", "-lineage is missing")
	h.run("operator", "namespace", "accept", "-lineage="+testLineage).want(t, exitUsage, "", "NAME is missing")
}
