package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// TestRequests holds every call against the request that the API's contract has
// for it.
func TestRequests(t *testing.T) {
	key := []byte("user/1")
	raw := []byte{0xff, 0x00}
	p := client.Position{Lineage: lineage, Epoch: 2, LSN: 9}
	cols := map[string][]byte{"name": []byte("Ada"), "empty": nil}
	type ctx = context.Context
	type c = *client.Client

	tests := []struct {
		name   string
		answer http.HandlerFunc // nil: success
		call   func(ctx, c) error
		method string
		uri    string
		header map[string]string
		body   string
	}{
		// Key-value.
		{
			name:   "put",
			call:   func(ctx ctx, c c) error { _, err := c.KV().Put(ctx, key, []byte("v\x00")); return err },
			method: "PUT", uri: "/api/v1/default/kv/user%2F1", body: "v\x00",
			header: map[string]string{"Content-Type": "application/octet-stream", "Content-Length": "2"},
		},
		{
			name:   "put nothing",
			call:   func(ctx ctx, c c) error { _, err := c.KV().Put(ctx, key, nil); return err },
			method: "PUT", uri: "/api/v1/default/kv/user%2F1",
			header: map[string]string{"Content-Type": "application/octet-stream", "Content-Length": "0"},
		},
		{
			name: "put with options",
			call: func(ctx ctx, c c) error {
				_, err := c.KV().Put(ctx, key, []byte("v"), client.TTL(90*time.Second), client.Acks(2), client.Wait(time.Second), client.IfVersion("1-2a"))
				return err
			},
			method: "PUT", uri: "/api/v1/default/kv/user%2F1?acks=2&ttl=1m30s&wait=1s", body: "v",
			header: map[string]string{"If-Match": `"1-2a"`, "If-None-Match": ""},
		},
		{
			name: "put if absent",
			call: func(ctx ctx, c c) error {
				_, err := c.KV().Put(ctx, key, []byte("v"), client.IfAbsent())
				return err
			},
			method: "PUT", uri: "/api/v1/default/kv/user%2F1", body: "v",
			header: map[string]string{"If-Match": "", "If-None-Match": "*"},
		},
		{
			name:   "get",
			answer: bytesAnswer(http.StatusOK, "v"),
			call: func(ctx ctx, c c) error {
				_, err := c.KV().Get(ctx, key, client.AtLeast(p), client.Wait(2*time.Second))
				return err
			},
			method: "GET", uri: "/api/v1/default/kv/user%2F1?wait=2s",
			header: map[string]string{"Accept": "application/octet-stream", "X-Unisondb-At-Least": lineage + ":2:9"},
		},
		{
			name:   "delete if it exists",
			call:   func(ctx ctx, c c) error { _, err := c.KV().Delete(ctx, key, client.IfExists()); return err },
			method: "DELETE", uri: "/api/v1/default/kv/user%2F1", header: map[string]string{"If-Match": "*"},
		},
		{
			name:   "touch",
			call:   func(ctx ctx, c c) error { _, err := c.KV().Touch(ctx, key, time.Minute); return err },
			method: "POST", uri: "/api/v1/default/kv/user%2F1/touch?ttl=1m0s",
		},
		{
			name: "batch put",
			call: func(ctx ctx, c c) error {
				_, err := c.KV().PutAll(ctx, []client.KeyValue{{Key: key, Value: []byte("v")}, {Key: raw}})
				return err
			},
			method: "POST", uri: "/api/v1/default/kv/batch",
			body: `{"operation":"put","items":[{"key":"user/1","value":"dg=="},{"key_base64":"/wA=","value":""}]}`,
		},
		{
			name:   "batch delete",
			call:   func(ctx ctx, c c) error { _, err := c.KV().DeleteAll(ctx, [][]byte{key, []byte("b")}); return err },
			method: "POST", uri: "/api/v1/default/kv/batch", body: `{"operation":"delete","keys":["user/1","b"]}`,
		},
		{
			name:   "batch delete of bytes",
			call:   func(ctx ctx, c c) error { _, err := c.KV().DeleteAll(ctx, [][]byte{key, raw}); return err },
			method: "POST", uri: "/api/v1/default/kv/batch",
			body: `{"operation":"delete","items":[{"key":"user/1"},{"key_base64":"/wA="}]}`,
		},
		{
			name:   "batch get",
			answer: jsonAnswer(http.StatusOK, `{"items":[{"key":"user/1","found":false}]}`),
			call:   func(ctx ctx, c c) error { _, _, err := c.KV().GetAll(ctx, [][]byte{key}); return err },
			method: "POST", uri: "/api/v1/default/kv/batch", body: `{"operation":"get","keys":["user/1"]}`,
		},
		{
			name:   "list page",
			answer: jsonAnswer(http.StatusOK, `{"items":[]}`),
			call: func(ctx ctx, c c) error {
				_, err := c.KV().ListPage(ctx, client.ListOptions{Prefix: raw, Start: []byte("a b"), End: []byte("z&"), Limit: 5, Reverse: true, KeysOnly: true}, "cur==")
				return err
			},
			method: "GET",
			uri:    "/api/v1/default/kv?cursor=cur%3D%3D&end=z%26&keys_only=true&limit=5&prefix=%FF%00&reverse=true&start=a+b",
		},
		// Wide-column.
		{
			name:   "put row",
			call:   func(ctx ctx, c c) error { _, err := c.Rows().Put(ctx, key, cols, client.TTL(time.Hour)); return err },
			method: "PUT", uri: "/api/v1/default/row/user%2F1?ttl=1h0m0s", body: `{"columns":{"name":"QWRh","empty":""}}`,
		},
		{
			name:   "get row",
			answer: jsonAnswer(http.StatusOK, `{"columns":{},"found":true}`),
			call:   func(ctx ctx, c c) error { _, err := c.Rows().Get(ctx, key, []string{"a", "b"}); return err },
			method: "GET", uri: "/api/v1/default/row/user%2F1?columns=a%2Cb",
		},
		{
			name:   "get row, comma in a column",
			answer: jsonAnswer(http.StatusOK, `{"columns":{},"found":true}`),
			call:   func(ctx ctx, c c) error { _, err := c.Rows().Get(ctx, key, []string{"a,b", "c"}); return err },
			method: "GET", uri: "/api/v1/default/row/user%2F1?column=a%2Cb&column=c",
		},
		{
			name:   "delete row",
			call:   func(ctx ctx, c c) error { _, err := c.Rows().Delete(ctx, key); return err },
			method: "DELETE", uri: "/api/v1/default/row/user%2F1",
		},
		{
			name:   "delete columns",
			call:   func(ctx ctx, c c) error { _, err := c.Rows().DeleteColumns(ctx, key, []string{"a,b", "c"}); return err },
			method: "DELETE", uri: "/api/v1/default/row/user%2F1/columns?column=a%2Cb&column=c",
		},
		{
			name: "batch put rows",
			call: func(ctx ctx, c c) error {
				_, err := c.Rows().PutAll(ctx, []client.RowColumns{{Key: key, Columns: cols}, {Key: raw, Columns: map[string][]byte{"n": raw}}})
				return err
			},
			method: "POST", uri: "/api/v1/default/row/batch",
			body: `{"operation":"put","rows":[{"rowKey":"user/1","columns":{"name":"QWRh","empty":""}},{"row_key_base64":"/wA=","columns":{"n":"/wA="}}]}`,
		},
		{
			name:   "batch delete rows",
			call:   func(ctx ctx, c c) error { _, err := c.Rows().DeleteAll(ctx, [][]byte{key}); return err },
			method: "POST", uri: "/api/v1/default/row/batch", body: `{"operation":"delete","rows":[{"rowKey":"user/1"}]}`,
		},
		{
			name:   "list rows",
			answer: jsonAnswer(http.StatusOK, `{"rows":[]}`),
			call: func(ctx ctx, c c) error {
				_, err := c.Rows().ListPage(ctx, client.ListOptions{Prefix: []byte("u"), Columns: []string{"a"}}, "")
				return err
			},
			method: "GET", uri: "/api/v1/default/row?columns=a&prefix=u",
		},
		// Large objects.
		{
			name:   "put object",
			answer: jsonAnswer(http.StatusOK, `{"success":true,"size":5,"checksum":907060870}`),
			call: func(ctx ctx, c c) error {
				_, err := c.Objects().Put(ctx, key, strings.NewReader("hello"), 5)
				return err
			},
			method: "PUT", uri: "/api/v1/default/lob/user%2F1", body: "hello",
			header: map[string]string{"Content-Length": "5", "Expect": "", "Content-Type": "application/octet-stream"},
		},
		{
			name:   "put object of unknown size",
			answer: jsonAnswer(http.StatusOK, `{"success":true,"size":5,"checksum":907060870}`),
			call: func(ctx ctx, c c) error {
				_, err := c.Objects().Put(ctx, key, strings.NewReader("hello"), -1, client.IfAbsent())
				return err
			},
			method: "PUT", uri: "/api/v1/default/lob/user%2F1", body: "hello",
			header: map[string]string{"Content-Length": "", "Expect": "100-continue", "If-None-Match": "*"},
		},
		{
			name:   "put empty object",
			answer: jsonAnswer(http.StatusOK, `{"success":true,"size":0,"checksum":0}`),
			call:   func(ctx ctx, c c) error { _, err := c.Objects().Put(ctx, key, strings.NewReader(""), 0); return err },
			method: "PUT", uri: "/api/v1/default/lob/user%2F1", header: map[string]string{"Content-Length": "0"},
		},
		{
			name:   "get object",
			answer: bytesAnswer(http.StatusOK, "hello"),
			call:   func(ctx ctx, c c) error { return drain(c.Objects().Get(ctx, key)) },
			method: "GET", uri: "/api/v1/default/lob/user%2F1", header: map[string]string{"Range": "", "Accept-Encoding": ""},
		},
		{
			name:   "get range",
			answer: bytesAnswer(http.StatusPartialContent, "ell", "Content-Range", "bytes 1-3/5"),
			call:   func(ctx ctx, c c) error { return drain(c.Objects().GetRange(ctx, key, 1, 3)) },
			method: "GET", uri: "/api/v1/default/lob/user%2F1", header: map[string]string{"Range": "bytes=1-3"},
		},
		{
			name:   "get range to the end",
			answer: bytesAnswer(http.StatusPartialContent, "lo", "Content-Range", "bytes 3-4/5"),
			call:   func(ctx ctx, c c) error { return drain(c.Objects().GetRange(ctx, key, 3, -1)) },
			method: "GET", uri: "/api/v1/default/lob/user%2F1", header: map[string]string{"Range": "bytes=3-"},
		},
		{
			name:   "stat object",
			answer: bytesAnswer(http.StatusOK, ""),
			call:   func(ctx ctx, c c) error { _, err := c.Objects().Stat(ctx, key); return err },
			method: "HEAD", uri: "/api/v1/default/lob/user%2F1",
		},
		{
			name:   "delete object",
			call:   func(ctx ctx, c c) error { _, err := c.Objects().Delete(ctx, key); return err },
			method: "DELETE", uri: "/api/v1/default/lob/user%2F1",
		},
		{
			name:   "list objects",
			answer: jsonAnswer(http.StatusOK, `{"items":[]}`),
			call: func(ctx ctx, c c) error {
				_, err := c.Objects().ListPage(ctx, client.ListOptions{Prefix: []byte("x"), Limit: 3, Reverse: true}, "")
				return err
			},
			method: "GET", uri: "/api/v1/default/lob?limit=3&prefix=x&reverse=true",
		},
		// Transactions.
		{
			name:   "begin",
			answer: jsonAnswer(http.StatusOK, `{"txnId":"ab"}`),
			call:   func(ctx ctx, c c) error { _, err := c.Begin(ctx); return err },
			method: "POST", uri: "/api/v1/default/tx/begin", body: `{}`,
		},
		{
			name:   "begin of a kind",
			answer: jsonAnswer(http.StatusOK, `{"txnId":"ab"}`),
			call: func(ctx ctx, c c) error {
				_, err := c.BeginKind(ctx, client.TxKind{Operation: "put", EntryType: "lob"})
				return err
			},
			method: "POST", uri: "/api/v1/default/tx/begin", body: `{"operation":"put","entryType":"lob"}`,
		},
		{
			name: "one-shot",
			answer: jsonAnswer(http.StatusOK,
				`{"succeeded":true,"results":[{"found":true,"value":"dg==","version":"1-1"}]}`),
			call: func(ctx ctx, c c) error {
				_, err := c.Txn(ctx, client.Txn{
					If:   []client.Condition{client.KeyVersion(key, "1-1"), client.KeyExists(raw, false), client.KeyValueIs([]byte("e"), nil), client.RowVersion(key, "1-3"), client.RowExists(raw, true)},
					Then: []client.Op{client.OpGet(key), client.OpPut(raw, nil).WithTTL(time.Second), client.OpDelete(key)},
					Else: []client.Op{client.OpGetRow(key), client.OpPutRow(raw, map[string][]byte{"n": nil}), client.OpDeleteRow(key)},
				})
				return err
			},
			method: "POST", uri: "/api/v1/default/tx",
			body: `{"if":[{"key":"user/1","version":"1-1"},{"key_base64":"/wA=","exists":false},{"key":"e","value":""},{"rowKey":"user/1","version":"1-3"},{"row_key_base64":"/wA=","exists":true}],
				"then":[{"op":"get","type":"kv","key":"user/1"},{"op":"put","type":"kv","key_base64":"/wA=","value":"","ttl":"1s"},{"op":"delete","type":"kv","key":"user/1"}],
				"else":[{"op":"get","type":"row","rowKey":"user/1"},{"op":"put","type":"row","row_key_base64":"/wA=","columns":{"n":""}},{"op":"delete","type":"row","rowKey":"user/1"}]}`,
		},
		// Log and system.
		{
			name: "offset", answer: jsonAnswer(http.StatusOK, `{}`),
			call:   func(ctx ctx, c c) error { _, err := c.Offset(ctx); return err },
			method: "GET", uri: "/api/v1/default/offset",
		},
		{
			name: "checkpoint", answer: jsonAnswer(http.StatusOK, `{}`),
			call:   func(ctx ctx, c c) error { _, err := c.In("orders").Checkpoint(ctx); return err },
			method: "GET", uri: "/api/v1/orders/checkpoint",
		},
		{
			name: "stats", answer: jsonAnswer(http.StatusOK, `{}`),
			call:   func(ctx ctx, c c) error { _, err := c.Stats(ctx); return err },
			method: "GET", uri: "/api/v1/default/stats",
		},
		{
			name: "log backup", answer: jsonAnswer(http.StatusOK, `{"backups":[]}`),
			call:   func(ctx ctx, c c) error { _, err := c.BackupLog(ctx, 3, "monday"); return err },
			method: "POST", uri: "/api/v1/default/wal/backup", body: `{"afterSegmentId":3,"backupDir":"monday"}`,
		},
		{
			name: "tree backup", answer: jsonAnswer(http.StatusOK, `{}`),
			call:   func(ctx ctx, c c) error { _, err := c.BackupTree(ctx, "monday.mdb"); return err },
			method: "POST", uri: "/api/v1/default/btree/backup", body: `{"path":"monday.mdb"}`,
		},
		{
			name: "namespaces", answer: jsonAnswer(http.StatusOK, `[]`),
			call:   func(ctx ctx, c c) error { _, err := c.Namespaces(ctx); return err },
			method: "GET", uri: "/v1/namespaces",
		},
		{
			name: "create namespace", answer: jsonAnswer(http.StatusOK, `{"name":"orders"}`),
			call: func(ctx ctx, c c) error {
				_, err := c.CreateNamespace(ctx, "orders", client.NewNamespace{})
				return err
			},
			method: "POST", uri: "/v1/namespaces", body: `{"name":"orders"}`,
		},
		{
			name: "replace namespace", answer: jsonAnswer(http.StatusOK, `{"name":"orders"}`),
			call:   func(ctx ctx, c c) error { _, err := c.ReplaceNamespace(ctx, "orders"); return err },
			method: "POST", uri: "/v1/namespaces", body: `{"name":"orders","replace":true}`,
		},
		{
			name: "create namespace with settings", answer: jsonAnswer(http.StatusOK, `{"name":"orders"}`),
			call: func(ctx ctx, c c) error {
				size, none := int64(10), int64(0)
				_, err := c.CreateNamespace(ctx, "orders", client.NewNamespace{Owner: "hub-b", NamespaceSettings: client.NamespaceSettings{
					Acks: "local", Hubs: []string{"hub-a"}, Relayers: []string{"edge-*"}, Selector: map[string]string{"region": "eu"}, MaxBytes: &size, WriteBytesPerSecond: &none,
				}})
				return err
			},
			method: "POST", uri: "/v1/namespaces",
			body: `{"name":"orders","owner":"hub-b","acks":"local","hubs":["hub-a"],"replicate":{"relayers":["edge-*"],"selector":{"region":"eu"}},"quota":{"max_bytes":10,"write_bytes_per_second":0}}`,
		},
		{
			name: "set namespace", answer: jsonAnswer(http.StatusOK, `{"name":"orders"}`),
			call: func(ctx ctx, c c) error {
				_, err := c.SetNamespace(ctx, "orders", client.NamespaceSettings{Hubs: []string{}, Selector: map[string]string{}})
				return err
			},
			method: "PUT", uri: "/v1/namespaces/orders", body: `{"hubs":[],"replicate":{"selector":{}}}`,
		},
		{
			name: "delete namespace", answer: jsonAnswer(http.StatusOK, `{"name":"orders"}`),
			call:   func(ctx ctx, c c) error { _, err := c.DeleteNamespace(ctx, "orders", time.Hour); return err },
			method: "DELETE", uri: "/v1/namespaces/orders?grace=1h0m0s",
		},
		{
			name: "stale namespaces", answer: jsonAnswer(http.StatusOK, `[]`),
			call:   func(ctx ctx, c c) error { _, err := c.Namespaces(ctx, client.Stale(nil)); return err },
			method: "GET", uri: "/v1/namespaces?stale=true",
		},
		{
			name: "raft peers", answer: jsonAnswer(http.StatusOK, `[{"id":"hub-a"}]`),
			call:   func(ctx ctx, c c) error { _, err := c.RaftPeers(ctx); return err },
			method: "GET", uri: "/v1/raft/peers",
		},
		{
			name:   "remove a raft peer",
			call:   func(ctx ctx, c c) error { return c.RemoveRaftPeer(ctx, "hub-a") },
			method: "POST", uri: "/v1/raft/remove-peer", body: `{"id":"hub-a"}`,
		},
		{
			name:   "transfer the leadership",
			call:   func(ctx ctx, c c) error { return c.TransferLeader(ctx, "hub-a") },
			method: "POST", uri: "/v1/raft/transfer-leader", body: `{"to":"hub-a"}`,
		},
		{
			name: "save a snapshot", answer: bytesAnswer(http.StatusOK, "snapshot"),
			call: func(ctx ctx, c c) error {
				var b bytes.Buffer
				n, err := c.SaveSnapshot(ctx, &b)
				if b.String() != "snapshot" || n != 8 {
					t.Errorf("saved %d bytes, %q", n, &b)
				}
				return err
			},
			method: "GET", uri: "/v1/snapshot",
		},
		{
			name:   "restore a snapshot",
			call:   func(ctx ctx, c c) error { return c.RestoreSnapshot(ctx, strings.NewReader("snapshot"), 8, true) },
			method: "POST", uri: "/v1/snapshot?force=true", body: "snapshot", header: map[string]string{"Content-Length": "8"},
		},
		{
			name: "hubs", answer: jsonAnswer(http.StatusOK, `[{"id":"hub-a"}]`),
			call:   func(ctx ctx, c c) error { _, err := c.Hubs(ctx, client.Stale(nil)); return err },
			method: "GET", uri: "/v1/hubs?stale=true",
		},
		{
			name: "topology", answer: jsonAnswer(http.StatusOK, `{"hubs":[]}`),
			call:   func(ctx ctx, c c) error { _, err := c.Topology(ctx); return err },
			method: "GET", uri: "/v1/topology",
		},
		{
			name: "assign", answer: jsonAnswer(http.StatusOK, `{"hubs":[]}`),
			call: func(ctx ctx, c c) error {
				_, err := c.Assign(ctx, client.Assignment{Namespace: "orders", Selector: map[string]string{"region": "eu"}})
				return err
			},
			method: "POST", uri: "/v1/topology/assign", body: `{"namespace":"orders","selector":{"region":"eu"}}`,
		},
		{
			name: "unassign", answer: jsonAnswer(http.StatusOK, `{"hubs":[]}`),
			call: func(ctx ctx, c c) error {
				_, err := c.Unassign(ctx, client.Assignment{Namespace: "orders", Relayer: "edge-*"})
				return err
			},
			method: "POST", uri: "/v1/topology/unassign", body: `{"namespace":"orders","relayer":"edge-*"}`,
		},
		{
			name: "set an upstream", answer: jsonAnswer(http.StatusOK, `{"hubs":[]}`),
			call:   func(ctx ctx, c c) error { _, err := c.SetUpstream(ctx, "edge-2", ""); return err },
			method: "POST", uri: "/v1/topology/set-upstream", body: `{"relayer":"edge-2","upstream":""}`,
		},
		{
			name: "relayers", answer: jsonAnswer(http.StatusOK, `[{"id":"edge-1"}]`),
			call:   func(ctx ctx, c c) error { _, err := c.Relayers(ctx); return err },
			method: "GET", uri: "/v1/relayers",
		},
		{
			name: "relayer", answer: jsonAnswer(http.StatusOK, `{"id":"edge/1"}`),
			call:   func(ctx ctx, c c) error { _, err := c.Relayer(ctx, "edge/1"); return err },
			method: "GET", uri: "/v1/relayers/edge%2F1",
		},
		{
			name: "drain a relayer", answer: jsonAnswer(http.StatusOK, `{"id":"edge-1"}`),
			call:   func(ctx ctx, c c) error { _, err := c.DrainRelayer(ctx, "edge-1", true); return err },
			method: "POST", uri: "/v1/relayers/edge-1/drain", body: `{"undo":true}`,
		},
		{
			name:   "remove a relayer",
			call:   func(ctx ctx, c c) error { return c.RemoveRelayer(ctx, "edge-1", true) },
			method: "DELETE", uri: "/v1/relayers/edge-1?force=true",
		},
		{
			name: "create a join token", answer: jsonAnswer(http.StatusOK, `{"id":"t","token":"s"}`),
			call: func(ctx ctx, c c) error {
				_, err := c.CreateJoinToken(ctx, client.NewJoinToken{TTL: time.Hour, Uses: 2, Relayer: "edge-*", Labels: map[string]string{"region": "eu"}})
				return err
			},
			method: "POST", uri: "/v1/relayers/tokens", body: `{"ttl":"1h0m0s","uses":2,"relayer":"edge-*","labels":{"region":"eu"}}`,
		},
		{
			name: "join tokens", answer: jsonAnswer(http.StatusOK, `[]`),
			call:   func(ctx ctx, c c) error { _, err := c.JoinTokens(ctx); return err },
			method: "GET", uri: "/v1/relayers/tokens",
		},
		{
			name:   "revoke a join token",
			call:   func(ctx ctx, c c) error { return c.RevokeJoinToken(ctx, "t1") },
			method: "DELETE", uri: "/v1/relayers/tokens/t1",
		},
		{
			name: "catalog", answer: jsonAnswer(http.StatusOK, `[{"name":"hooks"}]`),
			call:   func(ctx ctx, c c) error { _, err := c.CatalogPlugins(ctx, client.Stale(nil)); return err },
			method: "GET", uri: "/v1/plugins?catalog=true&stale=true",
		},
		{
			name: "register a plugin", answer: jsonAnswer(http.StatusOK, `{"name":"hooks"}`),
			call: func(ctx ctx, c c) error {
				_, err := c.RegisterPlugin(ctx, client.CatalogPlugin{Name: "hooks", Kind: "notifier", Type: "webhook", Namespaces: []string{"orders"}, Config: map[string]any{"a": "b"}})
				return err
			},
			method: "POST", uri: "/v1/plugins", body: `{"name":"hooks","kind":"notifier","type":"webhook","namespaces":["orders"],"config":{"a":"b"}}`,
		},
		{
			name:   "deregister a plugin",
			call:   func(ctx ctx, c c) error { return c.DeregisterPlugin(ctx, "shop/hooks") },
			method: "DELETE", uri: "/v1/plugins/shop%2Fhooks",
		},
		{
			name: "namespace info", answer: jsonAnswer(http.StatusOK, `{"name":"orders"}`),
			call:   func(ctx ctx, c c) error { _, err := c.NamespaceInfo(ctx, "orders"); return err },
			method: "GET", uri: "/v1/namespaces/orders",
		},
		{
			name:   "accept a lineage",
			call:   func(ctx ctx, c c) error { return c.AcceptLineage(ctx, "orders", lineage) },
			method: "POST", uri: "/v1/namespaces/orders/accept", body: `{"lineage":"` + lineage + `"}`,
		},
		{
			name:   "write a mark",
			call:   func(ctx ctx, c c) error { _, err := c.In("orders").WriteMark(ctx); return err },
			method: "POST", uri: "/v1/namespaces/orders/mark",
		},
		{
			name: "marks", answer: jsonAnswer(http.StatusOK, `{"marks":[]}`),
			call:   func(ctx ctx, c c) error { _, err := c.Marks(ctx); return err },
			method: "GET", uri: "/v1/namespaces/default/digests",
		},
		{
			name: "digests", answer: jsonAnswer(http.StatusOK, `{"ranges":[]}`),
			call:   func(ctx ctx, c c) error { _, err := c.Digests(ctx, 7, 10*time.Second); return err },
			method: "GET", uri: "/v1/namespaces/default/digests?mark=7&wait=10s",
		},
		{
			name: "scrub", answer: jsonAnswer(http.StatusOK, `{"damaged":false}`),
			call:   func(ctx ctx, c c) error { _, err := c.Scrub(ctx); return err },
			method: "POST", uri: "/v1/namespaces/default/scrub",
		},
		{
			name: "plugins", answer: jsonAnswer(http.StatusOK, `[{"name":"orders"}]`),
			call:   func(ctx ctx, c c) error { _, err := c.Plugins(ctx); return err },
			method: "GET", uri: "/v1/plugins",
		},
		{
			name: "plugin inside a namespace", answer: jsonAnswer(http.StatusOK, `{"name":"orders/webhook"}`),
			call:   func(ctx ctx, c c) error { _, err := c.Plugin(ctx, "orders/webhook"); return err },
			method: "GET", uri: "/v1/plugins/orders%2Fwebhook",
		},
		{
			name: "reload a plugin", answer: jsonAnswer(http.StatusOK, `{"name":"orders"}`),
			call:   func(ctx ctx, c c) error { _, err := c.ReloadPlugin(ctx, "orders"); return err },
			method: "POST", uri: "/v1/plugins/orders/reload",
		},
		{
			name: "dead letters", answer: jsonAnswer(http.StatusOK, `[{"id":"1","event":{"key":"a"}}]`),
			call:   func(ctx ctx, c c) error { _, err := c.DeadLetters(ctx, "orders"); return err },
			method: "GET", uri: "/v1/plugins/orders/dead-letters",
		},
		{
			name: "retry dead letters", answer: jsonAnswer(http.StatusOK, `{"accepted":1,"left":1}`),
			call:   func(ctx ctx, c c) error { _, _, err := c.RetryDeadLetters(ctx, "orders", "1", "2"); return err },
			method: "POST", uri: "/v1/plugins/orders/dead-letters/retry", body: `{"ids":["1","2"]}`,
		},
		{
			name: "retry all dead letters", answer: jsonAnswer(http.StatusOK, `{"accepted":1,"left":0}`),
			call:   func(ctx ctx, c c) error { _, _, err := c.RetryDeadLetters(ctx, "orders"); return err },
			method: "POST", uri: "/v1/plugins/orders/dead-letters/retry", body: `{}`,
		},
		{
			name: "reload", answer: jsonAnswer(http.StatusOK, `{"success":true,"changed":[]}`),
			call:   func(ctx ctx, c c) error { _, err := c.Reload(ctx); return err },
			method: "POST", uri: "/v1/reload",
		},
		{
			name: "call a model", answer: jsonAnswer(http.StatusCreated, `[1]`),
			call: func(ctx ctx, c c) error {
				_, err := c.CallModel(ctx, "vector", "upsert", client.ModelCall{Body: []byte(`{"id":1}`), AtLeast: p, Acks: 2, Wait: time.Second})
				return err
			},
			method: "POST", uri: "/api/v1/default/model/vector/upsert?acks=2&wait=1s", body: `{"id":1}`,
			header: map[string]string{"Content-Type": "application/json", "X-Unisondb-At-Least": lineage + ":2:9"},
		},
		{
			name: "call a model with bytes", answer: bytesAnswer(http.StatusOK, "x"),
			call: func(ctx ctx, c c) error {
				_, err := c.CallModel(ctx, "a/b", "c", client.ModelCall{Body: []byte{1}, ContentType: "application/octet-stream"})
				return err
			},
			method: "POST", uri: "/api/v1/default/model/a%2Fb/c", body: "\x01",
			header: map[string]string{"Content-Type": "application/octet-stream", "X-Unisondb-At-Least": ""},
		},
		{
			name: "health", answer: jsonAnswer(http.StatusOK, `{"status":"ok"}`),
			call:   func(ctx ctx, c c) error { _, err := c.Health(ctx); return err },
			method: "GET", uri: "/health",
		},
		{
			name: "ready", answer: jsonAnswer(http.StatusOK, `{"status":"ok"}`),
			call: func(ctx ctx, c c) error {
				_, err := c.Ready(ctx, client.ReadyOptions{MaxLag: 5 * time.Second, Leader: true})
				return err
			},
			method: "GET", uri: "/ready?leader=true&max_lag=5s",
		},
		{
			name: "status", answer: jsonAnswer(http.StatusOK, `{}`),
			call:   func(ctx ctx, c c) error { _, err := c.Status(ctx); return err },
			method: "GET", uri: "/v1/status",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.answer == nil {
				tt.answer = success
			}
			node := newFakeNode(t, tt.answer)
			if err := tt.call(t.Context(), node.client(t)); err != nil {
				t.Fatal(err)
			}
			got := node.last(t)
			if got.method != tt.method || got.uri != tt.uri {
				t.Errorf("request: got %s %s, want %s %s", got.method, got.uri, tt.method, tt.uri)
			}
			for name, want := range tt.header {
				if value := got.header.Get(name); value != want {
					t.Errorf("header %s: got %q, want %q", name, value, want)
				}
			}
			compareBody(t, got, tt.body)
		})
	}
}

