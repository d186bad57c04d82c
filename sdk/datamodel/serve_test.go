package datamodel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// scripted is a model of a test.
type scripted struct {
	views datamodel.Views
	call  func(context.Context, datamodel.Call) (datamodel.Answer, error)
}

func (s *scripted) Configure(_ context.Context, _ plugin.Config, v datamodel.Views) error {
	s.views = v
	return nil
}

func (s *scripted) Call(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	return s.call(ctx, c)
}

func (s *scripted) Close(context.Context) error { return nil }

// node serves the service View by a script.
type node struct {
	pluginv1.UnimplementedViewServer
	get  func(*pluginv1.GetRequest) (*pluginv1.GetResponse, error)
	scan func(*pluginv1.ScanRequest) (*pluginv1.ScanResponse, error)
	sync func(*pluginv1.SyncRequest, grpc.ServerStreamingServer[pluginv1.SyncResponse]) error
}

func (n *node) Get(_ context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	return n.get(r)
}

func (n *node) Scan(_ context.Context, r *pluginv1.ScanRequest) (*pluginv1.ScanResponse, error) {
	return n.scan(r)
}

func (n *node) Sync(r *pluginv1.SyncRequest, s grpc.ServerStreamingServer[pluginv1.SyncResponse]) error {
	return n.sync(r, s)
}

