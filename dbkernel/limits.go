package dbkernel

import (
	"errors"
	"fmt"
	"time"
)

// QuotaError is an ErrQuota with a hint when to try again.
type QuotaError struct {
	RetryAfter time.Duration
	reason     string
	settles    bool // a flush may show that there is room
}

func (e *QuotaError) Error() string { return fmt.Sprintf("%s: %s", ErrQuota, e.reason) }

// Unwrap makes it an ErrQuota.
func (e *QuotaError) Unwrap() error { return ErrQuota }

func quotaMayBeStale(err error) bool {
	var q *QuotaError
	return errors.As(err, &q) && q.settles
}

// limits is what the owner checks before it takes a request. The committer's alone.
type limits struct {
	tokens float64 // bytes that may be written at once; a large write may overdraw
	filled time.Time
}

// admit holds a request against the namespace's quota.
func (l *limits) admit(n *Namespace, p *pending, r *request) error {
	q := n.opts.Load().Quota
	if r.free {
		return nil
	}
	if q.MaxBytes > 0 {
		n.settled()
		if err := admitBytes(n, p, r, q.MaxBytes); err != nil {
			return err
		}
	}
	if q.WriteBytesPerSecond > 0 {
		if err := l.admitRate(n.db.opts.Clock(), r.bytes, q.WriteBytesPerSecond); err != nil {
			return err
		}
	}
	p.live += int64(r.bytes)
	return nil
}

// admitBytes compares with an estimate that is never too low: the tree's live
// bytes, and the newest puts of the memtables as if they replaced nothing there.
func admitBytes(n *Namespace, p *pending, r *request, limit int64) error {
	live := p.live + int64(r.bytes)
	for _, m := range n.mems.Load().tables { // before the tree: a flush in between counts twice, not never
		live += m.Live()
	}
	live += n.point.Load().Live
	if live <= limit {
		return nil
	}
	return &QuotaError{
		RetryAfter: 10 * time.Second,
		settles:    p.live == 0,
		reason:     fmt.Sprintf("the namespace may hold %d bytes (quota.max_bytes) and holds %d: delete something or raise the quota", limit, live-int64(r.bytes)),
	}
}

// admitRate is a token bucket of one second's worth. A request passes while
// there is anything in it, and may overdraw it: so any size gets through, and
// the rate holds on average.
func (l *limits) admitRate(now time.Time, bytes int, perSecond int64) error {
	rate := float64(perSecond)
	if l.filled.IsZero() {
		l.tokens = rate
	} else {
		l.tokens = min(rate, l.tokens+now.Sub(l.filled).Seconds()*rate)
	}
	l.filled = now
	if l.tokens <= 0 {
		wait := time.Duration((1 - l.tokens) / rate * float64(time.Second))
		return &QuotaError{
			RetryAfter: wait,
			reason:     fmt.Sprintf("the namespace takes %d bytes a second (quota.write_bytes_per_second): try again in %s", perSecond, wait.Round(time.Millisecond)),
		}
	}
	l.tokens -= float64(bytes)
	return nil
}
