package server_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/servertest"
)

func TestWaitingRequestsDontHoldAStop(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default")
	parts := strings.Split(hub.Put("default", "a", "1"), ":")
	future := parts[0] + ":" + parts[1] + ":1000000"
	for _, request := range []string{
		"GET /api/v1/default/kv/a?wait=5m HTTP/1.1\r\n",
		"POST /api/v1/default/kv/batch?wait=5m HTTP/1.1\r\nContent-Length: 1000000\r\n", // and no body
	} {
		conn, err := net.Dial("tcp", hub.Addresses().HTTP)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // the node has closed it
		if _, err := fmt.Fprintf(conn, "%sHost: x\r\n%s: %s\r\n\r\n", request, httpapi.HeaderAtLeast, future); err != nil {
			t.Fatal(err)
		}
	}
	servertest.WaitFor(t, "the requests are under way", func() bool {
		return strings.Contains(string(hub.Do("GET", "/metrics", nil).Body), "unisondb_http_requests_in_flight 3")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	start := time.Now()
	if err := hub.Shutdown(ctx); err != nil {
		t.Errorf("a clean stop: %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
}
