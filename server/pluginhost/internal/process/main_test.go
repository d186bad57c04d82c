package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// TestMain is three programs: the tests, the plugins that they run, which are
// links to the test binary whose name says how they behave, and a node that is killed.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(plugin.Handshake.MagicCookieKey) != "":
		behave(filepath.Base(os.Args[0]))
	case os.Getenv(envNode) != "":
		beNode(os.Getenv(envNode))
	default:
		goleak.VerifyTestMain(m)
	}
}

// version is what the plugins say that they are.
const version = "1.2.3"

// behave is the main function of a plugin.
func behave(name string) {
	_, mode, _ := strings.Cut(name, "-")
	s := &server{mode: mode}
	versions := map[int]goplugin.PluginSet{plugin.Version1: {keyNotifier: &served{s: s}}}
	switch mode {
	case "exits":
		fmt.Fprintln(os.Stderr, "cannot open /etc/exits.conf: no such file")
		syscall.Exit(7)
	case "garbage":
		fmt.Println("hello, I am a shell script")
		time.Sleep(time.Hour)
	case "silent":
		time.Sleep(time.Hour)
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc|")
		time.Sleep(time.Hour)
	case "elsewhere":
		fmt.Println("1|1|unix|/tmp/some.sock|grpc|")
		time.Sleep(time.Hour)
	case "future":
		versions = map[int]goplugin.PluginSet{99: {keyNotifier: &served{s: s}}}
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: plugin.Handshake, VersionedPlugins: versions, GRPCServer: goplugin.DefaultGRPCServer,
	})
	syscall.Exit(0) // os.Exit takes a second under the race detector
}

// served registers a server with go-plugin.
type served struct {
	goplugin.NetRPCUnsupportedPlugin
	s *server
}

func (p *served) GRPCServer(broker *goplugin.GRPCBroker, g *grpc.Server) error {
	p.s.broker = broker
	pluginv1.RegisterPluginServer(g, p.s)
	pluginv1.RegisterNotifierServer(g, p.s)
	return nil
}

func (p *served) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.ErrUnsupported
}

// server is the plugins' inside.
type server struct {
	pluginv1.UnimplementedPluginServer
	pluginv1.UnimplementedNotifierServer
	mode   string
	broker *goplugin.GRPCBroker
	hangs  atomic.Bool
}

func (s *server) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	if s.hangs.Load() {
		select {}
	}
	maximum := 65535.0
	return &pluginv1.DescribeResponse{
		Name: s.mode, Kind: pluginv1.Kind_KIND_NOTIFIER, Version: version, Description: "a plugin of the tests",
		Config: &pluginv1.Schema{Attributes: []*pluginv1.Attribute{
			{Name: "file", Type: pluginv1.Attribute_TYPE_STRING},
			{Name: "lock", Type: pluginv1.Attribute_TYPE_STRING},
			{Name: "port", Type: pluginv1.Attribute_TYPE_INTEGER, Maximum: &maximum},
		}},
	}, nil
}

func (s *server) Configure(_ context.Context, r *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	var c struct{ File, Lock string }
	if err := json.Unmarshal(r.GetConfig(), &c); err != nil {
		return nil, err
	}
	switch s.mode {
	case "hangs_configure":
		select {}
	case "dies_configure":
		panic("configure: out of luck")
	case "refuses":
		return &pluginv1.ConfigureResponse{Problems: []*pluginv1.Problem{{Path: "file", Message: "no such directory: create it"}}}, nil
	case "floods":
		go flood(os.NewFile(2, "stderr"))
		go flood(os.Stdout) // by go-plugin's stream
	case "rude":
		fmt.Fprintln(os.Stderr, `rude`) // by go-plugin's stream
		f := os.NewFile(2, "stderr")
		fmt.Fprintln(f, `{"@message": 5, "@level": ["info"], "@timestamp": {}}`)
		fmt.Fprintln(f, `{"@message": "structured", "@level": "warn", "@timestamp": 7, "n": 3}`)
		fmt.Fprintln(f, "[ERROR] plain\x1b[31m and red")
	case "allocates":
		go allocate()
	case "freezes":
		s.hangs.Store(true)
	}
	if c.Lock != "" { // what only one process may have
		f, err := os.OpenFile(c.Lock, os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, errors.New("the lock is taken")
		}
		_ = f.Close()
		lock.Store(&c.Lock)
	}
	if c.File != "" {
		env := append(os.Environ(), fmt.Sprintf("pid=%d", os.Getpid()))
		if err := os.WriteFile(c.File, []byte(strings.Join(env, "\n")), 0o600); err != nil {
			return nil, err
		}
	}
	return &pluginv1.ConfigureResponse{}, nil
}

var lock atomic.Pointer[string]

func (s *server) Drain(context.Context, *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	if name := lock.Load(); name != nil {
		if err := os.Remove(*name); err != nil {
			return nil, err
		}
	}
	return &pluginv1.DrainResponse{}, nil
}

func (s *server) Notify(_ context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	switch {
	case s.mode == "hangs_notify":
		select {}
	case r.GetNamespace() == "die":
		panic("notify: out of luck")
	}
	return &pluginv1.NotifyResponse{}, nil
}

// flood writes as fast as it can.
func flood(to io.Writer) {
	w := bufio.NewWriter(to)
	for {
		_, _ = w.WriteString(strings.Repeat("flood ", 10) + "\n")
	}
}

// allocate takes memory and uses it.
func allocate() {
	for all := []byte{}; ; time.Sleep(time.Millisecond) {
		all = append(all, make([]byte, 8<<20)...)
	}
}
