package server

import (
	"context"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// Kernel is the node's database, for tests that break something in it.
func (n *Node) Kernel() *dbkernel.DB { return n.db }

// SetKernelClock has the node's data go by another clock, from its Start on.
func (n *Node) SetKernelClock(clock func() time.Time) { n.kernelClock = clock }

// Knows says whether a hub's group has heard of a namespace, for tests.
func (n *Node) Knows(namespace string) bool { return n.group.State().Namespaces[namespace] != nil }

// AcceptOffer says why a relayer's namespace isn't taken, for tests.
func (n *Node) AcceptOffer(ctx context.Context, nodeID, namespace string, lineage dbkernel.Lineage) error {
	return n.acceptOffer(ctx, nodeID, namespace, lineage)
}
