package servertest

import (
	"net/http"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/config"
)

// SecureHub starts a hub whose doors demand certificates of a CA.
func SecureHub(t testing.TB, ca *certstest.CA, id string, namespaces ...string) *Node {
	t.Helper()
	return RunSecure(t, ca, server.RoleHub, Config(t, id, namespaces...), ca.Files(acl.Hub, id), nil)
}

// SecureRelayer starts a relayer of a node that demands certificates of a CA, as it does
// itself.
func SecureRelayer(t testing.TB, ca *certstest.CA, id string, upstream *Node, namespaces ...string) *Node {
	t.Helper()
	return RunSecure(t, ca, server.RoleRelayer, Follower(t, id, upstream, namespaces...), ca.Files(acl.Relayer, id), nil)
}

// Follower is the configuration of a relayer that follows a node.
func Follower(t testing.TB, id string, upstream *Node, namespaces ...string) config.Config {
	t.Helper()
	cfg := Config(t, id)
	cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{{
		Name: "up", Addresses: []string{upstream.Addresses().GRPC}, Namespaces: namespaces,
	}}}
	return cfg
}

// RunSecure starts a node whose listeners and upstreams have the files. The test's own
// requests come with a certificate of the CA. A logger of nil is the test's log.
func RunSecure(t testing.TB, ca *certstest.CA, role server.Role, cfg config.Config, files certstest.Files, log hclog.Logger) *Node {
	t.Helper()
	return RunSecureNode(t, ca, &Node{Role: role, Config: cfg, Files: files, Logger: log})
}

// RunSecureNode is RunSecure for a node whose fields a test has set.
func RunSecureNode(t testing.TB, ca *certstest.CA, n *Node) *Node {
	t.Helper()
	n.Config.HTTP.TLS, n.Config.GRPC.TLS = n.Files.Listener(), n.Files.Listener()
	if r := n.Config.Relayer; r != nil {
		for i := range r.Upstreams {
			r.Upstreams[i].TLS = n.Files.Upstream()
		}
	}
	client := ca.Client(ca.Node(acl.Client, "test"))
	return run(t, n, &http.Transport{TLSClientConfig: client})
}
