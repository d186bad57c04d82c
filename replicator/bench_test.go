package replicator_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// cannedLog has n records of 1 KiB to read, in pieces of 64 KiB, as a log in
// the page cache has them.
type cannedLog struct {
	unused
	replicatortest.NoSnapshots
	replicatortest.NoStages
	pieces [][]byte
	n      uint64
}

const cannedPiece = 64

func newCannedLog(n uint64) *cannedLog {
	l := &cannedLog{n: n}
	for lsn := uint64(1); lsn <= n; lsn += cannedPiece {
		var piece []byte
		for i := range uint64(cannedPiece) {
			piece = append(piece, replicatortest.Record(lsn+i, 1, make([]byte, 1000))...)
		}
		l.pieces = append(l.pieces, piece)
	}
	return l
}

func (l *cannedLog) Open(string) (replicator.Log, error) { return l, nil }

func (l *cannedLog) Status() dbkernel.Status {
	return dbkernel.Status{Lineage: lineage, LSN: l.n, DurableLSN: l.n, CommitLSN: l.n, FirstLSN: 1}
}

func (l *cannedLog) EpochTable() []dbkernel.EpochStart {
	return []dbkernel.EpochStart{{Epoch: 1, FirstLSN: 1, Bits: 1}}
}

func (l *cannedLog) Tail(string, uint64) (replicator.Reader, error) {
	return &cannedReader{log: l}, nil
}

type cannedReader struct {
	log *cannedLog
	at  int
}

func (r *cannedReader) Next(ctx context.Context, maxBytes int) (dbkernel.Run, error) {
	if r.at == len(r.log.pieces) {
		<-ctx.Done()
		return dbkernel.Run{}, ctx.Err()
	}
	run := dbkernel.Run{First: uint64(r.at)*cannedPiece + 1, Commit: r.log.n}
	for r.at < len(r.log.pieces) && run.Bytes < maxBytes {
		run.Records = append(run.Records, r.log.pieces[r.at])
		run.Bytes += len(r.log.pieces[r.at])
		r.at++
	}
	run.Last = uint64(r.at) * cannedPiece
	return run, nil
}

func (*cannedReader) Ack(uint64) {}
func (*cannedReader) Close()     {}

// unused are the methods of a log that a benchmark doesn't call.
type unused struct{ replicator.Log }

// blindLog takes records and keeps none.
type blindLog struct {
	unused
	replicatortest.NoSnapshots
	replicatortest.NoStages
	lsn  atomic.Uint64
	want uint64
	done chan struct{}
}

func (l *blindLog) Open(string) (replicator.Log, error) { return l, nil }

func (l *blindLog) Status() dbkernel.Status {
	lsn := l.lsn.Load()
	return dbkernel.Status{Lineage: lineage, LSN: lsn, DurableLSN: lsn, CommitLSN: lsn}
}

func (l *blindLog) EpochTable() []dbkernel.EpochStart {
	if l.lsn.Load() == 0 {
		return nil
	}
	return []dbkernel.EpochStart{{Epoch: 1, FirstLSN: 1, Bits: 1}}
}

func (l *blindLog) Append(_ context.Context, records [][]byte, _ uint64) error {
	if l.lsn.Add(uint64(len(records))) == l.want {
		close(l.done)
	}
	return nil
}

func (l *blindLog) SetCommit(uint64) {}

// BenchmarkCatchUp streams 1 KiB records over TCP on loopback to one follower that
// checks them and keeps nothing: what the protocol itself costs, both ends on this machine.
func BenchmarkCatchUp(b *testing.B) {
	const records = 64 << 10
	source := newCannedLog(records)
	b.SetBytes(records * int64(len(source.pieces[0])/cannedPiece))
	for b.Loop() {
		catchUp(b, source)
	}
}

func catchUp(b *testing.B, source *cannedLog) {
	s := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: source})
	server := grpc.NewServer(replicator.ServerOptions()...)
	dbv1.RegisterReplicationServer(server, replicator.NewService(s, replicator.NewAcceptor(replicator.AcceptorOptions{})))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	sink := &blindLog{want: source.n, done: make(chan struct{})}
	u, err := replicator.NewUpstream(replicator.UpstreamOptions{
		Name: "up", NodeID: "edge", Addresses: []string{l.Addr().String()}, Namespaces: []string{ns}, Store: sink,
	})
	if err != nil {
		b.Fatal(err)
	}
	u.Start()
	<-sink.done
	if err := u.Close(); err != nil {
		b.Error(err)
	}
	server.Stop()
	s.Close()
	if err := <-served; err != nil {
		b.Error(err)
	}
}
