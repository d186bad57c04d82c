// Package releasetest has a node for tests: as much of the HTTP API as releases need, in memory. A
// transaction becomes visible at one LSN, as on a real one.
package releasetest

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/release"
)

// Node is a node of one namespace.
type Node struct {
	// Before, if set, is called before a request is answered, with its method and route: "GET lob".
	Before func(route string)

	server *httptest.Server

	mu   sync.Mutex
	lsn  int
	data map[string]cell // by model and key: "kv/release"
	txs  map[string]*tx
}

// cell is what stands under a key: bytes, or a row's columns.
type cell struct {
	bytes   []byte
	columns map[string][]byte
	lsn     int // of the last write; 0: never
}

type tx struct {
	reads  map[string]int // the LSN at which each was written that was read
	writes map[string]*cell
}

// New starts a node, which ends with the test.
func New(t testing.TB) *Node {
	n := &Node{data: map[string]cell{}, txs: map[string]*tx{}}
	n.server = httptest.NewServer(n)
	t.Cleanup(n.server.Close)
	return n
}

// Client talks to the node.
func (n *Node) Client(t testing.TB) *client.Client {
	c, err := client.New(client.Config{Address: n.server.URL, Namespace: release.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Set writes bytes past all transactions, to damage what is there.
func (n *Node) Set(key string, b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lsn++
	n.data[key] = cell{bytes: b, lsn: n.lsn}
}

// Get answers the bytes under a key.
func (n *Node) Get(key string) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.data[key].bytes
}

// Has lists what there is, in the order of the keys.
func (n *Node) Has() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.data))
}

// ServeHTTP implements http.Handler.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v1/"+release.Namespace+"/"), "/")
	for i, part := range parts {
		parts[i], _ = url.PathUnescape(part) // of our own client
	}
	if n.Before != nil {
		n.Before(r.Method + " " + parts[0])
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer(w, r, parts)
}

func (n *Node) answer(w http.ResponseWriter, r *http.Request, parts []string) {
	model := parts[0]
	switch {
	case model != "tx" && len(parts) == 2:
		n.get(w, r, model+"/"+parts[1])
	case model != "tx":
		n.list(w, model, r.URL.Query().Get("prefix"))
	case len(parts) == 1:
		n.readTogether(w, r)
	case parts[1] == "begin":
		id := strconv.Itoa(len(n.txs))
		n.txs[id] = &tx{map[string]int{}, map[string]*cell{}}
		n.reply(w, map[string]any{"txnId": id})
	case parts[2] == "commit":
		n.commit(w, n.txs[parts[1]])
	case parts[2] == "abort":
		n.reply(w, map[string]any{})
	default:
		n.write(w, r, n.txs[parts[1]], parts[2])
	}
}

func (n *Node) reply(w http.ResponseWriter, v any) {
	w.Header().Set("X-Unisondb-Position", fmt.Sprintf("%032x:1:%d", 1, n.lsn))
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "code": code})
}

func (n *Node) get(w http.ResponseWriter, r *http.Request, key string) {
	c := n.data[key]
	if id := r.URL.Query().Get("txn"); id != "" {
		n.txs[id].reads[key] = c.lsn
	}
	w.Header().Set("X-Unisondb-Position", fmt.Sprintf("%032x:1:%d", 1, n.lsn))
	if c.lsn == 0 {
		refuse(w, http.StatusNotFound, "KEY_NOT_FOUND")
		return
	}
	w.Header().Set("X-Unisondb-Checksum", strconv.FormatUint(uint64(crc32.ChecksumIEEE(c.bytes)), 10))
	_, _ = w.Write(c.bytes)
}

func (n *Node) list(w http.ResponseWriter, model, prefix string) {
	items := []any{}
	for _, key := range slices.Sorted(maps.Keys(n.data)) {
		if name, ok := strings.CutPrefix(key, model+"/"); ok && strings.HasPrefix(name, prefix) {
			items = append(items, map[string]any{"key": name, "value": n.data[key].bytes, "rowKey": name, "columns": n.data[key].columns})
		}
	}
	n.reply(w, map[string]any{"items": items, "rows": items})
}

// readTogether answers a transaction in one round trip that only reads keys.
func (n *Node) readTogether(w http.ResponseWriter, r *http.Request) {
	var in struct{ Then []struct{ Key string } }
	_ = json.NewDecoder(r.Body).Decode(&in)
	results := []any{}
	for _, op := range in.Then {
		c := n.data["kv/"+op.Key]
		results = append(results, map[string]any{"found": c.lsn > 0, "value": c.bytes})
	}
	n.reply(w, map[string]any{"succeeded": true, "results": results})
}

func (n *Node) write(w http.ResponseWriter, r *http.Request, t *tx, model string) {
	if model == "lob" {
		body, _ := io.ReadAll(r.Body)
		t.writes["lob/"+r.URL.Query().Get("key")] = &cell{bytes: body}
		if r.URL.Query().Has("delete") {
			t.writes["lob/"+r.URL.Query().Get("key")] = nil
		}
		n.reply(w, map[string]any{})
		return
	}
	var in struct {
		Key, RowKey string
		Value       []byte
		Columns     map[string][]byte
		Delete      bool
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	key := model + "/" + in.Key + in.RowKey
	if t.writes[key] = (&cell{bytes: in.Value, columns: in.Columns}); in.Delete {
		t.writes[key] = nil
	}
	n.reply(w, map[string]any{})
}

func (n *Node) commit(w http.ResponseWriter, t *tx) {
	for key, lsn := range t.reads {
		if n.data[key].lsn != lsn {
			refuse(w, http.StatusConflict, "CONFLICT")
			return
		}
	}
	n.lsn++
	for key, c := range t.writes {
		if c == nil {
			delete(n.data, key)
			continue
		}
		c.lsn = n.lsn
		n.data[key] = *c
	}
	n.reply(w, map[string]any{})
}
