package replicator

import "context"

// link is the connection that a stream of a Sink runs on. Where the source
// dialled, only the address is known.
type link struct {
	// address is for the status: what was dialled, or the node that did.
	address string
	// meter watches the connection; nil where the source dialled.
	meter *meter
	// open makes one more stream on the same connection, beside the one that
	// follows, for snapshots, digests and repair; nil where the source dialled. ctx ends
	// the stream, and so does the function, which must be called in the end.
	open func(ctx context.Context) (SinkStream, context.CancelCauseFunc, error)
}
