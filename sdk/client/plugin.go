package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Plugin is a program that a node runs beside itself: a notifier or a data model.
type Plugin struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// State is disabled, starting, ready, degraded or stopped.
	State string `json:"state"`
	// Reason is why it is degraded, or what it waits for, and what to do.
	Reason string `json:"reason"`
	// Version and SHA256 are those of the program that runs, or was last looked at.
	Version  string `json:"version"`
	SHA256   string `json:"sha256"`
	Restarts uint64 `json:"restarts"`

	Kind        string `json:"kind"` // notifier, model
	Description string `json:"description,omitempty"`
	Path        string `json:"path,omitempty"` // of the program
	PID         int    `json:"pid"`            // 0: no process runs
	// MemoryBytes is what the process has resident, MemoryLimit where the node kills it.
	MemoryBytes     int64   `json:"memory_bytes"`
	MemoryLimit     int64   `json:"memory_limit"`
	CPUSeconds      float64 `json:"cpu_seconds"` // used since the process was started
	LogLinesDropped uint64  `json:"log_lines_dropped"`

	Methods    []PluginMethod    `json:"methods,omitempty"` // of a data model
	Namespaces []PluginNamespace `json:"namespaces"`
}

// PluginMethod is a request that a data model answers.
type PluginMethod struct {
	Name        string `json:"name"`
	Writes      bool   `json:"writes"` // only the namespace's owner takes it
	Description string `json:"description,omitempty"`
}

// PluginNamespace is how a notifier does in one namespace. Of a data model only the
// name means something.
type PluginNamespace struct {
	Name string `json:"name"`
	// Cursor is the position up to which the other side has accepted everything,
	// <lineage>:<epoch>:<lsn>; empty before the first event.
	Cursor      string `json:"cursor"`
	LagRecords  uint64 `json:"lag_records"` // behind what is committed
	Delivered   uint64 `json:"delivered"`   // events accepted since the node started
	Refusals    uint64 `json:"refusals"`    // of events, since then
	DeadLetters int    `json:"dead_letters"`
	// CursorsLost counts how often the log no longer held what was to come next.
	CursorsLost uint64 `json:"cursors_lost"`
	// LastError is what kept the last batch from being accepted; empty after one was.
	LastError string `json:"last_error"`
}

// DeadLetter is an event that a notifier's other side refused too often, set aside.
type DeadLetter struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Reason    string    `json:"reason"`
	Refusals  int       `json:"refusals"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	// Event is the event's JSON, as notifications have it.
	Event json.RawMessage `json:"event"`
}

// Plugins lists the plugins that are configured on the node, by name.
func (c *Client) Plugins(ctx context.Context) ([]Plugin, error) {
	var list []Plugin
	_, err := c.call(ctx, c.system("v1/plugins"), &list)
	return list, err
}

// Plugin asks for one of them. One that isn't configured is [ErrPluginNotFound].
func (c *Client) Plugin(ctx context.Context, name string) (Plugin, error) {
	var p Plugin
	_, err := c.call(ctx, c.system(pluginPath(name, "")), &p)
	return p, err
}

// ReloadPlugin looks at a plugin's program again and starts it anew, without a restart
// of the node. It answers the plugin's state when it is ready or degraded.
func (c *Client) ReloadPlugin(ctx context.Context, name string) (Plugin, error) {
	r := c.system(pluginPath(name, "/reload"))
	r.method = http.MethodPost
	var p Plugin
	_, err := c.call(ctx, r, &p)
	return p, err
}

// DeadLetters lists those of a notifier, the oldest first.
func (c *Client) DeadLetters(ctx context.Context, name string) ([]DeadLetter, error) {
	var list []DeadLetter
	_, err := c.call(ctx, c.system(pluginPath(name, "/dead-letters")), &list)
	return list, err
}

// RetryDeadLetters has a notifier send dead letters again, in order; no ids: all. It
// answers how many were accepted, and how many of them are left.
func (c *Client) RetryDeadLetters(ctx context.Context, name string, ids ...string) (accepted, left int, err error) {
	r, err := c.system(pluginPath(name, "/dead-letters/retry")).posting(struct {
		IDs []string `json:"ids,omitempty"`
	}{ids})
	if err != nil {
		return 0, 0, err
	}
	var out struct {
		Accepted int `json:"accepted"`
		Left     int `json:"left"`
	}
	_, err = c.call(ctx, r, &out)
	return out.Accepted, out.Left, err
}

// CatalogPlugin is an entry of the group's catalog: a plugin that every node runs that has
// one of its namespaces, its program, and room for it beside its own configuration. The fields
// are those of a block of the configuration.
type CatalogPlugin struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"`           // notifier, model
	Type       string   `json:"type,omitempty"` // of a notifier
	Namespaces []string `json:"namespaces"`
	RunOn      string   `json:"run_on,omitempty"` // owner, every
	// SHA256 and Version are those that its program must have; empty: any.
	SHA256  string `json:"sha256,omitempty"`
	Version string `json:"version,omitempty"`
	// Config is its own configuration, which answers never have, as it may hold secrets.
	Config map[string]any `json:"config,omitempty"`
	// Options are the block's further arguments, by their names in the configuration.
	Options map[string]any `json:"options,omitempty"`
}

// CatalogPlugins lists the catalog, wherever its plugins run.
func (c *Client) CatalogPlugins(ctx context.Context, opts ...StateOption) ([]CatalogPlugin, error) {
	var list []CatalogPlugin
	err := c.callState(ctx, "v1/plugins", &list, append(opts, inCatalog{}))
	return list, err
}

// inCatalog asks for what is registered, instead of what the node runs.
type inCatalog struct{}

func (inCatalog) applyState(r *stateRead) { r.query.Set("catalog", "true") }

// RegisterPlugin puts a plugin into the catalog, or replaces the one of its name there.
func (c *Client) RegisterPlugin(ctx context.Context, p CatalogPlugin) (CatalogPlugin, error) {
	var out CatalogPlugin
	err := c.changeState(ctx, http.MethodPost, "v1/plugins", p, &out)
	return out, err
}

// DeregisterPlugin takes a plugin out of the catalog: nodes stop it. Whether it works doesn't
// matter. One that isn't in the catalog is [ErrPluginNotFound].
func (c *Client) DeregisterPlugin(ctx context.Context, name string) error {
	return c.changeState(ctx, http.MethodDelete, pluginPath(name, ""), nil, nil)
}

// Reload has the node read its configuration again. It answers what has changed, a few
// words each. An error means that nothing has.
func (c *Client) Reload(ctx context.Context) (changed []string, err error) {
	r := c.system("v1/reload")
	r.method = http.MethodPost
	var out struct {
		Changed []string `json:"changed"`
	}
	_, err = c.call(ctx, r, &out)
	return out.Changed, err
}

func pluginPath(name, action string) string {
	return "v1/plugins/" + escape([]byte(name)) + action
}
