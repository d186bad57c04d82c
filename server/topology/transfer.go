package topology

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// TransferLeader hands the leadership to a hub, or to whichever is best where to is empty,
// wherever the leader is. A hub that leads already is no error.
func (g *Group) TransferLeader(ctx context.Context, to string) error {
	return g.atLeader(ctx, func(ctx context.Context) error {
		return g.transfer(ctx, to)
	}, func(ctx context.Context, hub dbv1.HubsClient) error {
		resp, err := hub.Transfer(ctx, &dbv1.TransferRequest{To: to})
		switch {
		case err != nil && status.Code(err) == codes.Unavailable:
			return fmt.Errorf("%w: %w", errNotLeader, err) // to hand over twice does no harm
		case err != nil:
			return fmt.Errorf("%w (%w)", ErrOutcomeUnknown, err)
		case resp.GetCode() == CodeNotLeader:
			return errNotLeader
		case resp.GetCode() != "":
			return &Error{Code: resp.GetCode(), Reason: resp.GetReason()}
		}
		return nil
	})
}

// Transfer answers another hub that asks the leader to hand over.
func (g *Group) Transfer(ctx context.Context, r *dbv1.TransferRequest) (*dbv1.TransferResponse, error) {
	var refused *Error
	switch err := g.transfer(ctx, r.GetTo()); {
	case err == nil:
		return &dbv1.TransferResponse{}, nil
	case errors.As(err, &refused):
		return &dbv1.TransferResponse{Code: refused.Code, Reason: refused.Reason}, nil
	case errors.Is(err, errNotLeader):
		return &dbv1.TransferResponse{Code: CodeNotLeader, Reason: err.Error()}, nil
	default:
		return nil, status.Error(codes.Unknown, err.Error())
	}
}

// transfer hands the leadership over, as the leader.
func (g *Group) transfer(ctx context.Context, to string) error {
	if g.term.Load() == nil {
		return errNotLeader
	}
	f, err := g.transferTo(to)
	if err != nil || f == nil {
		return err
	}
	if err := g.await(ctx, f); err != nil {
		return refuse(CodeNotTransferred, "the leadership stays with hub %q (%v): try again, or name another hub", g.o.NodeID, err)
	}
	return nil
}

// CodeNotTransferred says that a leader tried to hand over and leads still.
const CodeNotTransferred = "NOT_TRANSFERRED"

// transferTo begins the handing over; nil: there is nothing to do.
func (g *Group) transferTo(to string) (raft.Future, error) {
	if to == g.o.NodeID {
		return nil, nil
	}
	if to == "" {
		if voters, _ := g.census(g.id); voters == 0 {
			return nil, refuse(CodeLastVoter, "hub %q is the only one with a vote: nobody else can lead", g.o.NodeID)
		}
		return g.raft.LeadershipTransfer(), nil
	}
	h := g.State().Hubs[to]
	if h == nil {
		return nil, refuse(CodeUnknownHub, "no hub %q is in the group: 'unisondb operator raft list-peers' shows those that are", to)
	}
	s := g.server(serverID(h.ID, h.Instance))
	if s == nil || s.Suffrage != raft.Voter {
		return nil, refuse(CodeNotVoter, "hub %q has no vote and can't lead: name one that has", to)
	}
	return g.raft.LeadershipTransferToServer(s.ID, s.Address), nil
}

// CodeNotVoter refuses what only a hub with a vote can do.
const CodeNotVoter = "NOT_A_VOTER"
