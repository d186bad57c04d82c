package process

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
)

// Bounds of a plugin's log.
const (
	linesPerSecond = 100
	linesBurst     = 1000
	// What is beyond the lines above is still read, up to so many bytes a second:
	// then the plugin waits, and nobody else.
	bytesPerSecond = 1 << 20
	bytesBurst     = 4 << 20
	// sayEvery is how often the log says that lines were left out.
	sayEvery = 10 * time.Second
	// maxLine is what is kept of a line, lastLines how many are kept for a reason.
	maxLine      = 4096
	lastLines    = 8
	maxShownLine = 400
)

// sink takes what a plugin writes, line by line, into the node's log. It
// is bounded in lines, bytes and memory. go-plugin's own reader isn't used: a line of JSON that has
// a number for its message makes it panic, and the node with it.
type sink struct {
	ctx     context.Context // of the process; when it ends nothing is waited for
	log     hclog.Logger
	dropped *atomic.Uint64 // lines, over all processes of the plugin
	lines   *rate.Limiter
	bytes   *rate.Limiter

	mu      sync.Mutex
	unsaid  uint64    // dropped lines that the log doesn't mention yet
	said    time.Time // when it did last
	panicky bool      // the lines that follow belong to a crash
	crash   string    // the first line of a crash of a Go program
	last    []string  // of standard error, for a reason
}

func newSink(ctx context.Context, log hclog.Logger, dropped *atomic.Uint64) *sink {
	return &sink{
		ctx: ctx, log: log, dropped: dropped,
		lines: rate.NewLimiter(linesPerSecond, linesBurst),
		bytes: rate.NewLimiter(bytesPerSecond, bytesBurst),
	}
}

// drain reads a stream to its end. keep says whether its lines may say why the
// process ended.
func (s *sink) drain(r io.Reader, keep bool) {
	b := bufio.NewReaderSize(r, maxLine)
	continued := false
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			s.pace(len(line))
			if !continued { // what is beyond maxLine is left out
				s.line(bytes.TrimRight(line, "\r\n"), keep)
			}
		}
		continued = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !continued {
			return
		}
	}
}

// pace has a plugin wait that writes more than anybody could read.
func (s *sink) pace(n int) {
	_ = s.bytes.WaitN(s.ctx, n) // at the process's end nothing is waited for
}

// line passes a line on, or drops it.
func (s *sink) line(line []byte, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep {
		s.remember(line)
	}
	if !s.lines.Allow() {
		s.dropped.Add(1)
		s.unsaid++
		return
	}
	if time.Since(s.said) >= sayEvery {
		s.sayDropped()
	}
	if len(line) == 0 {
		return
	}
	if line[0] == '{' && s.structured(line) {
		return
	}
	s.plain(string(line))
}

func (s *sink) sayDropped() {
	if s.unsaid > 0 {
		s.log.Warn("plugin writes too much: lines were left out of the log", "lines", s.unsaid)
		s.unsaid, s.said = 0, time.Now()
	}
}

// remember keeps the end of standard error.
func (s *sink) remember(line []byte) {
	if len(line) == 0 {
		return
	}
	if text := string(line[:min(len(line), maxShownLine)]); s.crash == "" && isPanic(text) {
		s.crash = text
	}
	if len(s.last) == lastLines {
		s.last = s.last[1:]
	}
	s.last = append(s.last, string(line[:min(len(line), maxShownLine)]))
}

// words are the end of standard error for a reason, in one line.
func (s *sink) words() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crash != "" { // the stack that follows is for the log
		return printable(s.crash, maxShownLine)
	}
	lines := make([]string, 0, len(s.last))
	for _, line := range s.last {
		if text := said(line); text != "" {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, " | ")
}

// isPanic says whether a line begins the report of a crash of a Go program.
func isPanic(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// said is the text of a line, also of one of JSON.
func said(line string) string {
	var entry map[string]any
	if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &entry) == nil {
		if level, _ := entry["@level"].(string); hclog.LevelFromString(level) < hclog.Warn {
			return "" // go-plugin's own chatter, mostly
		}
		if text, ok := entry["@message"].(string); ok {
			if err, ok := entry["error"].(string); ok {
				text += ": " + err
			}
			return printable(text, maxShownLine)
		}
	}
	return printable(line, maxShownLine)
}

