package main

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// What clients of the control plane asked for and were answered, and the model that this
// is held against: a namespace by its name, with two settings and with the relayers that it was
// given to. Names are independent of each other, so that each has a history of its own.

// controlKind is what a client asked for.
type controlKind string

const (
	controlCreate   controlKind = "create"
	controlDelete   controlKind = "delete"
	controlSet      controlKind = "set"
	controlSetRate  controlKind = "set rate"
	controlAssign   controlKind = "assign"
	controlUnassign controlKind = "unassign"
	controlRead     controlKind = "read"
	controlReadList controlKind = "read assignments"
)

// controlCall is one request.
type controlCall struct {
	Kind    controlKind
	Name    string // of the namespace
	Value   int64  // create (of the quota), set, set rate
	Relayer int    // assign, unassign
}

// controlAnswer is what came back.
type controlAnswer struct {
	Unknown  bool   // it may have been done, or may be yet
	Refused  string // the code; nothing was changed
	Quota    int64  // read
	Rate     int64  // read
	Assigned uint64 // read assignments: a bit for each relayer
}

// controlState is what a name stands for.
type controlState struct {
	Exists   bool
	Quota    int64
	Rate     int64
	Assigned uint64
}

// step says whether a call can have been answered so in a state, and what the state is
// then. One of an unknown outcome is done here, if it can be: one that was never done
// stands at the end of the history.
func (s controlState) step(c controlCall, a controlAnswer) (bool, controlState) {
	next, refused := s.after(c)
	switch {
	case a.Unknown:
		return true, next
	case a.Refused != refused:
		return false, s
	case refused != "":
		return true, s
	case c.Kind == controlRead:
		return a.Quota == s.Quota && a.Rate == s.Rate, s
	case c.Kind == controlReadList:
		return a.Assigned == s.Assigned, s
	}
	return true, next
}

// after is the state when a call was done, and the code that it is refused with instead.
func (s controlState) after(c controlCall) (next controlState, refused string) {
	bit := uint64(1) << c.Relayer
	next = s
	switch {
	case c.Kind == controlReadList:
	case c.Kind == controlCreate && s.Exists:
		return s, "NAMESPACE_EXISTS"
	case c.Kind == controlCreate:
		next = controlState{Exists: true, Quota: c.Value}
	case !s.Exists:
		return s, "NAMESPACE_NOT_FOUND"
	case c.Kind == controlDelete:
		next = controlState{}
	case c.Kind == controlSet:
		next.Quota = c.Value
	case c.Kind == controlSetRate:
		next.Rate = c.Value
	case c.Kind == controlAssign:
		next.Assigned |= bit
	case c.Kind == controlUnassign && s.Assigned&bit == 0:
		return s, "ASSIGNMENT_NOT_FOUND"
	case c.Kind == controlUnassign:
		next.Assigned &^= bit
	}
	return next, ""
}

var controlModel = porcupine.Model{
	Init: func() any { return controlState{} },
	Step: func(state, input, output any) (bool, any) {
		s, _ := state.(controlState)
		call, _ := input.(controlCall)
		answer, _ := output.(controlAnswer)
		return s.step(call, answer)
	},
}

// controlHistory collects what clients did. Times are of one monotonic clock.
type controlHistory struct {
	began time.Time

	mu  sync.Mutex
	ops map[string][]porcupine.Operation // by name
}

func newControlHistory() *controlHistory {
	return &controlHistory{began: time.Now(), ops: map[string][]porcupine.Operation{}}
}

func (h *controlHistory) now() int64 { return int64(time.Since(h.began)) }

// note adds a call. One of an unknown outcome has no end; a read of one says nothing.
func (h *controlHistory) note(client int, c controlCall, a controlAnswer, called, returned int64) {
	if a.Unknown {
		if c.Kind == controlRead || c.Kind == controlReadList {
			return
		}
		returned = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[c.Name] = append(h.ops[c.Name], porcupine.Operation{ClientId: client, Input: c, Output: a, Call: called, Return: returned})
}

// sizes counts what is known of a name.
func (h *controlHistory) sizes(name string) (ops, unknown int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops[name] {
		if o.Return == math.MaxInt64 {
			unknown++
		}
	}
	return len(h.ops[name]), unknown
}

// check fails the test with each history that isn't linearizable.
func (h *controlHistory) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	total, unknown := 0, 0
	for name, ops := range h.ops {
		total += len(ops)
		for _, o := range ops {
			if o.Return == math.MaxInt64 {
				unknown++
			}
		}
		if !porcupine.CheckOperations(controlModel, ops) {
			t.Errorf("what the control plane answered about %s is not linearizable:\n%s", name, describeHistory(ops))
		}
	}
	t.Logf("control plane: %d operations on %d names, %d of them of unknown outcome", total, len(h.ops), unknown)
}

func describeHistory(ops []porcupine.Operation) string {
	var b strings.Builder
	for _, o := range ops {
		until := "never"
		if o.Return != math.MaxInt64 {
			until = fmt.Sprint(time.Duration(o.Return))
		}
		fmt.Fprintf(&b, "%v to %s, client %d: %+v: %+v\n", time.Duration(o.Call), until, o.ClientId, o.Input, o.Output)
	}
	return b.String()
}

