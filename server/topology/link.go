package topology

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// link is the transport as Raft sees it. It notes on the way by what each follower has
// answered, which Raft tells nobody; names members, and not addresses alone, to the transport below;
// and lets a hub that needs nobody's vote elect itself at once.
type link struct {
	raft.Transport
	named bool // the transport below takes targets with the member's id
	rpcs  chan raft.RPC

	mu     sync.Mutex
	heard  map[raft.ServerID]heard
	closed bool // nothing more is started

	stop    chan struct{}
	stopped sync.Once
	wg      sync.WaitGroup
}

// heard is the newest answer of a follower.
type heard struct {
	at   time.Time
	last uint64 // index of its last entry
	// sent is when the newest message was sent that it has answered, in this term of Raft's.
	// What it had answered before a moment proves nothing about that moment, however late the answer is read.
	sent time.Time
	term uint64
}

func newLink(t raft.Transport) *link {
	_, named := t.(*network)
	return &link{Transport: t, named: named, rpcs: make(chan raft.RPC), heard: make(map[raft.ServerID]heard), stop: make(chan struct{})}
}

// serve passes on what other hubs ask, from here on until Close.
func (l *link) serve(in *intake) {
	l.wg.Go(func() {
		for {
			select {
			case rpc := <-l.Transport.Consumer():
				l.pass(in, rpc)
			case <-l.stop:
				return
			}
		}
	})
}

// pass has one question answered, before it returns: so what Raft has applied isn't less when it takes a
// question than when that was judged by it.
func (l *link) pass(in *intake, rpc raft.RPC) {
	if err := in.trim(); err != nil {
		rpc.Respond(nil, err)
		return
	}
	asked := raft.RPC{Command: rpc.Command, Reader: rpc.Reader}
	switch q := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		asked.Command = in.takable(q)
	case *raft.InstallSnapshotRequest:
		if in.has(q) {
			l.wg.Go(func() { in.skip(rpc, q) })
			return
		}
	}
	answers := make(chan raft.RPCResponse, 1)
	asked.RespChan = answers
	if !l.deliver(asked) {
		rpc.Respond(nil, raft.ErrTransportShutdown)
		return
	}
	a := in.finished(asked.Command, <-answers) // Raft answers whatever it has taken, also while it shuts down
	rpc.Respond(a.Response, a.Error)
}

func (l *link) deliver(rpc raft.RPC) bool {
	select {
	case l.rpcs <- rpc:
		return true
	case <-l.stop:
		return false
	}
}

// elect lets this hub hold an election now, instead of waiting for a leader that
// can't be there. How long anybody waits never matters to what is agreed on.
func (l *link) elect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return // Close waits for the last ones already
	}
	l.wg.Go(func() {
		now := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
		l.deliver(raft.RPC{Command: now, RespChan: make(chan raft.RPCResponse, 1)})
	})
}

// answered notes that a follower is there.
func (l *link) answered(id raft.ServerID, last, term uint64, sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.heard[id]
	if term < old.term || term == old.term && sent.Before(old.sent) {
		sent, term = old.sent, old.term
	}
	l.heard[id] = heard{at: time.Now(), last: max(last, old.last), sent: sent, term: term}
}

// forget drops what was heard: of another term it means nothing.
func (l *link) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.heard)
}

// of is the newest answer of a follower; its time is zero where there was none.
func (l *link) of(id raft.ServerID) heard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[id]
}

// to is how the transport below takes a member.
func (l *link) to(id raft.ServerID, address raft.ServerAddress) raft.ServerAddress {
	if l.named {
		return target(id, address)
	}
	return address
}

// target is an address together with the member that is to be there. A hub that was wiped
// has the address of the member that it was, and must not be taken for it.
func target(id raft.ServerID, address raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + "@" + address
}

// Consumer implements raft.Transport.
func (l *link) Consumer() <-chan raft.RPC { return l.rpcs }

// AppendEntriesPipeline implements raft.Transport. There is none: when Raft's reader of a pipeline's answers
// ends, on an answer that it can't use, its sender may wait for room that nobody makes any more, so that the
// follower gets nothing from then on and Shutdown hangs. The group's few changes travel in batches without it.
func (l *link) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport. Heartbeats come this way, too.
func (l *link) AppendEntries(id raft.ServerID, a raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	sent := time.Now()
	err := l.Transport.AppendEntries(id, l.to(id, a), args, resp)
	if err == nil && resp.Term <= args.Term {
		l.answered(id, max(resp.LastLog, taken(args, resp)), args.Term, sent)
	}
	return err
}

// taken is the last entry that a follower has by its answer. Its own word is from before it took these.
func taken(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) uint64 {
	if !resp.Success {
		return 0
	}
	return args.PrevLogEntry + uint64(len(args.Entries))
}

// RequestVote implements raft.Transport.
func (l *link) RequestVote(id raft.ServerID, a raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return l.Transport.RequestVote(id, l.to(id, a), args, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (l *link) RequestPreVote(id raft.ServerID, a raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	t, ok := l.Transport.(raft.WithPreVote)
	if !ok {
		return errors.New("the transport has no pre-vote")
	}
	return t.RequestPreVote(id, l.to(id, a), args, resp)
}

// InstallSnapshot implements raft.Transport.
func (l *link) InstallSnapshot(id raft.ServerID, a raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return l.Transport.InstallSnapshot(id, l.to(id, a), args, resp, data)
}

// TimeoutNow implements raft.Transport.
func (l *link) TimeoutNow(id raft.ServerID, a raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return l.Transport.TimeoutNow(id, l.to(id, a), args, resp)
}

// EncodePeer implements raft.Transport. Raft keeps what it answers as whom it has voted for, which has
// to tell a wiped hub from the one before it.
func (l *link) EncodePeer(id raft.ServerID, a raft.ServerAddress) []byte {
	return []byte(target(id, a))
}

// DecodePeer implements raft.Transport.
func (l *link) DecodePeer(b []byte) raft.ServerAddress {
	if at := bytes.IndexByte(b, '@'); at >= 0 {
		b = b[at+1:]
	}
	return raft.ServerAddress(b)
}

// Close implements raft.WithClose.
func (l *link) Close() error {
	var err error
	l.stopped.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.stop)
		if n, ok := l.Transport.(raft.WithClose); ok {
			err = n.Close()
		}
		l.wg.Wait()
	})
	return err
}
