package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/vectortest"
)

func TestAnswers(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	for _, c := range []struct{ method, body, want string }{
		{"upsert", `{"set":"s","metric":"l2","vectors":[{"id":"a","values":[0,0]},{"id":"b","values":[3,4],"metadata":{"k": "<x>"}}]}`, `{"success":true,"count":2,"created":true}`},
		{"upsert", `{"set":"s","metric":"l2","dimension":2,"vectors":[{"id":"c","values_base64":"AACAPwAAAAA="}]}`, `{"success":true,"count":1,"created":false}`},
		{"search", `{"set":"s","vector":[0,0],"k":2}`, `{"results":[{"id":"a","score":0},{"id":"c","score":1}],"metric":"l2","exact":true}`},
		{"search", `{"set":"s","vector":[0,0],"filter":{"field":"k","exists":true},"with_values":true}`, `{"results":[{"id":"b","score":5,"values":[3,4],"metadata":{"k":"\u003cx\u003e"}}],"metric":"l2","exact":true}`},
		{"search", `{"set":"s","id":"b","k":1,"metric":"dot","with_metadata":false}`, `{"results":[{"id":"c","score":3}],"metric":"dot","exact":true}`},
		{"search", `{"set":"s","vector_base64":"AACAPwAAAAA=","metric":"cosine","k":1}`, `{"results":[{"id":"c","score":1}],"metric":"cosine","exact":true}`},
		{"get", `{"set":"s","ids":["b","z","a"],"with_values":false}`, `{"vectors":[{"id":"b","found":true,"metadata":{"k":"\u003cx\u003e"}},{"id":"z","found":false},{"id":"a","found":true}]}`},
		{"delete", `{"set":"s","ids":["a","z"]}`, `{"success":true}`},
		{"search", `{"set":"s","vector":[0,0],"k":1}`, `{"results":[{"id":"c","score":1}],"metric":"l2","exact":true}`},
		{"delete", `{"set":"s","all":true}`, `{"success":true}`},
		{"delete", `{"set":"s","all":true}`, `{"success":true}`},
		{"info", ``, `{"sets":[],"memory_bytes":256,"memory_limit":67108864}`},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[1,2,3]}]}`, `{"success":true,"count":1,"created":true}`},
		{"get", `{"set":"s","ids":["b","a"]}`, `{"vectors":[{"id":"b","found":false},{"id":"a","found":true,"values":[1,2,3]}]}`},
	} {
		if got := n.must(t, m, "ns", c.method, []byte(c.body)); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.method, c.body, got, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	n.must(t, m, "ns", "upsert", []byte(`{"set":"s","vectors":[{"id":"a","values":[1,2]}]}`))
	long := strings.Repeat("x", 300)
	many := strings.TrimSuffix(strings.Repeat(`"a",`, maxIDs+1), ",")
	for _, c := range []struct{ method, body, code, want string }{
		{"upsert", ``, "BAD_REQUEST", "empty"},
		{"upsert", `[]`, "BAD_REQUEST", "send an object"},
		{"upsert", `{"set":"s"`, "BAD_REQUEST", "ends too early"},
		{"upsert", `{"set":"s","vectors":[]} x`, "BAD_REQUEST", "something follows"},
		{"upsert", "{\"set\":\"\xff\"}", "BAD_REQUEST", "no UTF-8"},
		{"upsert", `{"set":"s","vector":[]}`, "BAD_REQUEST", `unknown field "vector"`},
		{"upsert", `{"vectors":[{"id":"a","values":[1,2]}]}`, "BAD_REQUEST", "set: it is missing"},
		{"upsert", `{"set":"a b","vectors":[{"id":"a","values":[1,2]}]}`, "BAD_REQUEST", "letters, digits"},
		{"upsert", `{"set":"s","vectors":[]}`, "BAD_REQUEST", "use 1 to 1000"},
		{"upsert", `{"set":"s","vectors":[{"values":[1,2]}]}`, "BAD_REQUEST", "number 0: id: it is missing"},
		{"upsert", `{"set":"s","vectors":[{"id":"` + long + `","values":[1,2]}]}`, "BAD_REQUEST", "300 bytes, use 1 to 256"},
		{"upsert", `{"set":"s","vectors":[{"id":"a"}]}`, "BAD_REQUEST", "values are missing"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[]}]}`, "BAD_REQUEST", "it is empty"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[1,2,3]}]}`, "DIMENSION_MISMATCH", `vector "a" has 3 values, set "s" has vectors of 2`},
		{"upsert", `{"set":"s","dimension":3,"vectors":[{"id":"a","values":[1,2,3]}]}`, "DIMENSION_MISMATCH", "vectors of 2 values, not 3"},
		{"upsert", `{"set":"new","dimension":3,"vectors":[{"id":"a","values":[1,2]}]}`, "DIMENSION_MISMATCH", "of 3"},
		{"upsert", `{"set":"s","dimension":0,"vectors":[{"id":"a","values":[1]}]}`, "BAD_REQUEST", "use 1 to 4096"},
		{"upsert", `{"set":"s","metric":"l2","vectors":[{"id":"a","values":[1,2]}]}`, "BAD_REQUEST", "metric cosine, not l2"},
		{"upsert", `{"set":"s","metric":"hamming","vectors":[{"id":"a","values":[1,2]}]}`, "BAD_REQUEST", `"cosine", "dot" or "l2"`},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[0,0]}]}`, "BAD_REQUEST", "all zeros"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[1e39,0]}]}`, "BAD_REQUEST", "32-bit float"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[1,"2"]}]}`, "BAD_REQUEST", "32-bit float"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values_base64":"AADAfwAAAAA="}]}`, "BAD_REQUEST", "value 0 is NaN"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values_base64":"AACAfwAAAAA="}]}`, "BAD_REQUEST", "value 0 is +Inf"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values_base64":"AAA="}]}`, "BAD_REQUEST", "4 for each value"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values_base64":"!"}]}`, "BAD_REQUEST", "standard base64"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[1,2],"values_base64":"AACAPwAAAAA="}]}`, "BAD_REQUEST", "use one of them"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[1,2]},{"id":"a","values":[1,2]}]}`, "BAD_REQUEST", `id "a" is there twice`},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[1,2],"metadata":[1]}]}`, "BAD_REQUEST", "no JSON object"},
		{"upsert", `{"set":"s","vectors":[{"id":"a","values":[1,2],"metadata":{"a":"` + strings.Repeat("y", 70_000) + `"}}]}`, "BAD_REQUEST", "use at most 65536"},
		{"search", `{"set":"s"}`, "BAD_REQUEST", "what to search for"},
		{"search", `{"set":"s","vector":[1,2],"id":"a"}`, "BAD_REQUEST", "what to search for"},
		{"search", `{"set":"s","vector":[1,2],"k":0}`, "BAD_REQUEST", "use 1 to 1000"},
		{"search", `{"set":"s","vector":[1,2],"k":1001}`, "BAD_REQUEST", "use 1 to 1000"},
		{"search", `{"set":"s","vector":[1,2],"k":1.5}`, "BAD_REQUEST", "whole number"},
		{"search", `{"set":"s","vector":[1]}`, "DIMENSION_MISMATCH", "has 1 values"},
		{"search", `{"set":"s","vector":[0,0]}`, "BAD_REQUEST", "all zeros"},
		{"search", `{"set":"s","vector":[1,2],"metric":"x"}`, "BAD_REQUEST", "metric"},
		{"search", `{"set":"s","vector":[1,2],"filter":{"field":"a"}}`, "BAD_REQUEST", "filter: "},
		{"search", `{"set":"s","vector":[1,2],"filter":[]}`, "BAD_REQUEST", "filter: "},
		{"search", `{"set":"t","vector":[1,2]}`, "SET_NOT_FOUND", `no set "t"`},
		{"search", `{"set":"s","id":"z"}`, "VECTOR_NOT_FOUND", `no vector "z"`},
		{"get", `{"set":"s","ids":[]}`, "BAD_REQUEST", "use 1 to 500"},
		{"get", `{"set":"s","ids":[` + many + `]}`, "BAD_REQUEST", "use 1 to 500"},
		{"get", `{"set":"s","ids":[""]}`, "BAD_REQUEST", "number 0"},
		{"get", `{"set":"t","ids":["a"]}`, "SET_NOT_FOUND", `no set "t"`},
		{"delete", `{"set":"s"}`, "BAD_REQUEST", "use 1 to 500"},
		{"delete", `{"set":"s","ids":["a"],"all":true}`, "BAD_REQUEST", "use one of them"},
		{"info", `{"set":"t"}`, "SET_NOT_FOUND", `no set "t"`},
	} {
		_, err := n.ask(m, "ns", c.method, []byte(c.body))
		var refused *datamodel.Error
		switch {
		case !errors.As(err, &refused):
			t.Errorf("%s %.80s: %v", c.method, c.body, err)
		case refused.Code != c.code || !strings.Contains(refused.Message, c.want) || refused.Status < 400:
			t.Errorf("%s %.80s: %d %s %q, want %s and %q", c.method, c.body, refused.Status, refused.Code, refused.Message, c.code, c.want)
		}
	}
}

