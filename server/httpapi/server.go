package httpapi

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Server is an HTTP server whose every error is JSON, also of what isn't HTTP.
type Server struct {
	*http.Server
	cut context.CancelFunc
}

// Serve is as that of http.Server.
func (s *Server) Serve(ln net.Listener) error { return s.Server.Serve(listener{ln}) }

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
	return &Server{cut: cut, Server: &http.Server{
		Handler:                      answers{h},
		BaseContext:                  func(net.Listener) context.Context { return base },
		ConnContext:                  withConn,
		ConnState:                    endAnswer,
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}}
}

// answers notes on the connection that a handler answers.
type answers struct{ http.Handler }

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	beginAnswer(r)
	a.Handler.ServeHTTP(w, r)
}
