package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"example.com/edge-inference/payments"
	"example.com/edge-inference/release"
)

// questionTimeout is when an edge counts as one that doesn't answer. It answers from memory, so that
// only a machine that is very busy takes long.
const questionTimeout = 30 * time.Second

// cases is how many different payments are asked about.
const cases = 2000

// asker asks one edge.
type asker struct {
	edge  string
	tally *tally
	last  int // release of the answer before
}

func (a *asker) ask(ctx context.Context, every time.Duration) {
	live, i := payments.Generate(payments.Live, cases), 0
	pace(ctx, every, func() {
		p := live[i%cases].Payment
		i++
		answer, err := a.decide(ctx, p)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			a.tally.count(&a.tally.mute, fmt.Errorf("%s: %w", a.edge, err))
		default:
			a.hold(ctx, answer, p)
		}
	})
}

// #region hold

// hold holds an answer against the release that it names.
func (a *asker) hold(ctx context.Context, answer release.Answer, p payments.Payment) {
	r, err := a.tally.truth.of(ctx, answer.Release)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = release.Verify(answer, p, r)
	}
	if err != nil {
		a.tally.count(&a.tally.mixed, fmt.Errorf("%s: %w", a.edge, err))
	}
	if answer.Release < a.last {
		a.tally.count(&a.tally.backward, fmt.Errorf("%s went from release %d back to %d", a.edge, a.last, answer.Release))
	}
	a.last = answer.Release
	a.tally.answered(answer.Release)
}

// #endregion hold

func (a *asker) decide(ctx context.Context, p payments.Payment) (answer release.Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	question, err := json.Marshal(p)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.edge+"/decide", bytes.NewReader(question))
	if err != nil {
		return answer, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return answer, err
	case resp.StatusCode != http.StatusOK:
		return answer, fmt.Errorf("it answered %s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return answer, json.Unmarshal(body, &answer)
}
