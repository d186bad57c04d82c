package forward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/internal/forward"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// TestARequestArrivesAsItWasSent, and its answer, both larger than any buffer.
func TestARequestArrivesAsItWasSent(t *testing.T) {
	sent := randomBytes(3<<20 + 17)
	b, _ := newHub(t, "owner", accepting(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, sent) || r.ContentLength != int64(len(sent)) {
			t.Errorf("%v; %d bytes arrived, of %d announced", err, len(got), r.ContentLength)
		}
		if r.Method != "PUT" || r.URL.EscapedPath() != "/api/v1/default/lob/a%2Fb//c" || r.URL.RawQuery != "ttl=30s&acks=1" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		if in := forward.From(r.Context()); in.Hub != "front" || r.RemoteAddr == "" {
			t.Errorf("it came from %q, %q", in.Hub, r.RemoteAddr)
		}
		for name, want := range map[string]int{"If-Match": 1, "X-Twice": 2, "Connection": 0, "X-Named": 0, "Expect": 0, "Te": 0, "Upgrade": 0} {
			if len(r.Header[name]) != want {
				t.Errorf("%s: %q", name, r.Header[name])
			}
		}
		w.Header().Set("X-Unisondb-Position", "p")
		w.Header().Set("X-Own", "the owner's")
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(got)
	}))
	f := newFront(t, ample, b.start())
	r := request(t, "PUT", "/api/v1/default/lob/a%2Fb//c?ttl=30s&acks=1")
	r.Header = http.Header{
		"If-Match": {`"1"`}, "X-Twice": {"a", "b"}, "Connection": {"keep-alive, x-named"}, "X-Named": {"c"}, "Expect": {"100-continue"}, "Te": {"gzip"}, "Upgrade": {"h2c"},
	}
	w := httptest.NewRecorder()
	w.Header().Set("X-Own", "this hub's")
	if err := f.Forward(w, r, writeOf(newBody(bytes.NewReader(sent)), int64(len(sent)))); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusPartialContent || !bytes.Equal(w.Body.Bytes(), sent) || w.Header().Get("X-Unisondb-Position") != "p" ||
		w.Header().Get("X-Own") != "the owner's" || w.Header().Get("Connection") != "" {
		t.Errorf("answered %d, %v, %d bytes", w.Code, w.Header(), w.Body.Len())
	}
	if s := f.Stats(); s != (forward.Stats{Answered: 1}) {
		t.Errorf("%+v", s)
	}
}

// TestAnAnswerNeedsNoBody, nor that the request was taken up.
func TestAnAnswerNeedsNoBody(t *testing.T) {
	b, _ := newHub(t, "owner", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Length", "100")
			return
		}
		http.Error(w, "it isn't", http.StatusNotFound)
	}))
	f := newFront(t, ample, b.start())
	if w := answers(t, f, request(t, "HEAD", "/a"), read); w.Code != 200 || w.Header().Get("Content-Length") != "100" || w.Body.Len() != 0 {
		t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
	}
	unread := newStalled("never read")
	if w := answers(t, f, request(t, "PUT", "/a"), writeOf(unread, 100)); w.Code != 404 || w.Body.String() != "it isn't\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if n := unread.read.Load(); n != 0 {
		t.Errorf("%d bytes were read of a body that nobody has asked for", n)
	}
}

