package config

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Types of notifiers that come with UnisonDB. What others take, only they know.
const (
	notifierZeroMQ  = "zeromq"
	notifierMQTT    = "mqtt"
	notifierWebhook = "webhook"
)

// What keys of a notifier block may say, and where they say nothing.
const (
	runOnOwner = "owner"
	runOnEvery = "every"

	fromNewest   = "newest"
	fromOldest   = "oldest"
	fromSnapshot = "snapshot"

	defaultMaxRefusals = 10
	defaultMaxBatch    = 1000
)

// block is a notifier block: what the host does itself, and what the plugin is
// given, which is checked here for the types that come with UnisonDB.
func (t *writtenNotifier) block(name string) block {
	from := oneOf(fromNewest, fromOldest, fromSnapshot)
	spec := block{
		name: name,
		keys: append([]key{
			one("run_on", &t.runOn, oneOf(runOnOwner, runOnEvery),
				"Which nodes run it: the namespace's owner alone, or every node that has the namespace.").
				otherwise("`\"owner\"`; `\"every\"` for type `zeromq`, and in the files of a relayer"),
			one("max_delay", &t.maxDelay, duration(time.Millisecond, time.Hour, true),
				"How long an event may be held back to travel together with others. `\"0s\"` sends it at once."),
			one("latest_per_key", &t.latestPerKey, booleanKind,
				"Drops an event behind which a newer one of the same key waits."),
			one("start_from", &t.startFrom, from,
				"Where a notifier begins that has no cursor: with the `newest` change, with the `oldest` that the log holds, or with a `snapshot` of everything that is there."),
			one("restart_from", &t.restartFrom, from,
				"Where a notifier goes on whose cursor the log no longer reaches."),
			one("max_refusals", &t.maxRefusals, integer(1, 1e6),
				"How often an event is refused before it becomes a dead letter."),
			one("max_batch", &t.maxBatch, integer(1, 1e5),
				"How many events the notifier is given at once."),
		}, t.program.keys()...),
		blocks: []inner{
			{name: "filter", doc: "Which changes the notifier is told of; all without it.", decode: func(d *decoder, b *hcl.Block) {
				d.body(b.Body, block{name: "filter of " + name, keys: []key{
					one("prefix", &t.prefix, textKind, "Only keys that begin with it."),
					list("operations", &t.operations, oneOf("put", "delete", "delete_row", "expire"), "Only these operations.").otherwise("all"),
					list("entry_types", &t.entryTypes, plugName, "Only these types of entries: `kv`, `row`, `lob` and names of data models.").otherwise("all"),
				}})
			}},
			{name: "config", doc: "What the plugin itself takes: its [arguments](#plugin-arguments).", decode: func(d *decoder, b *hcl.Block) { t.configBlock(d, b, name) }},
		},
	}
	if t.kind == notifierZeroMQ {
		spec.keys = append(spec.keys, t.known()...)
		spec.blocks = append(spec.blocks, t.curve(name))
	}
	return spec
}

// keys are those that every plugin's block has.
func (p *writtenProgram) keys() []key {
	return []key{
		one("sha256", &p.sha256, sha256, "The SHA-256 that the program's file must have. A program with another one isn't started."),
		one("version", &p.version, filledKind, "The version that the program must report."),
		one("memory_limit", &p.memoryLimit, size(minMemory, anySize, false), "Resident memory beyond which the node ends the plugin's process and starts it again."),
	}
}

func (p *writtenProgram) resolve() Program {
	return Program{SHA256: strings.ToLower(p.sha256.or("")), Version: p.version.or(""), MemoryLimit: p.memoryLimit.or(defaultPluginMemory)}
}

// defaultPluginMemory is what a plugin may take unless its block says otherwise.
const defaultPluginMemory = 512 << 20

func (t *writtenNotifier) configBlock(d *decoder, b *hcl.Block, name string) {
	switch t.kind {
	case notifierZeroMQ, notifierMQTT, notifierWebhook:
	default:
		t.config.free(d, b.Body)
		return
	}
	spec := block{name: "config of " + name, keys: t.known()}
	if t.kind == notifierZeroMQ {
		spec.blocks = []inner{t.curve(name)}
	} else {
		spec.blocks = []inner{{name: "tls", decode: func(d *decoder, b *hcl.Block) {
			files := t.config.below("tls", b.DefRange)
			d.body(b.Body, block{name: "tls of " + name, keys: []key{
				into(files, "cert_file", filledKind),
				into(files, "key_file", filledKind),
				into(files, "ca_file", filledKind),
			}})
		}}}
	}
	d.body(b.Body, spec)
}

