package server

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/internal/metrics"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// What a node is to a namespace.
const (
	roleOwner   = "owner"
	roleReplica = "replica"
)

// Status says how the node and each of its namespaces does. It implements httpapi.Node.
func (n *Node) Status() httpapi.Status {
	s := httpapi.Status{
		NodeID: n.ID(), InstanceID: n.names.instanceID(), Role: string(n.role), Version: n.version,
		Namespaces: []httpapi.NamespaceStatus{}, Control: n.controlStatus(), Aside: n.aside(),
		Certificates: n.certificates(), Plugins: append([]pluginhost.Status{}, n.plugins.Plugins()...),
	}
	sinks, followers := n.sinksByNamespace(), n.followersByNamespace()
	for _, name := range n.names.all() {
		s.Namespaces = append(s.Namespaces, n.namespaceStatus(name, sinks[name], followers[name]))
	}
	return s
}

// controlStatus is how the node stands to the control plane.
func (n *Node) controlStatus() *httpapi.ControlStatus {
	if n.group == nil {
		return n.attendanceStatus()
	}
	f, s := n.group.Freshness(), n.group.State()
	out := &httpapi.ControlStatus{
		Cluster: s.Cluster, Leader: f.Leader, IsLeader: f.IsLeader, Index: f.Applied, Hubs: len(s.Hubs), Problem: f.Problem,
	}
	if !f.IsLeader && f.LastContact >= 0 {
		seconds := f.LastContact.Seconds()
		out.LastContact = &seconds
	}
	if n.desk != nil {
		out.Relayers = n.desk.Attending()
	}
	return out
}

// attendanceStatus is how a relayer stands to the hub that it attends.
func (n *Node) attendanceStatus() *httpapi.ControlStatus {
	a := n.attending.Status()
	out := &httpapi.ControlStatus{Cluster: a.Cluster, Index: n.attending.Assignment().GetIndex(), Problem: a.Reason}
	if a.Connected {
		out.Hub = a.Hub
	}
	if a.Code == control.CodeControlNotOffered {
		out.Problem = "" // it follows another relayer, or an older hub: its own files rule it
	}
	return out
}

// NamespaceStatus says how one namespace does. It implements httpapi.Node.
func (n *Node) NamespaceStatus(name string) httpapi.NamespaceStatus {
	return n.namespaceStatus(name, n.sinksByNamespace()[name], n.followersByNamespace()[name])
}

// aside lists what was set aside.
func (n *Node) aside() []httpapi.AsideStatus {
	all, err := n.db.Aside()
	if err != nil {
		n.log.Error("listing what was set aside failed", "error", err)
	}
	var out []httpapi.AsideStatus
	for _, a := range all {
		out = append(out, httpapi.AsideStatus{
			Namespace: a.Namespace, Path: a.Path, Reason: a.Reason, At: a.At.UTC(),
			Directory: a.Directory, FirstLSN: a.FirstLSN, LastLSN: a.LastLSN, Records: a.Records,
		})
	}
	return out
}

func (n *Node) sinksByNamespace() map[string]*replicator.SinkStatus {
	m := map[string]*replicator.SinkStatus{}
	for _, s := range n.sinks() {
		m[s.Namespace] = &s
	}
	return m
}

// followersByNamespace are the nodes that follow this one, each once: it may have
// two streams of a namespace, as between a broken connection and the next, and one for a
// snapshot, which has no positions.
func (n *Node) followersByNamespace() map[string][]replicator.FollowerStatus {
	m := map[string][]replicator.FollowerStatus{}
	for _, f := range n.followers() {
		all := m[f.Namespace]
		same := slices.IndexFunc(all, func(other replicator.FollowerStatus) bool { return other.NodeID == f.NodeID })
		if same < 0 {
			m[f.Namespace] = append(all, f)
			continue
		}
		all[same] = merged(all[same], f)
	}
	return m
}

// followers are the streams to nodes that follow this one, whoever has dialled.
func (n *Node) followers() []replicator.FollowerStatus {
	var all []replicator.FollowerStatus
	if n.rpc != nil {
		all = n.rpc.Followers()
	}
	for _, up := range n.links.upstreams() {
		all = append(all, up.Offered()...)
	}
	return all
}