// TestAnEarlyAnswerDoesntWaitForTheBody: the client may say nothing more before it has one.
func TestAnEarlyAnswerDoesntWaitForTheBody(t *testing.T) {
	b, _ := newHub(t, "owner", accepting(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = w.Write(randomBytes(3 << 20))
	}))
	f := newFront(t, ample, b.start())
	w := answers(t, f, request(t, "PUT", "/a"), writeOf(newStalled("the beginning"), -1))
	if w.Code != http.StatusRequestEntityTooLarge || w.Body.Len() != 3<<20 || w.Header().Get("Connection") != "close" {
		t.Errorf("%d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
}

// TestAWriteWaitsForItsOwner: nothing of its body is read before that is back and takes it.
func TestAWriteWaitsForItsOwner(t *testing.T) {
	t.Parallel()
	var declined, done atomic.Int64
	sent := newBody(strings.NewReader("value"))
	b, _ := newHub(t, "owner", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		in := forward.From(r.Context())
		if sent.read.Load() > 0 {
			t.Error("the body was read before anybody wanted it")
		}
		if declined.Add(1) <= 3 {
			in.Decline("it stops")
			return
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != "value" {
			t.Errorf("%q, %v", got, err)
		}
		done.Add(1)
	}))
	looked := 0
	f := newFrontOf(t, forward.Options{Hold: ample, Resolve: func(string, bool) ([]forward.Target, error) {
		switch looked++; looked {
		case 1:
			return nil, nil // it isn't known yet
		case 3:
			b.start()
		}
		return []forward.Target{{ID: "owner", Address: b.address}}, nil
	}})
	if w := answers(t, f, request(t, "PUT", "/a"), writeOf(sent, 5)); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	if done.Load() != 1 || b.service.streams.Load() != 4 {
		t.Errorf("it was done %d times, in %d streams", done.Load(), b.service.streams.Load())
	}
}

// TestNobodyTakesIt: whatever keeps a hub from taking a request up, it is held for ten seconds,
// and nothing was done.
func TestNobodyTakesIt(t *testing.T) {
	declines := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { forward.From(r.Context()).Decline("it stops") })
	for _, tt := range []struct {
		name   string
		serve  func(dbv1.Hubs_ForwardServer) error // nil: the hub is away
		reason string
	}{
		{"away", nil, "there is no connection to the hub ("},
		{"declines", func(s dbv1.Hubs_ForwardServer) error { return forward.New(forward.Options{}).Serve(s, declines) }, "it stops"},
		{"silent", func(s dbv1.Hubs_ForwardServer) error { <-s.Context().Done(); return nil }, "the hub doesn't answer"},
		{"refuses", func(dbv1.Hubs_ForwardServer) error { return status.Error(codes.PermissionDenied, "only hubs may") }, "only hubs may"},
		{"of a newer version", func(s dbv1.Hubs_ForwardServer) error { return s.Send(&dbv1.ForwardResponse{}) }, "it answers what this version doesn't know"},
		{"ends", func(dbv1.Hubs_ForwardServer) error { return nil }, "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := forward.New(forward.Options{Peers: inMemory(t, tt.serve), Resolve: func(string, bool) ([]forward.Target, error) {
					return []forward.Target{{ID: "owner", Address: "owner"}}, nil
				}})
				unread := newStalled("a")
				err := fails[*forward.NotTakenError](t, f, request(t, "PUT", "/a"), writeOf(unread, 1))
				if text := err.Error(); !strings.Contains(text, `hub "owner": `+tt.reason) || !strings.Contains(text, `"default"`) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took < 10*time.Second || took > 10100*time.Millisecond {
					t.Errorf("it was held for %v", took)
				}
				if n := unread.read.Load(); n != 0 {
					t.Errorf("%d bytes were read", n)
				}
				if s := f.Stats(); s != (forward.Stats{NotTaken: 1}) {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestTheLastReasonThatWasGiven: an attempt that the end of the hold cuts off doesn't hide why the
// ones before it failed.
func TestTheLastReasonThatWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		declines := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { forward.From(r.Context()).Decline("it isn't the owner") })
		asked := 0 // by one attempt after the other
		f := forward.New(forward.Options{Peers: inMemory(t, func(s dbv1.Hubs_ForwardServer) error {
			if asked++; asked == 1 {
				return forward.New(forward.Options{}).Serve(s, declines)
			}
			<-s.Context().Done()
			return nil
		}), Resolve: func(string, bool) ([]forward.Target, error) {
			return []forward.Target{{ID: "owner", Address: "owner"}}, nil
		}})
		if err := fails[*forward.NotTakenError](t, f, request(t, "PUT", "/a"), write); !strings.Contains(err.Error(), "it isn't the owner") {
			t.Error(err)
		}
	})
}

