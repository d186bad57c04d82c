package httpapi

import (
	"net/http"
	"time"
)

// ReadyQuery is what a probe of readiness asks for.
type ReadyQuery struct {
	MaxLag time.Duration // 0: any
	Leader bool          // a known leader, on a hub
}

func (c *call) health() error {
	out := struct {
		Status     string   `json:"status"`
		Namespaces []string `json:"namespaces"`
	}{"ok", append([]string{}, c.api.node.Names()...)}
	return c.json(out)
}

func (c *call) ready() error {
	var q ReadyQuery
	var err error
	if q.MaxLag, err = c.duration("max_lag", 0); err != nil {
		return err
	}
	if _, ok := c.param("max_lag"); ok && q.MaxLag <= 0 {
		return badRequest(CodeBadRequest, "max_lag=%v is not positive", q.MaxLag)
	}
	if q.Leader, err = c.flag("leader"); err != nil {
		return err
	}
	reasons := c.api.node.NotReady(q)
	if c.api.isDraining() {
		reasons = append(reasons, "the node is shutting down")
	}
	if len(reasons) > 0 {
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady, Message: "the node isn't ready: " + reasons[0], Reasons: reasons}
	}
	return c.json(struct {
		Status string `json:"status"`
	}{"ready"})
}

func (c *call) metrics() error {
	c.api.metrics.ServeHTTP(c.w, c.Request)
	return nil
}

func (c *call) status() error { return c.json(c.api.node.Status()) }
