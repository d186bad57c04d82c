package server_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/servertest"
)

// vectorModel lets a node run the data model "vector" in the namespace default.
func vectorModel(cfg config.Config, plugins string) config.Config {
	cfg.PluginDir = plugins
	cfg.Models = []config.Model{{Name: "vector", Namespaces: []string{"default"}, Program: config.Program{MemoryLimit: 512 << 20}}}
	return cfg
}

// buildModel builds a data model where a node looks for it.
func buildModel(t *testing.T, name string) (plugins string) {
	t.Helper()
	plugins = t.TempDir()
	out, err := exec.Command("go", "build", "-o", filepath.Join(plugins, "model-"+name), "github.com/unisondb/unisondb/plugins/model/"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("build model %s: %v\n%s", name, err, out)
	}
	return plugins
}

// callVector calls the model, once its program is ready.
func callVector(t *testing.T, n *servertest.Node, method string, body any, headers ...servertest.Header) servertest.Response {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var r servertest.Response
	servertest.WaitFor(t, "the model is ready", func() bool {
		r = n.Do("POST", "/api/v1/default/model/vector/"+method, encoded, headers...)
		return r.Status != 503 && r.Status != 404
	})
	if r.Status != 200 {
		t.Fatalf("%s on %s: %d %s", method, n.ID(), r.Status, r.Body)
	}
	return r
}

// encodedVector is a vector at random.
func encodedVector(r *rand.Rand, dimension int) string {
	b := make([]byte, 0, 4*dimension)
	for range dimension {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(r.NormFloat64())))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// TestVectorsAnswerTheSameEverywhere: the owner, a replica, and that after a restart
// answer the same bytes at one position, from a set that is large enough to be
// searched by sketches. The first two have seen it grow, the last one hasn't.
func TestVectorsAnswerTheSameEverywhere(t *testing.T) {
	const dimension, batches, each = 1024, 3, 700
	plugins := buildModel(t, "vector")
	hub := servertest.Run(t, server.RoleHub, vectorModel(servertest.Config(t, "hub", "default"), plugins))
	edge := vectorModel(servertest.Config(t, "edge"), plugins)
	edge.Relayer = &config.Relayer{Upstreams: []config.Upstream{{
		Name: "up", Addresses: []string{hub.Addresses().GRPC}, Namespaces: []string{"default"},
	}}}
	relayer := servertest.Run(t, server.RoleRelayer, edge)
	r := rand.New(rand.NewPCG(4, 4))

	var position string
	write := func(method string, body any) {
		position = callVector(t, hub, method, body).Header.Get("X-Unisondb-Position")
	}
	query := map[string]any{"set": "docs", "vector_base64": encodedVector(r, dimension), "k": 20}
	filtered := map[string]any{"set": "docs", "id": "v7", "k": 20, "filter": map[string]any{"field": "n", "gte": 3}}
	answers := func(n *servertest.Node) (all string) {
		for _, q := range []any{query, filtered} {
			got := callVector(t, n, "search", q, servertest.Header{Name: "X-Unisondb-At-Least", Value: position})
			if p := got.Header.Get("X-Unisondb-Position"); p != position {
				t.Errorf("%s answers from %s, want %s", n.ID(), p, position)
			}
			all += string(got.Body)
		}
		return all
	}
	for batch := range batches {
		var vectors []any
		for i := range each {
			vectors = append(vectors, map[string]any{
				"id": fmt.Sprint("v", batch*each+i), "values_base64": encodedVector(r, dimension), "metadata": map[string]any{"n": i % 7},
			})
		}
		write("upsert", map[string]any{"set": "docs", "vectors": vectors})
		write("delete", map[string]any{"set": "docs", "ids": []string{fmt.Sprint("v", batch*each+11)}})
		answers(hub)
		answers(relayer)
	}
	want := answers(hub)
	var body struct {
		Results []struct{ ID string }
		Exact   bool
	}
	if err := json.Unmarshal(callVector(t, hub, "search", query).Body, &body); err != nil || body.Exact || len(body.Results) != 20 {
		t.Fatalf("exact %v, %d results, %v: the test needs sketches", body.Exact, len(body.Results), err)
	}
	same := func(who string) {
		t.Helper()
		if got := answers(relayer); got != want {
			t.Errorf("%s answers\n%.400s\nthe hub\n%.400s", who, got, want)
		}
	}
	same("the replica")
	if w := relayer.Do("POST", "/api/v1/default/model/vector/delete", []byte(`{"set":"docs","all":true}`)); w.Status != 403 {
		t.Errorf("a write on a replica: %d %s", w.Status, w.Body)
	}
	relayer.Restart()
	relayer.WaitReady()
	same("the replica, restarted,")
}
