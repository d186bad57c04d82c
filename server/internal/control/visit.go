package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Limits of how long a relayer's end waits.
const (
	// connectPatience is for a hub's hello where there are other hubs, and welcomePatience
	// where there are none: a hub asks its group before it lets a new relayer in.
	connectPatience = 5 * time.Second
	welcomePatience = 20 * time.Second
	// sessionWorth is how long a session is up that was worth something: a hub that lets
	// relayers in and loses them is tried more and more seldom.
	sessionWorth = 5 * time.Second

	// reportGap is between two reports at least, however much changes.
	reportGap = 100 * time.Millisecond

	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
)

// visit is one attempt to attend one hub, and the session that comes of it.
type visit struct {
	*Attendance
	address string
	ctx     context.Context
	cancel  context.CancelCauseFunc
	stream  dbv1.Control_AttendClient
	came    atomic.Int64 // bytes from the connection

	reported map[string]*dbv1.NamespaceReport // of the reporting goroutine: what the hub knows
}

// visit attends a hub until the session ends, and says whether it was worth something. The
// error is never nil.
func (a *Attendance) visit(address string) (worth bool, err error) {
	v := &visit{Attendance: a, address: address, reported: map[string]*dbv1.NamespaceReport{}}
	v.ctx, v.cancel = context.WithCancelCause(a.ctx)
	defer v.cancel(nil)
	conn, secure, err := v.connect()
	if err != nil {
		return false, refuseForNow(CodeUnavailable, "connecting to %s: %v", address, err).because(err)
	}
	defer func() { _ = conn.Close() }() // the session has ended
	began := time.Now()
	welcome := time.AfterFunc(v.patience(), func() {
		v.cancel(refuseForNow(CodeUnavailable, "no hub let this relayer in at %s within %v", address, v.patience()))
	})
	defer welcome.Stop()
	h, err := a.hello(secure)
	if err != nil {
		return false, err
	}
	if err := v.attend(conn, h, welcome); err != nil {
		return time.Since(began) >= sessionWorth, v.explain(err)
	}
	return time.Since(began) >= sessionWorth, refuseForNow(CodeUnavailable, "the hub at %s ended the session", address)
}

func (v *visit) patience() time.Duration {
	if len(v.o.Addresses)+len(v.Assignment().GetHubs()) > 1 {
		return connectPatience
	}
	return welcomePatience
}

// connect prepares the connection; it is made when the stream is. The address goes to the
// dialler as it is, so that a name is looked up again each time and no proxy comes between nodes.
func (v *visit) connect() (*grpc.ClientConn, bool, error) {
	creds := v.o.CredentialsOf(v.address)
	conn, err := grpc.NewClient("passthrough:///"+v.address,
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := v.o.Dial(ctx, address)
			if err != nil {
				return nil, err
			}
			return &counted{c, &v.came}, nil
		}),
		grpc.WithTransportCredentials(creds),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(replicator.MaxMessageBytes), grpc.MaxCallSendMsgSize(replicator.MaxMessageBytes)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	)
	return conn, creds.Info().SecurityProtocol == "tls", err
}

// attend says hello and takes what the hub says until the session ends. welcome is
// stopped once the hub has let the relayer in.
func (v *visit) attend(conn *grpc.ClientConn, h *dbv1.RelayerHello, welcome *time.Timer) (err error) {
	if v.stream, err = dbv1.NewControlClient(conn).Attend(v.ctx); err != nil {
		return err
	}
	if err := v.stream.Send(&dbv1.RelayerMessage{Body: &dbv1.RelayerMessage_Hello{Hello: h}}); err != nil && !errors.Is(err, io.EOF) {
		return err // at EOF the reason comes with Recv
	}
	reporting := make(chan struct{})
	defer func() {
		v.cancel(err)
		<-reporting
	}()
	if err = v.welcomed(); err != nil {
		close(reporting)
		return err
	}
	welcome.Stop()
	go func() {
		defer close(reporting)
		if err := v.report(); err != nil {
			v.cancel(err)
		}
	}()
	return v.listen()
}

// welcomed waits for the hub's hello.
func (v *visit) welcomed() error {
	for {
		m, err := v.stream.Recv()
		if err != nil {
			return err
		}
		switch body := m.GetBody().(type) {
		case *dbv1.HubMessage_Hello:
			return v.began(v.address, body.Hello)
		case *dbv1.HubMessage_Refused:
			return refusalFrom(body.Refused)
		case *dbv1.HubMessage_Assignment:
			return refuseForNow(CodeInvalidMessage, "the hub assigns before it says who it is")
		}
	}
}

// listen takes what the hub says until the session ends.
func (v *visit) listen() error {
	silence := watchSilence(&v.came, func() {
		v.cancel(refuseForNow(CodeSilent, "the hub at %s has said nothing for %v", v.address, hubPatience))
	})
	defer silence.pause()
	for {
		silence.wait()
		m, err := v.stream.Recv()
		silence.pause()
		if err != nil {
			return err
		}
		switch body := m.GetBody().(type) {
		case *dbv1.HubMessage_Assignment:
			if err := v.assigned(body.Assignment); err != nil {
				return err
			}
		case *dbv1.HubMessage_Refused:
			return refusalFrom(body.Refused)
		}
	}
}

// report tells the hub how the namespaces do, until the session ends.
func (v *visit) report() error {
	tick := time.NewTicker(v.o.Interval)
	defer tick.Stop()
	for {
		if err := v.stream.Send(&dbv1.RelayerMessage{Body: &dbv1.RelayerMessage_Report{Report: v.news()}}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-v.soon:
			if !sleep(v.ctx, reportGap) { // one report for all that changes together
				return nil
			}
			tick.Reset(v.o.Interval)
		case <-v.ctx.Done():
			return nil
		}
	}
}

// news is what of the namespaces isn't as the hub knows it.
func (v *visit) news() *dbv1.RelayerReport {
	r := &dbv1.RelayerReport{}
	gone := maps.Clone(v.reported)
	for _, ns := range v.o.Report() {
		name := ns.GetName()
		delete(gone, name)
		if before := v.reported[name]; before == nil || !proto.Equal(before, ns) {
			r.Namespaces = append(r.Namespaces, ns)
			v.reported[name] = ns
		}
	}
	for name := range gone {
		delete(v.reported, name)
	}
	r.Gone = slices.Sorted(maps.Keys(gone))
	return r
}

// explain says in words why a session ended.
func (v *visit) explain(err error) error {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	if r, ok := errors.AsType[*Refusal](context.Cause(v.ctx)); ok {
		return r
	}
	st := status.Convert(err)
	switch {
	case st.Code() == codes.Unimplemented:
		return refuse(CodeControlNotOffered, "what listens at %s assigns nothing: it is a relayer, or a hub of an older version", v.address).because(err)
	case errors.Is(err, io.EOF):
		return refuseForNow(CodeUnavailable, "the hub at %s ended the session", v.address).because(err)
	}
	return refuseForNow(CodeUnavailable, "%s: %s", v.address, clip(strings.TrimSpace(st.Message()), maxReasonLen)).because(fmt.Errorf("attending %s: %w", v.address, err))
}
