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
	name   string // of the namespace, for messages
	first  uint64 // the first record in the log
	commit uint64
	// damaged is the first record that the log can't give although it should, where
	// the B+tree has what is behind it; 0: there is none.
	damaged uint64
	// What a sink without records would be sent, about: the log, or a snapshot.
	logBytes, snapshotBytes int64
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
	return h.upTo(h.lsn), st
}

// historyOfStage is what a stage's chunks reach to.
func historyOfStage(s Stage) history {
	h := history{lineage: s.Lineage(), epochs: s.EpochTable()}
	var highest uint64
	for _, c := range s.Chunks() {
		highest = max(highest, c.LSN)
	}
	return h.upTo(highest)
}

// upTo is the history as it was at a record.
func (h history) upTo(lsn uint64) history {
	h.lsn = lsn
	for len(h.epochs) > 0 && h.epochs[len(h.epochs)-1].FirstLSN > lsn {
		h.epochs = h.epochs[:len(h.epochs)-1]
	}
	return h
}

// extentOf is what a source has for a sink with the given history.
func extentOf(l SourceLog, sink history) extent {
	h, st := historyOf(l)
	e := extent{history: h, name: st.Name, first: st.FirstLSN, commit: st.CommitLSN, unreadable: quarantinedSource(st)}
	if e.unreadable != nil {
		return e
	}
	if i := l.Integrity(); i.LogDamaged && i.TreeDamage == "" {
		e.damaged = i.LogDamagedLSN
	}
	if sink.lsn == 0 {
		e.logBytes, e.snapshotBytes = l.SnapshotCost()
	}
	return e
}

// committed is a source's extent as far as it is committed: what a snapshot is taken of.
func (e extent) committed() extent {
	e.history = e.upTo(min(e.lsn, e.commit))
	return e
}

// quarantined says why a namespace that is here can't be read; nil: it can.
// It must not pass for an empty one: an end that "has nothing" is sent everything.
func quarantined(st dbkernel.Status) *Refusal {
	switch {
	case st.Code == CodeShuttingDown:
		return errShuttingDown
	case st.Code == CodeSuperseded:
		return refuseForNow(CodeSuperseded, "%q was cut off at a fork, or replaced: ask again", st.Name)
	case st.State == dbkernel.StateQuarantined || st.Lineage.IsZero():
		code, reason := cmp.Or(st.Code, CodeQuarantined), cmp.Or(st.Reason, "its lineage isn't known")
		return refuse(code, "this node can't read %q: %s. It follows again when the namespace is repaired and the node restarted", st.Name, reason)
	default:
		return nil
	}
}

// passing reports whether what quarantined found says nothing of the files.
func passing(r *Refusal) bool { return r.Code == CodeShuttingDown || r.Code == CodeSuperseded }

// quarantinedSource is quarantined in words for a follower.
func quarantinedSource(st dbkernel.Status) *Refusal {
	r := quarantined(st)
	if r == nil || passing(r) {
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
	source     history // as the source says it; the sink comes to the same verdict itself
}

// confirm checks that what a source says to cut off has to go, before anything does.
func (t truncation) confirm(ours history) error {
	v := decide(extent{history: t.source, first: 1, commit: t.source.lsn}, ours)
	if v.truncate == nil || v.truncate.lsn != t.lsn {
		return refuse(CodeInvalidMessage, "the source says to cut off what is behind LSN %d, which its history (up to LSN %d) doesn't bear out: nothing was cut off",
			t.lsn, t.source.lsn)
	}
	return nil
}

// trimmed says why records don't help the sink, and a snapshot does.
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
				"The follower keeps what it has; to take the source's instead: unisondb operator namespace accept %s -lineage=%s on the follower, "+
				"which sets aside what it has", sink.lineage, source.lineage, cmp.Or(source.name, "NAME"), source.lineage)}
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

// A new sink is sent a snapshot although the log reaches back, where the log is long
// (below that, records come within seconds, and nothing has to be staged twice)
// and holds much that was overwritten since.
const (
	longLogBytes  = 64 << 20
	longLogFactor = 2
)

func resume(source extent, sink history) verdict {
	next := sink.lsn + 1
	switch {
	case source.first > next:
		return logTrimmed(source.first, next)
	case source.damaged >= next && source.damaged <= source.commit:
		return verdict{snapshotFrom: &trimmed{first: source.first, reason: fmt.Sprintf(
			"the source's log is damaged at LSN %d, which the follower needs; its B+tree isn't", source.damaged)}}
	case sink.lsn == 0 && source.logBytes > longLogBytes && source.logBytes > longLogFactor*source.snapshotBytes:
		return verdict{snapshotFrom: &trimmed{first: source.first, reason: fmt.Sprintf(
			"the source's log has about %d bytes, a snapshot about %d", source.logBytes, source.snapshotBytes)}}
	default:
		return verdict{resumeFrom: next}
	}
}

func logTrimmed(first, next uint64) verdict {
	return verdict{snapshotFrom: &trimmed{first: first, reason: fmt.Sprintf(
		"the follower needs LSN %d, the source's log begins at %d", next, first)}}
}

// decideSnapshot answers a hello for a snapshot. staged is what the sink's chunks
// reach to; those that don't fit the source it drops itself. A source that merely has less
// isn't taken, as in decide.
func decideSnapshot(source extent, staged history) verdict {
	source = source.committed()
	if v := decide(source, staged); v.refused != nil {
		return v
	}
	first := source.first
	if source.damaged <= source.commit {
		first = max(first, source.damaged+1)
	}
	return verdict{snapshotFrom: &trimmed{first: first, reason: "as asked for"}}
}

// completes says which of a stage's chunks the source can complete: those of a history that both
// share, from whose record on its log holds all.
func completes(source extent, staged history) func(dbkernel.StagedChunk) bool {
	common := commonPoint(source.history, staged)
	return func(c dbkernel.StagedChunk) bool { return c.LSN <= common && c.LSN+1 >= source.first }
}