// merged is what two streams of one node say together.
func merged(a, b replicator.FollowerStatus) replicator.FollowerStatus {
	if b.DurableLSN > a.DurableLSN {
		a, b = b, a
	}
	a.Snapshot, a.SentBytes = a.Snapshot || b.Snapshot, max(a.SentBytes, b.SentBytes)
	return a
}

// namespaceStatus is where a namespace stands. sink is nil where this node doesn't follow it.
func (n *Node) namespaceStatus(name string, sink *replicator.SinkStatus, followers []replicator.FollowerStatus) httpapi.NamespaceStatus {
	out, ns := n.essence(name, sink)
	out.Owner, out.Warnings = n.ownerBy(name, sink), n.warnings(name)
	if ns != nil {
		out.Integrity = httpapi.IntegrityOf(ns.Integrity())
	}
	if accepted := n.names.accepted(name); !accepted.IsZero() && accepted.String() != out.Lineage {
		out.Accepted = accepted.String()
	}
	for _, f := range followers {
		follower := httpapi.Follower{
			NodeID: f.NodeID, Since: f.Since.UTC(), SentLSN: f.SentLSN, DurableLSN: f.DurableLSN, AppliedLSN: f.AppliedLSN,
			LagRecords: out.CommitLSN - min(f.DurableLSN, out.CommitLSN),
		}
		if f.Snapshot {
			follower.SnapshotBytes = &f.SentBytes
		}
		out.Followers = append(out.Followers, follower)
	}
	return out
}

// essence is the part of a namespace's status that reports to the control plane have, too:
// these are made of all namespaces every second. ns is nil where it can't be opened.
func (n *Node) essence(name string, sink *replicator.SinkStatus) (out httpapi.NamespaceStatus, ns *dbkernel.Namespace) {
	out = httpapi.NamespaceStatus{Name: name, Role: roleOwner, State: string(dbkernel.StateServing)}
	if n.replica(name) {
		out.Role = roleReplica
	}
	ns, status, err := n.look(name)
	if err != nil {
		out.State, out.Code, out.Reason = stateOf(err)
	} else {
		fillStatus(&out, status)
	}
	if sink != nil {
		fillSink(&out, sink)
	}
	return out, ns
}

// look answers a namespace with its status. One whose place was taken between the
// two is looked up again.
func (n *Node) look(name string) (ns *dbkernel.Namespace, status dbkernel.Status, err error) {
	for range 2 {
		if ns, err = n.Namespace(name); err != nil {
			return nil, status, err
		}
		if status = ns.Status(); status.Code != codeSuperseded {
			break
		}
	}
	return ns, status, nil
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
		out.Role = roleReplica
	}
}

// fillSink adds how following goes. What the kernel says of its own state comes first.
func fillSink(out *httpapi.NamespaceStatus, sink *replicator.SinkStatus) {
	out.Upstream, out.Connected = sink.Upstream, &sink.Connected
	if sink.Lag.Known {
		seconds := sink.Lag.Behind.Seconds()
		out.LagRecords, out.LagBytes, out.LagSeconds = &sink.Lag.Records, &sink.Lag.Bytes, &seconds
	}
	if owner := sink.Lag.Owner; owner.Known {
		out.Hops = &owner.Hops
		out.OwnerLag = &httpapi.Lag{Records: owner.Records, Bytes: owner.Bytes, Seconds: owner.Behind.Seconds()}
	}
	if s := sink.Snapshot; s != nil {
		out.Snapshot = &httpapi.Snapshot{
			Bytes: s.Bytes, Total: s.Estimated, Percent: s.Percent, Complete: s.Complete, LSN: s.LSN, TargetLSN: s.Target, Resumed: s.Resumed,
		}
	}
	out.Forks, out.LastFork = sink.Forks.Truncated+sink.Forks.Replaced, sink.Forks.Last
	out.Compared = &httpapi.Comparison{
		LSN: sink.Integrity.ComparedLSN, Equal: sink.Integrity.Equal, Differences: sink.Integrity.Differences,
		RepairedCells: sink.Integrity.Repaired, LastError: sink.Integrity.LastError,
	}
	// Of a namespace of which nothing is here, why nothing comes says more than that.
	refused := out.State == stateBootstrapping && sink.Code != ""
	if out.State == string(dbkernel.StateServing) && sink.State != "" || refused {
		out.State, out.Code, out.Reason = sink.State, sink.Code, sink.Reason
	}
}

