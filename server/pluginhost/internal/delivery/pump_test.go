package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// bench is a pump over a fake namespace, in virtual time.
type bench struct {
	t      *testing.T
	ns     *fakeNamespace
	cursor *fakeCursor
	to     *receiver
	opts   Options
	p      *Pump
	stop   func()

	mu     sync.Mutex
	events []EventKind
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, change func(o *Options), test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, ns: newFakeNamespace(), cursor: &fakeCursor{}, to: newReceiver(), stop: func() {}}
		b.opts = Options{
			Name: "web", Namespace: "orders", Target: b.to, StartFrom: FromOldest, Cursor: b.cursor, DeadLetters: newDeadLetters(t, vfs.NewMem()),
			OnEvent: func(e Event) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.events = append(b.events, e.Kind)
			},
		}
		if change != nil {
			change(&b.opts)
		}
		test(b)
		b.stop()
	})
}

// start starts a pump, after the one before was stopped.
func (b *bench) start() {
	b.t.Helper()
	b.stop()
	p, err := newPump(b.opts, b.ns.find)
	if err != nil {
		b.t.Fatal(err)
	}
	b.p = p
	b.stop = start(b.t, p)
	synctest.Wait()
}

// wait lets time pass, and what is due happen.
func (b *bench) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) log() *fakeLog { return b.ns.log() }

func (b *bench) told(kind EventKind) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.events {
		if k == kind {
			n++
		}
	}
	return n
}

func (b *bench) letters() (all []string) {
	b.t.Helper()
	letters, err := b.opts.DeadLetters.List()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range letters {
		all = append(all, fmt.Sprintf("%s %s %d", l.ID, l.Reason, l.Refusals))
	}
	return all
}

func (b *bench) savedLSNs() (all []uint64) {
	for _, c := range b.cursor.saved() {
		all = append(all, c.LSN)
	}
	return all
}

// rejecting answers with a cause for the events of these keys, and blocks what is
// behind them.
func rejecting(cause pluginv1.Rejection_Cause, keys ...string) func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	return func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
		a := &pluginv1.NotifyResponse{}
		var held entities
		for i, e := range r.Events {
			switch {
			case held.has(e):
				a.Rejected = append(a.Rejected, &pluginv1.Rejection{Event: uint32(i), Cause: pluginv1.Rejection_CAUSE_BLOCKED})
			case slices.Contains(keys, string(e.Key)):
				a.Rejected = append(a.Rejected, &pluginv1.Rejection{Event: uint32(i), Cause: cause, Reason: "no"})
				held.add(e)
			}
		}
		return a, nil
	}
}

func TestCursorMovesOnlyBehindWhatWasAccepted(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.log().put("a")
		b.to.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) { return nil, errors.New("not now") })
		b.start()
		b.wait(time.Hour)
		if got := b.savedLSNs(); !slices.Equal(got, []uint64{0}) {
			t.Errorf("saved %v, expected only where it begins", got)
		}
		if s := b.p.Status(); s.LastError != "not now" || s.State != StateRetrying || s.LagRecords != 1 || s.Pending != 1 {
			t.Errorf("status %+v", s)
		}
		b.to.answers(nil)
		b.wait(time.Minute)
		equal(t, b.to.got(), "put a")
		if got := b.savedLSNs(); !slices.Equal(got, []uint64{0, 2}) {
			t.Errorf("saved %v", got)
		}
		if s := b.p.Status(); s.LastError != "" || s.State != StateFollowing || s.LagRecords != 0 || s.Delivered != 1 || s.Saved != s.Cursor {
			t.Errorf("status %+v", s)
		}
	})
}

func TestCursorIsSavedOnceASecondAndAtTheEnd(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.start()
		for range 100 {
			b.log().put("a")
			b.wait(50 * time.Millisecond)
		}
		if n := len(b.cursor.saved()); n < 5 || n > 7 {
			t.Errorf("%d saves in 5 s", n)
		}
		last := b.log().put("a")
		synctest.Wait()
		b.stop()
		if got := b.savedLSNs(); got[len(got)-1] != last {
			t.Errorf("the last save is of LSN %d, expected %d", got[len(got)-1], last)
		}
	})
}

