package server

import (
	"context"
	"fmt"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/internal/placement"
	"github.com/unisondb/unisondb/server/rpcapi"
	"github.com/unisondb/unisondb/server/topology"
)

// offerOwned offers what a relayer owns to the hubs that it attends, over connections that it
// makes itself.
func (n *Node) offerOwned() error {
	if n.role != RoleRelayer {
		return nil
	}
	for _, name := range n.places.names(placement.Own) {
		l, err := n.links.acquire(n.attendedRoute())
		if err != nil {
			return err
		}
		n.places.set(name, place{role: placement.Own, offered: l})
		l.up.Offer(name)
	}
	return nil
}

// offerPatience is how long an offer waits for the group to agree that it comes by this hub.
const offerPatience = 5 * time.Second

// acceptOffer says why a namespace isn't taken from a relayer that has dialled this hub; nil: it is.
func (n *Node) acceptOffer(ctx context.Context, nodeID, namespace string, lineage dbkernel.Lineage) error {
	if n.group == nil {
		return fmt.Errorf("this node is a relayer and takes no namespaces: offer %q to a hub", namespace)
	}
	if err := n.identified(ctx, nodeID, namespace); err != nil {
		return n.turnedAway(ctx, nodeID, namespace, err)
	}
	ctx, cancel := context.WithTimeout(ctx, offerPatience)
	defer cancel()
	if err := n.receiveVia(ctx, topology.Node{Kind: topology.KindRelayer, ID: nodeID}, namespace, lineage); err != nil {
		return err
	}
	return n.awaitPlace(ctx, namespace, placement.Receive)
}

// receiveVia has the group agree that a relayer's namespace comes by this hub. What the relayer has said of
// itself to a hub may not have got here yet.
func (n *Node) receiveVia(ctx context.Context, owner topology.Node, name string, lineage dbkernel.Lineage) error {
	for s := n.group.State(); ; {
		ns := s.Namespaces[name]
		switch {
		case ns != nil && ns.Owner != owner:
			return fmt.Errorf("namespace %q is owned by %s %q, and relayer %q offers it: give it another name there", name, ns.Owner.Kind, ns.Owner.ID, owner.ID)
		case ns != nil && ns.Lineage != lineage.String():
			return &replicator.Refusal{Code: replicator.CodeLineageMismatch, Retryable: true, Reason: fmt.Sprintf("relayer %q offers lineage %s of namespace %q, and the group of hubs has %s: if the relayer has lost its data for good, "+
				"'unisondb operator namespace delete %s' lets it begin anew", owner.ID, lineage, name, ns.Lineage, name)}
		case ns != nil && ns.Via == n.ID():
			return nil
		case ns != nil:
			if _, err := n.group.Propose(ctx, topology.SetVia{Name: name, Via: n.ID()}); err != nil {
				return fmt.Errorf("namespace %q comes by hub %q, and that can't be changed at the moment: %w", name, ns.Via, err)
			}
		}
		next, err := n.group.Watch(ctx, s.Index)
		if err != nil {
			return fmt.Errorf("the group of hubs doesn't know yet that namespace %q of relayer %q comes by this hub: it is tried again", name, owner.ID)
		}
		s = next
	}
}

// awaitPlace waits until this node does something with a namespace.
func (n *Node) awaitPlace(ctx context.Context, name string, role placement.Role) error {
	for {
		_, changed := n.placing.Settled()
		if n.places.role(name) == role {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err := n.placing.Problem(name); err != nil {
				return err
			}
			return fmt.Errorf("this node isn't ready for namespace %q yet: it is tried again", name)
		}
	}
}

// identified says why a call doesn't come from the node that it names. Where certificates may be shown, a node
// that has none shows the credential that its join token has given it.
func (n *Node) identified(ctx context.Context, nodeID, namespace string) error {
	cert, _ := rpcapi.PeerOf(ctx)
	if cert != nil || n.secrets.grpc == nil {
		return acl.Rules{}.MayFollow(cert, nodeID, namespace)
	}
	claimed, credential, ok := control.CredentialOf(ctx)
	switch {
	case !ok:
		return fmt.Errorf("node %q shows neither a certificate nor the credential of a join token", nodeID)
	case claimed != nodeID:
		return fmt.Errorf("the credential is that of node %q, and the node calls itself %q", claimed, nodeID)
	}
	return n.desk.CheckCredential(nodeID, credential)
}

// turnedAway notes who was refused, and why.
func (n *Node) turnedAway(ctx context.Context, nodeID, namespace string, err error) error {
	cert, remote := rpcapi.PeerOf(ctx)
	n.secrets.refusals.Note(acl.Refusal{Remote: remote, Identity: identityOf(cert, nodeID), Namespace: namespace, Reason: err.Error()})
	return err
}
