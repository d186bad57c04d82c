package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/internal/forward"
)

// A hub that isn't the owner of a namespace passes writes on to the owner, and, where it
// has nothing of the namespace, reads to a hub that has. Package forward is how; this
// file says which requests, and what their failures look like.

// errDeclined says that a request of another hub was declined, so that there is no answer.
var errDeclined = errors.New("the request was declined")

// passOn passes the request on to another hub, if it belongs there.
func (c *call) passOn(ep *endpoint) (passed bool, err error) {
	if c.api.forwarder == nil || c.incoming != nil || ep.local || !dbkernel.ValidName(c.namespace) {
		return false, nil
	}
	c.atOwner = c.api.node.OwnerElsewhere(c.namespace)
	has, write := c.isHere(), c.isWrite(ep)
	switch {
	case !has && !c.api.forwarder.Knows(c.namespace):
		return false, nil
	case !has && !c.atOwner && write && c.api.node.RelayerOwns(c.namespace):
		return false, readOnlyElsewhere(c.namespace)
	case !has && !c.atOwner && write:
		return false, noOwner("nothing was written: it isn't settled yet who owns namespace %q, or this hub does and is about to make it: try again", c.namespace)
	case !has:
		write = write || ep.inside && c.atOwner
	case !c.atOwner:
		return false, nil
	case ep == epKVBatch:
		write, err = c.batchWrites()
		fallthrough
	default:
		if err != nil || !write {
			return false, err
		}
	}
	if ep.guarded {
		if err := c.requireLoopback(); err != nil {
			return false, err
		}
	}
	return true, c.forward(write, c.bodyOf(ep))
}

// isHere says whether this hub answers requests to the namespace. A replica that can't be served at the
// moment, because nothing of it has come yet or for another reason, is as good as none.
func (c *call) isHere() bool {
	if !c.api.node.HasNamespace(c.namespace) {
		return false
	}
	var unusable *StateError
	_, err := c.api.node.Namespace(c.namespace)
	return !c.atOwner || !errors.As(err, &unusable)
}

// isWrite says whether only the owner can answer the request. Of endpoints whose body
// says so it answers false.
func (c *call) isWrite(ep *endpoint) bool {
	switch c.Method {
	case http.MethodGet, http.MethodHead:
		_, inTransaction := c.param("txn") // its state is at the owner
		return inTransaction
	}
	return !ep.inside
}

// batchWrites reads the body of a batch, which says whether it writes. What is wrong with
// it is for its handler to say.
func (c *call) batchWrites() (bool, error) {
	var err error
	if c.kept, err = c.readBody(maxBody, bodyTooLong(maxBody)); err != nil {
		return false, err
	}
	var in struct {
		Operation string `json:"operation"`
	}
	if err := json.Unmarshal(c.kept, &in); err != nil {
		return false, nil //nolint:nilerr // the handler finds it again
	}
	return in.Operation == "put" || in.Operation == "delete", nil
}

// body is one on its way to another hub.
type body struct {
	forward.Body
	length int64
}

// bodyOf is the request's body, if it has one that its handler reads.
func (c *call) bodyOf(ep *endpoint) body {
	takesNone := c.Method == http.MethodGet || c.Method == http.MethodHead || c.Method == http.MethodDelete && ep != epRowColumns
	switch {
	case c.kept != nil:
		return keep(c.kept)
	case takesNone || ep.bare || !c.hasBody():
		return body{}
	}
	return body{&arrivingBody{c: c}, c.ContentLength}
}

// forward has another hub answer the request.
func (c *call) forward(write bool, b body) error {
	err := c.api.forwarder.Forward(c.w, c.Request, forward.Request{Namespace: c.namespace, Write: write, Body: b.Body, Length: b.length})
	var notTaken *forward.NotTakenError
	var cut *forward.CutError
	switch {
	case errors.Is(err, forward.ErrNamespaceNotFound):
		return namespaceNotFound(c.namespace)
	case errors.As(err, &notTaken) && write:
		return noOwner("nothing was written: %v: try again, or another hub", err)
	case errors.As(err, &notTaken):
		return noOwner("%v: try again, or another hub", err)
	case errors.As(err, &cut) && write:
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeOutcomeUnknown,
			Message: fmt.Sprintf("the request may or may not have taken effect: %v; read before trying again", err)}
	case errors.As(err, &cut):
		return noOwner("%v: try again", err)
	}
	return err
}

