package serve

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// role names the part that this test binary plays when it starts itself.
const role = "UNISONDB_SERVE_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "plugin":
		Run("test", buildNothing)
		os.Exit(0)
	case "node":
		playNode()
	}
	os.Exit(m.Run())
}

// saysClosed has a plugin write to descriptor 3 when it is closed.
const saysClosed = "UNISONDB_SERVE_TEST_CLOSED"

type nothing struct{}

func (nothing) Configure(context.Context, plugin.Config, *pluginv1.ConfigureRequest) error {
	return nil
}

func (nothing) Close(context.Context) error {
	if os.Getenv(saysClosed) == "" {
		return nil
	}
	_, err := os.NewFile(3, "said").WriteString("closed")
	return err
}

func description() *pluginv1.DescribeResponse {
	return &pluginv1.DescribeResponse{
		Name: "test", Kind: pluginv1.Kind_KIND_NOTIFIER, Version: "1.2.3", Description: "does nothing",
	}
}

func buildNothing(logger hclog.Logger) (*Service, func(*goplugin.GRPCBroker, *grpc.Server), error) {
	type config struct {
		URL  string `config:"url,required" doc:"where to"`
		Port int    `config:"port"`
		TLS  struct {
			CAFile string `config:"ca_file"`
		} `config:"tls" doc:"for https"`
	}
	s, err := NewService(description(), config{Port: 80}, nothing{}, logger)
	return s, func(_ *goplugin.GRPCBroker, g *grpc.Server) { pluginv1.RegisterPluginServer(g, s) }, err
}

// self is this test binary in a role, with a plugin's environment.
func self(as string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+as, "GORACE=atexit_sleep_ms=0", plugin.Handshake.MagicCookieKey+"="+plugin.Handshake.MagicCookieValue)
	return cmd
}

// playNode starts a plugin, says where it listens, and waits to be killed. The
// plugin inherits descriptor 3, which a test watches.
func playNode() {
	cmd := self("plugin")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "watched")}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	fmt.Printf("%d\n%s", cmd.Process.Pid, line)
	if err != nil {
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // the test never closes it
}

// TestNoOrphan: a plugin ends by itself when its node is killed, without any help
// of the node.
func TestNoOrphan(t *testing.T) {
	watched, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Close() //nolint:errcheck // read to its end
	node := self("node")
	node.ExtraFiles = []*os.File{held}
	in, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // the process is dead
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	var pid int
	said := bufio.NewReader(out)
	if _, err := fmt.Fscanln(said, &pid); err != nil {
		t.Fatal(err)
	}
	line, err := said.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "1|1|unix|") {
		t.Fatalf("the plugin said %q, %v", line, err)
	}
	defer os.Remove(strings.Split(line, "|")[3]) //nolint:errcheck // a killed plugin leaves its socket to the node

	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = node.Wait() // it was killed
	// Only the plugin holds the pipe open.
	if err := watched.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := watched.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the plugin outlived its node: %v", err)
		_ = syscall.Kill(pid, syscall.SIGKILL) // this test leaves no orphan either
	}
}

// dispensed is the node's side for this test's plugin.
type dispensed struct{ registered }

// GRPCClient implements goplugin.GRPCPlugin.
func (dispensed) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return pluginv1.NewPluginClient(c), nil
}

