package control

import (
	"errors"
	"fmt"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Codes say why a relayer has no session. They are stable; those of a
// *topology.Error may stand in their place.
const (
	CodeRelayerRemoved     = "RELAYER_REMOVED"      // an operator has removed it
	CodeNodeIDTaken        = "NODE_ID_TAKEN"        // another data directory has the id
	CodeOtherCluster       = "OTHER_CLUSTER"        // the relayer belongs to another group of hubs
	CodeNotIdentified      = "NOT_IDENTIFIED"       // neither a certificate nor a token says who it is
	CodeIdentityMismatch   = "IDENTITY_MISMATCH"    // the certificate is somebody else's
	CodeCredentialRefused  = "CREDENTIAL_REFUSED"   // what it shows isn't what the group knows
	CodeTokenRefused       = "TOKEN_REFUSED"        // the join token is unknown, expired or used up
	CodeSessionReplaced    = "SESSION_REPLACED"     // the same relayer attends by another stream
	CodeNoLeader           = "NO_LEADER"            // the hub can't ask its group at the moment
	CodeShuttingDown       = "SHUTTING_DOWN"        // the hub stops
	CodeInvalidMessage     = "INVALID_MESSAGE"      // the other end broke the protocol
	CodeSilent             = "SILENT"               // the other end says nothing any more
	CodeSlowReader         = "SLOW_READER"          // the relayer doesn't read what it is sent
	CodeUnavailable        = "UNAVAILABLE"          // anything that passes
	CodeControlNotOffered  = "CONTROL_NOT_OFFERED"  // a relayer, or a hub of an older version
	CodeAssignmentUnusable = "ASSIGNMENT_NOT_SAVED" // the relayer can't write what it has heard
)

// Refusal is why a session wasn't let in, or ended.
type Refusal struct {
	Code   string
	Reason string // what happened, and what to do
	// Retryable says that the same attempt may succeed later, or at another hub, without
	// anybody's doing.
	Retryable bool
	cause     error
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Reason }

// Unwrap returns the error that led to the refusal, if there is one.
func (r *Refusal) Unwrap() error { return r.cause }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}
}

func refuseForNow(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: fmt.Sprintf(format, args...), Retryable: true}
}

func (r *Refusal) because(err error) *Refusal {
	r.cause = err
	return r
}

// asRefusal finds the refusal in err, or makes one of the catch-all code.
func asRefusal(err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	return refuseForNow(CodeUnavailable, "%v", err).because(err)
}

func (r *Refusal) message() *dbv1.HubMessage {
	return &dbv1.HubMessage{Body: &dbv1.HubMessage_Refused{
		Refused: &dbv1.SessionRefused{Code: r.Code, Reason: r.Reason, Retryable: r.Retryable},
	}}
}

// Bounds of what is taken over from the other end's refusal, in bytes.
const (
	maxCodeLen   = 64
	maxReasonLen = 2 << 10
)

func refusalFrom(p *dbv1.SessionRefused) *Refusal {
	return &Refusal{Code: clip(p.GetCode(), maxCodeLen), Reason: clip(p.GetReason(), maxReasonLen), Retryable: p.GetRetryable()}
}