// TestTheHoldIsTenSeconds, by the clock of the test.
func TestTheHoldIsTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, looked := time.Now(), 0
		f := newFrontOf(t, forward.Options{Resolve: func(string, bool) ([]forward.Target, error) { looked++; return nil, nil }})
		_ = fails[*forward.NotTakenError](t, f, request(t, "PUT", "/a"), write)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it was held for %v", took)
		}
		if looked < 30 || looked > 120 {
			t.Errorf("the owner was looked up %d times", looked)
		}
	})
}

func TestUnknownNamespace(t *testing.T) {
	f := newFrontOf(t, forward.Options{Resolve: func(name string, _ bool) ([]forward.Target, error) {
		if name == "default" {
			return nil, nil
		}
		return nil, forward.ErrNamespaceNotFound
	}})
	if err := f.Forward(httptest.NewRecorder(), request(t, "GET", "/a"), forward.Request{Namespace: "x"}); !errors.Is(err, forward.ErrNamespaceNotFound) {
		t.Error(err)
	}
	if f.Knows("x") || !f.Knows("default") {
		t.Error("it knows what it doesn't, or doesn't know what it does")
	}
}

// TestCutBeforeItWasTaken: what a hub hasn't taken up, or what this end doesn't know that it has,
// is given to it again and is done once.
func TestCutBeforeItWasTaken(t *testing.T) {
	var done atomic.Int64
	f := forward.New(forward.Options{})
	var b *hub
	b = scripted(t, "owner", func(stream dbv1.Hubs_ForwardServer) error {
		switch b.service.streams.Load() {
		case 1:
			b.cut()
			return nil
		case 2: // the word that it was taken up is lost
			lost := deaf{stream, b}
			return f.Serve(lost, accepting(func(http.ResponseWriter, *http.Request) { done.Add(1) }))
		}
		return f.Serve(stream, accepting(func(http.ResponseWriter, *http.Request) { done.Add(1) }))
	}).start()
	answers(t, newFront(t, ample, b), request(t, "DELETE", "/a"), write)
	if done.Load() != 1 || b.service.streams.Load() != 3 {
		t.Errorf("it was done %d times, in %d streams", done.Load(), b.service.streams.Load())
	}
}

// deaf is a stream that is cut in the place of what it is to send.
type deaf struct {
	dbv1.Hubs_ForwardServer
	hub *hub
}

func (d deaf) Send(*dbv1.ForwardResponse) error {
	d.hub.cut()
	return nil
}

