package command

import (
	"context"
	"flag"
)

type operatorRaftListPeersCommand struct {
	*Meta
	staleFlag
}

func (c *operatorRaftListPeersCommand) spec() spec {
	return spec{
		synopsis: "List the hubs of the group",
		about: "Lists the members of the group of hubs that runs the control plane: who leads, who votes, and of whom the leader hears. LAST CONTACT is how long ago that was. " +
			"READS UP TO is the highest number of a command that the hub's build can read: the leader uses no newer one until all can.",
		examples: []string{
			"unisondb operator raft list-peers",
			"unisondb operator raft list-peers -stale -json",
		},
	}
}

func (c *operatorRaftListPeersCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.staleFlag.define(fs)
}

func (c *operatorRaftListPeersCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	peers, err := node.RaftPeers(ctx, c.options()...)
	if err != nil {
		return err
	}
	c.tell(c.Meta)
	l := c.newList("ID", "ADDRESS", "ROLE", "HEALTHY", "LAST CONTACT", "VERSION", "READS UP TO")
	for _, p := range peers {
		healthy := "no"
		if p.Healthy {
			healthy = "yes"
		}
		if err := l.add(p, p.ID, dash(p.Address), p.Role, healthy, dash(p.LastContact), dash(p.Version), number(uint64(p.ReadsUpTo))); err != nil {
			return err
		}
	}
	return l.close(nil)
}
