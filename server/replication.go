package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/config"
)

// startReplication begins to follow the upstreams of a relayer. It waits for
// no connection: what is here is served without one.
func (n *Node) startReplication(context.Context) error {
	if n.role != RoleRelayer {
		return nil
	}
	for _, r := range routesOf(n.cfg.Relayer.Upstreams) {
		up, err := replicator.NewUpstream(replicator.UpstreamOptions{
			Name: r.name(), NodeID: n.ID(), Addresses: r.addresses, NameOf: r.nameOf, Namespaces: r.namespaces, Store: n.store(),
			Logger:      n.log.Named("replicator"),
			Compression: n.cfg.Replication.Compression,
			CredentialsOf: func(address string) credentials.TransportCredentials {
				return n.secrets.upstreamCredentials(r.nameOf(address))
			},
		})
		if err != nil {
			return err
		}
		n.onStop(fmt.Sprintf("upstream %q", up.Name()), func(context.Context) error { return up.Close() })
		n.upstreams = append(n.upstreams, up)
		n.followed = append(n.followed, r.namespaces...)
	}
	slices.Sort(n.followed)
	for _, up := range n.upstreams {
		up.Start()
	}
	return nil
}

// route is where namespaces come from that the same upstreams name: the
// addresses of all of these, in order. Those namespaces share connections.
type route struct {
	upstreams  []string // names of the blocks
	addresses  []string
	owners     []string // by address: the block that names it first
	namespaces []string
}

// routesOf groups namespaces by the upstreams that name them, in the order of
// the configuration.
func routesOf(upstreams []config.Upstream) []*route {
	var routes []*route
	seen := map[string]bool{}
	for _, u := range upstreams {
		for _, name := range u.Namespaces {
			if seen[name] {
				continue
			}
			seen[name] = true
			r := routeTo(name, upstreams)
			same := slices.IndexFunc(routes, func(other *route) bool { return slices.Equal(other.upstreams, r.upstreams) })
			if same < 0 {
				routes = append(routes, r)
				continue
			}
			routes[same].namespaces = append(routes[same].namespaces, name)
		}
	}
	return routes
}

func routeTo(namespace string, upstreams []config.Upstream) *route {
	r := &route{namespaces: []string{namespace}}
	for _, u := range upstreams {
		if !slices.Contains(u.Namespaces, namespace) {
			continue
		}
		r.upstreams = append(r.upstreams, u.Name)
		for _, address := range u.Addresses {
			if !slices.Contains(r.addresses, address) {
				r.addresses, r.owners = append(r.addresses, address), append(r.owners, u.Name)
			}
		}
	}
	return r
}

func (r *route) name() string { return strings.Join(r.upstreams, ", ") }

// nameOf names the upstream that an address belongs to.
func (r *route) nameOf(address string) string {
	if i := slices.Index(r.addresses, address); i >= 0 {
		return r.owners[i]
	}
	return ""
}

// WaitReplicated waits until direct followers have a position. It implements httpapi.Node.
func (n *Node) WaitReplicated(ctx context.Context, name string, p dbkernel.Position, acks int) (have int, err error) {
	return n.acks.WaitReplicated(ctx, name, p, acks)
}

// sinks are the states of all that is followed.
func (n *Node) sinks() []replicator.SinkStatus {
	var all []replicator.SinkStatus
	for _, up := range n.upstreams {
		all = append(all, up.Status()...)
	}
	return all
}
