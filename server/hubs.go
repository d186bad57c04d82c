package server

import (
	"context"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
	"github.com/unisondb/unisondb/server/internal/forward"
	"github.com/unisondb/unisondb/server/rpcapi"
	"github.com/unisondb/unisondb/server/topology"
)

// hubs is what this hub offers to the others of its group. On a listener with TLS only
// hubs may call it. It implements dbv1.HubsServer.
type hubs struct {
	dbv1.UnimplementedHubsServer
	group     *topology.Group
	forwarder *forward.Forwarder
	api       http.Handler // answers requests that other hubs pass on
	observe   func(*dbv1.ObserveRequest) *dbv1.ObserveResponse

	secure   bool
	refusals *acl.Refusals
}

// hubs is what this hub offers to the others; nil on a relayer.
func (n *Node) hubs() dbv1.HubsServer {
	if n.group == nil {
		return nil
	}
	return &hubs{group: n.group, forwarder: n.forwarder, api: n.api, observe: n.observed, secure: n.secrets.grpc != nil, refusals: n.secrets.refusals}
}

// Join implements dbv1.HubsServer.
func (h *hubs) Join(ctx context.Context, r *dbv1.JoinRequest) (*dbv1.JoinResponse, error) {
	if err := h.admit(ctx); err != nil {
		return nil, err
	}
	return h.group.Join(ctx, r)
}

// Leave implements dbv1.HubsServer.
func (h *hubs) Leave(ctx context.Context, r *dbv1.LeaveRequest) (*dbv1.LeaveResponse, error) {
	if err := h.admit(ctx); err != nil {
		return nil, err
	}
	return h.group.Leave(ctx, r)
}

// Transfer implements dbv1.HubsServer.
func (h *hubs) Transfer(ctx context.Context, r *dbv1.TransferRequest) (*dbv1.TransferResponse, error) {
	if err := h.admit(ctx); err != nil {
		return nil, err
	}
	return h.group.Transfer(ctx, r)
}

// Propose implements dbv1.HubsServer.
func (h *hubs) Propose(ctx context.Context, r *dbv1.ProposeRequest) (*dbv1.ProposeResponse, error) {
	if err := h.admit(ctx); err != nil {
		return nil, err
	}
	return h.group.ProposeRPC(ctx, r)
}

// ReadIndex implements dbv1.HubsServer.
func (h *hubs) ReadIndex(ctx context.Context, r *dbv1.ReadIndexRequest) (*dbv1.ReadIndexResponse, error) {
	if err := h.admit(ctx); err != nil {
		return nil, err
	}
	return h.group.ReadIndex(ctx, r)
}

// Observe implements dbv1.HubsServer.
func (h *hubs) Observe(ctx context.Context, r *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
	if err := h.admit(ctx); err != nil {
		return nil, err
	}
	return h.observe(r), nil
}

// Forward implements dbv1.HubsServer.
func (h *hubs) Forward(stream dbv1.Hubs_ForwardServer) error {
	if err := h.admit(stream.Context()); err != nil {
		return err
	}
	return h.forwarder.Serve(stream, h.api)
}

// admit says why a call isn't answered, also to the log. A certificate of another authority names
// no kind: its holder is a hub if it has the name of a member.
func (h *hubs) admit(ctx context.Context) error {
	if !h.secure {
		return nil
	}
	cert, remote := rpcapi.PeerOf(ctx)
	err := certs.HubOnly(cert, func(id string) bool { return h.group.State().Hubs[id] != nil })
	if err == nil {
		return nil
	}
	h.refusals.Note(acl.Refusal{Remote: remote, Identity: acl.Describe(cert), Reason: err.Error()})
	return status.Error(codes.PermissionDenied, err.Error())
}