// The record that holds the cursor, of this notifier or of another, is worth no
// save, and it isn't held in the log.
func TestIdleNamespaceIsNotWritten(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.cursor.onSave = func() { b.log().put(); synctestYield() }
		b.cursor.took = time.Millisecond
		b.start()
		b.log().put("a")
		b.wait(time.Hour)
		if n := len(b.cursor.saved()); n != 2 {
			t.Errorf("%d saves, expected one of where it begins and one of the event", n)
		}
		b.log().put()
		b.wait(time.Hour)
		if n := len(b.cursor.saved()); n != 2 {
			t.Errorf("%d saves after another's record", n)
		}
		if pinned, end := b.log().pinned(), b.log().last()+1; pinned != end {
			t.Errorf("the log is kept from LSN %d on, its end is %d", pinned, end)
		}
	})
}

// synctestYield gives others a moment within a save.
func synctestYield() { time.Sleep(time.Millisecond) }

func TestFilteredChangesMoveTheCursor(t *testing.T) {
	inBubble(t, func(o *Options) { o.Filter.Prefix = []byte("b") }, func(b *bench) {
		b.start()
		for range 600 {
			b.log().put("a")
			b.wait(100 * time.Millisecond)
		}
		if s := b.p.Status(); s.LagRecords != 0 {
			t.Errorf("lag %d", s.LagRecords)
		}
		b.wait(time.Hour)
		if got := b.savedLSNs(); len(got) > 3 || got[len(got)-1] != b.log().last() {
			t.Errorf("saved %v, the log ends at %d", got, b.log().last())
		}
	})
}

// The log is kept from the durable cursor on, not from the one in memory.
func TestPinsWhatIsNotDurable(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.start()
		b.cursor.fail(errors.New("disk full"))
		b.log().put("a")
		b.wait(time.Minute)
		if pinned := b.log().pinned(); pinned != 2 {
			t.Errorf("kept from LSN %d on, expected 2", pinned)
		}
		if n := b.told(EventCursorUnsaved); n != 1 {
			t.Errorf("told %d times", n)
		}
		b.cursor.fail(nil)
		b.wait(time.Minute)
		if pinned := b.log().pinned(); pinned != 3 {
			t.Errorf("kept from LSN %d on, expected 3", pinned)
		}
	})
}

