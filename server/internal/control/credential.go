package control

import (
	"context"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// credentialKey is the metadata of replication streams that carries a relayer's
// credential, as "<node id>:<credential>".
const credentialKey = "unisondb-credential"

// StreamCredentials add a relayer's credential to every stream that it opens. credential
// is asked each time; while it answers nothing, nothing is added. It goes over TLS alone.
func StreamCredentials(nodeID string, credential func() string) credentials.PerRPCCredentials {
	return streamCredentials{nodeID, credential}
}

type streamCredentials struct {
	nodeID     string
	credential func() string
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c streamCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	md := map[string]string{}
	if secret := c.credential(); secret != "" && isSecret(ctx) {
		md[credentialKey] = c.nodeID + ":" + secret
	}
	return md, nil
}

// isSecret says whether the connection of a call keeps what it carries to itself.
func isSecret(ctx context.Context) bool {
	info, ok := credentials.RequestInfoFromContext(ctx)
	return ok && credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity) == nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: the connections of
// one upstream may be plain or not, and a plain one gets no credential.
func (streamCredentials) RequireTransportSecurity() bool { return false }

// CredentialOf is the credential that a call's metadata carries; ok is false where
// it carries none. ctx is that of the call, at the end that was called.
func CredentialOf(ctx context.Context) (nodeID, credential string, ok bool) {
	values := metadata.ValueFromIncomingContext(ctx, credentialKey)
	if len(values) != 1 {
		return "", "", false
	}
	return strings.Cut(values[0], ":")
}
