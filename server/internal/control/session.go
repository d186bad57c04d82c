package control

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/topology"
)

// maxReported bounds the namespaces that one relayer may report of, and maxName their names, in bytes.
const (
	maxReported = 1 << 14
	maxName     = 64
)

// session is one relayer's, at the hub. Its stream has one goroutine that receives and one that sends,
// so that the third, the handler's, can end both whatever the other end does.
type session struct {
	desk   *Desk
	stream dbv1.Control_AttendServer
	remote string
	since  time.Time
	claim  claim

	ctx    context.Context
	cancel context.CancelCauseFunc
	hello  chan *dbv1.RelayerHello
	// looks says that the assignment may have changed. It has room for one.
	looks chan struct{}
	// floor is the index below which no state is good enough to make an assignment of.
	floor  atomic.Uint64
	joined uint64 // an index at which the group knew the relayer; 0: it was known here
	// greeted says that the hub's hello is due or was said: only then reports are taken.
	greeted atomic.Bool

	mu      sync.Mutex
	reports map[string]*dbv1.NamespaceReport // by name; what they point to isn't changed
	sent    uint64                           // index of the newest assignment that was sent
}

func newSession(d *Desk, stream dbv1.Control_AttendServer) *session {
	s := &session{
		desk: d, stream: stream, since: d.o.Clock(), hello: make(chan *dbv1.RelayerHello, 1), looks: make(chan struct{}, 1),
		reports: map[string]*dbv1.NamespaceReport{},
	}
	s.ctx, s.cancel = context.WithCancelCause(stream.Context())
	return s
}

func (s *session) id() string { return s.claim.relayer.ID }

// run is the session from its hello to its end.
func (s *session) run() {
	defer s.cancel(nil)
	defer context.AfterFunc(s.desk.ctx, func() { s.cancel(context.Cause(s.desk.ctx)) })()
	cert, remote := s.desk.o.PeerOf(s.ctx)
	if remote != nil {
		s.remote = remote.String()
	}
	s.desk.wg.Go(s.receive)
	hello, err := s.awaitHello()
	if err == nil {
		s.claim, err = s.desk.claimOf(hello, cert)
	}
	if err == nil {
		s.joined, err = s.desk.admit(s.ctx, s.claim)
	}
	if err != nil {
		s.refuse(asRefusal(err), acl.Refusal{Remote: remote, Identity: identityOf(cert, hello)})
		return
	}
	s.attend()
}

// attend serves a relayer that was let in.
func (s *session) attend() {
	log := s.desk.o.Logger.With("relayer", s.id(), "remote", s.remote)
	s.floor.Store(max(s.joined, s.claim.hello.GetAssignmentIndex()))
	s.greeted.Store(true)
	s.desk.register(s)
	defer s.desk.unregister(s)
	log.Info("relayer attends")
	s.desk.wg.Go(s.settle)
	parted := make(chan struct{})
	s.desk.wg.Go(func() {
		defer close(parted)
		s.cancel(s.send())
	})
	<-s.ctx.Done()
	s.part(parted)
	log.Info("relayer left", "reason", context.Cause(s.ctx))
}

// part gives the sending goroutine a moment to say why the session ends.
func (s *session) part(parted <-chan struct{}) {
	grace := time.NewTimer(partingGrace)
	defer grace.Stop()
	select {
	case <-parted:
	case <-s.stream.Context().Done():
	case <-grace.C:
	}
}

// awaitHello waits for what the relayer says first.
func (s *session) awaitHello() (*dbv1.RelayerHello, error) {
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case h := <-s.hello:
		return h, nil
	case <-timeout.C:
		return nil, refuseForNow(CodeInvalidMessage, "no hello came within %v", helloTimeout)
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

// refuse tells a relayer why it isn't let in, and the log.
func (s *session) refuse(r *Refusal, note acl.Refusal) {
	if s.stream.Context().Err() != nil {
		return // nobody is there to hear it
	}
	note.Reason = r.Reason
	if !r.Retryable {
		s.desk.o.Refusals.Note(note)
	}
	parted := make(chan struct{})
	s.desk.wg.Go(func() {
		defer close(parted)
		_ = s.stream.Send(r.message()) // it left, or has heard it
	})
	s.part(parted)
}

// receive takes what the relayer says, until the stream ends.
func (s *session) receive() {
	silence := time.AfterFunc(helloTimeout+groupTimeout+silencePatience, func() {
		s.cancel(refuseForNow(CodeSilent, "the relayer has said nothing for %v", silencePatience))
	})
	defer silence.Stop()
	said := false
	for {
		m, err := s.stream.Recv()
		if err != nil {
			s.cancel(streamEnd(err))
			return
		}
		silence.Reset(silencePatience)
		switch body := m.GetBody().(type) {
		case *dbv1.RelayerMessage_Hello:
			if said {
				s.cancel(refuse(CodeInvalidMessage, "a second hello came in the same session"))
				return
			}
			said = true
			s.hello <- body.Hello
		case *dbv1.RelayerMessage_Report:
			if err := s.report(body.Report); err != nil {
				s.cancel(err)
				return
			}
		}
	}
}

// streamEnd says in words that the other end has left.
func streamEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("it said goodbye")
	}
	return err
}

// report takes in what has changed on the relayer.
func (s *session) report(r *dbv1.RelayerReport) error {
	if !s.greeted.Load() {
		return refuse(CodeInvalidMessage, "a report came before the hub's hello")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range r.GetGone() {
		delete(s.reports, name)
	}
	for _, ns := range r.GetNamespaces() {
		if len(ns.GetName()) > maxName {
			return refuse(CodeInvalidMessage, "a report of a namespace whose name has %d bytes", len(ns.GetName()))
		}
		s.reports[ns.GetName()] = bounded(ns)
	}
	if len(s.reports) > maxReported {
		return refuse(CodeInvalidMessage, "reports of more than %d namespaces", maxReported)
	}
	return nil
}

// status is the session as others see it.
func (s *session) status() *dbv1.RelayerSession {
	st := &dbv1.RelayerSession{
		NodeId: s.id(), InstanceId: s.claim.relayer.Instance, Version: clip(s.claim.hello.GetVersion(), maxCodeLen),
		Advertise: clip(s.claim.relayer.Advertise, maxReasonLen), Remote: s.remote, SinceUnixMs: s.since.UnixMilli(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.SentIndex = s.sent
	st.Namespaces = make([]*dbv1.NamespaceReport, 0, len(s.reports))
	for _, r := range s.reports {
		st.Namespaces = append(st.Namespaces, r)
	}
	sortReports(st.Namespaces)
	return st
}

// look has the session look whether its assignment has changed.
func (s *session) look() {
	select {
	case s.looks <- struct{}{}:
	default: // it will
	}
}

// waits says whether a state is the first one that is good enough for the session.
func (s *session) waits(before, next *topology.State) bool {
	floor := s.floor.Load()
	return before.Index < floor && next.Index >= floor
}

// removedFrom says whether the group has forgotten the relayer. A state from before it joined
// says nothing.
func (s *session) removedFrom(st *topology.State) bool {
	if st.Index < s.joined {
		return false
	}
	r := st.Relayers[s.id()]
	return r == nil || r.Instance != s.claim.relayer.Instance
}
