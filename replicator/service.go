package replicator

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// NewService is the gRPC service: whoever dials may follow what source has,
// and offer what acceptor takes.
func NewService(source *Source, acceptor *Acceptor) dbv1.ReplicationServer {
	return service{source: source, acceptor: acceptor}
}

type service struct {
	dbv1.UnimplementedReplicationServer
	source   *Source
	acceptor *Acceptor
}

// Follow implements dbv1.ReplicationServer.
func (s service) Follow(stream dbv1.Replication_FollowServer) error {
	return rpcError(s.source.Serve(stream))
}

// Offer implements dbv1.ReplicationServer.
func (s service) Offer(stream dbv1.Replication_OfferServer) error {
	return rpcError(s.acceptor.Serve(stream))
}

// rpcError gives an error its gRPC form: a refusal carries its code as ErrorInfo.
func rpcError(err error) error {
	var refusal *Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return refusal.Status().Err()
	default:
		if st, ok := status.FromError(err); ok {
			return st.Err()
		}
		return status.Error(codes.Internal, err.Error())
	}
}
