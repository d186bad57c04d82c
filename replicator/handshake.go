package replicator

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/dbkernel"
)

// history is what one end has of a namespace: which records, and of which epochs.
type history struct {
	lineage dbkernel.Lineage
	lsn     uint64                // the last durable record; 0: none
	epochs  []dbkernel.EpochStart // oldest first; none begins behind lsn
}

// extent is a source's history and what of it the log still holds.
type extent struct {
	history
	first  uint64 // the first record in the log
	commit uint64
	// unreadable says why the namespace can't be read; nil: it can.
	unreadable *Refusal
}

// historyOf reads a log's history. The table is read after the status, so that
// no epoch up to the status' LSN can be missing; newer ones are left out.
func historyOf(l interface {
	Status() dbkernel.Status
	EpochTable() []dbkernel.EpochStart
}) (history, dbkernel.Status) {
	st := l.Status()
	h := history{lineage: st.Lineage, lsn: st.DurableLSN, epochs: l.EpochTable()}
	for len(h.epochs) > 0 && h.epochs[len(h.epochs)-1].FirstLSN > h.lsn {
		h.epochs = h.epochs[:len(h.epochs)-1]
	}
	return h, st
}

func extentOf(l SourceLog) extent {
	h, st := historyOf(l)
	return extent{history: h, first: st.FirstLSN, commit: st.CommitLSN, unreadable: quarantinedSource(st)}
}

// quarantined says why a namespace that is here can't be read; nil: it can.
// It must not pass for an empty one: an end that "has nothing" is sent everything.
func quarantined(st dbkernel.Status) *Refusal {
	switch {
	case st.Code == CodeShuttingDown:
		return errShuttingDown
	case st.State == dbkernel.StateQuarantined || st.Lineage.IsZero():
		code, reason := cmp.Or(st.Code, CodeQuarantined), cmp.Or(st.Reason, "its lineage isn't known")
		return refuse(code, "this node can't read %q: %s. It follows again when the namespace is repaired and the node restarted", st.Name, reason)
	default:
		return nil
	}
}

// quarantinedSource is quarantined in words for a follower.
func quarantinedSource(st dbkernel.Status) *Refusal {
	r := quarantined(st)
	if r == nil || r == errShuttingDown {
		return r
	}
	return refuse(CodeQuarantined, "the source can't read its log of %q (%s): %s; follow another source until it is repaired",
		st.Name, cmp.Or(st.Code, "no code"), cmp.Or(st.Reason, "its lineage isn't known"))
}

// check says what is wrong with a history that came from elsewhere.
func (h history) check() error {
	if h.lineage.IsZero() && (h.lsn > 0 || len(h.epochs) > 0) {
		return fmt.Errorf("it has records up to LSN %d but no lineage", h.lsn)
	}
	if h.lsn > 0 && len(h.epochs) == 0 {
		return fmt.Errorf("it has records up to LSN %d but no epochs", h.lsn)
	}
	var last dbkernel.EpochStart
	for _, e := range h.epochs {
		if e.Epoch <= last.Epoch || e.FirstLSN <= last.FirstLSN || e.FirstLSN > h.lsn {
			return fmt.Errorf("epoch %d from LSN %d doesn't fit behind epoch %d from LSN %d in a log of %d records",
				e.Epoch, e.FirstLSN, last.Epoch, last.FirstLSN, h.lsn)
		}
		last = e
	}
	return nil
}

// lastEpoch is the epoch of the last record; 0: none.
func (h history) lastEpoch() uint64 { return h.epochAt(h.lsn) }

