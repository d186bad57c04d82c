package process

import (
	"fmt"
	"time"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// watchMemory kills the process when it has more resident than it may.
func (i *instance) watchMemory() {
	ticks := time.NewTicker(i.timing.Measure)
	defer ticks.Stop()
	for {
		select {
		case <-i.life.Done():
			return
		case <-ticks.C:
		}
		if used, ok := memoryOf(i.child.number()); ok && used > i.opts.MemoryLimit {
			i.child.kill(fmt.Sprintf("it used %s of memory, more than its memory_limit of %s", shown(used), shown(i.opts.MemoryLimit)))
			return
		}
	}
}

// shown is a size as a human reads it.
func shown(bytes int64) string {
	if bytes < 10<<20 {
		return plugin.Size(bytes).String()
	}
	return fmt.Sprintf("%dMiB", bytes>>20)
}

// watchLife kills the process when it is idle and doesn't answer any more. While a call is under
// way, that call's own limit holds.
func (i *instance) watchLife() {
	ticks := time.NewTicker(i.timing.Ping)
	defer ticks.Stop()
	for {
		select {
		case <-i.life.Done():
			return
		case <-ticks.C:
		}
		before := i.begun.Load()
		if i.active.Load() > 0 || i.alive(i.life) || i.life.Err() != nil {
			continue
		}
		if i.active.Load() == 0 && i.begun.Load() == before {
			i.child.kill(fmt.Sprintf("it didn't answer for %s", i.timing.Alive))
			return
		}
	}
}
