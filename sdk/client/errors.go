package client

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Kinds of errors, for errors.Is. An [*Error] matches those that its code and
// status say.
var (
	// ErrUnreachable: no connection to the node; nothing was sent.
	ErrUnreachable = errors.New("node is not reachable")
	// ErrCertificate: the node refuses the client's certificate, or wants one; it
	// has not looked at the request.
	ErrCertificate = errors.New("the node refuses the client's certificate")
	// ErrInvalid: the request is malformed.
	ErrInvalid = errors.New("invalid request")
	// ErrUnauthorized: no token, or a wrong one.
	ErrUnauthorized = errors.New("not authenticated")
	// ErrForbidden: the token may not do this, or the node is read-only.
	ErrForbidden = errors.New("not allowed")
	// ErrReadOnly: a write on a node that only follows; Error.Owner takes it.
	ErrReadOnly = errors.New("read-only replica")
	// ErrNotFound: no such key, row or object. A namespace or route that isn't
	// there is another error: it says nothing about the data.
	ErrNotFound = errors.New("not found")
	// ErrNamespaceNotFound: no such namespace on the node.
	ErrNamespaceNotFound = errors.New("namespace not found")
	// ErrPluginNotFound: no plugin of that name is configured on the node.
	ErrPluginNotFound = errors.New("plugin not found")
	// ErrPluginUnavailable: the plugin is being started, or is broken; its state says
	// more.
	ErrPluginUnavailable = errors.New("plugin unavailable")
	// ErrModelNotFound: no data model of that name serves the namespace, or it has no
	// such method.
	ErrModelNotFound = errors.New("data model or method not found")
	// ErrTxNotFound: no such transaction, or it was committed or aborted.
	ErrTxNotFound = errors.New("transaction not found")
	// ErrConflict: something that the transaction read has changed; run it again.
	ErrConflict = errors.New("conflict")
	// ErrPositionLost: the position asked for isn't in this history.
	ErrPositionLost = errors.New("position is not in this history")
	// ErrConditionFailed: the condition of a write doesn't hold.
	ErrConditionFailed = errors.New("condition not met")
	// ErrGone: the log no longer holds it, or the transaction expired.
	ErrGone = errors.New("gone")
	// ErrTooLarge: over the limit of a key, value or batch.
	ErrTooLarge = errors.New("too large")
	// ErrQuota: the namespace's quota is used up; see Error.RetryAfter.
	ErrQuota = errors.New("quota exceeded")
	// ErrUnavailable: the node can't do this at the moment.
	ErrUnavailable = errors.New("unavailable")
	// ErrNoOwner: the namespace's owner can't be reached.
	ErrNoOwner = errors.New("no owner")
	// ErrNoLeader: the group of hubs has no leader at the moment. What nodes serve goes
	// on without one.
	ErrNoLeader = errors.New("no leader")
	// ErrUnknownHub: the group has no hub of that id.
	ErrUnknownHub = errors.New("unknown hub")
	// ErrUnknownRelayer: no relayer of that id has joined.
	ErrUnknownRelayer = errors.New("unknown relayer")
	// ErrOutcomeUnknown: written, but its fate is unknown.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrNotCaughtUp: the wait for a position ended before it was reached.
	ErrNotCaughtUp = errors.New("not caught up")
	// ErrNotReplicated: durable, but the acknowledgements asked for were not
	// reached in time; it may still commit.
	ErrNotReplicated = errors.New("not replicated")
)

// Codes of the server that the client tells apart.
const (
	codeKeyNotFound       = "KEY_NOT_FOUND"
	codeObjectNotFound    = "OBJECT_NOT_FOUND"
	codeNamespaceNotFound = "NAMESPACE_NOT_FOUND"
	codeTxNotFound        = "TX_NOT_FOUND"
	codeReadOnly          = "READ_ONLY"
	codePositionLost      = "POSITION_LOST"
	codeNoOwner           = "NO_OWNER"
	codeOutcomeUnknown    = "OUTCOME_UNKNOWN"
	codeNotCaughtUp       = "NOT_CAUGHT_UP"
	codeNotReplicated     = "NOT_REPLICATED"
	codePluginNotFound    = "PLUGIN_NOT_FOUND"
	codePluginUnavailable = "PLUGIN_UNAVAILABLE"
	codeModelNotFound     = "MODEL_NOT_FOUND"
	codeMethodNotFound    = "METHOD_NOT_FOUND"
	codeNoLeader          = "NO_LEADER"
	codeUnknownHub        = "UNKNOWN_HUB"
	codeUnknownRelayer    = "UNKNOWN_RELAYER"
)

var sentinelsByCode = map[string]error{
	codeKeyNotFound:       ErrNotFound,
	codeObjectNotFound:    ErrNotFound,
	codeNamespaceNotFound: ErrNamespaceNotFound,
	codeTxNotFound:        ErrTxNotFound,
	codeReadOnly:          ErrReadOnly,
	codePositionLost:      ErrPositionLost,
	codeNoOwner:           ErrNoOwner,
	codeOutcomeUnknown:    ErrOutcomeUnknown,
	codeNotCaughtUp:       ErrNotCaughtUp,
	codeNotReplicated:     ErrNotReplicated,
	codePluginNotFound:    ErrPluginNotFound,
	codePluginUnavailable: ErrPluginUnavailable,
	codeModelNotFound:     ErrModelNotFound,
	codeMethodNotFound:    ErrModelNotFound,
	codeNoLeader:          ErrNoLeader,
	codeUnknownHub:        ErrUnknownHub,
	codeUnknownRelayer:    ErrUnknownRelayer,
}