// NotReady lists why the node can't serve what it has. It implements httpapi.Node.
func (n *Node) NotReady(q httpapi.ReadyQuery) []string {
	var reasons []string
	sinks := n.sinksByNamespace()
	for _, name := range n.copies() {
		_, err := n.names.open(name)
		if n.group != nil && arriving(err, sinks[name]) {
			continue // a hub has others that answer meanwhile
		}
		reasons = append(reasons, followReasons(name, err, sinks[name], q)...)
	}
	for _, name := range n.names.unusable() {
		if _, err := n.names.open(name); err != nil && !n.replica(name) {
			_, code, reason := stateOf(err)
			reasons = append(reasons, fmt.Sprintf("namespace %q: %s: %s", name, code, reason))
		}
	}
	if q.Leader {
		reasons = append(reasons, n.leaderless()...)
	}
	return reasons
}

// leaderless says why this node knows no leader of the group of hubs.
func (n *Node) leaderless() []string {
	if n.group == nil {
		return []string{"a relayer knows no leader: ask a hub"}
	}
	f := n.group.Freshness()
	switch {
	case f.Problem != "":
		return []string{f.Problem}
	case f.Leader == "":
		return []string{"the group of hubs has no leader that this hub knows of: see 'unisondb operator raft list-peers -stale'"}
	}
	return nil
}

// arriving says whether nothing of a namespace is whole yet.
func arriving(err error, sink *replicator.SinkStatus) bool {
	return errors.Is(err, dbkernel.ErrNamespaceNotFound) || err == nil && sink != nil && sink.State == replicator.StateBootstrapping
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
	if n.forwarder != nil {
		n.collectForwarding(emit)
	}
	// A namespace that nobody has asked for stays closed: a scrape is no use of it.
	for _, name := range n.names.inUse() {
		n.collectNamespace(emit, name)
	}
	for _, s := range n.sinks() {
		emit("unisondb_upstream_connected", boolValue(s.Connected), s.Namespace, s.Upstream)
		emit("unisondb_upstream_reconnects_total", float64(s.Reconnects), s.Namespace, s.Upstream)
		collectLag(emit, s)
		emit("unisondb_forks_total", float64(s.Forks.Truncated), s.Namespace, s.Upstream, "truncated")
		emit("unisondb_forks_total", float64(s.Forks.Replaced), s.Namespace, s.Upstream, "replaced")
		emit("unisondb_compared_lsn", float64(s.Integrity.ComparedLSN), s.Namespace, s.Upstream)
		emit("unisondb_differences_total", float64(s.Integrity.Differences), s.Namespace, s.Upstream)
		if c := s.Snapshot; c != nil {
			emit("unisondb_snapshot_received_bytes", float64(c.Bytes), s.Namespace, s.Upstream)
			emit("unisondb_snapshot_estimated_bytes", float64(c.Estimated), s.Namespace, s.Upstream)
		}
	}
	n.collectFollowers(emit)
	n.collectAside(emit)
	n.collectControl(emit)
	n.collectCertificates(emit)
	n.collectPlugins(emit)
}

// collectLag emits how far a namespace is behind the node that it comes from, and
// behind its owner.
func collectLag(emit metrics.Emit, s replicator.SinkStatus) {
	scoped := func(scope string, records, bytes uint64, behind time.Duration) {
		emit("unisondb_lag_records", float64(records), s.Namespace, s.Upstream, scope)
		emit("unisondb_lag_bytes", float64(bytes), s.Namespace, s.Upstream, scope)
		emit("unisondb_lag_seconds", behind.Seconds(), s.Namespace, s.Upstream, scope)
	}
	if l := s.Lag; l.Known {
		scoped("upstream", l.Records, l.Bytes, l.Behind)
	}
	if o := s.Lag.Owner; o.Known {
		scoped("owner", o.Records, o.Bytes, o.Behind)
		emit("unisondb_hops", float64(o.Hops), s.Namespace, s.Upstream)
	}
}