func TestRefusedComesAgainAndOthersGoOn(t *testing.T) {
	inBubble(t, func(o *Options) { o.MaxRefusals = 3 }, func(b *bench) {
		b.to.answers(rejecting(pluginv1.Rejection_CAUSE_REFUSED, "bad"))
		b.start()
		b.log().put("a", "bad", "b")
		b.wait(time.Millisecond)
		equal(t, b.to.got(), "put a", "put b")
		b.log().put("bad", "c")
		b.wait(time.Millisecond)
		equal(t, b.to.got(), "put a", "put b", "put c")
		if s := b.p.Status(); s.Refusals != 1 || s.LastError != "no" || s.Pending != 2 || s.Cursor.LSN != 1 {
			t.Errorf("status %+v", s)
		}
		b.to.answers(rejecting(pluginv1.Rejection_CAUSE_REFUSED))
		b.wait(time.Minute)
		equal(t, b.to.got(), "put a", "put b", "put c", "put bad", "put bad")
		b.to.answers(rejecting(pluginv1.Rejection_CAUSE_REFUSED, "bad"))
		b.log().put("bad")
		b.wait(time.Minute)
		b.to.answers(nil)
		b.log().put("bad")
		b.wait(time.Minute)
		equal(t, b.letters(), "1 no 3")
		equal(t, b.to.got()[5:], "put bad")
		if s := b.p.Status(); s.LagRecords != 0 || s.DeadLetters != 1 || s.Refusals != 4 {
			t.Errorf("status %+v", s)
		}
		if n := b.told(EventDeadLetter); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// While something is refused again and again, others go ahead of it only so far.
func TestAheadIsBounded(t *testing.T) {
	inBubble(t, func(o *Options) { o.MaxBatch, o.MaxRefusals = 10, 1000 }, func(b *bench) {
		b.to.answers(rejecting(pluginv1.Rejection_CAUSE_REFUSED, "bad"))
		b.log().put("bad")
		for i := range 1000 {
			b.log().put(fmt.Sprint(i))
		}
		b.start()
		b.wait(time.Hour)
		if n := len(b.to.got()); n < 150 || n > 170 {
			t.Errorf("%d events went ahead, expected about 160", n)
		}
	})
}

func TestUnavailableIsNoRefusal(t *testing.T) {
	for _, cause := range []pluginv1.Rejection_Cause{pluginv1.Rejection_CAUSE_UNAVAILABLE, pluginv1.Rejection_CAUSE_UNSPECIFIED, pluginv1.Rejection_CAUSE_BLOCKED} {
		inBubble(t, func(o *Options) { o.MaxRefusals = 1 }, func(b *bench) {
			b.to.answers(rejecting(cause, "a"))
			b.start()
			b.log().put("a")
			b.wait(24 * time.Hour)
			if n := b.to.calls; n < 100 || n > 5000 {
				t.Errorf("%v: %d calls in a day", cause, n)
			}
			b.to.answers(nil)
			b.wait(time.Minute)
			equal(t, b.to.got(), "put a")
			if s := b.p.Status(); s.Refusals != 0 || s.DeadLetters != 0 {
				t.Errorf("%v: status %+v", cause, s)
			}
		})
	}
}

func TestInvalidIsADeadLetterAtOnce(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		first := true
		b.to.answers(func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
			a := &pluginv1.NotifyResponse{}
			if first { // the one behind it, of the same key, is accepted
				a.Rejected = []*pluginv1.Rejection{{Event: 0, Cause: pluginv1.Rejection_CAUSE_INVALID, Reason: "never"}}
			}
			first = false
			return a, nil
		})
		b.log().put("a", "a")
		b.start()
		b.wait(time.Millisecond)
		equal(t, b.to.got(), "put a")
		equal(t, b.letters(), "1 never 1")
	})
}

// A dead letter whose cursor didn't become durable isn't sent a second time.
func TestDeadLetterIsNotSentAfterACrash(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.to.answers(rejecting(pluginv1.Rejection_CAUSE_INVALID, "a"))
		b.log().put("a", "b")
		b.start()
		b.stop()
		b.cursor.c = b.cursor.saved()[0]
		b.to.answers(nil)
		b.start()
		b.wait(time.Minute)
		equal(t, b.to.got(), "put b", "put b")
		equal(t, b.letters(), "1 no 1")
	})
}

