package httpapi

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Server is an HTTP server whose every error is JSON, also of what isn't HTTP.
type Server struct {
	*http.Server
	cut context.CancelFunc

	mu       sync.Mutex
	fresh    map[net.Conn]struct{} // connections that have said nothing yet
	stopping bool
}

// Serve is as that of http.Server.
func (s *Server) Serve(ln net.Listener) error { return s.Server.Serve(listener{ln}) }

// Shutdown is as that of http.Server, but for connections that have said nothing yet: they are
// closed as idle ones are. Package net/http waits for them for five seconds, and clients
// make some that they then don't need: a stop would take that long, and who waits for the node, too.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for c := range s.fresh {
		_ = c.Close() // it is of no use any more, closed or not
	}
	s.mu.Unlock()
	return s.Server.Shutdown(ctx)
}

// note is the server's ConnState.
func (s *Server) note(c net.Conn, state http.ConnState) {
	endAnswer(c, state)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(s.fresh, c)
	case s.stopping:
		_ = c.Close() // as above
	default:
		s.fresh[c] = struct{}{}
	}
}

// Close cuts every connection. Requests are told by their contexts: package net/http
// alone tells only those whose body was read to its end.
func (s *Server) Close() error {
	s.cut()
	return s.Server.Close()
}

// NewServer returns a server for an API. It has no time limit on a whole
// request, which would cut streams: the API watches each body and answer for progress.
func NewServer(h http.Handler, log hclog.Logger) *Server {
	base, cut := context.WithCancel(context.Background())
	s := &Server{cut: cut, fresh: map[net.Conn]struct{}{}}
	s.Server = &http.Server{
		Handler:                      answers{h},
		BaseContext:                  func(net.Listener) context.Context { return base },
		ConnContext:                  withConn,
		ConnState:                    s.note,
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	return s
}

// answers notes on the connection that a handler answers.
type answers struct{ http.Handler }

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	beginAnswer(r)
	a.Handler.ServeHTTP(w, r)
}
