package server

import (
	"errors"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/metrics"
)

// Status says how the node and each of its namespaces does. It implements httpapi.Node.
func (n *Node) Status() httpapi.Status {
	s := httpapi.Status{
		NodeID: n.ID(), InstanceID: n.names.instanceID(), Role: string(n.role), Version: n.version,
		Namespaces: []httpapi.NamespaceStatus{},
	}
	sinks := n.sinksByNamespace()
	for _, name := range n.names.all() {
		s.Namespaces = append(s.Namespaces, n.namespaceStatus(name, sinks[name]))
	}
	return s
}

// NamespaceStatus says how one namespace does. It implements httpapi.Node.
func (n *Node) NamespaceStatus(name string) httpapi.NamespaceStatus {
	return n.namespaceStatus(name, n.sinksByNamespace()[name])
}

func (n *Node) sinksByNamespace() map[string]*replicator.SinkStatus {
	m := map[string]*replicator.SinkStatus{}
	for _, s := range n.sinks() {
		m[s.Namespace] = &s
	}
	return m
}

// namespaceStatus is where a namespace stands. sink is nil where nothing follows it.
func (n *Node) namespaceStatus(name string, sink *replicator.SinkStatus) httpapi.NamespaceStatus {
	out := httpapi.NamespaceStatus{Name: name, Role: "owner", Owner: n.Owner(name), State: string(dbkernel.StateServing)}
	if n.role == RoleRelayer {
		out.Role = "replica"
	}
	ns, err := n.Namespace(name)
	if err != nil {
		out.State, out.Code, out.Reason = stateOf(err)
	} else {
		fillStatus(&out, ns.Status())
	}
	if sink != nil {
		fillSink(&out, sink)
	}
	return out
}

// stateOf puts a lookup that failed into the words of a status.
func stateOf(err error) (state, code, reason string) {
	var s *httpapi.StateError
	if errors.As(err, &s) {
		return s.State, s.Code, s.Reason
	}
	return string(dbkernel.StateQuarantined), httpapi.CodeInternal, err.Error()
}

func fillStatus(out *httpapi.NamespaceStatus, s dbkernel.Status) {
	out.Lineage, out.Epoch = s.Lineage.String(), s.Epoch
	out.LSN, out.DurableLSN, out.CommitLSN, out.CheckpointLSN = s.LSN, s.DurableLSN, s.CommitLSN, s.CheckpointLSN
	out.State, out.Code, out.Reason = string(s.State), s.Code, s.Reason
	if s.Replica {
		out.Role = "replica"
	}
}

// fillSink adds how following goes. What the kernel says of its own state comes first.
func fillSink(out *httpapi.NamespaceStatus, sink *replicator.SinkStatus) {
	out.Upstream, out.Connected = sink.Upstream, &sink.Connected
	if sink.Lag.Known {
		seconds := sink.Lag.Behind.Seconds()
		out.LagRecords, out.LagSeconds = &sink.Lag.Records, &seconds
	}
	if out.State == string(dbkernel.StateServing) && sink.State != "" {
		out.State, out.Code, out.Reason = sink.State, sink.Code, sink.Reason
	}
}

// NotReady lists why the node can't serve what it has. It implements httpapi.Node.
func (n *Node) NotReady(q httpapi.ReadyQuery) []string {
	var reasons []string
	sinks := n.sinksByNamespace()
	for _, name := range n.followed {
		_, err := n.names.open(name)
		reasons = append(reasons, followReasons(name, err, sinks[name], q)...)
	}
	for _, name := range n.names.unusable() {
		if _, err := n.names.open(name); err != nil && !slices.Contains(n.followed, name) {
			_, code, reason := stateOf(err)
			reasons = append(reasons, fmt.Sprintf("namespace %q: %s: %s", name, code, reason))
		}
	}
	if q.Leader && n.role != RoleHub {
		reasons = append(reasons, "a relayer knows no leader: ask a hub")
	}
	return reasons
}

// followReasons says why a followed namespace can't be served. err is what opening it
// answered. What has begun to arrive is no state that its owner ever was in.
func followReasons(name string, err error, sink *replicator.SinkStatus, q httpapi.ReadyQuery) []string {
	switch {
	case errors.Is(err, dbkernel.ErrNamespaceNotFound):
		return []string{fmt.Sprintf("namespace %q: nothing of it is here yet", name)}
	case err != nil:
		_, code, reason := stateOf(err)
		return []string{fmt.Sprintf("namespace %q: %s: %s", name, code, reason)}
	case sink != nil && sink.State == replicator.StateBootstrapping:
		return []string{fmt.Sprintf("namespace %q: its first copy is still arriving", name)}
	case q.MaxLag > 0:
		return lagReasons(name, sink, q)
	}
	return nil
}

