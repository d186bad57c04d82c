package main

import (
	"errors"
	"fmt"
	"sync"
)

// progress is after how many answers a line is printed.
const progress = 1000

// shown is how many of the problems are printed in full.
const shown = 5

// tally counts what was seen. It is safe for concurrent use.
type tally struct {
	truth *truth

	mu                              sync.Mutex
	answers, mixed, backward, mute  int
	releases                        map[int]bool
	probes, arrivals, torn, skipped int
}

func (t *tally) answered(release int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.releases == nil {
		t.releases = map[int]bool{}
	}
	t.releases[release] = true
	if t.answers++; t.answers%progress == 0 {
		fmt.Printf("answers so far: %d of %d releases, %d mixed\n", t.answers, len(t.releases), t.mixed)
	}
}

// count adds to one of the counters, and prints the first few problems.
func (t *tally) count(what *int, problem error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if *what++; problem != nil && *what <= shown {
		fmt.Println("problem:", problem)
	}
}

// report prints what was seen, and says whether anything was wrong.
func (t *tally) report() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Printf("answers: %d, of %d releases\n", t.answers, len(t.releases))
	fmt.Printf("answers with parts of two releases: %d\n", t.mixed)
	fmt.Printf("answers of an earlier release than the one before: %d\n", t.backward)
	fmt.Printf("questions without an answer: %d\n", t.mute)
	fmt.Printf("looks at relayers: %d, while %d releases arrived (%d came to nothing: the relayer was away)\n", t.probes, t.arrivals, t.skipped)
	fmt.Printf("releases seen in part: %d\n", t.torn)
	if t.mixed+t.backward+t.mute+t.torn > 0 || t.answers == 0 || t.probes == 0 {
		return errors.New("not all was as it should be")
	}
	return nil
}
