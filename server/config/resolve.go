package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Addresses of listeners that nothing was written about. A relayer opens a gRPC
// listener only where one is written: not every relayer relays.
const (
	defaultHTTP  = "127.0.0.1:4000"
	defaultGRPC  = "127.0.0.1:4001"
	defaultRedis = "127.0.0.1:6380"
	defaultRaft  = "127.0.0.1:4002"

	defaultNamespace = "default"
)

// defaults are those that depend on the machine.
type defaults struct {
	hostName    string
	pluginDir   string
	memoryLimit int64
}

// resolver turns what was written into a configuration: defaults applied, and
// checked as a whole.
type resolver struct {
	*report
	w        *written
	at       map[string]hcl.Range // of every key, by what messages call it
	options  LoadOptions
	defaults defaults
	first    hcl.Range // the begin of the first file
	// whole says that all files could be read and parsed. What is missing is
	// reported only then: it may stand in the part that couldn't.
	whole bool
}

func (r *resolver) config() *Config {
	w := r.w
	c := &Config{
		NodeID:      r.nodeID(),
		Region:      w.region.or(""),
		DataDir:     r.dataDir(),
		PluginDir:   w.pluginDir.or(r.defaults.pluginDir),
		MemoryLimit: w.memoryLimit.or(r.defaults.memoryLimit),
		Log:         Log{Level: w.logLevel.or("info"), Format: w.logFormat.or("text")},
		Replication: Replication{
			Compression:            w.compression.or("zstd"),
			SnapshotBytesPerSecond: w.snapshots.or(0),
			FollowerBytesPerSecond: w.followers.or(0),
		},
		Storage:   resolveStorage(w.storage, baseStorage()),
		ACL:       w.acl.or(false),
		Telemetry: Telemetry{Prometheus: w.prometheus.or(true), OTLPEndpoint: r.otlp()},
		where:     map[string]string{},
	}
	r.roles()
	r.listeners(c)
	r.raft(c)
	r.sameAddress(c)
	r.relayer(c)
	r.namespaces(c)
	r.plugins(c)
	r.places(c)
	return c
}

// missing reports what has to be written and isn't.
func (r *resolver) missing(at hcl.Range, suggestion, format string, args ...any) {
	if r.whole {
		r.errorf(at, suggestion, format, args...)
	}
}

func (r *resolver) nodeID() string {
	if r.w.nodeID.absent() && r.defaults.hostName == "" {
		r.missing(r.first, `write node_id = "…"`, "node_id is missing, and the host name can't serve as one")
	}
	return r.w.nodeID.or(r.defaults.hostName)
}

func (r *resolver) dataDir() string {
	if r.w.dataDir.absent() && !r.options.Dev {
		r.missing(r.first, `write data_dir = "/var/lib/unisondb", or start with -dev`, "data_dir is missing")
	}
	return r.w.dataDir.or("")
}

func (r *resolver) otlp() string {
	v := r.w.otlp
	if v.or("") == "" {
		return ""
	}
	if u, err := url.Parse(v.v); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		return v.v
	}
	if checkHostPort(v.v, true) != nil {
		r.errorf(v.at, `write a URL or a host and a port, as in "http://127.0.0.1:4317"`, "%q is no endpoint", v.v)
	}
	return v.v
}

// roles refuses blocks that a node of the role has no use for, instead of
// ignoring them.
func (r *resolver) roles() {
	switch r.options.Role {
	case RoleHub:
		if r.w.relayer != nil {
			r.errorf(r.w.relayer.at, `remove it, or start the node with "unisondb relayer"`, "a relayer block is not for a hub")
		}
	case RoleRelayer:
		if r.w.relayer == nil {
			r.missing(r.first, `write relayer { … } with an upstream block in it, or start the node with "unisondb server"`, "the relayer block is missing")
		}
		if r.w.raft != nil {
			r.errorf(r.w.raft.at, `remove it, or start the node with "unisondb server"`, "a raft block is not for a relayer")
		}
	}
}

