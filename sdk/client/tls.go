package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
)

// tlsFiles are the TLS files of a client, and what they held when they were last in order.
type tlsFiles struct {
	cfg Config

	mu   sync.Mutex
	last *tls.Config
}

// dial makes a connection with what the files hold at that time.
func (f *tlsFiles) dial(ctx context.Context, network, address string) (net.Conn, error) {
	config, err := f.load()
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: config}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// load reads the files. While they are being replaced, a certificate may stand beside
// another one's key: then what they held before is good enough.
func (f *tlsFiles) load() (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	config, err := f.cfg.tlsConfig()
	if err == nil {
		f.last = config
	}
	if f.last == nil {
		return nil, err
	}
	return f.last, nil
}

// tlsConfig is what the files hold.
func (cfg Config) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s holds no PEM certificate: name the file with the certificate of who signed the node's", cfg.CAFile)
		}
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("a client certificate needs both its certificate file and its key file")
	}
	if cfg.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate: %w", err)
		}
		// Shown also where the node names other authorities: its refusal then says more
		// than that it saw none.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return config, nil
}

// refusedInHandshake puts into words what a node has said against a handshake; nil:
// it has said nothing of that kind. In TLS 1.3 this comes in the place of an answer, for
// the client may send its request before the node has looked at its certificate.
func refusedInHandshake(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return nil
	}
	switch alert := strings.TrimPrefix(op.Err.Error(), "tls: "); alert { // crypto/tls has no types for these
	case "certificate required":
		return fmt.Errorf("%w: it wants one: set the certificate file and its key file", ErrCertificate)
	case "unknown certificate authority":
		return fmt.Errorf("%w: it doesn't know who signed it: use one from the node's CA", ErrCertificate)
	case "expired certificate":
		return fmt.Errorf("%w: it has expired or isn't valid yet: renew it", ErrCertificate)
	case "bad certificate", "unsupported certificate", "revoked certificate", "unknown certificate", "access denied":
		return fmt.Errorf("%w (%s): the node's log says why", ErrCertificate, alert)
	case "protocol version not supported":
		return errors.New("the node speaks no TLS 1.3: use a newer version of it, or an HTTPClient of your own")
	}
	return nil
}
