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
			one("node_id", &w.nodeID, nodeName, "The name that other nodes know this one by. It stays the same for the life of the data directory.").otherwise("the host name"),
			one("region", &w.region, textKind, "Where the node is, in words of your own. The control plane shows it."),
			one("data_dir", &w.dataDir, filledKind, "The directory of everything that the node keeps.").required(),
			one("plugin_dir", &w.pluginDir, filledKind, "The directory of the programs of plugins: `notifier-<type>` and `model-<name>`.").otherwise("`plugins` beside the executable"),
			one("memory_limit", &w.memoryLimit, size(minMemory, anySize, false), "What memtables and buffers of all namespaces may take together.").otherwise("half of the memory of the cgroup or the machine"),
		},
		blocks: []inner{
			{name: "log", doc: "The log on standard error.", decode: w.log},
			{name: "listener", labels: []string{"kind"}, decode: w.listener,
				doc:      "An address to listen on: `http` for data, status and metrics, `grpc` for replication and the group of hubs. A relayer has a `grpc` listener only where one is written. `redis` isn't built.",
				variants: []variant{{labels: []string{listenerHTTP}}, {labels: []string{listenerGRPC}}, {labels: []string{listenerRedis}}}},
			{name: "storage", doc: "How namespaces are stored: the defaults for all of this node's.", decode: func(d *decoder, b *hcl.Block) { d.body(b.Body, w.storage.block("storage")) }},
			{name: "replication", doc: "What this node sends to its followers.", decode: w.replication},
			{name: "namespace", labels: []string{"name"}, decode: w.namespace,
				doc: "A namespace. On a hub the block makes it, once; on a relayer it only sets storage, notifiers and, where the relayer owns the namespace, a quota. Its name has 1 to 64 letters, digits, dots, dashes and underscores."},
			{name: "notifier", labels: []string{"type", "name"}, decode: w.notifier, variants: notifierVariants("one"),
				doc: "A notifier for one or more namespaces: a program `notifier-<type>` that is told of their changes."},
			{name: "model", labels: []string{"name"}, decode: w.model, doc: "A data model: a program `model-<name>` that answers `/model/<name>/…` of its namespaces."},
			{name: "raft", doc: "A hub's place in a group of hubs, which agree on namespaces and relayers. Without it the hub is a group of one.", decode: w.raftBlock},
			{name: "relayer", doc: "What a relayer follows and owns. Needed by `unisondb relayer`, refused by `unisondb server`.", decode: w.relayerBlock},
			{name: "acl", doc: "Access control, which isn't built.", decode: func(d *decoder, b *hcl.Block) {
				d.body(b.Body, block{name: "acl", keys: []key{one("enabled", &w.acl, booleanKind, "Whether requests need a token. Only `false` is built.")}})
				w.aclAt = b.DefRange
			}},
			{name: "telemetry", doc: "Metrics and traces.", decode: func(d *decoder, b *hcl.Block) {
				d.body(b.Body, block{name: "telemetry", keys: []key{
					one("prometheus", &w.prometheus, booleanKind, "Whether `GET /metrics` answers."),
					one("otlp_endpoint", &w.otlp, textKind, "Where traces are sent to. Only the empty one is built.").like(`"http://127.0.0.1:4317"`, `"http://127.0.0.1:4318"`),
				}})
			}},
		},
	}
}

func (w *written) log(d *decoder, b *hcl.Block) {
	d.body(b.Body, block{name: "log", keys: []key{
		one("level", &w.logLevel, oneOf("trace", "debug", "info", "warn", "error"), "Lines of this level and above are written."),
		one("format", &w.logFormat, oneOf("text", "json"), "How a line looks."),
	}})
}

