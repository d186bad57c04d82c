package control

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"strings"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/topology"
)

// claim is what a relayer says of itself, checked for form, and how it proves it.
type claim struct {
	relayer topology.Relayer
	hello   *dbv1.RelayerHello
	// proven says that a certificate names it, or that the listener asks for no proof.
	proven bool
}

// maxOwned bounds the namespaces that one relayer may own.
const maxOwned = 1024

// claimOf checks a hello against the connection that it came on.
func (d *Desk) claimOf(hello *dbv1.RelayerHello, cert *x509.Certificate) (claim, error) {
	c := claim{hello: hello, proven: !d.o.Secure, relayer: topology.Relayer{
		ID: hello.GetNodeId(), Instance: hello.GetInstanceId(), Labels: maps.Clone(hello.GetLabels()),
		Region: hello.GetRegion(), Advertise: hello.GetAdvertise(),
	}}
	if err := (acl.Identity{Kind: acl.Relayer, Name: c.relayer.ID}).Check(); err != nil {
		return c, refuse(CodeInvalidMessage, "the hello's node id: %v", err)
	}
	if c.relayer.Instance == "" {
		return c, refuse(CodeInvalidMessage, "relayer %q doesn't say which instance it is", c.relayer.ID)
	}
	if n := len(hello.GetOwned()); n > maxOwned {
		return c, refuse(CodeInvalidMessage, "relayer %q owns %d namespaces, and %d are the most", c.relayer.ID, n, maxOwned)
	}
	if cert == nil {
		return c, nil
	}
	c.proven = true
	who, err := acl.OfCertificate(cert)
	switch {
	case err != nil:
		return c, refuse(CodeIdentityMismatch, "%v: make one by 'unisondb tls cert create -relayer -name=%s'", err, c.relayer.ID)
	case who.Kind == acl.Client || who.Kind == acl.Hub:
		return c, refuse(CodeIdentityMismatch, "the certificate is that of %v, and attending a hub is for relayers: make one by 'unisondb tls cert create -relayer -name=%s'", who, c.relayer.ID)
	case who.Name != c.relayer.ID:
		return c, refuse(CodeIdentityMismatch, "the certificate is that of %v, and the relayer calls itself %q: give it its own certificate, or set its node_id to the certificate's name", clip(who.String(), maxReasonLen), c.relayer.ID)
	}
	return c, nil
}

// verdict is what a state says of a claim.
type verdict struct {
	join  bool   // the group has to agree before the session begins
	token string // id of the join token that lets it in; empty: it needs none
	// credential is the hash that stands for a certificate from then on.
	credential string
}

// judge says whether a relayer may come in, as a state has it.
func (d *Desk) judge(s *topology.State, c claim) (verdict, error) {
	known := s.Relayers[c.relayer.ID]
	if err := misplaced(s, c, known); err != nil {
		return verdict{}, err
	}
	shown := c.hello.GetCredential()
	switch {
	case known != nil && (c.proven || matches(known.Credential, shown)):
		return verdict{}, nil
	case c.hello.GetJoinToken() != "":
		return d.byToken(s, c)
	case known == nil && c.hello.GetCluster() != "":
		return verdict{}, removed(c.relayer.ID)
	case c.proven:
		return verdict{join: true}, nil
	case shown != "" && known != nil:
		return verdict{}, refuse(CodeCredentialRefused, "relayer %q shows another credential than it has joined with: give it a certificate, or a join token (join_token in its upstream block) by 'unisondb operator relayer token -relayer=%[1]s'", c.relayer.ID)
	}
	return verdict{}, refuse(CodeNotIdentified, "relayer %q shows neither a certificate nor a join token: write cert_file and key_file into the tls block of its upstream, or join_token into the upstream block", c.relayer.ID)
}