func (r *resolver) listeners(c *Config) {
	http := &writtenListener{kind: listenerHTTP}
	var grpc, redis *writtenListener
	if r.options.Role != RoleRelayer {
		grpc = &writtenListener{kind: listenerGRPC}
	}
	for _, l := range r.w.listeners {
		switch l.kind {
		case listenerHTTP:
			http = l
		case listenerGRPC:
			grpc = l
		case listenerRedis:
			redis = l
		}
	}
	c.HTTP = r.listener(http, defaultHTTP)
	if grpc != nil {
		c.GRPC = r.listener(grpc, defaultGRPC)
	}
	if redis != nil {
		c.Redis = &RedisListener{
			Listener:  *r.listener(redis, defaultRedis),
			Namespace: redis.namespace.or(defaultNamespace),
		}
	}
}

func (r *resolver) listener(l *writtenListener, otherwise string) *Listener {
	title := fmt.Sprintf("listener %q", l.kind)
	t := r.tls(l.tls, "tls of "+title, true)
	addr := r.door(&l.writtenDoor, title, otherwise, t != nil)
	return &Listener{
		Address:   addr,
		Advertise: r.advertise(&l.writtenDoor, title, addr, l.kind == listenerGRPC),
		Insecure:  l.insecure.or(false),
		TLS:       t,
	}
}

// What is said of a door that others would reach in plain text.
const (
	exposedMessage = "%s listens on %s, beyond this machine, without TLS"
	exposedHint    = "add a tls block, listen on 127.0.0.1, or write insecure = true in this block"
)

// CheckExposure refuses a listener that others would reach in plain text where nobody
// has said that this is meant. Load has done so for files; a configuration that was
// put together by a program is checked by this.
func (l *Listener) CheckExposure(kind string) error {
	if l == nil || l.TLS != nil || l.Insecure || isLoopback(l.Address) {
		return nil
	}
	return fmt.Errorf(exposedMessage+"; %s", fmt.Sprintf("listener %q", kind), l.Address, exposedHint)
}

// CheckExposure is that of a listener. grpc is the one whose TLS Raft uses where it has none of its own.
func (r *Raft) CheckExposure(grpc *Listener) error {
	if r == nil || r.TLS != nil || grpc != nil && grpc.TLS != nil || r.Insecure || isLoopback(r.Address) {
		return nil
	}
	return fmt.Errorf(exposedMessage+"; %s", "raft", r.Address, exposedHint)
}

// door is the address to listen on, refused where others would reach it in
// plain text and nobody has said that this is meant.
func (r *resolver) door(w *writtenDoor, title, otherwise string, secured bool) string {
	addr := w.address.or(otherwise)
	if !isLoopback(addr) && !secured && !w.insecure.or(false) {
		r.missing(w.address.at, exposedHint, exposedMessage, title, addr)
	}
	return addr
}

// advertise is what others dial. Where they must, a wildcard needs one.
func (r *resolver) advertise(w *writtenDoor, title, addr string, needed bool) string {
	if w.advertise.set {
		return w.advertise.v
	}
	if !isWildcard(addr) {
		return addr
	}
	if needed {
		r.missing(w.address.at, `write advertise = "host:port" with what other nodes dial`,
			"%s listens on every interface (%s), so that others can't tell what to dial", title, addr)
	}
	return ""
}

// tls is a tls block's files. Who listens needs a certificate; who dials may
// have one, and then with its key.
func (r *resolver) tls(w *writtenTLS, title string, listens bool) *TLS {
	if w == nil {
		return nil
	}
	t := &TLS{
		CertFile:          w.cert.or(""),
		KeyFile:           w.key.or(""),
		CAFile:            w.ca.or(""),
		RequireClientCert: w.requireCert.or(false),
	}
	if listens || !w.cert.absent() || !w.key.absent() {
		if w.cert.absent() {
			r.missing(w.at, `write cert_file = "…"`, "cert_file is missing in %s", title)
		}
		if w.key.absent() {
			r.missing(w.at, `write key_file = "…"`, "key_file is missing in %s", title)
		}
	}
	if t.RequireClientCert && w.ca.absent() {
		r.missing(w.requireCert.at, `write ca_file = "…" with who signs the clients' certificates`, "require_client_cert needs ca_file in %s", title)
	}
	return t
}

