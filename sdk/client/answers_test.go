package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestGetAnswer(t *testing.T) {
	value := strings.Repeat("\x00\xff", 4<<20) // 8 MiB, any bytes
	node := newFakeNode(t, bytesAnswer(http.StatusOK, value, "ETag", `"1-2a"`, "X-Unisondb-Expires-At", "2030-01-02T03:04:05.5Z"))
	got, err := node.client(t).KV().Get(t.Context(), []byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Data) != value {
		t.Errorf("got %d bytes, want those that were sent", len(got.Data))
	}
	if got.Version != "1-2a" || got.Position != mustPosition(t, position7) {
		t.Errorf("got version %q at %v", got.Version, got.Position)
	}
	if want := time.Date(2030, 1, 2, 3, 4, 5, 5e8, time.UTC); !got.ExpiresAt.Equal(want) {
		t.Errorf("expires at %v, want %v", got.ExpiresAt, want)
	}
}

func TestGetAllAnswer(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK,
		`{"items":[{"key":"a","value":"dg==","version":"1-1","found":true,"expires_at":"2030-01-01T00:00:00Z"},{"key_base64":"/w==","value":"","found":false}]}`))
	got, p, err := node.client(t).KV().GetAll(t.Context(), [][]byte{[]byte("a"), {0xff}})
	if err != nil {
		t.Fatal(err)
	}
	want := []client.Found{
		{Found: true, Item: client.Item{Key: []byte("a"), Value: []byte("v"), Version: "1-1", ExpiresAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{Found: false, Item: client.Item{Key: []byte{0xff}, Value: []byte{}}},
	}
	if !reflect.DeepEqual(got, want) || p != mustPosition(t, position7) {
		t.Errorf("got %+v at %v", got, p)
	}
}

func TestGetAllRefusesAnotherNumberOfItems(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK, `{"items":[]}`))
	if _, _, err := node.client(t).KV().GetAll(t.Context(), [][]byte{[]byte("a")}); err == nil {
		t.Error("an answer without the item was taken")
	}
}

