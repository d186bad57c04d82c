package server

import (
	"context"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/replicator"
)

func (n *Node) store() replicator.Store { return store{replicator.KernelStore(n.db), n} }

// startReplication begins to follow the upstreams of a relayer. It waits for
// no connection: what is here is served without one.
func (n *Node) startReplication(context.Context) error {
	if n.role != RoleRelayer {
		return nil
	}
	from := map[string]string{} // namespace -> the first upstream that names it
	for _, u := range n.cfg.Relayer.Upstreams {
		var names []string
		for _, name := range u.Namespaces {
			if from[name] == "" {
				from[name] = u.Name
				names = append(names, name)
			} else if from[name] != u.Name {
				n.log.Warn("namespace is named by two upstreams; the first one brings it", "namespace", name, "upstream", from[name], "ignored", u.Name)
			}
		}
		if len(names) == 0 {
			continue
		}
		up, err := replicator.NewUpstream(replicator.UpstreamOptions{
			Name: u.Name, NodeID: n.ID(), Addresses: u.Addresses, Namespaces: names, Store: n.store(),
			Logger: n.log.Named("replicator"),
		})
		if err != nil {
			return fmt.Errorf("upstream %q: %w", u.Name, err)
		}
		n.onStop("upstream "+u.Name, func(context.Context) error { return up.Close() })
		n.upstreams = append(n.upstreams, up)
		n.followed = append(n.followed, names...)
	}
	slices.Sort(n.followed)
	for _, up := range n.upstreams {
		up.Start()
	}
	return nil
}

// sinks are the states of all that is followed.
func (n *Node) sinks() []replicator.SinkStatus {
	var all []replicator.SinkStatus
	for _, up := range n.upstreams {
		all = append(all, up.Status()...)
	}
	return all
}