func (r *resolver) raft(c *Config) {
	w := r.w.raft
	if w == nil {
		return
	}
	t := r.tls(w.tls, "tls of raft", true)
	secured := t != nil || c.GRPC != nil && c.GRPC.TLS != nil
	addr := r.door(&w.writtenDoor, "raft", defaultRaft, secured)
	expect := 1
	if len(w.join.v) > 0 {
		expect = 0
	}
	c.Raft = &Raft{
		Address:         addr,
		Advertise:       r.advertise(&w.writtenDoor, "raft", addr, true),
		BootstrapExpect: w.bootstrapExpect.or(expect),
		Join:            values(w.join.v),
		Voter:           w.voter.or(true),
		Insecure:        w.insecure.or(false),
		TLS:             t,
	}
}

// sameAddress refuses two doors on one address before the operating system does.
func (r *resolver) sameAddress(c *Config) {
	taken := map[string]string{}
	check := func(title, addr string, at hcl.Range) {
		if other, ok := taken[addr]; ok && !freePort(addr) {
			if at.Filename == "" {
				at = r.first
			}
			r.errorf(at, "give one of them another port", "%s and %s have the same address %s", other, title, addr)
			return
		}
		taken[addr] = title
	}
	places := map[string]hcl.Range{}
	for _, l := range r.w.listeners {
		places[l.kind] = l.address.at
	}
	check(`listener "http"`, c.HTTP.Address, places[listenerHTTP])
	if c.GRPC != nil {
		check(`listener "grpc"`, c.GRPC.Address, places[listenerGRPC])
	}
	if c.Redis != nil {
		check(`listener "redis"`, c.Redis.Address, places[listenerRedis])
	}
	if c.Raft != nil {
		check("raft", c.Raft.Address, r.w.raft.address.at)
	}
}

func baseStorage() Storage {
	return Storage{
		Engine:        "lmdb",
		SegmentSize:   16 << 20,
		MemtableSize:  64 << 20,
		Sync:          syncAlways,
		SyncInterval:  10 * time.Millisecond,
		FlushInterval: 0,
		MapSize:       1 << 30,
		Retention: Retention{
			MaxAge: 24 * time.Hour, MaxBytes: 4 << 30, MinSegments: 2,
			PinMaxAge: 24 * time.Hour, PinMaxBytes: 4 << 30,
		},
	}
}

const (
	syncAlways = "always"
	acksLocal  = "local"
)

// resolveStorage is what was written over what holds otherwise.
func resolveStorage(w writtenStorage, otherwise Storage) Storage {
	o := otherwise.Retention
	return Storage{
		Engine:        w.engine.or(otherwise.Engine),
		SegmentSize:   w.segmentSize.or(otherwise.SegmentSize),
		MemtableSize:  w.memtableSize.or(otherwise.MemtableSize),
		Sync:          w.sync.or(otherwise.Sync),
		SyncInterval:  w.syncInterval.or(otherwise.SyncInterval),
		FlushInterval: w.flushInterval.or(otherwise.FlushInterval),
		MapSize:       w.mapSize.or(otherwise.MapSize),
		History:       w.history.or(otherwise.History),
		Retention: Retention{
			MaxAge:      w.maxAge.or(o.MaxAge),
			MaxBytes:    w.maxBytes.or(o.MaxBytes),
			MinSegments: w.minSegments.or(o.MinSegments),
			PinMaxAge:   w.pinMaxAge.or(o.PinMaxAge),
			PinMaxBytes: w.pinMaxBytes.or(o.PinMaxBytes),
		},
	}
}