// epochAt is the epoch of a record; 0 where the table doesn't say.
func (h history) epochAt(lsn uint64) (epoch uint64) {
	for _, e := range h.epochs {
		if e.FirstLSN > lsn {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

// commonPoint is the last record that two histories of one lineage share.
//
// An epoch's number and random bits name one run of one writer, whose records
// are a single line. So two logs are equal as long as their epoch tables are,
// and up to where the first of them leaves the last common row: by its
// next row, or by its end.
func commonPoint(a, b history) uint64 {
	ae, be, ok := align(a.epochs, b.epochs)
	if !ok {
		return 0
	}
	n := 0
	for n < len(ae) && n < len(be) && ae[n] == be[n] {
		n++
	}
	return min(leaves(ae, n, a.lsn), leaves(be, n, b.lsn))
}

// leaves is the last record that a history has in the n common rows of its table.
func leaves(epochs []dbkernel.EpochStart, n int, end uint64) uint64 {
	if n < len(epochs) {
		return epochs[n].FirstLSN - 1
	}
	return end
}

// align cuts rows off the front of the longer-reaching table, so that both begin
// with the same row: a node may have forgotten epochs that its log
// doesn't hold any more. It fails where neither contains the other's first row.
func align(a, b []dbkernel.EpochStart) (ae, be []dbkernel.EpochStart, ok bool) {
	if len(a) == 0 || len(b) == 0 {
		return a, b, true
	}
	if i := slices.Index(a, b[0]); i >= 0 {
		return a[i:], b, true
	}
	if i := slices.Index(b, a[0]); i >= 0 {
		return a, b[i:], true
	}
	return nil, nil, false
}

// verdict is a source's answer to a hello: exactly one field is set.
type verdict struct {
	resumeFrom   uint64 // the next record to send
	truncate     *truncation
	snapshotFrom *trimmed
	refused      *Refusal
}

type truncation struct {
	lsn, epoch uint64 // the last common record
	reason     string
}

type trimmed struct {
	first  uint64 // the first record that the source's log holds
	reason string
}

// decide compares what the two ends have. It is pure; DESIGN.md has it as a table.
//
// It never tells a sink to drop records that the source merely doesn't have
// (yet): a source that restarted, or another one that lags, would otherwise make
// its followers delete what was committed.
func decide(source extent, sink history) verdict {
	if source.unreadable != nil {
		return verdict{refused: source.unreadable}
	}
	if source.lineage.IsZero() {
		return verdict{refused: refuse(CodeQuarantined, "the source doesn't know the lineage of its log: follow another source until it is repaired")}
	}
	if !sink.lineage.IsZero() && sink.lineage != source.lineage {
		return verdict{refused: refuse(CodeLineageMismatch,
			"the follower has lineage %s, the source %s: the namespace was deleted and created again, or restored, on one side. "+
				"The follower keeps what it has; to take the source's, move the follower's namespace directory aside and restart it",
			sink.lineage, source.lineage)}
	}
	common := commonPoint(source.history, sink)
	switch {
	case common == sink.lsn:
		return resume(source, sink)
	case common == source.lsn:
		return verdict{refused: refuseForNow(CodeSourceBehind,
			"the source is durable up to LSN %d, the follower up to %d of the same history: it is tried again until the source has caught up",
			source.lsn, sink.lsn)}
	case source.lastEpoch() < sink.lastEpoch():
		return verdict{refused: refuseForNow(CodeSourceStale,
			"the source is in epoch %d, the follower in the newer epoch %d, and their histories part behind LSN %d: "+
				"the source was restored from old files, or is an owner that was replaced; follow the current owner",
			source.lastEpoch(), sink.lastEpoch(), common)}
	default:
		return verdict{truncate: &truncation{lsn: common, epoch: source.epochAt(common), reason: fmt.Sprintf(
			"the follower's history (up to LSN %d, epoch %d) parts from the source's (up to LSN %d, epoch %d) behind LSN %d",
			sink.lsn, sink.lastEpoch(), source.lsn, source.lastEpoch(), common)}}
	}
}

func resume(source extent, sink history) verdict {
	next := sink.lsn + 1
	if source.first > next {
		return logTrimmed(source.first, next)
	}
	return verdict{resumeFrom: next}
}

func logTrimmed(first, next uint64) verdict {
	return verdict{snapshotFrom: &trimmed{first: first, reason: fmt.Sprintf(
		"the follower needs LSN %d, the source's log begins at %d. Snapshots aren't part of this build: follow a source whose log reaches back, "+
			"or give the source a longer retention before a follower is away that long", next, first)}}
}
