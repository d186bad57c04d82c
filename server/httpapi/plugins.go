package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/unisondb/unisondb/server/pluginhost"
)

// Plugins is what the door needs of the plugins behind it, as *pluginhost.Host has
// it. All methods may be called concurrently.
type Plugins interface {
	Plugins() []pluginhost.Status
	Plugin(name string) (pluginhost.Status, error)
	Reload(ctx context.Context, name string) (pluginhost.Status, error)
	DeadLetters(name string) ([]pluginhost.DeadLetter, error)
	RetryDeadLetters(ctx context.Context, name string, ids []string) (accepted, left int, err error)
	Call(ctx context.Context, r pluginhost.Request) (pluginhost.Answer, error)
}

// pluginErrors is how the host's errors look outside.
var pluginErrors = []knownError{
	{pluginhost.ErrPluginNotFound, http.StatusNotFound, CodePluginNotFound, 0},
	{pluginhost.ErrModelNotFound, http.StatusNotFound, CodeModelNotFound, 0},
	{pluginhost.ErrMethodNotFound, http.StatusNotFound, CodeMethodNotFound, 0},
	{pluginhost.ErrNoDeadLetters, http.StatusNotFound, CodeNoNotifier, 0},
	{pluginhost.ErrDeadLetterNotFound, http.StatusNotFound, CodeDeadLetterNotFound, 0},
	{pluginhost.ErrNotReady, http.StatusServiceUnavailable, CodePluginUnavailable, time.Second},
	{pluginhost.ErrModelFailed, http.StatusBadGateway, CodeModelFailed, 0},
	{pluginhost.ErrModelTimeout, http.StatusGatewayTimeout, CodeModelTimeout, 0},
}

// listPlugins lists those of this node, or with catalog=true those that are registered.
func (c *call) listPlugins() error {
	catalog, err := c.flag("catalog")
	if err != nil {
		return err
	}
	if catalog {
		return c.listCatalog()
	}
	return c.json(append([]pluginhost.Status{}, c.api.plugins.Plugins()...))
}

func (c *call) pluginInfo() error {
	s, err := c.api.plugins.Plugin(c.plugin)
	if err != nil {
		return err
	}
	return c.json(s)
}

// reloadPlugin starts a plugin's program anew.
func (c *call) reloadPlugin() error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	ctx, cancel := c.untilDrain()
	defer cancel()
	s, err := c.api.plugins.Reload(ctx, c.plugin)
	if err != nil && c.api.isDraining() {
		return c.shuttingDown()
	}
	if err != nil {
		return err
	}
	return c.json(s)
}

// deadLetterOut is a dead letter with its event as notifications have it.
type deadLetterOut struct {
	pluginhost.DeadLetter
	Event json.RawMessage `json:"event"`
}

func (c *call) deadLetters() error {
	letters, err := c.api.plugins.DeadLetters(c.plugin)
	if err != nil {
		return err
	}
	out := make([]deadLetterOut, 0, len(letters))
	for _, l := range letters {
		out = append(out, deadLetterOut{l, l.Event})
	}
	return c.json(out)
}

// retryDeadLetters sends dead letters again: those that the body names, or all.
func (c *call) retryDeadLetters() error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	var in struct {
		IDs []string `json:"ids"`
	}
	if c.hasBody() {
		if err := c.readJSON(maxValueBody, &in); err != nil {
			return err
		}
	}
	ctx, cancel := c.untilDrain()
	defer cancel()
	accepted, left, err := c.api.plugins.RetryDeadLetters(ctx, c.plugin, in.IDs)
	if err != nil && c.api.isDraining() {
		return c.shuttingDown()
	}
	if err != nil {
		return err
	}
	return c.json(struct {
		Accepted int `json:"accepted"`
		Left     int `json:"left"`
	}{accepted, left})
}

// untilDrain is the request's context for what is given up when the node stops.
func (c *call) untilDrain() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(c.Context())
	stop := context.AfterFunc(c.api.draining, cancel)
	return ctx, func() { stop(); cancel() }
}

// reload reads the configuration again.
func (c *call) reload() error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	// A client that goes away takes nothing back; only a stop of the node is in a hurry.
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.Context()))
	defer cancel()
	defer context.AfterFunc(c.api.draining, cancel)()
	changed, err := c.api.node.Reload(ctx)
	if err != nil {
		return err
	}
	return c.json(struct {
		Success bool     `json:"success"`
		Changed []string `json:"changed"`
	}{true, append([]string{}, changed...)})
}
