package command

import (
	"os"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/server"
)

func TestServer(t *testing.T) {
	node := newFakeNode()
	path := hcl(t, "node_id = \"hub-1\"\ndata_dir = \"/var/lib/unisondb\"\n\nlog { level = \"debug\" }\n")
	r := runNodeCommand(t, node, "server", "-config", path)
	node.step(t, "start")
	node.step(t, "running")
	r.signal(t, os.Interrupt)
	if got := r.wait(t); got.status != exitDone || got.stdout != "" {
		t.Errorf("status %d, stdout %s, log %s", got.status, got.stdout, got.stderr)
	}
	if node.config.NodeID != "hub-1" || node.options.Role != server.RoleHub || node.options.Version != "1.2.3" || !node.options.Logger.IsDebug() {
		t.Errorf("ran %+v with %+v", node.config, node.options)
	}
}

func TestServerConfigFilesMerge(t *testing.T) {
	node := newFakeNode()
	first := hcl(t, "node_id = \"a\"\ndata_dir = \"/first\"\n")
	second := hcl(t, "node_id = \"b\"\n")
	r := runNodeCommand(t, node, "server", "-config="+first, "-config="+second)
	node.step(t, "start")
	node.step(t, "running")
	r.signal(t, os.Interrupt)
	r.wait(t)
	if node.config.NodeID != "b" || node.config.DataDir != "/first" {
		t.Errorf("ran %+v", node.config)
	}
}

func TestServerDev(t *testing.T) {
	node := newFakeNode()
	r := runNodeCommand(t, node, "server", "-dev", "-dev-relayers=1", "-dev-http=127.0.0.1:0")
	node.step(t, "start")
	node.step(t, "running")
	r.signal(t, os.Interrupt)
	got := r.wait(t)
	for _, part := range []string{
		"hub        http://127.0.0.1:4000   gRPC 127.0.0.1:4001\n",
		"relayer 1  http://127.0.0.1:4010   gRPC 127.0.0.1:4011\n",
		"/tmp/dev is removed at the end",
		"  unisondb kv put greeting hello\n",
		"  unisondb kv get -address=http://127.0.0.1:4010 greeting\n",
		"  unisondb status -address=http://127.0.0.1:4010\n",
	} {
		if !strings.Contains(got.stdout, part) {
			t.Errorf("no %q in:\n%s", part, got.stdout)
		}
	}
	if node.dev.Relayers != 1 || node.dev.HTTP != "127.0.0.1:0" || node.dev.Config != nil || node.dev.Dir != "" {
		t.Errorf("ran %+v", node.dev)
	}
}

func TestServerDevWithConfig(t *testing.T) {
	node := newFakeNode()
	path := hcl(t, "node_id = \"mine\"\ndata_dir = \"/data\"\n\nlistener \"http\" { address = \"127.0.0.1:9\" }\n")
	r := runNodeCommand(t, node, "server", "-dev", "-config="+path, "-dev-grpc=127.0.0.1:8")
	node.step(t, "start")
	node.step(t, "running")
	r.signal(t, os.Interrupt)
	if got := r.wait(t); !strings.Contains(got.stdout, "the data in /tmp/dev stays") {
		t.Errorf("got %s", got.stdout)
	}
	if node.dev.Config == nil || node.dev.Config.NodeID != "mine" || node.dev.Dir != "/data" || node.dev.HTTP != "127.0.0.1:9" || node.dev.GRPC != "127.0.0.1:8" {
		t.Errorf("ran %+v", node.dev)
	}
}

func TestServerRefuses(t *testing.T) {
	h := newHarness(t, success)
	h.run("server").want(t, exitUsage, "", "name a configuration with -config, or use -dev")
	h.run("server", "-dev-relayers=1", "-config=x").want(t, exitUsage, "", "go with -dev")
	h.run("server", "-dev", "-dev-relayers=-1").want(t, exitUsage, "", "is negative")
	bad := hcl(t, "nod_id = \"x\"\ndata_dir = \"/d\"\n")
	h.run("server", "-config="+bad).want(t, exitFailed, "", "the configuration has 1 problem:\n  "+bad+":1:1: ", "node_id")
	later := hcl(t, "data_dir = \"/d\"\n\nacl { enabled = true }\n")
	if got := h.run("server", "-config="+later); got.status != exitFailed {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}
