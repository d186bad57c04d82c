package config

import (
	hash "crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Change is a key whose value is another one in a later configuration.
type Change struct {
	Key   string // as messages call it: segment_size in storage
	Old   string // as it would be written; empty: it wasn't there
	New   string // empty: it isn't there any more
	Where string // file:line of the new value; empty where it isn't known
}

// String is the change in one line.
func (c Change) String() string {
	prefix := ""
	if c.Where != "" {
		prefix = c.Where + ": "
	}
	switch {
	case c.Old == "":
		return fmt.Sprintf("%s%s is new (%s)", prefix, c.Key, c.New)
	case c.New == "":
		return fmt.Sprintf("%s%s was %s and is gone", prefix, c.Key, c.Old)
	}
	return fmt.Sprintf("%s%s was %s and is %s", prefix, c.Key, c.Old, c.New)
}

// Fixed lists what differs in a later configuration and can't change while a node
// runs: everything but notifiers, models and the level of the log.
func (c *Config) Fixed(later *Config) []Change {
	was, is := c.settings(), later.settings()
	var changes []Change
	for _, key := range is.order {
		old, ok := was.values[key]
		if ok && old == is.values[key] || !ok && !was.has(is.parent[key]) || is.derived[key] && c.unwritten(later, key) {
			continue
		}
		changes = append(changes, Change{Key: key, Old: old, New: is.values[key], Where: later.where[key]})
	}
	for _, key := range was.order {
		if !is.has(key) && is.has(was.parent[key]) {
			changes = append(changes, Change{Key: key, Old: was.values[key]})
		}
	}
	return changes
}

// unwritten says that neither files say anything of a key.
func (c *Config) unwritten(later *Config, key string) bool {
	return c.where != nil && later.where != nil && c.where[key] == "" && later.where[key] == ""
}

// settings are the keys of a configuration with their values, but for those that can
// change while a node runs. Keys are called as the decoder calls them, so that their
// places are found.
type settings struct {
	order  []string
	values map[string]string
	// parent is the block that a key goes and comes with; empty: none.
	parent map[string]string
	// derived are keys that follow something else where nobody has written them: the
	// machine, which may have changed, or a key that is reported itself.
	derived map[string]bool

	within string // the block whose keys are being added
}

// has says whether there is such a key or block; the top of the files always is.
func (s *settings) has(key string) bool {
	_, ok := s.values[key]
	return ok || key == ""
}

func (c *Config) settings() *settings {
	s := &settings{values: map[string]string{}, parent: map[string]string{}, derived: map[string]bool{}}
	s.text("node_id", c.NodeID)
	s.text("region", c.Region)
	s.text("data_dir", c.DataDir)
	s.text("plugin_dir", c.PluginDir)
	s.size("memory_limit", c.MemoryLimit)
	for _, key := range []string{"node_id", "plugin_dir", "memory_limit"} {
		s.derived[key] = true
	}
	s.text("format in log", c.Log.Format)
	s.listener("http", c.HTTP)
	s.listener("grpc", c.GRPC)
	if c.Redis != nil {
		s.listener("redis", &c.Redis.Listener)
		s.text(`namespace in listener "redis"`, c.Redis.Namespace)
		s.parent[`namespace in listener "redis"`] = `listener "redis"`
	}
	s.storage("storage", c.Storage)
	s.text("compression in replication", c.Replication.Compression)
	s.size("snapshot_bytes_per_second in replication", c.Replication.SnapshotBytesPerSecond)
	s.size("follower_bytes_per_second in replication", c.Replication.FollowerBytesPerSecond)
	for _, n := range c.Namespaces {
		s.namespace(n)
	}
	s.raft(c.Raft)
	s.relayer(c.Relayer)
	s.flag("enabled in acl", c.ACL)
	s.flag("prometheus in telemetry", c.Telemetry.Prometheus)
	s.text("otlp_endpoint in telemetry", c.Telemetry.OTLPEndpoint)
	return s
}

func (s *settings) add(key, value string) {
	s.order = append(s.order, key)
	s.values[key], s.parent[key] = value, s.within
}

// block begins a block that is there or not, by name. Its keys follow until leave is called.
func (s *settings) block(title string) (leave func()) {
	s.add(title, "a block")
	outer := s.within
	s.within = title
	return func() { s.within = outer }
}

func (s *settings) text(key, v string)               { s.add(key, strconv.Quote(v)) }
func (s *settings) flag(key string, v bool)          { s.add(key, strconv.FormatBool(v)) }
func (s *settings) number(key string, v int)         { s.add(key, strconv.Itoa(v)) }
func (s *settings) size(key string, v int64)         { s.text(key, shortSize(v)) }
func (s *settings) time(key string, v time.Duration) { s.text(key, shortDuration(v)) }

// secret is a value that nobody reads in a message: a few digits of its hash tell one
// from another.
func (s *settings) secret(key, v string) {
	if v == "" {
		s.text(key, "")
		return
	}
	sum := hash.Sum256([]byte(v))
	s.add(key, fmt.Sprintf("a secret (SHA-256 %x…)", sum[:4]))
}

func (s *settings) list(key string, v []string) { s.add(key, quotedList(v)) }
func (s *settings) table(key string, v map[string]string) {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		pairs = append(pairs, fmt.Sprintf("%s = %q", name, v[name]))
	}
	s.add(key, "{ "+strings.Join(pairs, ", ")+" }")
}

