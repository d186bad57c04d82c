package command

import (
	"strings"
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	start := time.Unix(0, 0)
	tests := []struct {
		name        string
		done, total int64
		width       int
		want        string
	}{
		{"half", 512, 1024, 50, "[=======       ]  50% of    1.0 KiB        256 B/s"},
		{"all", 1024, 1024, 50, "[==============] 100% of    1.0 KiB        512 B/s"},
		{"more than said", 4096, 1024, 50, "[==============] 100% of    1.0 KiB      2.0 KiB/s"},
		{"empty", 0, 0, 50, "[==============] 100% of        0 B          0 B/s"},
		{"unknown", 1024, -1, 30, "   1.0 KiB        512 B/s     "},
		{"narrow", 512, 1024, 20, "  50% of    1.0 KiB "},
		{"no room at all", 512, 1024, -1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &progress{total: tt.total, done: tt.done, start: start}
			got := p.line(start.Add(2*time.Second), tt.width)
			if got != tt.want || len(got) != max(tt.width, 0) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestProgressDrawsSparingly(t *testing.T) {
	var out strings.Builder
	now := time.Unix(100, 0)
	p := &progress{out: &out, width: 60, total: 1000, start: now}
	for range 1000 {
		p.add(1, now)
		now = now.Add(time.Millisecond)
	}
	if n := strings.Count(out.String(), "\r"); n != 10 {
		t.Errorf("drawn %d times in a second, want 10", n)
	}
	p.finish()
	p.finish()
	p.add(1, now.Add(time.Hour)) // the transport reads on behind the end
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
		t.Errorf("ends with %q", got[len(got)-10:])
	}
}

func TestNoProgressWithoutATerminal(t *testing.T) {
	var out strings.Builder
	p := &progress{out: &out, total: 10}
	r := strings.NewReader("x")
	if p.reader(r) != r {
		t.Error("reads are counted for nobody")
	}
	p.finish()
	if out.Len() != 0 {
		t.Errorf("drew %q", out.String())
	}
}
