package model

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/datamodel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/cell"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/index"
	"github.com/unisondb/unisondb/plugins/model/vector/internal/vectortest"
)

// BenchmarkVectorSearch searches 100,000 vectors of 384 dimensions: through the
// program's Call over gRPC on a socket, from one client and from two at once, and in
// the index alone. The first call builds the index from the namespace's cells.
func BenchmarkVectorSearch(b *testing.B) {
	const rows, dimension, queries = 100_000, 384, 100
	for _, data := range []struct {
		name   string
		metric index.Metric
		make   func(r *rand.Rand, n int) [][]float32
	}{
		{"clustered", index.Cosine, func(r *rand.Rand, n int) [][]float32 { return vectortest.Clustered(r, n, dimension, 1000) }},
		{"offset", index.Cosine, func(r *rand.Rand, n int) [][]float32 { return vectortest.Offset(r, n, dimension) }},
		{"gaussian", index.Cosine, func(r *rand.Rand, n int) [][]float32 { return vectortest.Gaussian(r, n, dimension) }},
	} {
		b.Run(data.name+"/"+data.metric.String(), func(b *testing.B) {
			all := data.make(rand.New(rand.NewPCG(1, 2)), rows+queries)
			n := newFakeNode()
			n.page = 500
			client := overSockets(b, n)
			fill(n.space("default"), data.metric, all[:rows])
			bench := searchBench{b: b, client: client, queries: all[rows:]}
			for b.Loop() {
				began := time.Now()
				bench.call(all[rows])
				b.ReportMetric(time.Since(began).Seconds(), "first-s")
				runtime.GC()
				bench.latency("1client", 1)
				bench.latency("2clients", 2)
				n.space("default").cells = nil // it isn't the plugin's
				bench.inIndex(data.metric, all[:rows])
			}
		})
	}
}

// fill writes the cells of a set "bench".
func fill(s *fakeSpace, m index.Metric, all [][]float32) {
	settings := cell.Settings{Metric: uint8(m), Dimension: len(all[0]), Incarnation: 1}
	put := func(key, value []byte) {
		s.cells[string(key)] = datamodel.Item{Key: key, Value: value, Version: "1"}
	}
	put(cell.SettingsKey("bench"), settings.Encode())
	for i, x := range all {
		put(cell.VectorKey("bench", fmt.Sprint("v", i)), cell.Vector{Incarnation: 1, Values: x, Metadata: []byte(`{"lang":"en"}`)}.Encode())
	}
}

type searchBench struct {
	b       *testing.B
	client  pluginv1.DataModelClient
	queries [][]float32
	found   [][]string // by the queries, through Call
}

func (s *searchBench) call(x []float32) []string {
	body, err := json.Marshal(object{"set": "bench", "k": 10, "vector_base64": base64.StdEncoding.EncodeToString(cell.AppendFloats(nil, x))})
	if err != nil {
		s.b.Error(err)
		return nil
	}
	r, err := s.client.Call(context.Background(), &pluginv1.CallRequest{Namespace: "default", Method: "search", Body: body})
	if err != nil || r.GetStatus() >= 300 {
		s.b.Errorf("%v, %s", err, r.GetBody())
		return nil
	}
	var a struct{ Results []struct{ ID string } }
	if err := json.Unmarshal(r.GetBody(), &a); err != nil {
		s.b.Error(err)
	}
	var ids []string
	for _, one := range a.Results {
		ids = append(ids, one.ID)
	}
	return ids
}

// latency makes all queries from so many clients at once.
func (s *searchBench) latency(name string, clients int) {
	s.found = make([][]string, len(s.queries))
	took := make([]time.Duration, len(s.queries))
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := c; i < len(s.queries); i += clients {
				began := time.Now()
				s.found[i] = s.call(s.queries[i])
				took[i] = time.Since(began)
			}
		})
	}
	all.Wait()
	s.report(name, took)
}

func (s *searchBench) report(name string, took []time.Duration) {
	slices.Sort(took)
	s.b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, name+"-p50-ms")
	s.b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, name+"-p95-ms")
}

// inIndex measures the index alone, and compares what Call found with the truth.
func (s *searchBench) inIndex(m index.Metric, all [][]float32) {
	began := time.Now()
	set := index.NewSet(m, len(all[0]))
	for i, x := range all {
		set.Put(index.Vector{ID: fmt.Sprint("v", i), Values: x})
	}
	set.Refresh()
	s.b.ReportMetric(time.Since(began).Seconds(), "build-s")
	s.b.ReportMetric(float64(set.Memory())/(1<<20), "index-MiB")
	took := make([]time.Duration, len(s.queries))
	right := 0
	for i, x := range s.queries {
		for _, h := range set.Search(index.Query{Vector: x, K: 10, Metric: m, Exact: true}).Hits {
			if slices.Contains(s.found[i], h.ID) {
				right++
			}
		}
	}
	cpu := cpuTime()
	for i, x := range s.queries {
		began := time.Now()
		set.Search(index.Query{Vector: x, K: 10, Metric: m})
		took[i] = time.Since(began)
	}
	s.report("index", took)
	s.b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/1000/float64(len(took)), "index-cpu-ms")
	s.b.ReportMetric(float64(right)/float64(10*len(s.queries)), "recall@10")
}

// cpuTime is what this process has used, on a machine that has other things to do.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
