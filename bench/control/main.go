// Command control measures the control plane: a hub in this process, with as many
// namespaces and relayers as a large group has, and the relayers' sessions in a second one, gRPC on
// loopback. Operators' changes come by HTTP, as those of the CLI do. It prints how long a
// change takes to reach its relayer, and what all of that takes of memory and disk. A figure on a machine
// that does something else at the same time says little.
//
//	go run ./bench/control                    all of it, in about a minute
//	go run ./bench/control -relayers 100 -namespaces 100 -rate 500
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"syscall"
	"text/tabwriter"
	"time"
)

// relayersArg makes this program the second process.
const relayersArg = "relayers"

// options are what the command line says.
type options struct {
	relayers, namespaces int
	own                  int           // namespaces that each relayer is assigned by itself
	rate                 int           // changes a second
	duration             time.Duration // of the changes
	dir                  string        // for the hub's data; empty: the system's temporary folder
	profile              string        // file for a CPU profile of the hub while changes are made; empty: none
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == relayersArg {
		exit(attend(os.Stdin, os.Stdout))
	}
	var o options
	var run string
	flag.StringVar(&run, "run", ".", `measure if "control" matches this regular expression`)
	flag.IntVar(&o.relayers, "relayers", 1000, "number of relayers, a session each")
	flag.IntVar(&o.namespaces, "namespaces", 1000, "number of namespaces")
	flag.IntVar(&o.own, "own", 10, "namespaces that each relayer is assigned by itself, beside those by its labels")
	flag.IntVar(&o.rate, "rate", 100, "changes a second")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "for how long changes are made")
	flag.StringVar(&o.dir, "dir", "", "folder for the data: the disk that is measured")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the hub, while changes are made, to this file")
	flag.Parse()
	matches, err := regexp.MatchString(run, "control")
	if err != nil {
		exit(fmt.Errorf("-run: %w", err))
	}
	if !matches {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(measure(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "control:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measure runs the relayers in a second process and prints what comes of it.
func measure(ctx context.Context, o options, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	second := exec.Command(self, relayersArg)
	second.Stderr = os.Stderr
	second.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := second.StdinPipe()
	if err != nil {
		return err
	}
	heard, err := second.StdoutPipe()
	if err != nil {
		return err
	}
	if err := second.Start(); err != nil {
		return err
	}
	figures, err := bench(ctx, o, in, heard)
	_ = in.Close() // bench has done that, unless it failed before
	if err := errors.Join(err, second.Wait()); err != nil {
		return err
	}
	return table(out, figures)
}

// figure is one line of the table.
type figure struct {
	what, value string
	budget      string // empty: none
	met         bool
}

func table(out io.Writer, figures []figure) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "figure\tvalue\tbudget\t")
	for _, f := range figures {
		verdict := ""
		switch {
		case f.budget != "" && f.met:
			verdict = "met"
		case f.budget != "":
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.what, f.value, f.budget, verdict)
	}
	return w.Flush()
}
