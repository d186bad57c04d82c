package httpapi_test

import (
	"testing"

	"github.com/unisondb/unisondb/server/httpapi"
)

func TestSystemRoutes(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"!/health", "!/healthz"} {
		f.do("GET", path, "").want(200, `{"status":"ok","namespaces":["default","other"]}`)
	}
	for _, path := range []string{"!/ready", "!/readyz", "!/ready?max_lag=5s", "!/ready?leader=true"} {
		f.do("GET", path, "").want(200, `{"status":"ready"}`)
	}
	f.node.notReady = []string{"this", "and that"}
	f.do("GET", "!/ready", "").want(503, `{"error":"<any>","code":"NOT_READY","reasons":["this","and that"]}`)
	f.node.notReady = nil
	for _, query := range []string{"max_lag=5", "max_lag=-5s", "max_lag=0s", "leader=perhaps"} {
		f.do("GET", "!/ready?"+query, "").refused(400, httpapi.CodeBadRequest)
	}
	f.do("GET", "!/v1/status", "").want(200, `{"node_id":"n1","instance_id":"","role":"hub","version":"test","namespaces":[
		{"name":"default","role":"owner","owner":"n1","lineage":"","epoch":0,"lsn":0,"durable_lsn":0,"commit_lsn":0,"checkpoint_lsn":0,"state":"serving","code":"","reason":""},
		{"name":"other","role":"owner","owner":"n1","lineage":"","epoch":0,"lsn":0,"durable_lsn":0,"commit_lsn":0,"checkpoint_lsn":0,"state":"serving","code":"","reason":""}],"plugins":[]}`)
	f.do("GET", "!/v1/namespaces", "").want(200, `[{"name":"default","owner":"n1","epoch":0,"hubs":["n1"],"acks":"local","lsn":0,"state":"serving"},{"name":"other","owner":"n1","epoch":0,"hubs":["n1"],"acks":"local","lsn":0,"state":"serving"}]`)
	if a := f.do("GET", "!/metrics", ""); a.status != 200 || string(a.body) != "unisondb_up 1\n" {
		t.Errorf("metrics: %d %s", a.status, a.body)
	}
}

func TestCreateNamespace(t *testing.T) {
	f := newFixture(t)
	f.do("POST", "!/v1/namespaces", `{"name":"new"}`).want(200, `{"name":"new","owner":"n1","epoch":0,"hubs":["n1"],"acks":"local","lsn":0,"state":"serving"}`)
	f.do("PUT", "!/api/v1/new/kv/a", putJSON("v")).want(200, ok)
	f.do("POST", "!/v1/namespaces", `{"name":"new"}`).refused(409, httpapi.CodeNamespaceExists)
	for _, bad := range []string{`{"name":""}`, `{}`, `{"name":"../x"}`, `{"name":"-x"}`, `{"name":"a b"}`} {
		f.do("POST", "!/v1/namespaces", bad).refused(400, httpapi.CodeBadRequest)
	}
	f.do("GET", "!/v1/namespaces/new", "").want(200, `{"name":"new","owner":"n1","epoch":0,"hubs":["n1"],"acks":"local","lsn":0,"state":"serving"}`)
	f.do("GET", "!/v1/namespaces/none", "").refused(404, httpapi.CodeNamespaceNotFound)
}

func TestWhatChangesTheNodeIsForThisMachineOnly(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/v1/namespaces", "/v1/namespaces/default/accept", "/v1/namespaces/default/mark", "/v1/namespaces/default/scrub"} {
		req := mustRequest(t, "POST", path)
		for _, remote := range []string{"192.0.2.1:1234", "[2001:db8::1]:1234", "", "nonsense"} {
			req.RemoteAddr = remote
			rec := newRecorder()
			f.api.ServeHTTP(rec, req)
			if rec.status != 403 {
				t.Errorf("%s from %q: %d %s", path, remote, rec.status, rec.String())
			}
		}
	}
}

func TestAcceptLineage(t *testing.T) {
	f := newFixture(t)
	const lineage = "00112233445566778899aabbccddeeff"
	f.do("POST", "!/v1/namespaces/default/accept", `{"lineage":"`+lineage+`"}`).want(200, ok)
	if got := f.node.accepted["default"].String(); got != lineage {
		t.Errorf("accepted is %s", got)
	}
	for _, bad := range []string{`{}`, `{"lineage":""}`, `{"lineage":"x"}`, `{"lineage":"00112233"}`, `{"lineage":"00000000000000000000000000000000"}`} {
		f.do("POST", "!/v1/namespaces/default/accept", bad).refused(400, httpapi.CodeBadRequest)
	}
	f.do("POST", "!/v1/namespaces/default/accept", `{"lineage":1}`).refused(400, httpapi.CodeInvalidJSON)
	f.do("POST", "!/v1/namespaces/..%2Fx/accept", `{"lineage":"`+lineage+`"}`).refused(404, httpapi.CodeNamespaceNotFound)
}
