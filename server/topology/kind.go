package topology

import "fmt"

// Kind is the number of a command. Numbers are append-only: they are never
// given another meaning.
type Kind uint32

// The commands.
const (
	KindInvalid Kind = iota
	KindSetHub       // joins, or says something new of itself
	KindRemoveHub
	KindCreateNamespace // refused where it is there
	KindEnsureNamespace // as an owner has it; no error where it is there already
	KindSetNamespace    // settings
	KindDeleteNamespace
	KindPurgeNamespace // forgets a deleted one, after its grace
	KindSetVia
	KindSetRelayer // joins, or says something new of itself
	KindRemoveRelayer
	KindDrainRelayer
	KindSetUpstream
	KindAssign
	KindUnassign
	KindRegisterPlugin
	KindDeregisterPlugin
	KindCreateToken
	KindRevokeToken
	KindBegin   // gives the group its cluster id
	KindRestore // an operator's snapshot becomes the state
)

// form is what is known of a kind: how it is written.
type form struct {
	name string
	// ignorable kinds change nothing that a build has to know of that can't read them.
	ignorable bool
	read      func(body []byte) (Command, error)
}

var (
	forms  = map[Kind]form{}
	newest Kind
)

// register adds a kind. Using a number twice is a mistake of this program.
func register[C Command](name string, ignorable bool) {
	var zero C
	kind := zero.Kind()
	if other, ok := forms[kind]; ok || kind == KindInvalid {
		panic(fmt.Sprintf("topology: the number %d of the command %s is %s's", kind, name, other.name))
	}
	forms[kind] = form{name: name, ignorable: ignorable, read: readBody[C]}
	newest = max(newest, kind)
}

// Newest is the highest kind that this build can read; it reads all up to it.
func Newest() Kind { return newest }

// String is the kind's name, or its number where this build doesn't know it.
func (k Kind) String() string {
	if f, ok := forms[k]; ok {
		return f.name
	}
	return fmt.Sprintf("command %d", uint32(k))
}
