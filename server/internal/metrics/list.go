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
	{"unisondb_events_total", counter, "Things that an operator should look at, by kind: frozen, quarantined, pin_broken, flush_failed.", []string{"kind"}},

	{"unisondb_http_requests_total", counter, "Finished HTTP requests by route, method and status.", []string{"route", "method", "code"}},
	{"unisondb_http_requests_in_flight", gauge, "HTTP requests under way, the scrape itself included.", nil},
	{"unisondb_http_request_seconds", histogram, "How long HTTP requests took, streams and waits included.", []string{"route"}},

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

	{"unisondb_upstream_connected", gauge, "1 while records of the namespace can flow from the upstream.", []string{"namespace", "upstream"}},
	{"unisondb_lag_records", gauge, "Records that the upstream has committed and this node hasn't applied.", []string{"namespace", "upstream"}},
	{"unisondb_lag_bytes", gauge, "About how many bytes those records have.", []string{"namespace", "upstream"}},
	{"unisondb_lag_seconds", gauge, "How old the state is that readers see, compared with the upstream's; from heartbeats, never from comparing clocks.", []string{"namespace", "upstream"}},
	{"unisondb_upstream_reconnects_total", counter, "Streams from the upstream that ended.", []string{"namespace", "upstream"}},
	{"unisondb_followers", gauge, "Followers that stream the namespace from this node.", []string{"namespace"}},
	{"unisondb_follower_lag_records", gauge, "Records committed here that the follower hasn't reported durable.", []string{"namespace", "follower"}},
}