// vectors is an upsert's list.
func vectors(all [][]float32, first int) []any {
	var list []any
	for i, x := range all {
		list = append(list, object{"id": fmt.Sprint("v", first+i), "values": x, "metadata": object{"n": (first + i) % 10}})
	}
	return list
}

// TestFirstUpsertsAtOnce: of two that make a set with other settings one wins, and
// the other one is told.
func TestFirstUpsertsAtOnce(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	call := func(body string) (datamodel.Answer, error) {
		return m.Call(context.Background(), datamodel.Call{Namespace: "ns", Method: "upsert", Body: []byte(body), View: n.View("ns")})
	}
	two, three := `{"set":"s","vectors":[{"id":"a","values":[1,2]}]}`, `{"set":"s","vectors":[{"id":"b","values":[1,2,3]}]}`
	one, err := call(two)
	if err != nil {
		t.Fatal(err)
	}
	late, err := call(three)
	if err != nil {
		t.Fatal(err)
	}
	if !n.commit("ns", one) || n.commit("ns", late) {
		t.Fatal("the second of two first upserts doesn't conflict")
	}
	if _, err := call(three); err == nil || !strings.Contains(err.Error(), "vectors of 2") {
		t.Errorf("called again: %v", err)
	}
}

// TestUpsertMeetsDrop: a vector that was added while its set was deleted doesn't come
// back with the next set of that name.
func TestUpsertMeetsDrop(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	n.must(t, m, "ns", "upsert", []byte(`{"set":"s","vectors":[{"id":"a","values":[1,2]}]}`))
	call := func(method, body string) datamodel.Answer {
		a, err := m.Call(context.Background(), datamodel.Call{Namespace: "ns", Method: method, Body: []byte(body), View: n.View("ns")})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	drop := call("delete", `{"set":"s","all":true}`)
	if !n.commit("ns", call("upsert", `{"set":"s","vectors":[{"id":"late","values":[5,6]}]}`)) || !n.commit("ns", drop) {
		t.Fatal("they conflict")
	}
	n.must(t, m, "ns", "upsert", []byte(`{"set":"s","metric":"l2","vectors":[{"id":"b","values":[1,2,3]}]}`))
	want := `{"results":[{"id":"b","score":0}],"metric":"l2","exact":true}`
	for _, who := range []*Model{m, modelOn(t, n, "64MiB")} {
		if got := n.must(t, who, "ns", "search", []byte(`{"set":"s","vector":[1,2,3]}`)); got != want {
			t.Errorf("search: %s, want %s", got, want)
		}
	}
	if got := n.must(t, m, "ns", "get", []byte(`{"set":"s","ids":["late"]}`)); got != `{"vectors":[{"id":"late","found":false}]}` {
		t.Errorf("get: %s", got)
	}
}

// TestPagesOutOfOrder: while an index is built, a vector of a set that was made anew
// may come before the set's settings.
func TestPagesOutOfOrder(t *testing.T) {
	item := func(key []byte, value []byte) datamodel.Item {
		return datamodel.Item{Key: key, Value: value, Version: "1"}
	}
	settings := func(incarnation uint64, dimension int) datamodel.Item {
		return item(cell.SettingsKey("s"), cell.Settings{Metric: 3, Dimension: dimension, Incarnation: incarnation}.Encode())
	}
	vector := func(id string, incarnation uint64, values ...float32) datamodel.Item {
		return item(cell.VectorKey("s", id), cell.Vector{Incarnation: incarnation, Values: values}.Encode())
	}
	c := newCache(1<<20, nil)
	defer c.close()
	s := &space{cache: c, namespace: "ns", sets: map[string]*set{}}
	if err := s.apply([]datamodel.Item{
		settings(1, 2), vector("old", 1, 1, 2), vector("new", 2, 1, 2, 3), vector("gone", 2, 3, 2, 1),
		{Key: cell.VectorKey("s", "gone")}, settings(2, 3), vector("older", 1, 7, 7),
	}); err != nil {
		t.Fatal(err)
	}
	one := s.sets["s"]
	if _, ok := one.rows.Get("new"); !ok || one.rows.Len() != 1 || len(one.ahead) != 0 {
		t.Errorf("the set has %d vectors, %d are ahead", one.rows.Len(), len(one.ahead))
	}
}

// TestDamagedCell: a cell that can't be read is told, and the index is right once it
// is repaired.
func TestDamagedCell(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	n.must(t, m, "ns", "upsert", []byte(`{"set":"s","metric":"l2","vectors":[{"id":"a","values":[1,2]},{"id":"b","values":[1,3]}]}`))
	search := []byte(`{"set":"s","vector":[1,2],"k":1}`)
	want := n.must(t, m, "ns", "search", search)
	put := func(value []byte) {
		n.commit("ns", datamodel.Answer{Operations: []datamodel.Operation{{Key: cell.VectorKey("s", "a"), Value: value}}})
	}
	put([]byte{9})
	for range 2 {
		if _, err := n.ask(m, "ns", "search", search); !errors.Is(err, cell.ErrDamaged) || !strings.Contains(err.Error(), `vector "a"`) {
			t.Fatalf("search: %v", err)
		}
	}
	put(cell.Vector{Incarnation: 1, Values: []float32{1, 2}}.Encode())
	if got := n.must(t, m, "ns", "search", search); got != want {
		t.Errorf("after the repair: %s, want %s", got, want)
	}
}

// TestMemory: idle indexes are let go and come back; one that is too large is refused
// in words.
func TestMemory(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "1MiB")
	var clock atomic.Int64 // each look takes a second
	m.cache.now = func() time.Time { return time.Unix(0, clock.Add(int64(time.Second))) }
	bulk := func(first int) []any { // metadata of 0.3 MB, and as much of attributes
		var list []any
		for i := first; i < first+10; i++ {
			list = append(list, object{"id": fmt.Sprint("v", i), "values": []int{i, 1}, "metadata": object{"text": strings.Repeat("x", 30_000)}})
		}
		return list
	}
	want := map[string]string{}
	search := object{"set": "s", "vector": []int{3, 2}, "k": 3, "with_metadata": false}
	for round := range 2 {
		for _, ns := range []string{"one", "two", "three"} {
			if round == 0 {
				n.must(t, m, ns, "upsert", object{"set": "s", "vectors": bulk(0)})
				want[ns] = n.must(t, m, ns, "search", search)
			} else if got := n.must(t, m, ns, "search", search); got != want[ns] {
				t.Errorf("%s: built again, the index answers %s instead of %s", ns, got, want[ns])
			}
			if used, limit := m.cache.memory(); used > limit || used < 600_000 {
				t.Errorf("%d bytes of %d are used", used, limit)
			}
		}
	}
	n.must(t, m, "one", "upsert", object{"set": "s", "vectors": bulk(10)})
	_, err := n.ask(m, "one", "search", search)
	var refused *datamodel.Error
	if !errors.As(err, &refused) || refused.Code != codeTooLarge || !strings.Contains(refused.Message, "raise memory") {
		t.Fatalf("twice as much: %v", err)
	}
	synced := n.synced
	if _, again := n.ask(m, "one", "search", search); again == nil || again.Error() != err.Error() || n.synced != synced {
		t.Fatalf("at once again: %v", again)
	}
	clock.Add(int64(time.Hour))
	n.must(t, m, "two", "search", search)
	n.must(t, m, "one", "delete", object{"set": "s", "all": true})
	n.must(t, m, "one", "upsert", object{"set": "s", "vectors": bulk(0)})
	if got := n.must(t, m, "one", "search", search); got != want["one"] {
		t.Errorf("after the delete: %s", got)
	}
}

