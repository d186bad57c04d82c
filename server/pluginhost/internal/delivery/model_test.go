package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	"github.com/unisondb/unisondb/sdk/notifier"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// TestModel runs a pump against a receiver that fails in every way, over restarts,
// power cuts, trims and truncations, in virtual time; then everything becomes well,
// and what the receiver has is compared with the log. The seed of a failure is in its
// test's name. DURATION makes it go on that long.
func TestModel(t *testing.T) {
	if long, err := time.ParseDuration(os.Getenv("DURATION")); err == nil {
		for seed, end := uint64(1000), time.Now().Add(long); time.Now().Before(end); seed++ {
			runModel(t, seed)
		}
		return
	}
	for seed := range uint64(100) {
		runModel(t, seed)
	}
}

func runModel(t *testing.T, seed uint64) {
	t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { newModel(t, seed).run() })
	})
}

// model is one run.
type model struct {
	t    *testing.T
	rng  *rand.Rand
	opts Options
	ns   *fakeNamespace
	fs   *vfs.Mem
	dead *DeadLetters
	stop func()

	// What was ever true.
	truth map[string]dbkernel.Change

	mu       sync.Mutex
	answers  *rand.Rand
	well     bool // the receiver takes everything but poison
	life     int  // of the pump: it counts those that were started
	accepted []delivery
	cuts     int  // what may have cost the cursor
	crashed  bool // the power was cut
	lost     int
}

// delivery is an event that the receiver accepted.
type delivery struct {
	lineage string
	event   *pluginv1.Event
	life    int
	heard   bool // the pump was told
}

func newModel(t *testing.T, seed uint64) *model {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := &model{
		t: t, rng: rng, answers: rand.New(rand.NewPCG(seed, 2)), ns: newFakeNamespace(), fs: vfs.NewMem(), truth: map[string]dbkernel.Change{},
	}
	m.opts = Options{
		Name: "web", Namespace: "orders", Target: OneAtATime(targetFunc(m.notify)), StartFrom: FromOldest, RestartFrom: []Start{FromOldest, FromNewest, FromSnapshot}[rng.IntN(3)],
		MaxBatch: 1 + rng.IntN(12), MaxRefusals: 1 + rng.IntN(4), LatestPerKey: rng.IntN(3) == 0,
		OnEvent: func(e Event) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if e.Kind == EventCursorLost {
				t.Logf("life %d: cursor lost: %v", m.life, e.Err)
				m.lost++
			}
		},
	}
	if rng.IntN(3) == 0 {
		m.opts.MaxDelay = time.Duration(rng.IntN(3000)) * time.Millisecond
	}
	if rng.IntN(4) == 0 {
		m.opts.StartFrom = FromSnapshot
	}
	if rng.IntN(3) == 0 {
		m.opts.Filter.Prefix = []byte("k1")
	}
	return m
}

func idOf(lineage string, epoch, lsn uint64, index uint32) string {
	return fmt.Sprintf("%s:%d:%d:%d", lineage, epoch, lsn, index)
}

func (m *model) run() {
	m.start()
	for range 150 {
		m.step()
	}
	m.mu.Lock()
	m.well = true
	m.mu.Unlock()
	time.Sleep(time.Hour)
	synctest.Wait()
	m.stop()
	m.check()
}

func (m *model) start() {
	d, err := OpenDeadLetters(DeadLetterOptions{Name: "web", Path: "/n/web/dead-letters.jsonl", FS: m.fs})
	if err != nil {
		m.t.Fatal(err)
	}
	m.dead = d
	m.mu.Lock()
	m.life++
	m.mu.Unlock()
	o := m.opts
	o.DeadLetters, o.Cursor = d, FileCursor(m.fs, "/n/web/orders.json")
	p, err := newPump(o, m.ns.find)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	m.stop = func() { cancel(); <-done }
}

// step does one thing at random.
func (m *model) step() {
	l := m.ns.log()
	switch n := m.rng.IntN(100); {
	case n < 60:
		m.write(l)
	case n < 75:
		time.Sleep(time.Duration(m.rng.IntN(2000)) * time.Millisecond)
	case n < 80:
		m.stop()
		m.start()
	case n < 85 && m.cuts == 0 || n < 81: // a power cut: what comes after it isn't on the disk
		disk := m.fs.Crash(m.rng, vfs.AnyCrash(m.rng))
		m.stop()
		m.fs = disk
		m.crashed = true
		m.start()
	case n < 90:
		l.trim(1+m.rng.Uint64N(l.last()), false)
	case n < 91:
		m.cut()
		l.trim(1+m.rng.Uint64N(l.last()), true)
	case n < 93:
		m.cut()
		first := l.Status().FirstLSN
		m.ns.truncate(first + m.rng.Uint64N(l.last()-first+1))
	case n < 94: // a handle like the one before
		m.ns.replace(l.copyTo(l.last()))
	case n < 95: // a copy that lags
		first := l.Status().FirstLSN
		last := first + m.rng.Uint64N(l.last()-first+1)
		c := l.copyTo(last)
		m.ns.replace(c)
		time.Sleep(time.Second)
		c.catchUp(l)
	case n < 96:
		l.beginEpoch()
	case n < 97:
		m.cut()
		next := newFakeLog(l.lineage[0] + 1)
		next.beginEpoch()
		m.ns.replace(next)
	default:
		m.ns.mu.Lock()
		m.ns.absent = !m.ns.absent
		m.ns.mu.Unlock()
		defer func() {
			m.ns.mu.Lock()
			m.ns.absent = false
			m.ns.mu.Unlock()
		}()
		time.Sleep(time.Second)
	}
}