func quotedList(v []string) string {
	quoted := make([]string, len(v))
	for i, e := range v {
		quoted[i] = strconv.Quote(e)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (s *settings) listener(kind string, l *Listener) {
	if l == nil {
		return
	}
	title := fmt.Sprintf("listener %q", kind)
	defer s.block(title)()
	s.door(title, l.Address, l.Advertise, l.Insecure, l.TLS)
}

func (s *settings) door(title, address, advertise string, insecure bool, t *TLS) {
	s.text("address in "+title, address)
	s.text("advertise in "+title, advertise)
	s.flag("insecure in "+title, insecure)
	s.tls(title, t)
}

func (s *settings) tls(of string, t *TLS) {
	if t == nil {
		return
	}
	title := "tls of " + of
	s.text("cert_file in "+title, t.CertFile)
	s.text("key_file in "+title, t.KeyFile)
	s.text("ca_file in "+title, t.CAFile)
	s.flag("require_client_cert in "+title, t.RequireClientCert)
}

func (s *settings) storage(title string, v Storage) {
	s.text("engine in "+title, v.Engine)
	s.size("segment_size in "+title, v.SegmentSize)
	s.size("memtable_size in "+title, v.MemtableSize)
	s.text("sync in "+title, v.Sync)
	s.time("sync_interval in "+title, v.SyncInterval)
	s.time("flush_interval in "+title, v.FlushInterval)
	s.size("map_size in "+title, v.MapSize)
	s.time("history in "+title, v.History)
	retention := "retention of " + title
	s.time("max_age in "+retention, v.Retention.MaxAge)
	s.size("max_bytes in "+retention, v.Retention.MaxBytes)
	s.number("min_segments in "+retention, v.Retention.MinSegments)
	s.time("pin_max_age in "+retention, v.Retention.PinMaxAge)
	s.size("pin_max_bytes in "+retention, v.Retention.PinMaxBytes)
}

func (s *settings) namespace(n Namespace) {
	title := fmt.Sprintf("namespace %q", n.Name)
	defer s.block(title)()
	s.text("acks in "+title, n.Acks)
	first := len(s.order)
	s.storage("storage of "+title, n.Storage)
	for _, key := range s.order[first:] {
		s.derived[key] = true
	}
	s.size("max_bytes in quota of "+title, n.Quota.MaxBytes)
	s.size("write_bytes_per_second in quota of "+title, n.Quota.WriteBytesPerSecond)
	if r := n.Replicate; r != nil {
		s.list("relayers in replicate of "+title, r.Relayers)
		s.table("selector in replicate of "+title, r.Selector)
		s.list("hubs in replicate of "+title, r.Hubs)
	}
}

func (s *settings) raft(r *Raft) {
	if r == nil {
		return
	}
	defer s.block("raft")()
	s.door("raft", r.Address, r.Advertise, r.Insecure, r.TLS)
	s.number("bootstrap_expect in raft", r.BootstrapExpect)
	s.list("join in raft", r.Join)
	s.flag("voter in raft", r.Voter)
}

func (s *settings) relayer(r *Relayer) {
	if r == nil {
		return
	}
	defer s.block("relayer")()
	s.table("labels in relayer", r.Labels)
	for _, name := range r.Own {
		s.block(fmt.Sprintf("own %q", name))()
	}
	var order []string
	for _, u := range r.Upstreams {
		s.upstream(u)
		order = append(order, u.Name)
	}
	s.list("order of the upstreams in relayer", order) // which is tried first
}

func (s *settings) upstream(u Upstream) {
	title := fmt.Sprintf("upstream %q", u.Name)
	defer s.block(title)()
	s.list("addresses in "+title, u.Addresses)
	s.list("namespaces in "+title, u.Namespaces)
	s.secret("join_token in "+title, u.JoinToken)
	s.tls(title, u.TLS)
}