// structured passes on a line of hclog's JSON; false: it isn't one.
func (s *sink) structured(line []byte) bool {
	var entry map[string]any
	if json.Unmarshal(line, &entry) != nil {
		return false
	}
	message, ok := entry["@message"].(string)
	if !ok {
		return false
	}
	levelName, _ := entry["@level"].(string) // absent or no string: no level
	level := hclog.LevelFromString(levelName)
	if level == hclog.NoLevel {
		level = hclog.Debug
	}
	log := s.log
	if module, ok := entry["@module"].(string); ok && module != "" {
		log = log.With("module", printable(module, 100))
	}
	var facts []any
	for _, key := range slices.Sorted(maps.Keys(entry)) {
		if !strings.HasPrefix(key, "@") && len(facts) < 2*maxShown {
			facts = append(facts, printable(key, 100), fact(entry[key]))
		}
	}
	log.Log(level, printable(message, maxMessage), facts...)
	return true
}

// fact is a value of a log line, as text where it isn't simple.
func fact(v any) any {
	switch v := v.(type) {
	case string:
		return printable(v, maxMessage)
	case bool, float64, nil:
		return v
	}
	return printable(fmt.Sprint(v), maxMessage)
}

// plain passes on a line of text: that of a crash as an error, others by the level that they
// begin with.
func (s *sink) plain(line string) {
	text := printable(line, maxMessage)
	if isPanic(line) || strings.HasPrefix(line, "Traceback (most recent call last)") {
		s.panicky = true
	}
	level := hclog.Info
	for _, prefixed := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if rest, ok := strings.CutPrefix(text, "["+strings.ToUpper(prefixed.String())+"]"); ok {
			level, text = prefixed, strings.TrimSpace(rest)
			break
		}
	}
	if s.panicky {
		level = hclog.Error
	}
	s.log.Log(level, text)
}

// flush says what was dropped last.
func (s *sink) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sayDropped()
}

// writer takes the chunks in which go-plugin passes on what a plugin prints.
func (s *sink) writer() io.Writer { return &chunks{sink: s} }

// chunks makes lines of chunks. It is written to by one goroutine at a time.
type chunks struct {
	sink    *sink
	partial []byte
}

// Write implements io.Writer; it never fails.
func (c *chunks) Write(p []byte) (int, error) {
	n := len(p)
	c.sink.pace(min(n, bytesBurst))
	for {
		line, rest, found := bytes.Cut(p, []byte("\n"))
		if room := maxLine - len(c.partial); room > 0 {
			c.partial = append(c.partial, line[:min(len(line), room)]...)
		}
		if !found {
			return n, nil
		}
		c.sink.line(c.partial, false)
		c.partial, p = c.partial[:0], rest
	}
}

// handshake is a program's first line, which says where it listens. The reader
// waits for it and then ends.
type handshake struct {
	ready chan struct{}
	line  bytes.Reader
}

func newHandshake() *handshake { return &handshake{ready: make(chan struct{})} }

// take reads the first line and passes it on, then leaves the rest to the log.
func (h *handshake) take(r io.Reader, rest *sink) {
	b := bufio.NewReaderSize(r, 64<<10)
	line, err := b.ReadSlice('\n')
	h.line.Reset(slices.Clone(line))
	close(h.ready)
	if err == nil || errors.Is(err, bufio.ErrBufferFull) {
		rest.drain(b, false)
	}
}

// Read implements io.Reader.
func (h *handshake) Read(p []byte) (int, error) {
	<-h.ready
	return h.line.Read(p)
}

// Close implements io.Closer.
func (h *handshake) Close() error { return nil }

// exitGrace is how long what an ended process wrote may take to be read; a child
// of it may hold the pipe open for ever.
const exitGrace = 2 * time.Second
