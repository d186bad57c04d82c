package config

import (
	"fmt"
	"strings"
)

// didYouMean is a suggestion of the candidate nearest to what was written,
// empty where none is near.
func didYouMean(written string, candidates []string) string {
	if near := nearest(written, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// nearest is the candidate that the fewest edits turn written into. More edits
// than a third of its length don't count as near.
func nearest(written string, candidates []string) string {
	best, bestDistance := "", 1<<30
	for _, c := range candidates {
		d := distance(strings.ToLower(written), strings.ToLower(c))
		if d < bestDistance && d <= max(1, min(len(written), len(c))/3) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of edits between two strings, where swapping two
// neighbours is one edit, as insertions, deletions and replacements are.
func distance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// listed is names as a sentence has them: "a", "b" or "c".
func listed(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}
