package plugin_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

type common struct {
	Tries uint8 `config:"tries" min:"1" max:"10"`
}

type tlsBlock struct {
	CertFile string `config:"cert_file,required" doc:"PEM"`
	KeyFile  string `config:"key_file"`
}

type limits struct {
	Rate float64 `config:"rate" min:"0.5"`
}

// everything has a field of each kind.
type everything struct {
	common
	URL     string            `config:"url,required" doc:"where to"`
	Secret  string            `config:"secret,sensitive"`
	Format  string            `config:"format" oneof:"json,text"`
	Port    int               `config:"port"`
	Sync    bool              `config:"sync"`
	Timeout time.Duration     `config:"timeout" min:"1ms" max:"1h"`
	Buffer  plugin.Size       `config:"buffer"`
	Retry   time.Duration     `config:"retry"`
	Topics  []string          `config:"topics"`
	Headers map[string]string `config:"headers"`
	Limits  limits            `config:"limits"`
	TLS     *tlsBlock         `config:"tls" doc:"a block"`
	Ignored chan int          `config:"-"`
}

func defaults() everything {
	return everything{
		common: common{Tries: 3}, Format: "json", Port: 80, Timeout: 10 * time.Second, Buffer: 1 << 20,
		Topics: []string{"a", "b"}, Headers: map[string]string{"x": "1", "b": "2"}, Limits: limits{Rate: 1.5}, Secret: "s",
	}
}

func TestSchemaOf(t *testing.T) {
	for _, value := range []any{defaults(), new(defaults())} {
		got, err := plugin.SchemaOf(value)
		if err != nil {
			t.Fatal(err)
		}
		want := &pluginv1.Schema{}
		if err := protojson.Unmarshal([]byte(`{
			"attributes": [
				{"name": "tries", "type": "TYPE_INTEGER", "defaultValue": "3", "minimum": 1, "maximum": 10},
				{"name": "url", "type": "TYPE_STRING", "required": true, "description": "where to"},
				{"name": "secret", "type": "TYPE_STRING", "sensitive": true},
				{"name": "format", "type": "TYPE_STRING", "defaultValue": "json", "oneOf": ["json", "text"]},
				{"name": "port", "type": "TYPE_INTEGER", "defaultValue": "80"},
				{"name": "sync", "type": "TYPE_BOOL", "defaultValue": "false"},
				{"name": "timeout", "type": "TYPE_DURATION", "defaultValue": "10s", "minimum": 0.001, "maximum": 3600},
				{"name": "buffer", "type": "TYPE_SIZE", "defaultValue": "1MiB"},
				{"name": "retry", "type": "TYPE_DURATION", "defaultValue": "0s"},
				{"name": "topics", "type": "TYPE_STRING_LIST", "defaultValue": "a, b"},
				{"name": "headers", "type": "TYPE_STRING_MAP", "defaultValue": "b = 2, x = 1"}
			],
			"blocks": [
				{"name": "limits", "schema": {"attributes": [{"name": "rate", "type": "TYPE_NUMBER", "defaultValue": "1.5", "minimum": 0.5}]}},
				{"name": "tls", "description": "a block", "schema": {"attributes": [
					{"name": "cert_file", "type": "TYPE_STRING", "required": true, "description": "PEM"},
					{"name": "key_file", "type": "TYPE_STRING"}
				]}}
			]}`), want); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
	}
	if s, err := plugin.SchemaOf(nil); err != nil || !proto.Equal(s, &pluginv1.Schema{}) {
		t.Errorf("nil: %v, %v", s, err)
	}
}

func TestSchemaOfMistakes(t *testing.T) {
	for name, value := range map[string]any{
		"no struct": 1,
		"no tag":    struct{ A int }{},
		"unexported": struct {
			a int `config:"a"`
		}{},
		"bad name": struct {
			A int `config:"No-Name"`
		}{},
		"twice": struct {
			A, B int `config:"a"`
		}{},
		"unknown option": struct {
			A int `config:"a,optional"`
		}{},
		"block option": struct {
			A struct{} `config:"a,sensitive"`
		}{},
		"bad type": struct {
			A []int `config:"a"`
		}{},
		"bad map": struct {
			A map[int]string `config:"a"`
		}{},
		"pointer to a value": struct {
			A *int `config:"a"`
		}{},
		"oneof of an int": struct {
			A int `config:"a" oneof:"1,2"`
		}{},
		"min of a string": struct {
			A string `config:"a" min:"1"`
		}{},
		"min of no number": struct {
			A int `config:"a" min:"one"`
		}{},
		"max of no duration": struct {
			A time.Duration `config:"a" max:"1"`
		}{},
		"inside a block": struct {
			A struct {
				B chan int `config:"b"`
			} `config:"a"`
		}{},
	} {
		if s, err := plugin.SchemaOf(value); err == nil {
			t.Errorf("%s: no error, %v", name, s)
		}
	}
}

