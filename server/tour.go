package server

import "context"

// startTour opens every namespace of an owner once, in the background and one at a
// time. A namespace that nobody has asked for since the start expires nothing, for the
// kernel doesn't know yet what is due in it; and one that can't be opened shows before
// somebody needs it.
func (n *Node) startTour(context.Context) error {
	if n.role != RoleHub {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	names := n.names.all()
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
