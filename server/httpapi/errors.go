package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/topology"
)

// The codes of errors. They are stable: programs decide by them.
const (
	CodeBadRequest          = "BAD_REQUEST"
	CodeInvalidJSON         = "INVALID_JSON"
	CodeInvalidBase64       = "INVALID_BASE64"
	CodeInvalidKey          = "INVALID_KEY"
	CodeInvalidCursor       = "INVALID_CURSOR"
	CodeInvalidPosition     = "INVALID_POSITION"
	CodeEmptyRequest        = "EMPTY_REQUEST"
	CodeUnknownOperation    = "UNKNOWN_OPERATION"
	CodeForbidden           = "FORBIDDEN"
	CodeReadOnly            = "READ_ONLY"
	CodeRouteNotFound       = "ROUTE_NOT_FOUND"
	CodeNotBuilt            = "NOT_BUILT"
	CodeNamespaceNotFound   = "NAMESPACE_NOT_FOUND"
	CodeKeyNotFound         = "KEY_NOT_FOUND"
	CodeObjectNotFound      = "OBJECT_NOT_FOUND"
	CodeTxNotFound          = "TX_NOT_FOUND"
	CodeMethodNotAllowed    = "METHOD_NOT_ALLOWED"
	CodeRequestTimeout      = "REQUEST_TIMEOUT"
	CodeTxConflict          = "TX_CONFLICT"
	CodePositionLost        = "POSITION_LOST"
	CodeNamespaceExists     = "NAMESPACE_EXISTS"
	CodeBackupExists        = "BACKUP_EXISTS"
	CodeNotReplaceable      = "NOT_REPLACEABLE"
	CodeNamespaceOwned      = "NAMESPACE_OWNED"
	CodeMarkNotFound        = "MARK_NOT_FOUND"
	CodeTxExpired           = "TX_EXPIRED"
	CodeHistoryGone         = "HISTORY_GONE"
	CodeTrimmed             = "TRIMMED"
	CodeConditionFailed     = "CONDITION_FAILED"
	CodeTooLarge            = "TOO_LARGE"
	CodeRangeNotSatisfiable = "RANGE_NOT_SATISFIABLE"
	CodeQuotaExceeded       = "QUOTA_EXCEEDED"
	CodeInternal            = "INTERNAL"
	CodeShuttingDown        = "SHUTTING_DOWN"
	CodeFrozen              = "NAMESPACE_FROZEN"
	CodeLogBehind           = "LOG_BEHIND_CHECKPOINT"
	CodeNamespaceMissing    = "NAMESPACE_MISSING"
	CodeDiskFull            = "DISK_FULL"
	CodeDamaged             = "DAMAGED"
	CodeNewerFormat         = "NEWER_FORMAT"
	CodeOutcomeUnknown      = "OUTCOME_UNKNOWN"
	CodeNoOwner             = "NO_OWNER"
	CodeCanceled            = "CANCELED"
	CodeNotReady            = "NOT_READY"
	CodeNotCaughtUp         = "NOT_CAUGHT_UP"
	CodeNotReplicated       = "NOT_REPLICATED"
	CodeBusy                = "BUSY"
	CodePluginNotFound      = "PLUGIN_NOT_FOUND"
	CodePluginUnavailable   = "PLUGIN_UNAVAILABLE"
	CodeNoNotifier          = "NO_NOTIFIER"
	CodeDeadLetterNotFound  = "DEAD_LETTER_NOT_FOUND"
	CodeModelNotFound       = "MODEL_NOT_FOUND"
	CodeMethodNotFound      = "METHOD_NOT_FOUND"
	CodeModelFailed         = "MODEL_FAILED"
	CodeModelTimeout        = "MODEL_TIMEOUT"
	CodeConfigInvalid       = "CONFIG_INVALID"
	CodeConfigFixed         = "CONFIG_FIXED"
	CodeNoLeader            = "NO_LEADER"
	CodeNotAHub             = "NOT_A_HUB"
	CodeNotMade             = "NOT_MADE"
	CodeRelayerConnected    = "RELAYER_CONNECTED"
)