func TestRowAnswer(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK, `{"rowKey":"r","columns":{"n":"dg==","e":""},"found":true,"version":"1-3"}`))
	got, err := node.client(t).Rows().Get(t.Context(), []byte("r"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := client.Row{Key: []byte("r"), Columns: map[string][]byte{"n": []byte("v"), "e": {}}, Version: "1-3", Position: mustPosition(t, position7)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTxnAnswer(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK,
		`{"succeeded":false,"results":[{"found":true,"value":"dg==","version":"1-1"},{"success":true},{"found":true,"rowKey":"r","columns":{"n":"dg=="}}]}`))
	got, err := node.client(t).Txn(t.Context(), client.Txn{Else: []client.Op{client.OpGet([]byte("k")), client.OpDelete([]byte("k")), client.OpGetRow([]byte("r"))}})
	if err != nil {
		t.Fatal(err)
	}
	want := client.TxnResult{Position: mustPosition(t, position7), Results: []client.OpResult{
		{Found: true, Value: []byte("v"), Version: "1-1"}, {}, {Found: true, Columns: map[string][]byte{"n": []byte("v")}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestMissingIsNotFound(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK, `{"columns":{},"found":false}`))
	_, err := node.client(t).Rows().Get(t.Context(), []byte("r"), nil)
	if !errors.Is(err, client.ErrNotFound) {
		t.Errorf("missing row: %v", err)
	}
	var e *client.Error
	if !errors.As(err, &e) || e.Position != mustPosition(t, position7) {
		t.Errorf("a missing row doesn't say at which position: %+v", e)
	}

	node = newFakeNode(t, jsonAnswer(http.StatusNotFound, `{"error":"no key","code":"KEY_NOT_FOUND"}`))
	if _, err := node.client(t).KV().Get(t.Context(), []byte("k")); !errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrNamespaceNotFound) {
		t.Errorf("missing key: %v", err)
	}

	node = newFakeNode(t, jsonAnswer(http.StatusNotFound, `{"error":"no object","code":"OBJECT_NOT_FOUND"}`))
	if _, err := node.client(t).Objects().Stat(t.Context(), []byte("k")); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("missing object: %v", err)
	}

	node = newFakeNode(t, jsonAnswer(http.StatusNotFound, `{"error":"no namespace","code":"NAMESPACE_NOT_FOUND"}`))
	if _, err := node.client(t).Objects().Stat(t.Context(), []byte("k")); !errors.Is(err, client.ErrNamespaceNotFound) || errors.Is(err, client.ErrNotFound) {
		t.Errorf("missing namespace: %v", err)
	}
}

func TestEmptyKeyIsRefusedHere(t *testing.T) {
	node := newFakeNode(t, success)
	c, ctx := node.client(t), t.Context()
	_, err1 := c.KV().Get(ctx, nil)
	_, err2 := c.KV().Put(ctx, []byte{}, nil)
	_, err3 := c.KV().Delete(ctx, nil)
	_, err4 := c.KV().Touch(ctx, nil, time.Second)
	_, err5 := c.Rows().Get(ctx, nil, nil)
	_, err6 := c.Rows().Put(ctx, nil, nil)
	_, err7 := c.Rows().Delete(ctx, nil)
	_, err8 := c.Rows().DeleteColumns(ctx, nil, nil)
	_, err9 := c.Objects().Put(ctx, nil, strings.NewReader(""), 0)
	_, err10 := c.Objects().Get(ctx, nil)
	_, err11 := c.Objects().Stat(ctx, nil)
	_, err12 := c.Objects().Delete(ctx, nil)
	for i, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, err11, err12} {
		if !errors.Is(err, client.ErrInvalid) {
			t.Errorf("call %d: %v", i+1, err)
		}
	}
	if n := len(node.seen()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestListFollowsCursors(t *testing.T) {
	pages := []http.HandlerFunc{
		jsonAnswer(http.StatusOK, `{"items":[{"key":"a","value":"MQ=="},{"key_base64":"/w==","value":"Mg=="}],"cursor":"c1"}`),
		jsonAnswer(http.StatusOK, `{"items":[],"cursor":"c2"}`), // a page may end early, and be empty
		jsonAnswer(http.StatusOK, `{"items":[{"key":"z","value":"Mw=="}]}`),
	}
	tests := []struct {
		limit int
		want  string
		uris  []string
	}{
		{0, `"a"=1 "\xff"=2 "z"=3 `, []string{
			"/api/v1/default/kv?limit=1000&prefix=p",
			"/api/v1/default/kv?cursor=c1&limit=1000&prefix=p",
			"/api/v1/default/kv?cursor=c2&limit=1000&prefix=p",
		}},
		{2, `"a"=1 "\xff"=2 `, []string{"/api/v1/default/kv?limit=2&prefix=p"}},
		{3, `"a"=1 "\xff"=2 "z"=3 `, []string{
			"/api/v1/default/kv?limit=3&prefix=p",
			"/api/v1/default/kv?cursor=c1&limit=3&prefix=p",
			"/api/v1/default/kv?cursor=c2&limit=3&prefix=p",
		}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint("limit ", tt.limit), func(t *testing.T) {
			node := newFakeNode(t, pages...)
			var got strings.Builder
			for item, err := range node.client(t).KV().List(t.Context(), client.ListOptions{Prefix: []byte("p"), Limit: tt.limit}) {
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&got, "%q=%s ", item.Key, item.Value)
			}
			if got.String() != tt.want {
				t.Errorf("got %s, want %s", got.String(), tt.want)
			}
			var uris []string
			for _, r := range node.seen() {
				uris = append(uris, r.uri)
			}
			if !reflect.DeepEqual(uris, tt.uris) {
				t.Errorf("asked for %q, want %q", uris, tt.uris)
			}
		})
	}
}

func TestListEndsWithTheError(t *testing.T) {
	node := newFakeNode(t,
		jsonAnswer(http.StatusOK, `{"rows":[{"rowKey":"a","columns":{}}],"cursor":"c"}`),
		jsonAnswer(http.StatusServiceUnavailable, `{"error":"stopping","code":"SHUTTING_DOWN"}`))
	var keys, errs int
	for row, err := range node.client(t).Rows().List(t.Context(), client.ListOptions{}) {
		if err != nil {
			errs++
			if !errors.Is(err, client.ErrUnavailable) {
				t.Errorf("unexpected %v", err)
			}
			continue
		}
		keys += len(row.Key)
	}
	if keys != 1 || errs != 1 {
		t.Errorf("got %d rows and %d errors, want one of each", keys, errs)
	}
}

func TestListStopsAsking(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK, `{"items":[{"key":"a","size":3,"version":"v"},{"key":"b","size":4}],"cursor":"c"}`))
	for object, err := range node.client(t).Objects().List(t.Context(), client.ListOptions{}) {
		if err != nil || string(object.Key) != "a" || object.Size != 3 || object.Version != "v" {
			t.Errorf("got %+v, %v", object, err)
		}
		break
	}
	if n := len(node.seen()); n != 1 {
		t.Errorf("%d pages were asked for, want one", n)
	}
}

