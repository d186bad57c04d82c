package command

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progressEvery is how often a progress bar is drawn at most.
const progressEvery = 100 * time.Millisecond

// progress draws on standard error how far a transfer is, if that is a terminal.
// It has no goroutine: the transfer itself draws it.
type progress struct {
	out   io.Writer
	width int   // of the terminal; 0: draw nothing
	total int64 // -1 where unknown
	start time.Time

	mu    sync.Mutex // an upload is read on the transport's goroutine
	done  int64
	drawn time.Time
	ended bool
}

func (m *Meta) newProgress(total int64) *progress {
	return &progress{out: m.stderr, width: m.terminalWidth(m.stderr), total: total, start: time.Now()}
}

// reader counts what is read from r.
func (p *progress) reader(r io.Reader) io.Reader {
	if p.width == 0 {
		return r
	}
	return &progressReader{r, p}
}

type progressReader struct {
	r io.Reader
	p *progress
}

func (r *progressReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.p.add(int64(n), time.Now())
	return n, err
}

func (p *progress) add(n int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.ended || now.Sub(p.drawn) < progressEvery {
		return
	}
	p.drawLocked(now)
}

// finish draws the last state and leaves the line.
func (p *progress) finish() {
	if p.width == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	p.drawLocked(time.Now())
	_, _ = io.WriteString(p.out, "\n") // nobody is left to tell
}

func (p *progress) drawLocked(now time.Time) {
	p.drawn = now
	// The last column stays free: some terminals wrap when it is filled.
	_, _ = io.WriteString(p.out, "\r"+p.line(now, p.width-1))
}

// line is the bar, as wide as asked for.
func (p *progress) line(now time.Time, width int) string {
	rate := int64(0)
	if seconds := now.Sub(p.start).Seconds(); seconds > 0 {
		rate = int64(float64(p.done) / seconds)
	}
	text := fmt.Sprintf("%10s %12s/s", formatBytes(p.done), formatBytes(rate))
	if p.total < 0 {
		return fit(text, width)
	}
	percent := int64(100)
	if p.total > 0 {
		percent = min(100, int64(float64(p.done)/float64(p.total)*100))
	}
	text = fmt.Sprintf(" %3d%% of %10s %12s/s", percent, formatBytes(p.total), formatBytes(rate))
	room := width - len(text) - 2
	if room < 5 {
		return fit(text, width)
	}
	filled := int(int64(room) * percent / 100)
	return "[" + strings.Repeat("=", filled) + strings.Repeat(" ", room-filled) + "]" + text
}

// fit cuts or pads text, so that nothing of an earlier line shows.
func fit(text string, width int) string {
	width = max(width, 0)
	if len(text) > width {
		return text[:width]
	}
	return text + strings.Repeat(" ", width-len(text))
}
