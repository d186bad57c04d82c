package sdktest

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// unconfigured: an error before there is a view.
func (s *modelChecks) unconfigured(t *testing.T) {
	p := s.start(t)
	r := s.o.Queries[0]
	if _, err := p.model.Call(deadline(t), &pluginv1.CallRequest{Namespace: "default", Method: r.Method}); err == nil {
		t.Fatal("a call was answered before Configure")
	}
}

// determinism: answers are a function of the cells, not of how they came about,
// nor of what the process has seen.
func (s *modelChecks) determinism(t *testing.T) {
	p := s.begin(t)
	namespace, other := s.namespace(), s.namespace()
	for _, w := range s.o.Writes {
		s.must(t, p, namespace, w)
		s.answers(t, p, namespace) // an index grows with the data
	}
	want := s.answers(t, p, namespace)
	same := func(who string, got []string) {
		t.Helper()
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s answers\n%s\ninstead of\n%s", who, got[i], want[i])
			}
		}
	}
	same("the same process a second time", s.answers(t, p, namespace))
	s.node.copyTo(namespace, other)
	same("the same process, of cells with another history,", s.answers(t, p, other))
	fresh := s.begin(t)
	same("a fresh process", s.answers(t, fresh, namespace))
	same("a fresh process, of cells with another history,", s.answers(t, fresh, other))
}

// effects: a call whose operations aren't committed leaves no trace.
func (s *modelChecks) effects(t *testing.T) {
	p := s.begin(t)
	namespace := s.namespace()
	for _, w := range s.o.Writes {
		before := s.answers(t, p, namespace)
		first, err := s.call(t, p, namespace, w)
		if err != nil {
			t.Fatalf("%s: %v", w.Method, err)
		}
		if after := s.answers(t, p, namespace); !slices.Equal(before, after) {
			t.Fatalf("the operations of %s weren't committed, and the queries answer\n%q\ninstead of\n%q", w.Method, after, before)
		}
		second, err := s.call(t, p, namespace, w)
		if err != nil {
			t.Fatalf("%s: %v", w.Method, err)
		}
		if !proto.Equal(first, second) {
			t.Fatalf("%s was called twice on the same data and answered\n%v\nand then\n%v", w.Method, first, second)
		}
		s.must(t, p, namespace, w)
	}
}

// conflicts: two calls that were answered from the same state come to what they
// come to one after the other. A model that forgets a read loses an update here.
func (s *modelChecks) conflicts(t *testing.T) {
	p := s.begin(t)
	for i, w := range s.o.Writes {
		serial, raced := s.namespace(), s.namespace()
		s.must(t, p, serial, s.o.Writes[:i+1]...)
		s.must(t, p, serial, w)

		s.must(t, p, raced, s.o.Writes[:i]...)
		late, err := s.call(t, p, raced, w)
		if err != nil {
			t.Fatalf("%s: %v", w.Method, err)
		}
		s.must(t, p, raced, w)
		if !s.node.commit(raced, late.GetOperations(), late.GetReads()) {
			s.must(t, p, raced, w) // what a node does: it asks again
		}
		if one, two := s.node.state(serial), s.node.state(raced); !maps.Equal(one, two) {
			t.Errorf("%s twice, one after the other, gives\n%q\nand with both answered first\n%q\n: Answer.Reads lacks a key that was read", w.Method, one, two)
		}
	}
}

// atOnce: writes and queries of one namespace run together.
func (s *modelChecks) atOnce(t *testing.T) {
	p := s.begin(t)
	namespace := s.namespace()
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			for _, w := range s.o.Writes {
				// What is possible depends on how far the other one is: a refusal is an answer.
				answer := s.try(t, p, namespace, w)
				if answer == nil {
					return
				}
				if answer.GetStatus() >= http.StatusInternalServerError {
					t.Errorf("%s: status %d: %s", w.Method, answer.GetStatus(), answer.GetBody())
				}
			}
		})
		calls.Go(func() {
			for range 5 {
				for _, q := range s.o.Queries {
					if _, err := s.call(t, p, namespace, q); err != nil && !again(err) {
						t.Errorf("%s: %v", q.Method, err)
						return
					}
				}
			}
		})
	}
	calls.Wait()
	got := s.answers(t, p, namespace)
	if want := s.answers(t, s.begin(t), namespace); !slices.Equal(got, want) {
		t.Errorf("after writes and queries at once the queries answer\n%q\nand in a fresh process\n%q", got, want)
	}
}

// trimmed: an index whose position the log doesn't reach any more begins anew.
func (s *modelChecks) trimmed(t *testing.T) {
	p := s.begin(t)
	namespace := s.namespace()
	half := len(s.o.Writes) / 2
	s.must(t, p, namespace, s.o.Writes[:half]...)
	s.answers(t, p, namespace)
	writer := s.begin(t) // another process: the first doesn't see its writes pass
	s.must(t, writer, namespace, s.o.Writes[half:]...)
	s.node.trim(namespace)
	if got, want := s.answers(t, p, namespace), s.answers(t, s.begin(t), namespace); !slices.Equal(got, want) {
		t.Errorf("behind a trimmed log the queries answer\n%q\nand in a fresh process\n%q", got, want)
	}
}

// apart: what is written in one namespace isn't there in another.
func (s *modelChecks) apart(t *testing.T) {
	p := s.begin(t)
	empty, full := s.namespace(), s.namespace()
	want := s.answers(t, p, empty)
	s.must(t, p, full, s.o.Writes...)
	s.answers(t, p, full)
	if got := s.answers(t, p, empty); !slices.Equal(got, want) {
		t.Errorf("after writes to another namespace the queries answer\n%q\ninstead of\n%q", got, want)
	}
}

// badRequests: what a client does wrong is the client's error, not the model's.
func (s *modelChecks) badRequests(t *testing.T) {
	p := s.begin(t)
	namespace := s.namespace()
	bad := append([]Request{{Method: "no-such-method", Body: map[string]any{}}}, s.o.BadRequests...)
	for _, r := range bad {
		answer, err := s.call(t, p, namespace, r)
		if err != nil {
			t.Errorf("%s of %q: %v: answer a status of 400 to 499", r.Method, r.Body, err)
		} else if answer.GetStatus() < 400 || answer.GetStatus() > 499 {
			t.Errorf("%s of %q: status %d: answer one of 400 to 499", r.Method, r.Body, answer.GetStatus())
		}
	}
	for _, r := range append(slices.Clone(s.o.Writes[:1]), s.o.Queries[0]) {
		r.Body = []byte("\xff{ no JSON")
		if _, err := s.call(t, p, namespace, r); err != nil {
			t.Errorf("%s of a body that is no JSON: %v: answer a status of 400 to 499", r.Method, err)
		}
	}
}

// drain: no call is answered after it.
func (s *modelChecks) drain(t *testing.T) {
	p := s.begin(t)
	namespace := s.namespace()
	s.must(t, p, namespace, s.o.Writes[0])
	if _, err := p.plugin.Drain(deadline(t), &pluginv1.DrainRequest{}); err != nil {
		t.Fatalf("Drain: %v", err)
	}
	if _, err := s.call(t, p, namespace, s.o.Queries[0]); err == nil {
		t.Error("a call was answered after Drain")
	}
}
