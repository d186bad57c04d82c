package replicator

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Codes say why a stream carries nothing. They are stable, and the same that
// the HTTP API and the gRPC door's ErrorInfo use.
const (
	CodeNamespaceNotFound   = "NAMESPACE_NOT_FOUND"  // the source doesn't have it
	CodeLineageMismatch     = "LINEAGE_MISMATCH"     // the same name, another namespace
	CodeForked              = "FORKED"               // the sink's history isn't the source's
	CodeLogTrimmed          = "LOG_TRIMMED"          // the source's log begins too late
	CodeSourceBehind        = "SOURCE_BEHIND"        // the sink has more than the source
	CodeSourceStale         = "SOURCE_STALE"         // the source is in an older epoch than the sink
	CodeUnsupportedProtocol = "UNSUPPORTED_PROTOCOL" // no protocol version in common
	CodeInvalidMessage      = "INVALID_MESSAGE"      // the other end broke the protocol
	CodeDamagedRecord       = "DAMAGED_RECORD"       // a record's checksum is wrong
	CodeGap                 = "GAP"                  // records don't follow the last one
	CodeOfferRefused        = "OFFER_REFUSED"        // the sink doesn't take this namespace
	CodeShuttingDown        = "SHUTTING_DOWN"        // the node stops
	CodeDiskFull            = "DISK_FULL"            // the sink can't store more
	CodeFrozen              = "NAMESPACE_FROZEN"     // the sink's namespace takes no writes
	CodeDamaged             = "DAMAGED"              // stored bytes aren't what was written
	CodeQuarantined         = "QUARANTINED"          // the source can't open its own namespace
	CodeSuperseded          = "NAMESPACE_SUPERSEDED" // the namespace was cut off or replaced under the stream
	CodeCopyArriving        = "COPY_ARRIVING"        // what is here is served while a new copy arrives beside it
	CodeNotMarked           = "NOT_MARKED"           // the source has no digests of that mark
	CodeForbidden           = "FORBIDDEN"            // this node may not follow that
	CodeTLSFailed           = "TLS_FAILED"           // one end doesn't take the other's certificate
	CodeUnavailable         = "UNAVAILABLE"          // anything that passes
)

// Refusal is an error with a code: why a stream carries nothing, or no more.
type Refusal struct {
	Code   string
	Reason string // what happened, and what to do
	// Retryable says that the same attempt may succeed later, or at another
	// address, without anybody's doing.
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

// because keeps the error that led to the refusal.
func (r *Refusal) because(err error) *Refusal {
	r.cause = err
	return r
}

// asRefusal finds the refusal in err, or makes one of the catch-all code.
func asRefusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return refuseForNow(CodeUnavailable, "%v", err).because(err)
}

func (r *Refusal) proto() *dbv1.Refused {
	return &dbv1.Refused{Code: r.Code, Reason: r.Reason, Retryable: r.Retryable}
}

func refusalFrom(p *dbv1.Refused) *Refusal {
	return &Refusal{Code: clip(p.GetCode(), maxCodeLen), Reason: clip(p.GetReason(), maxReasonLen), Retryable: p.GetRetryable()}
}

// errorDomain is the domain of ErrorInfo in the errors of the gRPC door.
const errorDomain = "unisondb"

// retryableKey is where ErrorInfo says whether trying again may help by itself.
const retryableKey = "retryable"

// Status is the refusal as a gRPC error.
func (r *Refusal) Status() *status.Status {
	code := codes.FailedPrecondition
	switch {
	case r.Code == CodeNamespaceNotFound:
		code = codes.NotFound
	case r.Code == CodeInvalidMessage || r.Code == CodeUnsupportedProtocol:
		code = codes.InvalidArgument
	case r.Code == CodeDamagedRecord || r.Code == CodeDamaged || r.Code == CodeQuarantined:
		code = codes.DataLoss
	case r.Code == CodeForbidden:
		code = codes.PermissionDenied
	case r.Retryable:
		code = codes.Unavailable
	}
	st := status.New(code, clip(r.Reason, maxReasonLen))
	info := &errdetails.ErrorInfo{Reason: clip(r.Code, maxCodeLen), Domain: errorDomain,
		Metadata: map[string]string{retryableKey: strconv.FormatBool(r.Retryable)}}
	if detailed, err := st.WithDetails(info); err == nil {
		return detailed
	}
	return st
}

// refusalOf finds the refusal that a gRPC error carries; other errors, and
// those that have been through here, stay as they are.
func refusalOf(err error) error {
	var known *Refusal
	if errors.As(err, &known) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return &Refusal{
				Code: clip(info.GetReason(), maxCodeLen), Reason: clip(st.Message(), maxReasonLen),
				Retryable: retryable(st.Code(), info), cause: err,
			}
		}
	}
	if r, found := tlsFailure(st, err); found {
		return r
	}
	return err
}

// retryable reads what the other end said of trying again; where it said
// nothing the code of the call decides.
func retryable(code codes.Code, info *errdetails.ErrorInfo) bool {
	if said, err := strconv.ParseBool(info.GetMetadata()[retryableKey]); err == nil {
		return said
	}
	return code == codes.Unavailable || code == codes.NotFound
}
