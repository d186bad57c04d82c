package reference

// File is a file of a node's data directory.
type File struct {
	Path    string // below data_dir
	What    string
	Form    string // of its content
	Magic   string // empty: none of ours
	Version string // the newest that this build reads, and the one that it writes

	// Where the source declares magic and version, for the test that holds them against it.
	source, magic, version string
}

// Files are those with a format, and the directories.
func Files() []File {
	return []File{
		{Path: "node.json", What: "Who the node is: id, instance, role, group of hubs, and the namespaces made here with their lineages.", Form: "JSON with a CRC-32C",
			Magic: "unisondb-node", Version: "1", source: "server/identity.go", magic: "identityMagic", version: "identityVersion"},
		{Path: "LOCK", What: "Locked while a process runs on the directory.", Form: "empty"},
		{Path: "crash.note", What: "Which B+trees a process is at work in, so that the next start knows whose file ended the one before. It may be deleted while the node is stopped.", Form: "binary, mapped",
			Magic: "UNILNOTE", Version: "1", source: "dbkernel/internal/lmdb/crashnote.go", magic: "noteMagic", version: "noteVersion"},
		{Path: "crash.report", What: "What the Go runtime says when the process crashes.", Form: "text"},
		{Path: "namespaces/<namespace>/meta.json", What: "The namespace's lineage, engine and table of epochs.", Form: "JSON with a CRC-32C",
			Magic: "unisondb-namespace", Version: "1", source: "dbkernel/internal/codec/sealed.go", magic: "MetaMagic", version: "MetaFormat"},
		{Path: "namespaces/<namespace>/holds.json", What: "What the log is kept for while nobody reads it: how far the upstream of an edge has what the edge owns.", Form: "JSON with a CRC-32C",
			Magic: "unisondb-holds", Version: "1", source: "dbkernel/hold.go", magic: "holdsMagic", version: "holdsFormat"},
		{Path: "namespaces/<namespace>/wal/segment-00000001 …", What: "The log, in segments of at most `segment_size`.", Form: "binary: a header, then frames with records",
			Magic: "UNISWAL\n", Version: "1", source: "dbkernel/internal/wal/layout.go", magic: "segMagic", version: "formatVersion"},
		{Path: "namespaces/<namespace>/db/data.mdb, db/lock.mdb", What: "The B+tree with `engine = \"lmdb\"`; the checkpoint is inside it.", Form: "LMDB's own",
			Magic: "0xBEEFC0DE", Version: "1", source: "dbkernel/internal/lmdb/checkfile.go", magic: "dataMagic", version: "dataVersion"},
		{Path: "namespaces/<namespace>/db/data.bolt", What: "The B+tree with `engine = \"bolt\"`.", Form: "bbolt's own",
			Magic: "0xED0CDAED", Version: "2", source: "dbkernel/internal/btree/bolt_file.go", magic: "boltMagic", version: "boltVersion"},
		{Path: "raft/raft.json", What: "Whose control plane this is, on a hub.", Form: "JSON with a CRC-32C",
			Magic: "unisondb-raft", Version: "1", source: "server/topology/identity.go", magic: "dirMagic", version: "dirVersion"},
		{Path: "raft/log.db", What: "The control plane's log.", Form: "bbolt's own; each entry begins with its version", Version: "1", source: "server/topology/disklog.go", version: "entryVersion"},
		{Path: "raft/snapshots/", What: "Snapshots of the control plane. `operator snapshot save` writes the same format.", Form: "a binary header, then JSON",
			Magic: "udbtopo\n", Version: "1", source: "server/topology/snapshot.go", magic: "snapshotMagic", version: "snapshotVersion"},
		{Path: "relayer.json", What: "What a relayer was assigned last, and its upstreams, for a start without any hub.", Form: "JSON with a checksum",
			Magic: "unisondb-relayer", Version: "1", source: "server/internal/control/store.go", magic: "storeMagic", version: "storeVersion"},
		{Path: "incoming/", What: "Snapshots being received.", Form: "as a namespace's directory"},
		{Path: "aside/", What: "What was cut off or found damaged, kept for a human, each with a `reason.txt`.", Form: "as before it was set aside"},
		{Path: "notifiers/<notifier>/<namespace>.json", What: "How far a notifier is, where the cursor belongs to the node and not to the namespace.", Form: "JSON with a CRC-32C",
			Magic: "unisondb-cursor", Version: "1", source: "server/pluginhost/internal/delivery/cursor.go", magic: "cursorMagic", version: "cursorFormat"},
		{Path: "notifiers/<notifier>/dead-letters.jsonl", What: "The events that a notifier's other side has refused for good.", Form: "lines of JSON, each with a CRC-32C",
			Magic: "unisondb-dead-letters", Version: "1", source: "server/pluginhost/internal/delivery/letter_lines.go", magic: "lettersMagic", version: "lettersFormat"},
		{Path: "backups/", What: "Where `POST /wal/backup` and `POST /btree/backup` write.", Form: "as the originals"},
	}
}