func TestBadAnswersCountForNothing(t *testing.T) {
	refused := func(events ...uint32) *pluginv1.NotifyResponse {
		a := &pluginv1.NotifyResponse{}
		for _, e := range events {
			a.Rejected = append(a.Rejected, &pluginv1.Rejection{Event: e, Cause: pluginv1.Rejection_CAUSE_REFUSED})
		}
		return a
	}
	for name, answer := range map[string]*pluginv1.NotifyResponse{
		"out of range": refused(3), "falling": refused(1, 0), "twice": refused(1, 1), "order would break": refused(0),
	} {
		inBubble(t, func(o *Options) { o.MaxRefusals = 1 }, func(b *bench) {
			b.to.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) { return answer, nil })
			b.log().put("a", "b", "a")
			b.start()
			b.wait(time.Minute)
			s := b.p.Status()
			if s.Delivered != 0 || s.Refusals != 0 || s.DeadLetters != 0 || !strings.Contains(s.LastError, "breaks the contract") || b.told(EventBadAnswer) == 0 {
				t.Errorf("%s: status %+v", name, s)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, cause := range []pluginv1.Rejection_Cause{0, pluginv1.Rejection_CAUSE_UNAVAILABLE, pluginv1.Rejection_CAUSE_REFUSED} {
		inBubble(t, nil, func(b *bench) {
			var calls []time.Time
			b.to.answers(func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
				a := &pluginv1.NotifyResponse{}
				if calls = append(calls, time.Now()); len(calls) == 1 {
					a.RetryAfter = durationpb.New(90 * time.Second)
					if cause != 0 {
						a.Rejected = []*pluginv1.Rejection{{Event: 0, Cause: cause}}
					}
				}
				return a, nil
			})
			b.log().put("a")
			b.start()
			b.log().put("b")
			b.wait(time.Hour)
			if calls[1].Sub(calls[0]) < 90*time.Second || calls[1].Sub(calls[0]) > 2*time.Minute {
				t.Errorf("%v: called at %v", cause, calls)
			}
		})
	}
}

func TestMaxDelayGathers(t *testing.T) {
	inBubble(t, func(o *Options) { o.MaxDelay, o.MaxBatch = 10*time.Second, 5 }, func(b *bench) {
		b.start()
		b.log().put("a")
		b.wait(9 * time.Second)
		b.log().put("b")
		b.wait(999 * time.Millisecond)
		equal(t, b.to.got())
		b.wait(time.Millisecond)
		equal(t, b.to.got(), "put a", "put b")
		if b.to.calls != 1 {
			t.Errorf("%d calls", b.to.calls)
		}
		b.log().put("c", "d", "e", "f", "g")
		b.wait(time.Millisecond)
		if n := len(b.to.got()); n != 7 {
			t.Errorf("a full batch waits: %d events came", n)
		}
	})
}

// A record of 30,000 changes goes in batches, and after a restart in the middle it goes
// on in the middle.
func TestBatchEndsInsideARecord(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		keys := make([]string, 30_000)
		for i := range keys {
			keys[i] = fmt.Sprint(i)
		}
		b.log().put(keys...)
		largest := 0
		b.to.answers(func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
			largest = max(largest, len(r.Events))
			if b.to.calls == 7 {
				return nil, errors.New("not now")
			}
			return &pluginv1.NotifyResponse{}, nil
		})
		b.start()
		b.stop()
		if c := b.cursor.c; c.LSN != 2 || c.Changes != 7000 || c.Position().LSN != 1 {
			t.Errorf("cursor %+v", c)
		}
		b.start()
		b.wait(time.Minute)
		if got := b.to.got(); len(got) != len(keys) || got[7000] != "put 7000" || largest != 1000 {
			t.Errorf("%d events came, the largest batch had %d", len(got), largest)
		}
	})
}

// What comes behind the place where a notifier began is owed, even if the process dies
// before the first event.
func TestBeginsOnce(t *testing.T) {
	for from, want := range map[Start][]string{
		FromNewest: {"put c"}, FromOldest: {"put a", "put b", "put a", "put c"}, FromSnapshot: {"reset", "put a", "put b", "put c"},
	} {
		inBubble(t, func(o *Options) { o.StartFrom = from }, func(b *bench) {
			b.log().put("a", "b")
			b.log().put("a")
			b.to.answers(func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
				if string(r.Events[0].Key) == "c" && b.cursor.saves[0].LSN > 3 {
					t.Error("c was passed over")
				}
				return &pluginv1.NotifyResponse{}, nil
			})
			b.cursor.fail(errors.New("disk full"))
			b.start()
			b.log().put("c")
			b.wait(time.Minute)
			b.cursor.fail(nil)
			b.wait(time.Minute)
			equal(t, b.to.got(), want...)
			if s := b.p.Status(); s.LagRecords != 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// A snapshot that is interrupted goes on where it was.
func TestSnapshotGoesOn(t *testing.T) {
	inBubble(t, func(o *Options) { o.StartFrom, o.MaxBatch = FromSnapshot, 2 }, func(b *bench) {
		b.log().put("a", "b", "c", "d", "e")
		n := 0
		b.to.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
			if n++; n == 3 {
				return nil, errors.New("not now")
			}
			return &pluginv1.NotifyResponse{}, nil
		})
		b.start()
		equal(t, b.to.got(), "reset", "put a", "put b")
		if s := b.p.Status(); s.State != StateRetrying {
			t.Errorf("status %+v", s)
		}
		b.stop()
		b.log().append(dbkernel.Change{Operation: dbkernel.ChangePut, Type: dbkernel.EntryKV, Key: []byte("d")})
		b.start()
		b.wait(time.Minute)
		equal(t, b.to.got(), "reset", "put a", "put b", "put c", "put e", "put d")
	})
}

// A key that is passed over, because the log tells it, is owed when just that is cut off.
func TestSnapshotThatIsCut(t *testing.T) {
	inBubble(t, func(o *Options) { o.StartFrom, o.RestartFrom, o.MaxBatch = FromSnapshot, FromSnapshot, 2 }, func(b *bench) {
		b.log().put("a", "b")
		calls := 0
		b.to.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
			switch calls++; calls {
			case 1: // the reset: the first page sees the later a
				b.log().put("a")
			case 2: // b
				b.ns.truncate(2)
			}
			return &pluginv1.NotifyResponse{}, nil
		})
		b.start()
		b.wait(time.Minute)
		equal(t, b.to.got(), "reset", "put b", "reset", "put a", "put b")
	})
}

