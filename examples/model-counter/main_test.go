package main

import (
	"testing"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/sdktest"
)

func TestModel(t *testing.T) {
	add := func(name string, by int) sdktest.Request {
		return sdktest.Request{Method: "add", Body: map[string]any{"name": name, "by": by}}
	}
	sum := func(name string) sdktest.Request {
		return sdktest.Request{Method: "sum", Body: map[string]any{"name": name}}
	}
	sdktest.DataModel(t, func(*testing.T) datamodel.Program { return program() }, sdktest.ModelOptions{
		Config: map[string]any{"limit": 1000},
		BadConfigs: []sdktest.BadConfig{
			{Name: "no limit", Config: map[string]any{"limit": 0}, Path: "limit"},
			{Name: "a word", Config: map[string]any{"limit": "many"}, Path: "limit"},
		},
		Writes:      []sdktest.Request{add("a", 1), add("b", 2), add("a", -5), add("ü", 7)},
		Queries:     []sdktest.Request{sum("a"), sum("b"), sum("ü"), sum("none")},
		BadRequests: []sdktest.Request{add("", 1), sum(""), add("a", 1001), {Method: "add", Body: []byte("{")}},
	})
}
