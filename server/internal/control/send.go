package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// sender is the sending half of a session. It makes each assignment of the newest
// state at the moment when the relayer can take it, so that one who reads slowly skips what
// is overtaken, and the hub keeps nothing for it but the one message under way.
type sender struct {
	*session
	last   digest
	said   bool // an assignment was sent
	runs   []string
	blocks *time.Timer // ends the session when a message isn't taken for long
}

// send says hello, then each assignment that differs from the one before, and a heartbeat where there
// was nothing to say. It returns when the session ends; a *Refusal that this was for is told to the relayer.
func (s *session) send() error {
	out := sender{session: s, runs: slices.Clone(s.claim.hello.GetConfigured())}
	for _, owned := range s.claim.hello.GetOwned() {
		out.runs = append(out.runs, owned.GetName())
	}
	out.blocks = time.AfterFunc(sendPatience, func() {
		s.cancel(refuseForNow(CodeSlowReader, "relayer %q doesn't read what the hub says", s.id()))
	})
	defer out.blocks.Stop()
	err := out.loop()
	if r, ok := errors.AsType[*Refusal](err); ok {
		return errors.Join(err, out.say(r.message()))
	}
	return err
}

func (s *sender) loop() error {
	hub := s.desk.o
	err := s.say(&dbv1.HubMessage{Body: &dbv1.HubMessage_Hello{
		Hello: &dbv1.HubHello{NodeId: hub.NodeID, Cluster: hub.Group.State().Cluster, Version: hub.Version},
	}})
	beat := time.NewTicker(hub.Heartbeat)
	defer beat.Stop()
	s.look()
	for err == nil {
		select {
		case <-s.looks:
			err = s.assign()
		case <-beat.C:
			err = s.say(&dbv1.HubMessage{Body: &dbv1.HubMessage_Heartbeat{Heartbeat: &dbv1.HubHeartbeat{}}})
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
	return err
}

// say sends one message.
func (s *sender) say(m *dbv1.HubMessage) error {
	s.blocks.Reset(sendPatience)
	err := s.stream.Send(m)
	s.blocks.Stop()
	return err
}

// assign sends the assignment if it isn't the one that was sent last.
func (s *sender) assign() error {
	state := s.desk.o.Group.State()
	switch {
	case state.Index < s.floor.Load():
		return nil // the desk says when it is new enough
	case s.removedFrom(state):
		return removed(s.id())
	}
	a, sum, err := assignmentOf(state, s.id(), s.desk.o.NodeID, slices.Clone(s.runs))
	if err != nil || s.said && sum == s.last {
		return err
	}
	if size := proto.Size(a); size > replicator.MaxMessageBytes-1<<10 {
		return refuse(CodeInvalidMessage, "what relayer %q is assigned takes %d bytes, and one message holds %d: assign it fewer namespaces", s.id(), size, replicator.MaxMessageBytes-1<<10)
	}
	if err := s.say(&dbv1.HubMessage{Body: &dbv1.HubMessage_Assignment{Assignment: a}}); err != nil {
		return err
	}
	s.last, s.said = sum, true
	s.mu.Lock()
	s.sent = a.GetIndex()
	s.mu.Unlock()
	return nil
}
