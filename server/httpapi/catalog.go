package httpapi

import (
	"context"
	"maps"
	"slices"

	"github.com/unisondb/unisondb/server/topology"
)

// catalogIn is an entry of the catalog in a request. Its fields are those of a block of the
// configuration.
type catalogIn struct {
	Name       string         `json:"name"`
	Kind       string         `json:"kind"`
	Type       string         `json:"type"`
	Namespaces []string       `json:"namespaces"`
	RunOn      string         `json:"run_on"`
	SHA256     string         `json:"sha256"`
	Version    string         `json:"version"`
	Config     map[string]any `json:"config"`
	Options    map[string]any `json:"options"`
}

// catalogOut is an entry in an answer: without its configuration, which may hold secrets.
type catalogOut struct {
	Name       string         `json:"name"`
	Kind       string         `json:"kind"`
	Type       string         `json:"type,omitempty"`
	Namespaces []string       `json:"namespaces"`
	RunOn      string         `json:"run_on,omitempty"`
	SHA256     string         `json:"sha256,omitempty"`
	Version    string         `json:"version,omitempty"`
	Options    map[string]any `json:"options,omitempty"`
}

func outCatalog(p *topology.Plugin) catalogOut {
	return catalogOut{p.Name, p.Kind, p.Type, append([]string{}, p.Namespaces...), p.RunOn, p.SHA256, p.Version, p.Options}
}

// listCatalog lists what is registered, wherever it runs.
func (c *call) listCatalog() error {
	return c.withGroup(func(ctx context.Context) error {
		s, err := c.synced(ctx)
		if err != nil {
			return err
		}
		out := make([]catalogOut, 0, len(s.Plugins))
		for _, name := range slices.Sorted(maps.Keys(s.Plugins)) {
			out = append(out, outCatalog(s.Plugins[name]))
		}
		return c.json(out)
	})
}

// registerPlugin adds an entry to the catalog, or replaces the one of its name.
func (c *call) registerPlugin() error {
	return c.changeGroup(func(ctx context.Context) error {
		var in catalogIn
		if err := c.readJSON(maxValueBody, &in); err != nil {
			return err
		}
		p := topology.Plugin(in)
		if err := c.propose(ctx, topology.RegisterPlugin{Plugin: p}); err != nil {
			return err
		}
		return c.json(outCatalog(&p))
	})
}

func (c *call) deregisterPlugin() error {
	return c.changeGroup(func(ctx context.Context) error {
		if err := c.propose(ctx, topology.DeregisterPlugin{Name: c.plugin}); err != nil {
			return err
		}
		return c.json(success{true})
	})
}
