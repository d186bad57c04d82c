package httpapi_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server/httpapi"
)

func TestACloseReachesRequestsWhoseBodyNobodyReads(t *testing.T) {
	begun := make(chan struct{})
	srv := httpapi.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	}), hclog.NewNullLogger())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the server has closed it
	if _, err := fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	} // the leak check at the end finds a handler that goes on
}

func TestADrainAnswersWhoWaitsForAPosition(t *testing.T) {
	f := newFixture(t)
	p := f.do("PUT", "/kv/a", putJSON("v")).position()
	p.LSN += 1000
	answered := make(chan answer, 1)
	go func() {
		answered <- f.do("GET", "/kv/a?wait=50s", "", header{httpapi.HeaderAtLeast, p.String()})
	}()
	f.waitInFlight(1)
	f.api.Drain()
	(<-answered).refused(503, httpapi.CodeShuttingDown)
}
