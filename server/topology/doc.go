// Package topology is what a group of hubs agrees on: which hubs there are, who
// owns which namespace, and which nodes receive it. It hides Raft and the state
// machine behind a Group. It holds no data of namespaces and no heartbeats: who is
// there at the moment is known to the hub that sees it, and isn't agreed on.
package topology
