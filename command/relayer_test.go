package command

import (
	"os"
	"testing"

	"github.com/unisondb/unisondb/server"
)

func TestRelayer(t *testing.T) {
	node := newFakeNode()
	path := hcl(t, `
node_id  = "edge-1"
data_dir = "/var/lib/unisondb"

relayer {
  upstream "hub" {
    addresses  = ["127.0.0.1:4001"]
    namespaces = ["default"]
  }
}
`)
	r := runNodeCommand(t, node, "relayer", "-config", path)
	node.step(t, "start")
	node.step(t, "running")
	r.signal(t, os.Interrupt)
	if got := r.wait(t); got.status != exitDone || got.stdout != "" {
		t.Errorf("status %d, stdout %s, log %s", got.status, got.stdout, got.stderr)
	}
	if node.config.NodeID != "edge-1" || node.config.Relayer == nil || node.options.Role != server.RoleRelayer {
		t.Errorf("ran %+v with %+v", node.config, node.options)
	}
}

func TestRelayerRefuses(t *testing.T) {
	h := newHarness(t, success)
	h.run("relayer").want(t, exitUsage, "", "name a configuration with -config")
	h.run("relayer", "-config=/does/not/exist").want(t, exitFailed, "", "/does/not/exist")
}
