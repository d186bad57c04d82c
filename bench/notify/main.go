// Command notify measures how fast changes leave a node: it builds the server and
// its notifiers, starts them as an operator would, with receivers on loopback, and
// prints a table of figures beside their budgets. A figure on a machine that does
// something else at the same time says little.
//
//	go run ./bench/notify                    all of it, in about half a minute
//	go run ./bench/notify -run zeromq -rate 5000 -duration 10s
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

// options are what the command line says.
type options struct {
	run      *regexp.Regexp
	rate     int           // writes a second, where latency is measured
	duration time.Duration // of a measurement of latency
	changes  int           // where throughput is measured
	dir      string        // of the data; empty: the system's temporary folder
}

var scenarios = []struct {
	name string
	run  func(ctx context.Context, b *bench) error
}{
	{"zeromq", zeromq},
	{"webhook", webhook},
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == subscriberArg {
		exit(subscriber(os.Args[2], os.Stdin, os.Stdout))
	}
	var o options
	var run string
	flag.StringVar(&run, "run", ".", "measure what matches this regular expression: zeromq, webhook")
	flag.IntVar(&o.rate, "rate", 5000, "writes a second, where latency is measured")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "length of a measurement of latency")
	flag.IntVar(&o.changes, "changes", 100_000, "number of changes, where throughput is measured")
	flag.StringVar(&o.dir, "dir", "", "folder for the data: the disk that is measured")
	flag.Parse()
	var err error
	if o.run, err = regexp.Compile(run); err != nil {
		exit(fmt.Errorf("-run: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(measure(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "notify:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func measure(ctx context.Context, o options, out io.Writer) (err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, s := range scenarios {
		if !o.run.MatchString(s.name) {
			continue
		}
		b.scenario = s.name
		if err := s.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return table(out, b.figures)
}

// figure is one line of the table.
type figure struct {
	scenario, what, value string
	budget                string // empty: none
	met                   bool
}

func table(out io.Writer, figures []figure) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "measurement\tfigure\tvalue\tbudget\t")
	for _, f := range figures {
		verdict := ""
		switch {
		case f.budget != "" && f.met:
			verdict = "met"
		case f.budget != "":
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.scenario, f.what, f.value, f.budget, verdict)
	}
	return w.Flush()
}

// latencies adds quantiles to the table; a budget of 0 is none.
func (b *bench) latencies(what string, d []time.Duration, p50, p99 time.Duration) {
	slices.Sort(d)
	add := func(name string, q float64, budget time.Duration) {
		if len(d) == 0 {
			return
		}
		v := d[min(len(d)-1, int(q*float64(len(d))))]
		f := figure{scenario: b.scenario, what: what + " " + name, value: v.Round(time.Microsecond).String()}
		if budget > 0 {
			f.budget, f.met = "< "+budget.String(), v < budget
		}
		b.figures = append(b.figures, f)
	}
	add("p50", 0.5, p50)
	add("p99", 0.99, p99)
	add("p99.9", 0.999, 0)
}

func (b *bench) figure(what, value string) {
	b.figures = append(b.figures, figure{scenario: b.scenario, what: what, value: value})
}