func lagReasons(name string, sink *replicator.SinkStatus, q httpapi.ReadyQuery) []string {
	switch {
	case sink == nil || !sink.Lag.Known:
		return []string{fmt.Sprintf("namespace %q: its lag isn't known before its upstream was reached", name)}
	case sink.Lag.Behind > q.MaxLag:
		return []string{fmt.Sprintf("namespace %q: it is %v behind, more than max_lag=%v", name, sink.Lag.Behind, q.MaxLag)}
	}
	return nil
}

// collect answers a scrape of metrics.
func (n *Node) collect(emit metrics.Emit) {
	emit("unisondb_build_info", 1, n.version, string(n.role), n.ID())
	if n.api != nil {
		emit("unisondb_http_requests_in_flight", float64(n.api.InFlight()))
	}
	// A namespace that nobody has asked for stays closed: a scrape is no use of it.
	for _, name := range n.names.inUse() {
		n.collectNamespace(emit, name)
	}
	for _, s := range n.sinks() {
		emit("unisondb_upstream_connected", boolValue(s.Connected), s.Namespace, s.Upstream)
		emit("unisondb_upstream_reconnects_total", float64(s.Reconnects), s.Namespace, s.Upstream)
		if s.Lag.Known {
			emit("unisondb_lag_records", float64(s.Lag.Records), s.Namespace, s.Upstream)
			emit("unisondb_lag_bytes", float64(s.Lag.Bytes), s.Namespace, s.Upstream)
			emit("unisondb_lag_seconds", s.Lag.Behind.Seconds(), s.Namespace, s.Upstream)
		}
	}
	n.collectFollowers(emit)
}

func (n *Node) collectNamespace(emit metrics.Emit, name string) {
	ns, err := n.Namespace(name)
	if err != nil {
		state, _, _ := stateOf(err)
		emit("unisondb_namespace_state", 1, name, state)
		return
	}
	s, c := ns.Status(), ns.Counters()
	emit("unisondb_namespace_state", 1, name, string(s.State))
	emit("unisondb_lsn", float64(s.LSN), name)
	emit("unisondb_durable_lsn", float64(s.DurableLSN), name)
	emit("unisondb_commit_lsn", float64(s.CommitLSN), name)
	emit("unisondb_checkpoint_lsn", float64(s.CheckpointLSN), name)
	emit("unisondb_first_lsn", float64(s.FirstLSN), name)
	emit("unisondb_records_total", float64(c.Records), name)
	emit("unisondb_ops_total", float64(c.Ops), name)
	emit("unisondb_appended_bytes_total", float64(c.Bytes), name)
	emit("unisondb_commit_groups_total", float64(c.Groups), name)
	emit("unisondb_fsyncs_total", float64(c.Fsyncs), name)
	emit("unisondb_flushes_total", float64(c.Flushes), name)
	emit("unisondb_flushed_keys_total", float64(c.FlushedKeys), name)
	emit("unisondb_write_stall_seconds", c.WriteStall.Seconds(), name)
	emit("unisondb_expired_total", float64(c.Expired), name)
	emit("unisondb_live_bytes", float64(c.LiveBytes), name)
	emit("unisondb_memtable_bytes", float64(c.MemtableBytes), name)
	emit("unisondb_log_bytes", float64(c.LogBytes), name)
	emit("unisondb_log_segments", float64(c.Segments), name)
	emit("unisondb_tree_bytes", float64(c.TreeBytes), name)
}

// collectFollowers counts who follows this node. A follower that has two
// streams of a namespace, as between a broken connection and the next, counts
// once with the better one.
func (n *Node) collectFollowers(emit metrics.Emit) {
	if n.rpc == nil {
		return
	}
	type key struct{ namespace, node string }
	durable, count := map[key]uint64{}, map[string]int{}
	for _, f := range n.rpc.Followers() {
		k := key{f.Namespace, f.NodeID}
		if _, seen := durable[k]; !seen {
			count[f.Namespace]++
		}
		durable[k] = max(durable[k], f.DurableLSN)
	}
	for namespace, c := range count {
		emit("unisondb_followers", float64(c), namespace)
	}
	for k, lsn := range durable {
		if ns, err := n.names.open(k.namespace); err == nil {
			emit("unisondb_follower_lag_records", float64(ns.CommitLSN()-min(lsn, ns.CommitLSN())), k.namespace, k.node)
		}
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
