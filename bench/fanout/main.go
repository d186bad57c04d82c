// Command fanout measures how replication spreads: a hub in this process, followers
// in a second one, two real relayers in a third, gRPC on loopback. It prints a table of
// figures beside their budgets, which are design ratios: a figure on a machine that does
// something else at the same time says little.
//
//	go run ./bench/fanout              all of it, in about five minutes
//	go run ./bench/fanout -run fan-out -security mtls -cpuprofile hub.prof
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/heap"
)

// options are what the command line says.
type options struct {
	run         *regexp.Regexp
	security    []string
	duration    time.Duration // of one measurement
	profile     string
	compression string
}

// scenario is one measurement; it is made once for each kind of security.
type scenario struct {
	name string
	run  func(ctx context.Context, b *bench) error
}

var scenarios = []scenario{
	{"fan-out 100 x 2000/s", fanOut{followers: 100, rate: 2000, visible: 20 * time.Millisecond}.run},
	{"fan-out 1000 x 100/s", fanOut{followers: 1000, rate: 100, visible: 100 * time.Millisecond}.run},
	{"catch-up", catchUp},
	{"memory", memory},
	{"stalled", stalled},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		exit(child(os.Stdin, os.Stdout))
	}
	var o options
	var run, security string
	flag.StringVar(&run, "run", ".", "measure what matches this regular expression")
	flag.StringVar(&security, "security", "plain,mtls", "plain, mtls or both")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "length of each measurement under load")
	flag.StringVar(&o.compression, "compression", replicator.CompressionZstd, "of the stream: zstd or none")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the hub to this file")
	flag.Parse()
	var err error
	if o.run, err = regexp.Compile(run); err != nil {
		exit(fmt.Errorf("-run: %w", err))
	}
	o.security = strings.Split(security, ",")
	heap.SetFloor(heap.MaxFloor) // as a hub does
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(measure(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fanout:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measure runs the scenarios that were asked for and prints what they found.
func measure(ctx context.Context, o options, out io.Writer) (err error) {
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var all []figure
	for _, security := range o.security {
		for _, s := range scenarios {
			if name := s.name + " " + security; !o.run.MatchString(name) {
				continue
			}
			figures, err := measureOne(ctx, o, s, security)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, security, err)
			}
			all = append(all, figures...)
		}
	}
	return table(out, all)
}

func measureOne(ctx context.Context, o options, s scenario, security string) (figures []figure, err error) {
	b, err := newBench(o, s.name, security)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	return b.figures, s.run(ctx, b)
}

// figure is one line of the table.
type figure struct {
	scenario, security string
	what               string
	value              string
	budget             string  // empty: none
	ratio              float64 // of the value to the budget; over 1 is over budget
}

// table prints figures.
func table(out io.Writer, figures []figure) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "measurement\tsecurity\tfigure\tvalue\tbudget\tof budget")
	for _, f := range figures {
		ratio := ""
		if f.budget != "" {
			ratio = fmt.Sprintf("%.2f", f.ratio)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.scenario, f.security, f.what, f.value, f.budget, ratio)
	}
	return w.Flush()
}

// childArg makes this program one that the bench has started.
const childArg = "child"

// child does what the bench says, line by line, until its input ends.
func child(in io.Reader, out io.Writer) error {
	// It stands for many machines, on each of which there is next to no garbage.
	debug.SetGCPercent(400)
	c := newChild()
	defer c.close()
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var cmd command
		if err := dec.Decode(&cmd); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		answer, err := c.do(cmd)
		if err != nil {
			answer.Error = err.Error()
		}
		if err := enc.Encode(answer); err != nil {
			return err
		}
	}
}

// quantile is the value below which a share of the sorted samples lies.
func quantile[T cmp.Ordered](sorted []T, q float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func sortedCopy(d []time.Duration) []time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d
}
