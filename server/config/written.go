package config

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// written is what the files say, merged: which keys were set, to what and
// where. resolve makes a Config of it.
type written struct {
	nodeID      value[string]
	region      value[string]
	dataDir     value[string]
	pluginDir   value[string]
	memoryLimit value[int64]

	logLevel  value[string]
	logFormat value[string]

	listeners   []*writtenListener
	storage     writtenStorage
	compression value[string]
	snapshots   value[int64]
	followers   value[int64]
	namespaces  []*writtenNamespace
	notifiers   []*writtenNotifier
	models      []*writtenModel
	raft        *writtenRaft
	relayer     *writtenRelayer
	acl         value[bool]
	aclAt       hcl.Range
	prometheus  value[bool]
	otlp        value[string]
}

// writtenDoor is what everything that listens has.
type writtenDoor struct {
	at        hcl.Range
	address   value[string]
	advertise value[string]
	insecure  value[bool]
	tls       *writtenTLS
}

type writtenListener struct {
	writtenDoor
	kind      string
	namespace value[string]
}

type writtenTLS struct {
	at          hcl.Range
	cert        value[string]
	key         value[string]
	ca          value[string]
	requireCert value[bool]
}

type writtenStorage struct {
	engine        value[string]
	segmentSize   value[int64]
	memtableSize  value[int64]
	sync          value[string]
	syncInterval  value[time.Duration]
	flushInterval value[time.Duration]
	mapSize       value[int64]
	history       value[time.Duration]
	maxAge        value[time.Duration]
	maxBytes      value[int64]
	minSegments   value[int]
	pinMaxAge     value[time.Duration]
	pinMaxBytes   value[int64]
}

type writtenNamespace struct {
	at        hcl.Range
	name      string
	acks      value[string]
	storage   writtenStorage
	quota     *writtenQuota
	replicate *writtenReplicate
	notifiers []*writtenNotifier
}

type writtenQuota struct {
	at       hcl.Range
	maxBytes value[int64]
	rate     value[int64]
}

type writtenReplicate struct {
	at       hcl.Range
	relayers value[[]value[string]]
	selector value[map[string]string]
	hubs     value[[]value[string]]
}

type writtenNotifier struct {
	at         hcl.Range
	kind       string
	name       string
	namespaces value[[]value[string]]
	runOn      value[string]
	maxDelay   value[time.Duration]
	prefix     value[string]
	operations value[[]value[string]]
	entryTypes value[[]value[string]]

	latestPerKey value[bool]
	startFrom    value[string]
	restartFrom  value[string]
	maxRefusals  value[int]
	maxBatch     value[int]

	program writtenProgram
	config  *arguments
}

// newWrittenNotifier begins the one whose block stands there.
func newWrittenNotifier(kind, name string, at hcl.Range) *writtenNotifier {
	return &writtenNotifier{kind: kind, name: name, at: at, config: newArguments(at)}
}

type writtenModel struct {
	at         hcl.Range
	name       string
	namespaces value[[]value[string]]
	program    writtenProgram
	config     *arguments
}

// writtenProgram is what every plugin's block has.
type writtenProgram struct {
	sha256      value[string]
	version     value[string]
	memoryLimit value[int64]
}

type writtenRaft struct {
	writtenDoor
	bootstrapExpect value[int]
	join            value[[]value[string]]
	voter           value[bool]
}

type writtenRelayer struct {
	at        hcl.Range
	labels    value[map[string]string]
	own       []value[string]
	upstreams []*writtenUpstream
}

type writtenUpstream struct {
	at         hcl.Range
	name       string
	addresses  value[[]value[string]]
	namespaces value[[]value[string]]
	joinToken  value[string]
	tls        *writtenTLS
}

// Bounds of what may be set. Those of storage are the kernel's, and zero is
// left out where the kernel takes it for "the default".
const (
	minBuffer   = 64 << 10
	maxBuffer   = 1 << 30
	minMap      = 1 << 20
	maxMap      = 16 << 40
	minMemory   = 1 << 20
	maxInterval = 24 * time.Hour
	maxAge      = 10 * 365 * 24 * time.Hour
	anySize     = math.MaxInt64
)

