package replicator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/unisondb/unisondb/dbkernel"
)

var (
	lineageA = dbkernel.Lineage{1}
	lineageB = dbkernel.Lineage{2}
)

// rows builds an epoch table of (epoch, first LSN, bits).
func rows(v ...uint64) (t []dbkernel.EpochStart) {
	for i := 0; i+2 < len(v); i += 3 {
		t = append(t, dbkernel.EpochStart{Epoch: v[i], FirstLSN: v[i+1], Bits: v[i+2]})
	}
	return t
}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name   string
		source extent
		sink   history
		want   string
	}{
		{"new sink", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{}, "resume 1"},
		{"new sink, empty source", extent{history: history{lineageA, 0, nil}, first: 1}, history{}, "resume 1"},
		{"created, no record yet", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{lineage: lineageA}, "resume 1"},
		{"behind", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{lineageA, 4, rows(1, 1, 7)}, "resume 5"},
		{"equal", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{lineageA, 9, rows(1, 1, 7)}, "resume 10"},
		{"equal, log wholly trimmed", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 10}, history{lineageA, 9, rows(1, 1, 7)}, "resume 10"},
		{"a new epoch behind the sink's end", extent{history: history{lineageA, 9, rows(1, 1, 7, 2, 5, 8)}, first: 1}, history{lineageA, 4, rows(1, 1, 7)}, "resume 5"},
		{"source has forgotten old epochs", extent{history: history{lineageA, 9, rows(2, 5, 8)}, first: 5}, history{lineageA, 6, rows(1, 1, 7, 2, 5, 8)}, "resume 7"},
		{"sink has forgotten old epochs", extent{history: history{lineageA, 9, rows(1, 1, 7, 2, 5, 8)}, first: 1}, history{lineageA, 6, rows(2, 5, 8)}, "resume 7"},

		{"trimmed, new sink", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 2}, history{}, "snapshot 2"},
		{"trimmed", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 6}, history{lineageA, 4, rows(1, 1, 7)}, "snapshot 6"},

		{"a long log, new sink", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1, logBytes: 1 << 30, snapshotBytes: 1 << 20}, history{}, "snapshot 1"},
		{"a long log, little overwritten", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1, logBytes: 1 << 30, snapshotBytes: 1 << 29}, history{}, "resume 1"},
		{"a short log", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1, logBytes: 1 << 20, snapshotBytes: 1 << 10}, history{}, "resume 1"},
		{"a long log, known sink", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1, logBytes: 1 << 30, snapshotBytes: 1 << 20}, history{lineageA, 4, rows(1, 1, 7)}, "resume 5"},
		{"damaged log between", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1, commit: 9, damaged: 6}, history{lineageA, 4, rows(1, 1, 7)}, "snapshot 1"},
		{"damaged log before", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1, commit: 9, damaged: 4}, history{lineageA, 4, rows(1, 1, 7)}, "resume 5"},

		{"other lineage", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{lineageB, 4, rows(1, 1, 7)}, "LINEAGE_MISMATCH"},
		{"other lineage, empty source", extent{history: history{lineageA, 0, nil}, first: 1}, history{lineageB, 4, rows(1, 1, 7)}, "LINEAGE_MISMATCH"},
		{"other lineage, empty sink", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{lineage: lineageB}, "LINEAGE_MISMATCH"},
		{"source without lineage", extent{}, history{}, "QUARANTINED"},

		{"sink ahead", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{lineageA, 11, rows(1, 1, 7)}, "SOURCE_BEHIND retry"},
		{"sink ahead by an epoch", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{lineageA, 11, rows(1, 1, 7, 2, 10, 8)}, "SOURCE_BEHIND retry"},
		{"source is empty, same lineage", extent{history: history{lineageA, 0, nil}, first: 1}, history{lineageA, 4, rows(1, 1, 7)}, "SOURCE_BEHIND retry"},

		{"owner lost its tail and went on", extent{history: history{lineageA, 9, rows(1, 1, 7, 2, 5, 8)}, first: 1}, history{lineageA, 6, rows(1, 1, 7)}, "truncate 4 epoch 1"},
		{"same number, other bits", extent{history: history{lineageA, 9, rows(1, 1, 7, 2, 5, 8)}, first: 1}, history{lineageA, 9, rows(1, 1, 7, 2, 5, 9)}, "truncate 4 epoch 1"},
		{"same number, other start", extent{history: history{lineageA, 9, rows(1, 1, 7, 2, 5, 8)}, first: 1}, history{lineageA, 9, rows(1, 1, 7, 2, 7, 8)}, "truncate 4 epoch 1"},
		{"nothing in common", extent{history: history{lineageA, 9, rows(3, 1, 7)}, first: 1}, history{lineageA, 9, rows(2, 1, 9)}, "truncate 0 epoch 0"},
		{"source in an older epoch", extent{history: history{lineageA, 9, rows(1, 1, 7)}, first: 1}, history{lineageA, 6, rows(1, 1, 7, 2, 5, 8)}, "SOURCE_STALE retry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(decide(tt.source, tt.sink)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func describe(v verdict) string {
	switch {
	case v.truncate != nil:
		return fmt.Sprintf("truncate %d epoch %d", v.truncate.lsn, v.truncate.epoch)
	case v.snapshotFrom != nil:
		return fmt.Sprintf("snapshot %d", v.snapshotFrom.first)
	case v.refused != nil && v.refused.Retryable:
		return v.refused.Code + " retry"
	case v.refused != nil:
		return v.refused.Code
	default:
		return fmt.Sprintf("resume %d", v.resumeFrom)
	}
}

