package client_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestFetch(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/below/v1/raft/peers?stale=true" || r.Header.Get("Authorization") != "Bearer t" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error":"none","code":"ROUTE_NOT_FOUND"}`))
			return
		}
		_, _ = w.Write([]byte("as it stands\x00"))
	}))
	defer server.Close()
	c, err := client.New(client.Config{Address: server.URL + "/below", Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b bytes.Buffer
	if err := c.Fetch(t.Context(), "/v1/raft/peers?stale=true", &b); err != nil || b.String() != "as it stands\x00" {
		t.Errorf("%q, %v", b.String(), err)
	}
	var answer *client.Error
	if err := c.Fetch(t.Context(), "/v1/none", &b); !errors.As(err, &answer) || answer.Code != "ROUTE_NOT_FOUND" {
		t.Errorf("%v", err)
	}
	if err := c.Fetch(t.Context(), "/v1/none?%zz", &b); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("%v", err)
	}
}
