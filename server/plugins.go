package server

import (
	"context"

	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/internal/metrics"
	"github.com/unisondb/unisondb/server/internal/placement"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// startPlugins begins to run the plugins that the configuration names. It waits for
// none of them: the node serves and replicates whatever they do.
func (n *Node) startPlugins(context.Context) error {
	n.plugins = pluginhost.New(pluginhost.Options{
		PluginDir: n.cfg.PluginDir, DataDir: n.cfg.DataDir, NodeID: n.ID(),
		Namespace: n.Namespace, Owns: n.owns,
		Logger:  n.log.Named("plugins"),
		OnEvent: func(e pluginhost.Event) { n.metrics.Event("plugin_" + e.Kind) },
	})
	n.plugins.Start(specsOf(&n.cfg))
	n.allowReloads()
	return nil
}

// allowReloads lets the configuration be read again from here until the plugins stop.
func (n *Node) allowReloads() {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	var end context.CancelFunc
	n.running, end = context.WithCancel(context.Background())
	n.onStop("the plugins", func(ctx context.Context) error {
		end()
		n.reloading.Lock() // the one under way has ended then
		defer n.reloading.Unlock()
		return n.plugins.Stop(ctx)
	})
}

// owns says whether this node appends to a namespace.
func (n *Node) owns(name string) bool {
	return n.places.role(name) == placement.Own && n.names.refusal(name) == nil
}

// specsOf are the plugins of a configuration in the host's words.
func specsOf(cfg *config.Config) []pluginhost.Spec {
	var specs []pluginhost.Spec
	for i := range cfg.Notifiers {
		specs = append(specs, notifierSpec(&cfg.Notifiers[i]))
	}
	for i := range cfg.Models {
		specs = append(specs, modelSpec(&cfg.Models[i]))
	}
	return specs
}

func notifierSpec(c *config.Notifier) pluginhost.Spec {
	return pluginhost.Spec{
		Name: c.Name, Type: c.Type, Kind: pluginhost.KindNotifier, Namespaces: c.Namespaces,
		SHA256: c.Program.SHA256, Version: c.Program.Version, MemoryLimit: c.Program.MemoryLimit,
		Config: c.Config, Where: c.Where.At,
		Delivery: pluginhost.DeliveryOptions{
			RunOn: pluginhost.RunOn(c.RunOn), Prefix: []byte(c.Prefix), Operations: c.Operations, EntryTypes: c.EntryTypes,
			MaxDelay: c.MaxDelay, LatestPerKey: c.LatestPerKey, StartFrom: c.StartFrom, RestartFrom: c.RestartFrom,
			MaxRefusals: c.MaxRefusals, MaxBatch: c.MaxBatch,
		},
	}
}

func modelSpec(c *config.Model) pluginhost.Spec {
	return pluginhost.Spec{
		Name: c.Name, Type: c.Name, Kind: pluginhost.KindModel, Namespaces: c.Namespaces,
		SHA256: c.Program.SHA256, Version: c.Program.Version, MemoryLimit: c.Program.MemoryLimit,
		Config: c.Config, Where: c.Where.At,
	}
}

// collectPlugins emits how the plugins do.
func (n *Node) collectPlugins(emit metrics.Emit) {
	if n.plugins == nil {
		return
	}
	for _, p := range n.plugins.Plugins() {
		emit("unisondb_plugin_state", 1, p.Name, p.Type, string(p.State))
		emit("unisondb_plugin_restarts_total", float64(p.Restarts), p.Name, p.Type)
		emit("unisondb_plugin_memory_bytes", float64(p.MemoryBytes), p.Name, p.Type)
		emit("unisondb_plugin_memory_limit_bytes", float64(p.MemoryLimit), p.Name, p.Type)
		emit("unisondb_plugin_cpu_seconds_total", p.CPUSeconds, p.Name, p.Type)
		emit("unisondb_plugin_log_lines_dropped_total", float64(p.LogLinesDropped), p.Name, p.Type)
		if p.Kind != pluginhost.KindNotifier {
			continue
		}
		for _, ns := range p.Namespaces {
			emit("unisondb_notifier_lag_records", float64(ns.LagRecords), p.Name, ns.Name)
			emit("unisondb_notifier_delivered_total", float64(ns.Delivered), p.Name, ns.Name)
			emit("unisondb_notifier_refusals_total", float64(ns.Refusals), p.Name, ns.Name)
			emit("unisondb_notifier_dead_letters", float64(ns.DeadLetters), p.Name, ns.Name)
			emit("unisondb_notifier_lost_cursors_total", float64(ns.CursorsLost), p.Name, ns.Name)
		}
	}
}