// TestTransactionRequests holds the calls of an interactive transaction against
// the contract, in both kinds that know how to delete.
func TestTransactionRequests(t *testing.T) {
	begin := jsonAnswer(http.StatusOK, `{"txnId":"ab12","success":true}`)
	value := bytesAnswer(http.StatusOK, "v", "ETag", `"1-2"`)
	row := jsonAnswer(http.StatusOK, `{"rowKey":"r","columns":{"n":"dg=="},"found":true}`)
	commit := jsonAnswer(http.StatusOK, `{"success":true,"checksum":7}`)
	node := newFakeNode(t, begin, value, row, success, success, success, success, success, success, success, success, success, commit, success)
	ctx, c := t.Context(), node.client(t)

	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		uri, body string
		call      func() error
	}{
		{"/api/v1/default/kv/k?txn=ab12", "", func() error { _, err := tx.Get(ctx, []byte("k")); return err }},
		{"/api/v1/default/row/r?columns=n&txn=ab12", "", func() error { _, err := tx.GetRow(ctx, []byte("r"), []string{"n"}); return err }},
		{"/api/v1/default/tx/ab12/kv", `{"key":"k","value":""}`, func() error { return tx.Put(ctx, []byte("k"), nil) }},
		{"/api/v1/default/tx/ab12/kv", `{"key":"k","value":"dg==","ttl":"1m0s"}`, func() error { return tx.PutTTL(ctx, []byte("k"), []byte("v"), time.Minute) }},
		{"/api/v1/default/tx/ab12/row", `{"rowKey":"r","columns":{"n":"dg=="},"ttl":"1m0s"}`, func() error { return tx.PutRowTTL(ctx, []byte("r"), map[string][]byte{"n": []byte("v")}, time.Minute) }},
		{"/api/v1/default/tx/ab12/kv", `{"key_base64":"/w==","delete":true}`, func() error { return tx.Delete(ctx, []byte{0xff}) }},
		{"/api/v1/default/tx/ab12/row", `{"rowKey":"r","columns":{"n":"dg=="}}`, func() error { return tx.PutRow(ctx, []byte("r"), map[string][]byte{"n": []byte("v")}) }},
		{"/api/v1/default/tx/ab12/row", `{"rowKey":"r","delete":true}`, func() error { return tx.DeleteRow(ctx, []byte("r")) }},
		{"/api/v1/default/tx/ab12/row", `{"rowKey":"r","columns":{"a":"","b":""},"delete":true}`, func() error { return tx.DeleteColumns(ctx, []byte("r"), []string{"a", "b"}) }},
		{"/api/v1/default/tx/ab12/lob?delete=true&key=o%2F%FF", "", func() error { return tx.DeleteObject(ctx, []byte("o/\xff")) }},
		{"/api/v1/default/tx/ab12/lob?key=o%2F%FF", "bytes", func() error { return tx.AppendObject(ctx, []byte("o/\xff"), strings.NewReader("bytes"), 5) }},
		{"/api/v1/default/tx/ab12/commit", "", func() error {
			done, err := tx.Commit(ctx)
			if done.CRC32 != 7 || done.Position != mustPosition(t, position7) {
				t.Errorf("commit answered %+v", done)
			}
			return err
		}},
		{"/api/v1/default/tx/ab12/abort", "", func() error { return tx.Abort(ctx) }},
	}
	for _, step := range steps {
		if err := step.call(); err != nil {
			t.Fatalf("%s: %v", step.uri, err)
		}
		got := node.last(t)
		if got.uri != step.uri {
			t.Errorf("got %s, want %s", got.uri, step.uri)
		}
		compareBody(t, got, step.body)
	}
}

