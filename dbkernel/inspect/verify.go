package inspect

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

// Report is what Verify has found in a namespace's directory.
type Report struct {
	Path       string      `json:"path"`
	Meta       *Meta       `json:"meta"`                 // nil: can't be read
	Log        *LogReport  `json:"log"`                  // likewise
	Tree       *TreeReport `json:"tree"`                 // likewise
	Quarantine string      `json:"quarantine,omitempty"` // why nodes don't open it
	Problems   []Problem   `json:"problems"`
	// More counts problems that are not among Problems.
	More int `json:"more_problems"`
}

// Problem is something that is not as it was written, or doesn't fit.
type Problem struct {
	Where   string `json:"where"` // meta, log, tree, or namespace for what doesn't fit together
	Problem string `json:"problem"`
}

// LogReport is what is in the log.
type LogReport struct {
	FirstLSN uint64 `json:"first_lsn"`
	LastLSN  uint64 `json:"last_lsn"`
	Segments int    `json:"segments"`
	Bytes    int64  `json:"bytes"` // of the segments' files
	Records  uint64 `json:"records"`
	// Torn says that it doesn't end cleanly, as after a crash: the next start repairs that.
	Torn      bool      `json:"torn"`
	FirstTime time.Time `json:"first_time,omitzero"`
	LastTime  time.Time `json:"last_time,omitzero"`
}

// maxProblems bounds a report: a log that was overwritten has as many as frames.
const maxProblems = 1000

func (r *Report) problem(where string, err error) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, Problem{where, err.Error()})
}

// Verify reads all of a namespace's files: meta.json, every frame and record of the
// log, every cell of the B+tree, and whether they fit together. An error means that it
// could not look, or that ctx ended; what it found wrong is in the report. Damage
// inside an LMDB file can end the process, in reading the tree, which comes last:
// tree is called before that, with the report so far, if it isn't nil.
func (d *Directory) Verify(ctx context.Context, tree func(Report)) (Report, error) {
	r := d.begin()
	if r.Meta == nil {
		return r, nil // nobody knows what the rest should be
	}
	if err := d.verifyLog(ctx, &r); err != nil {
		return r, err
	}
	if tree != nil {
		tree(r)
	}
	if err := d.verifyTree(ctx, &r); err != nil {
		return r, err
	}
	r.compare()
	return r, nil
}

// Look is a quick Verify: of the log it reads the segments' headers and the last of them,
// of the tree the checkpoint. The counts in the report stay zero.
func (d *Directory) Look(ctx context.Context) (Report, error) {
	r := d.begin()
	if r.Meta == nil {
		return r, ctx.Err()
	}
	if log, err := d.log(r.Meta.Lineage); err != nil {
		r.problem("log", err)
	} else {
		for _, p := range log.Problems {
			r.problem("log", p)
		}
		r.Log = describeLog(log)
	}
	d.openTree(&r, readCheckpoint)
	r.compare()
	return r, ctx.Err()
}

// begin is a report that knows what the directory says of itself.
func (d *Directory) begin() Report {
	r := Report{Path: d.path, Problems: []Problem{}}
	if b, err := os.ReadFile(filepath.Join(d.path, quarantineName)); err == nil {
		r.Quarantine = strings.TrimSpace(string(b))
	}
	m, err := d.Meta()
	if err != nil {
		r.problem("meta", err)
	} else {
		r.Meta = &m
	}
	return r
}

func (d *Directory) verifyLog(ctx context.Context, r *Report) error {
	log, err := d.log(r.Meta.Lineage)
	if err != nil {
		r.problem("log", err)
		return nil
	}
	for _, p := range log.Problems {
		r.problem("log", p)
	}
	r.Log = describeLog(log)
	follow := &order{report: r}
	// What the inspection has met already is met again.
	known := map[string]bool{}
	for _, p := range log.Problems {
		known[p.Error()] = true
	}
	err = log.Walk(0, math.MaxUint64, func(chunk []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return eachRecord(chunk, func(rec codec.Record) error { follow.take(rec); return nil })
	}, func(p error) {
		if !known[p.Error()] {
			r.problem("log", p)
		}
	})
	r.Log.Records = follow.records
	if err != nil && ctx.Err() == nil {
		r.problem("log", err)
		return nil
	}
	follow.epochs(r.Meta.Epochs)
	return err
}

func describeLog(log *wal.Inspection) *LogReport {
	out := &LogReport{Torn: log.Torn}
	segments := log.Segments()
	for _, s := range segments {
		out.Segments++
		out.Bytes += s.Bytes
	}
	if len(segments) > 0 {
		out.FirstLSN, out.LastLSN = segments[0].FirstLSN, segments[len(segments)-1].LastLSN
	}
	return out
}

// order checks that records follow one another.
type order struct {
	report  *Report
	records uint64
	last    codec.Record // a copy of the last one's header
	begun   []Epoch      // the epoch records of the log
}

func (o *order) take(rec codec.Record) {
	problem := func(format string, args ...any) {
		o.report.problem("log", fmt.Errorf("LSN %d: %s", rec.LSN(), fmt.Sprintf(format, args...)))
	}
	if o.last != nil {
		switch {
		case rec.LSN() != o.last.LSN()+1:
			problem("it follows LSN %d", o.last.LSN())
		case rec.Epoch() < o.last.Epoch():
			problem("its epoch is %d, that of the record before %d", rec.Epoch(), o.last.Epoch())
		case rec.Time() < o.last.Time():
			problem("it is older than the record before")
		}
	}
	if err := rec.Ops(func(codec.Op) error { return nil }); err != nil {
		problem("%v", err)
	}
	if rec.Kind() == codec.KindEpoch {
		if bits, err := rec.EpochBits(); err != nil {
			problem("%v", err)
		} else {
			o.begun = append(o.begun, Epoch{Epoch: rec.Epoch(), FirstLSN: rec.LSN(), Bits: bits})
		}
	}
	if log := o.report.Log; log != nil {
		at := time.Unix(0, rec.Time()).UTC()
		if o.records == 0 {
			log.FirstTime = at
		}
		log.LastTime = at
	}
	o.last = append(o.last[:0], rec[:codec.RecordHeaderLen]...)
	o.records++
}

// epochs compares the log's epochs with meta.json's table. The log counts: a row may
// be missing, or be of a record that never became durable, but not say otherwise.
func (o *order) epochs(table []Epoch) {
	for _, e := range o.begun {
		for _, row := range table {
			if row.Epoch == e.Epoch && row != e {
				o.report.problem("namespace", fmt.Errorf("epoch %d begins with LSN %d in the log, with %d in meta.json", e.Epoch, e.FirstLSN, row.FirstLSN))
			}
		}
	}
}

// compare holds the parts against each other.
func (r *Report) compare() {
	if r.Log == nil || r.Tree == nil {
		return
	}
	at := r.Tree.LSN
	switch {
	case r.Tree.Lineage != "" && r.Tree.Lineage != r.Meta.Lineage:
		r.problem("namespace", fmt.Errorf("the B+tree is of lineage %s, meta.json says %s: files of two namespaces are mixed", r.Tree.Lineage, r.Meta.Lineage))
	case r.Log.FirstLSN > at+1:
		r.problem("namespace", fmt.Errorf("the log begins at LSN %d, but the B+tree ends at %d: segments are missing", r.Log.FirstLSN, at))
	case r.Log.LastLSN < at:
		r.problem("namespace", fmt.Errorf("the log ends at LSN %d, the B+tree at %d: the log's last segments are missing", r.Log.LastLSN, at))
	}
}
