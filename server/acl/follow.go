package acl

import (
	"crypto/x509"
	"fmt"
	"path"
)

// Rule says which nodes may follow a namespace, by patterns of their names: *
// stands for any text and ? for one character.
type Rule struct {
	Relayers []string
	Hubs     []string
}

// Rules are the rules of namespaces, by name. A namespace that has none may be followed
// by every node that may connect. They aren't changed once they are in use.
type Rules map[string]Rule

// MayFollow says why a node must not follow a namespace; nil: it may. cert is
// the verified certificate of the connection, nil where it has none: then nodeID
// is a claim, and what the rules say of it is no protection from a liar.
func (r Rules) MayFollow(cert *x509.Certificate, nodeID, namespace string) error {
	id := Identity{Name: nodeID}
	if cert != nil {
		var err error
		if id, err = OfCertificate(cert); err != nil {
			return fmt.Errorf("%w: %s", err, howToGetOne(nodeID))
		}
	}
	switch {
	case id.Kind == Client:
		return fmt.Errorf("the certificate of %v is for the data API and follows nothing: %s", id, howToGetOne(nodeID))
	case id.Name != nodeID:
		return fmt.Errorf("the certificate is that of %v, and the node calls itself %q: give the node its own certificate, or set its node_id to the certificate's name", id, clipped(nodeID))
	}
	rule, ok := r[namespace]
	if ok && !rule.allows(id) {
		return fmt.Errorf("namespace %q isn't for %s: name it in the namespace's replicate block where the namespace is owned, or stop following it", namespace, clipped(id.String()))
	}
	return nil
}

// WithoutCertificate says why a node that shows no certificate must not follow a namespace
// on a listener that takes them: a claim would get past any rule. nil: the namespace has none.
func (r Rules) WithoutCertificate(namespace string) error {
	if _, ok := r[namespace]; !ok {
		return nil
	}
	return fmt.Errorf("namespace %q has a replicate block, and the node that asks for it shows no certificate: give it cert_file and key_file in the tls block of its upstream", namespace)
}

func howToGetOne(nodeID string) string {
	if !validName.MatchString(nodeID) {
		nodeID = "NODE"
	}
	return fmt.Sprintf("make one by 'unisondb tls cert create -relayer -name=%s'", nodeID)
}

// allows treats everyone who isn't known to be a hub as a relayer.
func (r Rule) allows(id Identity) bool {
	patterns := r.Relayers
	if id.Kind == Hub {
		patterns = r.Hubs
	}
	for _, p := range patterns {
		if ok, err := path.Match(p, id.Name); ok && err == nil {
			return true
		}
	}
	return false
}
