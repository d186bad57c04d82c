package command

import "github.com/hashicorp/cli"

// leaves are the commands that do something, by name. A new command is a line
// here, a file and a test.
var leaves = map[string]func(*Meta) leaf{
	"server":          func(m *Meta) leaf { return &serverCommand{Meta: m} },
	"relayer":         func(m *Meta) leaf { return &relayerCommand{Meta: m} },
	"config validate": func(m *Meta) leaf { return &configValidateCommand{Meta: m} },
	"status":          func(m *Meta) leaf { return &statusCommand{Meta: m} },
	"version":         func(m *Meta) leaf { return &versionCommand{Meta: m} },

	"kv get":    func(m *Meta) leaf { return &kvGetCommand{Meta: m} },
	"kv put":    func(m *Meta) leaf { return &kvPutCommand{Meta: m} },
	"kv delete": func(m *Meta) leaf { return &kvDeleteCommand{Meta: m} },
	"kv list":   func(m *Meta) leaf { return &kvListCommand{Meta: m} },

	"row get":    func(m *Meta) leaf { return &rowGetCommand{Meta: m} },
	"row put":    func(m *Meta) leaf { return &rowPutCommand{Meta: m} },
	"row delete": func(m *Meta) leaf { return &rowDeleteCommand{Meta: m} },
	"row list":   func(m *Meta) leaf { return &rowListCommand{Meta: m} },

	"lob put":    func(m *Meta) leaf { return &lobPutCommand{Meta: m} },
	"lob get":    func(m *Meta) leaf { return &lobGetCommand{Meta: m} },
	"lob delete": func(m *Meta) leaf { return &lobDeleteCommand{Meta: m} },
	"lob list":   func(m *Meta) leaf { return &lobListCommand{Meta: m} },
	"lob stat":   func(m *Meta) leaf { return &lobStatCommand{Meta: m} },

	"operator debug":    func(m *Meta) leaf { return &operatorDebugCommand{Meta: m} },
	"operator diagnose": func(m *Meta) leaf { return &operatorDiagnoseCommand{Meta: m} },
	"operator reload":   func(m *Meta) leaf { return &operatorReloadCommand{Meta: m} },
	"operator verify":   func(m *Meta) leaf { return &operatorVerifyCommand{Meta: m} },

	"operator log dump":   func(m *Meta) leaf { return &operatorLogDumpCommand{Meta: m} },
	"operator log verify": func(m *Meta) leaf { return &operatorLogVerifyCommand{Meta: m} },

	"operator raft list-peers":      func(m *Meta) leaf { return &operatorRaftListPeersCommand{Meta: m} },
	"operator raft recover":         func(m *Meta) leaf { return &operatorRaftRecoverCommand{Meta: m} },
	"operator raft remove-peer":     func(m *Meta) leaf { return &operatorRaftRemovePeerCommand{Meta: m} },
	"operator raft transfer-leader": func(m *Meta) leaf { return &operatorRaftTransferLeaderCommand{Meta: m} },

	"operator snapshot inspect": func(m *Meta) leaf { return &operatorSnapshotInspectCommand{Meta: m} },
	"operator snapshot restore": func(m *Meta) leaf { return &operatorSnapshotRestoreCommand{Meta: m} },
	"operator snapshot save":    func(m *Meta) leaf { return &operatorSnapshotSaveCommand{Meta: m} },

	"operator namespace accept": func(m *Meta) leaf { return &operatorNamespaceAcceptCommand{Meta: m} },
	"operator namespace create": func(m *Meta) leaf { return &operatorNamespaceCreateCommand{Meta: m} },
	"operator namespace delete": func(m *Meta) leaf { return &operatorNamespaceDeleteCommand{Meta: m} },
	"operator namespace info":   func(m *Meta) leaf { return &operatorNamespaceInfoCommand{Meta: m} },
	"operator namespace list":   func(m *Meta) leaf { return &operatorNamespaceListCommand{Meta: m} },
	"operator namespace set":    func(m *Meta) leaf { return &operatorNamespaceSetCommand{Meta: m} },

	"operator topology assign":       func(m *Meta) leaf { return &operatorTopologyAssignCommand{Meta: m} },
	"operator topology set-upstream": func(m *Meta) leaf { return &operatorTopologySetUpstreamCommand{Meta: m} },
	"operator topology show":         func(m *Meta) leaf { return &operatorTopologyShowCommand{Meta: m} },
	"operator topology unassign":     func(m *Meta) leaf { return &operatorTopologyUnassignCommand{Meta: m} },

	"operator relayer drain":        func(m *Meta) leaf { return &operatorRelayerDrainCommand{Meta: m} },
	"operator relayer info":         func(m *Meta) leaf { return &operatorRelayerInfoCommand{Meta: m} },
	"operator relayer list":         func(m *Meta) leaf { return &operatorRelayerListCommand{Meta: m} },
	"operator relayer remove":       func(m *Meta) leaf { return &operatorRelayerRemoveCommand{Meta: m} },
	"operator relayer token":        func(m *Meta) leaf { return &operatorRelayerTokenCommand{Meta: m} },
	"operator relayer token list":   func(m *Meta) leaf { return &operatorRelayerTokenListCommand{Meta: m} },
	"operator relayer token revoke": func(m *Meta) leaf { return &operatorRelayerTokenRevokeCommand{Meta: m} },

	"operator plugin deregister": func(m *Meta) leaf { return &operatorPluginDeregisterCommand{Meta: m} },
	"operator plugin info":       func(m *Meta) leaf { return &operatorPluginInfoCommand{Meta: m} },
	"operator plugin list":       func(m *Meta) leaf { return &operatorPluginListCommand{Meta: m} },
	"operator plugin register":   func(m *Meta) leaf { return &operatorPluginRegisterCommand{Meta: m} },
	"operator plugin reload":     func(m *Meta) leaf { return &operatorPluginReloadCommand{Meta: m} },

	"operator plugin dead-letters list":  func(m *Meta) leaf { return &operatorPluginDeadLettersListCommand{Meta: m} },
	"operator plugin dead-letters retry": func(m *Meta) leaf { return &operatorPluginDeadLettersRetryCommand{Meta: m} },

	"completion bash":  func(m *Meta) leaf { return &completionBashCommand{Meta: m} },
	"completion fish":  func(m *Meta) leaf { return &completionFishCommand{Meta: m} },
	"completion words": func(m *Meta) leaf { return &completionWordsCommand{Meta: m} },
	"completion zsh":   func(m *Meta) leaf { return &completionZshCommand{Meta: m} },

	"tls ca create":   func(m *Meta) leaf { return &tlsCACreateCommand{Meta: m} },
	"tls cert create": func(m *Meta) leaf { return &tlsCertCreateCommand{Meta: m} },
}

