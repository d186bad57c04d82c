package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestSell: a seat is sold in one transaction that has the condition, and one that isn't free is
// an error. The page of the site runs the program on real nodes.
func TestSell(t *testing.T) {
	const position = "00000000000000000000000000000001:1:7"
	answer := `{"succeeded":true,"results":[{"success":true},{"success":true}]}`
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var txn struct {
			If   []struct{ Key, Value string }
			Then []struct{ Op, Type string }
		}
		if err := json.NewDecoder(r.Body).Decode(&txn); err != nil || r.URL.Path != "/api/v1/default/tx" ||
			len(txn.If) != 1 || txn.If[0].Key != "seat:1A" || len(txn.Then) != 2 || txn.Then[1].Type != "row" {
			t.Errorf("%s %s: %+v, %v", r.Method, r.URL.Path, txn, err)
		}
		w.Header().Set("X-Unisondb-Position", position)
		_, _ = w.Write([]byte(answer))
	}))
	defer hub.Close()
	listed := 0
	near := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at := r.Header.Get("X-Unisondb-At-Least"); at != position {
			t.Errorf("the list is read at %q", at)
		}
		listed++
		_, _ = w.Write([]byte(`{"items":[]}`))
	}))
	defer near.Close()
	theatre, err := open(hub.URL, near.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := theatre.run(t.Context(), []string{"sell", "1A", "Ada"}); err != nil || listed != 1 {
		t.Errorf("selling a free seat: %v, %d lists", err, listed)
	}
	answer = `{"succeeded":false,"results":[]}`
	if err := theatre.run(t.Context(), []string{"sell", "1A", "Grace"}); err == nil || !strings.Contains(err.Error(), "1A isn't free") {
		t.Errorf("selling it again: %v", err)
	}
	if err := theatre.run(t.Context(), []string{"sell"}); err == nil {
		t.Error("no arguments are taken")
	}
}
