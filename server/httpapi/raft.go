package httpapi

import (
	"context"
	"time"

	"github.com/unisondb/unisondb/server/topology"
)

// raftPeer is a member of the group of hubs.
type raftPeer struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Role    string `json:"role"`
	Healthy bool   `json:"healthy"`
	// LastContact is a duration; empty: never.
	LastContact string        `json:"last_contact"`
	Instance    string        `json:"instance"`
	Version     string        `json:"version"`
	ReadsUpTo   topology.Kind `json:"reads_up_to"`
}

func outPeer(m topology.Member) raftPeer {
	p := raftPeer{
		ID: m.ID, Address: m.Raft, Role: string(m.Role), Healthy: m.Healthy,
		Instance: m.Instance, Version: m.Version, ReadsUpTo: m.ReadsUpTo,
	}
	if m.LastContact >= 0 {
		p.LastContact = m.LastContact.Round(time.Millisecond).String()
	}
	return p
}

func (c *call) raftPeers() error {
	return c.withGroup(func(ctx context.Context) error {
		if _, err := c.synced(ctx); err != nil {
			return err
		}
		members, err := c.api.group.Members(ctx)
		if err != nil {
			return err
		}
		out := make([]raftPeer, 0, len(members))
		for _, m := range members {
			out = append(out, outPeer(m))
		}
		return c.json(out)
	})
}

func (c *call) removePeer() error {
	return c.changeGroup(func(ctx context.Context) error {
		var in struct {
			ID string `json:"id"`
		}
		if err := c.readJSON(maxSmallBody, &in); err != nil {
			return err
		}
		if err := checkID("id", in.ID); err != nil {
			return err
		}
		if err := c.api.group.RemovePeer(ctx, in.ID); err != nil {
			return err
		}
		return c.json(success{true})
	})
}

func (c *call) transferLeader() error {
	return c.changeGroup(func(ctx context.Context) error {
		var in struct {
			To string `json:"to"`
		}
		if c.hasBody() {
			if err := c.readJSON(maxSmallBody, &in); err != nil {
				return err
			}
		}
		if err := c.api.group.TransferLeader(ctx, in.To); err != nil {
			return err
		}
		return c.json(success{true})
	})
}

// saveSnapshot answers the state as a file. It has hashes of credentials and the
// configuration of plugins in it, so that it answers on loopback only, too.
func (c *call) saveSnapshot() error {
	return c.changeGroup(func(ctx context.Context) error {
		c.w.Header().Set("Content-Type", "application/octet-stream")
		return c.api.group.SaveSnapshot(ctx, c.w)
	})
}

func (c *call) restoreSnapshot() error {
	return c.changeGroup(func(ctx context.Context) error {
		force, err := c.flag("force")
		if err != nil {
			return err
		}
		if err := c.api.group.RestoreSnapshot(ctx, stream{c}, force); err != nil {
			return err
		}
		return c.json(success{true})
	})
}