func noOwner(format string, args ...any) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeNoOwner, RetryAfter: time.Second, Message: fmt.Sprintf(format, args...)}
}

// readOnlyElsewhere refuses a write to a namespace that a relayer owns.
func readOnlyElsewhere(name string) *Error {
	return &Error{Status: http.StatusForbidden, Code: CodeReadOnly,
		Message: fmt.Sprintf("a relayer owns namespace %q, to which hubs can't pass writes on: write there; %s says which it is", name, HeaderOwner)}
}

// takeUp decides whether this hub answers a request of another one. What it can't answer at the
// moment it declines, so that the other hub waits, and asks again or somebody else. It never
// passes the request on.
func (c *call) takeUp(ep *endpoint) error {
	if ep.system || ep.local {
		return routeNotFound()
	}
	c.atOwner = c.api.node.OwnerElsewhere(c.namespace)
	var why string
	switch {
	case c.api.isDraining():
		why = "it is shutting down"
	case c.isWrite(ep) && c.atOwner:
		why = "it isn't the owner"
	case !c.isHere():
		why = "it doesn't have the namespace, or can't serve it at the moment"
	default:
		return c.incoming.Accept()
	}
	c.incoming.Decline(why)
	return errDeclined
}

// ownerMoved is the answer to a request of another hub that turned out to be a write only
// when it had been taken up, at a hub that isn't the owner.
func (c *call) ownerMoved(e *Error) *Error {
	if c.incoming == nil || e.Code != CodeReadOnly || !c.atOwner {
		return e
	}
	return noOwner("nothing was written: hub %q took this hub for the owner of namespace %q: try again", c.incoming.Hub, c.namespace)
}

// arrivingBody is a body that is passed on as the client sends it.
type arrivingBody struct {
	c     *call
	until time.Time // when the client's time for the next piece is over; for Read alone

	mu             sync.Mutex // Stop has the last word on the deadline of reads
	stopped, ended bool
}

// Read implements io.Reader.
func (b *arrivingBody) Read(p []byte) (int, error) {
	b.until = time.Now().Add(b.c.api.patience.stream)
	if !b.giveTime(b.until, nil) {
		return 0, forward.ErrStopped
	}
	n, err := b.c.Body.Read(p)
	if err == nil {
		return n, nil
	}
	b.giveTime(time.Time{}, err)
	switch early := time.Now().Before(b.until); {
	case errors.Is(err, io.EOF):
		return n, err
	case early && errors.Is(err, os.ErrDeadlineExceeded): // that of Stop
		return n, forward.ErrStopped
	}
	return n, b.c.bodyError(err)
}

// giveTime sets how long the client may take for the next piece. false: it isn't wanted.
func (b *arrivingBody) giveTime(until time.Time, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = err != nil
	if !b.stopped {
		b.c.w.setReadDeadline(until)
	}
	return !b.stopped
}

// Stop implements forward.Body. The connection isn't used again: package net/http, whose read
// it breaks off, would take the client of the next request for gone.
func (b *arrivingBody) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	if !b.ended {
		b.c.w.Header().Set("Connection", "close")
		b.c.w.setReadDeadline(time.Now())
	}
}

// Rewind implements forward.Body.
func (b *arrivingBody) Rewind() bool { return false }

// keptBody is a body that was read before it is passed on.
type keptBody struct{ *bytes.Reader }

func keep(b []byte) body { return body{keptBody{bytes.NewReader(b)}, int64(len(b))} }

// Stop implements forward.Body.
func (b keptBody) Stop() {}

// Rewind implements forward.Body.
func (b keptBody) Rewind() bool {
	_, err := b.Seek(0, io.SeekStart)
	return err == nil
}
