package config

import (
	"strings"
	"testing"
	"time"
)

func TestCatalogEntry(t *testing.T) {
	n, m, err := CatalogEntry{Kind: CatalogNotifier, Type: "webhook", Name: "orders", Arguments: map[string]any{
		"namespaces": []any{"orders"}, "max_delay": "20ms", "max_batch": 10.0,
		"config": map[string]any{"url": "https://example.com/hook", "secret": `${env("HOME")} and %{ if true }`},
	}}.Resolve()
	if err != nil || m != nil {
		t.Fatalf("%v, %v", m, err)
	}
	if n.Type != "webhook" || n.Name != "orders" || n.RunOn != "owner" || n.MaxDelay != 20*time.Millisecond || n.MaxBatch != 10 ||
		n.Config["secret"] != `${env("HOME")} and %{ if true }` {
		t.Errorf("%+v", n)
	}
	if _, m, err = (CatalogEntry{Kind: CatalogModel, Name: "vector", Arguments: map[string]any{"namespaces": []any{"a"}}}).Resolve(); err != nil || m.Name != "vector" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestCatalogEntryRefuses(t *testing.T) {
	for name, e := range map[string]CatalogEntry{
		"notifier":              {Kind: "notifier", Name: "x"},
		"kind":                  {Kind: "other", Type: "t", Name: "x"},
		"max_dely":              {Kind: "notifier", Type: "mine", Name: "x", Arguments: map[string]any{"namespaces": []any{"a"}, "max_dely": "1s"}},
		"namespaces is missing": {Kind: "model", Name: "x"},
		"url":                   {Kind: "notifier", Type: "webhook", Name: "x", Arguments: map[string]any{"namespaces": []any{"a"}, "config": map[string]any{}}},
	} {
		if n, m, err := e.Resolve(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v, %v", name, n, m, err)
		}
	}
}
