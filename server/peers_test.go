package server

import (
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/certs/certstest"
)

// TestPeersAreHubs: what is for a hub isn't said to who shows the certificate of something else, though it
// is for the address that was dialled.
func TestPeersAreHubs(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	p := newPeers(storeOf(t, ca, acl.Hub, "a").ClientCredentials())
	for kind, want := range map[acl.Kind]string{acl.Hub: "not implemented", acl.Relayer: `no hub answers here: only hubs may do this, and the certificate is that of relayer`} {
		client, err := p.Hubs(serveHubs(t, storeOf(t, ca, kind, "b")))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Observe(t.Context(), &dbv1.ObserveRequest{}); !strings.Contains(status.Convert(err).Message(), want) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	address := serveHubs(t, storeOf(t, ca, acl.Hub, "b"))
	first, err := p.Hubs(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := first.Observe(t.Context(), &dbv1.ObserveRequest{}); status.Code(err) != codes.Canceled {
		t.Errorf("a call by a closed connection: %v", err)
	}
	if _, err := p.Hubs(address); err == nil {
		t.Error("connections are made after Close")
	}
}

func storeOf(t *testing.T, ca *certstest.CA, kind acl.Kind, name string) *certs.Store {
	t.Helper()
	s, err := certs.Listening("tls", *ca.Files(kind, name).Listener(), certs.Options{Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// serveHubs answers nothing, to whoever comes with a certificate.
func serveHubs(t *testing.T, s *certs.Store) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(s.ServerCredentials()))
	dbv1.RegisterHubsServer(srv, dbv1.UnimplementedHubsServer{})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}