// TestAtOnce: searches while vectors come and go answer from one state each, and in
// the end the same as a program that has seen nothing of it.
func TestAtOnce(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	all := vectortest.Gaussian(rand.New(rand.NewPCG(2, 2)), 400, 16)
	n.must(t, m, "ns", "upsert", object{"set": "s", "vectors": vectors(all[:100], 0)})
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(w)))
			for range 25 {
				first := r.IntN(30) * 10
				body := object{"set": "s", "vectors": vectors(all[first:first+10], first)}
				method := "upsert"
				if r.IntN(3) == 0 { // ten at once, whole
					var ids []string
					for i := range 10 {
						ids = append(ids, fmt.Sprint("v", first+i))
					}
					method, body = "delete", object{"set": "s", "ids": ids}
				}
				if _, err := n.ask(m, "ns", method, body); err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
		})
		readers.Go(func() {
			for i := range 25 {
				a, err := n.ask(m, "ns", "search", object{"set": "s", "vector": all[i], "k": 1000})
				if err != nil {
					t.Errorf("search: %v", err)
					return
				}
				var body struct{ Results []struct{ ID string } }
				if err := json.Unmarshal(a.Body, &body); err != nil || len(body.Results)%10 != 0 {
					t.Errorf("%d vectors of records of ten at LSN %d, %v", len(body.Results), a.Position.LSN, err)
				}
			}
		})
	}
	writers.Wait()
	readers.Wait()
	query := object{"set": "s", "vector": all[0], "k": 1000, "with_values": true}
	if got, want := n.must(t, m, "ns", "search", query), n.must(t, modelOn(t, n, "64MiB"), "ns", "search", query); got != want {
		t.Errorf("the program answers\n%.300s\nand a fresh one\n%.300s", got, want)
	}
}

