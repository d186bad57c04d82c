package metrics

// kind is how Prometheus is to read a metric.
type kind int

const (
	counter kind = iota
	gauge
	histogram
)

// metric is one name that the node exports.
type metric struct {
	name   string
	kind   kind
	help   string
	labels []string
}

// list is every metric of a node, but for those of the Go runtime and the
// process, which have the prefix unisondb_, too.
var list = []metric{
	{"unisondb_build_info", gauge, "Always 1; the labels say which node this is and what it runs.", []string{"version", "role", "node_id"}},
	{"unisondb_events_total", counter, "Things that an operator should look at, by kind: frozen, quarantined, pin_broken, flush_failed, damaged, diverged, repaired; of plugins: plugin_ and the new state, plugin_cursor_lost, plugin_dead_letter, plugin_dead_letters_full, plugin_bad_answer, plugin_cursor_unsaved.", []string{"kind"}},

	{"unisondb_http_requests_total", counter, "Finished HTTP requests by route, method and status.", []string{"route", "method", "code"}},
	{"unisondb_http_requests_in_flight", gauge, "HTTP requests under way, the scrape itself included.", nil},
	{"unisondb_forwarded_requests_total", counter, "Requests that this hub has passed on to another one, by outcome: answered, not_taken (503 NO_OWNER), cut (the other hub was lost after it had begun: 503 OUTCOME_UNKNOWN for a write), failed (the client left, or its body ended early).", []string{"outcome"}},
	{"unisondb_forward_waiting", gauge, "Requests that wait until another hub takes them.", nil},
	{"unisondb_http_request_seconds", histogram, "How long HTTP requests took, streams and waits included.", []string{"route"}},

	{"unisondb_certificate_not_after_seconds", gauge, "When the certificate of a tls block expires, in seconds since 1970.", []string{"block"}},
	{"unisondb_certificate_problem", gauge, "1 while the files of a tls block can't be used, or hold what isn't valid now; the status says why.", []string{"block"}},
	{"unisondb_connections_refused_total", counter, "Connections and followers that were sent away for who they are; the log says who and why.", nil},

	{"unisondb_raft_leader", gauge, "1 on the hub that leads its group.", nil},
	{"unisondb_raft_leader_known", gauge, "1 while this hub knows of a leader of its group.", nil},
	{"unisondb_raft_last_contact_seconds", gauge, "How long ago this hub heard of the leader; absent where it never has, 0 on the leader.", nil},
	{"unisondb_raft_applied_index", gauge, "The newest change of the group's state that this hub has.", nil},
	{"unisondb_raft_hubs", gauge, "Hubs in the group, as this one knows.", nil},
	{"unisondb_raft_problem", gauge, "1 while this hub takes no part in its group; the status says why.", nil},
	{"unisondb_relayer_sessions", gauge, "Relayers that attend this hub.", nil},
	{"unisondb_attending", gauge, "1 on a relayer while it attends a hub.", nil},
	{"unisondb_placement_problems", gauge, "Namespaces that aren't where the control plane wants them on this node; the status says why.", nil},

	{"unisondb_namespace_state", gauge, "1 for the state that the namespace is in: serving, bootstrapping, stalled, forked, frozen, quarantined or missing.", []string{"namespace", "state"}},
	{"unisondb_lsn", gauge, "The last record appended to the namespace's log.", []string{"namespace"}},
	{"unisondb_durable_lsn", gauge, "The last record that this node has fsynced.", []string{"namespace"}},
	{"unisondb_commit_lsn", gauge, "The last record that is durable wherever acks asks for it.", []string{"namespace"}},
	{"unisondb_checkpoint_lsn", gauge, "The last record that the B+tree contains.", []string{"namespace"}},
	{"unisondb_first_lsn", gauge, "The first record that the log still holds.", []string{"namespace"}},
	{"unisondb_records_total", counter, "Records appended since the start of the process.", []string{"namespace"}},
	{"unisondb_ops_total", counter, "Operations in the records appended.", []string{"namespace"}},
	{"unisondb_appended_bytes_total", counter, "Bytes of the records appended.", []string{"namespace"}},
	{"unisondb_commit_groups_total", counter, "Groups of records written to the log, one write and one fsync each.", []string{"namespace"}},
	{"unisondb_fsyncs_total", counter, "Fsyncs of the log.", []string{"namespace"}},
	{"unisondb_flushes_total", counter, "Memtables flushed to the B+tree.", []string{"namespace"}},
	{"unisondb_flushed_keys_total", counter, "Keys flushed to the B+tree.", []string{"namespace"}},
	{"unisondb_write_stall_seconds", counter, "Time that writers waited because flushing lags behind or memory is short.", []string{"namespace"}},
	{"unisondb_expired_total", counter, "Values removed because their time to live was over.", []string{"namespace"}},
	{"unisondb_live_bytes", gauge, "Live keys and values, open uploads included; an estimate.", []string{"namespace"}},
	{"unisondb_memtable_bytes", gauge, "Memory that the memtables take.", []string{"namespace"}},
	{"unisondb_log_bytes", gauge, "Disk space that the log takes.", []string{"namespace"}},
	{"unisondb_log_segments", gauge, "Files of the log.", []string{"namespace"}},
	{"unisondb_tree_bytes", gauge, "Size of the B+tree's file; 0 while it is closed.", []string{"namespace"}},
	{"unisondb_tree_oldest_snapshot_seconds", gauge, "Age of the oldest read transaction of the B+tree; an old one makes its file grow.", []string{"namespace"}},

	{"unisondb_upstream_connected", gauge, "1 while records of the namespace can flow from the upstream.", []string{"namespace", "upstream"}},
	{"unisondb_lag_records", gauge, "Records that this node hasn't applied: of those that the upstream has committed (scope upstream), or the owner (scope owner).", []string{"namespace", "upstream", "scope"}},
	{"unisondb_lag_bytes", gauge, "About how many bytes those records have.", []string{"namespace", "upstream", "scope"}},
	{"unisondb_lag_seconds", gauge, "How old the state is that readers see, compared with the upstream's (scope upstream) or the owner's (scope owner); from heartbeats, never from comparing clocks.", []string{"namespace", "upstream", "scope"}},
	{"unisondb_hops", gauge, "Nodes that a record passes on its way from the owner to this one, this one included.", []string{"namespace", "upstream"}},
	{"unisondb_upstream_reconnects_total", counter, "Streams from the upstream that ended.", []string{"namespace", "upstream"}},
	{"unisondb_followers", gauge, "Followers that stream the namespace from this node.", []string{"namespace"}},
	{"unisondb_follower_lag_records", gauge, "Records committed here that the follower hasn't reported durable.", []string{"namespace", "follower"}},
	{"unisondb_follower_durable_lsn", gauge, "The last record that the follower has reported durable.", []string{"namespace", "follower"}},
	{"unisondb_follower_applied_lsn", gauge, "The last record that readers of the follower see.", []string{"namespace", "follower"}},

	{"unisondb_snapshot_received_bytes", gauge, "Bytes of cells that are here of a copy of the namespace that is arriving; absent while none is.", []string{"namespace", "upstream"}},
	{"unisondb_snapshot_estimated_bytes", gauge, "About how many bytes of cells that copy has; 0 where it isn't known.", []string{"namespace", "upstream"}},
	{"unisondb_snapshot_bytes_total", counter, "Bytes that were sent for snapshots of the namespace.", []string{"namespace"}},
	{"unisondb_repair_bytes_total", counter, "Bytes that were sent to followers for the repair of ranges that differ.", []string{"namespace"}},
	{"unisondb_follower_snapshot_bytes", gauge, "Bytes that were sent to the follower of a snapshot that it is receiving; absent while none is under way.", []string{"namespace", "follower"}},
	{"unisondb_forks_total", counter, "Times that something was taken out of the namespace that wasn't the source's history, by what: records truncated, or all of it replaced by a new copy.", []string{"namespace", "upstream", "what"}},
	{"unisondb_compared_lsn", gauge, "The newest mark at which the namespace was compared with its source.", []string{"namespace", "upstream"}},
	{"unisondb_differences_total", counter, "Marks at which the namespace was not what its source has.", []string{"namespace", "upstream"}},

	{"unisondb_set_aside", gauge, "Files and directories in the data directory's aside/: records that were cut off, and data that was found unusable or replaced.", []string{"namespace"}},
	{"unisondb_set_aside_records", gauge, "Records in those files.", []string{"namespace"}},

	{"unisondb_plugin_state", gauge, "1 for the state that the plugin is in: disabled, starting, ready, degraded or stopped; the status says why.", []string{"plugin", "type", "state"}},
	{"unisondb_plugin_restarts_total", counter, "Times that the plugin's process was started again.", []string{"plugin", "type"}},
	{"unisondb_plugin_memory_bytes", gauge, "Memory that the plugin's process has resident; 0 while it has none.", []string{"plugin", "type"}},
	{"unisondb_plugin_memory_limit_bytes", gauge, "Memory beyond which the node kills the plugin's process.", []string{"plugin", "type"}},
	{"unisondb_plugin_cpu_seconds_total", counter, "Processor time that the plugin's process has used since it was started.", []string{"plugin", "type"}},
	{"unisondb_plugin_log_lines_dropped_total", counter, "Lines of the plugin's log that were too many to keep.", []string{"plugin", "type"}},
	{"unisondb_notifier_lag_records", gauge, "Records committed here that the notifier's other side hasn't accepted up to.", []string{"plugin", "namespace"}},
	{"unisondb_notifier_delivered_total", counter, "Events that the notifier's other side has accepted.", []string{"plugin", "namespace"}},
	{"unisondb_notifier_refusals_total", counter, "Events that the notifier's other side has refused, each time that it did.", []string{"plugin", "namespace"}},
	{"unisondb_notifier_dead_letters", gauge, "Events set aside because they were refused too often or can't be delivered.", []string{"plugin", "namespace"}},
	{"unisondb_notifier_lost_cursors_total", counter, "Times that the log no longer held what the notifier was to go on with.", []string{"plugin", "namespace"}},

	{"unisondb_scrubs_total", counter, "Whole passes over the namespace's files that looked for damage.", []string{"namespace"}},
	{"unisondb_scrub_bytes_total", counter, "Bytes that such passes have read.", []string{"namespace"}},
	{"unisondb_scrub_timestamp_seconds", gauge, "When the last such pass ended, in seconds since 1970.", []string{"namespace"}},
	{"unisondb_damaged_cells", gauge, "Stored values that are known to be damaged, and not repaired.", []string{"namespace"}},
	{"unisondb_damaged_ranges", gauge, "Ranges of the digests, of 1,024, in which something is known to be wrong.", []string{"namespace"}},
	{"unisondb_damaged_log", gauge, "1 while the log is known to hold a record that can't be read.", []string{"namespace"}},
	{"unisondb_damaged_tree", gauge, "1 while the structure of the B+tree is known to be damaged.", []string{"namespace"}},
	{"unisondb_diverged", gauge, "1 while ranges are known to differ from the source's.", []string{"namespace"}},
	{"unisondb_repaired_cells_total", counter, "Cells that repairs have changed.", []string{"namespace"}},
}

// Doc is a metric, as the reference shows it.
type Doc struct {
	Name, Type, Help string
	Labels           []string
}

// Docs are the metrics of the list, in its order.
func Docs() []Doc {
	var all []Doc
	for _, m := range list {
		all = append(all, Doc{m.name, [...]string{"counter", "gauge", "histogram"}[m.kind], m.help, m.labels})
	}
	return all
}
