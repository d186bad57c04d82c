package command

import "testing"

func TestConnectionFlagsAndEnvironment(t *testing.T) {
	h := newHarness(t, success)
	h.env[envToken] = "from-env"
	h.env[envNamespace] = "env-ns"

	h.run("kv", "delete", "k").want(t, exitDone, "", "Deleted")
	r := h.last()
	r.want(t, "DELETE", "/api/v1/env-ns/kv/k")
	if got := r.header.Get("Authorization"); got != "Bearer from-env" {
		t.Errorf("token: %q", got)
	}
	if got := r.header.Get("User-Agent"); got != "unisondb/1.2.3" {
		t.Errorf("user agent: %q", got)
	}

	// Flags win, also over an address where nobody listens.
	address := h.env[envAddress]
	h.env[envAddress] = "http://127.0.0.1:1"
	h.run("kv", "delete", "k", "-address", address, "--token=flag", "-namespace=flag-ns").want(t, exitDone, "", "Deleted")
	r = h.last()
	r.want(t, "DELETE", "/api/v1/flag-ns/kv/k")
	if got := r.header.Get("Authorization"); got != "Bearer flag" {
		t.Errorf("token: %q", got)
	}
}

func TestConnectionFlagsAreOnEveryClientCommand(t *testing.T) {
	for name, newLeaf := range leaves {
		m := testMeta()
		fs := (&leafCommand{Meta: m, name: name, leaf: newLeaf(m)}).flagSet()
		if fs.Lookup("address") == nil {
			continue // it talks to no node
		}
		for _, flag := range connectionFlags {
			if fs.Lookup(flag) == nil {
				t.Errorf("%s has no -%s", name, flag)
			}
		}
	}
}
