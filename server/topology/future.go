package topology

import (
	"context"
	"reflect"

	"github.com/hashicorp/raft"
)

// await waits for one of Raft's futures, as long as ctx allows. The goroutine that does it ends with
// Raft at the latest.
func (g *Group) await(ctx context.Context, f raft.Future) error {
	endWith(f, g.down)
	done := make(chan error, 1)
	if !g.spawn(func() { done <- f.Error() }) {
		return raft.ErrRaftShutdown
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spawn starts a goroutine, unless Stop waits for the last ones already.
func (g *Group) spawn(do func()) bool {
	g.life.RLock()
	defer g.life.RUnlock()
	if !g.closed {
		g.wg.Go(do)
	}
	return !g.closed
}

// endWith lets a future fail when a channel is closed, and answers whether it could. Raft answers
// nothing any more to what is queued for its state machine when it is shut down: who waits would
// do so for ever. Its futures have a field for this, which it sets in some of them.
func endWith(f raft.Future, down chan struct{}) bool {
	v := reflect.ValueOf(f)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return false // one that has failed already
	}
	field := v.Elem().FieldByName("ShutdownCh")
	if !field.IsValid() || !field.CanSet() || field.Type() != reflect.TypeOf(down) {
		return false
	}
	field.Set(reflect.ValueOf(down))
	return true
}