// A row with an old column and one that is newer than the snapshot's beginning is told
// as of the beginning, and the newer one again by the log.
func TestSnapshotOfARowThatChanges(t *testing.T) {
	row := func(key string, columns ...string) dbkernel.Change {
		return dbkernel.Change{Operation: dbkernel.ChangePut, Type: dbkernel.EntryRow, Key: []byte(key), Columns: columns}
	}
	inBubble(t, func(o *Options) { o.StartFrom, o.MaxBatch = FromSnapshot, 1 }, func(b *bench) {
		b.log().append(row("r1", "x"), row("r2", "x"))
		once := true
		b.to.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
			if once {
				b.log().append(row("r2", "y"))
			}
			once = false
			return &pluginv1.NotifyResponse{}, nil
		})
		b.start()
		b.wait(time.Minute)
		equal(t, b.to.got(), "reset", "put r1[x]", "put r2[x y]", "put r2[y]")
		if e := b.to.accepted[2]; e.Lsn != 2 {
			t.Errorf("the row was told as of LSN %d", e.Lsn)
		}
	})
}

func TestLostCursors(t *testing.T) {
	for name, lose := range map[string]func(b *bench){
		"trimmed":         func(b *bench) { b.log().trim(b.log().last(), true) },
		"cut off":         func(b *bench) { b.ns.truncate(2); b.log().put("n") },
		"another lineage": func(b *bench) { l := newFakeLog(2); l.beginEpoch(); l.put("n"); b.ns.replace(l) },
	} {
		for _, running := range []bool{false, true} {
			for from, want := range map[Start]map[string][]string{
				FromOldest:   {"trimmed": {"put d"}, "cut off": {"put a", "put n"}, "another lineage": {"put n"}},
				FromNewest:   {"trimmed": {}, "cut off": {}, "another lineage": {}},
				FromSnapshot: {"trimmed": {"put d"}, "cut off": {"put a", "put n"}, "another lineage": {"put n"}},
			} {
				inBubble(t, func(o *Options) { o.RestartFrom = from }, func(b *bench) {
					b.log().put("a")
					b.log().put("b")
					b.start()
					b.to.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) { return nil, errors.New("not now") })
					if !running {
						b.stop()
					}
					b.log().put("c")
					b.log().put("d")
					synctest.Wait()
					lose(b)
					b.to.answers(nil)
					if !running {
						b.start()
					}
					b.wait(time.Minute)
					got := b.to.got()
					if name == "trimmed" && running { // what was read already isn't lost
						if b.told(EventCursorLost) == 0 {
							equal(t, got, "put a", "put b", "put c", "put d")
							return
						}
					}
					at := slices.Index(got, "reset")
					if running && name != "trimmed" && at == 4 { // with the batch that was on its way
						got = slices.Delete(slices.Clone(got), 2, 4)
						at = 2
					}
					if t.Log(name, from, running); at != 2 {
						t.Fatalf("got %q", got)
					}
					equal(t, got[:2], "put a", "put b")
					equal(t, got[3:], want[name]...)
					got = b.to.got()
					if n := b.told(EventCursorLost); n != 1 || b.p.Status().CursorsLost != 1 {
						t.Errorf("told %d times, status %+v", n, b.p.Status())
					}
					b.log().put("e")
					b.wait(time.Minute)
					b.stop()
					b.start()
					equal(t, b.to.got()[len(got):], "put e")
				})
			}
		}
	}
}