// curve is the block of a ZeroMQ socket that lets in whom it knows.
func (t *writtenNotifier) curve(name string) inner {
	return inner{name: "curve", decode: func(d *decoder, b *hcl.Block) {
		keys := t.config.below("curve", b.DefRange)
		d.body(b.Body, block{name: "curve of " + name, keys: []key{
			into(keys, "secret_key", filledKind),
			into(keys, "allowed_clients", kind[[]string]{take: filledList}),
		}})
	}}
}

// known is what a plugin of a known type takes.
func (t *writtenNotifier) known() []key {
	m := t.config
	switch t.kind {
	case notifierZeroMQ:
		return []key{
			into(m, "bind_port", integer(1, 65535)),
			into(m, "bind_address", filledKind),
			into(m, "high_water_mark", integer(0, math.MaxInt32)),
			into(m, "linger_time", duration(time.Millisecond, time.Hour, true)),
		}
	case notifierMQTT:
		return []key{
			into(m, "broker", urlWith("mqtt", "mqtts")),
			into(m, "qos", integer(0, 2)),
			into(m, "topic", filledKind),
			into(m, "retain", booleanKind),
			into(m, "username", textKind),
			into(m, "password", textKind),
		}
	case notifierWebhook:
		return []key{
			into(m, "url", urlWith("http", "https")),
			into(m, "secret", textKind),
			into(m, "timeout", duration(time.Millisecond, 2*time.Minute, false)),
			into(m, "max_in_flight", integer(1, 10000)),
			into(m, "previous_secret", textKind),
			into(m, "format", oneOf("json", "cloudevents")),
			into(m, "max_events", integer(1, 10000)),
			into(m, "max_bytes", size(1<<10, 64<<20, false)),
			into(m, "headers", kind[map[string]any]{take: texts}),
			into(m, "allow_link_local", booleanKind),
		}
	}
	return nil
}

// required is the key without which a plugin of the type can't work.
func (t *writtenNotifier) required() (name, example string) {
	switch t.kind {
	case notifierZeroMQ:
		if address, _ := t.config.values["bind_address"].(string); strings.HasPrefix(address, "ipc://") {
			return "", "" // a socket in the file system has no port
		}
		return "bind_port", "bind_port = 5555"
	case notifierMQTT:
		return "broker", `config { broker = "mqtt://host:1883" }`
	case notifierWebhook:
		return "url", `config { url = "https://example.com/hook" }`
	}
	return "", ""
}

// sameSocket says that another ZeroMQ notifier binds the same port of the same address.
func (t *writtenNotifier) sameSocket(other *writtenNotifier) bool {
	port, _ := t.config.values["bind_port"].(int64)
	taken, _ := other.config.values["bind_port"].(int64)
	address := func(t *writtenNotifier) string {
		if s, ok := t.config.values["bind_address"].(string); ok && s != "localhost" {
			return s
		}
		return "127.0.0.1"
	}
	a, b := address(t), address(other)
	return port != 0 && port == taken && (a == b || a == "*" || b == "*")
}

// filledList takes a list of strings, none of them empty.
func filledList(v cty.Value) ([]string, *problem) {
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		return nil, &problem{message: "a list is needed here, not " + described(v), suggestion: `write ["…"]`}
	}
	all := []string{}
	for _, element := range v.AsValueSlice() {
		s, p := filled(element)
		if p != nil {
			return nil, p
		}
		all = append(all, s)
	}
	return all, nil
}

// texts takes an object of strings.
func texts(v cty.Value) (map[string]any, *problem) {
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		return nil, &problem{message: "an object of strings is needed here", suggestion: `write { name = "value" }`}
	}
	all := map[string]any{}
	for name, element := range v.AsValueMap() {
		s, p := text(element)
		if p != nil {
			return nil, p
		}
		all[name] = s
	}
	return all, nil
}

// urlWith takes a URL with a host and one of the schemes.
func urlWith(schemes ...string) kind[string] {
	return kind[string]{take: func(v cty.Value) (string, *problem) {
		s, p := filled(v)
		if p != nil {
			return "", p
		}
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
			// The URL itself isn't repeated: it may hold a password.
			return "", &problem{message: "this is no URL that can be used here", suggestion: fmt.Sprintf("write one that begins with %s and names a host", listed(schemes))}
		}
		return s, nil
	}}
}
