package dbkernel

import "errors"

// What callers decide by. Errors wrap these with what happened and what to do.
var (
	// ErrClosed: the database or namespace is shut down.
	ErrClosed = errors.New("closed")
	// ErrLocked: another process runs on the data directory.
	ErrLocked = errors.New("data directory is in use")
	// ErrNamespaceNotFound: no such namespace on this node.
	ErrNamespaceNotFound = errors.New("namespace not found")
	// ErrNamespaceExists: the name is taken.
	ErrNamespaceExists = errors.New("namespace exists")
	// ErrInvalid: the request is malformed; nothing was written.
	ErrInvalid = errors.New("invalid")
	// ErrTooLarge: a value or batch is over its limit; nothing was written.
	ErrTooLarge = errors.New("too large")
	// ErrReadOnly: this node isn't the namespace's owner.
	ErrReadOnly = errors.New("read-only replica")
	// ErrConflict: something that the transaction read has changed.
	ErrConflict = errors.New("transaction conflict")
	// ErrConditionFailed: a condition of the write doesn't hold.
	ErrConditionFailed = errors.New("condition not met")
	// ErrNotFound: no such key, row or object.
	ErrNotFound = errors.New("not found")
	// ErrTxNotFound: no such transaction, or it has ended.
	ErrTxNotFound = errors.New("transaction not found")
	// ErrTxExpired: the transaction was idle or open for too long.
	ErrTxExpired = errors.New("transaction expired")
	// ErrQuota: the namespace's quota is used up. A *QuotaError says more.
	ErrQuota = errors.New("quota exceeded")
	// ErrFrozen: an fsync failed; the namespace takes no more writes until the
	// node restarts.
	ErrFrozen = errors.New("namespace is frozen")
	// ErrDiskFull: no space for the write; reads go on.
	ErrDiskFull = errors.New("disk full")
	// ErrOutcomeUnknown: the write reached the log, but whether it will survive
	// is unknown.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrDamaged: stored bytes are not what was written, or don't fit together.
	ErrDamaged = errors.New("damaged")
	// ErrLogBehind: the log ends below what the B+tree contains; reads only,
	// until the log is repaired.
	ErrLogBehind = errors.New("the log ends below the checkpoint")
	// ErrMissing: files that the namespace can't do without are gone.
	ErrMissing = errors.New("data is missing")
	// ErrNewerFormat: the files were written by a newer version.
	ErrNewerFormat = errors.New("newer format")
	// ErrTrimmed: the log no longer holds what was asked for.
	ErrTrimmed = errors.New("no longer in the log")
	// ErrPositionLost: the position isn't in this history.
	ErrPositionLost = errors.New("position is not in this history")
	// ErrNotCaughtUp: the wait for a position ended before it was reached.
	ErrNotCaughtUp = errors.New("not caught up")
	// ErrGap: a replica was offered records that don't follow its last one.
	ErrGap = errors.New("records do not follow the log")
	// ErrFork: a replica was offered records of another history.
	ErrFork = errors.New("another history")
	// ErrSuperseded: the namespace was replaced or cut off under this handle; look
	// it up again.
	ErrSuperseded = errors.New("superseded")
	// ErrPastFork: the B+tree contains records that are to be cut off.
	ErrPastFork = errors.New("the B+tree is past the fork")
	// ErrNotReady: a stage has not got all that it needs.
	ErrNotReady = errors.New("not ready")
)
