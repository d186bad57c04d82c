package topology

import "time"

// Command is one change that the group agrees on: one of the structs of this
// file. A command carries all that applying it needs, times and random numbers
// included: whoever proposes it has chosen them.
type Command interface {
	Kind() Kind
	// apply makes the change in d, which is a draft that starts out as the state
	// before. It looks at nothing but the command and the draft.
	apply(d *draft) error
}

// Begin gives a new group its cluster id: 32 random hexadecimal digits. It comes
// first, and once.
type Begin struct {
	Cluster string `json:"cluster"`
}

// Restore makes an operator's snapshot the state. Who the hubs are stays as it is.
type Restore struct {
	Snapshot []byte `json:"snapshot"`
	// Force takes the snapshot of another cluster, too, together with its id: so relayers
	// that had joined that one find it again.
	Force bool `json:"force,omitempty"`
}

// SetHub says what a hub is. The first one of an id joins.
type SetHub struct {
	Hub Hub `json:"hub"`
}

// RemoveHub takes a hub out. Namespaces that it owns keep it as their owner.
type RemoveHub struct {
	ID string `json:"id"`
	// Instance is the one that is meant; empty: whichever it is.
	Instance string `json:"instance,omitempty"`
}

// CreateNamespace makes a namespace, and is refused where there is one of its name.
type CreateNamespace struct {
	Name     string    `json:"name"`
	Lineage  string    `json:"lineage"` // 32 random hexadecimal digits
	Owner    Node      `json:"owner"`
	Settings Settings  `json:"settings"`
	Created  time.Time `json:"created"`
	// Replace makes a new history in the place of the one that is there, if one is.
	// The old one counts as deleted, with Grace. Assignments stay.
	Replace bool          `json:"replace,omitempty"`
	Grace   time.Duration `json:"grace,omitempty"`
}

// EnsureNamespace says that a namespace is to be there. Where it is, nothing changes and nothing is
// refused: who proposes looks at the state to see whether it is the owner. Settings may name hubs
// and relayers that haven't joined.
type EnsureNamespace struct {
	Name     string    `json:"name"`
	Lineage  string    `json:"lineage"` // of the data where the owner has some, else random
	Owner    Node      `json:"owner"`
	Settings Settings  `json:"settings"`
	Created  time.Time `json:"created"`
}

// SetNamespace replaces the settings of a namespace.
type SetNamespace struct {
	Name     string   `json:"name"`
	Settings Settings `json:"settings"`
	// Was are the settings that the new ones were made from, if they were: where others have been
	// set since, the command is refused, for it would undo them.
	Was *Settings `json:"was,omitempty"`
}

// DeleteNamespace frees a name. Nodes set what they have aside, and remove it
// when Grace has passed since At. Its assignments go with it.
type DeleteNamespace struct {
	Name  string        `json:"name"`
	At    time.Time     `json:"at"`
	Grace time.Duration `json:"grace"`
}

// PurgeNamespace forgets a deleted namespace.
type PurgeNamespace struct {
	Lineage string `json:"lineage"`
}

// SetVia says which hub receives a namespace from the relayer that owns it.
type SetVia struct {
	Name string `json:"name"`
	Via  string `json:"via"`
}

// SetRelayer says what a relayer says of itself: the first one of an id joins.
// Upstream, Draining and what the operator gave it are kept as they are.
type SetRelayer struct {
	Relayer Relayer `json:"relayer"`
	// Token is the id of the join token that let it in; empty: a certificate did. A
	// relayer that comes again with the token that it had joined with uses up nothing.
	Token string    `json:"token,omitempty"`
	At    time.Time `json:"at,omitzero"` // when; needed with a token, which may have expired
}

// RemoveRelayer forgets a relayer and its explicit assignments. Those that
// followed it follow hubs again.
type RemoveRelayer struct {
	ID string `json:"id"`
	// Force removes one that owns namespaces, too: nobody can write to these then.
	Force bool `json:"force,omitempty"`
}

// DrainRelayer prepares a relayer's end, or takes that back. A draining relayer keeps
// what it has and gets nothing new; those that followed it follow hubs meanwhile.
type DrainRelayer struct {
	ID       string `json:"id"`
	Draining bool   `json:"draining"`
}

