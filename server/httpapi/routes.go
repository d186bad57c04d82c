package httpapi

import (
	"net/http"
	"strings"

	"github.com/unisondb/unisondb/server/topology"
)

// route is one method of one endpoint: what runs, and what it is for. A handler is reached only through
// its row in the table routes, so that none is without a description.
type route struct {
	ep     *endpoint
	method string
	path   string // below dataPath and a namespace where it begins otherwise than with a slash
	run    handler

	what     string   // a sentence or two
	query    []string // parameters; one that isn't in parameters is "name: what it is"
	body     string   // an example in JSON, or what it is; empty: none
	answer   string   // likewise, of 200
	codes    []string // those to expect, beside what any route may answer
	loopback bool     // answers requests from the node's own machine only
	also     string   // another path of the same
}

// Sections of the reference, in its order. An endpoint's is the first whose routes begin so.
const (
	sectionKV        = "Key-values"
	sectionRow       = "Rows"
	sectionObject    = "Large objects"
	sectionTx        = "Transactions"
	sectionLog       = "The log"
	sectionModel     = "Data models"
	sectionHealth    = "Health and metrics"
	sectionNode      = "The node"
	sectionNamespace = "Namespaces"
	sectionGroup     = "The group of hubs"
	sectionTopology  = "Topology"
	sectionRelayer   = "Relayers"
	sectionPlugin    = "Plugins"
	sectionDebug     = "Debugging"
)

// sections say by a path's beginning where a route stands.
var sections = []struct{ prefix, name string }{
	{"kv", sectionKV}, {"row", sectionRow}, {"lob", sectionObject}, {"tx", sectionTx}, {"model/", sectionModel},
	{"offset", sectionLog}, {"checkpoint", sectionLog}, {"stats", sectionLog}, {"wal/", sectionLog}, {"btree/", sectionLog},
	{"/health", sectionHealth}, {"/ready", sectionHealth}, {"/metrics", sectionHealth},
	{"/v1/status", sectionNode}, {"/v1/reload", sectionNode}, {"/v1/namespaces", sectionNamespace},
	{"/v1/hubs", sectionGroup}, {"/v1/raft", sectionGroup}, {"/v1/snapshot", sectionGroup},
	{"/v1/topology", sectionTopology}, {"/v1/relayers", sectionRelayer}, {"/v1/plugins", sectionPlugin}, {"/v1/debug", sectionDebug},
}

// parameters are those of the query that mean the same wherever they stand.
var parameters = map[string]string{
	"prefix":    "only keys that begin with it",
	"start":     "only this key and those above it",
	"end":       "only keys below it",
	"limit":     "how many to answer at most, 1 to 1000; 100 by default",
	"reverse":   "`true`: the highest key first",
	"keys_only": "`true`: leaves the values out",
	"cursor":    "goes on behind a page: the `cursor` of its answer, with the other parameters unchanged",
	"columns":   "the columns meant, separated by commas",
	"column":    "one column, for names that hold a comma; may be repeated",
	"ttl":       "how long what is written lives, such as `30s`; left out: for good",
	"raw":       "`true`: answers the bytes themselves",
	"txn":       "id of an open transaction: reads what it would see, and joins its read set",
	"acks":      "answers when this number of direct followers, 0 to 1000, reports the write durable",
	"wait":      "how long to wait for `acks` or for the position of `X-Unisondb-At-Least`, `0s` to `10m`; `5s` by default",
	"stale":     "`true`: answers what this hub has itself, without asking the group",
	"brief":     "`true`: answers only that it was done",
}

// Parameter is a parameter of a route's query.
type Parameter struct{ Name, What string }

// Route is a request that a node takes, as the reference shows it.
type Route struct {
	Section string
	Method  string
	Path    string // with placeholders: /api/v1/{namespace}/kv/{key}
	Also    string // another path of the same; empty: none
	Name    string // the label route of metrics
	What    string
	Query   []Parameter
	Body    string // an example in JSON, or what it is; empty: none
	Answer  string
	Codes   []string
	// Loopback says that requests from other machines are refused.
	Loopback bool
	// Forwarded says that a hub passes the request on to the hub that can answer it.
	Forwarded bool
	// Own says that the request is about this node's copy of a namespace, whoever owns it.
	Own bool
}

// Routes are all that a node takes, in the order of the reference.
func Routes() []Route {
	var all []Route
	for _, s := range sections {
		for _, r := range routes {
			if strings.HasPrefix(r.path, s.prefix) {
				all = append(all, r.public(s.name))
			}
		}
	}
	return all
}

