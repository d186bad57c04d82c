package httpapi

import (
	"net/http"
	"net/url"
	"strings"
)

// handler answers a call or says why it doesn't.
type handler func(*call) error

// endpoint is a kind of resource and what can be done with it.
type endpoint struct {
	name    string             // in metrics
	methods map[string]handler // of the table routes
	system  bool               // needs no namespace that is served
	probe   bool               // answers while the node drains, too
	local   bool               // is about this node's copy: another node's answer would be to another question
	bare    bool               // its requests have no body that counts
	inside  bool               // its body says whether it writes
	guarded bool               // answers on loopback only
}

// pathArgs is what a path carries.
type pathArgs struct {
	namespace string
	key       []byte // of a key, row or object; never empty on endpoints that have one
	txn       string
	plugin    string // its name, which may hold slashes
	node      string // id of a relayer
	token     string // id of a join token
	// model and modelMethod are of calls of a data model.
	model, modelMethod string
}

// The endpoints. A key may hold anything, so that which endpoint a path means
// can depend on the method: POST /kv/batch is the batch, GET /kv/batch the key "batch".
var (
	epHealth          = &endpoint{name: "health", system: true, probe: true}
	epReady           = &endpoint{name: "ready", system: true, probe: true}
	epMetrics         = &endpoint{name: "metrics", system: true, probe: true}
	epStatus          = &endpoint{name: "status", system: true, probe: true}
	epNamespaces      = &endpoint{name: "namespaces", system: true}
	epNamespace       = &endpoint{name: "namespace", system: true}
	namespaceEndpoint = map[string]*endpoint{
		"accept":  {name: "namespace_accept", system: true},
		"mark":    {name: "namespace_mark", bare: true, guarded: true},
		"digests": {name: "namespace_digests", local: true},
		"scrub":   {name: "namespace_scrub", local: true},
	}

	epReload        = &endpoint{name: "reload", system: true}
	epPlugins       = &endpoint{name: "plugins", system: true}
	epPlugin        = &endpoint{name: "plugin", system: true}
	pluginEndpoints = map[string]*endpoint{
		"reload":             {name: "plugin_reload", system: true},
		"dead-letters":       {name: "plugin_dead_letters", system: true},
		"dead-letters/retry": {name: "plugin_dead_letters_retry", system: true},
	}

	epHubs         = &endpoint{name: "hubs", system: true}
	epTopology     = &endpoint{name: "topology", system: true}
	epSnapshot     = &endpoint{name: "snapshot", system: true}
	epRelayers     = &endpoint{name: "relayers", system: true}
	epRelayer      = &endpoint{name: "relayer", system: true}
	epRelayerDrain = &endpoint{name: "relayer_drain", system: true}
	epTokens       = &endpoint{name: "relayer_tokens", system: true}
	epToken        = &endpoint{name: "relayer_token", system: true}

	epModel = &endpoint{name: "model", inside: true}

	epKVList  = &endpoint{name: "kv_list"}
	epKVBatch = &endpoint{name: "kv_batch", inside: true}
	epKVTouch = &endpoint{name: "kv_touch", bare: true}
	epKV      = &endpoint{name: "kv"}

	epRowList    = &endpoint{name: "row_list"}
	epRowBatch   = &endpoint{name: "row_batch"}
	epRowColumns = &endpoint{name: "row_columns"}
	epRow        = &endpoint{name: "row"}

	epObjectList = &endpoint{name: "lob_list"}
	epObject     = &endpoint{name: "lob"}

	epTx       = &endpoint{name: "tx"}
	epTxBegin  = &endpoint{name: "tx_begin"}
	txEndpoint = map[string]*endpoint{
		"kv":     {name: "tx_kv"},
		"row":    {name: "tx_row"},
		"lob":    {name: "tx_lob"},
		"commit": {name: "tx_commit", bare: true},
		"abort":  {name: "tx_abort", bare: true},
	}

	epOffset      = &endpoint{name: "offset"}
	epCheckpoint  = &endpoint{name: "checkpoint"}
	epStats       = &endpoint{name: "stats"}
	epWALBackup   = &endpoint{name: "wal_backup", local: true}
	epBtreeBackup = &endpoint{name: "btree_backup", local: true}
)

