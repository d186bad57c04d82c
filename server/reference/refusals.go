package reference

import (
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/internal/control"
)

// Refusal is a code of what nodes tell each other: the field "code" of a namespace's status, and the reason of
// gRPC's ErrorInfo.
type Refusal struct {
	Code    string
	Meaning string // what happened
	Do      string // what an operator does about it
}

// What many of them need.
const (
	doNothing    = "Nothing: the node tries again by itself."
	doLookAtPeer = "Look at the other node's status and log."
	doUpgrade    = "Run versions that are closer to each other."
)

// StreamRefusals say why a follower receives nothing of a namespace.
func StreamRefusals() []Refusal {
	return []Refusal{
		{replicator.CodeNamespaceNotFound, "The source doesn't have the namespace.", "Check the relayer's `namespaces` and the assignment."},
		{replicator.CodeLineageMismatch, "The same name, and another namespace: it was made anew somewhere.", "Where the new one is right: `operator namespace accept NAME -lineage=ID` on the node that refuses it."},
		{replicator.CodeForked, "The follower's history isn't the source's.", "Nothing: the follower cuts off what isn't the source's, and keeps it in `aside/`."},
		{replicator.CodeLogTrimmed, "The source's log begins behind what the follower needs.", "Nothing: the follower takes a snapshot."},
		{replicator.CodeSourceBehind, "The follower has more than this source.", "Nothing, where the source catches up; otherwise look for the owner."},
		{replicator.CodeSourceStale, "The source is in an older epoch than the follower.", doNothing},
		{replicator.CodeUnsupportedProtocol, "The nodes have no version of the protocol in common.", doUpgrade},
		{replicator.CodeInvalidMessage, "The other end broke the protocol.", doLookAtPeer},
		{replicator.CodeDamagedRecord, "A record arrived with a wrong checksum.", doNothing},
		{replicator.CodeGap, "Records don't follow the last one.", doNothing},
		{replicator.CodeOfferRefused, "A hub doesn't take the namespace that a relayer offers.", "Let the relayer join the group, and check who owns the namespace."},
		{replicator.CodeShuttingDown, "The other node stops.", doNothing},
		{replicator.CodeDiskFull, "The follower's disk is full.", "Make room."},
		{replicator.CodeFrozen, "The follower's namespace takes no writes after an error of the disk.", "Look into the node's log, mend the disk, and restart the node."},
		{replicator.CodeDamaged, "Stored bytes aren't what was written.", "Nothing on a replica, which repairs itself; restore an owner."},
		{replicator.CodeQuarantined, "The source can't open its own namespace.", doLookAtPeer},
		{replicator.CodeSuperseded, "The namespace was cut off or replaced under the stream.", doNothing},
		{replicator.CodeCopyArriving, "What is here is served while a new copy arrives beside it.", doNothing},
		{replicator.CodeNotMarked, "The source has no digests of that mark.", doNothing},
		{replicator.CodeForbidden, "This node may not follow that namespace.", "Assign it, or name the node in the namespace's `replicate` setting."},
		{replicator.CodeTLSFailed, "One end doesn't take the other's certificate.", "Check the `tls` blocks of both, and the certificates' dates."},
		{replicator.CodeUnavailable, "Anything that passes: nobody listens, the network is gone.", doNothing},
	}
}

// SessionRefusals say why a relayer doesn't attend a hub.
func SessionRefusals() []Refusal {
	return []Refusal{
		{control.CodeRelayerRemoved, "An operator has removed the relayer.", "Give it a new join token, if it is to come back."},
		{control.CodeNodeIDTaken, "Another data directory has the relayer's id.", "Give it another `node_id`, or remove the old one."},
		{control.CodeOtherCluster, "The relayer belongs to another group of hubs.", "Check `addresses`, or begin with an empty data directory."},
		{control.CodeNotIdentified, "Neither a certificate nor a token says who the relayer is.", "Give it a certificate, or a join token of `operator relayer token`."},
		{control.CodeIdentityMismatch, "The certificate is somebody else's.", "Use one that names this relayer."},
		{control.CodeCredentialRefused, "What the relayer shows isn't what the group knows.", "Remove the relayer and let it join again."},
		{control.CodeTokenRefused, "The join token is unknown, expired or used up.", "Make another."},
		{control.CodeSessionReplaced, "The same relayer attends by another connection.", "Check that no second node has its `node_id`."},
		{control.CodeNoLeader, "The hub can't ask its group at the moment, which has no leader.", doNothing},
		{control.CodeShuttingDown, "The hub stops.", doNothing},
		{control.CodeInvalidMessage, "The other end broke the protocol.", doLookAtPeer},
		{control.CodeSilent, "The other end says nothing any more.", doNothing},
		{control.CodeSlowReader, "The relayer doesn't read what it is sent.", doNothing},
		{control.CodeUnavailable, "Anything that passes: nobody listens, the network is gone.", doNothing},
		{control.CodeControlNotOffered, "The node is a relayer, or a hub of an older version.", "Name a hub in `addresses`."},
		{control.CodeAssignmentUnusable, "The relayer can't write down what it was assigned.", "Look at its disk."},
	}
}

// NamespaceRefusals are the codes of a namespace's state that no other table has.
func NamespaceRefusals() []Refusal {
	return []Refusal{
		{"NAMESPACE_UNAVAILABLE", "The namespace can't be opened, for a reason that the state says in words.", "Do what the reason says."},
	}
}
