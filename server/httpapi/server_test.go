package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

// TestAShutdownDoesntWaitForConnectionsThatSayNothing, by the clock of the test: clients make some
// that they then don't need.
func TestAShutdownDoesntWaitForConnectionsThatSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := httpapi.NewServer(http.NotFoundHandler(), hclog.NewNullLogger())
		ln := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- srv.Serve(ln) }()
		client, server := net.Pipe()
		ln.conns <- server
		synctest.Wait()
		began := time.Now()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the connection: %v", err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
