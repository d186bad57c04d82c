package delivery

import (
	"context"
	"sync"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// OneAtATime makes a target that is called for one batch of a namespace at a time,
// as the contract with plugins has it, whoever calls: a pump, or a retry of dead letters.
func OneAtATime(t Target) Target {
	return &oneAtATime{target: t, turns: map[string]chan struct{}{}}
}

type oneAtATime struct {
	target Target

	mu    sync.Mutex
	turns map[string]chan struct{} // by namespace; whoever's value is in it may call
}

func (o *oneAtATime) turn(namespace string) chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	turn := o.turns[namespace]
	if turn == nil {
		turn = make(chan struct{}, 1)
		o.turns[namespace] = turn
	}
	return turn
}

// Notify implements Target.
func (o *oneAtATime) Notify(ctx context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	turn := o.turn(r.Namespace)
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-turn }()
	return o.target.Notify(ctx, r)
}
