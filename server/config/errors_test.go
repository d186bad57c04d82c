package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProblems has an example of every class of problem, each with its place.
// The file starts with a valid data_dir in line 1, so that what is shown begins
// in line 2.
func TestProblems(t *testing.T) {
	hub, relayer := LoadOptions{Role: RoleHub}, LoadOptions{Role: RoleRelayer}
	either := LoadOptions{}
	tests := []struct {
		name    string
		options LoadOptions
		text    string
		want    string
	}{
		// The shape of the file.
		{"unknown key", either, `nodeid = "a"`, `2:1: unknown key "nodeid"; did you mean "node_id"?`},
		{"unknown key far from any", either, `colour = "a"`, `2:1: unknown key "colour"`},
		{"unknown key in a block", either, `log {
  levle = "info"
}`, `3:3: unknown key "levle" in log; did you mean "level"?`},
		{"unknown key two levels down", either, `namespace "n" {
  storage {
    retention { max_ages = "1h" }
  }
}`, `4:17: unknown key "max_ages" in retention of storage of namespace "n"; did you mean "max_age"?`},
		{"unknown block", either, `storag {}`, `2:1: unknown block "storag"; did you mean "storage"?`},
		{"unknown block in a block", either, `listener "grpc" {
  tsl {}
}`, `3:3: unknown block "tsl" in listener "grpc"; did you mean "tls"?`},
		{"misplaced key", either, `segment_size = "1MiB"`, `2:1: unknown key "segment_size"`},
		{"redis key in another listener", either, `listener "http" { namespace = "default" }`, `2:19: unknown key "namespace" in listener "http"`},
		{"block written as a key", either, `log = { level = "info" }`, `2:1: "log" is a block; write it without the equals sign: log { … }`},
		{"key written as a block", either, `region { }`, `2:1: "region" is a key and no block; write it with an equals sign: region = …`},
		{"key twice", either, `region = "a"
region = "b"`, `3:1: Attribute redefined: The argument "region" was already set at test.hcl:2,1-7. Each argument may be set only once`},
		{"block twice", either, `log {}
log {}`, `3:1: log is written twice in one file, first in line 2; keep one of them`},
		{"namespace twice", either, `namespace "a" {}
namespace "b" {}
namespace "a" {}`, `4:1: namespace "a" is written twice in one file, first in line 2; keep one of them`},
		{"upstream twice", either, `relayer {
  upstream "h" { addresses = ["a:1"] }
  upstream "h" { addresses = ["b:1"] }
}`, `4:3: upstream "h" is written twice in one file, first in line 3; keep one of them`},
		{"label missing", either, `namespace {}`, `2:11: Missing name for namespace: All namespace blocks must have 1 labels (name)`},
		{"label too many", either, `log "x" {}`, `2:5: Extraneous label for log: No labels are expected for log blocks`},
		{"second label missing", either, `notifier "webhook" {}`, `2:20: Missing name for notifier: All notifier blocks must have 2 labels (type, name)`},
		{"syntax", either, `region = `, `2:10: Invalid expression: Expected the start of an expression, but found an invalid expression token`},
		{"block on one line with two keys", either, `log { level = "info", format = "text" }`, `2:21: Invalid single-argument block definition: Single-line block syntax can include only one argument definition. To define multiple arguments, use the multi-line block syntax with one argument definition per line`},
		{"unclosed block", either, `log {`, `2:5: Unclosed configuration block: There is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file`},

		// Expressions.
		{"text without quotes", either, `region = eu`, `2:10: there are no variables, so eu means nothing; put text in quotes: "eu"`},
		{"variable in a string", either, `region = "${home}"`, `2:13: Variables not allowed: Variables may not be used here`},
		{"unknown function", either, `region = evn("A")`, `2:10: Call to unknown function: There is no function named "evn". Did you mean "env"?`},
		{"variable not set", either, `region = env("NOWHERE")`, `2:10: Error in function call: Call to function "env" failed: environment variable NOWHERE is not set: set it, or give a default as in env("NOWHERE", "…")`},
		{"env with three arguments", either, `region = env("A", "b", "c")`, `2:10: Error in function call: Call to function "env" failed: it takes a name and a default, nothing more`},
		{"env without arguments", either, `region = env()`, `2:14: Not enough function arguments: Function "env" expects at least 1 argument(s). Missing value for "name"`},
		{"file that is absent", either, `region = file("/absent")`, `2:10: Error in function call: Call to function "file" failed: can't read the secret: open /absent: file does not exist`},

		// Single values.
		{"list for a string", either, `region = ["eu"]`, `2:10: a string is needed here, not a list; write it in quotes`},
		{"object for a string", either, `region = { a = 1 }`, `2:10: a string is needed here, not an object; write it in quotes`},
		{"string for a list", relayer, `relayer {
  upstream "h" { addresses = "hub:4001" }
}`, `3:30: a list is needed here, not the string "hub:4001"; write addresses = [ … ]`},
		{"string for an object", relayer, `relayer {
  labels = "eu"
  upstream "h" { addresses = ["hub:4001"] }
}`, `3:12: an object is needed here, not the string "eu"; write labels = { name = "value" }`},
		{"no boolean", either, `acl { enabled = "yes" }`, `2:17: true or false is needed here, not the string "yes"; write true or false`},
		{"no number", either, `raft { bootstrap_expect = "three" }`, `2:27: a number is needed here, not the string "three"; use 1 to 9`},
		{"number out of range", either, `raft { bootstrap_expect = 0 }`, `2:27: 0 is not a whole number from 1 to 9; use 1 to 9`},
		{"fraction for a number", either, `raft { bootstrap_expect = 1.5 }`, `2:27: 1.5 is not a whole number from 1 to 9; use 1 to 9`},
		{"no word of the list, but near", either, `log { level = "wran" }`, `2:15: "wran" is not one of "trace", "debug", "info", "warn" or "error"; did you mean "warn"?`},
		{"no word of the list", either, `log { format = "xml" }`, `2:16: "xml" is not one of "text" or "json"; use "text" or "json"`},
		{"engine", either, `storage { engine = "rocks" }`, `2:20: "rocks" is not one of "lmdb" or "bolt"; use "lmdb" or "bolt"`},
		{"compression", either, `replication { compression = "gzip" }`, `2:29: "gzip" is not one of "zstd" or "none"; use "zstd" or "none"`},
		{"sync", either, `storage { sync = "never" }`, `2:18: "never" is not one of "always" or "interval"; use "always" or "interval"`},
		{"empty value", either, `plugin_dir = " "`, `2:14: the value is empty; write a value or leave the key out`},
		{"duration without a unit", either, `storage { sync_interval = "20" }`, `2:27: "20" is no duration; add a unit, as in "20ms" or "20s"`},
		{"duration as a number", either, `storage { sync_interval = 20 }`, `2:27: "20" is no duration; add a unit, as in "20ms" or "20s"`},
		{"duration in days", either, `storage {
  retention { max_age = "7d" }
}`, `3:25: "7d" is no duration; write days in hours: "168h"`},
		{"no duration", either, `storage { sync_interval = "soon" }`, `2:27: "soon" is no duration; use a number with ns, us, ms, s, m or h, as in "20ms" or "1h30m"`},
		{"negative duration", either, `storage { flush_interval = "-1s" }`, `2:28: "-1s" is out of range; use "1ms" to "24h", or "0"`},
		{"zero duration", either, `storage { sync_interval = "0s" }`, `2:27: "0s" is out of range; use "1ms" to "1h"`},
		{"no size", either, `memory_limit = "lots"`, `2:16: "lots" is no size; use a number and a unit, as in "16MiB" or "1GB"`},
		{"negative size", either, `memory_limit = "-1MiB"`, `2:16: "-1MiB" is no size; use a number and a unit, as in "16MiB" or "1GB"`},
		{"size with half a unit", either, `memory_limit = "16m"`, `2:16: "16m" has the unknown unit "m"; write "16MiB" (powers of 1024) or "16MB" (powers of 1000)`},
		{"size with a unit in other case", either, `memory_limit = "16mib"`, `2:16: "16mib" has the unknown unit "mib"; did you mean "16MiB"?`},
		{"size with an unknown unit", either, `memory_limit = "1PiX"`, `2:16: "1PiX" has the unknown unit "PiX"; use "B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB" or "TiB"`},
		{"size too small", either, `storage { segment_size = "1KiB" }`, `2:26: "1KiB" is out of range; use "64KiB" to "1GiB"`},
		{"size too large", either, `storage { memtable_size = "2GiB" }`, `2:27: "2GiB" is out of range; use "64KiB" to "1GiB"`},
		{"size beyond 64 bits", either, `memory_limit = "99999999TiB"`, `2:16: "99999999TiB" is no whole number of bytes that UnisonDB can count; use a smaller number or another unit`},
		{"part of a byte", either, `memory_limit = "1.0000001KiB"`, `2:16: "1.0000001KiB" is no whole number of bytes that UnisonDB can count; use a smaller number or another unit`},
		{"acks", either, `namespace "n" { acks = "most" }`, `2:24: acks can't be "most"; use "local", "quorum" or a number of hubs, the owner included`},
		{"acks of nobody", either, `namespace "n" { acks = 0 }`, `2:24: acks can't be "0"; use "local", "quorum" or a number of hubs, the owner included`},
		{"min_segments", either, `storage {
  retention { min_segments = 0 }
}`, `3:30: 0 is not a whole number from 1 to 1000000; use 1 to 1000000`},

		// Names.
		{"node id", either, `node_id = "a b"`, `2:11: "a b" is no node id; use 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first`},
		{"namespace name", either, `namespace "../etc" {}`, `2:11: "../etc" is no namespace name; use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first`},
		{"namespace name too long", either, `namespace "` + strings.Repeat("n", 65) + `" {}`, `2:11: "` + strings.Repeat("n", 65) + `" is no namespace name; use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first`},
		{"namespace name in a list", relayer, `relayer {
  upstream "h" {
    addresses  = ["hub:4001"]
    namespaces = ["good", ".bad"]
  }
}`, `5:27: ".bad" is no namespace name; use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first`},
		{"kind of listener", either, `listener "htpp" {}`, `2:10: "htpp" is not one of "http", "grpc" or "redis"; did you mean "http"?`},
		{"type of notifier", either, `notifier "../sh" "x" { namespaces = ["a"] }`, `2:10: "../sh" is no type of a plugin; use 1 to 32 lower-case letters, digits and dashes, as in the program's name`},
		{"label", relayer, `relayer {
  labels = { region = "a,b" }
  upstream "h" { addresses = ["hub:4001"] }
}`, `3:12: "a,b" is no label value; use up to 128 characters without spaces, commas and equals signs`},

		// Addresses.
		{"no port", either, `listener "http" { address = "127.0.0.1" }`, `2:29: "127.0.0.1" is no address; write a host and a port, as in "127.0.0.1:4000"`},
		{"URL for an address", either, `listener "http" { address = "http://127.0.0.1:4000" }`, `2:29: "http://127.0.0.1:4000" is no address; leave the scheme out: write a host and a port, as in "127.0.0.1:4000"`},
		{"IPv6 without brackets", either, `listener "http" { address = "::1:4000" }`, `2:29: "::1:4000" is no address; put an IPv6 address in brackets, as in "[::1]:4000"`},
		{"port out of range", either, `listener "http" { address = "127.0.0.1:70000" }`, `2:29: "127.0.0.1:70000" has no valid port; use a port from 1 to 65535`},
		{"host with spaces", either, `listener "http" { address = "my host:1" }`, `2:29: "my host:1" has no valid host; use a host name or an IP address, as in "127.0.0.1:4000" or "[::1]:4000"`},
		{"upstream that can't be dialled", relayer, `relayer {
  upstream "h" { addresses = ["0.0.0.0:4001"] }
}`, `3:31: "0.0.0.0:4001" can't be dialled by others; name a host and a port, as in "hub-a:4001"`},
		{"upstream without a port", relayer, `relayer {
  upstream "h" { addresses = ["hub:0"] }
}`, `3:31: "hub:0" can't be dialled by others; name a host and a port, as in "hub-a:4001"`},

		// What must fit together.
		{"http beyond loopback in plain text", either, `listener "http" { address = "10.0.0.1:4000" }`, `2:29: listener "http" listens on 10.0.0.1:4000, beyond this machine, without TLS; add a tls block, listen on 127.0.0.1, or write insecure = true in this block`},
		{"every interface in plain text", either, `listener "http" { address = ":4000" }`, `2:29: listener "http" listens on :4000, beyond this machine, without TLS; add a tls block, listen on 127.0.0.1, or write insecure = true in this block`},
		{"a name in plain text", either, `listener "redis" { address = "cache:6379" }`, `2:30: listener "redis" listens on cache:6379, beyond this machine, without TLS; add a tls block, listen on 127.0.0.1, or write insecure = true in this block`},
		{"raft in plain text", either, `raft { address = "10.0.0.1:4002" }`, `2:18: raft listens on 10.0.0.1:4002, beyond this machine, without TLS; add a tls block, listen on 127.0.0.1, or write insecure = true in this block`},
		{"grpc on every interface without advertise", either, `listener "grpc" {
  address  = "[::]:4001"
  insecure = true
}`, `3:14: listener "grpc" listens on every interface ([::]:4001), so that others can't tell what to dial; write advertise = "host:port" with what other nodes dial`},
		{"raft on every interface without advertise", either, `raft {
  address  = "0.0.0.0:4002"
  insecure = true
}`, `3:14: raft listens on every interface (0.0.0.0:4002), so that others can't tell what to dial; write advertise = "host:port" with what other nodes dial`},
		{"advertise of every interface", either, `listener "grpc" { advertise = "0.0.0.0:4001" }`, `2:31: "0.0.0.0:4001" can't be dialled by others; name a host and a port, as in "hub-a:4001"`},
		{"same address twice", hub, `listener "http" { address = "127.0.0.1:5000" }
listener "grpc" { address = "127.0.0.1:5000" }`, `3:29: listener "http" and listener "grpc" have the same address 127.0.0.1:5000; give one of them another port`},
		{"tls without files", either, `listener "grpc" {
  tls {}
}`, `3:3: cert_file is missing in tls of listener "grpc"; write cert_file = "…"
3:3: key_file is missing in tls of listener "grpc"; write key_file = "…"`},
		{"client certificates without a CA", either, `listener "http" {
  tls {
    cert_file           = "a.crt"
    key_file            = "a.key"
    require_client_cert = true
  }
}`, `6:27: require_client_cert needs ca_file in tls of listener "http"; write ca_file = "…" with who signs the clients' certificates`},
		{"upstream certificate without its key", relayer, `relayer {
  upstream "h" {
    addresses = ["hub:4001"]
    tls { cert_file = "a.crt" }
  }
}`, `5:5: key_file is missing in tls of upstream "h"; write key_file = "…"`},
		{"acks with interval", either, `namespace "n" {
  acks = "quorum"
  storage { sync = "interval" }
}`, `3:10: namespace "n" has acks = "quorum" with sync = "interval": others would be asked for what isn't durable here; write acks = "local", or sync = "always" in its storage block`},
		{"acks with the node's interval", either, `storage { sync = "interval" }
namespace "n" { acks = 2 }`, `3:24: namespace "n" has acks = "2" with sync = "interval": others would be asked for what isn't durable here; write acks = "local", or sync = "always" in its storage block`},
		{"endpoint", either, `telemetry { otlp_endpoint = "collector" }`, `2:29: "collector" is no endpoint; write a URL or a host and a port, as in "http://127.0.0.1:4317"`},

		// Roles.
		{"hub with a relayer block", hub, `relayer {
  upstream "h" { addresses = ["hub:4001"] }
}`, `2:1: a relayer block is not for a hub; remove it, or start the node with "unisondb relayer"`},
		{"relayer with a raft block", relayer, `raft {}
relayer {
  upstream "h" { addresses = ["hub:4001"] }
}`, `2:1: a raft block is not for a relayer; remove it, or start the node with "unisondb server"`},
		{"relayer without its block", relayer, ``, `1:1: the relayer block is missing; write relayer { … } with an upstream block in it, or start the node with "unisondb server"`},
		{"relayer without an upstream", relayer, `relayer {}`, `2:1: the relayer block names no upstream; write upstream "hub" { addresses = ["hub-a:4001"] } in it`},
		{"upstream without addresses", relayer, `relayer {
  upstream "h" { }
}`, `3:3: addresses is missing in upstream "h"; write addresses = ["hub-a:4001"]`},
		{"upstream with no address", relayer, `relayer {
  upstream "h" { addresses = [] }
}`, `3:30: addresses of upstream "h" is empty; write at least one, or leave the key out`},
		{"upstream with no namespace", relayer, `relayer {
  upstream "h" {
    addresses  = ["hub:4001"]
    namespaces = []
  }
}`, `5:18: namespaces of upstream "h" is empty; write at least one, or leave the key out`},
		{"namespace named twice", relayer, `relayer {
  upstream "h" {
    addresses  = ["hub:4001"]
    namespaces = ["a", "a"]
  }
}`, `5:24: "a" stands twice in namespaces of upstream "h"; remove one of them`},
		{"namespace owned and followed", relayer, `relayer {
  own "a" {}
  upstream "h" {
    addresses  = ["hub:4001"]
    namespaces = ["a"]
  }
}`, `6:19: namespace "a" is owned by this relayer and can't be followed, too; follow it or own it`},
		{"the group's settings on a relayer", relayer, `namespace "a" {
  acks = "quorum"
  quota { max_bytes = "1GiB" }
  replicate { hubs = ["*"] }
}
relayer {
  upstream "h" { addresses = ["hub:4001"] }
}`, `3:10: acks of namespace "a" isn't a relayer's to set; write it where the namespace is owned
4:3: the quota of namespace "a" isn't a relayer's to set, unless it owns the namespace; write it where the namespace is owned
5:3: replicate of namespace "a" isn't a relayer's to set; write it where the namespace is owned`},

		// Plugins.
		{"notifier without namespaces", either, `notifier "webhook" "w" {
  config { url = "https://example.com" }
}`, `2:1: namespaces is missing in notifier "webhook" "w"; write namespaces = ["default"]`},
		{"model without namespaces", either, `model "m" {}`, `2:1: namespaces is missing in model "m"; write namespaces = ["default"]`},
		{"webhook without a URL", either, `notifier "webhook" "w" { namespaces = ["a"] }`, `2:1: url is missing in notifier "webhook" "w"; write config { url = "https://example.com/hook" }`},
		{"webhook with a wrong URL", either, `notifier "webhook" "w" {
  namespaces = ["a"]
  config { url = "ftp://user:pw@example.com" }
}`, `4:18: this is no URL that can be used here; write one that begins with "http" or "https" and names a host`},
		{"webhook with headers that are no object of strings", either, `notifier "webhook" "w" {
  namespaces = ["a"]
  config {
    url     = "https://example.com"
    headers = "Authorization"
  }
}
notifier "webhook" "x" {
  namespaces = ["a"]
  config {
    url     = "https://example.com"
    headers = { Authorization = ["a"] }
  }
}`, `6:15: an object of strings is needed here; write { name = "value" }
13:15: a string is needed here, not a list; write it in quotes`},
		{"zeromq with a slip", either, `namespace "a" {
  notifier "zeromq" {
    bind_prot = 5555
  }
}`, `3:3: bind_port is missing in notifier "zeromq" "a/zeromq"; write bind_port = 5555
4:5: unknown key "bind_prot" in notifier "zeromq" of namespace "a"; did you mean "bind_port"?`},
		{"zeromq with a slip in curve", either, `namespace "a" {
  notifier "zeromq" {
    bind_address = "ipc:///run/a.sock"
    curve {
      secret_kye      = "x"
      allowed_clients = "*"
    }
  }
}`, `6:7: unknown key "secret_kye" in curve of notifier "zeromq" of namespace "a"; did you mean "secret_key"?
7:25: a list is needed here, not the string "*"; write ["…"]`},
		{"mqtt with a slip", either, `notifier "mqtt" "m" {
  namespaces = ["a"]
  config {
    broker = "mqtt://h:1883"
    qos    = 3
    tls { ca_flie = "x" }
  }
}`, `6:14: 3 is not a whole number from 0 to 2; use 0 to 2
7:11: unknown key "ca_flie" in tls of notifier "mqtt" "m"; did you mean "ca_file"?`},
		{"filter", either, `notifier "webhook" "w" {
  namespaces = ["a"]
  filter { operations = ["put", "get"] }
  config { url = "https://example.com" }
}`, `4:33: "get" is not one of "put", "delete", "delete_row" or "expire"; use "put", "delete", "delete_row" or "expire"`},
		{"key of another type's notifier", either, `notifier "other" "o" {
  namespaces = ["a"]
  bind_port  = 1
  config {
    anything { goes = ["here"] }
  }
}`, `4:3: unknown key "bind_port" in notifier "other" "o"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadText("test.hcl", "data_dir = \"/d\"\n"+tt.text+"\n", tt.options)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll("\n"+err.Error(), "\ntest.hcl:", "\n")[1:]
			if diff := cmp.Diff(strings.Split(tt.want, "\n"), strings.Split(got, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDataDirIsRequired(t *testing.T) {
	_, err := loadText("a.hcl", "\n", LoadOptions{})
	if want := `a.hcl:1:1: data_dir is missing; write data_dir = "/var/lib/unisondb", or start with -dev`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// It may stand in the part that can't be read.
	if _, err := loadText("a.hcl", "region = \ndata_dir = \"/d\"\n", LoadOptions{}); err == nil || strings.Contains(err.Error(), "missing") {
		t.Errorf("got %v, want the syntax error alone", err)
	}
	// And a wrong one isn't missing.
	if _, err := loadText("a.hcl", `data_dir = ""`, LoadOptions{}); err == nil || strings.Contains(err.Error(), "missing") {
		t.Errorf("got %v, want the wrong value alone", err)
	}
}

func TestProblemsInJSON(t *testing.T) {
	_, err := loadText("a.json", `{
  "data_dir": "/d",
  "//": "a comment",
  "regon": "eu",
  "log": {"level": "loud"},
  "namespace": {"a b": {"storage": {"sync_interval": 5}}, "c": {"quote": {}}},
  "relayer": {"upstream": {"h": {"addresses": ["x"]}}}
}`, LoadOptions{})
	want := `a.json:4:3: unknown key "regon"; did you mean "region"?
a.json:5:20: "loud" is not one of "trace", "debug", "info", "warn" or "error"; use "trace", "debug", "info", "warn" or "error"
a.json:6:17: "a b" is no namespace name; use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first
a.json:6:54: "5" is no duration; add a unit, as in "5ms" or "5s"
a.json:6:65: unknown key "quote" in namespace "c"; did you mean "quota"?
a.json:7:48: "x" is no address; write a host and a port, as in "127.0.0.1:4000"`
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	if _, err := loadText("a.json", `{"data_dir": `, LoadOptions{}); err == nil || !strings.HasPrefix(err.Error(), "a.json:1:1") {
		t.Errorf("broken JSON: %v", err)
	}
}

func TestEveryProblemOfEveryFileAtOnce(t *testing.T) {
	_, err := loadTexts([]source{
		{name: "z.hcl", text: []byte("data_dir = \"/d\"\nlog { level = \"loud\" }\nnode = 1\n")},
		{name: "a.hcl", text: []byte("region = \n")},
		{name: "m.json", text: []byte(`{"listener": {"grpc": {"address": "10.1.1.1:1"}}, "acl": {"enable": true}}`)},
	}, LoadOptions{})
	if err == nil {
		t.Fatal("no error")
	}
	var places []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		places = append(places, strings.SplitN(line, ": ", 2)[0])
	}
	if diff := cmp.Diff([]string{"z.hcl:2:15", "z.hcl:3:1", "a.hcl:1:10", "m.json:1:59"}, places); diff != "" {
		t.Errorf("%s\nin\n%v", diff, err)
	}
}

func TestInsecureAndLoopbackAddressesAreTaken(t *testing.T) {
	for _, text := range []string{
		`listener "http" { address = "[::1]:4000" }`,
		`listener "http" { address = "localhost:0" }`,
		`listener "http" { address = "127.1.2.3:4000" }`,
		"listener \"http\" {\n address = \"0.0.0.0:4000\"\n insecure = true\n}",
		"listener \"grpc\" {\n address = \":4001\"\n advertise = \"me:4001\"\n insecure = true\n}",
		"listener \"http\" {\n address = \"10.0.0.1:1\"\n tls {\n  cert_file = \"c\"\n  key_file = \"k\"\n }\n}",
		// Raft takes the grpc listener's TLS.
		"raft { address = \"10.0.0.1:2\" }\nlistener \"grpc\" {\n address = \"10.0.0.1:1\"\n tls {\n  cert_file = \"c\"\n  key_file = \"k\"\n }\n}",
		// Free ports don't collide.
		"listener \"http\" { address = \"127.0.0.1:0\" }\nlistener \"grpc\" { address = \"127.0.0.1:0\" }",
	} {
		if _, err := loadText("test.hcl", "data_dir = \"/d\"\n"+text, LoadOptions{}); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	}
}
