package client

import (
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A ReadOption changes one read.
type ReadOption interface{ applyRead(o *callOptions) }

// A WriteOption changes one write.
type WriteOption interface{ applyWrite(o *callOptions) }

// callOptions is what options add to a request.
type callOptions struct {
	query  url.Values
	header http.Header
}

func newCallOptions() callOptions {
	return callOptions{query: make(url.Values), header: make(http.Header)}
}

func readOptions(opts []ReadOption) callOptions {
	o := newCallOptions()
	for _, opt := range opts {
		opt.applyRead(&o)
	}
	return o
}

func writeOptions(opts []WriteOption) callOptions {
	o := newCallOptions()
	for _, opt := range opts {
		opt.applyWrite(&o)
	}
	return o
}

type readOption func(*callOptions)

func (f readOption) applyRead(o *callOptions) { f(o) }

type writeOption func(*callOptions)

func (f writeOption) applyWrite(o *callOptions) { f(o) }

// AtLeast makes a read answer from a state that includes p. It waits for that as
// long as [Wait] says (the server's default is 5 s), then fails with
// [ErrNotCaughtUp]; with [ErrPositionLost] at once where p isn't in the
// history. It takes the place of a session's position.
func AtLeast(p Position) ReadOption {
	return readOption(func(o *callOptions) { o.header.Set(headerAtLeast, p.String()) })
}

// Wait is how long the node may wait for [AtLeast] or [Acks].
func Wait(d time.Duration) interface {
	ReadOption
	WriteOption
} {
	return waitOption(d)
}

type waitOption time.Duration

func (w waitOption) apply(o *callOptions)      { o.query.Set("wait", time.Duration(w).String()) }
func (w waitOption) applyRead(o *callOptions)  { w.apply(o) }
func (w waitOption) applyWrite(o *callOptions) { w.apply(o) }

// Acks makes a write return only when n direct followers, the owner not
// counted, report it durable. After [Wait] it fails with [ErrNotReplicated].
func Acks(n int) WriteOption {
	return writeOption(func(o *callOptions) { o.query.Set("acks", strconv.Itoa(n)) })
}

// TTL lets what is put expire after d. A put without it never expires.
func TTL(d time.Duration) WriteOption {
	return writeOption(func(o *callOptions) { o.query.Set("ttl", d.String()) })
}

// IfVersion makes a write fail with [ErrConditionFailed] unless the version is
// the one that a read answered.
func IfVersion(version string) WriteOption {
	return writeOption(func(o *callOptions) { o.header.Set("If-Match", `"`+version+`"`) })
}

// IfExists makes a write fail with [ErrConditionFailed] where nothing is there.
func IfExists() WriteOption {
	return writeOption(func(o *callOptions) { o.header.Set("If-Match", "*") })
}

// IfAbsent makes a write fail with [ErrConditionFailed] where something is there.
func IfAbsent() WriteOption {
	return writeOption(func(o *callOptions) { o.header.Set("If-None-Match", "*") })
}