// TestControlModel holds the model against histories that are right and wrong: a checker
// that lets everything pass would find nothing.
func TestControlModel(t *testing.T) {
	t.Parallel()
	type line struct {
		call       controlCall
		answer     controlAnswer
		begin, end int64
	}
	create := func(quota int64) controlCall { return controlCall{Kind: controlCreate, Value: quota} }
	set := func(quota int64) controlCall { return controlCall{Kind: controlSet, Value: quota} }
	rate := func(rate int64) controlCall { return controlCall{Kind: controlSetRate, Value: rate} }
	assign, unassign := controlCall{Kind: controlAssign, Relayer: 2}, controlCall{Kind: controlUnassign, Relayer: 2}
	remove, read, list := controlCall{Kind: controlDelete}, controlCall{Kind: controlRead}, controlCall{Kind: controlReadList}
	ok, unknown := controlAnswer{}, controlAnswer{Unknown: true}
	quota := func(q int64) controlAnswer { return controlAnswer{Quota: q} }
	both := func(quota, rate int64) controlAnswer { return controlAnswer{Quota: quota, Rate: rate} }
	assigned := func(bits uint64) controlAnswer { return controlAnswer{Assigned: bits} }
	refused := func(code string) controlAnswer { return controlAnswer{Refused: code} }
	for name, c := range map[string]struct {
		lines []line
		want  bool
	}{
		"one after the other": {want: true, lines: []line{
			{create(7), ok, 1, 2}, {read, quota(7), 3, 4}, {set(8), ok, 5, 6}, {read, quota(8), 7, 8},
			{assign, ok, 9, 10}, {list, assigned(4), 11, 12}, {unassign, ok, 13, 14}, {list, assigned(0), 15, 16},
			{remove, ok, 17, 18}, {read, refused("NAMESPACE_NOT_FOUND"), 19, 20}, {create(9), ok, 21, 22}, {read, quota(9), 23, 24},
		}},
		"a stale read":                         {lines: []line{{create(7), ok, 1, 2}, {set(8), ok, 3, 4}, {read, quota(7), 5, 6}}},
		"a stale list":                         {lines: []line{{create(7), ok, 1, 2}, {assign, ok, 3, 4}, {list, assigned(0), 5, 6}}},
		"two settings at once":                 {want: true, lines: []line{{create(7), ok, 1, 2}, {set(8), ok, 3, 5}, {rate(9), ok, 4, 6}, {read, both(8, 9), 7, 8}}},
		"one setting undoes the other":         {lines: []line{{create(7), ok, 1, 2}, {set(8), ok, 3, 5}, {rate(9), ok, 4, 6}, {read, both(7, 9), 7, 8}}},
		"a read while it is set":               {want: true, lines: []line{{create(7), ok, 1, 2}, {set(8), ok, 3, 9}, {read, quota(7), 4, 5}, {read, quota(8), 6, 7}}},
		"back to the old while it is set":      {lines: []line{{create(7), ok, 1, 2}, {set(8), ok, 3, 9}, {read, quota(8), 4, 5}, {read, quota(7), 6, 7}}},
		"a namespace is lost":                  {lines: []line{{create(7), ok, 1, 2}, {read, refused("NAMESPACE_NOT_FOUND"), 3, 4}}},
		"an assignment is lost":                {lines: []line{{create(7), ok, 1, 2}, {assign, ok, 3, 4}, {unassign, refused("ASSIGNMENT_NOT_FOUND"), 5, 6}}},
		"a deleted one is there":               {lines: []line{{create(7), ok, 1, 2}, {remove, ok, 3, 4}, {read, quota(7), 5, 6}}},
		"a deleted one's assignment is there":  {lines: []line{{create(7), ok, 1, 2}, {assign, ok, 3, 4}, {remove, ok, 5, 6}, {create(8), ok, 7, 8}, {list, assigned(4), 9, 10}}},
		"made twice":                           {lines: []line{{create(7), ok, 1, 2}, {create(8), ok, 3, 4}}},
		"two at once, one of them made":        {want: true, lines: []line{{create(7), ok, 1, 4}, {create(8), refused("NAMESPACE_EXISTS"), 2, 3}}},
		"an unknown one was done":              {want: true, lines: []line{{create(7), ok, 1, 2}, {set(8), unknown, 3, 0}, {read, quota(8), 5, 6}}},
		"an unknown one is done much later":    {want: true, lines: []line{{create(7), ok, 1, 2}, {set(8), unknown, 3, 0}, {read, quota(7), 5, 6}, {read, quota(8), 7, 8}}},
		"an unknown one is never done":         {want: true, lines: []line{{create(7), ok, 1, 2}, {set(8), unknown, 3, 0}, {read, quota(7), 5, 6}}},
		"an unknown one is done before it":     {lines: []line{{create(7), ok, 1, 2}, {read, quota(8), 3, 4}, {set(8), unknown, 5, 0}}},
		"an unknown one is done and undone":    {lines: []line{{create(7), ok, 1, 2}, {set(8), unknown, 3, 0}, {read, quota(8), 5, 6}, {read, quota(7), 7, 8}}},
		"an unknown one is done twice":         {lines: []line{{create(7), unknown, 1, 0}, {read, quota(7), 2, 3}, {remove, ok, 4, 5}, {read, quota(7), 6, 7}}},
		"one that was refused was done anyway": {lines: []line{{create(7), ok, 1, 2}, {create(8), refused("NAMESPACE_EXISTS"), 3, 4}, {read, quota(8), 5, 6}}},
		"refused for what isn't so":            {lines: []line{{create(7), refused("NAMESPACE_EXISTS"), 1, 2}}},
		"refused for another reason":           {lines: []line{{read, refused("INTERNAL"), 1, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newControlHistory()
			for _, l := range c.lines {
				h.note(0, l.call, l.answer, l.begin, l.end)
			}
			if got := porcupine.CheckOperations(controlModel, h.ops[""]); got != c.want {
				t.Errorf("linearizable: %v, expected %v:\n%s", got, c.want, describeHistory(h.ops[""]))
			}
		})
	}
}
