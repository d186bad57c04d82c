package docs

import "strings"

// anything stands for what differs from run to run: within a line for any text, alone on a line for any
// lines.
const anything = "…"

// matches says whether a text is what a page shows of it, line by line. White space at the ends of lines
// doesn't count, nor do empty lines at the end.
func matches(shown, got string) bool { return matchLines(lines(shown), lines(got)) }

func lines(text string) []string {
	all := strings.Split(strings.TrimRight(text, " \t\r\n"), "\n")
	for i, line := range all {
		all[i] = strings.TrimRight(line, " \t\r")
	}
	return all
}

func matchLines(shown, got []string) bool {
	for len(shown) > 0 {
		if strings.TrimSpace(shown[0]) == anything {
			for skip := range len(got) + 1 {
				if matchLines(shown[1:], got[skip:]) {
					return true
				}
			}
			return false
		}
		if len(got) == 0 || !matchLine(shown[0], got[0]) {
			return false
		}
		shown, got = shown[1:], got[1:]
	}
	return len(got) == 0
}

// matchLine takes the parts between wildcards from the left; the last one has to end the line.
func matchLine(shown, got string) bool {
	parts := strings.Split(shown, anything)
	if len(parts) == 1 {
		return shown == got
	}
	got, ok := strings.CutPrefix(got, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, behind, found := strings.Cut(got, part)
		if !found {
			return false
		}
		got = behind
	}
	return strings.HasSuffix(got, parts[len(parts)-1])
}