func (r route) public(section string) Route {
	out := Route{
		Section: section, Method: r.method, Path: r.path, Also: r.also, Name: r.ep.name, What: r.what,
		Body: r.body, Answer: r.answer, Codes: r.codes, Loopback: r.loopback, Forwarded: !r.ep.system && !r.ep.local,
		Own: !r.ep.system && r.ep.local,
	}
	if !strings.HasPrefix(r.path, "/") {
		out.Path = dataPath + "{namespace}/" + r.path
	}
	for _, q := range r.query {
		name, what, own := strings.Cut(q, ": ")
		if !own {
			what = parameters[name]
		}
		out.Query = append(out.Query, Parameter{name, what})
	}
	return out
}

// The endpoints get their methods from the table.
func init() {
	for _, r := range routes {
		if r.ep.methods == nil {
			r.ep.methods = map[string]handler{}
		}
		r.ep.methods[r.method] = r.run
	}
}

// What many answers look like.
const (
	answerSuccess   = `{"success":true}`
	answerNamespace = `{"name":"orders","owner":"hub-a","epoch":1048577,"hubs":["hub-a"],"acks":"local","lsn":42,"lineage":"00112233445566778899aabbccddeeff","term":1,"state":"serving"}`
	answerRelayer   = `{"id":"edge-1","labels":{"region":"eu"},"upstream":"hub-a","connected":true,"namespaces":[{"name":"orders","lsn":42,"lag_records":0,"lag_seconds":0.001,"role":"replica","state":"serving","lineage":"00112233445566778899aabbccddeeff","upstream":"hub-a","connected":true,"assigned":true}],"hub":"hub-a","instance":"…","version":"0.1.0","region":"eu","advertise":"","draining":false}`
	answerTopology  = `{"cluster":"…","index":7,"hubs":[],"relayers":[],"assignments":[{"namespace":"orders","relayer":"edge-1"}],"namespaces":[]}`
	answerPlugin    = `{"name":"orders/zeromq","type":"zeromq","kind":"notifier","state":"ready","reason":"","version":"0.1.0","sha256":"…","pid":4711,"restarts":0,"memory_bytes":12582912,"memory_limit":536870912,"cpu_seconds":0.1,"log_lines_dropped":0,"namespaces":[{"name":"orders","cursor":"00112233445566778899aabbccddeeff:1048577:42","lag_records":0,"delivered":42,"refusals":0,"dead_letters":0,"cursors_lost":0,"last_error":""}]}`
	answerLetters   = `[{"id":"1","namespace":"orders","reason":"…","refusals":10,"first":"2026-01-01T00:00:00Z","last":"2026-01-01T00:10:00Z","event":{"key":"user:1","namespace":"orders","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,"epoch":1048577,"index":0,"count":1,"lineage":"00112233445566778899aabbccddeeff","timestamp":"2026-01-01T00:00:00Z"}}]`
	bodySettings    = `{"acks":"local","hubs":["*"],"replicate":{"relayers":["edge-*"],"selector":{"region":"eu"}},"quota":{"max_bytes":10737418240,"write_bytes_per_second":0}}`
)