// The notifier may have got more than is settled; what was cut off of that is a lost
// cursor, too.
func TestCutBehindTheCursor(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.to.answers(rejecting(pluginv1.Rejection_CAUSE_REFUSED, "bad"))
		b.log().put("bad")
		b.log().put("a")
		b.start()
		b.wait(2 * time.Second)
		b.stop()
		if c := b.cursor.c; c.LSN != 1 || c.Seen.LSN != 3 {
			t.Errorf("cursor %+v", c)
		}
		b.ns.truncate(2)
		b.start()
		b.wait(time.Second)
		equal(t, b.to.got(), "put a", "reset")
	})
}

// A copy that lags isn't one that was cut: the pump waits for it.
func TestCopyThatLags(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.log().put("a")
		b.log().beginEpoch()
		b.log().put("b")
		b.start()
		whole := b.log()
		lagging := whole.copyTo(1)
		b.ns.replace(lagging)
		b.wait(time.Minute)
		lagging.catchUp(whole)
		lagging.put("c")
		b.wait(time.Minute)
		equal(t, b.to.got(), "put a", "put b", "put c")
	})
}

// A reset that is refused for good is set aside like all else: it doesn't stand in
// the way for ever.
func TestRefusedResetIsSetAside(t *testing.T) {
	inBubble(t, func(o *Options) { o.StartFrom = FromSnapshot }, func(b *bench) {
		b.to.answers(func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
			a := &pluginv1.NotifyResponse{}
			if r.Events[0].Operation == pluginv1.Operation_OPERATION_RESET {
				a.Rejected = []*pluginv1.Rejection{{Event: 0, Cause: pluginv1.Rejection_CAUSE_INVALID, Reason: "what?"}}
			}
			return a, nil
		})
		b.log().put("a")
		b.start()
		b.wait(time.Minute)
		equal(t, b.to.got(), "put a")
		equal(t, b.letters(), "1 what? 1")
	})
}

func TestOwnership(t *testing.T) {
	var mu sync.Mutex
	owned := false
	inBubble(t, func(o *Options) { o.Owned = func() bool { mu.Lock(); defer mu.Unlock(); return owned } }, func(b *bench) {
		set := func(v bool) { mu.Lock(); defer mu.Unlock(); owned = v }
		b.log().put("a")
		b.start()
		b.wait(time.Minute)
		if s := b.p.Status(); b.to.calls != 0 || s.State != StateWaiting || s.LastError != "" {
			t.Errorf("%d calls, status %+v", b.to.calls, s)
		}
		set(true)
		b.wait(time.Minute)
		equal(t, b.to.got(), "put a")

		// Another node was the owner meanwhile, and delivered b.
		set(false)
		last := b.log().put("b")
		b.wait(time.Minute)
		c := b.cursor.c
		c.LSN = last
		b.cursor.c = c
		set(true)
		b.log().put("c")
		b.wait(time.Minute)
		equal(t, b.to.got(), "put a", "put c")

		// The kernel says it first.
		b.cursor.fail(dbkernel.ErrReadOnly)
		b.log().put("d")
		b.wait(time.Minute)
		if s := b.p.Status(); s.State != StateWaiting {
			t.Errorf("status %+v", s)
		}
		b.cursor.fail(nil)
		b.wait(time.Minute)
		equal(t, b.to.got()[2:], "put d", "put d")
	})
}

