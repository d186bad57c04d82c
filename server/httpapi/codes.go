package httpapi

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/unisondb/unisondb/server/topology"
)

// ErrorCode is a code of the field "code" of an error, as the reference shows it.
type ErrorCode struct {
	Code     string
	Statuses []int  // it comes with
	Meaning  string // what happened
	Do       string // what the caller does about it
}

// Codes are all codes of errors, by name.
func Codes() []ErrorCode {
	return slices.SortedFunc(slices.Values(codes), func(a, b ErrorCode) int { return cmp.Compare(a.Code, b.Code) })
}

func on(statuses ...int) []int { return statuses }

// Answers that many codes share.
const (
	doCorrect    = "Correct the request."
	doLater      = "Try again later; `Retry-After` says when at the earliest."
	doReadBefore = "Read what is there before you write again."
)

// codes describe each code once.
var codes = []ErrorCode{
	// Requests that can't be right.
	{CodeBadRequest, on(http.StatusBadRequest), "The request is malformed, or a value of it is out of range. `error` names it.", doCorrect},
	{CodeInvalidJSON, on(http.StatusBadRequest), "The body isn't JSON, or has a field that the route doesn't take.", doCorrect},
	{CodeInvalidBase64, on(http.StatusBadRequest), "A value in JSON isn't standard base64.", "Encode values as base64, or send the bytes themselves with `Content-Type: application/octet-stream`."},
	{CodeInvalidKey, on(http.StatusBadRequest), "A key or column name is empty, too long, or not percent-encoded properly.", "Use keys of 1 to 400 bytes; row key and column name have at most 400 together."},
	{CodeInvalidCursor, on(http.StatusBadRequest), "The cursor of a list isn't one that this list has given.", "Begin the list again without `cursor`, or send the other parameters unchanged with it."},
	{CodeInvalidPosition, on(http.StatusBadRequest), "`X-Unisondb-At-Least` isn't a position.", "Send what a write answered in `X-Unisondb-Position`."},
	{CodeEmptyRequest, on(http.StatusBadRequest), "A list in the request that has to name something is empty.", "Name at least one."},
	{CodeUnknownOperation, on(http.StatusBadRequest), "`operation`, `op`, `type` or `entryType` has a value that doesn't exist.", doCorrect},
	{CodeRouteNotFound, on(http.StatusNotFound), "There is no such route.", "Look the path up among the [HTTP routes](/reference/http.md)."},
	{CodeMethodNotAllowed, on(http.StatusMethodNotAllowed), "The route exists, and not with this method.", "Use a method that the header `Allow` lists."},
	{CodeNotBuilt, on(http.StatusNotFound, http.StatusBadRequest), "The route, or a value of a setting, is for a later version.", "Do without it; [guarantees](/guarantees.md) lists what isn't built."},
	{CodeRequestTimeout, on(http.StatusRequestTimeout), "The body took too long to arrive.", "Send it faster, or in parts."},
	{CodeTooLarge, on(http.StatusRequestEntityTooLarge), "The body, a value, a transaction or an object is over its limit.", "Send less at once, or write a large object."},
	{CodeRangeNotSatisfiable, on(http.StatusRequestedRangeNotSatisfiable), "The object has no byte in the range asked for.", "Read the length from `Content-Range`."},
	{CodeForbidden, on(http.StatusForbidden), "The route changes the node and answers on loopback only.", "Call it on the node's own machine."},

	// What isn't there.
	{CodeNamespaceNotFound, on(http.StatusNotFound), "The node, or the group, doesn't know the namespace.", "Check the name, or make the namespace."},
	{CodeKeyNotFound, on(http.StatusNotFound), "The key isn't there: of a raw read and of a touch. A read in JSON answers `found` false instead.", "Write it first, or take it as absent."},
	{CodeObjectNotFound, on(http.StatusNotFound), "The large object isn't there, or isn't complete.", "Write it first, or take it as absent."},
	{CodeTxNotFound, on(http.StatusNotFound), "The transaction was committed, aborted, or never begun on this node in this namespace.", "Begin another."},
	{CodeTxExpired, on(http.StatusGone), "The transaction was idle for 2 minutes or open for 15.", "Begin another."},
	{CodeMarkNotFound, on(http.StatusNotFound), "The node has no digests of that mark.", "List the marks that it has, without `mark`."},
	{CodeHistoryGone, on(http.StatusGone), "The past that `as_of` asks for isn't kept.", "Leave `as_of` out."},
	{CodeTrimmed, on(http.StatusGone), "The log begins behind what is asked for.", "Begin from the newest state."},

	// Conflicts and conditions.
	{CodeConditionFailed, on(http.StatusPreconditionFailed), "The condition of `If-Match` or `If-None-Match` doesn't hold.", "Read the newest version and decide anew."},
	{CodeTxConflict, on(http.StatusConflict), "Something that the transaction has read has changed.", "Run the transaction again from its beginning."},
	{CodePositionLost, on(http.StatusConflict), "The position isn't in this node's history: of another lineage, or cut off.", "Drop the position, read again, and write again what is missing."},
	{CodeNamespaceExists, on(http.StatusConflict), "There is a namespace of that name.", "Choose another name, or use the one that is there."},
	{CodeBackupExists, on(http.StatusConflict), "There is a backup of that name.", "Choose another name."},
	{CodeNotReplaceable, on(http.StatusConflict), "Only a namespace whose data is lost or unusable can be made anew.", "Delete it and make another, if its data is to go."},
	{CodeNamespaceOwned, on(http.StatusConflict), "This node owns the namespace, and follows nobody in it.", "Ask a node that follows it."},

	// Who may write.
	{CodeReadOnly, on(http.StatusForbidden), "The node is a replica that can't pass the write on: a relayer, or a hub in a namespace that a relayer owns.", "Write to the owner, which `X-Unisondb-Owner` names."},
	{CodeNoOwner, on(http.StatusServiceUnavailable), "The hub can't reach the namespace's owner. Nothing was written.", doLater},
	{CodeQuotaExceeded, on(http.StatusTooManyRequests), "The namespace's quota of bytes, or of bytes written per second, is used up.", "Wait for `Retry-After`, delete something, or raise the quota."},
	{CodeOutcomeUnknown, on(http.StatusServiceUnavailable), "The write or change may or may not have taken effect.", doReadBefore},
	{CodeNotCaughtUp, on(http.StatusGatewayTimeout), "The node didn't reach the position, or the mark, within `wait`. Of a change of the group: it is made, and this hub hasn't heard of it yet.", "Wait longer, or read from another node."},
	{CodeNotReplicated, on(http.StatusGatewayTimeout), "The write is durable on the owner, and fewer followers than `acks` have reported it within `wait`. It isn't undone.", "Don't write it again. Wait for its position on a follower, or ask for fewer acks."},
	{CodeCanceled, on(http.StatusServiceUnavailable), "The client gave a read up.", "Try again."},
	{CodeBusy, on(http.StatusServiceUnavailable), "The node has no memory for a request of this size at the moment.", doLater},

	// States of namespaces and nodes.
	{CodeNotReady, on(http.StatusServiceUnavailable), "The node or the namespace is on its way: starting, or still receiving its first copy.", doLater},
	{CodeShuttingDown, on(http.StatusServiceUnavailable), "The node is stopping.", "Ask another node, or try again."},
	{CodeDiskFull, on(http.StatusServiceUnavailable), "The disk is full. Reads go on.", "Make room, and try again."},
	{CodeFrozen, on(http.StatusServiceUnavailable), "Writing failed in a way that this process can't go on from. Reads go on.", "Look into the node's log, mend the disk, and restart the node."},
	{CodeLogBehind, on(http.StatusServiceUnavailable), "The log ends before what the B+tree contains: files were lost or replaced.", "Restore the node's files, or make the namespace anew, as another lineage, with `operator namespace create NAME -replace`."},
	{CodeNamespaceMissing, on(http.StatusServiceUnavailable), "The node once made the namespace, and its files aren't there.", "Restore them, or make the namespace anew, as another lineage, with `operator namespace create NAME -replace`."},
	{CodeDamaged, on(http.StatusInternalServerError, http.StatusServiceUnavailable), "Stored bytes aren't what was written.", "A replica repairs itself from its source. On an owner, restore or replace the namespace."},
	{CodeNewerFormat, on(http.StatusServiceUnavailable, http.StatusConflict), "A file was written by a newer version. Nothing was touched.", "Run that version or a newer one."},
	{CodeInternal, on(http.StatusInternalServerError), "The node met an error that it has no other code for.", "Look into the node's log."},

	// Configuration.
	{CodeConfigInvalid, on(http.StatusConflict), "A reload found files that aren't valid. Nothing was changed; `reasons` lists each problem.", "Correct the files, with `unisondb config validate`."},
	{CodeConfigFixed, on(http.StatusConflict), "A reload found changes of keys that can't change while the node runs. Nothing was changed; `reasons` lists them.", "Restart the node, or put back what was there."},

	// Plugins.
	{CodePluginNotFound, on(http.StatusNotFound), "There is no plugin of that name.", "List them with `operator plugin list`."},
	{CodePluginUnavailable, on(http.StatusServiceUnavailable), "The plugin isn't ready.", "Look at its state and reason in `operator plugin info`."},
	{CodeNoNotifier, on(http.StatusNotFound), "The plugin is a data model, which has no dead letters.", doCorrect},
	{CodeDeadLetterNotFound, on(http.StatusNotFound), "There is no such dead letter.", "List those that there are."},
	{CodeModelNotFound, on(http.StatusNotFound), "The node runs no data model of that name for the namespace.", "Check the name and the block's `namespaces`."},
	{CodeMethodNotFound, on(http.StatusNotFound), "The data model has no such method.", doCorrect},
	{CodeModelFailed, on(http.StatusBadGateway), "The data model's program failed while it answered.", "Look at its state and at the node's log."},
	{CodeModelTimeout, on(http.StatusGatewayTimeout), "The data model didn't answer in time.", "Try again, or ask for less."},

	// The group of hubs.
	{CodeNoLeader, on(http.StatusServiceUnavailable), "The group of hubs has no leader at the moment, or it doesn't answer.", "Try again; a read takes `stale=true` for what this hub has itself."},
	{CodeNotAHub, on(http.StatusConflict), "The node is a relayer, and hubs run the control plane.", "Ask a hub."},
	{CodeNotMade, on(http.StatusGatewayTimeout), "The namespace is recorded, and its owner hasn't made it within 10 seconds. It makes it as soon as it can.", "Nothing has to be done again; ask for the namespace later."},
	{CodeRelayerConnected, on(http.StatusConflict), "The relayer is connected, or may be.", "Stop it first, or force it."},
	{topology.CodeInvalidName, on(http.StatusBadRequest), "A name, pattern or label breaks its limits.", doCorrect},
	{topology.CodeUnknownHub, on(http.StatusNotFound), "The group has no hub of that id.", "List them with `operator raft list-peers`."},
	{topology.CodeUnknownRelayer, on(http.StatusNotFound), "No relayer of that id has joined.", "List them with `operator relayer list`."},
	{topology.CodeUnknownNode, on(http.StatusNotFound), "Neither a hub nor a relayer has that id.", "Look at `operator topology show`."},
	{topology.CodeUnknownLabel, on(http.StatusNotFound), "No relayer and no join token has that label.", "Check the selector against `operator relayer list`."},
	{topology.CodeSettingsChanged, on(http.StatusConflict), "The settings have changed since they were read.", "Try again."},
	{topology.CodeLineageTaken, on(http.StatusConflict), "Another namespace has, or had, that lineage.", "Try again, which makes another."},
	{topology.CodeNotOwner, on(http.StatusConflict), "Only the namespace's owner may say this.", "Ask the owner."},
	{topology.CodeUpstreamCycle, on(http.StatusConflict), "The relayer would follow itself, through others.", "Choose another upstream."},
	{topology.CodeNotReachable, on(http.StatusConflict), "The node that was to be an upstream advertises no gRPC address.", "Give it a `listener \"grpc\"` with `advertise`, or choose another upstream."},
	{topology.CodeRelayerDraining, on(http.StatusConflict), "The relayer is draining and gets nothing new.", "Choose another, or take the drain back."},
	{topology.CodeRelayerOwns, on(http.StatusConflict), "The relayer owns namespaces, which would be without an owner.", "Delete those namespaces first, or force it."},
	{topology.CodeLastVoter, on(http.StatusConflict), "The group would be without a vote.", "Add another hub first."},
	{topology.CodeQuorumAtRisk, on(http.StatusConflict), "The group would lose its majority, because other hubs are away.", "Bring those hubs back first."},
	{topology.CodeNotVoter, on(http.StatusConflict), "The hub has no vote, so that it can't lead.", "Choose a voter."},
	{topology.CodeNotMember, on(http.StatusConflict), "This hub isn't a member of the group.", "Ask a member, or let it join."},
	{topology.CodeNotTransferred, on(http.StatusConflict), "The leadership stayed where it was.", "Look at `operator raft list-peers` and try again."},
	{topology.CodeNotLeader, on(http.StatusConflict), "Between hubs only: the hub that was asked doesn't lead. The hub that a client talks to asks on by itself.", "Try again."},
	{topology.CodeNodeIDTaken, on(http.StatusConflict), "Another node, or another data directory, has that `node_id`.", "Give the node another one, or remove the old node."},
	{topology.CodeAddressTaken, on(http.StatusConflict), "Another hub has that Raft address.", "Give the hub another one, or remove the old hub."},
	{topology.CodeInstanceMismatch, on(http.StatusConflict), "The hub is another instance than the one that was meant.", "Look at `operator raft list-peers`."},
	{topology.CodeAssignmentNotFound, on(http.StatusNotFound), "There is no such assignment.", "Look at `operator topology show`."},
	{topology.CodeTokenNotFound, on(http.StatusNotFound), "There is no such join token.", "List them with `operator relayer token list`."},
	{topology.CodeTokenExists, on(http.StatusConflict), "There is a join token of that id.", "Try again, which makes another."},
	{topology.CodeTokenExpired, on(http.StatusConflict), "The join token has expired.", "Make another."},
	{topology.CodeTokenUsedUp, on(http.StatusConflict), "The join token was used as often as it may be.", "Make another."},
	{topology.CodeTokenRefused, on(http.StatusConflict), "The join token is for other relayers.", "Make one for this relayer."},
	{topology.CodeNotFollowable, on(http.StatusConflict), "The namespace's `replicate` setting names other nodes.", "Change the setting, or choose another relayer."},
	{topology.CodeAlreadyBootstrapped, on(http.StatusConflict), "The group has begun before.", "Join it."},
	{topology.CodeNotBootstrapped, on(http.StatusServiceUnavailable), "The group waits for its first hubs: `raft.bootstrap_expect` of them.", "Start the others."},
	{topology.CodeOtherCluster, on(http.StatusConflict), "The snapshot, or the hub that joins, is of another group.", "Check which it is; `force=true` takes another group's snapshot."},
	{topology.CodeDamagedSnapshot, on(http.StatusBadRequest), "The snapshot isn't whole.", "Use another copy."},
	{topology.CodeUnreadableCommand, on(http.StatusConflict), "A command of the group's log is of a newer version, or damaged.", "Upgrade the hub."},
	{topology.CodeMemberCannotRead, on(http.StatusConflict), "A hub's version is too old for the change.", "Upgrade that hub, or remove it."},
}
