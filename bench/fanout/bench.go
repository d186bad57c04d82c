package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

const (
	namespace  = "bench"
	valueBytes = 1 << 10
)

// bench is the hub of one measurement, and what it found.
type bench struct {
	options
	scenario, security string
	dir                string
	certs              *certificates // nil: plain TCP
	figures            []figure

	db       *dbkernel.DB
	ns       *dbkernel.Namespace
	source   *replicator.Source
	server   *grpc.Server
	address  string
	serving  sync.WaitGroup
	children []*process
}

func newBench(o options, scenario, security string) (_ *bench, err error) {
	b := &bench{options: o, scenario: scenario, security: security}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.dir, err = os.MkdirTemp("", "fanout-*"); err != nil {
		return nil, err
	}
	creds := insecure.NewCredentials()
	switch security {
	case "plain":
	case "mtls":
		if b.certs, err = newCertificates(b.dir); err != nil {
			return nil, err
		}
		if creds, err = b.certs.listening(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("security %q: use plain or mtls", security)
	}
	return b, b.open(creds)
}

func (b *bench) open(creds credentials.TransportCredentials) (err error) {
	if b.db, err = dbkernel.Open(dbkernel.Options{Dir: filepath.Join(b.dir, "hub")}); err != nil {
		return err
	}
	if b.ns, err = b.db.Create(namespace, dbkernel.Lineage{1}); err != nil {
		return err
	}
	b.source = replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: replicator.KernelStore(b.db), Compression: b.compression})
	b.server = grpc.NewServer(append(replicator.ServerOptions(), grpc.Creds(creds))...)
	dbv1.RegisterReplicationServer(b.server, replicator.NewService(b.source, replicator.NewAcceptor(replicator.AcceptorOptions{NodeID: "hub"})))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.address = l.Addr().String()
	b.serving.Go(func() {
		if err := b.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			fmt.Fprintln(os.Stderr, "fanout: serve:", err)
		}
	})
	return nil
}

func (b *bench) close() error {
	var errs []error
	for _, p := range b.children {
		errs = append(errs, p.stop())
	}
	if b.server != nil {
		b.source.Interrupt()
		b.server.Stop()
		b.serving.Wait()
		b.source.Close()
	}
	if b.db != nil {
		errs = append(errs, b.db.Close())
	}
	if b.certs != nil {
		b.certs.close()
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// found adds a figure. What is more than the budget is over it.
func (b *bench) found(what string, value, budget float64, unit string) {
	f := figure{scenario: b.scenario, security: b.security, what: what, value: fmt.Sprintf("%.4g %s", value, unit)}
	if budget > 0 {
		f.budget, f.ratio = fmt.Sprintf("%.4g %s", budget, unit), value/budget
	}
	b.figures = append(b.figures, f)
}

// atLeast is found for a figure that is to be at least the budget.
func (b *bench) atLeast(what string, value, budget float64, unit string) {
	b.found(what, value, budget, unit)
	f := &b.figures[len(b.figures)-1]
	f.budget, f.ratio = ">= "+f.budget, budget/max(value, 1e-9)
}

// process is a child that does what it is told.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// start makes a child.
func (b *bench) start() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self, childArg)}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.enc, p.dec = json.NewEncoder(p.in), json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	b.children = append(b.children, p)
	return p, nil
}

// do has the child do something.
func (p *process) do(c command) (a answer, err error) {
	if err := p.enc.Encode(c); err != nil {
		return a, fmt.Errorf("child: %w", err)
	}
	if err := p.dec.Decode(&a); err != nil {
		return a, fmt.Errorf("child: %w", err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("child: %s", a.Error)
	}
	return a, nil
}

// stop ends a child before the measurement does.
func (b *bench) stop(p *process) error {
	b.children = slices.DeleteFunc(b.children, func(c *process) bool { return c == p })
	return p.stop()
}

func (p *process) stop() error {
	if err := p.in.Close(); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// target says whom a child follows, and from where on.
func (b *bench) target() target {
	st := b.ns.Status()
	t := target{Address: b.address, Lineage: st.Lineage.String(), LSN: st.DurableLSN, Epochs: b.ns.EpochTable(), Compression: b.compression}
	if b.certs != nil {
		t.TLS = &b.certs.follower
	}
	return t
}

// load is what writing at an offered rate came to.
type load struct {
	took time.Duration
	puts []time.Duration
	cpu  time.Duration // of this process
}

// add adds what another time came to.
func (l *load) add(more load) {
	l.took, l.puts, l.cpu = l.took+more.took, append(l.puts, more.puts...), l.cpu+more.cpu
}

// write puts values at a rate for a time; each begins with a marker and the
// moment of the put. Writers are as many as it takes to keep the rate up.
func (b *bench) write(ctx context.Context, rate int, length time.Duration) (l load, err error) {
	const writers = 64
	work := make(chan struct{}, rate)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	cpu, began := cpuTime(), time.Now()
	for w := range writers {
		wg.Go(func() {
			puts, err := b.writer(ctx, uint64(w), work)
			mu.Lock()
			defer mu.Unlock()
			l.puts, failed = append(l.puts, puts...), errors.Join(failed, err)
		})
	}
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
		if due.Sub(began) >= length || ctx.Err() != nil {
			break
		}
		time.Sleep(time.Until(due))
		select {
		case work <- struct{}{}:
		default: // a second's work is waiting: this one is lost
		}
	}
	l.took = time.Since(began)
	close(work)
	wg.Wait()
	l.cpu = cpuTime() - cpu
	return l, errors.Join(failed, ctx.Err())
}

// writer puts one value for each token.
func (b *bench) writer(ctx context.Context, seed uint64, work <-chan struct{}) (puts []time.Duration, err error) {
	r := rand.New(rand.NewPCG(seed, 1))
	for range work {
		began := time.Now()
		var batch dbkernel.Batch
		if err := batch.Put(fmt.Appendf(nil, "key %06d", r.IntN(100_000)), stamped(r, began), 0); err != nil {
			return puts, err
		}
		if _, err := b.ns.Write(ctx, &batch); err != nil {
			return puts, err
		}
		puts = append(puts, time.Since(began))
	}
	return puts, nil
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// inUse is heap and stacks, once the garbage is gone and the stacks have shrunk,
// which takes a collection for each halving.
func inUse() int64 {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
