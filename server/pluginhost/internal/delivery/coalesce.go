package delivery

import (
	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// coalesce drops what was never sent and of which later events, never sent either, say
// all that it says. Of a key only the last event is left. Of a row, an event goes only
// when the later ones name all of its columns or delete the row, and the deletion of
// a row only for a later one: what is left is unchanged and in order, so that an
// event that comes again is always the same.
func (w *window) coalesce() {
	said := make(map[entity]*later, w.unsent)
	first := len(w.entries) - w.unsent
	gone := make([]bool, len(w.entries))
	dropped := 0
	for i := len(w.entries) - 1; i >= first; i-- {
		e := w.entries[i]
		id := entityOf(e.event)
		l := said[id]
		if l == nil {
			said[id] = newLater(i, e.event)
			continue
		}
		if !l.says(e.event) {
			l.add(e.event)
			continue
		}
		gone[i] = true
		dropped++
		// Until the last one is settled, the cursor stays where the first would keep it.
		last := &w.entries[l.at]
		last.seq = min(last.seq, e.seq)
		if e.after.before(last.after) {
			last.after = e.after
		}
	}
	if dropped > 0 {
		w.settle(func(i int) bool { return gone[i] })
		w.unsent -= dropped
	}
	w.packed = 4*len(w.entries) > 3*w.maxEvents || 4*w.bytes > 3*windowBytes
}

// later is what the later events of an entity say.
type later struct {
	at      int // the last one's place
	row     bool
	all     bool // the row was deleted
	columns map[string]struct{}
}

func newLater(at int, e *pluginv1.Event) *later {
	l := &later{at: at, row: e.EntryType == dbkernel.EntryRow}
	l.add(e)
	return l
}

func (l *later) add(e *pluginv1.Event) {
	if e.Operation == pluginv1.Operation_OPERATION_DELETE_ROW {
		l.all = true
	}
	for _, c := range e.Columns {
		if l.columns == nil {
			l.columns = map[string]struct{}{}
		}
		l.columns[c] = struct{}{}
	}
}

// says reports whether the later events make e superfluous.
func (l *later) says(e *pluginv1.Event) bool {
	if !l.row || l.all {
		return true
	}
	if e.Operation == pluginv1.Operation_OPERATION_DELETE_ROW {
		return false
	}
	for _, c := range e.Columns {
		if _, ok := l.columns[c]; !ok {
			return false
		}
	}
	return true
}
