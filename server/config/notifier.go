package config

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
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

// block is a notifier block: what the host does itself, and what the plugin is
// given, which is checked here for the types that come with UnisonDB.
func (t *writtenNotifier) block(name string) block {
	if t.config == nil {
		t.config = map[string]any{}
	}
	spec := block{
		name: name,
		keys: []key{
			one("run_on", &t.runOn, oneOf("owner", "every")),
			one("max_delay", &t.maxDelay, duration(time.Millisecond, time.Hour, true)),
		},
		blocks: []inner{
			{name: "filter", decode: func(d *decoder, b *hcl.Block) {
				d.body(b.Body, block{name: "filter of " + name, keys: []key{
					one("prefix", &t.prefix, text),
					list("operations", &t.operations, oneOf("put", "delete", "delete_row", "expire")),
				}})
			}},
			{name: "config", decode: func(d *decoder, b *hcl.Block) { t.configBlock(d, b, name) }},
		},
	}
	if t.kind == notifierZeroMQ {
		spec.keys = append(spec.keys, t.arguments()...)
	}
	return spec
}

func (t *writtenNotifier) configBlock(d *decoder, b *hcl.Block, name string) {
	switch t.kind {
	case notifierZeroMQ, notifierMQTT, notifierWebhook:
	default:
		overlay(t.config, d.free(b.Body))
		return
	}
	spec := block{name: "config of " + name, keys: t.arguments()}
	if t.kind != notifierZeroMQ {
		spec.blocks = []inner{{name: "tls", decode: func(d *decoder, b *hcl.Block) {
			files, ok := t.config["tls"].(map[string]any)
			if !ok {
				files = map[string]any{}
				t.config["tls"] = files
			}
			d.body(b.Body, block{name: "tls of " + name, keys: []key{
				into(files, "cert_file", filled),
				into(files, "key_file", filled),
				into(files, "ca_file", filled),
			}})
		}}}
	}
	d.body(b.Body, spec)
}

// arguments is what a plugin of a known type takes.
func (t *writtenNotifier) arguments() []key {
	m := t.config
	switch t.kind {
	case notifierZeroMQ:
		return []key{
			into(m, "bind_port", integer(1, 65535)),
			into(m, "bind_address", filled),
			into(m, "high_water_mark", integer(0, math.MaxInt32)),
			into(m, "linger_time", duration(time.Millisecond, time.Hour, true)),
		}
	case notifierMQTT:
		return []key{
			into(m, "broker", urlWith("mqtt", "mqtts")),
			into(m, "qos", integer(0, 2)),
			into(m, "topic", filled),
			into(m, "retain", boolean),
			into(m, "username", text),
			into(m, "password", text),
		}
	case notifierWebhook:
		return []key{
			into(m, "url", urlWith("http", "https")),
			into(m, "secret", text),
			into(m, "timeout", duration(time.Millisecond, time.Hour, false)),
			into(m, "max_in_flight", integer(1, 10000)),
		}
	}
	return nil
}

// required is the key without which a plugin of the type can't work.
func (t *writtenNotifier) required() (name, example string) {
	switch t.kind {
	case notifierZeroMQ:
		return "bind_port", "bind_port = 5555"
	case notifierMQTT:
		return "broker", `config { broker = "mqtt://host:1883" }`
	case notifierWebhook:
		return "url", `config { url = "https://example.com/hook" }`
	}
	return "", ""
}

// urlWith takes a URL with a host and one of the schemes.
func urlWith(schemes ...string) kind[string] {
	return func(v cty.Value) (string, *problem) {
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
	}
}

// overlay puts later values over earlier ones, objects key by key.
func overlay(m, later map[string]any) {
	for name, v := range later {
		into, isMap := m[name].(map[string]any)
		from, both := v.(map[string]any)
		if isMap && both {
			merged := maps.Clone(into)
			overlay(merged, from)
			m[name] = merged
			continue
		}
		m[name] = v
	}
}
