package diagnose

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/unisondb/unisondb/server/config"
)

// expiresSoon is how long before its end a certificate is warned of.
const expiresSoon = 14 * 24 * time.Hour

// tlsOf are the files of one block.
type tlsOf struct {
	name string
	*config.TLS
}

func (d *diagnosis) tlsBlocks() (all []tlsOf) {
	c := d.cfg
	add := func(name string, t *config.TLS) {
		if t != nil {
			all = append(all, tlsOf{name, t})
		}
	}
	if c.HTTP != nil {
		add("listener http", c.HTTP.TLS)
	}
	if c.GRPC != nil {
		add("listener grpc", c.GRPC.TLS)
	}
	if c.Redis != nil {
		add("listener redis", c.Redis.TLS)
	}
	if c.Raft != nil {
		add("raft", c.Raft.TLS)
	}
	if c.Relayer != nil {
		for _, u := range c.Relayer.Upstreams {
			add("upstream "+u.Name, u.TLS)
		}
	}
	return all
}

// certificates looks at every file that TLS blocks name.
func (d *diagnosis) certificates(_ context.Context, s *Step) {
	if !s.needs(d.cfg != nil, theConfiguration) {
		return
	}
	for _, t := range d.tlsBlocks() {
		d.block(s, t)
	}
	if len(s.Findings) == 0 {
		s.skip("no block has TLS")
	}
}

func (d *diagnosis) block(s *Step, t tlsOf) {
	authorities := d.authorities(s, t)
	if t.CertFile == "" {
		return
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		s.fail(fmt.Sprintf("%s: %s and %s: %v", t.name, t.CertFile, t.KeyFile, err), "check both paths, that this user may read them, and that they belong together")
		return
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		s.fail(fmt.Sprintf("%s: %s: %v", t.name, t.CertFile, err), "make it anew: 'unisondb tls cert create'")
		return
	}
	d.validity(s, t.name+": "+t.CertFile, cert)
	if authorities != nil {
		_, err := cert.Verify(x509.VerifyOptions{Roots: authorities, Intermediates: intermediates(pair), CurrentTime: within(cert, d.Clock()), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err != nil {
			s.warn(fmt.Sprintf("%s: %s is not of an authority in %s: %v", t.name, t.CertFile, t.CAFile, err), "nodes that trust that file alone refuse it: use a certificate that its CA has signed")
		}
	}
	if info, err := os.Stat(t.KeyFile); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.warn(fmt.Sprintf("%s: other users of the machine may read %s", t.name, t.KeyFile), "take the right from them: chmod 600")
	}
}

// authorities reads a CA file; nil where there is none or it can't be used.
func (d *diagnosis) authorities(s *Step, t tlsOf) *x509.CertPool {
	if t.CAFile == "" {
		return nil
	}
	b, err := os.ReadFile(t.CAFile)
	if err != nil {
		s.fail(fmt.Sprintf("%s: %v", t.name, err), "check the path, and that this user may read it")
		return nil
	}
	pool, found := x509.NewCertPool(), 0
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			s.fail(fmt.Sprintf("%s: %s: %v", t.name, t.CAFile, err), "it must hold certificates alone, in PEM")
			return nil
		}
		pool.AddCert(cert)
		found++
		d.validity(s, t.name+": "+t.CAFile, cert)
	}
	if found == 0 {
		s.fail(fmt.Sprintf("%s: %s holds no certificate", t.name, t.CAFile), "it must hold certificates in PEM")
		return nil
	}
	return pool
}

func (d *diagnosis) validity(s *Step, what string, cert *x509.Certificate) {
	now := d.Clock()
	until := cert.NotAfter.UTC().Format(time.RFC3339)
	switch left := cert.NotAfter.Sub(now); {
	case now.Before(cert.NotBefore):
		s.fail(fmt.Sprintf("%s is valid from %s on only", what, cert.NotBefore.UTC().Format(time.RFC3339)), "check this machine's clock")
	case left <= 0:
		s.fail(fmt.Sprintf("%s has expired, at %s", what, until), "put a new one in its place: the node takes it up without a restart")
	case left < expiresSoon:
		s.warn(fmt.Sprintf("%s expires at %s", what, until), "put a new one in its place: the node takes it up without a restart")
	default:
		s.ok(fmt.Sprintf("%s is valid until %s", what, until))
	}
}

// within is a moment at which the certificate is valid: whether it is now is another finding.
func within(cert *x509.Certificate, now time.Time) time.Time {
	if now.After(cert.NotAfter) {
		return cert.NotAfter
	}
	if now.Before(cert.NotBefore) {
		return cert.NotBefore
	}
	return now
}

func intermediates(pair tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, b := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(b); err == nil {
			pool.AddCert(cert)
		}
	}
	return pool
}