// systemEndpoints are the paths outside the data API, as they stand.
var systemEndpoints = map[string]*endpoint{
	"/health": epHealth, "/healthz": epHealth,
	"/ready": epReady, "/readyz": epReady,
	"/metrics":       epMetrics,
	"/v1/status":     epStatus,
	"/v1/namespaces": epNamespaces,
	"/v1/plugins":    epPlugins,
	"/v1/reload":     epReload,
	"/v1/hubs":       epHubs,
	"/v1/topology":   epTopology,
	"/v1/snapshot":   epSnapshot,
	"/v1/relayers":   epRelayers,

	"/v1/relayers/tokens":       epTokens,
	"/v1/raft/peers":            {name: "raft_peers", system: true},
	"/v1/raft/remove-peer":      {name: "raft_remove_peer", system: true},
	"/v1/raft/transfer-leader":  {name: "raft_transfer_leader", system: true},
	"/v1/topology/assign":       {name: "topology_assign", system: true},
	"/v1/topology/unassign":     {name: "topology_unassign", system: true},
	"/v1/topology/set-upstream": {name: "topology_set_upstream", system: true},
}

// What the paths of the data API begin with, and those of the operator API of one
// namespace, of one plugin and of one relayer.
const (
	dataPath      = "/api/v1/"
	namespacePath = "/v1/namespaces/"
	pluginPath    = "/v1/plugins/"
	relayerPath   = "/v1/relayers/"
)

// resolve finds the endpoint that a path means. It takes the escaped path and
// splits that, so that what is escaped inside a key, and slashes beside each
// other, stay part of the key; nothing is ever cleaned.
func (a *API) resolve(method, path string) (*endpoint, pathArgs, error) {
	if ep := debugEndpoints[path]; ep != nil {
		return ep, pathArgs{}, nil
	}
	if ep := systemEndpoints[path]; ep != nil {
		if ep == epMetrics && a.metrics == nil {
			return nil, pathArgs{}, routeNotFound()
		}
		return ep, pathArgs{}, nil
	}
	if rest, ok := strings.CutPrefix(path, pluginPath); ok {
		return resolvePlugin(rest)
	}
	if rest, ok := strings.CutPrefix(path, relayerPath); ok {
		return resolveRelayer(rest)
	}
	rest, isData := strings.CutPrefix(path, dataPath)
	if !isData {
		var ok bool
		if rest, ok = strings.CutPrefix(path, namespacePath); !ok {
			return nil, pathArgs{}, routeNotFound()
		}
	}
	escaped, rest, below := strings.Cut(rest, "/")
	namespace, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, pathArgs{}, badRequest(CodeBadRequest, "the namespace in the path is not percent-encoded properly: %v", err)
	}
	if !isData {
		return resolveNamespace(namespace, rest, below)
	}
	ep, p, err := resolveData(method, rest)
	p.namespace = namespace
	return ep, p, err
}

// resolveNamespace finds the endpoint of the operator API of one namespace.
func resolveNamespace(name, action string, below bool) (*endpoint, pathArgs, error) {
	ep := epNamespace
	if below {
		ep = namespaceEndpoint[action]
	}
	if ep == nil {
		return nil, pathArgs{}, routeNotFound()
	}
	return ep, pathArgs{namespace: name}, nil
}

// resolvePlugin finds the endpoint of the operator API of one plugin.
func resolvePlugin(path string) (*endpoint, pathArgs, error) {
	escaped, action, below := strings.Cut(path, "/")
	name, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, pathArgs{}, badRequest(CodeBadRequest, "the plugin's name in the path is not percent-encoded properly: %v", err)
	}
	ep := epPlugin
	if below {
		ep = pluginEndpoints[action]
	}
	if ep == nil || name == "" {
		return nil, pathArgs{}, routeNotFound()
	}
	return ep, pathArgs{plugin: name}, nil
}

