package control

import (
	"cmp"
	"context"
	"crypto/x509"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/rpcapi"
	"github.com/unisondb/unisondb/server/topology"
)

// DefaultHeartbeat is how often a hub says something at least, and a relayer reports.
const DefaultHeartbeat = time.Second

// Limits of how long a hub's end waits.
const (
	helloTimeout = 10 * time.Second // for the first message
	groupTimeout = 5 * time.Second  // for the group's answer while a relayer waits for its own
	// sendPatience is for a message that the relayer doesn't read. A slow link takes its time.
	sendPatience = 2 * time.Minute
	// silencePatience is for a relayer that says nothing; it promised a report a second.
	silencePatience = 30 * time.Second
	// partingGrace is for saying why a session ends to one who may not read.
	partingGrace = time.Second
	settleFirst  = 100 * time.Millisecond // between two attempts to tell the group
	settleMax    = 10 * time.Second
)

// DeskOptions configure a Desk. Zero fields that aren't required have defaults.
type DeskOptions struct {
	NodeID  string // of this hub; required
	Version string
	Group   Group // required
	// Secure says that the listener has TLS: a relayer then needs a certificate or a join
	// token. Otherwise it is who it says it is.
	Secure bool
	Logger hclog.Logger // silent by default
	// Refusals is told who was sent away; nil: the logger is.
	Refusals *acl.Refusals
	Clock    func() time.Time // time.Now
	// Heartbeat is how often the hub says something at least; 0: DefaultHeartbeat.
	Heartbeat time.Duration
	// PeerOf says who a call comes from; nil: rpcapi.PeerOf.
	PeerOf func(ctx context.Context) (cert *x509.Certificate, remote net.Addr)
}

// Desk is a hub's end of the sessions of relayers. It implements dbv1.ControlServer.
type Desk struct {
	dbv1.UnimplementedControlServer
	o      DeskOptions
	ctx    context.Context // ends with Interrupt
	cancel context.CancelCauseFunc

	// mu guards what is below it, and is taken with no other lock held.
	mu       sync.Mutex
	sessions map[string]*session // by the relayer's id
	wg       sync.WaitGroup
}

var errDeskClosed = refuseForNow(CodeShuttingDown, "the hub stops: attend another, or this one again in a moment")

// NewDesk makes a desk, which follows the group's state until Close.
func NewDesk(o DeskOptions) *Desk {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Refusals == nil {
		o.Refusals = acl.NewRefusals(o.Logger, o.Clock)
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = DefaultHeartbeat
	}
	if o.PeerOf == nil {
		o.PeerOf = rpcapi.PeerOf
	}
	d := &Desk{o: o, sessions: map[string]*session{}}
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	d.wg.Go(d.watch)
	return d
}

// Attend implements dbv1.ControlServer: it is a relayer's session.
func (d *Desk) Attend(stream dbv1.Control_AttendServer) error {
	s, err := d.enter(stream)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	defer d.wg.Done()
	s.run()
	return nil
}

// enter makes a session, which the desk waits for.
func (d *Desk) enter(stream dbv1.Control_AttendServer) (*session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return nil, errDeskClosed
	}
	d.wg.Add(1)
	return newSession(d, stream), nil
}

// register makes a session the one of its relayer. The one before, if there is one, ends: its
// connection broke unnoticed, or somebody copied a data directory.
func (d *Desk) register(s *session) {
	d.mu.Lock()
	before := d.sessions[s.id()]
	d.sessions[s.id()] = s
	d.mu.Unlock()
	if before != nil {
		before.cancel(refuse(CodeSessionReplaced, "relayer %q attends by a newer connection, from %s: if that is another process, its data directory is a copy of this one's: give it an empty one and a node_id of its own", s.id(), s.remote))
	}
}

// unregister forgets a session, unless a newer one has its place.
func (d *Desk) unregister(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[s.id()] == s {
		delete(d.sessions, s.id())
	}
}

// all are the sessions at the moment.
func (d *Desk) all() []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*session, 0, len(d.sessions))
	for _, s := range d.sessions {
		all = append(all, s)
	}
	return all
}

// Attending is how many relayers attend this hub.
func (d *Desk) Attending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions)
}

// Sessions says which relayers attend this hub and how they do, sorted by id.
func (d *Desk) Sessions() []*dbv1.RelayerSession {
	all := d.all()
	out := make([]*dbv1.RelayerSession, len(all))
	for i, s := range all {
		out[i] = s.status()
	}
	slices.SortFunc(out, func(a, b *dbv1.RelayerSession) int { return cmp.Compare(a.GetNodeId(), b.GetNodeId()) })
	return out
}

// Interrupt makes all sessions end; new ones are refused. It doesn't wait.
func (d *Desk) Interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel(errDeskClosed)
}

// Close ends all sessions and waits for what they left running. Streams whose
// other end doesn't read end with the gRPC server, which therefore is stopped before.
func (d *Desk) Close() {
	d.Interrupt()
	d.wg.Wait()
}

// watch tells the sessions of changes in the group's state.
func (d *Desk) watch() {
	before := d.o.Group.State()
	for {
		next, err := d.o.Group.Watch(d.ctx, before.Index)
		if err != nil { // the desk closes, or the group has stopped: sessions go on with what is known
			return
		}
		d.tell(before, next)
		before = next
	}
}

// tell ends the sessions of relayers that were removed, and has the others look
// at their assignment that a change may concern.
func (d *Desk) tell(before, next *topology.State) {
	touched, all := next.Touched(before)
	for _, s := range d.all() {
		switch {
		case s.removedFrom(next): // at once, also if it doesn't read
			s.cancel(removed(s.id()))
		case all || touched[s.id()] || s.waits(before, next):
			s.look()
		}
	}
}

// sleep waits, and says whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
