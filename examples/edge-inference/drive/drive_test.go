package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/payments"
	"example.com/edge-inference/release"
	"example.com/edge-inference/release/releasetest"
)

// tornEdge is an edge with a bug: it goes over to a release part by part.
type tornEdge struct{ policy, rest *release.Release }

func (e tornEdge) decide(p payments.Payment) (a release.Answer, err error) {
	old, err := e.policy.Decide(p)
	if err != nil {
		return a, err
	}
	a, err = e.rest.Decide(p)
	a.Policy = old.Policy
	return a, err
}

// TestAnEdgeThatMixesIsFoundOut, and one that goes back, and one that doesn't answer.
func TestAnEdgeThatMixesIsFoundOut(t *testing.T) {
	hub := releasetest.New(t)
	c := hub.Client(t)
	var releases [2]*release.Release
	for i := range releases {
		releasetest.Publish(t, c, releasetest.Draft(i+1))
		releases[i] = releasetest.Load(t, c)
	}
	p := payments.Payment{Card: payments.CardID(1), Amount: 10}
	count := &tally{truth: newTruth(c)}
	a := &asker{edge: "test", tally: count}
	give := func(e tornEdge) {
		t.Helper()
		answer, err := e.decide(p)
		if err != nil {
			t.Fatal(err)
		}
		a.hold(t.Context(), answer, p)
	}
	want := func(answers, mixed, backward int) {
		t.Helper()
		if count.answers != answers || count.mixed != mixed || count.backward != backward {
			t.Errorf("%d answers, %d mixed, %d backward; want %d, %d, %d", count.answers, count.mixed, count.backward, answers, mixed, backward)
		}
	}
	give(tornEdge{releases[0], releases[0]})
	give(tornEdge{releases[1], releases[1]})
	want(2, 0, 0)
	count.probes = 1
	if err := count.report(); err != nil {
		t.Errorf("nothing was wrong: %v", err)
	}
	give(tornEdge{releases[0], releases[1]})
	want(3, 1, 0)
	give(tornEdge{releases[0], releases[0]})
	want(4, 1, 1)
	if count.report() == nil {
		t.Error("the report says that nothing was wrong")
	}
}

// TestAnEdgeIsAsked over HTTP; what it refuses is no answer.
func TestAnEdgeIsAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var p payments.Payment
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil || p.Card == "" || r.URL.Path != "/decide" {
			t.Errorf("asked %s for %+v: %v", r.URL, p, err)
		}
		if asked++; asked == 3 {
			cancel()
		}
		http.Error(w, "not today", http.StatusServiceUnavailable)
	}))
	defer edge.Close()
	count := &tally{truth: &truth{}}
	(&asker{edge: edge.URL, tally: count}).ask(ctx, time.Microsecond)
	if count.mute < 2 || count.answers != 0 {
		t.Errorf("%d times no answer, %d answers", count.mute, count.answers)
	}
}

// TestAReleaseThatNobodyPublished is a mix, too.
func TestAReleaseThatNobodyPublished(t *testing.T) {
	count := &tally{truth: &truth{load: func(context.Context, int) (*release.Release, error) { return nil, errors.New("no record") }}}
	(&asker{tally: count}).hold(t.Context(), release.Answer{Release: 9}, payments.Payment{})
	if count.mixed != 1 {
		t.Errorf("%d mixed", count.mixed)
	}
}

// TestATornReleaseIsSeen plants each part that may come too soon or too late.
func TestATornReleaseIsSeen(t *testing.T) {
	record := func(weights string) client.OpResult {
		b, err := json.Marshal(release.Record{Manifest: release.Manifest{Release: 5, Weights: weights}})
		if err != nil {
			t.Fatal(err)
		}
		return client.OpResult{Found: true, Value: b}
	}
	before := sight{next: 5, manifest: release.Manifest{Release: 4}}
	after := sight{next: 5, manifest: release.Manifest{Release: 5}, record: record(release.WeightsKey(5)), first: true, last: true, late: true}
	policy := sight{next: 5, manifest: release.Manifest{Release: 6}, record: record(release.WeightsKey(2))}
	for what, tt := range map[string]struct {
		from  sight
		plant func(*sight)
		want  string
	}{
		"before":            {before, func(*sight) {}, ""},
		"after":             {after, func(*sight) {}, ""},
		"policy alone":      {policy, func(*sight) {}, ""},
		"while it arrives":  {before, func(s *sight) { s.late = true }, ""},
		"early object":      {before, func(s *sight) { s.early = true }, "object true"},
		"early row":         {before, func(s *sight) { s.last = true }, "last row true"},
		"early record":      {before, func(s *sight) { s.record = after.record }, "record of release 5 is there: true"},
		"late record":       {after, func(s *sight) { s.record = client.OpResult{} }, "record of release 5 is there: false"},
		"late object":       {after, func(s *sight) { s.late = false }, "object false"},
		"late row":          {after, func(s *sight) { s.first = false }, "first row false"},
		"rows of a policy":  {policy, func(s *sight) { s.last = true }, "last row true"},
		"damage to records": {after, func(s *sight) { s.record.Value = nil }, "unexpected end"},
	} {
		s := tt.from
		tt.plant(&s)
		err := s.check()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", what, err, tt.want)
		}
	}
}