func TestDecideSnapshot(t *testing.T) {
	source := extent{history: history{lineageA, 20, rows(1, 1, 7, 2, 5, 8)}, first: 3, commit: 18}
	damaged := source
	damaged.damaged = 7
	for _, tt := range []struct {
		name   string
		source extent
		staged history
		want   string
	}{
		{"nothing staged", source, history{lineage: lineageA}, "snapshot 3"},
		{"some staged", source, history{lineageA, 18, rows(1, 1, 7, 2, 5, 8)}, "snapshot 3"},
		{"staged of an older epoch that went on", source, history{lineageA, 9, rows(1, 1, 7)}, "snapshot 3"},
		{"damaged log", damaged, history{lineage: lineageA}, "snapshot 8"},
		{"staged is ahead of what is committed", source, history{lineageA, 19, rows(1, 1, 7, 2, 5, 8)}, "SOURCE_BEHIND retry"},
		{"stale", source, history{lineageA, 19, rows(1, 1, 7, 3, 5, 8)}, "SOURCE_STALE retry"},
		{"other lineage", source, history{lineage: lineageB}, "LINEAGE_MISMATCH"},
	} {
		if got := describe(decideSnapshot(tt.source, tt.staged)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestCompletesAgreesWithRecords: of a stage's chunks those are kept that were read at a record which
// the source's history contains, and from which its log goes on.
func TestCompletesAgreesWithRecords(t *testing.T) {
	for seed := range uint64(5_000) {
		r := rand.New(rand.NewPCG(seed, 2))
		root := line{}.fork(r).fork(r)
		a, b := root.fork(r), root.fork(r)
		source := extent{history: a.history(), first: 1 + uint64(r.IntN(len(a)+1))}
		staged := b.history()
		keep := completes(source, staged)
		for lsn := range staged.lsn + 1 {
			fits := lsn <= uint64(len(a)) && slices.Equal(a[:lsn], b[:lsn]) && lsn+1 >= source.first
			if got := keep(dbkernel.StagedChunk{Epoch: staged.epochAt(lsn), LSN: lsn}); got != fits {
				t.Fatalf("seed %d: a chunk at LSN %d is kept: %v, want %v\nsource %v\nstaged %v", seed, lsn, got, fits, source, staged)
			}
		}
	}
}

// line is a whole history, record by record: the run of a writer that each comes from.
type line []dbkernel.EpochStart

func (l line) history() history {
	h := history{lineage: lineageA, lsn: uint64(len(l))}
	for i, run := range l {
		if run.FirstLSN == uint64(i+1) {
			h.epochs = append(h.epochs, run)
		}
	}
	return h
}

// fork keeps a random part of l and lets new writers go on.
func (l line) fork(r *rand.Rand) line {
	l = slices.Clone(l[:r.IntN(len(l)+1)])
	for range r.IntN(3) {
		run := dbkernel.EpochStart{Epoch: 1 + uint64(r.IntN(2)), FirstLSN: uint64(len(l) + 1), Bits: r.Uint64()}
		if len(l) > 0 {
			run.Epoch += l[len(l)-1].Epoch
		}
		for range 1 + r.IntN(4) {
			l = append(l, run)
		}
	}
	return l
}

// TestDecideAgreesWithRecords compares verdicts, which see tables only, with the histories
// themselves: resume exactly where the sink is a prefix, truncate exactly
// behind the last common record, and never where the source is a prefix of the sink.
func TestDecideAgreesWithRecords(t *testing.T) {
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		root := line{}.fork(r).fork(r)
		a, b := root.fork(r), root.fork(r)
		common := uint64(0)
		for common < uint64(min(len(a), len(b))) && a[common] == b[common] {
			common++
		}
		source := extent{history: a.history(), first: 1 + uint64(r.IntN(3)), commit: uint64(len(a))}
		if r.IntN(4) == 0 {
			source.damaged = uint64(r.IntN(len(a) + 1))
		}
		if r.IntN(4) == 0 {
			source.logBytes, source.snapshotBytes = 2*longLogBytes, longLogBytes/2
		}
		sink := b.history()
		if err := sink.check(); err != nil {
			t.Fatalf("seed %d: a sound history is refused: %v", seed, err)
		}
		v := decide(source, sink)
		want := "truncate"
		switch {
		case common == sink.lsn && (source.first > sink.lsn+1 || source.damaged > sink.lsn || sink.lsn == 0 && source.logBytes > 0):
			want = "snapshot"
		case common == sink.lsn:
			want = "resume"
		case common == source.lsn:
			want = "SOURCE_BEHIND retry"
		case source.lastEpoch() < sink.lastEpoch():
			want = "SOURCE_STALE retry"
		}
		got := describe(v)
		if !hasWord(got, want) || v.truncate != nil && v.truncate.lsn != common || v.resumeFrom != 0 && v.resumeFrom != sink.lsn+1 {
			t.Fatalf("seed %d: got %q, want %q, common point %d\nsource %v\nsink   %v", seed, got, want, common, source, sink)
		}
		if v.truncate != nil {
			if err := (truncation{lsn: v.truncate.lsn, source: source.history}).confirm(sink); err != nil {
				t.Fatalf("seed %d: the sink comes to another verdict: %v", seed, err)
			}
		}
	}
}

func hasWord(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

func FuzzDecide(f *testing.F) {
	f.Add(uint64(9), uint64(1), uint64(4), []byte{1, 1, 7}, []byte{1, 1, 7})
	f.Add(uint64(9), uint64(5), uint64(6), []byte{1, 1, 7, 2, 5, 8}, []byte{1, 1, 7, 2, 5, 9})
	f.Fuzz(func(t *testing.T, srcLSN, first, sinkLSN uint64, srcRows, sinkRows []byte) {
		source := extent{history: history{lineageA, srcLSN, rowsOf(srcRows)}, first: first}
		sink := history{lineageA, sinkLSN, rowsOf(sinkRows)}
		if source.check() != nil || sink.check() != nil {
			return
		}
		v := decide(source, sink)
		set := 0
		for _, is := range []bool{v.resumeFrom != 0, v.truncate != nil, v.snapshotFrom != nil, v.refused != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			t.Fatalf("a verdict of %d answers: %+v", set, v)
		}
		if v.truncate != nil && (v.truncate.lsn >= sink.lsn || v.truncate.lsn >= source.lsn) {
			t.Fatalf("truncate to %d of source %d, sink %d", v.truncate.lsn, source.lsn, sink.lsn)
		}
		if v.resumeFrom != 0 && v.resumeFrom > source.lsn+1 {
			t.Fatalf("resume from %d behind the source's end %d", v.resumeFrom, source.lsn)
		}
	})
}

func rowsOf(b []byte) []dbkernel.EpochStart {
	v := make([]uint64, len(b))
	for i := range b {
		v[i] = uint64(b[i])
	}
	return rows(v...)
}
