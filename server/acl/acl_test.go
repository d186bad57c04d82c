package acl_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server/acl"
)

// cert is a certificate with a common name, DNS names and URIs.
func cert(t *testing.T, cn string, dns []string, uris ...string) *x509.Certificate {
	t.Helper()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: cn}, Issuer: pkix.Name{CommonName: "CA"}, SerialNumber: big.NewInt(171), DNSNames: dns}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return c
}

func TestOfCertificate(t *testing.T) {
	for _, tt := range []struct {
		name string
		cert *x509.Certificate
		want acl.Identity
		bad  string // part of the error
	}{
		{"hub", cert(t, "other", nil, "unisondb://hub/a"), acl.Identity{acl.Hub, "a"}, ""},
		{"relayer", cert(t, "", nil, "unisondb://relayer/edge-1.x_y"), acl.Identity{acl.Relayer, "edge-1.x_y"}, ""},
		{"client", cert(t, "", nil, "https://example.com/", "unisondb://client/c"), acl.Identity{acl.Client, "c"}, ""},
		{"common name", cert(t, "edge-1", []string{"d"}, "spiffe://x/y"), acl.Identity{"", "edge-1"}, ""},
		{"DNS name", cert(t, "", []string{"edge-1.example", "d"}), acl.Identity{"", "edge-1.example"}, ""},

		{"nobody", cert(t, "", nil), acl.Identity{}, "neither"},
		{"two", cert(t, "a", nil, "unisondb://hub/a", "unisondb://relayer/a"), acl.Identity{}, "2 nodes"},
		// What almost is a URI of ours must not fall back to the common name.
		{"unknown kind", cert(t, "a", nil, "unisondb://king/a"), acl.Identity{}, "isn't of the form"},
		{"no name", cert(t, "a", nil, "unisondb://hub/"), acl.Identity{}, "isn't of the form"},
		{"a path", cert(t, "a", nil, "unisondb://hub/a/b"), acl.Identity{}, "isn't of the form"},
		{"two slashes", cert(t, "a", nil, "unisondb://hub//a"), acl.Identity{}, "isn't of the form"},
		{"a query", cert(t, "a", nil, "unisondb://hub/a?b"), acl.Identity{}, "isn't of the form"},
		{"a user", cert(t, "a", nil, "unisondb://u@hub/a"), acl.Identity{}, "isn't of the form"},
		{"a port", cert(t, "a", nil, "unisondb://hub:1/a"), acl.Identity{}, "isn't of the form"},
		{"escaped", cert(t, "a", nil, "unisondb://hub/%61"), acl.Identity{}, "isn't of the form"},
		{"opaque", cert(t, "a", nil, "unisondb:hub/a"), acl.Identity{}, "isn't of the form"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := acl.OfCertificate(tt.cert)
			if (err != nil) != (tt.bad != "") || err != nil && !strings.Contains(err.Error(), tt.bad) || got != tt.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestURIRoundTrip(t *testing.T) {
	for _, id := range []acl.Identity{{acl.Hub, "h"}, {acl.Relayer, "edge-17_b.c"}, {acl.Client, "9"}} {
		got, err := acl.OfCertificate(cert(t, "", nil, id.URI().String()))
		if err != nil || got != id || id.Check() != nil {
			t.Errorf("%v: %v, %v", id.URI(), got, err)
		}
	}
	for _, id := range []acl.Identity{{}, {acl.Hub, ""}, {acl.Hub, "a/b"}, {acl.Hub, "-a"}, {acl.Hub, strings.Repeat("a", 129)}, {"king", "a"}} {
		if id.Check() == nil {
			t.Errorf("%+v is taken", id)
		}
	}
}

func TestMayFollow(t *testing.T) {
	rules := acl.Rules{
		"orders": {Relayers: []string{"edge-*", "store-?"}, Hubs: []string{"hub-b"}},
		"hubs":   {Hubs: []string{"*"}},
		"none":   {},
	}
	relayer := func(name string) *x509.Certificate { return cert(t, name, nil, "unisondb://relayer/"+name) }
	for _, tt := range []struct {
		cert            *x509.Certificate
		node, namespace string
		refused         string // part of the reason; empty: allowed
	}{
		{relayer("edge-1"), "edge-1", "orders", ""},
		{relayer("store-9"), "store-9", "orders", ""},
		{relayer("x"), "x", "open", ""}, // no rule
		{cert(t, "", nil, "unisondb://hub/hub-b"), "hub-b", "orders", ""},
		{cert(t, "", nil, "unisondb://hub/hub-b"), "hub-b", "hubs", ""},
		{cert(t, "edge-foreign", nil), "edge-foreign", "orders", ""}, // another authority's
		{nil, "edge-1", "orders", ""},                                // a claim

		{relayer("store-10"), "store-10", "orders", `namespace "orders" isn't for relayer "store-10"`},
		{relayer("hub-b"), "hub-b", "orders", "isn't for"}, // a relayer with a hub's name
		{relayer("edge-1"), "edge-1", "hubs", "isn't for"},
		{relayer("edge-1"), "edge-1", "none", "isn't for"},
		{cert(t, "", nil, "unisondb://hub/edge-1"), "edge-1", "orders", "isn't for"},
		{cert(t, "other", nil), "other", "hubs", "isn't for"}, // not known to be a hub
		{nil, "hub-b", "orders", "isn't for"},
		{relayer("edge-1"), "edge-2", "orders", `that of relayer "edge-1", and the node calls itself "edge-2"`},
		{relayer("edge-1"), "edge-2", "open", "calls itself"},
		{cert(t, "", nil, "unisondb://client/edge-1"), "edge-1", "open", "is for the data API"},
		{cert(t, "", nil), "edge-1", "open", "doesn't say whose it is"},
		{cert(t, "", nil), "a\nb", "open", "-name=NODE"},
	} {
		err := rules.MayFollow(tt.cert, tt.node, tt.namespace)
		if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s as %q in %q: %v, want %q", acl.Describe(tt.cert), tt.node, tt.namespace, err, tt.refused)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("a node writes lines into the log: %q", err)
		}
	}
}

func TestWithoutCertificate(t *testing.T) {
	rules := acl.Rules{"orders": {Relayers: []string{"*"}}}
	if err := rules.WithoutCertificate("orders"); err == nil || !strings.Contains(err.Error(), `namespace "orders"`) || !strings.Contains(err.Error(), "cert_file") {
		t.Errorf("got %v", err)
	}
	if err := rules.WithoutCertificate("open"); err != nil {
		t.Errorf("a namespace without rules: %v", err)
	}
}

// TestDescribe: what a stranger's certificate holds is shown on one short line.
func TestDescribe(t *testing.T) {
	if got, want := acl.Describe(cert(t, "", nil, "unisondb://relayer/e")), `relayer "e" (issuer "CN=CA", serial ab)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := acl.Describe(nil); got != "none" {
		t.Errorf("got %s", got)
	}
	evil := cert(t, "a\n2026 [INFO] fine\x1b[2J"+strings.Repeat("é", 10000), nil)
	evil.Issuer = evil.Subject
	evil.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 100000)
	for _, c := range []*x509.Certificate{evil, cert(t, "", []string{strings.Repeat("x", 5000) + "\n"})} {
		if got := acl.Describe(c); len(got) > 2000 || strings.ContainsAny(got, "\n\x1b") {
			t.Errorf("%d bytes: %.300q", len(got), got)
		}
	}
}

// TestRefusalsRepeatSeldom: a node that comes again every second is a line a minute.
func TestRefusalsRepeatSeldom(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	r := acl.NewRefusals(hclog.New(&hclog.LoggerOptions{Output: &out}), func() time.Time { return now })
	lines := func() int { return strings.Count(out.String(), "\n") }
	refusal := func(port int, reason string) acl.Refusal {
		return acl.Refusal{Remote: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port}, Identity: `relayer "e"`, Namespace: "orders", Reason: reason}
	}
	for i := range 60 {
		r.Note(refusal(1000+i, "expired"))
		now = now.Add(time.Second)
	}
	if lines() != 1 || r.Count() != 60 {
		t.Errorf("%d lines of %d:\n%s", lines(), r.Count(), &out)
	}
	for _, part := range []string{"[WARN]", "connection refused", `relayer \"e\"`, "remote=10.0.0.1:1000", "reason=expired", "namespace=orders"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in %s", part, &out)
		}
	}
	r.Note(refusal(1, "another reason"))
	r.Note(refusal(2, "expired"))
	if lines() != 3 || !strings.Contains(out.String(), "repeated=59") {
		t.Errorf("%d lines:\n%s", lines(), &out)
	}
	// Ever new reasons keep the memory bounded; the newest is always said.
	for i := range 5000 {
		r.Note(refusal(1, fmt.Sprint(i)))
	}
	if lines() != 5003 {
		t.Errorf("%d lines", lines())
	}
	r.Note(acl.Refusal{Reason: "nobody knows where from"})
	if !strings.Contains(out.String(), "remote=unknown") {
		t.Error("a refusal without an address isn't in the log")
	}
}
