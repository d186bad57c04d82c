package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/unisondb/unisondb/server/acl"
)

// HubOnly refuses who is no hub of the group by its certificate: what is between hubs is not for
// relayers and clients that hold one from the same authority. member says whether a node id is
// a hub's; it is asked about certificates of other authorities' tools, which name no kind.
func HubOnly(cert *x509.Certificate, member func(id string) bool) error {
	if cert == nil {
		return errors.New("only hubs may do this, and no certificate was shown: connect with that of a hub")
	}
	id, err := acl.OfCertificate(cert)
	switch {
	case err != nil:
		return err
	case id.Kind == acl.Hub, id.Kind == "" && member(id.Name):
		return nil
	}
	return fmt.Errorf("only hubs may do this, and the certificate is that of %v: use one made by \"unisondb tls cert create -hub -name=NODE\"", id)
}

// hubCalled refuses a certificate that isn't that of the hub with a node id.
func hubCalled(cert *x509.Certificate, nodeID string) error {
	if err := HubOnly(cert, func(string) bool { return true }); err != nil {
		return err
	}
	if id, err := acl.OfCertificate(cert); err != nil || id.Name != nodeID {
		return fmt.Errorf("the certificate is that of %v, and the hub calls itself %q: make one by \"unisondb tls cert create -hub -name=%s\"", id, nodeID, nodeID)
	}
	return nil
}

// errNoCA says that hubs can't tell each other from strangers.
var errNoCA = errors.New("connections between hubs need a ca_file in the tls block: name who signs the hubs' certificates")

// AcceptHub secures a connection between hubs that this end has accepted: the other end has to
// show a hub's certificate, whatever the listener demands. It may be any hub's: CheckHub says whether it is
// the right one's. Who isn't let in is in the log when it returns. Of the store of a listener only.
func (s *Store) AcceptHub(ctx context.Context, raw net.Conn, protocol string) (*tls.Conn, error) {
	v := s.current.Load()
	if v.cas == nil {
		return nil, errors.Join(errNoCA, raw.Close())
	}
	c := s.serverConfig(v.material, protocol)
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return s.handshake(ctx, raw, c, protocol)
}

// DialHub secures a connection between hubs that this end has made. host is what the other
// end's certificate has to be for. The connection is closed where it fails.
func (s *Store) DialHub(ctx context.Context, raw net.Conn, host, protocol string) (*tls.Conn, error) {
	v := s.current.Load()
	if v.cas == nil {
		return nil, errors.Join(errNoCA, raw.Close())
	}
	c := s.clientConfig(v.material)
	c.ServerName, c.NextProtos = host, []string{protocol}
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // it may be closed already
		return nil, s.explain(err)
	}
	return conn, nil
}

// CheckHub refuses who isn't the hub that it says it is. It is in the log then.
func (s *Store) CheckHub(conn *tls.Conn, nodeID string) error {
	var cert *x509.Certificate
	if shown := conn.ConnectionState().PeerCertificates; len(shown) > 0 {
		cert = shown[0]
	}
	err := hubCalled(cert, nodeID)
	if err != nil {
		s.o.Refusals.Note(acl.Refusal{Remote: conn.RemoteAddr(), Identity: acl.Describe(cert), Reason: s.title + ": " + err.Error()})
	}
	return err
}

// Explain puts what a connection of DialHub fails with later into words: what the other end thinks
// of this end's certificate comes with a Read.
func (s *Store) Explain(err error) error {
	if alertOf(err) == "" {
		return err
	}
	return s.explain(err)
}