// routes is every request that a node takes.
var routes = []route{
	{ep: epKV, method: http.MethodGet, path: "kv/{key}", run: (*call).kvGet,
		what:   "Reads a key. One that isn't there answers `found` false, and in raw mode 404. `Accept: application/octet-stream` or `raw=true` asks for the bytes themselves, with the version in `ETag`.",
		query:  []string{"raw", "txn", "wait"},
		answer: `{"value":"aGVsbG8=","found":true,"version":"100001-2a"}`, codes: []string{CodeKeyNotFound, CodeTxConflict}},
	{ep: epKV, method: http.MethodPut, path: "kv/{key}", run: (*call).kvPut,
		what:  "Writes a key. A body of type `application/octet-stream` is the value itself, up to 8 MiB; in JSON it is base64, of up to 1 MiB. Without `ttl` an expiry that the key had is cleared.",
		query: []string{"ttl", "acks", "wait"}, body: `{"value":"aGVsbG8="}`, answer: answerSuccess, codes: []string{CodeConditionFailed, CodeQuotaExceeded}},
	{ep: epKV, method: http.MethodDelete, path: "kv/{key}", run: (*call).kvDelete,
		what: "Deletes a key, whether it was there or not.", query: []string{"acks", "wait"}, answer: answerSuccess, codes: []string{CodeConditionFailed}},
	{ep: epKVBatch, method: http.MethodPost, path: "kv/batch", run: (*call).kvBatch,
		what:  "Writes, deletes or reads several keys at one LSN: all, or none. `operation` is `put` with `items`, or `delete` or `get` with `keys`. A get answers `items` with `found`, in the order asked.",
		query: []string{"acks", "wait"}, body: `{"operation":"put","items":[{"key":"a","value":"MQ=="},{"key":"b","value":"Mg=="}]}`, answer: `{"success":true,"count":2}`,
		codes: []string{CodeEmptyRequest, CodeUnknownOperation, CodeQuotaExceeded}},
	{ep: epKVTouch, method: http.MethodPost, path: "kv/{key}/touch", run: (*call).kvTouch,
		what: "Sets when a key expires and leaves its value.", query: []string{"ttl: from now on, such as `30s`; `0s`: it never expires; required", "acks", "wait"}, answer: answerSuccess, codes: []string{CodeKeyNotFound}},
	{ep: epKVList, method: http.MethodGet, path: "kv", run: (*call).kvList,
		what:   "Lists keys in the order of their bytes, a page at a time: at most 1,000 and 4 MiB. `cursor` is absent at the end.",
		query:  []string{"prefix", "start", "end", "limit", "reverse", "keys_only", "cursor", "wait"},
		answer: `{"items":[{"key":"a","value":"MQ==","version":"100001-2a"}],"cursor":"…"}`, codes: []string{CodeInvalidCursor}},

	{ep: epRow, method: http.MethodGet, path: "row/{rowKey}", run: (*call).rowGet,
		what: "Reads a row, or the columns of it that are named.", query: []string{"columns", "column", "txn", "wait"},
		answer: `{"rowKey":"user:1","columns":{"name":"QWRh"},"found":true,"version":"b1c1be4cd14b2b38"}`, codes: []string{CodeTxConflict}},
	{ep: epRow, method: http.MethodPut, path: "row/{rowKey}", run: (*call).rowPut,
		what:  "Writes columns of a row. Those that the row has beside them stay.",
		query: []string{"ttl", "acks", "wait"}, body: `{"columns":{"name":"QWRh","city":"TG9uZG9u"}}`, answer: answerSuccess, codes: []string{CodeConditionFailed, CodeQuotaExceeded}},
	{ep: epRow, method: http.MethodDelete, path: "row/{rowKey}", run: (*call).rowDelete,
		what: "Deletes a row with all its columns, whether it was there or not.", query: []string{"acks", "wait"}, answer: answerSuccess, codes: []string{CodeConditionFailed}},
	{ep: epRowColumns, method: http.MethodDelete, path: "row/{rowKey}/columns", run: (*call).rowDeleteColumns,
		what:  "Deletes columns of a row: those of the body's `columns`, whose values don't count, or of the query.",
		query: []string{"columns", "column", "acks", "wait"}, body: `{"columns":{"city":""}}`, answer: answerSuccess, codes: []string{CodeEmptyRequest}},
	{ep: epRowBatch, method: http.MethodPost, path: "row/batch", run: (*call).rowBatch,
		what:  "Writes or deletes several rows at one LSN: all, or none. With `operation` `delete` a row without `columns` is deleted as a whole.",
		query: []string{"acks", "wait"}, body: `{"operation":"put","rows":[{"rowKey":"user:1","columns":{"name":"QWRh"}}]}`, answer: `{"success":true,"count":1}`,
		codes: []string{CodeEmptyRequest, CodeUnknownOperation, CodeQuotaExceeded}},
	{ep: epRowList, method: http.MethodGet, path: "row", run: (*call).rowList,
		what:   "Lists rows in the order of their keys, a page at a time, with all columns or those that are named.",
		query:  []string{"prefix", "start", "end", "limit", "reverse", "keys_only", "columns", "column", "cursor", "wait"},
		answer: `{"rows":[{"rowKey":"user:1","columns":{"name":"QWRh"},"version":"b1c1be4cd14b2b38"}],"cursor":"…"}`, codes: []string{CodeInvalidCursor}},

	{ep: epObject, method: http.MethodGet, path: "lob/{key}", run: (*call).objectGet,
		what: "Streams a large object. `Range` asks for a part of it and answers 206. `X-Unisondb-Checksum` is the CRC-32 (IEEE) of the whole. HEAD answers length and `ETag`.", query: []string{"wait"},
		answer: "The bytes", codes: []string{CodeObjectNotFound, CodeRangeNotSatisfiable, CodeConditionFailed}},
	{ep: epObject, method: http.MethodPut, path: "lob/{key}", run: (*call).objectPut,
		what: "Streams the body into a large object of any size up to 1 TiB. It is visible when it is complete.", query: []string{"ttl", "acks", "wait"},
		body: "The bytes", answer: `{"success":true,"size":5,"checksum":907060870,"version":"100001-2a"}`, codes: []string{CodeConditionFailed, CodeQuotaExceeded, CodeRequestTimeout}},
	{ep: epObject, method: http.MethodDelete, path: "lob/{key}", run: (*call).objectDelete,
		what: "Deletes a large object, whether it was there or not.", query: []string{"acks", "wait"}, answer: answerSuccess, codes: []string{CodeConditionFailed}},
	{ep: epObjectList, method: http.MethodGet, path: "lob", run: (*call).objectList,
		what: "Lists large objects in the order of their keys, a page at a time.", query: []string{"prefix", "start", "end", "limit", "reverse", "cursor", "wait"},
		answer: `{"items":[{"key":"model.bin","size":5,"version":"100001-2a","checksum":907060870}],"cursor":"…"}`, codes: []string{CodeInvalidCursor}},

	{ep: epTx, method: http.MethodPost, path: "tx", run: (*call).txOneShot,
		what: "Runs a whole transaction in one request: `then` where all conditions of `if` hold, otherwise `else`. A condition is of `version`, `exists` or `value`; an operation is `put`, `delete` or `get` of type `kv` or `row`.", query: []string{"acks", "wait"},
		body:   `{"if":[{"key":"stock","value":"MQ=="}],"then":[{"op":"put","type":"kv","key":"stock","value":"MA=="}],"else":[{"op":"get","type":"kv","key":"stock"}]}`,
		answer: `{"succeeded":true,"results":[{"success":true}]}`, codes: []string{CodeEmptyRequest, CodeUnknownOperation, CodeTxConflict}},
	{ep: epTxBegin, method: http.MethodPost, path: "tx/begin", run: (*call).txBegin,
		what:   "Begins a transaction. With `operation` (`put` or `delete`) and `entryType` (`kv`, `row` or `lob`) it does only that; an empty body or `{}` lets it mix. It ends after 2 minutes without use, and after 15 minutes in any case.",
		query:  []string{"wait"},
		body:   `{"operation":"put","entryType":"kv"}`,
		answer: `{"txnId":"5f1a…01","success":true}`, codes: []string{CodeUnknownOperation}},
	{ep: txEndpoint["kv"], method: http.MethodPost, path: "tx/{txnId}/kv", run: (*call).txKV,
		what: "Adds a write of a key. In a transaction that mixes, `delete` true deletes it.", query: []string{"wait"}, body: `{"key":"a","value":"MQ==","ttl":"30s"}`, answer: answerSuccess, codes: []string{CodeTxNotFound, CodeTxExpired, CodeTooLarge}},
	{ep: txEndpoint["row"], method: http.MethodPost, path: "tx/{txnId}/row", run: (*call).txRow,
		what: "Adds a write of a row. In a transaction that mixes, `delete` true deletes the row, or the columns that are named.", query: []string{"wait"}, body: `{"rowKey":"user:1","columns":{"name":"QWRh"}}`, answer: answerSuccess,
		codes: []string{CodeTxNotFound, CodeTxExpired, CodeTooLarge}},
	{ep: txEndpoint["lob"], method: http.MethodPost, path: "tx/{txnId}/lob", run: (*call).txObject,
		what: "Appends the body to a large object of the transaction; repeat it for the next piece.", query: []string{"key: the object's key, percent-encoded; required", "delete: `true`: deletes the object instead, without a body", "wait"},
		body: "The bytes", answer: answerSuccess, codes: []string{CodeTxNotFound, CodeTxExpired}},
	{ep: txEndpoint["commit"], method: http.MethodPost, path: "tx/{txnId}/commit", run: (*call).txCommit,
		what: "Commits: all writes become visible at one LSN. `checksum` is the CRC-32 (IEEE) of a large object that the transaction wrote.", query: []string{"acks", "wait"},
		answer: `{"success":true,"checksum":0}`, codes: []string{CodeTxConflict, CodeTxNotFound, CodeTxExpired, CodeQuotaExceeded}},
	{ep: txEndpoint["abort"], method: http.MethodPost, path: "tx/{txnId}/abort", run: (*call).txAbort,
		what: "Ends a transaction without its writes.", query: []string{"wait"}, answer: answerSuccess, codes: []string{CodeTxNotFound, CodeTxExpired}},

	{ep: epModel, method: http.MethodPost, path: "model/{name}/{method}", run: (*call).callModel,
		what: "Calls a method of a data model. Body and answer are the model's own, JSON or bytes of up to 32 MiB.", query: []string{"acks", "wait"},
		body: "What the method takes", answer: "What the method answers", codes: []string{CodeModelNotFound, CodeMethodNotFound, CodeModelFailed, CodeModelTimeout, CodePluginUnavailable}},

	{ep: epOffset, method: http.MethodGet, path: "offset", run: (*call).offset, query: []string{"wait"},
		what: "Where the log ends: segment, offset in it, LSN and epoch of the last record.", answer: `{"segmentId":1,"offset":4096,"lsn":42,"epoch":1048577}`},
	{ep: epCheckpoint, method: http.MethodGet, path: "checkpoint", run: (*call).checkpoint, query: []string{"wait"},
		what: "How far the B+tree contains the log.", answer: `{"recordProcessed":40,"segmentId":1,"offset":3968,"lsn":40}`},
	{ep: epStats, method: http.MethodGet, path: "stats", run: (*call).stats, query: []string{"wait"},
		what:   "Counters of the namespace since the start of the process, and sizes.",
		answer: `{"namespace":"orders","opsReceived":42,"opsFlushed":40,"currentSegment":1,"currentOffset":4096,"records":42,"bytes":4032,"groups":42,"fsyncs":42,"flushes":1,"expired":0,"writeStallSeconds":0,"liveBytes":900,"memtableBytes":65536,"logBytes":4096,"segments":1,"treeBytes":32768,"lsn":42,"durableLsn":42,"commitLsn":42,"checkpointLsn":40,"firstLsn":1}`},
	{ep: epWALBackup, method: http.MethodPost, path: "wal/backup", run: (*call).logBackup, query: []string{"wait"},
		what: "Copies the log's segments behind `afterSegmentId` into a directory below `data_dir/backups`.", body: `{"afterSegmentId":0,"backupDir":"monday"}`,
		answer: `{"backups":[{"segmentId":1,"path":"/var/lib/unisondb/backups/monday/segment-00000001"}]}`, codes: []string{CodeBackupExists, CodeNotBuilt}},
	{ep: epBtreeBackup, method: http.MethodPost, path: "btree/backup", run: (*call).treeBackup, query: []string{"wait"},
		what: "Copies the B+tree into a file below `data_dir/backups`.", body: `{"path":"monday.mdb"}`, answer: `{"path":"/var/lib/unisondb/backups/monday.mdb","bytes":32768}`, codes: []string{CodeBackupExists, CodeNotBuilt}},

	{ep: epHealth, method: http.MethodGet, path: "/health", also: "/healthz", run: (*call).health,
		what: "The process is alive.", answer: `{"status":"ok","namespaces":["default"]}`},
	{ep: epReady, method: http.MethodGet, path: "/ready", also: "/readyz", run: (*call).ready,
		what:  "The node can serve what it has: it has recovered, and a relayer has its data, connected or not. Otherwise 503 with `reasons`.",
		query: []string{"max_lag: asks, too, that no namespace lags further behind, such as `5s`", "leader: `true`: asks, too, that a hub knows of a leader"}, answer: `{"status":"ready"}`, codes: []string{CodeNotReady}},
	{ep: epMetrics, method: http.MethodGet, path: "/metrics", run: (*call).metrics,
		what: "The metrics in Prometheus's text format, unless `telemetry.prometheus` is false.", answer: "Text"},

	{ep: epStatus, method: http.MethodGet, path: "/v1/status", run: (*call).status,
		what:   "The node's state, as `unisondb status -json` prints it: role, control plane, certificates, plugins and each namespace with its positions, lag, followers and integrity.",
		answer: `{"node_id":"hub-a","instance_id":"…","role":"hub","version":"0.1.0","namespaces":[{"name":"orders","role":"owner","owner":"hub-a","lineage":"00112233445566778899aabbccddeeff","epoch":1048577,"lsn":42,"durable_lsn":42,"commit_lsn":42,"checkpoint_lsn":40,"state":"serving","code":"","reason":""}],"plugins":[]}`},
	{ep: epReload, method: http.MethodPost, path: "/v1/reload", run: (*call).reload, loopback: true,
		what: "Reads the configuration files again, as SIGHUP does: all changes or none. `changed` says in a few words what was applied.", answer: `{"success":true,"changed":["log level: debug, was info"]}`, codes: []string{CodeConfigInvalid, CodeConfigFixed}},

	{ep: epNamespaces, method: http.MethodGet, path: "/v1/namespaces", run: (*call).listNamespaces,
		what: "Lists the group's namespaces, and those that only this node knows of. A relayer lists its own.", query: []string{"stale"}, answer: "[" + answerNamespace + "]", codes: []string{CodeNoLeader}},
	{ep: epNamespaces, method: http.MethodPost, path: "/v1/namespaces", run: (*call).createNamespace, loopback: true,
		what:   "Makes a namespace. Only `name` is needed; the owner is this hub unless `owner` names another. `replace` true makes one anew, as another lineage, whose data this node has lost. It answers when the owner has the namespace durably.",
		body:   `{"name":"orders","owner":"hub-a","hubs":["*"],"acks":"local"}`,
		answer: answerNamespace, codes: []string{CodeNamespaceExists, CodeNotReplaceable, CodeNamespaceMissing, CodeNotMade, topology.CodeUnknownHub, CodeNoLeader}},
	{ep: epNamespace, method: http.MethodGet, path: "/v1/namespaces/{namespace}", run: (*call).namespaceInfo,
		what: "One namespace.", query: []string{"stale"}, answer: answerNamespace, codes: []string{CodeNamespaceNotFound, CodeNoLeader}},
	{ep: epNamespace, method: http.MethodPut, path: "/v1/namespaces/{namespace}", run: (*call).setNamespace, loopback: true,
		what: "Changes settings. What is left out stays; what is empty is emptied.", body: bodySettings, answer: answerNamespace, codes: []string{CodeNamespaceNotFound, CodeEmptyRequest, CodeNotBuilt, CodeNoLeader}},
	{ep: epNamespace, method: http.MethodDelete, path: "/v1/namespaces/{namespace}", run: (*call).deleteNamespace, loopback: true,
		what: "Deletes a namespace on all nodes. They stop serving it at once and remove its files when the time of grace is over.", query: []string{"grace: how long nodes keep the files, `0s` to ten years; `72h` by default"},
		answer: `{"name":"orders","owner":"hub-a","epoch":1048577,"hubs":["hub-a"],"acks":"local","lsn":42,"lineage":"00112233445566778899aabbccddeeff","term":1,"state":"serving","deleted":"2026-01-01T00:00:00Z","remove_after":"2026-01-04T00:00:00Z"}`, codes: []string{CodeNamespaceNotFound, CodeNoLeader}},
	{ep: namespaceEndpoint["accept"], method: http.MethodPost, path: "/v1/namespaces/{namespace}/accept", run: (*call).acceptLineage, loopback: true,
		what: "Lets this node follow another lineage of a namespace than it has. What it had is set aside.", body: `{"lineage":"00112233445566778899aabbccddeeff"}`, answer: answerSuccess, codes: []string{CodeNamespaceNotFound, CodeNamespaceOwned}},
	{ep: namespaceEndpoint["mark"], method: http.MethodPost, path: "/v1/namespaces/{namespace}/mark", run: (*call).writeMark, loopback: true,
		what: "Writes a mark into the log, at which nodes can be compared. `acks` waits for followers.", query: []string{"acks", "wait"}, answer: `{"lineage":"00112233445566778899aabbccddeeff","epoch":1048577,"lsn":43}`, codes: []string{CodeReadOnly}},
	{ep: namespaceEndpoint["digests"], method: http.MethodGet, path: "/v1/namespaces/{namespace}/digests", run: (*call).digests,
		what: "The marks of which this node has digests, or with `mark` the digests of its 1,024 ranges there.", query: []string{"mark: LSN of a mark", "wait"},
		answer: `{"lineage":"00112233445566778899aabbccddeeff","marks":[{"epoch":1048577,"lsn":43,"digest":"a6924ad060ab8902"}],"integrity":{"damaged":false,"scrubbed_lsn":0,"scrubs":0,"scrubbing":false,"bad_ranges":[],"damaged_cells":0,"repaired_cells":0}}`, codes: []string{CodeMarkNotFound, CodeNotCaughtUp}},
	{ep: namespaceEndpoint["scrub"], method: http.MethodPost, path: "/v1/namespaces/{namespace}/scrub", run: (*call).scrubNow, loopback: true,
		what: "Reads all of the namespace's files once, looks for damage, and answers what it found.", query: []string{"wait"},
		answer: `{"damaged":false,"scrubbed_at":"2026-01-01T00:00:00Z","scrubbed_lsn":42,"scrubs":1,"scrubbing":false,"bad_ranges":[],"damaged_cells":0,"repaired_cells":0}`},

	{ep: epHubs, method: http.MethodGet, path: "/v1/hubs", run: (*call).hubs,
		what: "The hubs of the group, with what each of them says of its namespaces.", query: []string{"stale"},
		answer: `[{"id":"hub-a","address":"127.0.0.1:4002","grpc_address":"127.0.0.1:4001","instance":"…","version":"0.1.0","region":"","voter":true,"leader":true,"connected":true,"namespaces":[{"name":"orders","lsn":42,"lag_records":null,"lag_seconds":null,"role":"owner","state":"serving","lineage":"00112233445566778899aabbccddeeff","connected":false}]}]`, codes: []string{CodeNotAHub, CodeNoLeader}},
	{ep: systemEndpoints["/v1/raft/peers"], method: http.MethodGet, path: "/v1/raft/peers", run: (*call).raftPeers,
		what: "The members of the group as Raft has them. `role` is `leader`, `follower` or `nonvoter`; `last_contact` is a duration, empty for never.", query: []string{"stale"},
		answer: `[{"id":"hub-a","address":"127.0.0.1:4002","role":"leader","healthy":true,"last_contact":"0s","instance":"…","version":"0.1.0","reads_up_to":1}]`, codes: []string{CodeNotAHub, CodeNoLeader}},
	{ep: systemEndpoints["/v1/raft/remove-peer"], method: http.MethodPost, path: "/v1/raft/remove-peer", run: (*call).removePeer, loopback: true,
		what: "Takes a hub out of the group.", body: `{"id":"hub-c"}`, answer: answerSuccess, codes: []string{topology.CodeUnknownHub, topology.CodeLastVoter, topology.CodeQuorumAtRisk, CodeNoLeader}},
	{ep: systemEndpoints["/v1/raft/transfer-leader"], method: http.MethodPost, path: "/v1/raft/transfer-leader", run: (*call).transferLeader, loopback: true,
		what: "Hands the leadership to another hub; without `to`, to the one whose state is newest.", body: `{"to":"hub-b"}`, answer: answerSuccess, codes: []string{topology.CodeNotTransferred, topology.CodeNotVoter, CodeNoLeader}},
	{ep: epSnapshot, method: http.MethodGet, path: "/v1/snapshot", run: (*call).saveSnapshot, loopback: true,
		what: "The group's state as a file. It holds hashes of credentials and the configuration of plugins, and no data of namespaces.", answer: "The bytes", codes: []string{CodeNotAHub, CodeNoLeader}},
	{ep: epSnapshot, method: http.MethodPost, path: "/v1/snapshot", run: (*call).restoreSnapshot, loopback: true,
		what: "Replaces the group's state by that of a snapshot.", query: []string{"force: `true`: takes one of another group"}, body: "The bytes of a snapshot", answer: answerSuccess,
		codes: []string{topology.CodeDamagedSnapshot, topology.CodeOtherCluster, CodeNewerFormat, CodeNoLeader}},

	{ep: epTopology, method: http.MethodGet, path: "/v1/topology", run: (*call).topology,
		what: "All that the hubs agree on: hubs, relayers, assignments and namespaces.", query: []string{"stale"}, answer: answerTopology, codes: []string{CodeNotAHub, CodeNoLeader}},
	{ep: systemEndpoints["/v1/topology/assign"], method: http.MethodPost, path: "/v1/topology/assign", run: (*call).assign, loopback: true,
		what: "Assigns a namespace to a `relayer`, or to all that a `selector` of labels matches.", query: []string{"brief"}, body: `{"namespace":"orders","relayer":"edge-1"}`, answer: answerTopology,
		codes: []string{topology.CodeUnknownRelayer, topology.CodeUnknownLabel, topology.CodeNotFollowable, topology.CodeRelayerDraining, CodeNamespaceNotFound}},
	{ep: systemEndpoints["/v1/topology/unassign"], method: http.MethodPost, path: "/v1/topology/unassign", run: (*call).unassign, loopback: true,
		what: "Takes an assignment back.", query: []string{"brief"}, body: `{"namespace":"orders","selector":{"region":"eu"}}`, answer: answerTopology, codes: []string{topology.CodeAssignmentNotFound}},
	{ep: systemEndpoints["/v1/topology/set-upstream"], method: http.MethodPost, path: "/v1/topology/set-upstream", run: (*call).setUpstream, loopback: true,
		what: "Says which node a relayer follows. An empty `upstream` takes that back.", query: []string{"brief"}, body: `{"relayer":"edge-1","upstream":"hub-b"}`, answer: answerTopology,
		codes: []string{topology.CodeUnknownRelayer, topology.CodeUnknownNode, topology.CodeUpstreamCycle, topology.CodeNotReachable}},

	{ep: epRelayers, method: http.MethodGet, path: "/v1/relayers", run: (*call).listRelayers,
		what: "The relayers that have joined, with how they do.", query: []string{"stale"}, answer: "[" + answerRelayer + "]", codes: []string{CodeNotAHub, CodeNoLeader}},
	{ep: epRelayer, method: http.MethodGet, path: "/v1/relayers/{id}", run: (*call).relayerInfo,
		what: "One relayer.", query: []string{"stale"}, answer: answerRelayer, codes: []string{topology.CodeUnknownRelayer, CodeNoLeader}},
	{ep: epRelayer, method: http.MethodDelete, path: "/v1/relayers/{id}", run: (*call).removeRelayer, loopback: true,
		what: "Forgets a relayer that is away for good.", query: []string{"force: `true`: also one that is connected, or that owns namespaces"}, answer: answerSuccess, codes: []string{topology.CodeUnknownRelayer, CodeRelayerConnected, topology.CodeRelayerOwns}},
	{ep: epRelayerDrain, method: http.MethodPost, path: "/v1/relayers/{id}/drain", run: (*call).drainRelayer, loopback: true,
		what: "Gives a relayer nothing new, before it is taken away. `undo` true takes that back.", body: `{"undo":false}`, answer: answerRelayer, codes: []string{topology.CodeUnknownRelayer}},
	{ep: epTokens, method: http.MethodGet, path: "/v1/relayers/tokens", run: (*call).listTokens,
		what: "The join tokens that can still be used, without their secrets.", query: []string{"stale"}, answer: `[{"id":"…","expires":"2026-01-01T01:00:00Z","uses":1}]`, codes: []string{CodeNotAHub, CodeNoLeader}},
	{ep: epTokens, method: http.MethodPost, path: "/v1/relayers/tokens", run: (*call).createToken, loopback: true,
		what: "Makes a join token. `token` is told this once.", body: `{"ttl":"1h","uses":1,"relayer":"edge-1","labels":{"region":"eu"}}`, answer: `{"id":"…","token":"…","expires":"2026-01-01T01:00:00Z","uses":1,"relayer":"edge-1","labels":{"region":"eu"}}`},
	{ep: epToken, method: http.MethodDelete, path: "/v1/relayers/tokens/{id}", run: (*call).revokeToken, loopback: true,
		what: "Makes a join token useless.", answer: answerSuccess, codes: []string{topology.CodeTokenNotFound}},

	{ep: epPlugins, method: http.MethodGet, path: "/v1/plugins", run: (*call).listPlugins,
		what: "The plugins of this node with their states, or with `catalog` those that the group has registered, without their configuration.", query: []string{"catalog: `true`: those of the group's catalog", "stale"},
		answer: "[" + answerPlugin + "]", codes: []string{CodeNoLeader}},
	{ep: epPlugins, method: http.MethodPost, path: "/v1/plugins", run: (*call).registerPlugin, loopback: true,
		what:   "Registers a plugin in the group's catalog, or replaces the entry of its name. Fields are those of a block of the configuration.",
		body:   `{"name":"hook","kind":"notifier","type":"webhook","namespaces":["orders"],"config":{"url":"https://example.com/hook"},"options":{"max_batch":100}}`,
		answer: `{"name":"hook","kind":"notifier","type":"webhook","namespaces":["orders"],"options":{"max_batch":100}}`, codes: []string{topology.CodeInvalidName, CodeNoLeader}},
	{ep: epPlugin, method: http.MethodGet, path: "/v1/plugins/{name}", run: (*call).pluginInfo,
		what: "One plugin of this node. A slash in its name is written `%2F`.", answer: answerPlugin, codes: []string{CodePluginNotFound}},
	{ep: epPlugin, method: http.MethodDelete, path: "/v1/plugins/{name}", run: (*call).deregisterPlugin, loopback: true,
		what: "Takes a plugin out of the group's catalog.", answer: answerSuccess, codes: []string{CodePluginNotFound, CodeNoLeader}},
	{ep: pluginEndpoints["reload"], method: http.MethodPost, path: "/v1/plugins/{name}/reload", run: (*call).reloadPlugin, loopback: true,
		what: "Starts a plugin's program anew, as after it was replaced.", answer: answerPlugin, codes: []string{CodePluginNotFound, CodePluginUnavailable}},
	{ep: pluginEndpoints["dead-letters"], method: http.MethodGet, path: "/v1/plugins/{name}/dead-letters", run: (*call).deadLetters,
		what: "The events that a notifier's other side has refused for good, each with its event as notifications have it.", answer: answerLetters, codes: []string{CodePluginNotFound, CodeNoNotifier}},
	{ep: pluginEndpoints["dead-letters/retry"], method: http.MethodPost, path: "/v1/plugins/{name}/dead-letters/retry", run: (*call).retryDeadLetters, loopback: true,
		what: "Sends dead letters again: those that `ids` names, or all.", body: `{"ids":[]}`, answer: `{"accepted":1,"left":0}`, codes: []string{CodePluginNotFound, CodeNoNotifier, CodeDeadLetterNotFound}},

	{ep: debugEndpoints["/v1/debug/goroutines"], method: http.MethodGet, path: "/v1/debug/goroutines", run: debugging((*call).goroutines), loopback: true,
		what: "What every goroutine is doing.", answer: "Text"},
	{ep: debugEndpoints["/v1/debug/heap"], method: http.MethodGet, path: "/v1/debug/heap", run: debugging((*call).heap), loopback: true,
		what: "A profile of the memory in use, for `go tool pprof`.", answer: "Bytes"},
	{ep: debugEndpoints["/v1/debug/runtime"], method: http.MethodGet, path: "/v1/debug/runtime", run: debugging((*call).runtimeInfo), loopback: true,
		what: "What the process is and takes.", answer: `{"go_version":"go1.26","os":"linux","arch":"amd64","cpus":2,"max_procs":2,"goroutines":90,"heap_bytes":10485760,"system_bytes":31457280,"collections":12,"modules":{}}`},
}
