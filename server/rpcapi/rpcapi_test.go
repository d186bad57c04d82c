package rpcapi

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endless is a store with one namespace, whose log never ends.
type endless struct {
	replicator.Log
	replicator.Store
}

func (s endless) Open(namespace string) (replicator.Log, error) {
	if namespace == "default" {
		return s, nil
	}
	return nil, dbkernel.ErrNamespaceNotFound
}

const endOfLog = 1 << 30

func (endless) Status() dbkernel.Status {
	return dbkernel.Status{Lineage: dbkernel.Lineage{1}, LSN: endOfLog, DurableLSN: endOfLog, CommitLSN: endOfLog, FirstLSN: 1}
}

func (endless) EpochTable() []dbkernel.EpochStart {
	return []dbkernel.EpochStart{{Epoch: 1, FirstLSN: 1, Bits: 1}}
}

func (endless) Tail(string, uint64) (replicator.Reader, error) { return &endlessReader{next: 1}, nil }

func (endless) Marks() []dbkernel.Mark { return nil }

func (endless) Integrity() dbkernel.Integrity { return dbkernel.Integrity{} }

func (endless) SnapshotCost() (logBytes, snapshotBytes int64) { return 0, endOfLog }

type endlessReader struct{ next uint64 }

// Next answers one record of 256 KiB.
func (r *endlessReader) Next(context.Context, int) (dbkernel.Run, error) {
	const size = 256 << 10
	b := make([]byte, size)
	b[2] = size >> 16 // its length, little-endian; nobody checks the rest here
	run := dbkernel.Run{First: r.next, Last: r.next, Bytes: size, Records: [][]byte{b}, Commit: endOfLog}
	r.next++
	return run, nil
}

func (*endlessReader) Ack(uint64) {}
func (*endlessReader) Close()     {}

// door runs test in virtual time with a server and a connection to it.
func door(t *testing.T, test func(t *testing.T, s *Server, conn *grpc.ClientConn)) {
	doorOf(t, endless{}, test)
}

func doorOf(t *testing.T, store replicator.Store, test func(t *testing.T, s *Server, conn *grpc.ClientConn)) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{NodeID: "hub", Store: store})
		l := bufconn.Listen(64 << 10)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		conn, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		test(t, s, conn)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		time.Sleep(time.Minute) // gRPC's own goroutines end
	})
}

func follow(t *testing.T, conn *grpc.ClientConn, namespace string) dbv1.Replication_FollowClient {
	t.Helper()
	stream, err := dbv1.NewReplicationClient(conn).Follow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello := &dbv1.SinkHello{ProtocolVersion: 1, MinProtocolVersion: 1, NodeId: "edge", Namespace: namespace}
	if err := stream.Send(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: hello}}); err != nil {
		t.Fatal(err)
	}
	return stream
}

func codeOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func TestHealthAndReflection(t *testing.T) {
	door(t, func(t *testing.T, s *Server, conn *grpc.ClientConn) {
		check := func(want healthv1.HealthCheckResponse_ServingStatus) {
			t.Helper()
			for _, service := range []string{"", "unisondb.db.v1.Replication"} {
				got, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
				if err != nil || got.GetStatus() != want {
					t.Errorf("%q: %v, %v", service, got, err)
				}
			}
		}
		check(healthv1.HealthCheckResponse_SERVING)
		s.SetServing(false)
		check(healthv1.HealthCheckResponse_NOT_SERVING)
		s.SetServing(true)
		check(healthv1.HealthCheckResponse_SERVING)

		stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, service := range m.GetListServicesResponse().GetService() {
			names = append(names, service.GetName())
		}
		if !slices.Contains(names, "unisondb.db.v1.Replication") || !slices.Contains(names, "grpc.health.v1.Health") {
			t.Errorf("services %v", names)
		}
	})
}

func TestErrorsCarryCodes(t *testing.T) {
	door(t, func(t *testing.T, _ *Server, conn *grpc.ClientConn) {
		stream := follow(t, conn, "other")
		m, err := stream.Recv()
		if err != nil || m.GetAnswer().GetRefused().GetCode() != replicator.CodeNamespaceNotFound {
			t.Errorf("%v, %v", m, err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.NotFound || codeOf(err) != replicator.CodeNamespaceNotFound {
			t.Errorf("%v", err)
		}
		offer, err := dbv1.NewReplicationClient(conn).Offer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := offer.Send(&dbv1.SourceMessage{Body: &dbv1.SourceMessage_Offer{Offer: &dbv1.SourceOffer{
			ProtocolVersion: 1, MinProtocolVersion: 1, NodeId: "edge", Namespace: "default"}}}); err != nil {
			t.Fatal(err)
		}
		if m, err := offer.Recv(); err != nil || m.GetRefused().GetCode() != replicator.CodeOfferRefused {
			t.Errorf("%v, %v", m, err)
		}
		if _, err := offer.Recv(); codeOf(err) != replicator.CodeOfferRefused {
			t.Errorf("%v", err)
		}
	})
}

// TestShutdown: a follower that doesn't read and a health watch hold the end up only for a
// moment, and both are told.
func TestShutdown(t *testing.T) {
	door(t, func(t *testing.T, s *Server, conn *grpc.ClientConn) {
		stalled := follow(t, conn, "default")
		watch, err := healthv1.NewHealthClient(conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if f := s.Followers(); len(f) != 1 || f[0].NodeID != "edge" || f[0].SentLSN == 0 || f[0].SentLSN > 64 {
			t.Errorf("followers %+v", f)
		}
		began := time.Now()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 2*shutdownGrace {
			t.Errorf("the shutdown took %v", d)
		}
		for err == nil {
			_, err = stalled.Recv()
		}
		if status.Code(err) != codes.Unavailable {
			t.Errorf("the stalled stream ended with %v", err)
		}
		if f := s.Followers(); len(f) != 0 {
			t.Errorf("followers %+v", f)
		}
	})
}

// TestShutdownAtOnce: a context that has ended doesn't take the moment for
// goodbyes away, and isn't an error by itself.
func TestShutdownAtOnce(t *testing.T) {
	door(t, func(t *testing.T, s *Server, conn *grpc.ClientConn) {
		follow(t, conn, "default")
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("%v", err)
		}
		if d := time.Since(began); d > 2*shutdownGrace {
			t.Errorf("the shutdown took %v", d)
		}
	})
}

// stuck is a store whose Open hangs until it is released.
type stuck struct {
	endless
	release chan struct{}
}

func (s *stuck) Open(namespace string) (replicator.Log, error) {
	<-s.release
	return s.endless.Open(namespace)
}

// TestShutdownHangs: what doesn't end is an error and not an endless wait.
func TestShutdownHangs(t *testing.T) {
	s := &stuck{}
	doorOf(t, s, func(t *testing.T, d *Server, conn *grpc.ClientConn) {
		s.release = make(chan struct{})
		follow(t, conn, "default")
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := d.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		close(s.release)
	})
}