// resolveRelayer finds the endpoint of the operator API of one relayer, or of one join token.
func resolveRelayer(path string) (*endpoint, pathArgs, error) {
	escaped, action, below := strings.Cut(path, "/")
	isToken := escaped == "tokens" && below
	if isToken {
		escaped = action
	}
	id, err := url.PathUnescape(escaped)
	switch {
	case err != nil:
		return nil, pathArgs{}, badRequest(CodeBadRequest, "the id in the path is not percent-encoded properly: %v", err)
	case id == "":
		return nil, pathArgs{}, routeNotFound()
	case isToken:
		return epToken, pathArgs{token: id}, nil
	case !below:
		return epRelayer, pathArgs{node: id}, nil
	case action == "drain":
		return epRelayerDrain, pathArgs{node: id}, nil
	}
	return nil, pathArgs{}, routeNotFound()
}

// resolveModel finds what a call of a data model is for.
func resolveModel(path string) (*endpoint, pathArgs, error) {
	name, method, _ := strings.Cut(path, "/")
	var p pathArgs
	for _, part := range []struct {
		escaped string
		to      *string
	}{{name, &p.model}, {method, &p.modelMethod}} {
		var err error
		if *part.to, err = url.PathUnescape(part.escaped); err != nil {
			return nil, pathArgs{}, badRequest(CodeBadRequest, "the path is not percent-encoded properly: %v", err)
		}
		if *part.to == "" {
			return nil, pathArgs{}, routeNotFound()
		}
	}
	return epModel, p, nil
}

// resolveData finds the endpoint of what stands behind the namespace.
func resolveData(method, path string) (*endpoint, pathArgs, error) {
	model, rest, inside := strings.Cut(path, "/")
	switch model {
	case "kv":
		switch {
		case !inside:
			return epKVList, pathArgs{}, nil
		case method == http.MethodPost && rest == "batch":
			return epKVBatch, pathArgs{}, nil
		case method == http.MethodPost && strings.HasSuffix(rest, "/touch"):
			return withKey(epKVTouch, strings.TrimSuffix(rest, "/touch"))
		}
		return withKey(epKV, rest)
	case "row":
		switch {
		case !inside:
			return epRowList, pathArgs{}, nil
		case method == http.MethodPost && rest == "batch":
			return epRowBatch, pathArgs{}, nil
		case method == http.MethodDelete && strings.HasSuffix(rest, "/columns"):
			return withKey(epRowColumns, strings.TrimSuffix(rest, "/columns"))
		}
		return withKey(epRow, rest)
	case "lob":
		if !inside {
			return epObjectList, pathArgs{}, nil
		}
		return withKey(epObject, rest)
	case "tx":
		return resolveTx(rest, inside)
	case "model":
		if inside {
			return resolveModel(rest)
		}
	case "history":
		if inside {
			return nil, pathArgs{}, notBuilt("/" + model)
		}
	}
	return resolveLog(path)
}

func resolveTx(rest string, inside bool) (*endpoint, pathArgs, error) {
	if !inside {
		return epTx, pathArgs{}, nil
	}
	if rest == "begin" {
		return epTxBegin, pathArgs{}, nil
	}
	id, action, _ := strings.Cut(rest, "/")
	if ep := txEndpoint[action]; ep != nil && id != "" {
		return ep, pathArgs{txn: id}, nil
	}
	return nil, pathArgs{}, routeNotFound()
}

func resolveLog(path string) (*endpoint, pathArgs, error) {
	switch path {
	case "offset":
		return epOffset, pathArgs{}, nil
	case "checkpoint":
		return epCheckpoint, pathArgs{}, nil
	case "stats":
		return epStats, pathArgs{}, nil
	case "wal/backup":
		return epWALBackup, pathArgs{}, nil
	case "btree/backup":
		return epBtreeBackup, pathArgs{}, nil
	case "watch":
		return nil, pathArgs{}, notBuilt("/watch")
	}
	return nil, pathArgs{}, routeNotFound()
}

// withKey is an endpoint whose path ends in a key.
func withKey(ep *endpoint, escaped string) (*endpoint, pathArgs, error) {
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, pathArgs{}, badRequest(CodeInvalidKey, "the key in the path is not percent-encoded properly: %v", err)
	}
	p := pathArgs{key: []byte(key)}
	return ep, p, checkKey("the key in the path", p.key)
}
