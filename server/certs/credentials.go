package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/credentials"
)

// Code begins what credentials say of a connection that failed for its
// certificates, so that it is told from one that is merely away: gRPC passes
// on an error's words and nothing else of it.
const Code = "TLS_FAILED"

// http2 is gRPC's protocol.
const http2 = "h2"

// ServerCredentials secure a gRPC listener. Of the store of a listener only.
func (s *Store) ServerCredentials() credentials.TransportCredentials { return serverCredentials{s} }

// ClientCredentials secure connections of a gRPC client. The name that the
// server's certificate must have is the host of the address.
func (s *Store) ClientCredentials() credentials.TransportCredentials { return clientCredentials{s} }

// serverCredentials make each connection with the newest certificates.
type serverCredentials struct{ *Store }

// ServerHandshake implements credentials.TransportCredentials.
func (c serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := c.accept(c.shaking, raw, http2)
	if err != nil {
		return nil, nil, err
	}
	return conn, credentials.TLSInfo{
		State:          conn.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (c serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (serverCredentials) Info() credentials.ProtocolInfo { return protocolInfo() }

// Clone implements credentials.TransportCredentials.
func (c serverCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (serverCredentials) OverrideServerName(string) error { return errNoOverride }

// clientCredentials make each connection with the newest certificates.
type clientCredentials struct{ *Store }

// ClientHandshake implements credentials.TransportCredentials.
func (c clientCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.current.Load().client.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, c.explain(err)
	}
	return &dialled{Conn: conn, store: c.Store}, info, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (c clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info implements credentials.TransportCredentials.
func (clientCredentials) Info() credentials.ProtocolInfo { return protocolInfo() }

// Clone implements credentials.TransportCredentials.
func (c clientCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (clientCredentials) OverrideServerName(string) error { return errNoOverride }

var errNoOverride = errors.New("the name of a server is the host of its address: dial that")

func protocolInfo() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// dialled is a connection that this end has made. In TLS 1.3 it is up before the other
// end has looked at this end's certificate: what that thinks of it comes with a Read.
type dialled struct {
	net.Conn
	store *Store
}

// Read implements net.Conn.
func (d *dialled) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if err != nil && alertOf(err) != "" {
		err = d.store.explain(err)
	}
	return n, err
}

// explain puts the failure of a connection that this end has dialled into words.
func (s *Store) explain(err error) error {
	var unverified *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch alert := alertOf(err); {
	case errors.As(err, &unverified):
		reason, cert := s.reasonOf(err)
		if cert != nil && strings.Contains(reason, "doesn't hold") {
			reason += fmt.Sprintf(" (its issuer is %s): check %s in %s", clip(cert.Issuer.String()), caKey, s.title)
		}
		return s.failure("the upstream isn't trusted: "+reason, err)
	case alert == "certificate required":
		return s.failure("the upstream demands a certificate: name cert_file and key_file in "+s.title, err)
	case alert == "expired certificate":
		return s.failure("the upstream refuses this node's certificate, which has expired or isn't valid yet: put a new one in place of "+s.own(), err)
	case alert == "unknown certificate authority":
		return s.failure("the upstream refuses this node's certificate, whose authority it doesn't know: use one from its authority in place of "+s.own()+", or add the authority to the upstream's ca_file", err)
	case alert == "protocol version not supported":
		return s.failure("the upstream speaks no TLS 1.3: use a newer version of it", err)
	case alert != "":
		return s.failure("the upstream refuses the connection ("+alert+"): its log says why; this node's certificate is "+s.own(), err)
	case errors.As(err, &plain):
		return s.failure("the upstream speaks no TLS at this address: remove the tls block of the upstream, or add one to the upstream's listener", err)
	}
	return err
}

func (s *Store) own() string {
	if s.files.CertFile == "" {
		return "a certificate, which this node has none of"
	}
	return s.files.CertFile
}

// failure is an error of certificates. gRPC quotes its words.
func (s *Store) failure(reason string, err error) error {
	return &failure{Code + ": " + reason, err}
}

type failure struct {
	text  string
	cause error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }
