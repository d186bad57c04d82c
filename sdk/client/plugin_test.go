package client_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestModelAnswer(t *testing.T) {
	node := newFakeNode(t,
		bytesAnswer(http.StatusOK, "\x00\x01"),
		jsonAnswer(http.StatusNotFound, `{"error":"no data model \"x\"","code":"MODEL_NOT_FOUND"}`),
		jsonAnswer(http.StatusNotFound, `{"error":"no method \"x\"","code":"METHOD_NOT_FOUND"}`),
		jsonAnswer(http.StatusServiceUnavailable, `{"error":"degraded","code":"PLUGIN_UNAVAILABLE"}`),
		jsonAnswer(http.StatusConflict, `{"error":"a dimension of 3","code":"DIMENSION"}`))
	c := node.client(t)
	got, err := c.CallModel(t.Context(), "vector", "get", client.ModelCall{})
	if err != nil || string(got.Body) != "\x00\x01" || got.ContentType != "application/octet-stream" || got.Position != mustPosition(t, position7) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, want := range []error{client.ErrModelNotFound, client.ErrModelNotFound, client.ErrPluginUnavailable, client.ErrConflict} {
		if _, err := c.CallModel(t.Context(), "vector", "get", client.ModelCall{}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	var e *client.Error
	if _, err := c.CallModel(t.Context(), "vector", "get", client.ModelCall{}); !errors.As(err, &e) || e.Code != "DIMENSION" {
		t.Errorf("a model's own error: %v", err)
	}
	if _, err := c.CallModel(t.Context(), "", "get", client.ModelCall{}); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("no name: %v", err)
	}
}

func TestPluginAnswers(t *testing.T) {
	node := newFakeNode(t,
		jsonAnswer(http.StatusOK, `[{"name":"orders","type":"webhook","state":"degraded","reason":"gone","restarts":3,"namespaces":[{"name":"a","lag_records":7}]}]`),
		jsonAnswer(http.StatusOK, `[{"id":"i","namespace":"a","refusals":10,"event":{"key":"k"}}]`),
		jsonAnswer(http.StatusOK, `{"accepted":2,"left":1}`),
		jsonAnswer(http.StatusOK, `{"success":true,"changed":["log level: debug, was info"]}`),
		jsonAnswer(http.StatusConflict, `{"error":"nothing was changed","code":"CONFIG_FIXED"}`),
		jsonAnswer(http.StatusNotFound, `{"error":"no plugin","code":"PLUGIN_NOT_FOUND"}`))
	c, ctx := node.client(t), t.Context()
	if all, err := c.Plugins(ctx); err != nil || len(all) != 1 || all[0].State != "degraded" || all[0].Restarts != 3 || all[0].Namespaces[0].LagRecords != 7 {
		t.Errorf("plugins: %+v, %v", all, err)
	}
	if all, err := c.DeadLetters(ctx, "orders"); err != nil || len(all) != 1 || string(all[0].Event) != `{"key":"k"}` || all[0].Refusals != 10 {
		t.Errorf("dead letters: %+v, %v", all, err)
	}
	if accepted, left, err := c.RetryDeadLetters(ctx, "orders"); err != nil || accepted != 2 || left != 1 {
		t.Errorf("retry: %d, %d, %v", accepted, left, err)
	}
	if changed, err := c.Reload(ctx); err != nil || len(changed) != 1 {
		t.Errorf("reload: %v, %v", changed, err)
	}
	if _, err := c.Reload(ctx); err == nil || errors.Is(err, client.ErrConflict) {
		t.Errorf("a refused reload is no conflict of a transaction: %v", err)
	}
	if _, err := c.Plugin(ctx, "x"); !errors.Is(err, client.ErrPluginNotFound) || errors.Is(err, client.ErrNotFound) {
		t.Errorf("unknown plugin: %v", err)
	}
}