// TestAHubBeginsWhenTheOtherKnows: a request whose sender is gone before it knew that it was
// taken up isn't done, for the sender gives it away again.
func TestAHubBeginsWhenTheOtherKnows(t *testing.T) {
	ended := make(chan error, 1)
	b, f := newHub(t, "owner", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ended <- forward.From(r.Context()).Accept()
	}))
	b.start()
	client, err := newPeers(t).Hubs(b.address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.Forward(ctx)
	if err != nil {
		t.Fatal(err)
	}
	head := &dbv1.ForwardHead{Method: "DELETE", Target: "/a"}
	if err := stream.Send(&dbv1.ForwardRequest{Body: &dbv1.ForwardRequest_Head{Head: head}}); err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.GetAccepted() == nil {
		t.Fatalf("%v, %v", m, err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it began before its sender knew: %v", err)
	default:
	}
	cancel()
	if err := await(t, ended, "the end of the request"); err == nil {
		t.Error("it would have been done")
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCutBehindItWasTaken: a write isn't tried again, and nobody says how it went.
func TestCutBehindItWasTaken(t *testing.T) {
	for _, tt := range []struct {
		name string
		body *body
		q    forward.Request
	}{
		{"without a body", nil, write},
		{"in the middle of the body", newStalled("the beginning"), forward.Request{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b *hub
			ended := make(chan error, 1)
			b, _ = newHub(t, "owner", accepting(func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.CopyN(io.Discard, r.Body, int64(len("the beginning")))
				b.cut()
				if tt.body != nil {
					_, err = io.Copy(io.Discard, r.Body)
				}
				<-r.Context().Done()
				ended <- err
			}))
			f := newFront(t, ample, b.start())
			q := tt.q
			if tt.body != nil {
				q = writeOf(tt.body, 1000)
			}
			err := fails[*forward.CutError](t, f, request(t, "PUT", "/a"), q)
			if err.Hub != "owner" || b.service.streams.Load() != 1 {
				t.Errorf("%v, after %d streams", err, b.service.streams.Load())
			}
			if err := await(t, ended, "the hub's end"); tt.body != nil && (err == nil || errors.Is(err, io.EOF)) {
				t.Errorf("the hub took what it had for the whole body: %v", err)
			}
			if s := f.Stats(); s != (forward.Stats{Cut: 1}) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestAReadIsTriedAgain, whenever the hub is lost before it has begun to answer.
func TestAReadIsTriedAgain(t *testing.T) {
	var b *hub
	b, _ = newHub(t, "owner", accepting(func(w http.ResponseWriter, _ *http.Request) {
		if b.service.streams.Load() < 3 {
			b.cut()
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "value")
	}))
	if w := answers(t, newFront(t, ample, b.start()), request(t, "GET", "/a"), read); w.Body.String() != "value" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// TestAnotherHubReads where the owner is away, frozen or declines; it never writes.
func TestAnotherHubReads(t *testing.T) {
	t.Parallel()
	away, _ := newHub(t, "owner", http.NotFoundHandler())
	frozen := scripted(t, "owner", func(stream dbv1.Hubs_ForwardServer) error { <-stream.Context().Done(); return nil }).start()
	declines, _ := newHub(t, "owner", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { forward.From(r.Context()).Decline("it stops") }))
	declines.start()
	replica, _ := newHub(t, "replica", accepting(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Method) }))
	replica.start()
	for name, owner := range map[string]*hub{"away": away, "frozen": frozen, "declines": declines} {
		t.Run(name, func(t *testing.T) {
			if w := answers(t, newFront(t, ample, owner, replica), request(t, "GET", "/a"), read); w.Body.String() != "GET" {
				t.Errorf("%d %q", w.Code, w.Body)
			}
			_ = fails[*forward.NotTakenError](t, newFront(t, 200*time.Millisecond, owner, replica), request(t, "PUT", "/a"), write)
		})
	}
}

// TestAnAnswerThatIsCutIsAnError: what the client got by then isn't the whole.
func TestAnAnswerThatIsCutIsAnError(t *testing.T) {
	for name, end := range map[string]func(*hub){
		"connection": (*hub).cut,
		"handler":    func(*hub) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			var b *hub
			got := make(chan struct{})
			b, _ = newHub(t, "owner", accepting(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "the beginning")
				await(t, got, "the client's part")
				end(b)
				<-r.Context().Done()
			}))
			f := newFront(t, ample, b.start())
			w := &watched{ResponseRecorder: httptest.NewRecorder(), written: got}
			err := f.Forward(w, request(t, "GET", "/a"), read)
			var cut *forward.CutError
			if !errors.As(err, &cut) || w.Body.String() != "the beginning" || b.service.streams.Load() != 1 {
				t.Errorf("%v, %q, %d streams", err, w.Body, b.service.streams.Load())
			}
		})
	}
}

// watched says when the first part of an answer has come.
type watched struct {
	*httptest.ResponseRecorder
	written chan struct{}
	err     error // of the Writes that follow
}

func (w *watched) Write(p []byte) (int, error) {
	if w.written != nil {
		close(w.written)
		w.written = nil
		return w.ResponseRecorder.Write(p)
	}
	if w.err != nil {
		return 0, w.err
	}
	return w.ResponseRecorder.Write(p)
}

