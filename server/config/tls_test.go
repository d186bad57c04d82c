package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// secured is what the files below mean.
var secured = struct {
	http, grpc, upstream *TLS
	replicate            *Replicate
}{
	http:      &TLS{CertFile: "h.crt", KeyFile: "h.key"},
	grpc:      &TLS{CertFile: "g.crt", KeyFile: "g.key", CAFile: "ca.crt", RequireClientCert: true},
	upstream:  &TLS{CertFile: "e.crt", KeyFile: "e.key", CAFile: "ca.crt"},
	replicate: &Replicate{Relayers: []string{"edge-*", "store-?"}, Hubs: []string{"hub-b"}},
}

// TestTLSAndReplicateForms: HCL and JSON, in one file or several, mean the same, and this
// version does what they ask for.
func TestTLSAndReplicateForms(t *testing.T) {
	const hubHCL = `
data_dir = "/d"
listener "http" {
  address = "0.0.0.0:4000"
  tls {
    cert_file = "h.crt"
    key_file  = "h.key"
  }
}
listener "grpc" {
  address   = "0.0.0.0:4001"
  advertise = "hub:4001"
  tls {
    cert_file           = "g.crt"
    key_file            = "g.key"
    ca_file             = "ca.crt"
    require_client_cert = true
  }
}
namespace "orders" {
  replicate {
    relayers = ["edge-*", "store-?"]
    hubs     = ["hub-b"]
  }
}`
	const hubJSON = `{
  "data_dir": "/d",
  "listener": {
    "http": {"address": "0.0.0.0:4000", "tls": {"cert_file": "h.crt", "key_file": "h.key"}},
    "grpc": {"address": "0.0.0.0:4001", "advertise": "hub:4001",
      "tls": {"cert_file": "g.crt", "key_file": "g.key", "ca_file": "ca.crt", "require_client_cert": true}}
  },
  "namespace": {"orders": {"replicate": {"relayers": ["edge-*", "store-?"], "hubs": ["hub-b"]}}}
}`
	parts := []source{
		{name: "a.hcl", text: []byte(`
data_dir = "/d"
listener "http" {
  address = "0.0.0.0:4000"
  tls { cert_file = "old.crt" }
}
listener "grpc" {
  address = "0.0.0.0:4001"
  tls { require_client_cert = true }
}
namespace "orders" {
  replicate { relayers = ["*"] }
}`)},
		{name: "b.hcl", text: []byte(`
listener "http" {
  tls {
    cert_file = "h.crt"
    key_file  = "h.key"
  }
}
listener "grpc" {
  advertise = "hub:4001"
  tls {
    cert_file = "g.crt"
    key_file  = "g.key"
    ca_file   = "ca.crt"
  }
}
namespace "orders" {
  replicate {
    relayers = ["edge-*", "store-?"]
    hubs     = ["hub-b"]
  }
}`)},
	}
	for name, sources := range map[string][]source{
		"HCL": {{name: "hub.hcl", text: []byte(hubHCL)}}, "JSON": {{name: "hub.json", text: []byte(hubJSON)}}, "several files": parts,
	} {
		c, err := loadTexts(sources, LoadOptions{Role: RoleHub})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(secured.http, c.HTTP.TLS) + cmp.Diff(secured.grpc, c.GRPC.TLS) + cmp.Diff(secured.replicate, c.Namespaces[0].Replicate); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if errs := c.NotBuilt(); len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestUpstreamTLSForms(t *testing.T) {
	for name, text := range map[string]string{
		"edge.hcl": `
data_dir = "/d"
relayer {
  upstream "hub" {
    addresses  = ["hub:4001"]
    namespaces = ["orders"]
    tls {
      ca_file   = "ca.crt"
      cert_file = "e.crt"
      key_file  = "e.key"
    }
  }
}`,
		"edge.json": `{"data_dir": "/d", "relayer": {"upstream": {"hub": {"addresses": ["hub:4001"], "namespaces": ["orders"],
  "tls": {"ca_file": "ca.crt", "cert_file": "e.crt", "key_file": "e.key"}}}}}`,
	} {
		c, err := loadText(name, text, LoadOptions{Role: RoleRelayer})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(secured.upstream, c.Relayer.Upstreams[0].TLS); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if errs := c.NotBuilt(); len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
	}
	// The system's CAs, and no certificate of its own.
	c := mustLoad(t, `
data_dir = "/d"
relayer {
  upstream "hub" {
    addresses  = ["hub:4001"]
    namespaces = ["orders"]
    tls {}
  }
}`, LoadOptions{Role: RoleRelayer})
	if diff := cmp.Diff(&TLS{}, c.Relayer.Upstreams[0].TLS); diff != "" {
		t.Error(diff)
	}
}

// TestReplicateThatNamesNobody is another thing than no block: nobody may follow.
func TestReplicateThatNamesNobody(t *testing.T) {
	c := mustLoad(t, `
data_dir = "/d"
namespace "a" {
  replicate {}
}
namespace "b" {}`, LoadOptions{Role: RoleHub})
	if c.Namespaces[0].Replicate == nil || c.Namespaces[1].Replicate != nil || len(c.NotBuilt()) > 0 {
		t.Errorf("%+v", c.Namespaces)
	}
}

// TestJoinToken: a relayer's upstream may hold one, and no message shows it.
func TestJoinToken(t *testing.T) {
	text := func(token string) string {
		return "data_dir = \"/d\"\nrelayer {\n  upstream \"hub\" {\n    addresses = [\"hub:4001\"]\n    join_token = \"" + token + "\"\n  }\n}"
	}
	was, is := mustLoad(t, text("of-yesterday"), LoadOptions{Role: RoleRelayer}), mustLoad(t, text("of-today"), LoadOptions{Role: RoleRelayer})
	if up := was.Relayer.Upstreams[0]; up.JoinToken != "of-yesterday" || up.Namespaces != nil || len(was.NotBuilt()) > 0 {
		t.Errorf("%+v, %v", up, was.NotBuilt())
	}
	changes := was.Fixed(is)
	if len(changes) != 1 || strings.Contains(changes[0].String(), "day") || !strings.Contains(changes[0].String(), "join_token") {
		t.Errorf("%v", changes)
	}
}

func TestRaftExposure(t *testing.T) {
	open, secure := &Raft{Address: "10.0.0.1:4002"}, &Listener{TLS: &TLS{}}
	if err := open.CheckExposure(nil); err == nil || !strings.Contains(err.Error(), "raft listens on 10.0.0.1:4002") {
		t.Errorf("%v", err)
	}
	for _, r := range []*Raft{nil, {Address: "127.0.0.1:1"}, {Address: "10.0.0.1:1", Insecure: true}, {Address: "10.0.0.1:1", TLS: &TLS{}}} {
		if err := r.CheckExposure(&Listener{}); err != nil {
			t.Error(err)
		}
	}
	if err := open.CheckExposure(secure); err != nil {
		t.Error(err)
	}
}