func TestNamespaceThatComesLater(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.ns.absent = true
		b.log().put("a")
		b.start()
		b.wait(time.Hour)
		if n := b.ns.lookups; n > 1000 {
			t.Errorf("looked %d times in an hour", n)
		}
		if s := b.p.Status(); !strings.Contains(s.LastError, "not found") {
			t.Errorf("status %+v", s)
		}
		b.ns.mu.Lock()
		b.ns.absent = false
		b.ns.mu.Unlock()
		b.wait(10 * time.Second)
		equal(t, b.to.got(), "put a")
		if s := b.p.Status(); s.LastError != "" {
			t.Errorf("status %+v", s)
		}
	})
}

// A notifier that hangs has one batch in its hands, and the log is read no further.
func TestStalledNotifierCostsOneBatch(t *testing.T) {
	inBubble(t, func(o *Options) { o.MaxBatch = 10 }, func(b *bench) {
		hang := make(chan struct{})
		b.to.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
			<-hang
			return &pluginv1.NotifyResponse{}, nil
		})
		b.start()
		for range 1000 {
			b.log().put("a")
		}
		b.wait(time.Hour)
		if s := b.p.Status(); b.log().reads > 5 || s.Pending > 10 || time.Since(s.InFlightSince) < time.Hour {
			t.Errorf("%d reads, status %+v", b.log().reads, s)
		}
		close(hang)
		b.wait(time.Second)
		if n := len(b.to.got()); n != 1000 {
			t.Errorf("%d events came", n)
		}
	})
}

// Run's end hears the answer that is under way, and waits for none longer than the grace.
func TestEndOfRun(t *testing.T) {
	for took, saved := range map[time.Duration]uint64{time.Second: 2, time.Hour: 0} {
		inBubble(t, nil, func(b *bench) {
			b.opts.Target = targetFunc(func(ctx context.Context, _ *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
				select {
				case <-time.After(took):
					return &pluginv1.NotifyResponse{}, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			})
			b.log().put("a")
			b.start()
			begin := time.Now()
			b.stop()
			if d := time.Since(begin); d > 4*time.Second {
				t.Errorf("it took %v", d)
			}
			if c := b.cursor.c; c.LSN != saved {
				t.Errorf("cursor %+v, expected LSN %d", c, saved)
			}
		})
	}
}

func TestDeadLettersFullStopsAndLosesNothing(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		var err error
		b.opts.DeadLetters, err = OpenDeadLetters(DeadLetterOptions{Name: "web", Path: "/d/l", FS: vfs.NewMem(), MaxCount: 2})
		if err != nil {
			t.Fatal(err)
		}
		b.to.answers(rejecting(pluginv1.Rejection_CAUSE_INVALID, "bad"))
		b.log().put("bad", "bad", "bad", "bad", "a")
		b.start()
		b.wait(time.Minute)
		s := b.p.Status()
		if s.State != StateFull || s.DeadLetters != 2 || !strings.Contains(s.LastError, "dead-letters retry") || b.told(EventDeadLettersFull) != 1 {
			t.Errorf("status %+v", s)
		}
		b.log().put("b")
		b.wait(time.Hour)
		if c := b.cursor.c; c.LSN != 2 || c.Changes != 2 {
			t.Errorf("the cursor passes what isn't set aside: %+v", c)
		}
		b.to.answers(nil)
		if accepted, left, err := b.opts.DeadLetters.Retry(context.Background(), b.to); accepted != 2 || left != 0 || err != nil {
			t.Errorf("retry: %d, %d, %v", accepted, left, err)
		}
		b.wait(time.Minute)
		if s := b.p.Status(); s.State != StateFollowing || s.LagRecords != 0 || s.DeadLetters > 2 {
			t.Errorf("status %+v", s)
		}
		if got := b.to.got(); got[len(got)-1] != "put b" {
			t.Errorf("got %q", got)
		}
	})
}