func (w *written) replication(d *decoder, b *hcl.Block) {
	d.body(b.Body, block{name: "replication", keys: []key{
		one("compression", &w.compression, oneOf("zstd", "none"), "How streams and snapshots are compressed."),
		one("snapshot_bytes_per_second", &w.snapshots, size(0, anySize, true), "How fast snapshots and repairs leave this node, all together, per second. `\"0\"` is no bound."),
		one("follower_bytes_per_second", &w.followers, size(0, anySize, true), "How fast records go to one follower, per second. `\"0\"` is no bound."),
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
		spec.keys = append(spec.keys, one("namespace", &l.namespace, namespaceName, "The namespace that Redis commands are for."))
	}
	d.body(b.Body, spec)
}

// block is what a listener and raft have in common.
func (w *writtenDoor) block(name string) block {
	return block{
		name: name,
		keys: []key{
			one("address", &w.address, address, "Where to listen. Port 0 takes a free one. An address beyond loopback needs a `tls` block, or `insecure = true`."),
			one("advertise", &w.advertise, dialable, "What other nodes dial. Needed where the address is a wildcard such as `0.0.0.0`.").otherwise("`address`, where it is no wildcard"),
			one("insecure", &w.insecure, booleanKind, "Listens beyond loopback without TLS. Whoever reaches the address may read and write."),
		},
		blocks: []inner{{name: "tls", doc: "TLS of the listener. The files are read again when they change. `raft` without the block uses that of `listener \"grpc\"`.", decode: func(d *decoder, b *hcl.Block) {
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
		one("cert_file", &t.cert, filledKind, "A PEM file with this node's certificate and those between it and the CA.").requiredIf(listens).beside(`key_file = "a.key"`),
		one("key_file", &t.key, filledKind, "A PEM file with the certificate's key.").requiredIf(listens).beside(`cert_file = "a.crt"`),
		one("ca_file", &t.ca, filledKind, "A PEM file with the certificates that the other side's must come from.").otherwise(trustWithout(listens)),
	}}
	if listens {
		spec.keys = append(spec.keys, one("require_client_cert", &t.requireCert, booleanKind,
			"Whether clients need a certificate that `ca_file` vouches for.").beside(`ca_file = "ca.crt"`))
	}
	d.body(b.Body, spec)
	return t
}

// trustWithout is whose certificates are taken without ca_file.
func trustWithout(listens bool) string {
	if listens {
		return "none: clients show no certificate"
	}
	return "the certificates of the system"
}

func (s *writtenStorage) block(name string) block {
	return block{
		name: name,
		keys: []key{
			one("engine", &s.engine, oneOf("lmdb", "bolt"), "The B+tree. `lmdb` needs a build with C; `bolt` doesn't."),
			one("segment_size", &s.segmentSize, size(minBuffer, maxBuffer, false), "Size of a file of the log, at most. A young namespace begins with smaller ones."),
			one("memtable_size", &s.memtableSize, size(minBuffer, maxBuffer, false), "Size at which a memtable is flushed into the B+tree."),
			one("sync", &s.sync, oneOf("always", "interval"), "`always` fsyncs the log before a write is acknowledged, one fsync for all that wait. `interval` fsyncs every `sync_interval`: a crash of the machine loses what came since."),
			one("sync_interval", &s.syncInterval, duration(time.Millisecond, time.Hour, false), "How often the log is fsynced with `sync = \"interval\"`."),
			one("flush_interval", &s.flushInterval, duration(time.Millisecond, maxInterval, true), "How often memtables are flushed whatever their size. `\"0s\"` flushes when one is full, or at a mark."),
			one("map_size", &s.mapSize, size(minMap, maxMap, false), "The address space that LMDB begins with. It grows by itself before it is full."),
			one("history", &s.history, duration(time.Second, maxAge, true), "How far back reads of the past reach. Only `\"0s\"`, which keeps no old versions, is built."),
		},
		blocks: []inner{{name: "retention", doc: "How much of the log is kept behind the checkpoint. A closed segment that nobody holds goes when it is older than `max_age` or the log is larger than `max_bytes`.", decode: func(d *decoder, b *hcl.Block) {
			d.body(b.Body, block{name: "retention of " + name, keys: []key{
				one("max_age", &s.maxAge, duration(time.Millisecond, maxAge, false), "Age beyond which a segment may go."),
				one("max_bytes", &s.maxBytes, size(1, anySize, false), "Size of the log beyond which its oldest segments may go."),
				one("min_segments", &s.minSegments, integer(1, 1e6), "The newest segments that stay in any case."),
				one("pin_max_age", &s.pinMaxAge, duration(time.Millisecond, maxAge, false), "How old what a follower or a notifier holds back may become, before it is let go. A follower then takes a snapshot, a notifier goes on as `restart_from` says."),
				one("pin_max_bytes", &s.pinMaxBytes, size(1, anySize, false), "How large what a follower or a notifier holds back may become, before it is let go."),
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
		keys: []key{one("acks", &n.acks, acks, "Who has to have a write before it is acknowledged. Only `\"local\"`, the owner alone, is built.")},
		blocks: []inner{
			{name: "storage", doc: "Storage of this namespace on this node. What is left out is as in the `storage` block of the node.", decode: func(d *decoder, b *hcl.Block) { d.body(b.Body, n.storage.block("storage of "+title)) }},
			{name: "quota", doc: "Bounds of the namespace, which its owner enforces.", decode: func(d *decoder, b *hcl.Block) { n.quotaBlock(d, b, title) }},
			{name: "replicate", doc: "Which relayers the control plane gives the namespace to, and which hubs keep a replica. Where the block is there, a node that it doesn't name may follow the namespace only if it is assigned to it.", decode: func(d *decoder, b *hcl.Block) { n.replicateBlock(d, b, title) }},
			{name: "notifier", labels: []string{"type"}, variants: notifierVariants(), decode: func(d *decoder, b *hcl.Block) { n.notifier(d, b, title) },
				doc: "A notifier for this namespace alone, called `<namespace>/<type>`. Its keys are those of a `notifier` block at the top, but for `namespaces`."},
		},
	})
}

func (n *writtenNamespace) quotaBlock(d *decoder, b *hcl.Block, title string) {
	if n.quota == nil {
		n.quota = &writtenQuota{at: b.DefRange}
	}
	d.body(b.Body, block{name: "quota of " + title, keys: []key{
		one("max_bytes", &n.quota.maxBytes, size(0, anySize, true), "Live keys and values, at most. `\"0\"` is no bound."),
		one("write_bytes_per_second", &n.quota.rate, size(0, anySize, true), "Bytes written per second, at most. `\"0\"` is no bound."),
	}})
}

func (n *writtenNamespace) replicateBlock(d *decoder, b *hcl.Block, title string) {
	if n.replicate == nil {
		n.replicate = &writtenReplicate{at: b.DefRange}
	}
	r := n.replicate
	d.body(b.Body, block{name: "replicate of " + title, keys: []key{
		list("relayers", &r.relayers, nodePattern, "Relayers, by id or pattern."),
		table("selector", &r.selector, labelName, labelValue, "Relayers that have all of these labels."),
		list("hubs", &r.hubs, nodePattern, "Hubs that keep a replica, beside the owner."),
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
	spec.keys = append(spec.keys, list("namespaces", &t.namespaces, namespaceName, "The namespaces whose changes it is told of.").required())
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
		keys:   append(m.program.keys(), list("namespaces", &m.namespaces, namespaceName, "The namespaces that it works in.").required()),
		blocks: []inner{{name: "config", doc: "What the plugin itself takes: its [arguments](#plugin-arguments).", decode: func(d *decoder, b *hcl.Block) { m.config.free(d, b.Body) }}},
	})
}

func (w *written) raftBlock(d *decoder, b *hcl.Block) {
	if w.raft == nil {
		w.raft = &writtenRaft{writtenDoor: writtenDoor{at: b.DefRange}}
	}
	spec := w.raft.block("raft")
	spec.keys = append(spec.keys,
		one("bootstrap_expect", &w.raft.bootstrapExpect, integer(1, 9), "How many hubs have to be there before the group begins, the same on each of them.").otherwise("`1`; with `join`, the hub joins a group and begins none"),
		list("join", &w.raft.join, dialable, "The gRPC address of any other hub of the group, or of several."),
		one("voter", &w.raft.voter, booleanKind, "Whether the hub votes. `false` suits one that is far away."))
	d.body(b.Body, spec)
}

func (w *written) relayerBlock(d *decoder, b *hcl.Block) {
	if w.relayer == nil {
		w.relayer = &writtenRelayer{at: b.DefRange}
	}
	r := w.relayer
	d.body(b.Body, block{
		name: "relayer",
		keys: []key{table("labels", &r.labels, labelName, labelValue, "What selectors choose the relayer by.")},
		blocks: []inner{
			{name: "own", labels: []string{"namespace"}, decode: r.ownBlock, doc: "A namespace that this relayer owns: it takes the writes, and its upstream follows it. The block has no keys."},
			{name: "upstream", labels: []string{"name"}, decode: r.upstream, doc: "A node to follow. At least one is needed; a namespace comes from the first that has it."},
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
			list("addresses", &u.addresses, dialable, "gRPC addresses of the upstream, tried in order.").required(),
			list("namespaces", &u.namespaces, namespaceName, "The namespaces to follow.").otherwise("those that the control plane assigns"),
			one("join_token", &u.joinToken, filledKind, "The token of `operator relayer token`, which lets a relayer in that the group doesn't know yet. Needed for its first session only."),
		},
		blocks: []inner{{name: "tls", doc: "TLS with the upstream. The files are read again when they change.", decode: func(d *decoder, b *hcl.Block) {
			u.tls = tlsBlock(d, b, u.tls, "tls of "+title, false)
		}}},
	})
}
