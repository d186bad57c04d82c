package replicator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// plan is what one stream is for: it follows from what is on disk, so that a sink that
// was killed at any moment goes on where it was.
//
//	there is                                    the stream
//	a stage without a log                       a snapshot for the stage
//	a stage with a log                          records for the stage
//	a namespace that can be extended            records for the namespace
//	none, one that is broken, or of a lineage   records or a snapshot for a stage that
//	that an operator has replaced               the answer makes
type plan struct {
	purpose dbv1.Purpose // PURPOSE_UNSPECIFIED or PURPOSE_SNAPSHOT
	own     Log          // the namespace; nil: there is none
	stage   Stage        // that the stream feeds; nil: none (yet)
	log     Log          // that takes the records; nil: none (yet)
	history history      // what the hello says
}

// plan decides what the next stream is for.
func (s *Sink) plan(ctx context.Context) (p plan, err error) {
	name, accepted := s.o.Namespace, s.o.Store.Accepted(s.o.Namespace)
	wanted, extend := accepted, false
	p.own, err = s.o.Store.Open(name)
	switch {
	case err == nil:
		if wanted, extend, err = copyOf(ctx, p.own, accepted); err != nil {
			return p, err
		}
	case errors.Is(err, dbkernel.ErrNamespaceNotFound):
		p.own = nil
	default:
		return p, fmt.Errorf("open namespace %q: %w", name, err)
	}
	if p.stage, err = s.staged(wanted); err != nil {
		return p, err
	}
	switch {
	case p.stage != nil:
		p.planStage()
	case extend:
		p.log = p.own
		p.history, _ = historyOf(p.own)
	default:
		p.history = history{lineage: wanted}
	}
	s.planned(p)
	return p, nil
}

func (p *plan) planStage() {
	if p.log = p.stage.Log(); p.log != nil {
		p.history, _ = historyOf(p.log)
		return
	}
	p.purpose, p.history = dbv1.Purpose_PURPOSE_SNAPSHOT, historyOfStage(p.stage)
}

// copyOf says of which lineage this node wants a copy, and whether the one that it has can be
// extended, which it is healed for if need be. The operator's word comes before what is here.
func copyOf(ctx context.Context, own Log, accepted dbkernel.Lineage) (wanted dbkernel.Lineage, extend bool, err error) {
	st := own.Status()
	if r := quarantined(st); r != nil && passing(r) {
		return wanted, false, r
	}
	if !accepted.IsZero() && accepted != st.Lineage {
		return accepted, false, nil
	}
	broken := brokenBy(own, st)
	if broken == nil {
		broken = healLog(ctx, own)
	}
	switch {
	case broken == nil:
		return st.Lineage, true, nil
	case broken.Retryable && !st.Lineage.IsZero():
		return st.Lineage, false, nil
	default:
		return wanted, false, broken
	}
}

// replaceable are the codes of a namespace that can't be read, and never will be: a new copy
// is all that helps. Others are of files that this build mustn't touch, or may pass.
var replaceable = []string{CodeDamaged, codeLogBehind, codeMissing}

// The kernel's codes for a namespace whose log ends below its B+tree, and for one
// whose files are gone.
const (
	codeLogBehind = "LOG_BEHIND_CHECKPOINT"
	codeMissing   = "NAMESPACE_MISSING"
)

// brokenBy says why a namespace can't be extended by records; nil: it can, but for damage of
// its log, which healLog sees to. The refusal is retryable where a new copy helps.
func brokenBy(own Log, st dbkernel.Status) *Refusal {
	r := quarantined(st)
	if r != nil && passing(r) {
		return nil
	}
	if r != nil {
		r.Retryable = slices.Contains(replaceable, r.Code)
		if r.Retryable && st.Lineage.IsZero() {
			r.Reason += ". To take a source's copy: unisondb operator namespace accept " + cmp.Or(st.Name, "NAME") + " -lineage=ID, with the lineage that the source's status shows"
		}
		return r
	}
	if damage := own.Integrity().TreeDamage; damage != "" {
		return refuseForNow(CodeDamaged, "the B+tree of %q is damaged: %s", st.Name, damage)
	}
	return nil
}

// staged finds what there is of a copy; one of another lineage than the wanted isn't wanted.
func (s *Sink) staged(wanted dbkernel.Lineage) (Stage, error) {
	stage, err := s.o.Store.Staged(s.o.Namespace)
	switch {
	case errors.Is(err, dbkernel.ErrNamespaceNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("open what has arrived of %q: %w", s.o.Namespace, err)
	case wanted.IsZero() || stage.Lineage() == wanted:
		return stage, nil
	}
	s.o.Logger.Warn("discarding a copy of a lineage that isn't wanted", "namespace", s.o.Namespace, "lineage", stage.Lineage(), "wanted", wanted)
	if err := stage.Discard(); err != nil {
		return nil, fmt.Errorf("discard a copy of %q: %w", s.o.Namespace, err)
	}
	return nil, nil
}

// planned shows in the status what is on disk.
func (s *Sink) planned(p plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present = p.own != nil
	if !s.present && s.status.Code == "" {
		s.status.State = StateBootstrapping
	}
	if p.stage == nil {
		s.copy = nil
	} else if s.copy == nil {
		s.copy = &arrival{}
	}
}