func (r *resolver) namespaces(c *Config) {
	for _, w := range r.w.namespaces {
		n := Namespace{
			Name:    w.name,
			Acks:    w.acks.or(acksLocal),
			Storage: resolveStorage(w.storage, c.Storage),
		}
		if n.Acks != acksLocal && n.Storage.Sync != syncAlways {
			r.errorf(w.acks.at, `write acks = "local", or sync = "always" in its storage block`,
				"namespace %q has acks = %q with sync = %q: others would be asked for what isn't durable here", n.Name, n.Acks, n.Storage.Sync)
		}
		if w.quota != nil {
			n.Quota = Quota{MaxBytes: w.quota.maxBytes.or(0), WriteBytesPerSecond: w.quota.rate.or(0)}
		}
		if w.replicate != nil {
			n.Replicate = &Replicate{
				Relayers: values(w.replicate.relayers.v),
				Selector: w.replicate.selector.v,
				Hubs:     values(w.replicate.hubs.v),
			}
		}
		if r.options.Role == RoleRelayer {
			r.onRelayer(w)
		}
		c.Namespaces = append(c.Namespaces, n)
	}
	hasDefault := slices.ContainsFunc(c.Namespaces, func(n Namespace) bool { return n.Name == defaultNamespace })
	if r.options.Dev && r.options.Role != RoleRelayer && !hasDefault {
		c.Namespaces = append(c.Namespaces, Namespace{Name: defaultNamespace, Acks: acksLocal, Storage: c.Storage})
	}
}

// onRelayer refuses what a namespace block can't say on a relayer: there it
// sets storage and notifiers, and a quota where the relayer owns.
func (r *resolver) onRelayer(w *writtenNamespace) {
	hint := "write it where the namespace is owned"
	if w.acks.set {
		r.errorf(w.acks.at, hint, "acks of namespace %q isn't a relayer's to set", w.name)
	}
	if w.replicate != nil {
		r.errorf(w.replicate.at, hint, "replicate of namespace %q isn't a relayer's to set", w.name)
	}
	if w.quota != nil && !r.owns(w.name) {
		r.errorf(w.quota.at, hint, "the quota of namespace %q isn't a relayer's to set, unless it owns the namespace", w.name)
	}
}

func (r *resolver) owns(namespace string) bool {
	return r.w.relayer != nil &&
		slices.ContainsFunc(r.w.relayer.own, func(o value[string]) bool { return o.v == namespace })
}

func (r *resolver) relayer(c *Config) {
	w := r.w.relayer
	if w == nil {
		return
	}
	c.Relayer = &Relayer{Labels: w.labels.v, Own: values(w.own)}
	if len(w.upstreams) == 0 {
		r.missing(w.at, `write upstream "hub" { addresses = ["hub-a:4001"] } in it`, "the relayer block names no upstream")
	}
	for _, u := range w.upstreams {
		c.Relayer.Upstreams = append(c.Relayer.Upstreams, r.upstream(u))
	}
}

func (r *resolver) upstream(w *writtenUpstream) Upstream {
	title := fmt.Sprintf("upstream %q", w.name)
	if w.addresses.absent() {
		r.missing(w.at, `write addresses = ["hub-a:4001"]`, "addresses is missing in %s", title)
	} else {
		r.filledList(w.addresses, "addresses of "+title)
	}
	if w.namespaces.set {
		r.filledList(w.namespaces, "namespaces of "+title)
	}
	for _, n := range w.namespaces.v {
		if r.owns(n.v) {
			r.errorf(n.at, "follow it or own it", "namespace %q is owned by this relayer and can't be followed, too", n.v)
		}
	}
	return Upstream{
		Name:       w.name,
		Addresses:  values(w.addresses.v),
		Namespaces: values(w.namespaces.v),
		JoinToken:  w.joinToken.or(""),
		TLS:        r.tls(w.tls, "tls of "+title, false),
	}
}

// filledList refuses an empty list and names that stand in it twice.
func (r *resolver) filledList(l value[[]value[string]], title string) {
	if len(l.v) == 0 && !l.failed {
		r.errorf(l.at, "write at least one, or leave the key out", "%s is empty", title)
	}
	seen := map[string]bool{}
	for _, e := range l.v {
		if seen[e.v] {
			r.errorf(e.at, "remove one of them", "%q stands twice in %s", e.v, title)
		}
		seen[e.v] = true
	}
}

// plugins are the notifiers and models. Whatever they are, an operator calls each
// by its name alone, and so do its cursors.
func (r *resolver) plugins(c *Config) {
	r.notifiers(c)
	r.models(c)
	taken := map[string]string{}
	check := func(title, name string, at hcl.Range) {
		if other, ok := taken[name]; ok {
			r.errorf(at, "give one of them another name", "%s has the same name as %s", title, other)
			return
		}
		taken[name] = title
	}
	for _, w := range r.w.notifiers {
		check(fmt.Sprintf("notifier %q %q", w.kind, w.name), w.name, w.at)
	}
	for _, w := range r.w.models {
		check(fmt.Sprintf("model %q", w.name), w.name, w.at)
	}
	r.sockets()
}