// groups are the commands that only have others below them.
var groups = map[string]groupSpec{
	"completion": {
		synopsis: "Have the shell complete this program's commands",
		about:    "Commands that print completion scripts for shells.",
	},
	"config": {
		synopsis: "Check configuration files",
		about:    "Commands for configuration files. None of them starts anything.",
	},
	"kv": {
		synopsis: "Read and write key-values",
		about:    "Commands for the key-value model: one value of up to 8 MiB under each key.",
	},
	"row": {
		synopsis: "Read and write rows of columns",
		about:    "Commands for the wide-column model: named columns under each row key, written one by one.",
	},
	"operator": {
		synopsis: "Run and repair a deployment",
		about:    "Commands for whoever runs nodes. Those that change a node work on its own machine only, until access control exists.",
	},
	"operator namespace": {
		synopsis: "Make, list, change, delete and repair namespaces",
		about:    "Commands for namespaces as a whole. Any hub may be asked.",
	},
	"operator log": {
		synopsis: "Read and check a namespace's files",
		about:    "Commands for the files of a node that doesn't run. None of them changes a byte.",
	},
	"operator raft": {
		synopsis: "List, remove and recover the hubs of a group",
		about:    "Commands for the group of hubs that runs the control plane. A hub that stands alone is a group of one.",
	},
	"operator snapshot": {
		synopsis: "Save and restore the control plane's state",
		about:    "Commands for snapshots of what the group of hubs agrees on. They hold no data of namespaces.",
	},
	"operator topology": {
		synopsis: "Say and show which node has what",
		about:    "Commands for who receives which namespace, and from whom. Any hub may be asked.",
	},
	"operator relayer": {
		synopsis: "List, admit and remove relayers",
		about:    "Commands for the relayers that have joined the group of hubs. Any hub may be asked.",
	},
	"operator plugin": {
		synopsis: "List, register and repair plugins",
		about:    "Commands for plugins: the notifiers and data models that nodes run as programs of their own, as their configuration or the group's catalog says.",
	},
	"operator plugin dead-letters": {
		synopsis: "List and retry what a notifier couldn't deliver",
		about:    "Commands for dead letters. " + theNotifier,
	},
	"lob": {
		synopsis: "Read and write large objects",
		about:    "Commands for large objects: bytes of any size, streamed in and out, visible when complete.",
	},
	"tls": {
		synopsis: "Make certificates for TLS",
		about:    "Commands that make certificates for a test or a small fleet, without any node.",
	},
	"tls ca": {
		synopsis: "Make a certificate authority",
		about:    "Commands for the CA that signs the certificates of a fleet.",
	},
	"tls cert": {
		synopsis: "Make certificates of nodes and clients",
		about:    "Commands for the certificates that a CA of 'unisondb tls ca create' signs.",
	},
}

// commands is the whole registry, bound to m.
func (m *Meta) commands() map[string]cli.CommandFactory {
	all := make(map[string]cli.CommandFactory, len(leaves)+len(groups))
	for name, newLeaf := range leaves {
		all[name] = func() (cli.Command, error) { return &leafCommand{Meta: m, name: name, leaf: newLeaf(m)}, nil }
	}
	for name, spec := range groups {
		all[name] = func() (cli.Command, error) { return &groupCommand{Meta: m, name: name, groupSpec: spec}, nil }
	}
	return all
}