// merged finds the block of a name that an earlier file wrote, or adds it. One
// with an invalid name is only decoded for the problems inside it.
func merged[T any](valid bool, list *[]*T, same func(*T) bool, add func() *T) *T {
	if !valid {
		return add()
	}
	if i := slices.IndexFunc(*list, same); i >= 0 {
		return (*list)[i]
	}
	b := add()
	*list = append(*list, b)
	return b
}

// file is the top of a file.
func (w *written) file() block {
	return block{
		keys: []key{
			one("node_id", &w.nodeID, nodeName),
			one("region", &w.region, text),
			one("data_dir", &w.dataDir, filled),
			one("plugin_dir", &w.pluginDir, filled),
			one("memory_limit", &w.memoryLimit, size(minMemory, anySize, false)),
		},
		blocks: []inner{
			{name: "log", decode: w.log},
			{name: "listener", labels: []string{"kind"}, decode: w.listener},
			{name: "storage", decode: func(d *decoder, b *hcl.Block) { d.body(b.Body, w.storage.block("storage")) }},
			{name: "replication", decode: w.replication},
			{name: "namespace", labels: []string{"name"}, decode: w.namespace},
			{name: "notifier", labels: []string{"type", "name"}, decode: w.notifier},
			{name: "model", labels: []string{"name"}, decode: w.model},
			{name: "raft", decode: w.raftBlock},
			{name: "relayer", decode: w.relayerBlock},
			{name: "acl", decode: func(d *decoder, b *hcl.Block) {
				d.body(b.Body, block{name: "acl", keys: []key{one("enabled", &w.acl, boolean)}})
				w.aclAt = b.DefRange
			}},
			{name: "telemetry", decode: func(d *decoder, b *hcl.Block) {
				d.body(b.Body, block{name: "telemetry", keys: []key{
					one("prometheus", &w.prometheus, boolean),
					one("otlp_endpoint", &w.otlp, text),
				}})
			}},
		},
	}
}

func (w *written) log(d *decoder, b *hcl.Block) {
	d.body(b.Body, block{name: "log", keys: []key{
		one("level", &w.logLevel, oneOf("trace", "debug", "info", "warn", "error")),
		one("format", &w.logFormat, oneOf("text", "json")),
	}})
}

func (w *written) replication(d *decoder, b *hcl.Block) {
	d.body(b.Body, block{name: "replication", keys: []key{
		one("compression", &w.compression, oneOf("zstd", "none")),
		one("snapshot_bytes_per_second", &w.snapshots, size(0, anySize, true)),
		one("follower_bytes_per_second", &w.followers, size(0, anySize, true)),
	}})
}

// Kinds of listeners.
const (
	listenerHTTP  = "http"
	listenerGRPC  = "grpc"
	listenerRedis = "redis"
)

func (w *written) listener(d *decoder, b *hcl.Block) {
	name := b.Labels[0]
	known := d.named(oneOf(listenerHTTP, listenerGRPC, listenerRedis), name, b.LabelRanges[0])
	l := merged(known, &w.listeners,
		func(l *writtenListener) bool { return l.kind == name },
		func() *writtenListener { return &writtenListener{kind: name, writtenDoor: writtenDoor{at: b.DefRange}} })
	spec := l.block(fmt.Sprintf("listener %q", name))
	if name == listenerRedis || !known {
		spec.keys = append(spec.keys, one("namespace", &l.namespace, namespaceName))
	}
	d.body(b.Body, spec)
}

// block is what a listener and raft have in common.
func (w *writtenDoor) block(name string) block {
	return block{
		name: name,
		keys: []key{
			one("address", &w.address, address),
			one("advertise", &w.advertise, dialable),
			one("insecure", &w.insecure, boolean),
		},
		blocks: []inner{{name: "tls", decode: func(d *decoder, b *hcl.Block) {
			w.tls = tlsBlock(d, b, w.tls, "tls of "+name, true)
		}}},
	}
}