// sockets refuses ZeroMQ's that can't be bound: one for more than a namespace, and two of
// one address.
func (r *resolver) sockets() {
	all := slices.Clone(r.w.notifiers)
	for _, n := range r.w.namespaces {
		all = append(all, n.notifiers...)
	}
	all = slices.DeleteFunc(all, func(w *writtenNotifier) bool { return w.kind != notifierZeroMQ })
	for i, w := range all {
		if len(w.namespaces.v) > 1 {
			r.errorf(w.namespaces.at, `write a notifier "zeromq" block with a bind_port of its own inside each namespace`,
				"a ZeroMQ socket serves one namespace, and notifier %q %q has %d", w.kind, w.name, len(w.namespaces.v))
		}
		for _, other := range all[:i] {
			if w.sameSocket(other) {
				r.errorf(w.config.placeOf("bind_port"), "give one of them another bind_port", "notifier %q %q has the bind_port of notifier %q %q", w.kind, w.name, other.kind, other.name)
			}
		}
	}
}

func (r *resolver) notifiers(c *Config) {
	for _, w := range r.w.notifiers {
		r.servedNamespaces(w.namespaces, w.at, fmt.Sprintf("notifier %q %q", w.kind, w.name))
		c.Notifiers = append(c.Notifiers, r.notifier(w, values(w.namespaces.v)))
	}
	for _, n := range r.w.namespaces {
		for _, w := range n.notifiers {
			c.Notifiers = append(c.Notifiers, r.notifier(w, []string{n.name}))
		}
	}
}

func (r *resolver) notifier(w *writtenNotifier, namespaces []string) Notifier {
	name, example := w.required()
	if _, ok := w.config.values[name]; name != "" && !ok {
		r.missing(w.at, "write "+example, "%s is missing in notifier %q %q", name, w.kind, w.name)
	}
	return Notifier{
		Type:       w.kind,
		Name:       w.name,
		Namespaces: namespaces,
		RunOn:      w.runOn.or(r.runOn(w.kind)),
		Prefix:     w.prefix.or(""),
		Operations: values(w.operations.v),
		EntryTypes: values(w.entryTypes.v),
		MaxDelay:   w.maxDelay.or(0),

		LatestPerKey: w.latestPerKey.or(false),
		StartFrom:    w.startFrom.or(fromNewest),
		RestartFrom:  w.restartFrom.or(fromOldest),
		MaxRefusals:  w.maxRefusals.or(defaultMaxRefusals),
		MaxBatch:     w.maxBatch.or(defaultMaxBatch),

		Program: w.program.resolve(),
		Config:  w.config.values,
		Where:   w.config.where(),
	}
}

// runOn is where a notifier works that doesn't say so. ZeroMQ's subscribers are local to
// each node, and what a relayer's own files name is meant for that relayer, which owns nothing
// of what it follows.
func (r *resolver) runOn(kind string) string {
	if kind == notifierZeroMQ || r.options.Role == RoleRelayer {
		return runOnEvery
	}
	return runOnOwner
}

func (r *resolver) models(c *Config) {
	for _, w := range r.w.models {
		r.servedNamespaces(w.namespaces, w.at, fmt.Sprintf("model %q", w.name))
		c.Models = append(c.Models, Model{
			Name: w.name, Namespaces: values(w.namespaces.v), Program: w.program.resolve(),
			Config: w.config.values, Where: w.config.where(),
		})
	}
}

// servedNamespaces wants a plugin to have something to do.
func (r *resolver) servedNamespaces(l value[[]value[string]], at hcl.Range, title string) {
	if l.absent() {
		r.missing(at, `write namespaces = ["default"]`, "namespaces is missing in %s", title)
		return
	}
	r.filledList(l, "namespaces of "+title)
}

// place is a position for messages after loading.
func place(at hcl.Range) string {
	return at.Filename + ":" + strconv.Itoa(at.Start.Line)
}