func TestObjectStream(t *testing.T) {
	const sum = "907060870" // of "hello"
	node := newFakeNode(t, bytesAnswer(http.StatusOK, "hello", "ETag", `"1-9"`, "X-Unisondb-Checksum", sum))
	r, err := node.client(t).Objects().Get(t.Context(), []byte("o"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "hello" || r.Size != 5 || r.Length != 5 || r.Version != "1-9" {
		t.Errorf("got %q, %+v, %v", got, r.Object, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestObjectStreamFindsChangedBytes(t *testing.T) {
	node := newFakeNode(t, bytesAnswer(http.StatusOK, "hallo", "X-Unisondb-Checksum", "907060870"))
	if err := drain(node.client(t).Objects().Get(t.Context(), []byte("o"))); !errors.Is(err, client.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}

func TestEarlyEnd(t *testing.T) {
	node := newFakeNode(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	if err := drain(node.client(t).Objects().Get(t.Context(), []byte("o"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("object: got %v, want ErrUnexpectedEOF", err)
	}
	if _, err := node.client(t).KV().Get(t.Context(), []byte("k")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("value: got %v, want ErrUnexpectedEOF", err)
	}
}

func TestObjectRange(t *testing.T) {
	node := newFakeNode(t, bytesAnswer(http.StatusPartialContent, "ell", "Content-Range", "bytes 1-3/5", "X-Unisondb-Checksum", "907060870"))
	r, err := node.client(t).Objects().GetRange(t.Context(), []byte("o"), 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "ell" || r.Offset != 1 || r.Length != 3 || r.Size != 5 {
		t.Errorf("got %q at %d of %d, %v", got, r.Offset, r.Size, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestObjectRangeRefusesTheWhole(t *testing.T) {
	node := newFakeNode(t, bytesAnswer(http.StatusOK, "hello"))
	if _, err := node.client(t).Objects().GetRange(t.Context(), []byte("o"), 1, 3); err == nil {
		t.Error("the whole object was taken for a range")
	}
	for _, r := range [][2]int64{{-1, 3}, {0, 0}, {0, -2}} {
		if _, err := node.client(t).Objects().GetRange(t.Context(), []byte("o"), r[0], r[1]); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("range %v: %v", r, err)
		}
	}
}

func TestUploadFindsChangedBytes(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK, `{"success":true,"size":5,"checksum":1}`))
	if _, err := node.client(t).Objects().Put(t.Context(), []byte("o"), strings.NewReader("hello"), 5); !errors.Is(err, client.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}

// TestRefusedUpload refuses before the body is read: the reader must be left
// alone, since 100-continue never comes.
func TestRefusedUpload(t *testing.T) {
	node := newFakeNode(t, nil)
	node.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		jsonAnswer(http.StatusPreconditionFailed, `{"error":"it exists","code":"CONDITION_FAILED"}`)(w, nil)
	})
	body := &countingReader{}
	_, err := node.client(t).Objects().Put(t.Context(), []byte("o"), body, -1, client.IfAbsent())
	if !errors.Is(err, client.ErrConditionFailed) {
		t.Errorf("got %v, want ErrConditionFailed", err)
	}
	if body.reads != 0 {
		t.Errorf("%d reads of a body that nobody wanted", body.reads)
	}
}

type countingReader struct{ reads int }

func (r *countingReader) Read(p []byte) (int, error) {
	r.reads++
	return len(p), nil
}

func TestUploadDoesNotCloseTheCallersReader(t *testing.T) {
	node := newFakeNode(t, jsonAnswer(http.StatusOK, `{"txnId":"a"}`), success)
	tx, err := node.client(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := &closeRecorder{Reader: bytes.NewReader([]byte("x"))}
	if err := tx.AppendObject(t.Context(), []byte("o"), body, 1); err != nil {
		t.Fatal(err)
	}
	if body.closed {
		t.Error("the caller's reader was closed")
	}
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (r *closeRecorder) Close() error {
	r.closed = true
	return nil
}

func TestStatusAnswer(t *testing.T) {
	const body = `{"node_id":"n","role":"hub","version":"1","namespaces":[{"name":"default","role":"owner","owner":"n","lineage":"ff","epoch":3,"lsn":9,"durable_lsn":8,"commit_lsn":7,"checkpoint_lsn":6,"state":"serving","code":"","reason":""}],"more":1}`
	node := newFakeNode(t, jsonAnswer(http.StatusOK, body))
	s, err := node.client(t).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := client.NamespaceStatus{Name: "default", Role: "owner", Owner: "n", Lineage: "ff", Epoch: 3, LSN: 9, DurableLSN: 8, CommitLSN: 7, CheckpointLSN: 6, State: "serving"}
	if len(s.Namespaces) != 1 || !reflect.DeepEqual(s.Namespaces[0], want) || string(s.Raw) != body {
		t.Errorf("got %+v, raw %s", s, s.Raw)
	}
}

func TestMarksAndDigests(t *testing.T) {
	ctx := t.Context()
	const integrity = `"integrity":{"damaged":true,"bad_ranges":[3],"damaged_cells":1}`
	wantIntegrity := client.Integrity{Damaged: true, BadRanges: []int{3}, DamagedCells: 1}
	marks, err := newFakeNode(t, jsonAnswer(http.StatusOK, `{"lineage":"`+lineage+`","marks":[{"epoch":5,"lsn":7,"digest":"0f"}],`+integrity+`}`)).client(t).Marks(ctx)
	if want := (client.Marks{Lineage: lineage, Marks: []client.Mark{{Epoch: 5, LSN: 7, Digest: "0f"}}, Integrity: wantIntegrity}); err != nil || !reflect.DeepEqual(marks, want) {
		t.Errorf("marks: %+v, %v", marks, err)
	}
	digests, err := newFakeNode(t, jsonAnswer(http.StatusOK, `{"lineage":"`+lineage+`","epoch":5,"lsn":7,"digest":"0f","ranges":["01","02"],`+integrity+`}`)).client(t).Digests(ctx, 7, time.Second)
	if want := (client.Digests{Lineage: lineage, Mark: client.Mark{Epoch: 5, LSN: 7, Digest: "0f"}, Ranges: []string{"01", "02"}, Integrity: wantIntegrity}); err != nil || !reflect.DeepEqual(digests, want) {
		t.Errorf("digests: %+v, %v", digests, err)
	}
	_, err = newFakeNode(t, jsonAnswer(http.StatusGatewayTimeout, `{"error":"not yet","code":"NOT_CAUGHT_UP"}`)).client(t).Digests(ctx, 7, time.Second)
	if !errors.Is(err, client.ErrNotCaughtUp) {
		t.Errorf("a node that is behind: %v", err)
	}
}

func TestAWriteThatIsntReplicatedHasItsPosition(t *testing.T) {
	const position = lineage + ":5:9"
	node := newFakeNode(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Unisondb-Position", position)
		jsonAnswer(http.StatusGatewayTimeout, `{"error":"durable here","code":"NOT_REPLICATED"}`)(w, nil)
	})
	session := client.NewSession()
	_, err := node.client(t).WithSession(session).KV().Put(t.Context(), []byte("k"), nil, client.Acks(2))
	var answer *client.Error
	if !errors.Is(err, client.ErrNotReplicated) || !errors.As(err, &answer) || answer.Position.String() != position {
		t.Errorf("got %+v", err)
	}
	if got := session.Position("default"); got.String() != position {
		t.Errorf("the session is at %v: it doesn't read its own write", got)
	}
}

func TestLogAnswers(t *testing.T) {
	ctx := t.Context()
	o, err := newFakeNode(t, jsonAnswer(http.StatusOK, `{"segmentId":2,"offset":99,"lsn":7,"epoch":5}`)).client(t).Offset(ctx)
	if want := (client.Offset{SegmentID: 2, Offset: 99, LSN: 7, Epoch: 5}); err != nil || o != want {
		t.Errorf("offset: %+v, %v", o, err)
	}
	cp, err := newFakeNode(t, jsonAnswer(http.StatusOK, `{"recordProcessed":4,"segmentId":2,"offset":99,"lsn":7}`)).client(t).Checkpoint(ctx)
	if want := (client.Checkpoint{RecordsProcessed: 4, SegmentID: 2, Offset: 99, LSN: 7}); err != nil || cp != want {
		t.Errorf("checkpoint: %+v, %v", cp, err)
	}
	const stats = `{"namespace":"default","opsReceived":3,"opsFlushed":2,"currentSegment":1,"currentOffset":64,"other":1}`
	s, err := newFakeNode(t, jsonAnswer(http.StatusOK, stats)).client(t).Stats(ctx)
	if err != nil || s.OpsReceived != 3 || s.OpsFlushed != 2 || s.CurrentSegment != 1 || s.CurrentOffset != 64 || string(s.Raw) != stats {
		t.Errorf("stats: %+v, %v", s, err)
	}
	backups, err := newFakeNode(t, jsonAnswer(http.StatusOK, `{"backups":[{"segmentId":1,"path":"p"}]}`)).client(t).BackupLog(ctx, 0, "d")
	if err != nil || len(backups) != 1 || backups[0] != (client.SegmentBackup{SegmentID: 1, Path: "p"}) {
		t.Errorf("log backup: %+v, %v", backups, err)
	}
	tree, err := newFakeNode(t, jsonAnswer(http.StatusOK, `{"path":"p","bytes":3}`)).client(t).BackupTree(ctx, "p")
	if err != nil || tree != (client.TreeBackup{Path: "p", Bytes: 3}) {
		t.Errorf("tree backup: %+v, %v", tree, err)
	}
}

func TestReady(t *testing.T) {
	ctx := t.Context()
	got, err := newFakeNode(t, jsonAnswer(http.StatusOK, `{"status":"ok"}`)).client(t).Ready(ctx, client.ReadyOptions{})
	if err != nil || !got.Ready {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = newFakeNode(t, jsonAnswer(http.StatusServiceUnavailable, `{"error":"not ready","code":"NOT_READY","reasons":["a","b"]}`)).client(t).Ready(ctx, client.ReadyOptions{})
	if err != nil || got.Ready || !reflect.DeepEqual(got.Reasons, []string{"a", "b"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err = newFakeNode(t, jsonAnswer(http.StatusForbidden, `{"error":"no","code":"FORBIDDEN"}`)).client(t).Ready(ctx, client.ReadyOptions{}); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("got %v, want ErrForbidden", err)
	}
}