// catchUp adds what another copy has more.
func (l *fakeLog) catchUp(from *fakeLog) {
	from.mu.Lock()
	defer from.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, from.records[l.lastLocked()+1-from.first:]...)
	l.table = slices.Clone(from.table)
	l.wakeLocked()
}

func (m *model) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cuts++
}

func (m *model) write(l *fakeLog) {
	keys := make([]string, m.rng.IntN(4))
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d", m.rng.IntN(12))
	}
	if m.rng.IntN(20) == 0 {
		keys = append(keys, "k1-poison")
	}
	if m.rng.IntN(30) == 0 {
		for i := range 40 {
			keys = append(keys, fmt.Sprintf("k%d", i%15))
		}
	}
	l.put(keys...)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.records[len(l.records)-1] {
		m.truth[idOf(l.lineage.String(), c.Epoch, c.LSN, uint32(c.Index))] = c
	}
}

// notify is the receiver.
func (m *model) notify(ctx context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	m.mu.Lock()
	rng := rand.New(rand.NewPCG(m.answers.Uint64(), 3))
	well := m.well
	m.mu.Unlock()
	if rng.IntN(3) == 0 {
		select {
		case <-time.After(time.Duration(rng.IntN(300)) * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	kind := rng.IntN(10)
	if well {
		kind = 9
	}
	a := &pluginv1.NotifyResponse{}
	switch kind {
	case 0:
		return nil, errors.New("nobody there")
	case 1: // it took them, and nobody heard
		m.accept(r, a, false)
		return nil, errors.New("cut off")
	case 2:
		return &pluginv1.NotifyResponse{Rejected: []*pluginv1.Rejection{{Event: uint32(len(r.Events)), Cause: pluginv1.Rejection_CAUSE_REFUSED}}}, nil
	case 3, 4, 5:
		a = m.reject(rng, r, 3)
	default:
		a = m.reject(rng, r, 0)
	}
	m.accept(r, a, true)
	return a, nil
}

// reject refuses poison, and others one of so many times; 0: never.
func (m *model) reject(rng *rand.Rand, r *pluginv1.NotifyRequest, odds int) *pluginv1.NotifyResponse {
	a := &pluginv1.NotifyResponse{}
	var held entities
	if odds > 0 && rng.IntN(5) == 0 {
		a.RetryAfter = durationpb.New(time.Duration(rng.IntN(5000)) * time.Millisecond)
	}
	for i, e := range r.Events {
		cause := pluginv1.Rejection_CAUSE_UNSPECIFIED
		switch {
		case held.has(e):
			cause = pluginv1.Rejection_CAUSE_BLOCKED
		case bytes.HasSuffix(e.Key, []byte("poison")):
			cause = pluginv1.Rejection_CAUSE_REFUSED
		case odds > 0 && rng.IntN(odds) == 0:
			cause = pluginv1.Rejection_Cause(1 + rng.IntN(4))
		}
		if e.Operation == pluginv1.Operation_OPERATION_RESET && cause != pluginv1.Rejection_CAUSE_UNSPECIFIED {
			cause = pluginv1.Rejection_CAUSE_UNAVAILABLE // one that is set aside is checked elsewhere
		}
		if cause == pluginv1.Rejection_CAUSE_UNSPECIFIED {
			continue
		}
		if cause != pluginv1.Rejection_CAUSE_INVALID {
			held.add(e)
		}
		a.Rejected = append(a.Rejected, &pluginv1.Rejection{Event: uint32(i), Cause: cause, Reason: "because"})
	}
	return a
}

func (m *model) accept(r *pluginv1.NotifyRequest, a *pluginv1.NotifyResponse, heard bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := 0
	for i, e := range r.Events {
		if at < len(a.Rejected) && int(a.Rejected[at].Event) == i {
			at++
			continue
		}
		m.accepted = append(m.accepted, delivery{r.Lineage, e, m.life, heard})
	}
}

// check compares what the receiver has with the log.
func (m *model) check() {
	t := m.t
	l := m.ns.log()
	if m.lost > 0 && m.cuts == 0 {
		t.Errorf("a cursor was lost and nothing had been cut")
	}
	m.checkContents()
	since := m.afterReset()
	if m.lost > 0 && since.event == nil {
		t.Errorf("a cursor was lost and the receiver got no reset")
	}
	m.checkOrder(since)
	m.checkCompleteness(l, since)
}

// checkContents: what comes under an identity is what the log had under it.
func (m *model) checkContents() {
	for _, d := range m.accepted {
		e := d.event
		if e.Operation == pluginv1.Operation_OPERATION_RESET {
			continue
		}
		if !bytes.HasPrefix(e.Key, m.opts.Filter.Prefix) {
			m.t.Errorf("%s passed the filter", e.Key)
		}
		if e.Count == 0 {
			continue // of a snapshot, where the index isn't known
		}
		c, ok := m.truth[idOf(d.lineage, e.Epoch, e.Lsn, e.Index)]
		if !ok || !bytes.Equal(c.Key, e.Key) || c.Count != int(e.Count) {
			m.t.Errorf("%v isn't what the log had: %v", e, c)
		}
	}
}

// stretch is what was accepted since a place in the history.
type stretch struct {
	event      *pluginv1.Event // the reset; nil: there was none
	from       uint64          // LSN
	deliveries []delivery
}

// afterReset is what was accepted since the last reset.
func (m *model) afterReset() stretch {
	for i := len(m.accepted) - 1; i >= 0; i-- {
		if e := m.accepted[i].event; e.Operation == pluginv1.Operation_OPERATION_RESET {
			return stretch{e, e.Lsn, m.accepted[i+1:]}
		}
	}
	return stretch{nil, 0, m.accepted}
}

// placeOf orders events. One of a snapshot is what all of its record has made of
// the key.
func placeOf(e *pluginv1.Event) uint64 {
	if e.Count == 0 {
		return e.Lsn<<16 | 0xffff
	}
	return e.Lsn<<16 | uint64(e.Index)
}

// of is how a key came, for messages.
func (s stretch) of(key []byte) (all []string) {
	for _, d := range s.deliveries {
		if e := d.event; bytes.Equal(e.Key, key) {
			all = append(all, fmt.Sprintf("life %d %s:%d:%d:%d/%d", d.life, d.lineage[:2], e.Epoch, e.Lsn, e.Index, e.Count))
		}
	}
	return all
}

// checkOrder: what comes of a key for the first time comes in order, and what the pump
// knows to be accepted doesn't come again unless it was started again.
func (m *model) checkOrder(s stretch) {
	seen, last := map[string]int{}, map[string]uint64{}
	for i, d := range s.deliveries {
		e := d.event
		if m.opts.LatestPerKey && i > 0 && d.life != s.deliveries[i-1].life {
			clear(last) // what comes again may come with what had been left out
		}
		id := fmt.Sprintf("%s %s %d", idOf(d.lineage, e.Epoch, e.Lsn, e.Index), e.Key, e.Count)
		if life, again := seen[id]; again {
			if life == d.life {
				m.t.Errorf("%s of LSN %d came again to a pump that knew it was accepted", e.Key, e.Lsn)
			}
			if d.heard {
				seen[id] = d.life
			}
			continue
		}
		if seen[id] = 0; d.heard {
			seen[id] = d.life
		}
		if at := placeOf(e); at < last[string(e.Key)] {
			// What was sent in the second before a power cut isn't known to have been cut off.
			if !m.crashed || m.cuts == 0 {
				m.t.Errorf("%s came at LSN %d behind a later one; it came %v", e.Key, e.Lsn, s.of(e.Key))
			}
		} else {
			last[string(e.Key)] = at
		}
	}
}

// checkCompleteness: every change of the log was accepted or set aside, or with
// LatestPerKey a later one of its key was.
func (m *model) checkCompleteness(l *fakeLog, s stretch) {
	have := map[string]bool{}
	lastOf := map[string]uint64{}
	note := func(e *pluginv1.Event, lineage string) {
		if e.Count > 0 {
			have[idOf(lineage, e.Epoch, e.Lsn, e.Index)] = true
		}
		lastOf[string(e.Key)] = max(lastOf[string(e.Key)], placeOf(e))
	}
	for _, d := range s.deliveries {
		note(d.event, d.lineage)
	}
	letters, err := m.dead.List()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, letter := range letters {
		var msg notifier.Message
		if err := json.Unmarshal(letter.Event, &msg); err != nil {
			m.t.Fatal(err)
		}
		if msg.Lineage == l.lineage.String() {
			note(&pluginv1.Event{Key: msg.Key, Lsn: msg.LSN, Epoch: msg.Epoch, Index: uint32(msg.Index), Count: uint32(msg.Count)}, msg.Lineage)
		}
	}
	snapshot := s.event != nil && m.opts.RestartFrom == FromSnapshot || m.opts.StartFrom == FromSnapshot && m.lost == 0
	for i, record := range l.records {
		for _, c := range record {
			if !bytes.HasPrefix(c.Key, m.opts.Filter.Prefix) {
				continue
			}
			lsn := l.first + uint64(i)
			covered := lastOf[string(c.Key)] >= c.LSN<<16|uint64(c.Index)
			switch {
			case lsn > s.from && have[idOf(l.lineage.String(), c.Epoch, c.LSN, uint32(c.Index))]:
			case (m.opts.LatestPerKey || snapshot && lsn <= s.from) && covered:
			case lsn <= s.from && !snapshot:
			default:
				m.t.Errorf("%s of LSN %d, index %d never came (reset at %d, options %+v)", c.Key, c.LSN, c.Index, s.from, m.opts)
			}
		}
	}
}
