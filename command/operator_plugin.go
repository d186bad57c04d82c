package command

import (
	"context"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/sdk/client"
)

// pluginColumns are those of a list of plugins.
var pluginColumns = []string{"PLUGIN", "TYPE", "STATE", "VERSION", "RESTARTS", "MEMORY", "CPU", "LAG", "DEAD LETTERS"}

// pluginCells is a plugin's line in such a list.
func pluginCells(p client.Plugin) []string {
	memory, cpu := "-", "-"
	if p.PID != 0 {
		memory, cpu = formatBytes(p.MemoryBytes), fmt.Sprintf("%.1fs", p.CPUSeconds)
	}
	lag, letters := "-", "-"
	if p.Kind == "notifier" {
		var behind uint64
		dead := 0
		for _, ns := range p.Namespaces {
			behind, dead = max(behind, ns.LagRecords), dead+ns.DeadLetters
		}
		lag, letters = number(behind)+" records", number(uint64(dead))
	}
	return []string{p.Name, p.Type, p.State, dash(p.Version), number(p.Restarts), memory, cpu, lag, letters}
}

// pluginNotes says what somebody should know of each plugin, a paragraph for each.
func (m *Meta) pluginNotes(all []client.Plugin) error {
	for _, p := range all {
		if p.Reason != "" {
			if err := m.print(fmt.Appendf(nil, "\n%s is %s: %s\n", p.Name, p.State, p.Reason)); err != nil {
				return err
			}
		}
		for _, ns := range p.Namespaces {
			if ns.LastError == "" {
				continue
			}
			if err := m.print(fmt.Appendf(nil, "\n%s in %s: %s\n", p.Name, ns.Name, ns.LastError)); err != nil {
				return err
			}
		}
	}
	return nil
}

// pluginDetails prints all that is known of a plugin, for people.
func (m *Meta) pluginDetails(p client.Plugin) error {
	pairs := []string{"Plugin", p.Name, "Kind", p.Kind, "Type", p.Type, "State", p.State}
	if p.Reason != "" {
		pairs = append(pairs, "Reason", p.Reason)
	}
	if p.Description != "" {
		pairs = append(pairs, "Description", p.Description)
	}
	pairs = append(pairs, "Version", dash(p.Version), "SHA-256", dash(p.SHA256), "Program", dash(p.Path), "Restarts", number(p.Restarts))
	if p.PID != 0 {
		pairs = append(pairs, "Process", fmt.Sprintf("%d", p.PID),
			"Memory", fmt.Sprintf("%s of at most %s", formatBytes(p.MemoryBytes), formatBytes(p.MemoryLimit)), "CPU", fmt.Sprintf("%.1fs", p.CPUSeconds))
	}
	if p.LogLinesDropped > 0 {
		pairs = append(pairs, "Log lines dropped", number(p.LogLinesDropped))
	}
	if err := m.properties(pairs...); err != nil {
		return err
	}
	if err := m.pluginMethods(p.Methods); err != nil {
		return err
	}
	return m.pluginNamespaces(p)
}

func (m *Meta) pluginMethods(methods []client.PluginMethod) error {
	var rows [][]string
	for _, method := range methods {
		writes := "no"
		if method.Writes {
			writes = "yes"
		}
		rows = append(rows, []string{method.Name, writes, dash(method.Description)})
	}
	return m.section(rows, "METHOD", "WRITES", "DESCRIPTION")
}

func (m *Meta) pluginNamespaces(p client.Plugin) error {
	if p.Kind != "notifier" {
		var rows [][]string
		for _, ns := range p.Namespaces {
			rows = append(rows, []string{ns.Name})
		}
		return m.section(rows, "NAMESPACE")
	}
	var rows [][]string
	for _, ns := range p.Namespaces {
		rows = append(rows, []string{ns.Name, dash(ns.Cursor), number(ns.LagRecords) + " records", number(ns.Delivered), number(ns.Refusals),
			fmt.Sprintf("%d", ns.DeadLetters), number(ns.CursorsLost), dash(ns.LastError)})
	}
	return m.section(rows, "NAMESPACE", "CURSOR", "LAG", "DELIVERED", "REFUSED", "DEAD LETTERS", "CURSORS LOST", "LAST ERROR")
}

// section prints a table of its own, if there is something in it.
func (m *Meta) section(rows [][]string, columns ...string) error {
	if len(rows) == 0 {
		return nil
	}
	if err := m.print([]byte("\n")); err != nil {
		return err
	}
	l := m.newList(columns...)
	for _, row := range rows {
		if err := l.add(nil, row...); err != nil {
			return err
		}
	}
	return l.close(nil)
}

// pluginsOf are those that serve a namespace.
func pluginsOf(all []client.Plugin, namespace string) []client.Plugin {
	return slices.DeleteFunc(slices.Clone(all), func(p client.Plugin) bool {
		return !slices.ContainsFunc(p.Namespaces, func(ns client.PluginNamespace) bool { return ns.Name == namespace })
	})
}

// theNotifier says what the dead letters of a notifier are, in the help of their commands.
const theNotifier = "A dead letter is an event that the notifier's other side has refused max_refusals times, or can never take: " +
	"it is set aside, and those behind it go on."

// onPlugin runs a call about one plugin on the node.
func (m *Meta) onPlugin(ctx context.Context, name string, call func(*client.Client, context.Context, string) (client.Plugin, error)) (client.Plugin, error) {
	node, err := m.client()
	if err != nil {
		return client.Plugin{}, err
	}
	return call(node, ctx, name)
}