// tlsBlock adds a tls block to what an earlier file wrote. Only who listens can
// require certificates.
func tlsBlock(d *decoder, b *hcl.Block, t *writtenTLS, name string, listens bool) *writtenTLS {
	if t == nil {
		t = &writtenTLS{at: b.DefRange}
	}
	spec := block{name: name, keys: []key{
		one("cert_file", &t.cert, filled),
		one("key_file", &t.key, filled),
		one("ca_file", &t.ca, filled),
	}}
	if listens {
		spec.keys = append(spec.keys, one("require_client_cert", &t.requireCert, boolean))
	}
	d.body(b.Body, spec)
	return t
}

func (s *writtenStorage) block(name string) block {
	return block{
		name: name,
		keys: []key{
			one("engine", &s.engine, oneOf("lmdb", "bolt")),
			one("segment_size", &s.segmentSize, size(minBuffer, maxBuffer, false)),
			one("memtable_size", &s.memtableSize, size(minBuffer, maxBuffer, false)),
			one("sync", &s.sync, oneOf("always", "interval")),
			one("sync_interval", &s.syncInterval, duration(time.Millisecond, time.Hour, false)),
			one("flush_interval", &s.flushInterval, duration(time.Millisecond, maxInterval, true)),
			one("map_size", &s.mapSize, size(minMap, maxMap, false)),
			one("history", &s.history, duration(time.Second, maxAge, true)),
		},
		blocks: []inner{{name: "retention", decode: func(d *decoder, b *hcl.Block) {
			d.body(b.Body, block{name: "retention of " + name, keys: []key{
				one("max_age", &s.maxAge, duration(time.Millisecond, maxAge, false)),
				one("max_bytes", &s.maxBytes, size(1, anySize, false)),
				one("min_segments", &s.minSegments, integer(1, 1e6)),
				one("pin_max_age", &s.pinMaxAge, duration(time.Millisecond, maxAge, false)),
				one("pin_max_bytes", &s.pinMaxBytes, size(1, anySize, false)),
			}})
		}}},
	}
}

func (w *written) namespace(d *decoder, b *hcl.Block) {
	name := b.Labels[0]
	valid := d.named(namespaceName, name, b.LabelRanges[0])
	n := merged(valid, &w.namespaces,
		func(n *writtenNamespace) bool { return n.name == name },
		func() *writtenNamespace { return &writtenNamespace{name: name, at: b.DefRange} })
	title := fmt.Sprintf("namespace %q", name)
	d.body(b.Body, block{
		name: title,
		keys: []key{one("acks", &n.acks, acks)},
		blocks: []inner{
			{name: "storage", decode: func(d *decoder, b *hcl.Block) { d.body(b.Body, n.storage.block("storage of "+title)) }},
			{name: "quota", decode: func(d *decoder, b *hcl.Block) { n.quotaBlock(d, b, title) }},
			{name: "replicate", decode: func(d *decoder, b *hcl.Block) { n.replicateBlock(d, b, title) }},
			{name: "notifier", labels: []string{"type"}, decode: func(d *decoder, b *hcl.Block) { n.notifier(d, b, title) }},
		},
	})
}

func (n *writtenNamespace) quotaBlock(d *decoder, b *hcl.Block, title string) {
	if n.quota == nil {
		n.quota = &writtenQuota{at: b.DefRange}
	}
	d.body(b.Body, block{name: "quota of " + title, keys: []key{
		one("max_bytes", &n.quota.maxBytes, size(0, anySize, true)),
		one("write_bytes_per_second", &n.quota.rate, size(0, anySize, true)),
	}})
}

func (n *writtenNamespace) replicateBlock(d *decoder, b *hcl.Block, title string) {
	if n.replicate == nil {
		n.replicate = &writtenReplicate{at: b.DefRange}
	}
	r := n.replicate
	d.body(b.Body, block{name: "replicate of " + title, keys: []key{
		list("relayers", &r.relayers, nodePattern),
		table("selector", &r.selector, labelName, labelValue),
		list("hubs", &r.hubs, nodePattern),
	}})
}

