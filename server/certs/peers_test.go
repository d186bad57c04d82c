package certs_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/certs/certstest"
)

// TestHubOnly: relayers and clients of the same authority are no hubs; who has a certificate without a kind is
// one by the name of a member.
func TestHubOnly(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	foreign := *ca.Node(acl.Hub, "hub-b").Certificate
	foreign.URIs = nil // as another authority's tools make them
	member := func(id string) bool { return id == "hub-b" }
	for name, tt := range map[string]struct {
		hub     bool
		refused string
	}{
		"hub": {true, ""}, "relayer": {false, `relayer "hub-b"`}, "client": {false, `client "hub-b"`},
	} {
		kind := map[string]acl.Kind{"hub": acl.Hub, "relayer": acl.Relayer, "client": acl.Client}[name]
		err := certs.HubOnly(ca.Node(kind, "hub-b").Certificate, member)
		if (err == nil) != tt.hub || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := certs.HubOnly(&foreign, member); err != nil {
		t.Errorf("a member's name: %v", err)
	}
	if err := certs.HubOnly(&foreign, func(string) bool { return false }); err == nil {
		t.Error("any name is a hub's")
	}
	if err := certs.HubOnly(nil, member); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("none: %v", err)
	}
}

// TestHubsShowCertificates: between hubs both ends show one, also where the listener demands none.
func TestHubsShowCertificates(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	open := func(kind acl.Kind, name string) *certs.Store {
		s, err := certs.Listening("tls of the raft block", ca.Files(kind, name).TLS, certs.Options{Logger: hclog.NewNullLogger()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	a, b := open(acl.Hub, "a"), open(acl.Hub, "b")
	connect := func(dial func(raw net.Conn) (*tls.Conn, error)) (*tls.Conn, *tls.Conn, error) {
		l := listen(t)
		defer l.Close() //nolint:errcheck // it was of use once
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		type result struct {
			conn *tls.Conn
			err  error
		}
		done := make(chan result, 1)
		go func() {
			c, err := a.AcceptHub(context.Background(), far, "p")
			done <- result{c, err}
		}()
		c, _ := dial(raw)
		r := <-done
		t.Cleanup(func() { _, _ = raw.Close(), far.Close() })
		return c, r.conn, r.err
	}
	from, to, err := connect(func(raw net.Conn) (*tls.Conn, error) { return b.DialHub(t.Context(), raw, "127.0.0.1", "p") })
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"b": true, "a": false} {
		if err := a.CheckHub(to, name); (err == nil) != ok {
			t.Errorf("who dials is %s: %v", name, err)
		}
		if err := b.CheckHub(from, name); (err == nil) == ok {
			t.Errorf("who is dialled is %s: %v", name, err)
		}
	}
	_, _, err = connect(func(raw net.Conn) (*tls.Conn, error) {
		c := tls.Client(raw, func() *tls.Config {
			c := ca.Client(nil)
			c.ServerName, c.NextProtos = "127.0.0.1", []string{"p"}
			return c
		}())
		err := c.HandshakeContext(t.Context())
		_ = raw.Close()
		return c, err
	})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without a certificate: %v", err)
	}
}
