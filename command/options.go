package command

import (
	"flag"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// readFlags are the flags of commands that read.
type readFlags struct {
	atLeast string
	wait    time.Duration
}

func (r *readFlags) define(fs *flag.FlagSet) {
	fs.StringVar(&r.atLeast, "at-least", "", "Answer from a state that includes this `position`, as a write printed it.")
	fs.DurationVar(&r.wait, "wait", 0, "How long to wait for -at-least, as a `duration`. Default: 5s.")
}

func (r *readFlags) options() ([]client.ReadOption, error) {
	var opts []client.ReadOption
	if r.atLeast != "" {
		p, err := client.ParsePosition(r.atLeast)
		if err != nil {
			return nil, usagef("-at-least=%s is no position: give it as a write printed it, <lineage>:<epoch>:<lsn>", r.atLeast)
		}
		opts = append(opts, client.AtLeast(p))
	}
	if r.wait != 0 {
		opts = append(opts, client.Wait(r.wait))
	}
	return opts, nil
}

// writeFlags are the flags of commands that write.
type writeFlags struct {
	ifVersion string
	ifExists  bool
	ifAbsent  bool
	acks      int
	wait      time.Duration
	ttl       time.Duration
}

// define defines the flags of every write.
func (w *writeFlags) define(fs *flag.FlagSet) {
	fs.StringVar(&w.ifVersion, "if-version", "", "Write only where the `version` is still this one.")
	fs.BoolVar(&w.ifExists, "if-exists", false, "Write only where something is there.")
	fs.IntVar(&w.acks, "acks", 0, "Return when this `number` of followers has it durably.")
	fs.DurationVar(&w.wait, "wait", 0, "How long to wait for -acks, as a `duration`. Default: 5s.")
}

// definePut defines the flags of a write that puts something there.
func (w *writeFlags) definePut(fs *flag.FlagSet) {
	w.define(fs)
	fs.BoolVar(&w.ifAbsent, "if-absent", false, "Write only where nothing is there.")
	fs.DurationVar(&w.ttl, "ttl", 0, "Expire after this `duration`, such as 30s or 24h. Default: never.")
}

func (w *writeFlags) options() ([]client.WriteOption, error) {
	var opts []client.WriteOption
	if w.ifVersion != "" {
		opts = append(opts, client.IfVersion(w.ifVersion))
	}
	if w.ifExists {
		opts = append(opts, client.IfExists())
	}
	if w.ifAbsent {
		opts = append(opts, client.IfAbsent())
	}
	if len(opts) > 1 {
		return nil, usagef("-if-version, -if-exists and -if-absent exclude each other: give one")
	}
	if w.ttl < 0 {
		return nil, usagef("-ttl=%v is in the past: give a positive duration", w.ttl)
	}
	if w.ttl > 0 {
		opts = append(opts, client.TTL(w.ttl))
	}
	if w.acks != 0 {
		opts = append(opts, client.Acks(w.acks))
	}
	if w.wait != 0 {
		opts = append(opts, client.Wait(w.wait))
	}
	return opts, nil
}

// listFlags are the flags of commands that list.
type listFlags struct {
	keyFlag
	readFlags
	prefix  string
	start   string
	end     string
	limit   int
	reverse bool
}

func (l *listFlags) define(fs *flag.FlagSet) {
	l.keyFlag.define(fs)
	l.readFlags.define(fs)
	fs.StringVar(&l.prefix, "prefix", "", "Only keys that begin with this `key`.")
	fs.StringVar(&l.start, "start", "", "Only this `key` and those above it.")
	fs.StringVar(&l.end, "end", "", "Only those below this `key`.")
	fs.IntVar(&l.limit, "limit", 0, "At most this `number`. Default: all.")
	fs.BoolVar(&l.reverse, "reverse", false, "The highest key first.")
}

func (l *listFlags) options() (client.ListOptions, []client.ReadOption, error) {
	o := client.ListOptions{Limit: l.limit, Reverse: l.reverse}
	if l.limit < 0 {
		return o, nil, usagef("-limit=%d is negative: give how many to list at most, or leave it out for all", l.limit)
	}
	for _, b := range []struct {
		arg string
		to  *[]byte
	}{{l.prefix, &o.Prefix}, {l.start, &o.Start}, {l.end, &o.End}} {
		var err error
		if *b.to, err = l.bound(b.arg); err != nil {
			return o, nil, err
		}
	}
	opts, err := l.readFlags.options()
	return o, opts, err
}
