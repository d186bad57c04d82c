package httpapi

import (
	"net/http"
	"time"
)

// recorder is the way to the client. It remembers the status that was answered,
// and gives up on a client that takes nothing any more: however long an answer
// is, it may go on as long as it moves.
type recorder struct {
	http.ResponseWriter
	status   int
	conn     *http.ResponseController
	patience time.Duration // with a client that takes nothing
	deadline time.Time     // of writes
}

func newRecorder(w http.ResponseWriter, patience time.Duration) *recorder {
	r := &recorder{ResponseWriter: w, conn: http.NewResponseController(w), patience: patience}
	r.setWriteDeadline(time.Time{}) // the connection still has that of its last answer
	return r
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.extend()
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n := 0
	for {
		r.extend()
		piece := p[n:min(len(p), n+answerPiece)]
		k, err := r.ResponseWriter.Write(piece)
		if n += k; err != nil || n == len(p) {
			return n, err
		}
	}
}

// answerPiece is what a client has to take within its time, whatever the size of
// the value that it belongs to.
const answerPiece = 256 << 10

// extend gives the client time to take the next piece.
func (r *recorder) extend() {
	if now := time.Now(); r.deadline.Sub(now) < r.patience*9/10 {
		r.setWriteDeadline(now.Add(r.patience))
	}
}

func (r *recorder) setWriteDeadline(t time.Time) {
	r.deadline = t
	_ = r.conn.SetWriteDeadline(t) // only a writer without a connection, as in a test, has none
}

func (r *recorder) setReadDeadline(t time.Time) {
	_ = r.conn.SetReadDeadline(t) // as above
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
