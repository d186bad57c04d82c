package server

import (
	"fmt"
	"strings"
)

// Summary is one line for people on what runs here. To make it takes what an answer to
// /health takes, so that a node which can't answer can't make it either. It may be called after Start.
func (n *Node) Summary() string {
	var doors []string
	if n.addresses.HTTP != "" {
		doors = append(doors, "HTTP on "+n.addresses.HTTP)
	}
	if n.addresses.GRPC != "" {
		doors = append(doors, "gRPC on "+n.addresses.GRPC)
	}
	names := n.Names()
	what := fmt.Sprintf("%d namespaces", len(names))
	if len(names) == 1 {
		what = "1 namespace"
	}
	if len(doors) > 0 {
		what += "; " + strings.Join(doors, ", ")
	}
	return fmt.Sprintf("%s %s: %s.", n.role, n.ID(), what)
}

// Summary is that of all nodes. It may be called after Start.
func (d *Dev) Summary() string {
	parts := []string{d.hub.Summary()}
	for _, r := range d.relayers {
		parts = append(parts, r.Summary())
	}
	return strings.Join(parts, " ")
}
