package rpcapi

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// TestNobodyIsServedUnasked: whatever a stream is for, it is asked first whether the node may have
// the namespace, also of one that isn't there: a stranger learns nothing of what is.
func TestNobodyIsServedUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan string, 10)
		s := New(Options{NodeID: "hub", Store: endless{}, Authorize: func(ctx context.Context, nodeID, namespace string) error {
			if cert, remote := PeerOf(ctx); cert != nil || remote == nil {
				t.Errorf("the peer is %v at %v", cert, remote)
			}
			asked <- nodeID + " " + namespace
			return errors.New("not for you")
		}})
		l := bufconn.Listen(64 << 10)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		conn, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		for purpose := range dbv1.Purpose_name {
			for _, namespace := range []string{"default", "absent"} {
				stream, err := dbv1.NewReplicationClient(conn).Follow(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				hello := &dbv1.SinkHello{
					ProtocolVersion: 1, MinProtocolVersion: 1, NodeId: "edge", Namespace: namespace, Purpose: dbv1.Purpose(purpose),
					Lineage: bytes.Repeat([]byte{1}, 16), Lsn: 5, Epochs: []*dbv1.EpochStart{{Epoch: 1, FirstLsn: 1, Bits: 1}},
				}
				switch hello.Purpose {
				case dbv1.Purpose_PURPOSE_DIGESTS:
					hello.DigestsLsn = 5
				case dbv1.Purpose_PURPOSE_REPAIR:
					hello.DigestsLsn, hello.RepairRanges = 5, []uint32{1}
				}
				if err := stream.Send(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: hello}}); err != nil {
					t.Fatal(err)
				}
				var refused *dbv1.Refused
				for err == nil {
					var m *dbv1.SourceMessage
					if m, err = stream.Recv(); err == nil {
						refused = m.GetAnswer().GetRefused()
					}
				}
				if refused.GetCode() != replicator.CodeForbidden || refused.GetRetryable() || refused.GetReason() != "not for you" ||
					status.Code(err) != codes.PermissionDenied || codeOf(err) != replicator.CodeForbidden {
					t.Errorf("%v of %q: %v, %v", hello.Purpose, namespace, refused, err)
				}
				select {
				case got := <-asked:
					if got != "edge "+namespace {
						t.Errorf("asked of %q", got)
					}
				default:
					t.Errorf("%v of %q: nobody was asked", hello.Purpose, namespace)
				}
			}
		}
		if err := errors.Join(conn.Close(), s.Shutdown(t.Context()), <-served); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // gRPC's own goroutines end; the time is virtual
	})
}
