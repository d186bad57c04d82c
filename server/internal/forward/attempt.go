package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// attempt is one stream to a hub.
type attempt struct {
	*passing
	target Target
	only   bool // there is no other hub to ask
	stream dbv1.Hubs_ForwardClient
	ctx    context.Context // of the stream
	cancel context.CancelCauseFunc
	// detach lets the stream outlive the request's context, which ends when the reading of
	// a body is broken off.
	detach func() bool

	reading atomic.Bool // sendBody may wait for the client
	sending sync.WaitGroup
	bodyErr error // of the client's body; sendBody sets it, and is waited for before it is read
}

// attempt gives the request to one hub. The error is *notTaken where the hub has done
// nothing that can't be done again; any other is final.
func (p *passing) attempt(t Target, only bool) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(p.r.Context()))
	defer cancel(nil)
	a := &attempt{passing: p, target: t, only: only, ctx: ctx, cancel: cancel}
	a.detach = context.AfterFunc(p.r.Context(), func() { cancel(context.Cause(p.r.Context())) })
	defer a.detach()
	first, err := a.offer()
	if err != nil {
		return a.notTaken(err)
	}
	p.leaveQueue()
	if head := first.GetHead(); head != nil {
		return a.answer(head)
	}
	defer a.sending.Wait()
	defer a.stopBody()
	defer cancel(nil)
	a.reading.Store(p.q.Body != nil)
	a.sending.Go(a.sendBody)
	head, err := a.recvHead()
	if err != nil {
		return a.lost(err)
	}
	return a.answer(head)
}

// offer opens the stream and sends the head. It returns the hub's first message: that it
// takes the request up, or an answer that needed no more.
func (a *attempt) offer() (*dbv1.ForwardResponse, error) {
	client, err := a.o.Peers.Hubs(a.target.Address)
	if err != nil {
		return nil, err
	}
	left := time.Until(a.until)
	connecting := time.AfterFunc(min(left, lookAgain), func() { a.cancel(errNoConnection) })
	defer connecting.Stop()
	// Where there is no other hub, the stream begins in the moment in which the connection
	// is back.
	if a.stream, err = client.Forward(a.ctx, grpc.WaitForReady(a.only)); err != nil {
		return nil, err
	}
	if !connecting.Stop() {
		return nil, errNoConnection
	}
	if !a.only {
		left = min(left, nextHub)
	}
	deciding := time.AfterFunc(left, func() { a.cancel(errSilent) })
	defer deciding.Stop()
	if err := a.stream.Send(a.head()); err != nil && !errors.Is(err, io.EOF) { // which Recv explains
		return nil, err
	}
	first, err := a.stream.Recv()
	if err != nil {
		return nil, err
	}
	if !deciding.Stop() {
		return nil, errSilent
	}
	if first.GetHead() == nil && first.GetAccepted() == nil {
		return nil, errors.New("it answers what this version doesn't know")
	}
	return first, nil
}

func (a *attempt) head() *dbv1.ForwardRequest {
	length := int64(0)
	if a.q.Body != nil {
		length = a.q.Length
	}
	return &dbv1.ForwardRequest{Body: &dbv1.ForwardRequest_Head{Head: &dbv1.ForwardHead{
		Method: a.r.Method, Target: a.r.URL.RequestURI(), Headers: headers(a.r.Header),
		From: a.o.NodeID, ContentLength: length,
	}}}
}

// notTaken is what an error means that came before this end knew that the hub takes the
// request up. The hub begins when it has heard that this end knows: so nothing was done,
// whatever the error is.
func (a *attempt) notTaken(err error) error {
	if gone := a.r.Context().Err(); gone != nil {
		return gone
	}
	return &notTaken{a.reason(err)}
}

// reason is why the stream has ended, in words.
func (a *attempt) reason(err error) error {
	cause, s := context.Cause(a.ctx), status.Convert(err)
	switch {
	case errors.Is(cause, errNoConnection) && s.Message() != "":
		return fmt.Errorf("%w (%s)", cause, s.Message())
	case cause != nil:
		return cause
	}
	return errors.New(s.Message())
}

// lost is what an error means that came after the hub had taken the request up.
func (a *attempt) lost(err error) error {
	err = a.reason(err)
	a.cancel(nil)
	a.stopBody()
	a.sending.Wait()
	if a.bodyErr != nil {
		return a.bodyErr
	}
	if gone := a.r.Context().Err(); gone != nil {
		return gone
	}
	if !a.q.Write && (a.q.Body == nil || a.q.Body.Rewind()) {
		return &notTaken{err}
	}
	return &CutError{a.target.ID, err}
}

// pieces are what bodies are read into.
var pieces = sync.Pool{New: func() any { return new(piece) }}

// piece is as much of a body as one message has.
type piece [maxPart]byte

// sendBody tells the hub to begin, and sends the body as the client does. It ends with
// the body, the stream, or stopBody.
func (a *attempt) sendBody() {
	if a.send(nil) != nil {
		return
	}
	if a.q.Body != nil {
		buf, ok := pieces.Get().(*piece)
		if !ok {
			buf = new(piece)
		}
		defer pieces.Put(buf)
		if !a.copyBody(buf[:]) {
			return
		}
	}
	a.reading.Store(false)
	_ = a.stream.CloseSend() // it never fails
}

// copyBody sends the body. false: it isn't whole.
func (a *attempt) copyBody(buf []byte) bool {
	for {
		n, err := a.q.Body.Read(buf)
		if n > 0 && a.send(buf[:n]) != nil {
			return false
		}
		switch {
		case err == io.EOF: //nolint:errorlint // a reader's end is this value itself
			return true
		case err != nil:
			if !errors.Is(err, ErrStopped) {
				a.bodyErr = err
				a.cancel(err)
			}
			return false
		}
	}
}

func (a *attempt) send(part []byte) error {
	return a.stream.Send(&dbv1.ForwardRequest{Body: &dbv1.ForwardRequest_Part{Part: part}})
}

// stopBody ends sendBody where it waits for the client.
func (a *attempt) stopBody() {
	if a.reading.Load() {
		a.detach()
		a.q.Body.Stop()
	}
}

// recvHead waits for the answer of a hub that has taken the request up.
func (a *attempt) recvHead() (*dbv1.ForwardAnswer, error) {
	for {
		m, err := a.stream.Recv()
		if err != nil {
			return nil, endedEarly(err)
		}
		if head := m.GetHead(); head != nil {
			return head, nil
		}
	}
}

// endedEarly is the error of a stream that has ended where it mustn't.
func endedEarly(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// answer passes the hub's answer on, from its head to its end. A hub may answer before it
// has read the body: what is left of that is the client's affair.
func (a *attempt) answer(head *dbv1.ForwardAnswer) error {
	code := int(head.GetStatus())
	if code < 200 || code > 599 {
		return a.lost(fmt.Errorf("it answers status %d", code))
	}
	// A body that is read holds up its request's answer.
	a.stopBody()
	setHeaders(a.w.Header(), head.GetHeaders())
	if code == http.StatusRequestEntityTooLarge || code == http.StatusRequestTimeout {
		a.w.Header().Set("Connection", "close") // as the hub itself would: the rest isn't worth reading
	}
	a.w.WriteHeader(code)
	for {
		m, err := a.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &CutError{a.target.ID, a.reason(err)}
		}
		if _, err := a.w.Write(m.GetPart()); err != nil {
			return fmt.Errorf("the client takes no more of its answer: %w", err)
		}
	}
}