func decode(t *testing.T, arguments map[string]any) (everything, error) {
	t.Helper()
	c, err := plugin.NewConfig("name", arguments)
	if err != nil {
		t.Fatal(err)
	}
	into := defaults()
	return into, c.Decode(&into)
}

func TestDecode(t *testing.T) {
	c, err := plugin.NewConfig("name", map[string]any{
		"url": "u", "secret": "geheim", "format": "text", "port": -5, "sync": true, "timeout": "1m30s", "buffer": "2MiB",
		"topics": []string{}, "headers": map[string]string{"y": "2"}, "limits": map[string]any{"rate": 2},
		"tls": map[string]any{"cert_file": "c"}, "tries": 10, "key": nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := defaults()
	if err := c.Decode(&got); err == nil || !strings.Contains(err.Error(), `"key"`) {
		t.Errorf("an unknown argument that is null: %v", err)
	}
	got, err = decode(t, map[string]any{
		"url": "u", "secret": "geheim", "format": "text", "port": -5, "sync": true, "timeout": "1m30s", "buffer": "2MiB",
		"topics": []string{}, "headers": map[string]string{"y": "2"}, "limits": map[string]any{"rate": 2},
		"tls": map[string]any{"cert_file": "c"}, "tries": 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := everything{
		common: common{Tries: 10}, URL: "u", Secret: "geheim", Format: "text", Port: -5, Sync: true,
		Timeout: 90 * time.Second, Buffer: 2 << 20, Topics: []string{}, Headers: map[string]string{"y": "2"},
		Limits: limits{Rate: 2}, TLS: &tlsBlock{CertFile: "c"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}

	got, err = decode(t, map[string]any{"url": "u", "port": nil})
	want = defaults()
	want.URL = "u"
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("only what is required: %v\ngot %+v\nwant %+v", err, got, want)
	}
}

// TestDecodeKeepsDefaults: what a configuration sets doesn't become the default
// of the next one.
func TestDecodeKeepsDefaults(t *testing.T) {
	type outer struct {
		Block *tlsBlock `config:"block"`
	}
	common := outer{Block: &tlsBlock{CertFile: "default"}}
	c, err := plugin.NewConfig("", map[string]any{"block": map[string]any{"cert_file": "other"}})
	if err != nil {
		t.Fatal(err)
	}
	mine := common
	if err := c.Decode(&mine); err != nil {
		t.Fatal(err)
	}
	if common.Block.CertFile != "default" || mine.Block.CertFile != "other" {
		t.Errorf("the default became %q, the decoded one %q", common.Block.CertFile, mine.Block.CertFile)
	}
}

func TestDecodeProblems(t *testing.T) {
	good := func(name string, value any) map[string]any { return map[string]any{"url": "u", name: value} }
	for _, c := range []struct {
		arguments     map[string]any
		path, message string
	}{
		{map[string]any{}, "url", `the argument "url" is missing`},
		{map[string]any{"url": ""}, "url", `"url" must not be empty`},
		{map[string]any{"url": 5}, "url", "use a string, not a number"},
		{good("ulr", "x"), "ulr", `there is no argument "ulr": did you mean "url"?`},
		{good("completely_different", "x"), "completely_different", `there is no argument "completely_different": there are buffer,`},
		{good("secret", 1), "secret", "use a string, not a number"},
		{good("format", "xml"), "format", `use "json" or "text", not "xml"`},
		{good("port", "80"), "port", "use a whole number, not a string"},
		{good("port", 1.5), "port", "use a whole number"},
		{good("port", 1e30), "port", "the number is out of range"},
		{good("port", json.Number("1e400")), "port", "the number is out of range"},
		{good("sync", "true"), "sync", "use true or false, not a string"},
		{good("timeout", 5), "timeout", `use a duration such as "1m30s", not a number`},
		{good("timeout", "5"), "timeout", `"5" is no duration`},
		{good("retry", "-1s"), "retry", `"-1s" is negative`},
		{good("timeout", "1us"), "timeout", `use "1ms" or more`},
		{good("timeout", "2h"), "timeout", `use "1h0m0s" or less`},
		{good("buffer", 5), "buffer", `use a size such as "16MiB", not a number`},
		{good("buffer", "5 miles"), "buffer", `unknown unit "miles"`},
		{good("topics", "a"), "topics", "use a list of strings, not a string"},
		{good("topics", []any{"a", 1}), "topics", "use a list of strings, not a list"},
		{good("headers", map[string]any{"a": 1}), "headers", "use a map of strings"},
		{good("tries", 0), "tries", "use 1 or more"},
		{good("tries", 11), "tries", "use 10 or less"},
		{good("limits", map[string]any{"rate": 0.1}), "limits.rate", "use 0.5 or more"},
		{good("limits", "fast"), "limits", `"limits" is a block, not a string`},
		{good("tls", map[string]any{}), "tls.cert_file", `the argument "cert_file" is missing`},
		{good("tls", map[string]any{"cert_file": "c", "cert": 1}), "tls.cert", `there is no argument "cert"`},
	} {
		_, err := decode(t, c.arguments)
		var problems plugin.Problems
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%v: %v", c.arguments, err)
			continue
		}
		if p := problems[0]; p.Path != c.path || !strings.Contains(p.Message, c.message) {
			t.Errorf("%v:\ngot  %s: %s\nwant %s: %s", c.arguments, p.Path, p.Message, c.path, c.message)
		}
	}
}

// TestDecodeShowsNoSecret: a value may be a secret in the wrong place.
func TestDecodeShowsNoSecret(t *testing.T) {
	type config struct {
		Secret string `config:"secret,sensitive" oneof:"a,b"`
		Number int    `config:"number"`
	}
	c, err := plugin.NewConfig("", map[string]any{"secret": "geheim", "number": "geheim"})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Decode(new(config))
	if err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("the problems are %v", err)
	}
}

func TestDecodeListsAll(t *testing.T) {
	_, err := decode(t, map[string]any{"port": "x", "sync": 1, "nothing": true})
	var problems plugin.Problems
	if !errors.As(err, &problems) || len(problems) != 4 {
		t.Errorf("got %v: want url, port, sync and nothing", err)
	}
}

func TestDecodeMisuse(t *testing.T) {
	var c plugin.Config
	for _, target := range []any{nil, everything{}, new(int), (*everything)(nil)} {
		if err := c.Decode(target); err == nil {
			t.Errorf("decoded into a %T", target)
		}
	}
	if err := c.Decode(new(struct{})); err != nil {
		t.Errorf("nothing into nothing: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"url":"u","port":1e400,"tls":{"cert_file":"c"}}`))
	f.Add([]byte(`{"url":"u","port":1e999999999,"limits":{"rate":1e-999999999}}`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`{"url":"u"} x`))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		c := plugin.ConfigOf(&pluginv1.ConfigureRequest{Config: raw}, nil)
		into := defaults()
		_ = c.Decode(&into) // it must end, without a panic
	})
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]plugin.Size{
		"0": 0, "17": 17, "1B": 1, "16MiB": 16 << 20, "1GB": 1e9, "1.5KiB": 1536, "2 TiB": 2 << 40, "8191PB": -1,
		"": -1, "-1": -1, "1.5": -1, "1e3": -1, "MiB": -1, "1M": -1, "9223372036854775808": -1, "9223372036854775807": 1<<63 - 1,
	} {
		got, err := plugin.ParseSize(text)
		if (err != nil) != (want == -1) || err == nil && got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for size, want := range map[plugin.Size]string{0: "0", 17: "17", 1 << 10: "1KiB", 1536: "1536", 3 << 30: "3GiB", -5: "-5"} {
		if got := size.String(); got != want {
			t.Errorf("%d: %q, want %q", int64(size), got, want)
		}
	}
}
