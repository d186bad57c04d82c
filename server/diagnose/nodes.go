package diagnose

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/unisondb/unisondb/server/config"
)

// peer is another node's gRPC address, and the TLS block that it is dialled with.
type peer struct {
	what, address string
	tls           *config.TLS // nil: plain TCP
}

func (d *diagnosis) peers() (all []peer) {
	if r := d.cfg.Raft; r != nil {
		t := r.TLS
		if t == nil && d.cfg.GRPC != nil {
			t = d.cfg.GRPC.TLS
		}
		for _, address := range r.Join {
			all = append(all, peer{"join", address, t})
		}
	}
	if r := d.cfg.Relayer; r != nil {
		for _, u := range r.Upstreams {
			for _, address := range u.Addresses {
				all = append(all, peer{"upstream " + u.Name, address, u.TLS})
			}
		}
	}
	return all
}

// otherNodes dials the nodes that this one dials, as far as a greeting: nothing is asked.
func (d *diagnosis) otherNodes(ctx context.Context, s *Step) {
	if !s.needs(d.cfg != nil, theConfiguration) {
		return
	}
	for _, p := range d.peers() {
		if err := d.greet(ctx, p); err != nil {
			s.fail(fmt.Sprintf("%s: %s: %v", p.what, p.address, err), adviceOf(err))
		} else {
			s.ok(fmt.Sprintf("%s: %s answers", p.what, p.address))
		}
	}
	if len(s.Findings) == 0 {
		s.skip("the configuration names none")
	}
}

func adviceOf(err error) string {
	var dns *net.DNSError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		return "correct the name, or this machine's DNS"
	case errors.As(err, &verify):
		return "ca_file must hold the CA of that node's certificate, and the certificate must name the host that is dialled"
	case errors.Is(err, errNotGRPC):
		return "give the address of the node's gRPC listener"
	case errors.Is(err, errRefusesUs):
		return "give this node a certificate of a CA that the other one trusts, in cert_file and key_file"
	}
	return "check that the node runs, that it listens there, and that no firewall is between"
}

var (
	errNotGRPC   = errors.New("it doesn't speak gRPC")
	errRefusesUs = errors.New("it refuses this node's certificate")
)

// greeting begins every HTTP/2 connection: the preface and empty settings.
const greeting = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// settingsFrame is the type of the frame that an HTTP/2 server begins with.
const settingsFrame = 4

// greet connects as gRPC does and reads the first frame.
func (d *diagnosis) greet(ctx context.Context, p peer) error {
	conn, err := d.dial(ctx, p.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing was asked
	if err := conn.SetDeadline(time.Now().Add(d.Patience)); err != nil {
		return err
	}
	if p.tls != nil {
		if conn, err = secure(ctx, conn, p); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(conn, greeting); err != nil {
		return refusedBy(err)
	}
	frame := make([]byte, 9)
	if _, err := io.ReadFull(conn, frame); err != nil {
		return refusedBy(err)
	}
	if frame[3] != settingsFrame {
		return errNotGRPC
	}
	return nil
}

// refusedBy tells a server that refuses the certificate, which it says only after the handshake.
func refusedBy(err error) error {
	var alert *net.OpError
	switch {
	case errors.As(err, &alert) && alert.Op == "remote error":
		return fmt.Errorf("%w: %w", errRefusesUs, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it has hung up", errNotGRPC)
	}
	return err
}

func secure(ctx context.Context, conn net.Conn, p peer) (net.Conn, error) {
	host, _, err := net.SplitHostPort(p.address)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{ServerName: host, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	if p.tls.CAFile != "" {
		b, err := os.ReadFile(p.tls.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM(b)
	}
	if p.tls.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(p.tls.CertFile, p.tls.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	secured := tls.Client(conn, c)
	return secured, secured.HandshakeContext(ctx)
}
