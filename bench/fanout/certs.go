package main

import (
	"path/filepath"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/config"
)

// tlsFiles are those of one end.
type tlsFiles struct{ Cert, Key, CA string }

// certificates are what mTLS between a hub and its followers takes.
type certificates struct {
	hub, follower tlsFiles
	stores        []*certs.Store
}

func newCertificates(dir string) (*certificates, error) {
	now := time.Now()
	ca, err := certs.NewAuthority("fanout", now, now.AddDate(0, 0, 1))
	if err != nil {
		return nil, err
	}
	caFile := filepath.Join(dir, "ca.pem")
	if err := ca.Write(caFile, filepath.Join(dir, "ca-key.pem")); err != nil {
		return nil, err
	}
	c := &certificates{}
	for _, end := range []struct {
		files *tlsFiles
		id    acl.Identity
	}{{&c.hub, acl.Identity{Kind: acl.Hub, Name: "hub"}}, {&c.follower, acl.Identity{Kind: acl.Relayer, Name: "follower"}}} {
		*end.files = tlsFiles{filepath.Join(dir, end.id.Name+".pem"), filepath.Join(dir, end.id.Name+"-key.pem"), caFile}
		names, ips := certs.LoopbackNames()
		pair, err := ca.Issue(certs.Request{Identity: end.id, DNSNames: names, IPs: ips}, now)
		if err != nil {
			return nil, err
		}
		if err := pair.Write(end.files.Cert, end.files.Key); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// listening are the hub's credentials.
func (c *certificates) listening() (credentials.TransportCredentials, error) {
	s, err := certs.Listening("tls of the bench's hub", config.TLS{
		CertFile: c.hub.Cert, KeyFile: c.hub.Key, CAFile: c.hub.CA, RequireClientCert: true,
	}, certs.Options{})
	if err != nil {
		return nil, err
	}
	c.stores = append(c.stores, s)
	return s.ServerCredentials(), nil
}

func (c *certificates) close() {
	for _, s := range c.stores {
		s.Close()
	}
}

// dialling are a follower's credentials.
func (f *tlsFiles) dialling() (credentials.TransportCredentials, *certs.Store, error) {
	s, err := certs.Dialling("tls of the bench's followers", config.TLS{CertFile: f.Cert, KeyFile: f.Key, CAFile: f.CA}, certs.Options{})
	if err != nil {
		return nil, nil, err
	}
	return s.ClientCredentials(), s, nil
}
