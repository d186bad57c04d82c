package topology

import (
	"fmt"
	"net"

	"github.com/hashicorp/raft"
)

// network is Raft's transport over TCP or TLS.
type network struct{ *raft.NetworkTransport }

// Close ends all connections, also those that are kept for later.
func (n *network) Close() error {
	n.CloseStreams()
	return n.NetworkTransport.Close()
}

// maxPool is how many idle connections are kept to each hub.
const maxPool = 3

// transport is what this hub reaches the others by.
func (g *Group) transport() (raft.Transport, error) {
	if g.o.Transport != nil {
		return g.o.Transport, nil
	}
	if g.o.Address == "" {
		_, t := raft.NewInmemTransport(nowhere)
		return t, nil
	}
	l, err := net.Listen("tcp", g.o.Address)
	if err != nil {
		return nil, fmt.Errorf("the raft address: %w: check address in the raft block", err)
	}
	return &network{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: newStreams(l, g.o.Advertise, g.id, g.o.Certs, g.log), MaxPool: maxPool, Timeout: g.t.IO, Logger: newSparse(g.log.Named("raft")),
	})}, nil
}
