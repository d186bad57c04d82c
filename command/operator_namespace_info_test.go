package command

import (
	"net/http"
	"testing"
)

func TestOperatorNamespaceInfo(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, ordersInfo))
	h.run("operator", "namespace", "info", "orders").want(t, exitDone, ordersTable)
	h.last().want(t, "GET", "/v1/namespaces/orders")
	h.run("operator", "namespace", "info", "-json", "orders").wantJSON(t, exitDone, "["+ordersInfo+"]")
}

func TestOperatorNamespaceInfoOfNone(t *testing.T) {
	h := newHarness(t, answer(http.StatusNotFound, `{"error":"no namespace \"nope\" on this node","code":"NAMESPACE_NOT_FOUND"}`))
	h.run("operator", "namespace", "info", "nope").want(t, exitFailed, "", "NAMESPACE_NOT_FOUND")
}
