package command

import "fmt"

// didYouMean ends a message with the nearest of the names, where one is near.
func didYouMean(got string, names []string) string {
	if near := nearest(got, names); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// nearest is the name that takes the fewest edits, if those are few for its
// length; otherwise it is empty.
func nearest(got string, names []string) string {
	best, bestEdits := "", 0
	for _, name := range names {
		edits := editDistance(got, name)
		if edits <= max(1, len(name)/3) && (best == "" || edits < bestEdits) {
			best, bestEdits = name, edits
		}
	}
	return best
}

// editDistance counts insertions, deletions and replacements of bytes, and
// swaps of neighbours.
func editDistance(a, b string) int {
	var before []int // the row above the last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
