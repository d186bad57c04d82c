// Package control is the sessions between hubs and relayers: a relayer attends one of
// its hubs, says who it is and how it does, and hears what it is to have. A Desk is
// the hub's end, an Attendance the relayer's; a Viewer puts together what all hubs see.
// Nothing of a namespace's data travels here.
package control

import (
	"context"

	"github.com/unisondb/unisondb/server/topology"
)

// Group is what a hub's end needs of the group of hubs. *topology.Group is one.
type Group interface {
	// State is the newest state here. It may be older than the group's.
	State() *topology.State
	// Watch waits for a state with an index above after.
	Watch(ctx context.Context, after uint64) (*topology.State, error)
	// Sync answers a state as new as the call. It needs a leader.
	Sync(ctx context.Context) (*topology.State, error)
	// Propose answers when a command was applied at the leader. It needs a leader. A
	// *topology.Error says that it was refused.
	Propose(ctx context.Context, c topology.Command) (index uint64, err error)
}
