package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// order is what the relayers' process is told, once. It ends when it can't read more.
type order struct {
	Address  string
	Relayers int
	Groups   int // labels group=0, 1, … go round
}

// change is what one relayer hears at one moment.
type change struct {
	Relayer int
	Nanos   int64 // Unix time
	Added   []string
	Removed []string
	First   bool // its first assignment
	Error   string
}

// attend runs the sessions of relayers that do nothing but report, and prints what they hear.
func attend(in io.Reader, out io.Writer) error {
	commands := json.NewDecoder(in)
	var o order
	if err := commands.Decode(&o); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // the first process has nothing to measure
		}
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	heard := make(chan change, 1<<16)
	var sessions, printing sync.WaitGroup
	for i := range o.Relayers {
		sessions.Go(func() {
			if err := session(ctx, o, i, heard); err != nil && ctx.Err() == nil {
				heard <- change{Relayer: i, Error: err.Error()}
			}
		})
	}
	failed := make(chan error, 1)
	printing.Go(func() {
		enc := json.NewEncoder(out)
		for c := range heard {
			if err := enc.Encode(c); err != nil {
				select {
				case failed <- err:
				default: // the first one says it
				}
			}
		}
	})
	var more order
	err := commands.Decode(&more)
	cancel()
	sessions.Wait()
	close(heard)
	printing.Wait()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func relayerID(i int) string { return fmt.Sprintf("edge-%04d", i) }

// session is one relayer's.
func session(ctx context.Context, o order, i int, heard chan<- change) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+o.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	stream, err := dbv1.NewControlClient(conn).Attend(ctx)
	if err != nil {
		return err
	}
	hello := &dbv1.RelayerHello{
		NodeId: relayerID(i), InstanceId: fmt.Sprintf("%032d", i), Version: "bench",
		Labels: map[string]string{"group": fmt.Sprint(i % o.Groups)},
	}
	if err := stream.Send(&dbv1.RelayerMessage{Body: &dbv1.RelayerMessage_Hello{Hello: hello}}); err != nil {
		return err
	}
	r := relayer{i: i, stream: stream, names: []string{}}
	var reporting sync.WaitGroup
	defer reporting.Wait()
	defer cancel()
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		switch body := m.GetBody().(type) {
		case *dbv1.HubMessage_Hello:
			reporting.Go(func() { r.report(ctx) })
		case *dbv1.HubMessage_Refused:
			return fmt.Errorf("%s: %s", body.Refused.GetCode(), body.Refused.GetReason())
		case *dbv1.HubMessage_Assignment:
			heard <- r.hear(body.Assignment)
		}
	}
}

// relayer is what one of them has.
type relayer struct {
	i      int
	stream dbv1.Control_AttendClient

	mu    sync.Mutex
	names []string // sorted
	told  bool     // an assignment came
	lsn   uint64
}

// hear takes an assignment.
func (r *relayer) hear(a *dbv1.Assignment) change {
	c := change{Relayer: r.i, Nanos: time.Now().UnixNano()}
	names := make([]string, len(a.GetNamespaces()))
	for i, ns := range a.GetNamespaces() {
		names[i] = ns.GetName()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.First, r.told = !r.told, true
	c.Added, c.Removed = without(names, r.names), without(r.names, names)
	r.names = names
	return c
}

// without are the names of a that aren't in b, which is sorted.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(name string) bool {
		_, found := slices.BinarySearch(b, name)
		return found
	})
}

// report says every second how a few busy and many idle namespaces do.
func (r *relayer) report(ctx context.Context) {
	const busy = 3
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		r.mu.Lock()
		r.lsn += 100
		report := &dbv1.RelayerReport{}
		for _, name := range r.names[:min(busy, len(r.names))] {
			report.Namespaces = append(report.Namespaces, &dbv1.NamespaceReport{
				Name: name, Role: "replica", State: "serving", Lsn: r.lsn, Upstream: "hub", Connected: true, LagKnown: true, LagRecords: 1, LagSeconds: 0.1,
			})
		}
		r.mu.Unlock()
		if r.stream.Send(&dbv1.RelayerMessage{Body: &dbv1.RelayerMessage_Report{Report: report}}) != nil {
			return // Recv says why
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
