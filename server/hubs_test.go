package server_test

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcstatus "google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/servertest"
)

// TestOnlyHubsCallHubs: who holds a certificate of the same authority and is no hub gets no answer to
// what hubs ask each other, and nothing through it.
func TestOnlyHubsCallHubs(t *testing.T) {
	ca := certstest.NewCA(t, "ca")
	hub := servertest.SecureHub(t, ca, "hub", "default")
	hub.Put("default", "k", "v")
	for _, tt := range []struct {
		kind acl.Kind
		want codes.Code
	}{{acl.Hub, codes.OK}, {acl.Relayer, codes.PermissionDenied}, {acl.Client, codes.PermissionDenied}} {
		conn, err := grpc.NewClient("passthrough:///"+hub.Addresses().GRPC, grpc.WithTransportCredentials(credentials.NewTLS(ca.Client(ca.Node(tt.kind, "x")))))
		if err != nil {
			t.Fatal(err)
		}
		client := dbv1.NewHubsClient(conn)
		_, errObserve := client.Observe(t.Context(), &dbv1.ObserveRequest{})
		_, errPropose := client.Propose(t.Context(), &dbv1.ProposeRequest{})
		_, errIndex := client.ReadIndex(t.Context(), &dbv1.ReadIndexRequest{})
		errForward := forwardOne(t, client, http.MethodDelete, "/api/v1/default/kv/k")
		for name, err := range map[string]error{"Observe": errObserve, "Propose": errPropose, "ReadIndex": errIndex, "Forward": errForward} {
			if got := grpcstatus.Code(err); got != tt.want {
				t.Errorf("%s by a %s: %v", name, tt.kind, err)
			}
			if tt.want != codes.OK && !strings.Contains(grpcstatus.Convert(err).Message(), `that of `+string(tt.kind)+` "x"`) {
				t.Errorf("%s by a %s: %v", name, tt.kind, err)
			}
		}
		if tt.want != codes.OK {
			for name, err := range map[string]error{
				"Join":  errOf(client.Join(t.Context(), &dbv1.JoinRequest{Member: &dbv1.Member{Id: "x", Instance: "i"}})),
				"Leave": errOf(client.Leave(t.Context(), &dbv1.LeaveRequest{Id: "hub"})),
			} {
				if grpcstatus.Code(err) != codes.PermissionDenied {
					t.Errorf("%s by a %s: %v", name, tt.kind, err)
				}
			}
			if _, found := hub.Get("default", "k", ""); !found && tt.kind != acl.Hub {
				t.Errorf("a %s has written", tt.kind)
			}
		} else {
			hub.Put("default", "k", "v") // which the hub has deleted
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// forwardOne passes a request without a body on, as a hub does.
func forwardOne(t *testing.T, client dbv1.HubsClient, method, target string) error {
	t.Helper()
	stream, err := client.Forward(t.Context())
	if err != nil {
		return err
	}
	head := &dbv1.ForwardHead{Method: method, Target: target, From: "x"}
	_ = stream.Send(&dbv1.ForwardRequest{Body: &dbv1.ForwardRequest_Head{Head: head}}) // Recv says why it failed
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if m.GetHead() != nil {
			if got := m.GetHead().GetStatus(); got != http.StatusOK {
				t.Errorf("it was answered %d", got)
			}
			return nil
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
	}
}
