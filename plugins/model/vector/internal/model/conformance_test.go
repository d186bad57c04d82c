package model

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// object is a JSON object.
type object = map[string]any

func TestConformance(t *testing.T) {
	vector := func(id string, values ...float64) object {
		return object{"id": id, "values": values, "metadata": object{"n": len(id), "tags": []string{"x", id}}}
	}
	sdktest.DataModel(t, func(*testing.T) datamodel.Program { return Program("0.0.0") }, sdktest.ModelOptions{
		Config: object{"memory": "64MiB"},
		BadConfigs: []sdktest.BadConfig{
			{Config: object{"memory": "many"}, Path: "memory"},
			{Config: object{"memory": "1KiB"}, Path: "memory"},
			{Config: object{"memroy": "1GiB"}, Path: "memroy"},
		},
		Writes: []sdktest.Request{
			{Method: "upsert", Body: object{"set": "a", "vectors": []any{vector("one", 1, 0), vector("two", 0, 1), vector("three", 1, 1)}}},
			{Method: "upsert", Body: object{"set": "b", "metric": "l2", "dimension": 3, "vectors": []any{vector("one", 1, 0, 2)}}},
			{Method: "upsert", Body: object{"set": "a", "vectors": []any{vector("two", 1, -1), vector("four", 3, 1)}}},
			{Method: "delete", Body: object{"set": "a", "ids": []string{"three", "absent"}}},
			{Method: "delete", Body: object{"set": "b", "all": true}},
			{Method: "upsert", Body: object{"set": "b", "metric": "dot", "vectors": []any{vector("five", 1, 2, 3, 4)}}},
		},
		Queries: []sdktest.Request{
			{Method: "search", Body: object{"set": "a", "vector": []float64{1, 0.5}, "with_values": true}},
			{Method: "search", Body: object{"set": "a", "vector": []float64{1, 0.5}, "filter": object{"field": "tags", "eq": "one"}}},
			{Method: "search", Body: object{"set": "b", "vector": []float64{1, 2, 3, 4}}},
			{Method: "search", Body: object{"set": "a", "id": "one", "metric": "l2"}},
			{Method: "get", Body: object{"set": "a", "ids": []string{"one", "two", "three"}}},
			{Method: "get", Body: object{"set": "b", "ids": []string{"one", "five"}}},
		},
		BadRequests: []sdktest.Request{
			{Method: "search", Body: object{"set": "none", "vector": []float64{1}}},
			{Method: "get", Body: object{"set": "none", "ids": []string{"a"}}},
			{Method: "upsert", Body: object{"set": "a"}},
			{Method: "delete", Body: object{"set": "a"}},
			{Method: "upsert", Body: []byte(`{"set":"a","vectors":[{"id":"a","values":[1e999]}]}`)},
		},
	})
}
