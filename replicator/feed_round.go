package replicator

import (
	"context"
	"runtime"
	"slices"
	"time"
)

// A round tells the live followers that something is new, one after the other, a turn
// apart at least: so sending to many takes a share of the machine and leaves commits the rest,
// and what is committed meanwhile travels in the same messages, which cost about as much however
// little they carry. Both figures were found with 100 and 1,000 followers on two cores. For few
// followers the rests are too short to be taken; longestRound bounds what the rests of many add to
// the visibility of a write.
const (
	turn         = 76 * time.Microsecond
	longestRound = 76 * time.Millisecond
	minRest      = 200 * time.Microsecond
	// lookAfter is how many followers are told between two looks at the log. As many are sent
	// the same.
	lookAfter = 32
)

// giveWayShare bounds for how long a round gives way to commits: one part in so many of the time that it
// has taken. So the first followers are told at once in any case, and the others are told even where
// commits never end.
const giveWayShare = 2

// round tells followers of what is new. Those who are still sending find it
// themselves: nobody waits for them. While records are being made durable nobody is told, as far as
// giveWayShare lets it, so that a commit finds the processor idle each time it comes back from the
// disk. look is called now and then, to read what there is by then, unless it is nil.
func (f *feed) round(ctx context.Context, parked []*cursor, look func() error) (failed error) {
	apart := min(turn, longestRound/time.Duration(max(1, len(parked))))
	began, gave := time.Now(), time.Duration(0)
	f.telling.Store(true)
	defer f.telling.Store(false)
	for i, c := range parked {
		gave += giveWay(ctx, f.committing, time.Since(began)/giveWayShare-gave)
		signal(c.wake)
		runtime.Gosched() // it, and whoever else can run, goes first
		told := i + 1
		if rest := time.Until(began.Add(time.Duration(told) * apart)); rest >= minRest {
			pause(ctx, rest)
		}
		if told%lookAfter == 0 && look != nil && failed == nil {
			failed = look() // the others are told all the same: nobody else wakes them
		}
	}
	return failed
}

// giveWay waits while others are busy whose work comes first, for about most at most, and answers how long
// it has. It asks in intervals: one more who is woken at the end of a commit would be in the way of
// those who wait for its answer.
func giveWay(ctx context.Context, busy func() bool, most time.Duration) (gave time.Duration) {
	if most < minRest || !busy() {
		return 0
	}
	began := time.Now()
	for gave < most && ctx.Err() == nil && busy() {
		pause(ctx, minRest)
		gave = time.Since(began)
	}
	return gave
}

func (f *feed) committing() bool { return committing(f.log) }

// committing reports whether the log has records that nobody may see yet.
func committing(log SourceLog) bool {
	st := log.Status()
	return st.LSN > st.CommitLSN
}

// takeParked are those who wait for something new and are to be told now.
func (f *feed) takeParked(whom func(*cursor) bool) (told []*cursor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parked = slices.DeleteFunc(f.parked, func(c *cursor) bool {
		if !whom(c) {
			return false
		}
		told = append(told, c)
		return true
	})
	return told
}
