package server

import "github.com/unisondb/unisondb/dbkernel"

// Kernel is the node's database, for tests that break something in it.
func (n *Node) Kernel() *dbkernel.DB { return n.db }
