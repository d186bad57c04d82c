package topology

import (
	"errors"
	"fmt"
)

// Error is a refusal: nothing was changed. Code is stable, for programs; Reason says in
// words what is wrong and what to do.
type Error struct {
	Code   string
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// CodeOf is the code of a refusal, empty where err is none.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// The codes of refusals. They are never given another meaning.
const (
	CodeBadRequest          = "BAD_REQUEST"           // says nothing, or too much
	CodeInvalidName         = "INVALID_NAME"          // a name, pattern or label that breaks the limits
	CodeUnknownHub          = "UNKNOWN_HUB"           //
	CodeUnknownRelayer      = "UNKNOWN_RELAYER"       //
	CodeUnknownNode         = "UNKNOWN_NODE"          // neither a hub nor a relayer
	CodeUnknownLabel        = "UNKNOWN_LABEL"         // no relayer and no join token has it
	CodeNamespaceNotFound   = "NAMESPACE_NOT_FOUND"   //
	CodeNamespaceExists     = "NAMESPACE_EXISTS"      //
	CodeSettingsChanged     = "SETTINGS_CHANGED"      // since they were read
	CodeLineageTaken        = "LINEAGE_TAKEN"         // another namespace has or had it
	CodeNotOwner            = "NOT_OWNER"             // only the owner may say it
	CodeUpstreamCycle       = "UPSTREAM_CYCLE"        // a relayer would follow itself
	CodeNotReachable        = "NOT_REACHABLE"         // a node that nobody can dial was to be an upstream
	CodeRelayerDraining     = "RELAYER_DRAINING"      // gets nothing new
	CodeRelayerOwns         = "RELAYER_OWNS"          // removing it would leave namespaces without an owner
	CodeLastVoter           = "LAST_VOTER"            // the group would be without a vote
	CodeNodeIDTaken         = "NODE_ID_TAKEN"         // another node, or another data directory, has the id
	CodeAddressTaken        = "ADDRESS_TAKEN"         // another hub has the raft address
	CodeInstanceMismatch    = "INSTANCE_MISMATCH"     // the hub is another instance than the one that was meant
	CodeAssignmentNotFound  = "ASSIGNMENT_NOT_FOUND"  //
	CodePluginNotFound      = "PLUGIN_NOT_FOUND"      //
	CodeTokenNotFound       = "TOKEN_NOT_FOUND"       //
	CodeTokenExists         = "TOKEN_EXISTS"          //
	CodeTokenExpired        = "TOKEN_EXPIRED"         //
	CodeTokenUsedUp         = "TOKEN_USED_UP"         //
	CodeTokenRefused        = "TOKEN_REFUSED"         // is for other relayers
	CodeNotFollowable       = "NOT_FOLLOWABLE"        // the namespace's replicate setting names others
	CodeAlreadyBootstrapped = "ALREADY_BOOTSTRAPPED"  //
	CodeNotBootstrapped     = "NOT_BOOTSTRAPPED"      //
	CodeOtherCluster        = "OTHER_CLUSTER"         // of a snapshot or a joining hub
	CodeNewerFormat         = "NEWER_FORMAT"          // written by a newer version
	CodeDamagedSnapshot     = "DAMAGED_SNAPSHOT"      //
	CodeUnreadableCommand   = "UNREADABLE_COMMAND"    // of a newer version, or damaged
	CodeMemberCannotRead    = "MEMBER_CANNOT_READ_IT" // a member's version is too old for the command
	CodeTooLarge            = "TOO_LARGE"             //
	CodeNotBuilt            = "NOT_BUILT"             //
)

// refuse makes a refusal.
func refuse(code, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}
