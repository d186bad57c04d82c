package main

import (
	"github.com/unisondb/unisondb/command"
	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/server/reference"
)

// data is what templates are given.
type data struct {
	Blocks  []block
	Plugins []pluginDoc

	Groups      []commandGroup
	Connection  []command.FlagDoc
	Environment []command.EnvironmentDoc
	Statuses    []command.ExitStatusDoc

	Sections []section

	Codes     []codeClass
	Stream    []reference.Refusal
	Session   []reference.Refusal
	Namespace []reference.Refusal

	Metrics []reference.Metric
	Protos  []protoFile

	Fields   []notifier.MessageField
	Examples map[string]string

	Files []reference.File
}

func collect(root string) (*data, error) {
	d := &data{
		Groups: commandGroups(), Connection: command.ConnectionFlags(), Environment: command.Environment(), Statuses: command.ExitStatuses(),
		Sections: sections(), Codes: codeClasses(),
		Stream: reference.StreamRefusals(), Session: reference.SessionRefusals(), Namespace: reference.NamespaceRefusals(),
		Metrics: reference.Metrics(), Fields: notifier.MessageFields(), Files: reference.Files(),
	}
	var err error
	if d.Blocks, err = blocks(); err != nil {
		return nil, err
	}
	if d.Plugins, err = plugins(root); err != nil {
		return nil, err
	}
	if d.Protos, err = protos(root); err != nil {
		return nil, err
	}
	d.Examples, err = examples()
	return d, err
}
