package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// maxPart bounds the bytes of a body in one message.
const maxPart = 256 << 10

// Incoming is a request that another hub has passed on. Its handler calls Accept before
// it does anything, or Decline. It is for the handler's goroutine.
type Incoming struct {
	// Hub is the node id of the hub that has passed it on.
	Hub string

	stream   dbv1.Hubs_ForwardServer
	accepted bool
	declined string // why; empty: it wasn't
	part     []byte // what was received of the body and not read yet
	ended    error  // why there is no more: io.EOF at its end
}

type incomingKey struct{}

// From is the request that another hub has passed on; nil: a client has sent it itself.
func From(ctx context.Context) *Incoming {
	in, _ := ctx.Value(incomingKey{}).(*Incoming)
	return in
}

// Serve has h answer a request that another hub has passed on. The stream's context is
// the request's.
func (f *Forwarder) Serve(stream dbv1.Hubs_ForwardServer, h http.Handler) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	in := &Incoming{Hub: m.GetHead().GetFrom(), stream: stream}
	r, err := in.request(m.GetHead())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if !f.begin() {
		return status.Error(codes.Unavailable, "it stops")
	}
	done := make(chan error, 1)
	go func() {
		defer f.end()
		done <- in.serve(h, r)
	}()
	select {
	case err := <-done:
		return err
	case <-f.cut: // the end of the stream makes the handler's calls of it fail
		return status.Error(codes.Aborted, "it stops, and couldn't wait any longer")
	}
}

// request is what a head describes.
func (in *Incoming) request(head *dbv1.ForwardHead) (*http.Request, error) {
	if head == nil {
		return nil, errors.New("the stream doesn't begin with a head")
	}
	u, err := url.ParseRequestURI(head.GetTarget())
	if err != nil {
		return nil, fmt.Errorf("the target can't be read: %w", err)
	}
	r := &http.Request{
		Method: head.GetMethod(), URL: u, RequestURI: head.GetTarget(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: in, ContentLength: max(head.GetContentLength(), -1),
	}
	setHeaders(r.Header, head.GetHeaders())
	if p, ok := peer.FromContext(in.stream.Context()); ok {
		r.RemoteAddr = p.Addr.String()
	}
	return r.WithContext(context.WithValue(in.stream.Context(), incomingKey{}, in)), nil
}

// serve runs the handler.
func (in *Incoming) serve(h http.Handler, r *http.Request) (err error) {
	w := &answerWriter{in: in, header: http.Header{}}
	defer func() {
		// A handler panics to break its answer off.
		if p := recover(); p != nil {
			err = status.Error(codes.Aborted, "its answer was broken off")
		}
	}()
	h.ServeHTTP(w, r)
	if in.declined != "" {
		return status.Error(codes.Unavailable, in.declined)
	}
	w.WriteHeader(http.StatusOK)
	return w.err
}

// Accept tells the other hub that the request is taken up, and waits until that hub has
// heard of it: what is done from here on isn't done again elsewhere. An error means
// that nothing may be done.
func (in *Incoming) Accept() error {
	if in.accepted {
		return nil
	}
	if err := in.stream.Send(&dbv1.ForwardResponse{Body: &dbv1.ForwardResponse_Accepted{Accepted: &dbv1.ForwardAccepted{}}}); err != nil {
		return fmt.Errorf("hub %q has gone: %w", in.Hub, err)
	}
	if in.recv(); in.ended != nil && !errors.Is(in.ended, io.EOF) {
		return fmt.Errorf("hub %q has gone: %w", in.Hub, in.ended)
	}
	in.accepted = true
	return nil
}

// Decline says that this hub can't answer the request at the moment, though it or another
// may be able to later. Nothing may be written to the ResponseWriter before or after it.
func (in *Incoming) Decline(reason string) { in.declined = reason }

// recv waits for the next part of the body.
func (in *Incoming) recv() {
	m, err := in.stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		in.ended = io.EOF
	case err != nil:
		in.ended = fmt.Errorf("the hub that passes it on was lost: %w", err)
	default:
		in.part = m.GetPart()
	}
}

// Read implements io.Reader: it is the request's body.
func (in *Incoming) Read(p []byte) (int, error) {
	if err := in.Accept(); err != nil {
		return 0, err
	}
	for len(in.part) == 0 {
		if in.ended != nil {
			return 0, in.ended
		}
		in.recv()
	}
	n := copy(p, in.part)
	in.part = in.part[n:]
	return n, nil
}

// Close implements io.Closer. The rest of the body ends with the stream.
func (in *Incoming) Close() error { return nil }

// answerWriter sends a handler's answer to the hub that has passed the request on.
type answerWriter struct {
	in     *Incoming
	header http.Header
	begun  bool
	err    error // the first one: from then on nothing is sent
}

// Header implements http.ResponseWriter.
func (w *answerWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(code int) {
	if w.begun || code < 200 {
		return
	}
	w.begun = true
	w.send(&dbv1.ForwardResponse{Body: &dbv1.ForwardResponse_Head{Head: &dbv1.ForwardAnswer{Status: uint32(code), Headers: headers(w.header)}}})
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	for n := 0; n < len(p); n += maxPart {
		w.send(&dbv1.ForwardResponse{Body: &dbv1.ForwardResponse_Part{Part: p[n:min(len(p), n+maxPart)]}})
		if w.err != nil {
			return n, w.err
		}
	}
	return len(p), w.err
}

func (w *answerWriter) send(m *dbv1.ForwardResponse) {
	if w.err == nil {
		w.err = w.in.stream.Send(m)
	}
}