// TestTheClientGoes: the hub is told, wherever the request is at that moment.
func TestTheClientGoes(t *testing.T) {
	t.Run("while it waits", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFrontOf(t, forward.Options{Hold: ample, Resolve: func(string, bool) ([]forward.Target, error) { cancel(); return nil, nil }})
		if err := f.Forward(httptest.NewRecorder(), request(t, "PUT", "/a").WithContext(ctx), write); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	for _, tt := range []struct {
		name string
		body *body
	}{{"behind its body", nil}, {"in the middle of its body", newStalled("a")}} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			told := make(chan struct{})
			b, _ := newHub(t, "owner", accepting(func(_ http.ResponseWriter, r *http.Request) {
				cancel()
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
				close(told)
			}))
			q := write
			if tt.body != nil {
				q = writeOf(tt.body, 10)
			}
			if err := newFront(t, ample, b.start()).Forward(httptest.NewRecorder(), request(t, "PUT", "/a").WithContext(ctx), q); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			await(t, told, "word that the client has gone")
		})
	}
	t.Run("while it is answered", func(t *testing.T) {
		told := make(chan struct{})
		b, _ := newHub(t, "owner", accepting(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 1<<20))
			}
			close(told)
		}))
		lost := errors.New("connection reset")
		w := &watched{ResponseRecorder: httptest.NewRecorder(), written: make(chan struct{}), err: lost}
		if err := newFront(t, ample, b.start()).Forward(w, request(t, "GET", "/a"), read); !errors.Is(err, lost) {
			t.Error(err)
		}
		await(t, told, "word that the client has gone")
	})
}

// TestABodyThatFails is the client's fault: its error is passed on, and the hub sees no end.
func TestABodyThatFails(t *testing.T) {
	ended := make(chan error, 1)
	b, _ := newHub(t, "owner", accepting(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}))
	slow := errors.New("the body took too long")
	half := io.MultiReader(strings.NewReader("half"), failing{slow})
	err := newFront(t, ample, b.start()).Forward(httptest.NewRecorder(), request(t, "PUT", "/a"), writeOf(newBody(half), 8))
	if !errors.Is(err, slow) {
		t.Error(err)
	}
	if err := await(t, ended, "the hub's end"); err == nil {
		t.Error("the hub took half of the body for the whole")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestTooManyWait: what waits is bounded, and gives its place back.
func TestTooManyWait(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	f := newFrontOf(t, forward.Options{Hold: ample, MaxWaiting: 2, Resolve: func(name string, _ bool) ([]forward.Target, error) {
		asked <- struct{}{}
		<-release
		return nil, fmt.Errorf("enough: %w", forward.ErrNamespaceNotFound)
	}})
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- f.Forward(httptest.NewRecorder(), request(t, "PUT", "/a"), write) }()
		await(t, asked, "the request")
	}
	if err := fails[*forward.NotTakenError](t, f, request(t, "PUT", "/a"), write); !strings.Contains(err.Error(), "too many") {
		t.Error(err)
	}
	if s := f.Stats(); s.Waiting != 2 {
		t.Errorf("%+v", s)
	}
	close(release)
	for range 2 {
		if err := await(t, done, "the request's end"); !errors.Is(err, forward.ErrNamespaceNotFound) {
			t.Error(err)
		}
	}
	go func() { <-asked }()
	if err := f.Forward(httptest.NewRecorder(), request(t, "PUT", "/a"), write); !errors.Is(err, forward.ErrNamespaceNotFound) {
		t.Errorf("places weren't given back: %v", err)
	}
	if s := f.Stats(); s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// TestWhatIsUnderWayIsBounded: a hub that doesn't read holds up the client, not memory.
