package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// warmUp is how long a load runs before it is measured.
const warmUp = time.Second

// awaitLimit is how long followers may take to get all there is.
const awaitLimit = time.Minute

// fanOut measures a load with followers against the same load without.
type fanOut struct {
	followers, rate int
	visible         time.Duration
}

func (f fanOut) run(ctx context.Context, b *bench) error {
	if _, err := b.write(ctx, f.rate, warmUp); err != nil {
		return err
	}
	alone, err := b.write(ctx, f.rate, b.duration)
	if err != nil {
		return err
	}
	followers, relayers, err := f.connect(b)
	if err != nil {
		return err
	}
	if _, err := b.write(ctx, f.rate, warmUp); err != nil {
		return err
	}
	cpu := make([]time.Duration, 2)
	for i, p := range []*process{followers, relayers} {
		a, err := p.do(command{Do: "reset"})
		if err != nil {
			return err
		}
		cpu[i] = a.CPU
	}
	with, err := b.write(ctx, f.rate, b.duration)
	if err != nil {
		return err
	}
	end := command{Do: "await", LSN: b.ns.Status().CommitLSN, Limit: awaitLimit}
	if _, err := followers.do(end); err != nil {
		return err
	}
	if _, err := relayers.do(end); err != nil {
		return err
	}
	seen, err := followers.do(command{Do: "report"})
	if err != nil {
		return err
	}
	relayed, err := relayers.do(command{Do: "report"})
	if err != nil {
		return err
	}
	f.figures(b, alone, with, seen, relayed, cpu[0])
	return nil
}

func (f fanOut) connect(b *bench) (followers, relayers *process, err error) {
	t := b.target()
	if followers, err = b.start(); err != nil {
		return nil, nil, err
	}
	if relayers, err = b.start(); err != nil {
		return nil, nil, err
	}
	if _, err = followers.do(command{Do: "follow", N: f.followers, Target: t}); err != nil {
		return nil, nil, err
	}
	_, err = relayers.do(command{Do: "relay", N: 2, Target: t})
	return followers, relayers, err
}

func (f fanOut) figures(b *bench, alone, with load, seen, relayed answer, cpuBefore time.Duration) {
	b.atLeast("committed of what was offered", 100*float64(with.written)/float64(f.rate)/with.took.Seconds(), 99, "%")
	base, p99 := ms(quantile(alone.puts, 0.99)), ms(quantile(with.puts, 0.99))
	b.found("p99 of a put, without followers", base, 0, "ms")
	b.found("p99 of a put, with followers", p99, 2*base, "ms")
	b.found("visible on followers, p50", ms(seen.Samples.P50), 0, "ms")
	b.found("visible on followers, p99", ms(seen.Samples.P99), ms(f.visible), "ms")
	b.found("visible on relayers, p99", ms(relayed.Samples.P99), ms(f.visible), "ms")
	n := float64(max(seen.Samples.N, 1))
	b.found("CPU per record delivered, hub", us(with.cpu-alone.cpu)/n, 0, "us")
	b.found("CPU per record delivered, follower", us(seen.CPU-cpuBefore)/n, 0, "us")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

const (
	catchUpBytes     = 256 << 20
	catchUpFollowers = 4
	catchUpLive      = 20
	catchUpRate      = 200
)

// catchUp measures followers that read a log in the page cache from its start,
// and what that does to those that are live.
func catchUp(ctx context.Context, b *bench) error {
	if _, err := b.write(ctx, 100, warmUp); err != nil {
		return err
	}
	start := b.target()
	for b.ns.Status().LSN < catchUpBytes/valueBytes {
		if _, err := b.write(ctx, 200_000, 200*time.Millisecond); err != nil {
			return err
		}
	}
	live, err := b.start()
	if err != nil {
		return err
	}
	if _, err := live.do(command{Do: "follow", N: catchUpLive, Target: b.target()}); err != nil {
		return err
	}
	alone, err := b.liveLatency(ctx, live, b.duration)
	if err != nil {
		return err
	}
	behind, err := b.start()
	if err != nil {
		return err
	}
	writing, stop := context.WithCancel(ctx)
	defer stop()
	if _, err := live.do(command{Do: "reset"}); err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := b.write(writing, catchUpRate, time.Hour)
		wrote <- err
	}()
	end, began := b.ns.Status().CommitLSN, time.Now()
	_, err = behind.do(command{Do: "follow", N: catchUpFollowers, Target: start})
	if err == nil {
		_, err = behind.do(command{Do: "await", LSN: end, Limit: awaitLimit})
	}
	took := time.Since(began)
	stop()
	if writeErr := <-wrote; err == nil && !errors.Is(writeErr, context.Canceled) {
		err = writeErr
	}
	if err != nil {
		return err
	}
	with, err := live.do(command{Do: "report"})
	if err != nil {
		return err
	}
	bytes := float64(catchUpFollowers) * float64(end-start.LSN) * (valueBytes + 60)
	b.atLeast(fmt.Sprintf("%d followers together", catchUpFollowers), bytes/1e6/took.Seconds(), 500, "MB/s")
	b.found("visible on live ones, p99, before", ms(alone.Samples.P99), 0, "ms")
	b.found("visible on live ones, p99, meanwhile", ms(with.Samples.P99), 2*ms(alone.Samples.P99), "ms")
	return nil
}

func (b *bench) liveLatency(ctx context.Context, live *process, length time.Duration) (answer, error) {
	if _, err := live.do(command{Do: "reset"}); err != nil {
		return answer{}, err
	}
	if _, err := b.write(ctx, catchUpRate, length); err != nil {
		return answer{}, err
	}
	if _, err := live.do(command{Do: "await", LSN: b.ns.Status().CommitLSN, Limit: awaitLimit}); err != nil {
		return answer{}, err
	}
	return live.do(command{Do: "report"})
}

const memoryFollowers = 1000

// memory measures what followers cost the hub that are connected and idle.
func memory(ctx context.Context, b *bench) error {
	if _, err := b.write(ctx, 100, warmUp); err != nil {
		return err
	}
	before := inUse()
	p, err := b.start()
	if err != nil {
		return err
	}
	if _, err := p.do(command{Do: "follow", N: memoryFollowers, Target: b.target()}); err != nil {
		return err
	}
	// Idle followers are those that have heard a heartbeat or two.
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	limit := 40.0
	if b.security == "mtls" {
		limit = 64
	}
	b.found("an idle follower, heap and stacks", float64(inUse()-before)/memoryFollowers/1024, limit, "KiB")
	return nil
}

const stalledBytes = 64 << 20

// stalled measures what a follower costs the hub that takes nothing while much is
// written. Another one, which is live, costs the same before and after.
func stalled(ctx context.Context, b *bench) error {
	before := int64(0)
	for _, do := range []string{"follow", "stall"} {
		p, err := b.start()
		if err != nil {
			return err
		}
		if _, err := p.do(command{Do: do, N: 1, Target: b.target()}); err != nil {
			return err
		}
		for end := b.ns.Status().LSN + stalledBytes/valueBytes; b.ns.Status().LSN < end; {
			if _, err := b.write(ctx, 200_000, 200*time.Millisecond); err != nil {
				return err
			}
		}
		if err := b.ns.Flush(ctx); err != nil { // memtables aren't what is measured
			return err
		}
		if do == "follow" {
			before = inUse()
		}
	}
	b.found(fmt.Sprintf("a stalled follower, %d MiB written", stalledBytes>>20), float64(inUse()-before)/(1<<20), 5, "MiB")
	return nil
}
