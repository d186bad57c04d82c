package replicator

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// authorize asks whether the follower may have what its hello names, whatever the
// stream is for. Who refuses says by a *Refusal that this may change by itself.
func (c *conversation) authorize(h hello) error {
	if c.o.Authorize == nil {
		return nil
	}
	err := c.o.Authorize(c.stream.Context(), h.nodeID, h.namespace)
	var refusal *Refusal
	if err == nil || errors.As(err, &refusal) {
		return err
	}
	return refuse(CodeForbidden, "%v", err).because(err)
}

// tlsFailure finds what credentials said of a connection that came to nothing. gRPC
// keeps their words alone, in an error of its own, quoted: they begin with the code. It is
// tried again soon: certificates change without anybody telling this node.
func tlsFailure(st *status.Status, err error) (*Refusal, bool) {
	_, reason, found := strings.Cut(st.Message(), CodeTLSFailed+": ")
	if !found || st.Code() != codes.Unavailable {
		return nil, false
	}
	reason = strings.ReplaceAll(strings.TrimSuffix(reason, `"`), `\"`, `"`)
	return refuseForNow(CodeTLSFailed, "%s", clip(reason, maxReasonLen)).because(err), true
}
