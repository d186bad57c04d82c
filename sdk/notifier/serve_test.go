package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// scripted is a notifier of a test.
type scripted struct {
	configure func(plugin.Config) error
	notify    func(context.Context, notifier.Batch) (notifier.Result, error)
	closed    int
}

func (s *scripted) Configure(_ context.Context, c plugin.Config) error {
	if s.configure == nil {
		return nil
	}
	return s.configure(c)
}

func (s *scripted) Notify(ctx context.Context, b notifier.Batch) (notifier.Result, error) {
	return s.notify(ctx, b)
}

func (s *scripted) Close(context.Context) error {
	s.closed++
	return nil
}

type settings struct {
	URL string `config:"url,required"`
}

// serve serves a notifier and connects to it.
func serve(t *testing.T, n notifier.Notifier, log hclog.Logger) *notifier.Client {
	t.Helper()
	g, stop, err := notifier.NewServer(notifier.Program{
		Info: plugin.Info{Name: "test", Version: "1.2.3"}, Config: settings{}, Notifier: n,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 16)
	done := make(chan error, 1)
	go func() { done <- g.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close() // the server ends it, too
		g.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // it may not have begun
			t.Error(err)
		}
		if err := stop(patient(t)); err != nil {
			t.Error(err)
		}
	})
	return &notifier.Client{PluginClient: pluginv1.NewPluginClient(conn), NotifierClient: pluginv1.NewNotifierClient(conn)}
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func configure(t *testing.T, c *notifier.Client) {
	t.Helper()
	answer, err := c.Configure(patient(t), &pluginv1.ConfigureRequest{Config: []byte(`{"url":"u"}`), Name: "n", NodeId: "node", Namespaces: []string{"a"}})
	if err != nil || len(answer.GetProblems()) > 0 {
		t.Fatalf("Configure: %v, %v", answer, err)
	}
}

func notify(t *testing.T, c *notifier.Client, events int) (*pluginv1.NotifyResponse, error) {
	t.Helper()
	r := &pluginv1.NotifyRequest{Namespace: "default", Lineage: "l"}
	for i := range events {
		r.Events = append(r.Events, &pluginv1.Event{Key: fmt.Appendf(nil, "%d", i), Operation: pluginv1.Operation_OPERATION_PUT})
	}
	return c.Notify(patient(t), r)
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("got %v, want the code %v", err, want)
	}
}

// TestLife: Configure once, Notify only between it and Drain, Close once.
func TestLife(t *testing.T) {
	accept := func(context.Context, notifier.Batch) (notifier.Result, error) { return notifier.Result{}, nil }
	var got plugin.Config
	n := &scripted{notify: accept, configure: func(c plugin.Config) error { got = c; return nil }}
	c := serve(t, n, hclog.NewNullLogger())

	_, err := notify(t, c, 1)
	wantCode(t, err, codes.FailedPrecondition)
	configure(t, c)
	if got.Name != "n" || got.NodeID != "node" || len(got.Namespaces) != 1 || got.Logger == nil {
		t.Errorf("the configuration is %+v", got)
	}
	_, err = c.Configure(patient(t), &pluginv1.ConfigureRequest{Config: []byte(`{"url":"u"}`)})
	wantCode(t, err, codes.FailedPrecondition)
	if _, err := notify(t, c, 1); err != nil {
		t.Error(err)
	}
	for range 2 {
		if _, err := c.Drain(patient(t), &pluginv1.DrainRequest{}); err != nil {
			t.Error(err)
		}
	}
	if n.closed != 1 {
		t.Errorf("it was closed %d times", n.closed)
	}
	_, err = notify(t, c, 1)
	wantCode(t, err, codes.Unavailable)
}

// TestConfigureProblems: the schema's come before the author's; what isn't a
// problem of the configuration is an error of the call.
func TestConfigureProblems(t *testing.T) {
	blame := func(err error) func(plugin.Config) error { return func(plugin.Config) error { return err } }
	for name, c := range map[string]struct {
		config    string
		configure func(plugin.Config) error
		path      string // of the problem
		code      codes.Code
	}{
		"schema":  {config: `{}`, path: "url"},
		"author":  {config: `{"url":"u"}`, configure: blame(fmt.Errorf("wrapped: %w", plugin.Problems{{Path: "url", Message: "no"}})), path: "url"},
		"error":   {config: `{"url":"u"}`, configure: blame(errors.New("no network")), code: codes.Unknown},
		"no JSON": {config: `{`, path: ""},
	} {
		n := &scripted{configure: c.configure}
		client := serve(t, n, hclog.NewNullLogger())
		answer, err := client.Configure(patient(t), &pluginv1.ConfigureRequest{Config: []byte(c.config)})
		wantCode(t, err, c.code)
		if c.code == codes.OK && (len(answer.GetProblems()) != 1 || answer.GetProblems()[0].GetPath() != c.path) {
			t.Errorf("%s: the problems are %v", name, answer.GetProblems())
		}
		_, err = notify(t, client, 1)
		wantCode(t, err, codes.FailedPrecondition)
		if _, err := client.Drain(patient(t), &pluginv1.DrainRequest{}); err != nil || n.closed != 0 {
			t.Errorf("%s: drained with %v, closed %d times", name, err, n.closed)
		}
	}
}