// pausing is a view whose Sync looks around before each page but the first.
type pausing struct {
	fakeView

	between func()
}

// Sync implements datamodel.View.
func (v pausing) Sync(ctx context.Context, from datamodel.Position, fn func(bool, []datamodel.Item) error) (datamodel.Position, error) {
	pages := 0
	return v.fakeView.Sync(ctx, from, func(reset bool, items []datamodel.Item) error {
		if pages++; pages > 1 {
			v.between()
		}
		return fn(reset, items)
	})
}

// TestNobodySeesHalf: from the first page that brings something new to the last one
// nobody reads, so that no search sees a part of a record; before it, a search may.
func TestNobodySeesHalf(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	all := vectortest.Gaussian(rand.New(rand.NewPCG(1, 2)), 50, 3)
	c := newCache(1<<30, hclog.NewNullLogger())
	defer c.close()
	s := &space{cache: c, namespace: "ns"}
	for i := range 2 {
		n.must(t, m, "ns", "upsert", object{"set": "s", "vectors": vectors(all, i*50)})
		pauses := 0
		err := s.catchUp(context.Background(), pausing{fakeView{n, "ns"}, func() {
			if pauses++; s.mu.TryRLock() {
				s.mu.RUnlock()
				t.Error("a search could read between two pages")
			}
		}})
		if err != nil || pauses < 5 {
			t.Fatalf("%d pauses, %v", pauses, err)
		}
		if at, ok, _ := s.read(func(map[string]*set) error { return nil }); !ok || at.LSN != uint64(i*50+51) {
			t.Errorf("the index is at LSN %d", at.LSN)
		}
	}
}

