package command

import (
	"strings"
	"testing"
	"unicode"
)

func TestReadable(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "two words": "two words", "ключ": "ключ", `back\slash`: `back\slash`,
		"": `""`, " pad": `" pad"`, "tab\t": `"tab\t"`, "\xff": `"\xff"`, "\x1b[31m": `"\x1b[31m"`, `"q"`: `"\"q\""`,
		"line\nbreak": `"line\nbreak"`, "\u202e": `"\u202e"`, "\u00a0": "\"\\u00a0\"",
	} {
		if got := readable([]byte(in)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

// FuzzReadable: nothing reaches the terminal but what prints, and no two values
// look the same.
func FuzzReadable(f *testing.F) {
	f.Add([]byte("a\x1b[0m"), []byte(`"a"`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := readable(a)
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("%q shows %q", a, got)
			}
		}
		if string(a) != string(b) && got == readable(b) {
			t.Errorf("%q and %q both show %s", a, b, got)
		}
	})
}

func TestShortened(t *testing.T) {
	if got := shortened([]byte(strings.Repeat("x", maxCell))); got != strings.Repeat("x", maxCell) {
		t.Errorf("got %s", got)
	}
	got := shortened([]byte(strings.Repeat("ä", maxCell)))
	if want := strings.Repeat("ä", maxCell/2) + "… (200 B)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// A letter is not cut in two.
	got = shortened([]byte("x" + strings.Repeat("ä", maxCell)))
	if want := "x" + strings.Repeat("ä", maxCell/2-1) + "… (201 B)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 8 << 20: "8.0 MiB", 1 << 40: "1.0 TiB", 1 << 62: "4.0 EiB",
	} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
