package main

import (
	"context"
	"errors"
	"log"
	"time"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/release"
)

// readTimeout bounds one reading of a release, so that a relayer that hangs is asked anew.
const readTimeout = 10 * time.Second

// follower keeps what is in force equal to what the relayer has.
type follower struct {
	node    *client.Client
	current *holder
	check   time.Duration
	seen    cursor
	problem string // the last one that was logged
}

// #region follow

// follow looks at the start, when a notification gives a reason to, and when nothing was heard
// for a while: the last message before a silence may be the one that was lost.
func (f *follower) follow(ctx context.Context, heard <-chan message) {
	quiet := time.NewTimer(f.check)
	f.look(ctx, "it was there at the start", time.Time{})
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-heard:
			if why := f.seen.take(m); why != "" {
				f.look(ctx, why, m.Timestamp)
			}
		case <-quiet.C:
			f.look(ctx, "nothing was heard, and it was looked for", time.Time{})
		}
		quiet.Reset(f.check)
	}
}

// look reads what is in force, and goes over to it.
func (f *follower) look(ctx context.Context, why string, made time.Time) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var have *release.Release
	if now := f.current.Load(); now != nil {
		have = now.release
	}
	next, err := release.Load(ctx, f.node, have)
	if f.report(err) || next == have {
		return
	}
	a := arrival{Why: why}
	if !made.IsZero() {
		a.After = time.Since(made).Round(10 * time.Microsecond).String()
	}
	f.current.Store(&inForce{next, a})
	log.Printf("release %d is in force: %s %s", next.Number(), a.Why, a.After)
}

// #endregion follow

// report says that a release can't be read, once for each reason: the next look tries again, and
// until then the edge answers with what it has.
func (f *follower) report(err error) (failed bool) {
	var text string
	if err != nil && !errors.Is(err, release.ErrNone) {
		text = err.Error()
	}
	if text != f.problem && text != "" {
		log.Printf("going on with what there is: %s", text)
	}
	f.problem = text
	return err != nil
}
