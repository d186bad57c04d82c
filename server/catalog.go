package server

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/pluginhost"
	"github.com/unisondb/unisondb/server/topology"
)

// catalog is the control plane's plugins, as this node has heard of them last.
type catalog struct {
	mu      sync.Mutex
	entries []topology.Plugin
	said    map[string]string // what was logged last of an entry, by its name
	// changed has room for one: the plugins that run may not be those that should.
	changed chan struct{}
}

// catalogOf are the plugins of a state, by name.
func catalogOf(s *topology.State) []topology.Plugin {
	var all []topology.Plugin
	for _, name := range slices.Sorted(maps.Keys(s.Plugins)) {
		all = append(all, *s.Plugins[name])
	}
	return all
}

// takeCatalog notes what the catalog has. It waits for no plugin.
func (n *Node) takeCatalog(entries []topology.Plugin) {
	c := &n.catalog
	c.mu.Lock()
	c.entries = entries
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default: // somebody looks already
	}
}

func (c *catalog) all() []topology.Plugin {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries
}

// runCatalog has the plugins run that the catalog and the files name, whenever the catalog or the
// namespaces of this node change, until ctx ends.
func (n *Node) runCatalog(ctx context.Context) {
	had := false
	for ctx.Err() == nil {
		_, moved := n.placing.Settled()
		if has := len(n.catalog.all()) > 0; has || had {
			had = has
			n.applyPlugins(ctx)
		}
		if !had {
			moved = nil // without a catalog it doesn't matter which namespaces are here
		}
		select {
		case <-n.catalog.changed:
		case <-moved:
		case <-ctx.Done():
		}
	}
}

// applyPlugins has the plugins run that are wanted at the moment.
func (n *Node) applyPlugins(ctx context.Context) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	if n.running == nil || n.running.Err() != nil {
		return
	}
	n.applyLocked(ctx, &n.loaded)
}

// applyLocked has the plugins of a configuration run, and those of the catalog. The caller holds reloading.
func (n *Node) applyLocked(ctx context.Context, cfg *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, reloadGrace)
	defer cancel()
	defer context.AfterFunc(n.running, cancel)()
	if err := n.plugins.Apply(ctx, n.withCatalog(specsOf(cfg))); err != nil {
		n.log.Warn("plugins that are no longer wanted have not stopped properly", "error", err)
	}
}

// withCatalog adds the catalog's plugins to those of the node's own files, which win where both
// name one.
func (n *Node) withCatalog(specs []pluginhost.Spec) []pluginhost.Spec {
	own := len(specs)
	for _, p := range n.catalog.all() {
		if !slices.ContainsFunc(p.Namespaces, n.HasNamespace) {
			continue
		}
		if slices.ContainsFunc(specs[:own], func(s pluginhost.Spec) bool { return s.Name == p.Name }) {
			n.leaveOut(p.Name, "this node's own files have a plugin of its name")
			continue
		}
		spec, err := catalogSpec(p)
		if err != nil {
			n.leaveOut(p.Name, err.Error())
			continue
		}
		if _, err := os.Stat(filepath.Join(n.cfg.PluginDir, string(spec.Kind)+"-"+spec.Type)); err != nil {
			n.leaveOut(p.Name, "its program isn't here: "+err.Error())
			continue
		}
		specs = append(specs, spec)
	}
	return specs
}

// leaveOut logs why an entry of the catalog isn't run here, once for each reason.
func (n *Node) leaveOut(name, reason string) {
	c := &n.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said[name] == reason {
		return
	}
	if c.said == nil {
		c.said = map[string]string{}
	}
	c.said[name] = reason
	n.log.Warn("plugin of the catalog isn't run on this node", "plugin", name, "reason", reason)
}

// catalogSpec is an entry of the catalog in the host's words.
func catalogSpec(p topology.Plugin) (pluginhost.Spec, error) {
	e := config.CatalogEntry{Kind: p.Kind, Type: p.Type, Name: p.Name, Arguments: map[string]any{}}
	maps.Copy(e.Arguments, p.Options)
	var namespaces []any
	for _, name := range p.Namespaces {
		namespaces = append(namespaces, name)
	}
	e.Arguments["namespaces"] = namespaces
	for key, v := range map[string]string{"run_on": p.RunOn, "sha256": p.SHA256, "version": p.Version} {
		if v != "" {
			e.Arguments[key] = v
		}
	}
	if p.Config != nil {
		e.Arguments["config"] = p.Config
	}
	notifier, model, err := e.Resolve()
	switch {
	case err != nil:
		return pluginhost.Spec{}, err
	case model != nil:
		return modelSpec(model), nil
	}
	return notifierSpec(notifier), nil
}
