package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// fakeNode is a node with one model: cells in memory and a log of their changes. It
// implements the service View, and datamodel.Views by going through none.
type fakeNode struct {
	pluginv1.UnimplementedViewServer

	mu     sync.Mutex
	spaces map[string]*fakeSpace
	synced int // how often a model has synced
	page   int // items that Sync tells at once
}

type fakeSpace struct {
	cells map[string]datamodel.Item
	log   []datamodel.Item // LSN i is log[i-1]
}

func newFakeNode() *fakeNode { return &fakeNode{spaces: map[string]*fakeSpace{}, page: 7} }

func (n *fakeNode) space(name string) *fakeSpace {
	if n.spaces[name] == nil {
		n.spaces[name] = &fakeSpace{cells: map[string]datamodel.Item{}}
	}
	return n.spaces[name]
}

func (s *fakeSpace) position() datamodel.Position {
	return datamodel.Position{Lineage: "00", Epoch: 1, LSN: uint64(len(s.log))}
}

// commit applies operations unless a read has changed.
func (n *fakeNode) commit(namespace string, a datamodel.Answer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.space(namespace)
	for _, r := range a.Reads {
		if s.cells[string(r.Key)].Version != r.Version {
			return false
		}
	}
	for _, o := range a.Operations {
		s.put(o)
	}
	return true
}

func (s *fakeSpace) put(o datamodel.Operation) {
	item := datamodel.Item{Key: o.Key}
	if o.Delete {
		delete(s.cells, string(o.Key))
	} else {
		item.Value, item.Version = o.Value, fmt.Sprint(len(s.log)+1)
		s.cells[string(o.Key)] = item
	}
	s.log = append(s.log, item)
}

// View implements datamodel.Views.
func (n *fakeNode) View(namespace string) datamodel.View { return fakeView{n, namespace} }

type fakeView struct {
	node      *fakeNode
	namespace string
}

// Get implements datamodel.View.
func (v fakeView) Get(_ context.Context, keys ...[]byte) ([]datamodel.Item, datamodel.Position, error) {
	v.node.mu.Lock()
	defer v.node.mu.Unlock()
	s := v.node.space(v.namespace)
	var items []datamodel.Item
	for _, key := range keys {
		item, ok := s.cells[string(key)]
		if !ok {
			item = datamodel.Item{Key: key}
		}
		items = append(items, item)
	}
	return items, s.position(), nil
}

func (s *fakeSpace) keys() []string {
	keys := make([]string, 0, len(s.cells))
	for key := range s.cells {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Scan implements datamodel.View.
func (v fakeView) Scan(_ context.Context, prefix, after []byte, limit int) (datamodel.Page, error) {
	v.node.mu.Lock()
	defer v.node.mu.Unlock()
	s := v.node.space(v.namespace)
	p := datamodel.Page{Position: s.position()}
	for _, key := range s.keys() {
		if !strings.HasPrefix(key, string(prefix)) || key <= string(after) {
			continue
		}
		if len(p.Items) == limit {
			p.More = true
			break
		}
		p.Items, p.Last = append(p.Items, s.cells[key]), []byte(key)
	}
	return p, nil
}

// Sync implements datamodel.View.
func (v fakeView) Sync(_ context.Context, from datamodel.Position, fn func(bool, []datamodel.Item) error) (datamodel.Position, error) {
	v.node.mu.Lock()
	s := v.node.space(v.namespace)
	v.node.synced++
	at, reset := s.position(), from == datamodel.Position{}
	var items []datamodel.Item
	if reset {
		for _, key := range s.keys() {
			items = append(items, s.cells[key])
		}
	} else {
		items = slices.Clone(s.log[from.LSN:])
	}
	v.node.mu.Unlock()
	if reset {
		if err := fn(true, nil); err != nil {
			return at, err
		}
	}
	for page := range slices.Chunk(items, v.node.page) {
		if err := fn(false, page); err != nil {
			return at, err
		}
	}
	return at, nil
}

func wire(items []datamodel.Item) []*pluginv1.Item {
	out := make([]*pluginv1.Item, len(items))
	for i, item := range items {
		out[i] = &pluginv1.Item{Key: item.Key, Value: item.Value, Version: item.Version}
	}
	return out
}

func wirePosition(p datamodel.Position) *pluginv1.Position {
	return &pluginv1.Position{Lineage: p.Lineage, Epoch: p.Epoch, Lsn: p.LSN}
}

// Get implements the service View.
func (n *fakeNode) Get(ctx context.Context, r *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	items, at, err := n.View(r.GetNamespace()).Get(ctx, r.GetKeys()...)
	return &pluginv1.GetResponse{Items: wire(items), Position: wirePosition(at)}, err
}

// Sync implements the service View.
func (n *fakeNode) Sync(r *pluginv1.SyncRequest, stream grpc.ServerStreamingServer[pluginv1.SyncResponse]) error {
	from := datamodel.Position{Lineage: r.GetFrom().GetLineage(), Epoch: r.GetFrom().GetEpoch(), LSN: r.GetFrom().GetLsn()}
	at, err := n.View(r.GetNamespace()).Sync(stream.Context(), from, func(reset bool, items []datamodel.Item) error {
		return stream.Send(&pluginv1.SyncResponse{Reset_: reset, Items: wire(items)})
	})
	if err != nil {
		return err
	}
	return stream.Send(&pluginv1.SyncResponse{Position: wirePosition(at)})
}

// modelOn is a configured model, without gRPC.
func modelOn(t testing.TB, n *fakeNode, memory string) *Model {
	t.Helper()
	m := &Model{}
	c, err := plugin.NewConfig("vector", object{"memory": memory})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Configure(context.Background(), c, n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// ask calls as a node does, again after conflicts, and commits.
func (n *fakeNode) ask(m *Model, namespace, method string, body any) (datamodel.Answer, error) {
	encoded, ok := body.([]byte)
	if !ok {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return datamodel.Answer{}, err
		}
	}
	for {
		a, err := m.Call(context.Background(), datamodel.Call{
			Namespace: namespace, Method: method, Body: encoded, View: n.View(namespace),
		})
		if err != nil || n.commit(namespace, a) {
			return a, err
		}
	}
}

// must is ask where nothing can go wrong.
func (n *fakeNode) must(t testing.TB, m *Model, namespace, method string, body any) string {
	t.Helper()
	a, err := n.ask(m, namespace, method, body)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return string(a.Body)
}

// overSockets serves a program over gRPC on a socket, with a node's views on another.
func overSockets(t testing.TB, n *fakeNode) pluginv1.DataModelClient {
	t.Helper()
	dir := t.TempDir()
	views := grpc.NewServer()
	pluginv1.RegisterViewServer(views, n)
	dial := serveOn(t, views, dir+"/v")
	g, stop, err := datamodel.NewServer(Program("0.0.0"), hclog.NewNullLogger(), func(uint32) (*grpc.ClientConn, error) { return dial() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	conn, err := serveOn(t, g, dir+"/p")()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r, err := pluginv1.NewPluginClient(conn).Configure(context.Background(), &pluginv1.ConfigureRequest{
		Config: []byte(`{"memory":"1GiB"}`), Namespaces: []string{"default"},
	})
	if err != nil || len(r.GetProblems()) > 0 {
		t.Fatalf("configure: %v, %v", r.GetProblems(), err)
	}
	return pluginv1.NewDataModelClient(conn)
}

func serveOn(t testing.TB, g *grpc.Server, path string) func() (*grpc.ClientConn, error) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	return func() (*grpc.ClientConn, error) {
		return grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
}
