package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/edge-inference/payments"
	"example.com/edge-inference/release"
	"example.com/edge-inference/release/releasetest"
)

// changes is how many changes of the release each asker wants to see.
const changes = 30

var payment = payments.Payment{Card: payments.CardID(3), Amount: 20, Hour: 3}

// twoReleases are different in every part.
func twoReleases(t *testing.T) (releases [2]*release.Release) {
	t.Helper()
	c := releasetest.New(t).Client(t)
	for i := range releases {
		releasetest.Publish(t, c, releasetest.Draft(i+1))
		releases[i] = releasetest.Load(t, c)
	}
	return releases
}

// TestASwapIsAtomic asks while releases alternate: no answer comes from two of them.
func TestASwapIsAtomic(t *testing.T) {
	releases := twoReleases(t)
	var current holder
	current.Store(&inForce{release: releases[0]})
	h := handler(&current)
	var asking atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		asking.Add(1)
		wg.Go(func() {
			defer asking.Add(-1)
			for seen, last := 0, 0; seen < changes; {
				a := ask(t, h)
				if a.Release != last {
					seen, last = seen+1, a.Release
				}
				if err := release.Verify(a, payment, releases[a.Release-1]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := 0; asking.Load() > 0; i++ {
		current.Store(&inForce{release: releases[i%2]})
		runtime.Gosched()
	}
	wg.Wait()
}

func ask(t *testing.T, h http.Handler) (a release.Answer) {
	question, err := json.Marshal(payment)
	if err != nil {
		t.Error(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/decide", bytes.NewReader(question)))
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		t.Errorf("%d %s: %v", w.Code, w.Body, err)
	}
	return a
}

func TestRefusals(t *testing.T) {
	var current holder
	h := handler(&current)
	refused := func(method, path, body string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewReader([]byte(body))))
		var answer struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != want || answer.Error == "" {
			t.Errorf("%s %s %s: %d %s, want %d", method, path, body, w.Code, w.Body, want)
		}
	}
	refused(http.MethodPost, "/decide", `{"card":"card-001","amount":1}`, http.StatusServiceUnavailable)
	refused(http.MethodGet, "/release", "", http.StatusServiceUnavailable)
	current.Store(&inForce{release: twoReleases(t)[0]})
	refused(http.MethodPost, "/decide", `{"card":"card-999","amount":1}`, http.StatusNotFound)
	refused(http.MethodPost, "/decide", `{"card":"card-001","amount":0}`, http.StatusBadRequest)
	refused(http.MethodPost, "/decide", `{"card":"card-001","amount":1,"hour":25}`, http.StatusBadRequest)
	refused(http.MethodPost, "/decide", `{"card":`, http.StatusBadRequest)
}
