package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzLoad feeds any bytes in both forms and in both roles. Whatever comes out
// is a valid configuration or problems with places, never a panic.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/reference.hcl", "testdata/reference.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, seed := range []string{
		`data_dir = "/d"`, `namespace "a" { acks = 3 }`, `relayer { labels = { a = null } }`,
		`notifier "x" "y" { config { a = [1, true, {b = 1.5}] } }`, `{"namespace": [{"a": {}}, {"b": [{}]}]}`,
		`[{"data_dir": "/d"}]`, `region = env(env("HOOK_SECRET"), file("/secret"))`, "region = <<X\n${1}\nX\n",
		`labels = [for k, v in {a = 1} : k]`, `memory_limit = 1e400`, `raft { voter = [] }`,
		`model "m" { config { a "b" "c" { d = 1 } } }`, `notifier "webhook" "w" { config { headers = { a = 1 } } }`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxFile || strings.Count(string(text), "[") > 1000 {
			t.Skip("the parser recurses, and large inputs say no more")
		}
		for _, name := range []string{"f.hcl", "f.json"} {
			for _, role := range []string{"", RoleHub, RoleRelayer} {
				c, err := loadText(name, string(text), LoadOptions{Role: role})
				if (c == nil) == (err == nil) {
					t.Fatalf("got %v and %v", c, err)
				}
				if c != nil {
					checkValid(t, c)
					c.NotBuilt()
					if changes := c.Fixed(c); len(changes) > 0 {
						t.Fatalf("it differs from itself: %v", changes)
					}
					continue
				}
				var e *Error
				if !errors.As(err, &e) || len(e.Diagnostics) == 0 {
					t.Fatalf("%T says nothing", err)
				}
				for _, d := range e.Diagnostics {
					if d.File != name || d.Message == "" || strings.Contains(d.String(), "\n") {
						t.Fatalf("%+v is no line with a place and a message", d)
					}
				}
			}
		}
	})
}

// checkValid holds what the node relies on.
func checkValid(t *testing.T, c *Config) {
	t.Helper()
	if c.NodeID == "" || c.DataDir == "" || c.HTTP == nil || c.MemoryLimit < minMemory {
		t.Fatalf("incomplete: %+v", c)
	}
	if !isLoopback(c.HTTP.Address) && c.HTTP.TLS == nil && !c.HTTP.Insecure {
		t.Fatalf("plain text beyond loopback: %+v", c.HTTP)
	}
	seen := map[string]bool{}
	for _, n := range c.Namespaces {
		if seen[n.Name] || n.Storage.SegmentSize < minBuffer || n.Storage.Engine == "" {
			t.Fatalf("namespace %+v", n)
		}
		seen[n.Name] = true
	}
}