// misplaced refuses who is at the wrong place or has another's id.
func misplaced(s *topology.State, c claim, known *topology.Relayer) error {
	switch joined := c.hello.GetCluster(); {
	case s.Cluster == "":
		return refuseForNow(CodeNoLeader, "the hub's group hasn't begun yet: it is tried again")
	case joined != "" && joined != s.Cluster:
		return otherCluster(s.Cluster, joined)
	case s.Hubs[c.relayer.ID] != nil:
		return refuse(CodeNodeIDTaken, "the node id %q is a hub's: give the relayer another node_id", c.relayer.ID)
	case known != nil && known.Instance != c.relayer.Instance:
		return refuse(CodeNodeIDTaken, "the node id %q is taken by a relayer with another data directory (instance %s): give this relayer another node_id, or if the old one is gone for good: 'unisondb operator relayer remove %[1]s'", c.relayer.ID, known.Instance)
	}
	return nil
}

// otherCluster is for both ends.
func otherCluster(hubs, relayer string) *Refusal {
	return refuse(CodeOtherCluster, "the hub belongs to group %s, and the relayer has joined group %s: correct the addresses of its upstream, or start it with an empty data directory to move it", clip(hubs, maxCodeLen), clip(relayer, maxCodeLen))
}

func removed(id string) *Refusal {
	return refuse(CodeRelayerRemoved, "relayer %q was removed from the group: to have it join again, give it a new join token (join_token in its upstream block, by 'unisondb operator relayer token'), or an empty data directory", id)
}

// byToken lets a relayer in that shows a join token.
func (d *Desk) byToken(s *topology.State, c claim) (verdict, error) {
	t, err := tokenOf(s, c.hello.GetJoinToken(), d.o.Clock())
	if err != nil {
		return verdict{}, err
	}
	v := verdict{join: true, token: t.ID}
	switch shown := c.hello.GetCredential(); {
	case len(shown) >= minCredential:
		v.credential = hashOf(shown)
	case !c.proven:
		return verdict{}, refuse(CodeInvalidMessage, "a relayer that joins with a token shows a credential of at least %d characters from then on, and relayer %q shows none: use a newer version of it", minCredential, c.relayer.ID)
	}
	return v, nil
}

// admit lets a relayer in, or answers a *Refusal. joined is an index at which the group
// knew it; 0: the state here does. States before that needn't know it. Who is known to this hub needs
// no leader; what would send somebody away is judged anew by a state that is as new as the call.
func (d *Desk) admit(ctx context.Context, c claim) (joined uint64, err error) {
	v, err := d.judge(d.o.Group.State(), c)
	if err == nil && !v.join {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	s, err := d.o.Group.Sync(ctx)
	if err != nil {
		return 0, noLeader(c.relayer.ID, err)
	}
	if v, err = d.judge(s, c); err != nil || !v.join {
		return s.Index, err
	}
	relayer := c.relayer
	relayer.Credential = v.credential
	command := topology.SetRelayer{Relayer: relayer, Token: v.token}
	if v.token != "" {
		command.At = d.o.Clock().UTC()
	}
	joined, err = d.o.Group.Propose(ctx, command)
	if e, ok := errors.AsType[*topology.Error](err); ok {
		return 0, refuse(e.Code, "%s", e.Reason).because(err)
	}
	if err != nil {
		return 0, noLeader(c.relayer.ID, err)
	}
	d.o.Logger.Info("relayer joined", "relayer", relayer.ID, "instance", relayer.Instance, "token", v.token)
	return joined, nil
}

func noLeader(id string, err error) *Refusal {
	return refuseForNow(CodeNoLeader, "the hub can't ask its group whether relayer %q may join: %v: it is tried again", id, err).because(err)
}

// CheckCredential says why what a node shows as its credential isn't that of the relayer, nil: it is. It is for
// replication streams, see StreamCredentials. nodeID may be anything.
func (d *Desk) CheckCredential(nodeID, credential string) error {
	r := d.o.Group.State().Relayers[nodeID]
	if r == nil || !matches(r.Credential, credential) {
		return refuseForNow(CodeCredentialRefused, "what the node shows as the credential of relayer %q isn't what it has joined with: let it attend this group of hubs first, with a join token", clip(strings.ToValidUTF8(nodeID, ""), maxCodeLen))
	}
	return nil
}
