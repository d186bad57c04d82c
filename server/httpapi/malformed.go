package httpapi

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
)

// What isn't HTTP never reaches a handler: a path that isn't percent-encoded
// properly, a header that is too long. Package net/http answers it in plain text,
// written straight to the connection. Here that answer becomes a JSON error, as every other.

// listener makes connections whose refusals are JSON.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn is a connection that knows whether what is written to it is a handler's
// answer: that one stays as it is, whatever it holds.
type conn struct {
	net.Conn
	answering atomic.Bool
}

type connKey struct{}

// withConn lets the handler find the connection. It is a server's ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// beginAnswer says that a handler has taken a request of the connection.
func beginAnswer(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.answering.Store(true)
	}
}

// endAnswer is a server's ConnState: an idle connection has sent its whole answer.
func endAnswer(nc net.Conn, state http.ConnState) {
	if c, ok := nc.(*conn); ok && state == http.StateIdle {
		c.answering.Store(false)
	}
}

// The refusals of package net/http begin with the first, have the second behind
// the status, and then a text.
const (
	refusalStart  = "HTTP/1.1 "
	refusalHeader = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
)

func (c *conn) Write(p []byte) (int, error) {
	if c.answering.Load() || !bytes.HasPrefix(p, []byte(refusalStart)) {
		return c.Conn.Write(p)
	}
	status, text, ok := strings.Cut(string(p[len(refusalStart):]), refusalHeader)
	if !ok {
		return c.Conn.Write(p)
	}
	if _, err := c.Conn.Write(refusal(status, text)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// refusal is an answer of package net/http as a JSON error.
func refusal(status, text string) []byte {
	body := encodeJSON(errorBody{
		Error: "this is no proper HTTP request (" + text + "): check that the path is percent-encoded, with %25 for a % in a key, and that the headers are short and well-formed",
		Code:  CodeBadRequest,
	})
	head := refusalStart + status + "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
	return append([]byte(head), body...)
}