// collectControl emits how the node stands to the control plane.
func (n *Node) collectControl(emit metrics.Emit) {
	emit("unisondb_placement_problems", float64(n.placing.Problems()))
	if n.group == nil {
		if n.attending != nil {
			emit("unisondb_attending", boolValue(n.attending.Status().Connected))
		}
		return
	}
	f := n.group.Freshness()
	emit("unisondb_raft_leader", boolValue(f.IsLeader))
	emit("unisondb_raft_leader_known", boolValue(f.Leader != ""))
	if f.LastContact >= 0 {
		emit("unisondb_raft_last_contact_seconds", f.LastContact.Seconds())
	}
	emit("unisondb_raft_applied_index", float64(f.Applied))
	emit("unisondb_raft_hubs", float64(len(n.group.State().Hubs)))
	emit("unisondb_raft_problem", boolValue(f.Problem != ""))
	if n.desk != nil {
		emit("unisondb_relayer_sessions", float64(n.desk.Attending()))
	}
}

// collectAside counts what was set aside, by namespace.
func (n *Node) collectAside(emit metrics.Emit) {
	entries, records := map[string]int{}, map[string]uint64{}
	for _, a := range n.aside() {
		entries[a.Namespace]++
		records[a.Namespace] += a.Records
	}
	for namespace, count := range entries {
		emit("unisondb_set_aside", float64(count), namespace)
		emit("unisondb_set_aside_records", float64(records[namespace]), namespace)
	}
}

func (n *Node) collectNamespace(emit metrics.Emit, name string) {
	ns, s, err := n.look(name)
	if err != nil {
		state, _, _ := stateOf(err)
		emit("unisondb_namespace_state", 1, name, state)
		return
	}
	c := ns.Counters()
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
	emit("unisondb_tree_oldest_snapshot_seconds", c.OldestSnapshot.Seconds(), name)
	collectIntegrity(emit, name, ns.Integrity())
}

// collectIntegrity emits what is known of a namespace's damage.
func collectIntegrity(emit metrics.Emit, name string, i dbkernel.Integrity) {
	emit("unisondb_scrubs_total", float64(i.Scrubs), name)
	emit("unisondb_scrub_bytes_total", float64(i.ScrubbedBytes), name)
	if !i.ScrubbedAt.IsZero() {
		emit("unisondb_scrub_timestamp_seconds", float64(i.ScrubbedAt.UnixMilli())/1000, name)
	}
	emit("unisondb_damaged_cells", float64(i.DamagedCells), name)
	emit("unisondb_damaged_ranges", float64(len(i.BadRanges)), name)
	emit("unisondb_damaged_log", boolValue(i.LogDamaged), name)
	emit("unisondb_damaged_tree", boolValue(i.TreeDamage != ""), name)
	emit("unisondb_diverged", boolValue(i.Diverged != nil), name)
	emit("unisondb_repaired_cells_total", float64(i.RepairedCells), name)
}

// collectFollowers emits who follows this node, how far they are, and what was sent
// beside records.
func (n *Node) collectFollowers(emit metrics.Emit) {
	if n.rpc != nil {
		for namespace, sent := range n.rpc.SentBytes() {
			emit("unisondb_snapshot_bytes_total", float64(sent.Snapshots), namespace)
			emit("unisondb_repair_bytes_total", float64(sent.Repairs), namespace)
		}
	}
	for namespace, followers := range n.followersByNamespace() {
		emit("unisondb_followers", float64(len(followers)), namespace)
		ns, err := n.names.open(namespace)
		if err != nil {
			continue
		}
		commit := ns.CommitLSN()
		for _, f := range followers {
			emit("unisondb_follower_lag_records", float64(commit-min(f.DurableLSN, commit)), namespace, f.NodeID)
			emit("unisondb_follower_durable_lsn", float64(f.DurableLSN), namespace, f.NodeID)
			emit("unisondb_follower_applied_lsn", float64(f.AppliedLSN), namespace, f.NodeID)
			if f.Snapshot {
				emit("unisondb_follower_snapshot_bytes", float64(f.SentBytes), namespace, f.NodeID)
			}
		}
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