// TestImpatientCaller: the work goes on where the first caller has gone.
func TestImpatientCaller(t *testing.T) {
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	n.must(t, m, "ns", "upsert", []byte(`{"set":"s","metric":"l2","vectors":[{"id":"a","values":[1,2]}]}`))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	call := datamodel.Call{Namespace: "ns", Method: "search", Body: []byte(`{"set":"s","vector":[1,2]}`), View: n.View("ns")}
	if _, err := m.Call(ctx, call); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	n.must(t, m, "ns", "search", call.Body)
}

func FuzzRequest(f *testing.F) {
	f.Add("upsert", []byte(`{"set":"s","vectors":[{"id":"a","values":[1,2],"metadata":{"a":[1]}}]}`))
	f.Add("search", []byte(`{"set":"s","vector":[1,2],"k":3,"filter":{"not":{"field":"a","gt":1}}}`))
	f.Add("get", []byte(`{"set":"s","ids":["a"]}`))
	f.Add("delete", []byte(`{"set":"s","all":true}`))
	f.Add("info", []byte(``))
	n := newFakeNode()
	m := modelOn(f, n, "64MiB")
	n.must(f, m, "ns", "upsert", []byte(`{"set":"s","vectors":[{"id":"a","values":[1,2]}]}`))
	f.Fuzz(func(t *testing.T, method string, body []byte) {
		_, err := m.Call(context.Background(), datamodel.Call{Namespace: "ns", Method: method, Body: body, View: n.View("ns")})
		var refused *datamodel.Error
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("%s %q: %v", method, body, err)
		}
	})
}
