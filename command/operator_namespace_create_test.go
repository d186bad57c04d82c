package command

import (
	"net/http"
	"testing"
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
}