// TestHangUp: a signal doesn't end a plugin, the node's hanging up does, and
// closes it even if it wasn't drained.
func TestHangUp(t *testing.T) {
	said, written, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close() //nolint:errcheck // read to its end
	cmd := self("plugin")
	cmd.Env = append(cmd.Env, saysClosed+"=1")
	cmd.ExtraFiles = []*os.File{written}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  plugin.Handshake,
		VersionedPlugins: map[int]goplugin.PluginSet{plugin.Version1: {"test": dispensed{}}, 99: {"test": dispensed{}}},
		Cmd:              cmd, AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, AutoMTLS: true,
		Logger: hclog.NewNullLogger(), StartTimeout: time.Minute,
	})
	defer client.Kill()
	protocol, err := client.Client()
	if closing := written.Close(); err == nil {
		err = closing
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := client.NegotiatedVersion(); got != plugin.Version1 {
		t.Errorf("the version is %d", got)
	}
	raw, err := protocol.Dispense("test")
	if err != nil {
		t.Fatal(err)
	}
	c, ok := raw.(pluginv1.PluginClient)
	if !ok {
		t.Fatalf("dispensed a %T", raw)
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if d, err := c.Describe(ctx, &pluginv1.DescribeRequest{}); err != nil || d.GetName() != "test" {
			t.Fatalf("after %v: %v, %v", s, d, err)
		}
		cancel()
	}
	answer, err := c.Configure(t.Context(), &pluginv1.ConfigureRequest{Config: []byte(`{"url":"u"}`)})
	if err != nil || len(answer.GetProblems()) > 0 {
		t.Fatalf("Configure: %v, %v", answer, err)
	}
	if err := protocol.Close(); err != nil {
		t.Fatal(err)
	}
	if err := said.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(said); err != nil || string(b) != "closed" {
		t.Errorf("it said %q, %v: it wasn't closed before its end", b, err)
	}
}

// TestAwaitExitOfOthers: a process that isn't the parent isn't waited for.
func TestAwaitExitOfOthers(*testing.T) {
	awaitExit(os.Getpid())
}

func TestByHand(t *testing.T) {
	cmd := self("plugin")
	cmd.Env = append(os.Environ(), role+"=plugin")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("it ended with %v", err)
	}
	want := `notifier-test 1.2.3: does nothing

This program is a plugin of UnisonDB: it isn't started by hand, but by a node.
Copy it to the node's plugin_dir as "notifier-test" and write into the node's configuration:

notifier "test" "my-test" {
  namespaces = ["default"]
  config {
    url = "" # where to; required
    port = 80
    tls { # for https
      ca_file = ""
    }
  }
}
`
	if string(out) != want {
		t.Errorf("it said\n%s\ninstead of\n%s", out, want)
	}
	model := byHand(&pluginv1.DescribeResponse{Name: "m", Kind: pluginv1.Kind_KIND_DATA_MODEL, Version: "1"})
	if !strings.Contains(model, "model-m") || !strings.Contains(model, "model \"m\" {\n  namespaces = [\"default\"]\n}") {
		t.Error(model)
	}
}

// TestCaptureLogs: whatever an author logs with arrives as a line of JSON, with
// its level.
func TestCaptureLogs(t *testing.T) {
	defer func(h hclog.Logger, w io.Writer, flags int) {
		hclog.SetDefault(h)
		log.SetOutput(w)
		log.SetFlags(flags)
	}(hclog.Default(), log.Writer(), log.Flags())
	var out bytes.Buffer
	captureLogs(newLogger(&out))
	for _, c := range []struct {
		say         func()
		level, text string
	}{
		{func() { log.Print("plain") }, "info", "plain"},
		{func() { log.Print("[ERR] plugin: broken") }, "error", "plugin: broken"},
		{func() { log.Print("[WARN] careful") }, "warn", "careful"},
		{func() { slog.Error("structured", "n", 1) }, "error", "structured n=1"},
		{func() { slog.Info("said") }, "info", "said"},
		{func() { hclog.Default().Warn("by hclog") }, "warn", "by hclog"},
	} {
		out.Reset()
		c.say()
		for _, want := range []string{`"@level":"` + c.level + `"`, `"@message":"` + c.text + `"`} {
			if !strings.Contains(out.String(), want) || strings.Count(out.String(), "\n") != 1 {
				t.Errorf("%s: got %q, want %s in it", c.text, out.String(), want)
			}
		}
	}
}

func TestLogLevel(t *testing.T) {
	t.Setenv(plugin.EnvLogLevel, "warn")
	if got := newLogger(io.Discard).GetLevel(); got != hclog.Warn {
		t.Errorf("the level is %v", got)
	}
	t.Setenv(plugin.EnvLogLevel, "")
	if got := newLogger(io.Discard).GetLevel(); got != hclog.Debug {
		t.Errorf("without a level it is %v", got)
	}
}