// TestDrainWaits: Close comes behind the last Notify, or not at all.
func TestDrainWaits(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	n := &scripted{notify: func(context.Context, notifier.Batch) (notifier.Result, error) {
		close(entered)
		<-leave
		return notifier.Result{}, nil
	}}
	c := serve(t, n, hclog.NewNullLogger())
	configure(t, c)
	notified := make(chan error, 1)
	go func() {
		_, err := notify(t, c, 1)
		notified <- err
	}()
	<-entered
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Drain(short, &pluginv1.DrainRequest{})
	wantCode(t, err, codes.DeadlineExceeded)

	drained := make(chan error, 1)
	go func() {
		_, err := c.Drain(patient(t), &pluginv1.DrainRequest{})
		drained <- err
	}()
	close(leave)
	if err := <-notified; err != nil {
		t.Error(err)
	}
	if err := <-drained; err != nil || n.closed != 1 {
		t.Errorf("drained with %v, closed %d times", err, n.closed)
	}
}

// TestResults: what a notifier answers reaches the node, and what contradicts
// itself is an error.
func TestResults(t *testing.T) {
	var result notifier.Result
	var failure error
	n := &scripted{notify: func(context.Context, notifier.Batch) (notifier.Result, error) { return result, failure }}
	c := serve(t, n, hclog.NewNullLogger())
	configure(t, c)

	result = notifier.Result{RetryAfter: 3 * time.Second, Rejected: []notifier.Rejection{
		{Event: 2, Cause: notifier.Blocked, Reason: "behind"}, {Event: 0, Cause: notifier.Refused, Reason: "no"},
	}}
	answer, err := notify(t, c, 3)
	if err != nil {
		t.Fatal(err)
	}
	if r := answer.GetRejected(); len(r) != 2 || r[0].GetEvent() != 0 || r[0].GetCause() != pluginv1.Rejection_CAUSE_REFUSED ||
		r[1].GetEvent() != 2 || r[1].GetCause() != pluginv1.Rejection_CAUSE_BLOCKED || r[1].GetReason() != "behind" {
		t.Errorf("rejected: %v", r)
	}
	if got := answer.GetRetryAfter().AsDuration(); got != 3*time.Second {
		t.Errorf("retry after %v", got)
	}
	for name, rejected := range map[string][]notifier.Rejection{
		"beyond":   {{Event: 3, Cause: notifier.Refused}},
		"negative": {{Event: -1, Cause: notifier.Refused}},
		"twice":    {{Event: 1, Cause: notifier.Refused}, {Event: 1, Cause: notifier.Refused}},
		"no cause": {{Event: 1}},
	} {
		result = notifier.Result{Rejected: rejected}
		if _, err := notify(t, c, 3); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "mistake in the plugin") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, err := range map[codes.Code]error{
		codes.Unknown:          errors.New("some"),
		codes.Canceled:         fmt.Errorf("post: %w", context.Canceled),
		codes.DeadlineExceeded: fmt.Errorf("post: %w", context.DeadlineExceeded),
		codes.Unavailable:      fmt.Errorf("read: %w", status.Error(codes.Unavailable, "the node is busy")),
	} {
		result, failure = notifier.Result{}, err
		_, got := notify(t, c, 1)
		wantCode(t, got, want)
	}
}

// TestPanic: it costs the call, and the log says where it was.
func TestPanic(t *testing.T) {
	n := &scripted{notify: func(context.Context, notifier.Batch) (notifier.Result, error) { panic("planted") }}
	var log strings.Builder
	c := serve(t, n, hclog.New(&hclog.LoggerOptions{Output: &log, JSONFormat: true}))
	configure(t, c)
	for range 2 {
		_, err := notify(t, c, 1)
		wantCode(t, err, codes.Internal)
	}
	if _, err := c.Drain(patient(t), &pluginv1.DrainRequest{}); err != nil || n.closed != 1 {
		t.Errorf("drained with %v, closed %d times: the panicked calls still count", err, n.closed)
	}
	for _, want := range []string{`"@level":"error"`, "planted", "/Notify", "TestPanic"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
	for line := range strings.Lines(log.String()) {
		if len(line) > 4000 {
			t.Errorf("a line has %d bytes: a node cuts it off", len(line))
		}
	}
}

// TestOperations: the words of the contract, and none for what isn't known.
func TestOperations(t *testing.T) {
	r := &pluginv1.NotifyRequest{}
	want := []notifier.Operation{notifier.Put, notifier.Delete, notifier.DeleteRow, notifier.Expire, notifier.Reset, "operation_99", "operation_0"}
	for _, o := range []pluginv1.Operation{1, 2, 3, 4, 5, 99, 0} {
		r.Events = append(r.Events, &pluginv1.Event{Operation: o})
	}
	for i, e := range notifier.BatchOf(r).Events {
		if e.Operation != want[i] {
			t.Errorf("operation %d is %q, want %q", i, e.Operation, want[i])
		}
	}
}

// TestMistakeInProgram: a schema that can't be is an error at the start.
func TestMistakeInProgram(t *testing.T) {
	_, _, err := notifier.NewServer(notifier.Program{Config: struct{ Untagged int }{}, Notifier: &scripted{}}, hclog.NewNullLogger())
	if err == nil || !strings.Contains(err.Error(), "Untagged") {
		t.Errorf("got %v", err)
	}
}
