// Package sdktest tests plugins: suites that run any notifier or data model as a
// node does, over gRPC, in the test's own process or as a program of its own,
// whatever language that is written in.
package sdktest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// patience is how long a suite waits for anything: a backstop, not a measure.
const patience = time.Minute

// running is a plugin that was started.
type running struct {
	plugin   pluginv1.PluginClient
	notifier pluginv1.NotifierClient  // of a notifier
	model    pluginv1.DataModelClient // of a data model
	view     uint32                   // where a data model finds the service View
}

// starter starts a fresh plugin, which ends with the test.
type starter func(t *testing.T) running

// deadline bounds one call to a plugin.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// notifierInProcess serves a notifier from memory.
func notifierInProcess(program func(*testing.T) notifier.Program) starter {
	return func(t *testing.T) running {
		t.Helper()
		g, stop, err := notifier.NewServer(program(t), testLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		conn := serveInMemory(t, g, stop)
		return running{plugin: pluginv1.NewPluginClient(conn), notifier: pluginv1.NewNotifierClient(conn)}
	}
}

// modelInProcess serves a data model from memory, with a view of its own.
func modelInProcess(program func(*testing.T) datamodel.Program, view pluginv1.ViewServer) starter {
	return func(t *testing.T) running {
		t.Helper()
		views := grpc.NewServer()
		pluginv1.RegisterViewServer(views, view)
		listener := bufconn.Listen(1 << 20)
		serveUntilEnd(t, views, listener)
		dial := func(uint32) (*grpc.ClientConn, error) { return dialMemory(listener) }

		g, stop, err := datamodel.NewServer(program(t), testLogger(t), dial)
		if err != nil {
			t.Fatal(err)
		}
		conn := serveInMemory(t, g, stop)
		return running{plugin: pluginv1.NewPluginClient(conn), model: pluginv1.NewDataModelClient(conn)}
	}
}

// serveInMemory serves a plugin until the test's end, where it hangs up as a node
// does and then stops the plugin.
func serveInMemory(t *testing.T, g *grpc.Server, stop func(context.Context) error) *grpc.ClientConn {
	t.Helper()
	t.Cleanup(func() { // runs last
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := stop(ctx); err != nil {
			t.Errorf("the plugin didn't close: %v", err)
		}
	})
	listener := bufconn.Listen(1 << 20)
	serveUntilEnd(t, g, listener)
	conn, err := dialMemory(listener)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeQuietly(conn) })
	return conn
}

func serveUntilEnd(t *testing.T, g *grpc.Server, listener net.Listener) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
}

func dialMemory(listener *bufconn.Listener) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(plugin.MaxMessageSize), grpc.MaxCallSendMsgSize(plugin.MaxMessageSize)))
}

// programStarter runs an executable as a node does: mutual TLS, a clean
// environment, a private socket.
func programStarter(path string, view pluginv1.ViewServer) starter {
	return func(t *testing.T) running {
		t.Helper()
		sets, key := notifier.PluginSets(), notifier.Key
		if view != nil {
			sets, key = datamodel.PluginSets(), datamodel.Key
		}
		sockets := socketDir(t)
		cmd := exec.Command(path)
		cmd.Env = environment(sockets)
		client := goplugin.NewClient(&goplugin.ClientConfig{
			HandshakeConfig:  plugin.Handshake,
			VersionedPlugins: sets,
			Cmd:              cmd,
			AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
			AutoMTLS:         true,
			SkipHostEnv:      true,
			StartTimeout:     patience,
			Logger:           testLogger(t),
		})
		t.Cleanup(client.Kill)
		protocol, err := client.Client()
		if err != nil {
			t.Fatalf("start %s: %v", path, err)
		}
		if address := client.ReattachConfig().Addr; filepath.Dir(address.String()) != sockets {
			t.Errorf("the plugin listens on %s, not in the folder that PLUGIN_UNIX_SOCKET_DIR names: a node doesn't take it", address)
		}
		raw, err := protocol.Dispense(key)
		if err != nil {
			t.Fatal(err)
		}
		switch c := raw.(type) {
		case *notifier.Client:
			return running{plugin: c, notifier: c}
		case *datamodel.Client:
			return running{plugin: c, model: c, view: serveView(t, c.Broker, view)}
		default:
			t.Fatalf("go-plugin dispensed a %T", raw)
			return running{}
		}
	}
}

// socketDir makes a folder for a program's sockets, with a short name: the path of a
// socket has at most about 100 bytes.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "unisondb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// environment is all that a program gets besides what go-plugin adds.
func environment(sockets string) []string {
	return []string{
		"PLUGIN_UNIX_SOCKET_DIR=" + sockets,
		"PATH=" + os.Getenv("PATH"),
		"GORACE=atexit_sleep_ms=0", // else one with the race detector sleeps before it ends
	}
}

// serveView serves a view to a program, and gives the number where it finds it.
func serveView(t *testing.T, broker *goplugin.GRPCBroker, view pluginv1.ViewServer) uint32 {
	t.Helper()
	id := broker.NextId()
	done := make(chan struct{})
	go func() {
		defer close(done)
		broker.AcceptAndServe(id, func(o []grpc.ServerOption) *grpc.Server {
			g := grpc.NewServer(o...)
			pluginv1.RegisterViewServer(g, view)
			return g
		})
	}()
	t.Cleanup(func() {
		closeQuietly(broker)
		<-done
	})
	return id
}

func closeQuietly(c io.Closer) {
	_ = c.Close() // hanging up is all that matters
}

// testLogger logs to a test until its end: what a plugin's goroutines say later
// would make the test binary panic.
func testLogger(t *testing.T) hclog.Logger {
	t.Helper()
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	return hclog.New(&hclog.LoggerOptions{Output: w, Level: hclog.Debug})
}

type testWriter struct {
	mu sync.Mutex
	t  *testing.T // nil after its end
}

// Write implements io.Writer.
func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s", b)
	}
	return len(b), nil
}

func (w *testWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}
