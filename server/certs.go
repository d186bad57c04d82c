package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/metrics"
	"github.com/unisondb/unisondb/server/rpcapi"
)

// secrets are the certificates of the node's connections; nil where they are plain.
type secrets struct {
	http, grpc *certs.Store
	upstreams  map[string]*certs.Store // by the upstream's name
	all        []*certs.Store
	refusals   *acl.Refusals
}

// startCerts loads the files of every tls block, and watches them from then on.
func (n *Node) startCerts(context.Context) error {
	s := &n.secrets
	s.refusals = acl.NewRefusals(n.log.Named("access"), time.Now)
	s.upstreams = map[string]*certs.Store{}
	n.onStop("the certificates", func(context.Context) error {
		for _, store := range s.all {
			store.Close()
		}
		return nil
	})
	var err error
	if s.http, err = n.listeningCerts("http", n.cfg.HTTP); err != nil {
		return err
	}
	if s.grpc, err = n.listeningCerts("grpc", n.cfg.GRPC); err != nil {
		return err
	}
	if n.role != RoleRelayer {
		return nil
	}
	for _, u := range n.cfg.Relayer.Upstreams {
		if u.TLS == nil {
			continue
		}
		store, err := certs.Dialling(fmt.Sprintf("tls of upstream %q", u.Name), *u.TLS, n.certOptions())
		if err != nil {
			return err
		}
		s.upstreams[u.Name], s.all = store, append(s.all, store)
	}
	return nil
}

func (n *Node) listeningCerts(kind string, l *config.Listener) (*certs.Store, error) {
	if l == nil || l.TLS == nil {
		return nil, nil
	}
	store, err := certs.Listening(fmt.Sprintf("tls of listener %q", kind), *l.TLS, n.certOptions())
	if err == nil {
		n.secrets.all = append(n.secrets.all, store)
	}
	return store, err
}

func (n *Node) certOptions() certs.Options {
	return certs.Options{Logger: n.log.Named("tls"), Refusals: n.secrets.refusals}
}

// upstreamCredentials secure the connections to an upstream, or leave them plain where
// it has no tls block.
func (s *secrets) upstreamCredentials(name string) credentials.TransportCredentials {
	if store := s.upstreams[name]; store != nil {
		return store.ClientCredentials()
	}
	return insecure.NewCredentials()
}

// listenerCredentials secure the gRPC door; nil: it is plain.
func (s *secrets) listenerCredentials() credentials.TransportCredentials {
	if s.grpc == nil {
		return nil
	}
	return s.grpc.ServerCredentials()
}

// secure is the HTTP door's listener, with TLS where that is configured.
func (s *secrets) secure(ln net.Listener) net.Listener {
	if s.http == nil {
		return ln
	}
	return s.http.Listener(ln)
}

// certificates says which certificates the node uses, in the order of its listeners and
// upstreams.
func (n *Node) certificates() []httpapi.CertificateStatus {
	var all []httpapi.CertificateStatus
	for _, store := range n.secrets.all {
		s := store.Status()
		all = append(all, httpapi.CertificateStatus{
			Block: s.Title, Subject: s.Subject, Fingerprint: s.Fingerprint, NotAfter: s.NotAfter, LoadedAt: s.LoadedAt, Problem: s.Problem,
		})
	}
	return all
}

// collectCertificates exports how long the certificates hold, and who was sent away.
func (n *Node) collectCertificates(emit metrics.Emit) {
	for _, c := range n.certificates() {
		if !c.NotAfter.IsZero() {
			emit("unisondb_certificate_not_after_seconds", float64(c.NotAfter.Unix()), c.Block)
		}
		emit("unisondb_certificate_problem", boolValue(c.Problem != ""), c.Block)
	}
	emit("unisondb_connections_refused_total", float64(n.secrets.refusals.Count()))
}

// ReloadCertificates looks at the files of every tls block now. The error says
// which aren't used, and why; what was in use stays so.
func (n *Node) ReloadCertificates() error {
	var errs []error
	for _, store := range n.secrets.all {
		errs = append(errs, store.Reload())
	}
	return errors.Join(errs...)
}

// rules are the replicate blocks of the configuration.
func rules(namespaces []config.Namespace) acl.Rules {
	r := acl.Rules{}
	for _, ns := range namespaces {
		if ns.Replicate != nil {
			r[ns.Name] = acl.Rule{Relayers: ns.Replicate.Relayers, Hubs: ns.Replicate.Hubs}
		}
	}
	return r
}

// authorize says why a node that dialled this one must not follow a namespace, also
// to the log.
func (n *Node) authorize() func(ctx context.Context, nodeID, namespace string) error {
	r, block := rules(n.cfg.Namespaces), n.cfg.GRPC.TLS
	shown := block != nil && block.CAFile != "" // certificates may be
	if len(r) > 0 && !shown {
		n.log.Warn("the replicate blocks go by what nodes call themselves, which anybody who reaches the gRPC listener can",
			"hint", "write a tls block with ca_file and require_client_cert = true in it")
	}
	return func(ctx context.Context, nodeID, namespace string) error {
		cert, remote := rpcapi.PeerOf(ctx)
		err := r.MayFollow(cert, nodeID, namespace)
		if err == nil && cert == nil && shown {
			err = r.WithoutCertificate(namespace)
		}
		if err != nil {
			n.secrets.refusals.Note(acl.Refusal{Remote: remote, Identity: identityOf(cert, nodeID), Namespace: namespace, Reason: err.Error()})
		}
		return err
	}
}

// identityOf is who asks: whom the certificate names, or what is claimed without one.
func identityOf(cert *x509.Certificate, nodeID string) string {
	if cert == nil {
		return "claims to be " + acl.Identity{Name: nodeID}.String()
	}
	return acl.Describe(cert)
}
