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

// turns is how often a load is measured without and with followers, one after the other, so
// that both see the same of what the disk and the machine's neighbours do.
const turns = 3

// fanOut measures a load with followers against the same load without.
type fanOut struct {
	followers, rate int
	visible         time.Duration
}

// fannedOut is what that comes to.
type fannedOut struct {
	alone, with   load
	seen, relayed samples
	followersCPU  time.Duration
}

func (f fanOut) run(ctx context.Context, b *bench) error {
	var all fannedOut
	for range turns {
		if err := f.turn(ctx, b, &all); err != nil {
			return err
		}
	}
	f.figures(b, all)
	return nil
}

// turn measures once, and adds to all.
func (f fanOut) turn(ctx context.Context, b *bench, all *fannedOut) error {
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
	before, err := followers.do(command{Do: "reset"})
	if err != nil {
		return err
	}
	if _, err := relayers.do(command{Do: "reset"}); err != nil {
		return err
	}
	with, err := b.write(ctx, f.rate, b.duration)
	if err != nil {
		return err
	}
	seen, err := b.reportAt(followers)
	if err != nil {
		return err
	}
	relayed, err := b.reportAt(relayers)
	if err != nil {
		return err
	}
	all.alone.add(alone)
	all.with.add(with)
	all.seen.add(seen.Samples)
	all.relayed.add(relayed.Samples)
	all.followersCPU += seen.CPU - before.CPU
	return errors.Join(b.stop(followers), b.stop(relayers))
}

// reportAt is what a child says once it has all there is.
func (b *bench) reportAt(p *process) (answer, error) {
	if _, err := p.do(command{Do: "await", LSN: b.ns.Status().CommitLSN, Limit: awaitLimit}); err != nil {
		return answer{}, err
	}
	return p.do(command{Do: "report"})
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

func (f fanOut) figures(b *bench, all fannedOut) {
	b.atLeast("committed of what was offered", 100*float64(len(all.with.puts))/float64(f.rate)/all.with.took.Seconds(), 99, "%")
	base, p99 := ms(quantile(sortedCopy(all.alone.puts), 0.99)), ms(quantile(sortedCopy(all.with.puts), 0.99))
	b.found("p99 of a put, without followers", base, 0, "ms")
	b.found("p99 of a put, with followers", p99, 2*base, "ms")
	b.found("visible on followers, p50", ms(all.seen.quantile(0.5)), 0, "ms")
	b.found("visible on followers, p99", ms(all.seen.quantile(0.99)), ms(f.visible), "ms")
	b.found("visible on relayers, p99", ms(all.relayed.quantile(0.99)), ms(f.visible), "ms")
	n := float64(max(all.seen.count(), 1))
	b.found("CPU per record delivered, hub", us(all.with.cpu-all.alone.cpu)/n, 0, "us")
	b.found("CPU per record delivered, follower", us(all.followersCPU)/n, 0, "us")
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
	if err := b.ns.Flush(ctx); err != nil { // which isn't what is measured
		return err
	}
	live, err := b.start()
	if err != nil {
		return err
	}
	if _, err := live.do(command{Do: "follow", N: catchUpLive, Target: b.target()}); err != nil {
		return err
	}
	var all caughtUp
	for range turns {
		if err := b.catchUpOnce(ctx, live, start, &all); err != nil {
			return err
		}
	}
	b.atLeast(fmt.Sprintf("%d followers together", catchUpFollowers), float64(all.bytes)/1e6/all.took.Seconds(), 500, "MB/s")
	before := ms(all.before.quantile(0.99))
	b.found("visible on live ones, p99, before", before, 0, "ms")
	b.found("visible on live ones, p99, meanwhile", ms(all.meanwhile.quantile(0.99)), 2*before, "ms")
	return nil
}

// caughtUp is what catching up comes to.
type caughtUp struct {
	bytes             uint64
	took              time.Duration
	before, meanwhile samples // of the live ones
}

// catchUpOnce measures the live followers, and then others that catch up beside them.
func (b *bench) catchUpOnce(ctx context.Context, live *process, start target, all *caughtUp) error {
	before, err := b.liveLatency(ctx, live, b.duration)
	if err != nil {
		return err
	}
	behind, err := b.start()
	if err != nil {
		return err
	}
	if _, err := live.do(command{Do: "reset"}); err != nil {
		return err
	}
	writing, stop := context.WithCancel(ctx)
	defer stop()
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
	all.took += time.Since(began)
	stop()
	if writeErr := <-wrote; err == nil && !errors.Is(writeErr, context.Canceled) {
		err = writeErr
	}
	if err != nil {
		return err
	}
	all.bytes += catchUpFollowers * (end - start.LSN) * (valueBytes + 60)
	meanwhile, err := live.do(command{Do: "report"})
	if err != nil {
		return err
	}
	all.before.add(before.Samples)
	all.meanwhile.add(meanwhile.Samples)
	return b.stop(behind)
}

func (b *bench) liveLatency(ctx context.Context, live *process, length time.Duration) (answer, error) {
	if _, err := live.do(command{Do: "reset"}); err != nil {
		return answer{}, err
	}
	if _, err := b.write(ctx, catchUpRate, length); err != nil {
		return answer{}, err
	}
	return b.reportAt(live)
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
