package rpcapi

import (
	"context"
	"crypto/x509"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// PeerOf says who a call comes from: the verified certificate of the connection,
// nil where it has none, and its address. ctx is that of the call.
func PeerOf(ctx context.Context) (cert *x509.Certificate, remote net.Addr) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, nil
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
		cert = info.State.PeerCertificates[0]
	}
	return cert, p.Addr
}