// noConflicts are the codes of answers that have the status of a conflict and are none:
// running anything again doesn't resolve them.
var noConflicts = map[string]bool{
	codePositionLost: true, "NAMESPACE_EXISTS": true, "NOT_REPLACEABLE": true, "NAMESPACE_OWNED": true, "BACKUP_EXISTS": true,
	"CONFIG_INVALID": true, "CONFIG_FIXED": true, "NEWER_FORMAT": true,
	// Of the group of hubs.
	"NOT_A_HUB": true, "LAST_VOTER": true, "NOT_A_VOTER": true, "NOT_A_MEMBER": true, "QUORUM_AT_RISK": true, "NOT_TRANSFERRED": true, "NODE_ID_TAKEN": true, "ADDRESS_TAKEN": true,
	"INSTANCE_MISMATCH": true, "OTHER_CLUSTER": true, "ALREADY_BOOTSTRAPPED": true, "MEMBER_CANNOT_READ_IT": true, "UNREADABLE_COMMAND": true,
	"UPSTREAM_CYCLE": true, "NOT_REACHABLE": true, "NOT_FOLLOWABLE": true, "NOT_OWNER": true, "LINEAGE_TAKEN": true,
	"RELAYER_CONNECTED": true, "RELAYER_DRAINING": true, "RELAYER_OWNS": true,
	"TOKEN_EXISTS": true, "TOKEN_EXPIRED": true, "TOKEN_USED_UP": true, "TOKEN_REFUSED": true,
}

var sentinelsByStatus = map[int]error{
	http.StatusBadRequest:            ErrInvalid,
	http.StatusUnauthorized:          ErrUnauthorized,
	http.StatusForbidden:             ErrForbidden,
	http.StatusConflict:              ErrConflict,
	http.StatusPreconditionFailed:    ErrConditionFailed,
	http.StatusGone:                  ErrGone,
	http.StatusRequestEntityTooLarge: ErrTooLarge,
	http.StatusTooManyRequests:       ErrQuota,
	http.StatusServiceUnavailable:    ErrUnavailable,

	http.StatusRequestedRangeNotSatisfiable: ErrInvalid,
}

// Error is an answer of a node that says that the call failed.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Code is the stable name of what happened; empty where something that
	// isn't a node answered.
	Code string
	// Message says what happened and what to do.
	Message string
	// RetryAfter is how long the node asks to wait before another try; 0 where
	// it doesn't say.
	RetryAfter time.Duration
	// Owner is the node that takes the writes which this one refused.
	Owner string
	// Position is what a failed read saw.
	Position Position
	// Reasons are those of a node that isn't ready.
	Reasons []string
}

// Error says what the node said, with the code.
func (e *Error) Error() string {
	if e.Code == "" {
		return e.Message
	}
	return e.Message + " (" + e.Code + ")"
}

// Is lets errors.Is match the kinds above.
func (e *Error) Is(target error) bool {
	if byCode := sentinelsByCode[e.Code]; byCode != nil && byCode == target {
		return true
	}
	// An unknown outcome shares its status with a node that has written nothing: taken for
	// that, it would be retried.
	if e.Code == codeOutcomeUnknown || noConflicts[e.Code] {
		return false
	}
	byStatus := sentinelsByStatus[e.Status]
	return byStatus != nil && byStatus == target
}

// maxErrorBody bounds what is read of an answer that reports an error.
const maxErrorBody = 64 << 10

// errorOf reads an error from an answer. The caller closes the body.
func errorOf(resp *http.Response) error {
	e := &Error{
		Status:     resp.StatusCode,
		RetryAfter: retryAfter(resp.Header.Get("Retry-After")),
		Owner:      resp.Header.Get(headerOwner),
	}
	e.Position, _ = positionOf(resp.Header) // an error stays an error without it
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil && len(body) == 0 && resp.Request.Method != http.MethodHead {
		return fmt.Errorf("the node answered %s, and the reason could not be read: %w", resp.Status, transportError(err))
	}
	var answer struct {
		Error   string   `json:"error"`
		Code    string   `json:"code"`
		Reasons []string `json:"reasons"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.Error != "" {
		e.Message, e.Code, e.Reasons = answer.Error, answer.Code, answer.Reasons
		return e
	}
	if resp.Request.Method == http.MethodHead {
		e.Message = strings.ToLower(http.StatusText(resp.StatusCode))
		return e
	}
	e.Message = fmt.Sprintf("%s answered %q and gave no reason: is this the HTTP address of a UnisonDB node?", resp.Request.URL.Host, resp.Status)
	return e
}

// retryAfter reads both forms of the header.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// transportError takes the request's URL, which holds the key, out of an error
// of net/http and marks what was never sent.
func transportError(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	if refused := refusedInHandshake(err); refused != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, refused)
	}
	var opErr *net.OpError
	var certErr *tls.CertificateVerificationError
	if errors.As(err, &opErr) && (opErr.Op == "dial" || opErr.Op == "proxyconnect") || errors.As(err, &certErr) {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if errors.Is(err, io.EOF) {
		// A bare io.EOF would look like the end of what the caller reads.
		return fmt.Errorf("the connection was closed before the answer was complete: %w", io.ErrUnexpectedEOF)
	}
	return err
}