// listen serves a gRPC server from memory.
func listen(t *testing.T, g *grpc.Server) func() (*grpc.ClientConn, error) {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	done := make(chan error, 1)
	go func() { done <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return func() (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	}
}

var methods = []datamodel.Method{{Name: "write", Writes: true}, {Name: "read"}}

// serve serves a configured model over a node.
func serve(t *testing.T, m datamodel.Model, n *node) pluginv1.DataModelClient {
	t.Helper()
	views := grpc.NewServer()
	pluginv1.RegisterViewServer(views, n)
	dialViews := listen(t, views)
	g, stop, err := datamodel.NewServer(datamodel.Program{
		Info: plugin.Info{Name: "test", Version: "1"}, Model: m, Methods: methods,
	}, hclog.NewNullLogger(), func(id uint32) (*grpc.ClientConn, error) {
		if id != 7 {
			t.Errorf("the views are looked for at %d", id)
		}
		return dialViews()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(patient(t)); err != nil {
			t.Error(err)
		}
	})
	conn, err := listen(t, g)()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server's end follows
	answer, err := pluginv1.NewPluginClient(conn).Configure(patient(t), &pluginv1.ConfigureRequest{ViewBrokerId: 7})
	if err != nil || len(answer.GetProblems()) > 0 {
		t.Fatalf("Configure: %v, %v", answer, err)
	}
	return pluginv1.NewDataModelClient(conn)
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestCall(t *testing.T) {
	var got datamodel.Call
	m := &scripted{call: func(_ context.Context, c datamodel.Call) (datamodel.Answer, error) {
		got = c
		return datamodel.Answer{
			Body: []byte("body"), ContentType: "text/plain", Status: 201,
			Operations: []datamodel.Operation{{Key: []byte("k"), Value: []byte("v")}, {Key: []byte("d"), Delete: true}},
			Reads:      []datamodel.Read{{Key: []byte("r"), Version: "5"}},
			Position:   datamodel.Position{Lineage: "l", Epoch: 2, LSN: 3},
		}, nil
	}}
	answer, err := serve(t, m, &node{}).Call(patient(t), &pluginv1.CallRequest{
		Namespace: "n", Method: "write", Body: []byte("request"), ContentType: "a/b",
		AtLeast: &pluginv1.Position{Lineage: "l", Epoch: 1, Lsn: 2}, MayWrite: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Namespace != "n" || got.Method != "write" || string(got.Body) != "request" || got.ContentType != "a/b" ||
		got.AtLeast != (datamodel.Position{Lineage: "l", Epoch: 1, LSN: 2}) || got.View == nil {
		t.Errorf("the call is %+v", got)
	}
	o, r := answer.GetOperations(), answer.GetReads()
	if string(answer.GetBody()) != "body" || answer.GetContentType() != "text/plain" || answer.GetStatus() != 201 ||
		len(o) != 2 || string(o[0].GetValue()) != "v" || !o[1].GetDelete() ||
		len(r) != 1 || r[0].GetVersion() != "5" || answer.GetPosition().GetLsn() != 3 {
		t.Errorf("the answer is %v", answer)
	}
}

// TestCallErrors: what the client did wrong is an answer, all else an error of
// the call, with the node's code where it was the node's.
func TestCallErrors(t *testing.T) {
	var answer datamodel.Answer
	var failure error
	m := &scripted{call: func(context.Context, datamodel.Call) (datamodel.Answer, error) { return answer, failure }}
	c := serve(t, m, &node{})
	call := func(method string) (*pluginv1.CallResponse, error) {
		return c.Call(patient(t), &pluginv1.CallRequest{Namespace: "n", Method: method})
	}

	for name, e := range map[string]struct {
		method string
		err    error
		status uint32
		body   string
	}{
		"unknown method": {"none", nil, 404, `{"error":"the model has no method \"none\"","code":"METHOD_NOT_FOUND"}`},
		"refused":        {"read", fmt.Errorf("wrapped: %w", &datamodel.Error{Status: 422, Code: "ODD", Message: "even it"}), 422, `{"error":"even it","code":"ODD"}`},
		"no status":      {"read", &datamodel.Error{Code: "X", Message: "m"}, 400, `{"error":"m","code":"X"}`},
	} {
		failure = e.err
		got, err := call(e.method)
		if err != nil || got.GetStatus() != e.status || string(got.GetBody()) != e.body || got.GetContentType() != "application/json" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}

	for want, err := range map[codes.Code]error{
		codes.Unknown:     errors.New("some"),
		codes.Unavailable: fmt.Errorf("view: %w", status.Error(codes.Unavailable, "busy")),
	} {
		failure = err
		if _, err := call("read"); status.Code(err) != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}

	answer, failure = datamodel.Answer{Operations: []datamodel.Operation{{Key: []byte("k")}}}, nil
	if _, err := call("read"); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "mistake in the plugin") {
		t.Errorf("a method that doesn't write wrote: %v", err)
	}
}

func TestView(t *testing.T) {
	n := &node{
		get: func(r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
			if string(r.GetKeys()[0]) == "short" {
				return &pluginv1.GetResponse{}, nil
			}
			return &pluginv1.GetResponse{
				Items:    []*pluginv1.Item{{Key: r.GetKeys()[0], Value: []byte(r.GetNamespace()), Version: "1"}, {Key: r.GetKeys()[1]}},
				Position: &pluginv1.Position{Lsn: 9},
			}, nil
		},
		scan: func(r *pluginv1.ScanRequest) (*pluginv1.ScanResponse, error) {
			if r.GetLimit() == 0 {
				return nil, status.Error(codes.Unavailable, "busy")
			}
			return &pluginv1.ScanResponse{
				Items: []*pluginv1.Item{{Key: slices.Concat(r.GetPrefix(), r.GetAfter()), Version: "2"}}, More: true, Last: []byte("last"),
				Position: &pluginv1.Position{Lsn: uint64(r.GetLimit())},
			}, nil
		},
	}
	m := &scripted{}
	serve(t, m, n)
	v := m.views.View("n")
	items, p, err := v.Get(patient(t), []byte("a"), []byte("b"))
	if err != nil || p.LSN != 9 || len(items) != 2 || string(items[0].Value) != "n" || items[1].Version != "" {
		t.Errorf("get: %+v, %+v, %v", items, p, err)
	}
	if _, _, err := v.Get(patient(t), []byte("short")); err == nil {
		t.Error("get: an answer that lacks items was taken")
	}
	page, err := v.Scan(patient(t), []byte("p"), []byte("a"), 5)
	if err != nil || string(page.Items[0].Key) != "pa" || !page.More || string(page.Last) != "last" || page.Position.LSN != 5 {
		t.Errorf("scan: %+v, %v", page, err)
	}
	if _, err := v.Scan(patient(t), nil, nil, -1); status.Code(err) != codes.Unavailable {
		t.Errorf("scan: %v", err)
	}
}

func TestSync(t *testing.T) {
	item := func(key string) []*pluginv1.Item { return []*pluginv1.Item{{Key: []byte(key)}} }
	var from *pluginv1.Position
	var messages []*pluginv1.SyncResponse
	var end error
	n := &node{sync: func(r *pluginv1.SyncRequest, s grpc.ServerStreamingServer[pluginv1.SyncResponse]) error {
		from = r.GetFrom()
		for _, m := range messages {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		return end
	}}
	m := &scripted{}
	serve(t, m, n)
	sync := func(from datamodel.Position, stop error) (got []string, p datamodel.Position, err error) {
		p, err = m.views.View("n").Sync(patient(t), from, func(reset bool, items []datamodel.Item) error {
			line := fmt.Sprint(reset)
			for _, i := range items {
				line += " " + string(i.Key)
			}
			got = append(got, line)
			return stop
		})
		return got, p, err
	}
	reached := &pluginv1.Position{Lineage: "l", Epoch: 1, Lsn: 5}

	messages = []*pluginv1.SyncResponse{{Reset_: true}, {Items: item("a")}, {Items: item("b"), Position: reached}}
	got, p, err := sync(datamodel.Position{}, nil)
	if err != nil || from != nil || p != (datamodel.Position{Lineage: "l", Epoch: 1, LSN: 5}) ||
		!slices.Equal(got, []string{"true", "false a", "false b"}) {
		t.Errorf("from nowhere: %q, %+v, %v", got, p, err)
	}

	messages = []*pluginv1.SyncResponse{{Position: reached}}
	got, p, err = sync(p, nil)
	if err != nil || from.GetLsn() != 5 || p.LSN != 5 || len(got) != 0 {
		t.Errorf("nothing new: %q, %+v, %v", got, p, err)
	}

	messages = []*pluginv1.SyncResponse{{Items: item("a")}, {Items: item("b"), Position: reached}}
	stop := errors.New("stop")
	if got, p, err = sync(p, stop); !errors.Is(err, stop) || p != (datamodel.Position{}) || len(got) != 1 {
		t.Errorf("stopped: %q, %+v, %v", got, p, err)
	}
	messages = messages[:1]
	if _, p, err = sync(p, nil); err == nil || p != (datamodel.Position{}) {
		t.Errorf("without a position: %+v, %v", p, err)
	}
	end = status.Error(codes.Unavailable, "cut")
	if _, p, err = sync(p, nil); status.Code(err) != codes.Unavailable || p != (datamodel.Position{}) {
		t.Errorf("cut: %+v, %v", p, err)
	}
}

// TestMistakeInProgram: methods that can't be told apart are an error at the start.
func TestMistakeInProgram(t *testing.T) {
	for _, m := range [][]datamodel.Method{{{Name: "a"}, {Name: "a"}}, {{}}} {
		if _, _, err := datamodel.NewServer(datamodel.Program{Model: &scripted{}, Methods: m}, hclog.NewNullLogger(), nil); err == nil {
			t.Errorf("%v was taken", m)
		}
	}
}
