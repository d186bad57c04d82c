package main

// This is all the thinking that the agents of this example do. It stands for a call of a model or
// a tool: it takes a while, and its outcome is a finding about one task. It is a small
// program with one right answer, so that what the team finds can be checked.

// Task is a piece of the work: which number from First to Last has the longest Collatz chain?
type Task struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// Finding is what an agent has found out.
type Finding struct {
	Number int `json:"number"`
	Steps  int `json:"steps"` // of its chain, to 1
}

// better reports whether f is to be remembered rather than g: the longer chain, of equal ones the
// lower number.
func (f Finding) better(g Finding) bool {
	return f.Steps > g.Steps || f.Steps == g.Steps && f.Number < g.Number
}

// think solves a task.
func think(t Task) (best Finding) {
	for n := t.First; n <= t.Last; n++ {
		if f := (Finding{n, chain(n)}); n == t.First || f.better(best) {
			best = f
		}
	}
	return best
}

// chain is how many steps lead from n to 1: halve what is even, treble what is odd and add 1.
func chain(n int) (steps int) {
	for ; n > 1; steps++ {
		if n%2 == 0 {
			n /= 2
		} else {
			n = 3*n + 1
		}
	}
	return steps
}
