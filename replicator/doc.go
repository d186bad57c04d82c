// Package replicator copies a namespace's log from the node that has it to
// the nodes that follow it. DESIGN.md describes the protocol and what it guarantees.
package replicator