// SetUpstream says what a relayer follows first, where that has the namespace: a
// relayer, or a hub; empty: whatever hub it attends.
type SetUpstream struct {
	Relayer  string `json:"relayer"`
	Upstream string `json:"upstream"`
}

// Assign gives a namespace to relayers. One that is there already is no error.
type Assign struct {
	Assignment Assignment `json:"assignment"`
}

// Unassign takes an assignment back.
type Unassign struct {
	Assignment Assignment `json:"assignment"`
}

// RegisterPlugin adds an entry to the catalog, or replaces the one of its name.
type RegisterPlugin struct {
	Plugin Plugin `json:"plugin"`
}

// DeregisterPlugin removes an entry of the catalog.
type DeregisterPlugin struct {
	Name string `json:"name"`
}

// CreateToken makes a join token. Tokens that had expired At are forgotten.
type CreateToken struct {
	Token Token     `json:"token"`
	At    time.Time `json:"at"`
}

// RevokeToken ends a join token. Who has joined with it stays.
type RevokeToken struct {
	ID string `json:"id"`
}

// Kind implements Command.
func (Begin) Kind() Kind { return KindBegin }

// Kind implements Command.
func (Restore) Kind() Kind { return KindRestore }

// Kind implements Command.
func (SetHub) Kind() Kind { return KindSetHub }

// Kind implements Command.
func (RemoveHub) Kind() Kind { return KindRemoveHub }

// Kind implements Command.
func (CreateNamespace) Kind() Kind { return KindCreateNamespace }

// Kind implements Command.
func (EnsureNamespace) Kind() Kind { return KindEnsureNamespace }

// Kind implements Command.
func (SetNamespace) Kind() Kind { return KindSetNamespace }

// Kind implements Command.
func (DeleteNamespace) Kind() Kind { return KindDeleteNamespace }

// Kind implements Command.
func (PurgeNamespace) Kind() Kind { return KindPurgeNamespace }

// Kind implements Command.
func (SetVia) Kind() Kind { return KindSetVia }

// Kind implements Command.
func (SetRelayer) Kind() Kind { return KindSetRelayer }

// Kind implements Command.
func (RemoveRelayer) Kind() Kind { return KindRemoveRelayer }

// Kind implements Command.
func (DrainRelayer) Kind() Kind { return KindDrainRelayer }

// Kind implements Command.
func (SetUpstream) Kind() Kind { return KindSetUpstream }

// Kind implements Command.
func (Assign) Kind() Kind { return KindAssign }

// Kind implements Command.
func (Unassign) Kind() Kind { return KindUnassign }

// Kind implements Command.
func (RegisterPlugin) Kind() Kind { return KindRegisterPlugin }

// Kind implements Command.
func (DeregisterPlugin) Kind() Kind { return KindDeregisterPlugin }

// Kind implements Command.
func (CreateToken) Kind() Kind { return KindCreateToken }

// Kind implements Command.
func (RevokeToken) Kind() Kind { return KindRevokeToken }

func init() {
	register[SetHub]("SetHub", false)
	register[RemoveHub]("RemoveHub", false)
	register[CreateNamespace]("CreateNamespace", false)
	register[EnsureNamespace]("EnsureNamespace", false)
	register[SetNamespace]("SetNamespace", false)
	register[DeleteNamespace]("DeleteNamespace", false)
	register[PurgeNamespace]("PurgeNamespace", false)
	register[SetVia]("SetVia", false)
	register[SetRelayer]("SetRelayer", false)
	register[RemoveRelayer]("RemoveRelayer", false)
	register[DrainRelayer]("DrainRelayer", false)
	register[SetUpstream]("SetUpstream", false)
	register[Assign]("Assign", false)
	register[Unassign]("Unassign", false)
	register[RegisterPlugin]("RegisterPlugin", false)
	register[DeregisterPlugin]("DeregisterPlugin", false)
	register[CreateToken]("CreateToken", false)
	register[RevokeToken]("RevokeToken", false)
	register[Begin]("Begin", false)
	register[Restore]("Restore", false)
}
