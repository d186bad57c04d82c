package command

import (
	"net/http"
	"testing"
)

func TestOperatorNamespaceList(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, "["+ordersInfo+`,{"name":"lost","owner":"","epoch":0,"hubs":[],"acks":"local","lsn":0}]`))
	h.run("operator", "namespace", "list").want(t, exitDone, ordersTable+"lost       -      0        -      local  0\n")
	h.last().want(t, "GET", "/v1/namespaces")
	h.run("operator", "namespace", "list", "-json").wantJSON(t, exitDone, "["+ordersInfo+`,{"name":"lost","owner":"","epoch":0,"hubs":[],"acks":"local","lsn":0}]`)
}
