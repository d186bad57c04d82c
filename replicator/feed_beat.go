package replicator

import (
	"context"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Heartbeats are acknowledged, all of them: with a thousand followers those of one round
// would keep two cores busy for as long as it lasts, and commits waiting. So each tells a
// part of the followers, one of as many as there are beatGroups, and the interval is divided by that.
const (
	beatGroup    = 64
	maxBeatParts = 8
)

// beats are a feed's heartbeats, numbered from 1 on. Guarded by the feed's lock.
type beats struct {
	newest encoded // for who has all batches and hasn't had one for an interval
	number uint64  // its number
	forAll uint64  // number of the last one that is for everybody
	told   uint64  // LSN of the last record that such a one was made behind
	asked  uint64  // LSN of the last record that somebody wants such a one behind
	hurry  func()  // ends the wait for the log, while there is one
}

// beatsHad is which of them a follower has had.
type beatsHad struct {
	number uint64 // of the last one
	all    uint64 // number of the last one that was for everybody
	phase  uint64 // which part of the followers this one is in
}

// wanted reports whether somebody waits for a heartbeat for everybody behind a record
// that the feed has; next is the LSN behind all that it has.
func (b *beats) wanted(next uint64) bool { return b.told < b.asked && b.asked < next }

// due reports whether since a follower's last heartbeat there was one for everybody, or for its
// part of the followers: heartbeat n is for those with n + phase = 0 modulo the number of parts.
func (b *beats) due(had beatsHad, parts uint64) bool {
	return had.all < b.forAll || (b.number+had.phase)/parts > (had.number+had.phase)/parts
}

// beatParts is over how many heartbeats so many followers are spread.
func beatParts(followers int) uint64 { return min(1+uint64(followers)/beatGroup, maxBeatParts) }

// beatsDue is how many heartbeats have fallen due, at least one, and when the next one is due. The
// first one was due at the given time, or was asked for before.
func (f *feed) beatsDue(at time.Time) (fallen uint64, next time.Time) {
	f.mu.Lock()
	every := f.o.Heartbeat / time.Duration(beatParts(len(f.live)))
	f.mu.Unlock()
	late := time.Since(at)
	if late < 0 {
		return 1, time.Now().Add(every)
	}
	n := 1 + late/every
	return uint64(n), at.Add(n * every)
}

// ask has a heartbeat made for everybody as soon as the feed has the record, behind which
// followers acknowledge it.
func (f *feed) ask(lsn uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beats.asked = max(f.beats.asked, lsn)
	if f.beats.hurry != nil && f.beats.wanted(f.ring.next) {
		f.beats.hurry()
	}
}

// hurriedBy says how asking ends the wait for the log, and the rests of a round.
func (f *feed) hurriedBy(cancel func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beats.hurry = cancel
	if cancel != nil && f.beats.wanted(f.ring.next) {
		cancel()
	}
}

func (f *feed) beatWanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.beats.wanted(f.ring.next)
}

// announce makes a heartbeat in place of so many that have fallen due: for the parts of those who
// have all batches whose turn it is, or for all where that is asked for. Where many are live and
// records keep coming, it travels with them: the next round, or else the next heartbeat, is near.
func (f *feed) announce(ctx context.Context, fallen uint64, busy bool) error {
	f.mu.Lock()
	next := f.ring.next
	f.mu.Unlock()
	m, err := proto.Marshal(f.heartbeat(f.namespace, f.log, next-1, f.mean))
	if err != nil {
		return err
	}
	f.mu.Lock()
	b := &f.beats
	b.newest, b.number = encoded{mem.SliceBuffer(m)}, b.number+fallen
	travels := (busy || f.log.Status().CommitLSN >= next) && beatParts(len(f.live)) == maxBeatParts
	if b.wanted(next) {
		b.forAll, b.told, travels = b.number, next-1, false
	}
	f.mu.Unlock()
	if travels {
		return nil
	}
	return f.round(ctx, f.takeParked((*cursor).beatDueLocked), nil)
}