func TestDeleteTransactionDoesNotRepeatItsKind(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK, `{"txnId":"ab"}`), success)
	tx, err := node.client(t).BeginKind(t.Context(), client.TxKind{Operation: "delete", EntryType: "kv"})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Delete(t.Context(), []byte("k")); err != nil {
		t.Fatal(err)
	}
	compareBody(t, node.last(t), `{"key":"k"}`)
}

// compareBody compares JSON by meaning and anything else by bytes.
func compareBody(t *testing.T, got seen, want string) {
	t.Helper()
	if !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
		if got.body != want {
			t.Errorf("body: got %q, want %q", got.body, want)
		}
		return
	}
	var a, b any
	if err := json.Unmarshal([]byte(got.body), &a); err != nil {
		t.Fatalf("body %q: %v", got.body, err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatalf("want %q: %v", want, err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("body:\n got %s\nwant %s", got.body, want)
	}
}

func drain(r *client.ObjectReader, err error) error {
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return r.Close()
}

// TestKeysSurviveThePath sends keys of all kinds and takes them out of the path
// again, as the server does.
func TestKeysSurviveThePath(t *testing.T) {
	var every []byte
	for b := range 256 {
		every = append(every, byte(b))
	}
	keys := [][]byte{
		every, []byte("."), []byte(".."), []byte("../../x"), []byte("a//b"), []byte("%2F"), []byte("%"), []byte("a b+c"),
		[]byte("ключ"), {0}, {0xff}, []byte("?q=1#f"), []byte("kv/batch"), []byte("/"), bytes.Repeat([]byte{0xff}, 400),
	}
	node := newFakeNode(t, success)
	c := node.client(t)
	for _, key := range keys {
		if _, err := c.KV().Delete(t.Context(), key); err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		escaped, ok := strings.CutPrefix(node.last(t).uri, "/api/v1/default/kv/")
		if !ok || strings.ContainsAny(escaped, "/?#") || escaped == "." || escaped == ".." {
			t.Errorf("%q was sent as %q", key, node.last(t).uri)
			continue
		}
		if got := unescape(t, escaped); !bytes.Equal(got, key) {
			t.Errorf("%q arrived as %q", key, got)
		}
	}
}

func FuzzKeyInPath(f *testing.F) {
	f.Add([]byte("a/../b"))
	f.Add([]byte{0, 0xff, '%', '.'})
	f.Fuzz(func(t *testing.T, key []byte) {
		if len(key) == 0 {
			return
		}
		uri := requestURI(t, key)
		if got := unescape(t, strings.TrimPrefix(uri, "/api/v1/default/kv/")); !bytes.Equal(got, key) {
			t.Errorf("%q arrived as %q", key, got)
		}
	})
}

// requestURI is what would be sent for a key, without a server.
func requestURI(t *testing.T, key []byte) (uri string) {
	t.Helper()
	c, err := client.New(client.Config{HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		uri = r.URL.RequestURI()
		return &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	})}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.KV().Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return uri
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// unescape undoes percent-encoding by hand, so that the test doesn't rest on
// what it tests.
func unescape(t *testing.T, s string) []byte {
	t.Helper()
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) {
			t.Fatalf("%q ends inside an escape", s)
		}
		hi, lo := strings.IndexByte("0123456789ABCDEF", s[i+1]), strings.IndexByte("0123456789ABCDEF", s[i+2])
		if hi < 0 || lo < 0 {
			t.Fatalf("%q has a bad escape", s)
		}
		out = append(out, byte(hi<<4|lo))
		i += 2
	}
	return out
}