func (n *writtenNamespace) notifier(d *decoder, b *hcl.Block, title string) {
	kind := b.Labels[0]
	valid := d.named(plugType, kind, b.LabelRanges[0])
	t := merged(valid, &n.notifiers,
		func(t *writtenNotifier) bool { return t.kind == kind },
		func() *writtenNotifier { return newWrittenNotifier(kind, n.name+"/"+kind, b.DefRange) })
	d.body(b.Body, t.block(fmt.Sprintf("notifier %q of %s", kind, title)))
}

func (w *written) notifier(d *decoder, b *hcl.Block) {
	kind, name := b.Labels[0], b.Labels[1]
	validType := d.named(plugType, kind, b.LabelRanges[0])
	validName := d.named(plugName, name, b.LabelRanges[1])
	t := merged(validType && validName, &w.notifiers,
		func(t *writtenNotifier) bool { return t.kind == kind && t.name == name },
		func() *writtenNotifier { return newWrittenNotifier(kind, name, b.DefRange) })
	spec := t.block(fmt.Sprintf("notifier %q %q", kind, name))
	spec.keys = append(spec.keys, list("namespaces", &t.namespaces, namespaceName))
	d.body(b.Body, spec)
}

func (w *written) model(d *decoder, b *hcl.Block) {
	name := b.Labels[0]
	valid := d.named(modelName, name, b.LabelRanges[0])
	m := merged(valid, &w.models,
		func(m *writtenModel) bool { return m.name == name },
		func() *writtenModel {
			return &writtenModel{name: name, at: b.DefRange, config: newArguments(b.DefRange)}
		})
	d.body(b.Body, block{
		name:   fmt.Sprintf("model %q", name),
		keys:   append(m.program.keys(), list("namespaces", &m.namespaces, namespaceName)),
		blocks: []inner{{name: "config", decode: func(d *decoder, b *hcl.Block) { m.config.free(d, b.Body) }}},
	})
}

func (w *written) raftBlock(d *decoder, b *hcl.Block) {
	if w.raft == nil {
		w.raft = &writtenRaft{writtenDoor: writtenDoor{at: b.DefRange}}
	}
	spec := w.raft.block("raft")
	spec.keys = append(spec.keys,
		one("bootstrap_expect", &w.raft.bootstrapExpect, integer(1, 9)),
		list("join", &w.raft.join, dialable),
		one("voter", &w.raft.voter, boolean))
	d.body(b.Body, spec)
}

func (w *written) relayerBlock(d *decoder, b *hcl.Block) {
	if w.relayer == nil {
		w.relayer = &writtenRelayer{at: b.DefRange}
	}
	r := w.relayer
	d.body(b.Body, block{
		name: "relayer",
		keys: []key{table("labels", &r.labels, labelName, labelValue)},
		blocks: []inner{
			{name: "own", labels: []string{"namespace"}, decode: r.ownBlock},
			{name: "upstream", labels: []string{"name"}, decode: r.upstream},
		},
	})
}

func (r *writtenRelayer) ownBlock(d *decoder, b *hcl.Block) {
	name := b.Labels[0]
	d.body(b.Body, block{name: fmt.Sprintf("own %q", name)})
	if d.named(namespaceName, name, b.LabelRanges[0]) && !slices.ContainsFunc(r.own, func(o value[string]) bool { return o.v == name }) {
		r.own = append(r.own, value[string]{v: name, at: b.DefRange, set: true})
	}
}

func (r *writtenRelayer) upstream(d *decoder, b *hcl.Block) {
	name := b.Labels[0]
	valid := d.named(upstreamName, name, b.LabelRanges[0])
	u := merged(valid, &r.upstreams,
		func(u *writtenUpstream) bool { return u.name == name },
		func() *writtenUpstream { return &writtenUpstream{name: name, at: b.DefRange} })
	title := fmt.Sprintf("upstream %q", name)
	d.body(b.Body, block{
		name: title,
		keys: []key{
			list("addresses", &u.addresses, dialable),
			list("namespaces", &u.namespaces, namespaceName),
			one("join_token", &u.joinToken, filled),
		},
		blocks: []inner{{name: "tls", decode: func(d *decoder, b *hcl.Block) {
			u.tls = tlsBlock(d, b, u.tls, "tls of "+title, false)
		}}},
	})
}
