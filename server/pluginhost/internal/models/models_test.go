package models

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	model = "counter"
	space = "things"
)

// fixture is a node with one namespace, and a program's connection to it.
type fixture struct {
	t      testing.TB
	ctx    context.Context
	db     *dbkernel.DB
	fs     vfs.FS
	client pluginv1.ViewClient
}

func newFixture(t testing.TB, change ...func(*dbkernel.Options)) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	f := &fixture{t: t, ctx: ctx, fs: vfs.NewMem()}
	f.db = f.open(change...)
	if _, err := f.db.Create(space, dbkernel.Lineage{}); err != nil {
		t.Fatal(err)
	}
	v := NewView(model, []string{space, "absent"}, f.source)
	v.pageItems = 9
	f.client = f.connect(v)
	return f
}

func (f *fixture) source(name string) (*dbkernel.Namespace, error) { return f.db.Namespace(name) }

func (f *fixture) open(change ...func(*dbkernel.Options)) *dbkernel.DB {
	f.t.Helper()
	o := dbkernel.Options{
		Dir: "/data", FS: f.fs,
		Logger:   hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: testLog{f.t}}),
		Defaults: dbkernel.NamespaceOptions{Storage: dbkernel.StorageOptions{Engine: dbkernel.EngineMemory}},
	}
	for _, change := range change {
		change(&o)
	}
	db, err := dbkernel.Open(o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = db.Close() })
	return db
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

// connect serves a view over a connection in memory.
func (f *fixture) connect(v pluginv1.ViewServer) pluginv1.ViewClient {
	f.t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	pluginv1.RegisterViewServer(server, v)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:view", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(80<<20)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			f.t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // it may not have begun
			f.t.Error(err)
		}
	})
	return pluginv1.NewViewClient(conn)
}

func (f *fixture) ns() *dbkernel.Namespace {
	f.t.Helper()
	n, err := f.db.Namespace(space)
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fixture) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) update(fn func(*dbkernel.Tx) error) dbkernel.Position {
	f.t.Helper()
	pos, err := f.ns().Update(f.ctx, fn)
	f.check(err)
	return pos
}

func (f *fixture) put(key, value string) dbkernel.Position {
	f.t.Helper()
	return f.update(func(t *dbkernel.Tx) error { return t.PutModel(model, []byte(key), []byte(value)) })
}

// index is what a program keeps of its cells.
type index struct {
	cells    map[string]cell
	position *pluginv1.Position
	messages int // of the last Sync
	resets   int
	longest  int // message, in bytes
	items    int // of the last Sync
}

type cell struct{ value, version string }

// lsn is the record that wrote the cell.
func (c cell) lsn() uint64 {
	_, lsn, _ := strings.Cut(c.version, "-")
	n, _ := strconv.ParseUint(lsn, 16, 64)
	return n
}

// sync brings the index to the newest position. After an error it begins anew.
func (x *index) sync(ctx context.Context, client pluginv1.ViewClient) error {
	x.messages, x.items, x.longest = 0, 0, 0
	err := x.receive(ctx, client)
	if err != nil {
		x.position = nil
	}
	return err
}

func (x *index) receive(ctx context.Context, client pluginv1.ViewClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Sync(ctx, &pluginv1.SyncRequest{Namespace: space, From: x.position})
	if err != nil {
		return err
	}
	for ended := false; ; {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && ended:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the stream ended without a position")
		case err != nil:
			return err
		case ended:
			return errors.New("something came behind the position")
		}
		if err := x.take(m); err != nil {
			return err
		}
		ended = m.GetPosition() != nil
	}
}

// take takes a message.
func (x *index) take(m *pluginv1.SyncResponse) error {
	if m.GetReset_() && x.messages > 0 {
		return errors.New("a reset that isn't in the first message")
	}
	if x.messages == 0 && x.position == nil && !m.GetReset_() {
		return errors.New("from nowhere, and no reset")
	}
	if m.GetReset_() {
		x.cells = map[string]cell{}
		x.resets++
	}
	size := 0
	for _, item := range m.GetItems() {
		key := string(item.GetKey())
		size += len(key) + len(item.GetValue())
		if item.GetVersion() == "" {
			delete(x.cells, key)
			continue
		}
		c := cell{string(item.GetValue()), item.GetVersion()}
		if old := x.cells[key]; c.lsn() < old.lsn() {
			return fmt.Errorf("key %q goes back from version %s to %s", key, old.version, c.version)
		}
		x.cells[key] = c
	}
	x.messages++
	x.items += len(m.GetItems())
	x.longest = max(x.longest, size)
	if m.GetPosition() != nil {
		x.position = m.GetPosition()
	}
	return nil
}

// scanned is what scans say, and at which position, which is that of all pages where
// nobody writes.
func (f *fixture) scanned(limit uint32) (cells map[string]cell, at *pluginv1.Position) {
	f.t.Helper()
	cells = map[string]cell{}
	r := &pluginv1.ScanRequest{Namespace: space, Limit: limit}
	for {
		page, err := f.client.Scan(f.ctx, r)
		f.check(err)
		for _, item := range page.GetItems() {
			cells[string(item.GetKey())] = cell{string(item.GetValue()), item.GetVersion()}
		}
		if !page.GetMore() {
			return cells, page.GetPosition()
		}
		r.After = page.GetLast()
	}
}
