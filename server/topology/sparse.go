package topology

import (
	"fmt"

	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// sparse is the logger that Raft has: it says the same no more than once a minute, with how often
// it was so since. Raft writes several lines a second for each hub that is away; and what it takes
// for information is of use to who looks for something: the group says itself what it does.
type sparse struct {
	hclog.Logger
	said *sayings
}

// sayings are the lines of the last minute.
type sayings struct {
	mu  sync.Mutex
	all map[string]*saying
}

type saying struct {
	at    time.Time
	since int
}

const (
	sparseFor  = time.Minute
	maxSayings = 1024
)

func newSparse(l hclog.Logger) sparse {
	return sparse{l, &sayings{all: make(map[string]*saying)}}
}

// pass says whether a line is to be written, and how often it wasn't before.
func (s *sayings) pass(level hclog.Level, text string, args []any) (often int, ok bool) {
	key := fmt.Sprint(level, text, peerOf(args))
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.all[key]
	if old != nil && now.Sub(old.at) < sparseFor {
		old.since++
		return 0, false
	}
	if len(s.all) >= maxSayings {
		clear(s.all)
	}
	s.all[key] = &saying{at: now}
	if old != nil {
		often = old.since
	}
	return often, true
}

// peerOf is whom a line is about: other facts, as times, don't make it another line.
func peerOf(args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == "peer" || args[i] == "id" || args[i] == "from" {
			return fmt.Sprint(args[i+1])
		}
	}
	return ""
}

// Log implements hclog.Logger.
func (s sparse) Log(level hclog.Level, text string, args ...any) {
	if level <= hclog.Info {
		s.Logger.Log(min(level, hclog.Debug), text, args...)
		return
	}
	often, ok := s.said.pass(level, text, args)
	if !ok {
		return
	}
	if often > 0 {
		args = append(args[:len(args):len(args)], "times_since", often)
	}
	s.Logger.Log(level, text, args...)
}

// Info implements hclog.Logger.
func (s sparse) Info(text string, args ...any) { s.Log(hclog.Info, text, args...) }

// Warn implements hclog.Logger.
func (s sparse) Warn(text string, args ...any) { s.Log(hclog.Warn, text, args...) }

// Error implements hclog.Logger.
func (s sparse) Error(text string, args ...any) { s.Log(hclog.Error, text, args...) }

// With implements hclog.Logger.
func (s sparse) With(args ...any) hclog.Logger { return sparse{s.Logger.With(args...), s.said} }

// Named implements hclog.Logger.
func (s sparse) Named(name string) hclog.Logger { return sparse{s.Logger.Named(name), s.said} }

// ResetNamed implements hclog.Logger.
func (s sparse) ResetNamed(name string) hclog.Logger {
	return sparse{s.Logger.ResetNamed(name), s.said}
}
