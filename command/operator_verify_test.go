package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// verifiable is a fake node that can be compared.
type verifiable struct {
	id, role, lineage string
	damaged           uint64         // cells
	changed           map[int]uint64 // digests that aren't 1
	marks             []uint64
	mark              http.HandlerFunc // answers POST mark
}

func (v verifiable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	integrity := fmt.Sprintf(`{"damaged":%t,"damaged_cells":%d,"bad_ranges":[]}`, v.damaged > 0, v.damaged)
	switch r.URL.Path {
	case "/v1/status":
		answer(http.StatusOK, fmt.Sprintf(`{"node_id":%q,"namespaces":[{"name":"orders","role":%q,"lineage":%q,"state":"missing","code":"GONE","reason":"it is gone"}]}`, v.id, v.role, v.lineage))(w, r)
	case "/v1/namespaces/orders/mark":
		v.mark(w, r)
	case "/v1/namespaces/orders/scrub":
		answer(http.StatusOK, integrity)(w, r)
	case "/v1/namespaces/orders/digests":
		if mark := r.URL.Query().Get("mark"); mark != "" {
			answer(http.StatusOK, fmt.Sprintf(`{"lineage":%q,"epoch":5,"lsn":%s,"digest":"d","ranges":%s,"integrity":%s}`, v.lineage, mark, v.ranges(), integrity))(w, r)
			return
		}
		var marks []string
		for _, lsn := range v.marks {
			marks = append(marks, fmt.Sprintf(`{"epoch":5,"lsn":%d,"digest":"d"}`, lsn))
		}
		answer(http.StatusOK, fmt.Sprintf(`{"lineage":%q,"marks":[%s],"integrity":%s}`, v.lineage, strings.Join(marks, ","), integrity))(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (v verifiable) ranges() string {
	ranges := make([]string, 1024)
	for i := range ranges {
		digest, ok := v.changed[i]
		if !ok {
			digest = 1
		}
		ranges[i] = fmt.Sprintf("%016x", digest)
	}
	b, err := json.Marshal(ranges)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// verify compares two fake nodes.
func verify(t *testing.T, a, b verifiable, args ...string) (r result, addresses [2]string) {
	t.Helper()
	ha, hb := newHarness(t, a.ServeHTTP), newHarness(t, b.ServeHTTP)
	addresses = [2]string{ha.env[envAddress], hb.env[envAddress]}
	return ha.run(append([]string{"operator", "verify", "-namespace=orders", "-with=" + addresses[1]}, args...)...), addresses
}

func TestOperatorVerify(t *testing.T) {
	marked := answer(http.StatusOK, `{"lineage":"`+testLineage+`","epoch":1048577,"lsn":7}`)
	hub := verifiable{id: "hub-1", role: "owner", lineage: testLineage, marks: []uint64{6, 2}, mark: marked}
	edge := verifiable{id: "edge-1", role: "replica", lineage: testLineage, marks: []uint64{7, 4, 2}}
	head := func(lsn int, at [2]string, result string) string {
		return fmt.Sprintf("Namespace:  orders\nLineage:    %s\nMark:       LSN %d of epoch 5\nNode:       hub-1, owner, %s\nWith:       edge-1, replica, %s\nResult:     %s\n", testLineage, lsn, at[0], at[1], result)
	}

	t.Run("equal", func(t *testing.T) {
		r, at := verify(t, hub, edge)
		r.want(t, exitDone, head(7, at, "equal"))
	})
	t.Run("with a scrub", func(t *testing.T) {
		r, at := verify(t, hub, edge, "-scrub")
		r.want(t, exitDone, head(7, at, "equal"))
	})
	t.Run("different", func(t *testing.T) {
		other := edge
		other.changed = map[int]uint64{17: 2, 1023: 3}
		r, at := verify(t, hub, other)
		r.want(t, exitFailed, head(7, at, "2 of 1024 ranges differ")+"\nRANGE  hub-1             edge-1\n17     0000000000000001  0000000000000002\n1023   0000000000000001  0000000000000003\n")
		r, at = verify(t, hub, other, "-json")
		node := `{"node_id":"%s","address":"%s","role":"%s","digest":"d","integrity":{"damaged":false,"scrubbed_at":null,"scrubbed_lsn":0,"scrubs":0,"scrubbing":false,"bad_ranges":[],"damaged_cells":0,"repaired_cells":0,"tree_damage":"","log_damaged_lsn":0,"diverged":null}}`
		r.wantJSON(t, exitFailed, `{"namespace":"orders","lineage":"`+testLineage+`","epoch":5,"lsn":7,"equal":false,"nodes":[`+
			fmt.Sprintf(node, "hub-1", at[0], "owner")+","+fmt.Sprintf(node, "edge-1", at[1], "replica")+
			`],"ranges":[{"range":17,"digests":["0000000000000001","0000000000000002"]},{"range":1023,"digests":["0000000000000001","0000000000000003"]}]}`)
	})
	t.Run("damage", func(t *testing.T) {
		other := edge
		other.damaged = 2
		r, at := verify(t, hub, other)
		r.want(t, exitFailed, strings.Replace(head(7, at, "equal"), at[1], at[1]+"; damaged: 2 stored values", 1))
	})
	t.Run("no new mark", func(t *testing.T) {
		remote := hub
		remote.mark = answer(http.StatusForbidden, `{"error":"on loopback only","code":"FORBIDDEN"}`)
		r, at := verify(t, remote, edge)
		r.want(t, exitDone, head(2, at, "equal"), "hub-1 writes no mark now")
		remote.marks = []uint64{9}
		r, _ = verify(t, remote, edge)
		r.want(t, exitFailed, "", "share no mark", "the owner's machine")
	})
	t.Run("two lineages", func(t *testing.T) {
		other := edge
		other.lineage = strings.Repeat("f", 32)
		r, _ := verify(t, hub, other)
		r.want(t, exitFailed, "", "two namespaces of one name", testLineage, other.lineage, "operator namespace accept")
	})
	t.Run("not there", func(t *testing.T) {
		other := edge
		other.lineage = ""
		r, _ := verify(t, hub, other)
		r.want(t, exitFailed, "", "node edge-1", "is missing (GONE): it is gone")
		r = newHarness(t, hub.ServeHTTP).run("operator", "verify", "-namespace=orders", "-with=http://127.0.0.1:1")
		r.want(t, exitFailed, "", "http://127.0.0.1:1 can't be reached")
		h := newHarness(t, hub.ServeHTTP)
		h.run("operator", "verify", "-namespace=none", "-with="+h.env[envAddress]).want(t, exitFailed, "", `no namespace "none"`)
	})
	newHarness(t, hub.ServeHTTP).run("operator", "verify").want(t, exitUsage, "", "-with is missing")
}

// verify compares orders on its owner and on a hub that follows it.
func (g *operatorGroup) verify() {
	var got verification
	g.json(g.hubs[1], &got, "operator", "verify", "-namespace=orders", "-with="+g.hubs[0].URL())
	if !got.Equal || got.Namespace != "orders" || len(got.Nodes) != 2 || got.Nodes[0].NodeID != "hub-2" || got.Nodes[1].NodeID != "hub-1" {
		g.t.Errorf("compared %+v", got)
	}
}
