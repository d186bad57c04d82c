package server

import (
	"context"

	"github.com/unisondb/unisondb/server/internal/placement"
)

// startTour opens every namespace that this node owns once, in the background and one at a
// time. A namespace that nobody has asked for since the start expires nothing, for the
// kernel doesn't know yet what is due in it; and one that can't be opened shows before
// somebody needs it.
func (n *Node) startTour(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	names := n.places.names(placement.Own)
	go func() {
		defer close(done)
		for _, name := range names {
			if ctx.Err() != nil {
				return
			}
			if _, err := n.names.look(name); err != nil {
				n.log.Warn("namespace can't be used", "namespace", name, "error", err)
			}
		}
	}()
	n.onStop("the first look at the namespaces", func(context.Context) error {
		cancel()
		<-done
		return nil
	})
	return nil
}