// Error is an answer that refuses. Message says what happened and what to do.
type Error struct {
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration
	Allow      []string // of 405
	Reasons    []string // of a probe that failed
	// ContentRange is the length of the object of a 416, as the header has it.
	ContentRange string
}

func (e *Error) Error() string { return e.Message }

// StateError says that the node has a namespace but can't serve it at the
// moment. Code and Reason are those of its status.
type StateError struct {
	Namespace, State, Code, Reason string
	// RetryAfter is when it may be over by itself; 0: never.
	RetryAfter time.Duration
}

func (e *StateError) Error() string {
	return fmt.Sprintf("namespace %q is %s: %s", e.Namespace, e.State, e.Reason)
}

// knownError is how an error of a floor below looks outside.
type knownError struct {
	err        error
	status     int
	code       string
	retryAfter time.Duration
}

// kernelErrors is how the kernel's errors look outside, tried in order: the
// first that matches counts, so that a particular one stands before a general one.
var kernelErrors = []knownError{
	{dbkernel.ErrOutcomeUnknown, http.StatusServiceUnavailable, CodeOutcomeUnknown, 0},
	{dbkernel.ErrNamespaceNotFound, http.StatusNotFound, CodeNamespaceNotFound, 0},
	{dbkernel.ErrNamespaceExists, http.StatusConflict, CodeNamespaceExists, 0},
	{dbkernel.ErrTxNotFound, http.StatusNotFound, CodeTxNotFound, 0},
	{dbkernel.ErrTxExpired, http.StatusGone, CodeTxExpired, 0},
	{dbkernel.ErrConflict, http.StatusConflict, CodeTxConflict, 0},
	{dbkernel.ErrConditionFailed, http.StatusPreconditionFailed, CodeConditionFailed, 0},
	{dbkernel.ErrReadOnly, http.StatusForbidden, CodeReadOnly, 0},
	{dbkernel.ErrTooLarge, http.StatusRequestEntityTooLarge, CodeTooLarge, 0},
	{dbkernel.ErrInvalid, http.StatusBadRequest, CodeBadRequest, 0},
	{dbkernel.ErrQuota, http.StatusTooManyRequests, CodeQuotaExceeded, time.Second},
	{dbkernel.ErrDiskFull, http.StatusServiceUnavailable, CodeDiskFull, 10 * time.Second},
	{dbkernel.ErrLogBehind, http.StatusServiceUnavailable, CodeLogBehind, 0},
	{dbkernel.ErrFrozen, http.StatusServiceUnavailable, CodeFrozen, 0},
	{dbkernel.ErrNewerFormat, http.StatusServiceUnavailable, CodeNewerFormat, 0},
	{dbkernel.ErrDamaged, http.StatusInternalServerError, CodeDamaged, 0},
	{dbkernel.ErrPositionLost, http.StatusConflict, CodePositionLost, 0},
	{dbkernel.ErrNotCaughtUp, http.StatusGatewayTimeout, CodeNotCaughtUp, 0},
	{dbkernel.ErrTrimmed, http.StatusGone, CodeTrimmed, 0},
	{dbkernel.ErrNotReady, http.StatusServiceUnavailable, CodeNotReady, time.Second},
	{dbkernel.ErrClosed, http.StatusServiceUnavailable, CodeShuttingDown, time.Second},
	{dbkernel.ErrNotFound, http.StatusNotFound, CodeKeyNotFound, 0},
}

