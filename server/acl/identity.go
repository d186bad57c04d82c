// Package acl says who somebody is and what they may do: identities from TLS
// certificates, and which of them may follow which namespaces.
//
// A certificate that `unisondb tls cert create` makes carries its identity as a
// URI, unisondb://relayer/edge-1: kind and name. The certificate of another
// authority, which carries none, names its holder by the common name or else by
// its first DNS name, and doesn't say of which kind that is: it is treated as a
// relayer's.
package acl

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Kind is what the holder of a certificate is.
type Kind string

// The kinds that certificates name. The zero value is a holder of whom only the name is known.
const (
	Hub     Kind = "hub"
	Relayer Kind = "relayer"
	Client  Kind = "client" // of the data API; follows nothing
)

// scheme is that of the URI that carries an identity.
const scheme = "unisondb"

// Identity is who somebody is.
type Identity struct {
	Kind Kind
	Name string // a node's node_id
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Check says what is wrong with an identity that a certificate is to carry.
func (id Identity) Check() error {
	switch {
	case id.Kind != Hub && id.Kind != Relayer && id.Kind != Client:
		return fmt.Errorf("%q is no kind of identity: use %s, %s or %s", id.Kind, Hub, Relayer, Client)
	case !validName.MatchString(id.Name):
		return fmt.Errorf("%q is no name: use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first", id.Name)
	}
	return nil
}

// URI is the identity as a certificate carries it.
func (id Identity) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: string(id.Kind), Path: "/" + id.Name}
}

// String is for messages: relayer "edge-1".
func (id Identity) String() string {
	if id.Kind == "" {
		return strconv.Quote(id.Name)
	}
	return string(id.Kind) + " " + strconv.Quote(id.Name)
}

// ErrNoIdentity is wrapped by the errors of certificates that don't say whose they are.
var ErrNoIdentity = errors.New("the certificate doesn't say whose it is")

// OfCertificate reads whose a certificate is. Nothing is verified here. A URI of
// ours that can't be read isn't passed over: its holder would become somebody else.
func OfCertificate(cert *x509.Certificate) (Identity, error) {
	var found []Identity
	for _, u := range cert.URIs {
		if u.Scheme != scheme {
			continue
		}
		id := Identity{Kind(u.Host), strings.TrimPrefix(u.Path, "/")}
		if err := id.Check(); err != nil || *id.URI() != *u {
			return Identity{}, fmt.Errorf("%w: its URI %q isn't of the form %s://KIND/NAME", ErrNoIdentity, clipped(u.String()), scheme)
		}
		found = append(found, id)
	}
	switch {
	case len(found) > 1:
		return Identity{}, fmt.Errorf("%w: it names %d nodes", ErrNoIdentity, len(found))
	case len(found) == 1:
		return found[0], nil
	case cert.Subject.CommonName != "":
		return Identity{Name: cert.Subject.CommonName}, nil
	case len(cert.DNSNames) > 0:
		return Identity{Name: cert.DNSNames[0]}, nil
	}
	return Identity{}, fmt.Errorf("%w: it has neither a %s URI, nor a common name, nor a DNS name", ErrNoIdentity, scheme)
}

// Describe says whose a certificate claims to be, who issued it and which one it
// is, for the log. It is on one line and short whatever the certificate holds: it may be a
// stranger's.
func Describe(cert *x509.Certificate) string {
	if cert == nil {
		return "none"
	}
	who := strconv.Quote(clipped(cert.Subject.String()))
	if id, err := OfCertificate(cert); err == nil {
		who = clipped(id.String())
	}
	return fmt.Sprintf("%s (issuer %s, serial %s)", who, strconv.Quote(clipped(cert.Issuer.String())), clipped(cert.SerialNumber.Text(16)))
}

// maxShown bounds what of a certificate's text is shown, in bytes.
const maxShown = 200

func clipped(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}
