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

	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/internal/metrics"
	"github.com/unisondb/unisondb/server/rpcapi"
	"github.com/unisondb/unisondb/server/topology"
)

// secrets are the certificates of the node's connections; nil where they are plain.
type secrets struct {
	http, grpc *certs.Store
	raft       *certs.Store            // nil: Raft uses that of the gRPC door
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
		return n.raftBlockCerts()
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

// raftBlockCerts are those of a raft block that has its own.
func (n *Node) raftBlockCerts() error {
	if n.cfg.Raft == nil || n.cfg.Raft.TLS == nil {
		return nil
	}
	store, err := certs.Listening("tls of raft", *n.cfg.Raft.TLS, n.certOptions())
	if err == nil {
		n.secrets.raft, n.secrets.all = store, append(n.secrets.all, store)
	}
	return err
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
		err := n.mayFollow(ctx, r, shown, nodeID, namespace)
		if err == nil {
			return nil
		}
		err = n.turnedAway(ctx, nodeID, namespace, err)
		if n.names.grouped() {
			// This hub may hear a moment later than others who may follow what.
			return &replicator.Refusal{Code: replicator.CodeForbidden, Reason: err.Error(), Retryable: true}
		}
		return err
	}
}

// mayFollow says why a node must not follow a namespace. What the group has goes before the rules
// of the node's own files, which count where the group doesn't know the namespace.
func (n *Node) mayFollow(ctx context.Context, r acl.Rules, shown bool, nodeID, namespace string) error {
	cert, _ := rpcapi.PeerOf(ctx)
	if err := (acl.Rules{}).MayFollow(cert, nodeID, namespace); err != nil {
		return err
	}
	var s *topology.State
	if n.group != nil {
		s = n.group.State()
	}
	if s == nil || s.Namespaces[namespace] == nil {
		if cert == nil && shown {
			return errors.Join(r.MayFollow(cert, nodeID, namespace), r.WithoutCertificate(namespace))
		}
		return r.MayFollow(cert, nodeID, namespace)
	}
	node := topology.Node{Kind: topology.KindRelayer, ID: nodeID}
	if n.isHub(s, cert, nodeID) {
		node.Kind = topology.KindHub
	}
	if err := s.MayFollow(node, nil, namespace); err != nil || cert != nil || !shown || s.Namespaces[namespace].Settings.Replicate == nil {
		return err
	}
	if _, _, shows := control.CredentialOf(ctx); !shows {
		return acl.Rules{namespace: {}}.WithoutCertificate(namespace)
	}
	return n.identified(ctx, nodeID, namespace)
}

// isHub says whether who asks is a hub: its certificate says so, or the group knows one of its name where
// certificates say nothing.
func (n *Node) isHub(s *topology.State, cert *x509.Certificate, nodeID string) bool {
	if cert != nil {
		if id, err := acl.OfCertificate(cert); err == nil && id.Kind != "" {
			return id.Kind == acl.Hub
		}
	}
	return s.Hubs[nodeID] != nil && s.Relayers[nodeID] == nil
}

// identityOf is who asks: whom the certificate names, or what is claimed without one.
func identityOf(cert *x509.Certificate, nodeID string) string {
	if cert == nil {
		return "claims to be " + acl.Identity{Name: nodeID}.String()
	}
	return acl.Describe(cert)
}