func TestWhatIsUnderWayIsBounded(t *testing.T) {
	const most = 4 << 20
	sent := newBody(io.LimitReader(zeros{}, 24<<20))
	b, _ := newHub(t, "owner", accepting(func(_ http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 1<<20)
		for taken := int64(0); ; {
			n, err := io.ReadFull(r.Body, buf)
			if err != nil {
				return
			}
			taken += int64(n)
			if ahead := sent.read.Load() - taken; ahead > most {
				t.Errorf("%d bytes were read of the client before the hub had taken them", ahead)
				return
			}
		}
	}))
	answers(t, newFront(t, ample, b.start()), request(t, "PUT", "/a"), writeOf(sent, 24<<20))
	if n := sent.read.Load(); n != 24<<20 {
		t.Errorf("%d bytes were sent", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestStopWaits for what is under way, and takes nothing new.
func TestStopWaits(t *testing.T) {
	t.Parallel()
	began, finish := make(chan struct{}), make(chan struct{})
	b, receiver := newHub(t, "owner", accepting(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/probe" {
			return
		}
		began <- struct{}{}
		<-finish
		_, _ = io.WriteString(w, "value")
	}))
	f := newFront(t, ample, b.start())
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() { answered <- answers(t, f, request(t, "PUT", "/a"), write) }()
	await(t, began, "the request")
	stopped := make(chan error, 1)
	go func() { stopped <- receiver.Stop(t.Context()) }()
	hurried := newFront(t, time.Second, b)
	for {
		err := hurried.Forward(httptest.NewRecorder(), request(t, "PUT", "/probe"), write)
		if err != nil { // once Stop has begun
			if !strings.Contains(err.Error(), "it stops") {
				t.Error(err)
			}
			break
		}
	}
	select {
	case err := <-stopped:
		t.Fatalf("Stop returned with a request under way: %v", err)
	default:
	}
	close(finish)
	if err := await(t, stopped, "the stop"); err != nil {
		t.Error(err)
	}
	if w := await(t, answered, "the answer"); w.Body.String() != "value" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// TestStopCutsOff what takes longer than it may, wherever that waits for the other hub.
func TestStopCutsOff(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"reading": func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"writing": func(w http.ResponseWriter, r *http.Request) {
			for err := error(nil); err == nil; _, err = w.Write(make([]byte, 1<<20)) {
			}
		},
		"working": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			began := make(chan struct{})
			receiver := forward.New(forward.Options{})
			b := scripted(t, "owner", func(stream dbv1.Hubs_ForwardServer) error {
				return receiver.Serve(stream, accepting(func(w http.ResponseWriter, r *http.Request) {
					close(began)
					h(w, r)
				}))
			}).start()
			f := newFront(t, ample, b)
			ended := make(chan error, 1)
			block := make(chan struct{})
			go func() {
				ended <- f.Forward(&blocked{httptest.NewRecorder(), block}, request(t, "PUT", "/a"), writeOf(newStalled("a"), -1))
			}()
			await(t, began, "the request")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := receiver.Stop(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Stop: %v", err)
			}
			close(block)
			var cut *forward.CutError
			if err := await(t, ended, "the request's end"); !errors.As(err, &cut) {
				t.Errorf("the sender: %v", err)
			}
		})
	}
}

// blocked takes nothing of an answer before it is let.
type blocked struct {
	*httptest.ResponseRecorder
	until chan struct{}
}

func (b *blocked) Write(p []byte) (int, error) {
	<-b.until
	return len(p), nil
}

// TestAHeadThatCantBeRead is refused, and harms nobody.
func TestAHeadThatCantBeRead(t *testing.T) {
	b, _ := newHub(t, "owner", http.NotFoundHandler())
	client, err := newPeers(t).Hubs(b.start().address)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*dbv1.ForwardRequest{
		{}, {Body: &dbv1.ForwardRequest_Part{Part: []byte("a")}},
		{Body: &dbv1.ForwardRequest_Head{Head: &dbv1.ForwardHead{Method: "GET", Target: "no path"}}},
		{Body: &dbv1.ForwardRequest_Head{Head: &dbv1.ForwardHead{Method: "GET", Target: "/%zz"}}},
	} {
		stream, err := client.Forward(t.Context())
		if err == nil {
			err = stream.Send(m)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", m, err)
		}
	}
}