// errorOf is the answer to err.
func (c *call) errorOf(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var refused *topology.Error
	if errors.As(err, &refused) {
		return groupRefusal(refused)
	}
	var s *StateError
	if errors.As(err, &s) {
		return &Error{Status: http.StatusServiceUnavailable, Code: s.Code, Message: s.Error(), RetryAfter: s.RetryAfter}
	}
	if errors.Is(err, dbkernel.ErrSuperseded) && !errors.Is(err, dbkernel.ErrOutcomeUnknown) {
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady, RetryAfter: time.Second,
			Message: fmt.Sprintf("another copy of namespace %q has taken its place while the request ran, and nothing was written: try again", c.namespace)}
	}
	for _, k := range slices.Concat(groupErrors, kernelErrors, pluginErrors) {
		if errors.Is(err, k.err) {
			return &Error{Status: k.status, Code: k.code, Message: err.Error(), RetryAfter: retryAfter(err, k.retryAfter)}
		}
	}
	if isGone(err) {
		return c.canceled(err)
	}
	return &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Message: err.Error() + "; the node's log may say more"}
}

// canceled answers a request that was given up while the kernel worked on it.
// A write may have reached the log by then.
func (c *call) canceled(err error) *Error {
	if c.Method == http.MethodGet || c.Method == http.MethodHead {
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeCanceled, Message: "the request was canceled: " + err.Error() + "; try again"}
	}
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeOutcomeUnknown,
		Message: "the request was canceled while it was being written, and may or may not have taken effect: " + err.Error() + "; read before trying again"}
}

// retryAfter takes the time from an error that knows it.
func retryAfter(err error, d time.Duration) time.Duration {
	var q *dbkernel.QuotaError
	if errors.As(err, &q) && q.RetryAfter > 0 {
		return q.RetryAfter
	}
	return d
}

// write answers e as JSON.
func (e *Error) write(w http.ResponseWriter) {
	h := w.Header()
	for _, name := range []string{"Content-Length", "Content-Range", "Etag", "Accept-Ranges", HeaderChecksum, HeaderExpiresAt} {
		h.Del(name)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if e.ContentRange != "" {
		h.Set("Content-Range", e.ContentRange)
	}
	if len(e.Allow) > 0 {
		h.Set("Allow", strings.Join(e.Allow, ", "))
	}
	if e.Status == http.StatusRequestEntityTooLarge || e.Status == http.StatusRequestTimeout {
		h.Set("Connection", "close") // the rest of the body isn't worth reading
	}
	writeJSON(w, e.Status, errorBody{e.Message, e.Code, e.Reasons})
}

// errorBody is how every error looks.
type errorBody struct {
	Error   string   `json:"error"`
	Code    string   `json:"code"`
	Reasons []string `json:"reasons,omitempty"`
}

// writeJSON answers v. An answer that can't be sent is the client's loss: it
// has gone away.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b := encodeJSON(v)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// encodeJSON encodes an answer, with a line break at its end.
func encodeJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("answer can't be encoded: %v", err))
	}
	return b.Bytes()
}

func badRequest(code, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}

func tooLarge(format string, args ...any) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge, Message: fmt.Sprintf(format, args...)}
}

func errShuttingDown() *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeShuttingDown, RetryAfter: time.Second,
		Message: "the node is shutting down: try again later, or another node"}
}

func routeNotFound() *Error {
	return &Error{Status: http.StatusNotFound, Code: CodeRouteNotFound,
		Message: "no such route: data is under /api/v1/{namespace}/kv, /row, /lob, /tx and /model"}
}

func notBuilt(what string) *Error {
	return &Error{Status: http.StatusNotFound, Code: CodeNotBuilt, Message: what + " isn't built in this version; use a later one"}
}

func namespaceNotFound(name string) *Error {
	return &Error{Status: http.StatusNotFound, Code: CodeNamespaceNotFound,
		Message: fmt.Sprintf("no namespace %q on this node: GET /v1/namespaces lists those that it has", name)}
}

func methodNotAllowed(method string, ep *endpoint) *Error {
	var allow []string
	for m := range ep.methods {
		allow = append(allow, m)
		if m == http.MethodGet && ep.methods[http.MethodHead] == nil {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	return &Error{Status: http.StatusMethodNotAllowed, Code: CodeMethodNotAllowed, Allow: allow,
		Message: fmt.Sprintf("%s is not a method of this route: use %s", method, strings.Join(allow, ", "))}
}
