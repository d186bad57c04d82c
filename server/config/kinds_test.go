package config

import (
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "7B": 7, "1KB": 1000, "1KiB": 1024, "1MB": 1e6, "1MiB": 1 << 20,
		"1GB": 1e9, "1GiB": 1 << 30, "2TB": 2e12, "1TiB": 1 << 40, "1.5GiB": 3 << 29, "16 MiB": 16 << 20,
		"9223372036854775807": 1<<63 - 1,
	} {
		if got, p := parseSize(s); p != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", s, got, p, want)
		}
	}
	for _, s := range []string{"", " 1", "1 ", "1e3", "0x10", "1,000", "+1", "-1", "1..5MiB", "9223372036854775808", "MiB", "1 M iB"} {
		if got, p := parseSize(s); p == nil {
			t.Errorf("parseSize(%q) = %d, want a problem", s, got)
		}
	}
}

func TestShortForms(t *testing.T) {
	for n, want := range map[int64]string{1: "1", 1000: "1000", 1 << 10: "1KiB", 64 << 10: "64KiB", 1 << 30: "1GiB", 3 << 29: "1536MiB"} {
		if got := shortSize(n); got != want {
			t.Errorf("shortSize(%d) = %q, want %q", n, got, want)
		}
		if back, p := parseSize(want); p != nil || back != n {
			t.Errorf("parseSize(%q) = %d, %v; want %d back", want, back, p, n)
		}
	}
	for d, want := range map[time.Duration]string{time.Hour: "1h", time.Minute: "1m", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s", time.Millisecond: "1ms", 10 * time.Second: "10s"} {
		if got := shortDuration(d); got != want {
			t.Errorf("shortDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"level", "format", "segment_size", "memtable_size", "own", "upstream"}
	for written, want := range map[string]string{
		"levle": "level", "LEVEL": "level", "lvl": "", "segmentsize": "segment_size", "memtable_sise": "memtable_size",
		"owm": "own", "": "", "xyz": "", "upstreams": "upstream",
	} {
		if got := nearest(written, keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", written, got, want)
		}
	}
}
