package plugin

import (
	"errors"

	goplugin "github.com/hashicorp/go-plugin"
)

// Handshake is what a node and its plugins show each other before anything
// else, so that a program that is started by hand can say what it is. It is no
// secret.
var Handshake = goplugin.HandshakeConfig{
	MagicCookieKey:   "UNISONDB_PLUGIN",
	MagicCookieValue: "unisondb",
}

// Version1 is the first version of the protocol between a node and its plugins.
// Each side offers a set of versions, and the highest that both have is used. A
// version is raised only where an added field can't tell old from new.
const Version1 = 1

// EnvLogLevel names the level of which a plugin's log reaches the node's:
// "trace", "debug", "info", "warn" or "error". The node sets it, so that a plugin
// doesn't send what nobody reads.
const EnvLogLevel = "UNISONDB_PLUGIN_LOG_LEVEL"

// MaxMessageSize is the largest message between a node and a plugin, in bytes:
// a record of the largest size with room for what is around it.
const MaxMessageSize = 80 << 20

// ErrWrongSide is what go-plugin would get that took the node's side of a
// connection for the plugin's, or the other way round.
var ErrWrongSide = errors.New("this is the other side of the connection")
