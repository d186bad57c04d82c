package filter

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func attributesOf(t *testing.T, metadata string) []byte {
	t.Helper()
	if metadata == "" {
		return nil
	}
	_, attributes, err := Metadata([]byte(metadata))
	if err != nil {
		t.Fatalf("%s: %v", metadata, err)
	}
	return attributes
}

const book = `{"lang":"en","year":1999,"price":12.5,"sold":true,"note":null,"tags":["a","b",7],"author":{"name":"Ann","town":{}},"none":[],"list":[{"x":1},{"x":5}]}`

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter   string
		metadata string
		want     bool
	}{
		{`{"field":"lang","eq":"en"}`, book, true},
		{`{"field":"lang","eq":"e"}`, book, false},
		{`{"field":"lan","eq":"en"}`, book, false},
		{`{"field":"year","eq":1999.0}`, book, true},
		{`{"field":"year","eq":"1999"}`, book, false},
		{`{"field":"sold","eq":true}`, book, true},
		{`{"field":"sold","eq":false}`, book, false},
		{`{"field":"note","eq":null}`, book, true},
		{`{"field":"absent","eq":null}`, book, false},
		{`{"field":"none","eq":null}`, book, false},
		{`{"field":"lang","in":["de","en"]}`, book, true},
		{`{"field":"lang","in":["de",1999,null]}`, book, false},
		{`{"field":"tags","eq":"b"}`, book, true},
		{`{"field":"tags","in":["z",7]}`, book, true},
		{`{"field":"year","gte":1999,"lt":2000}`, book, true},
		{`{"field":"year","gt":1999}`, book, false},
		{`{"field":"year","lte":1998}`, book, false},
		{`{"field":"year","gt":"1"}`, book, false},
		{`{"field":"lang","gt":"de","lte":"en"}`, book, true},
		{`{"field":"list.x","gt":1,"lt":5}`, book, false}, // no single member is between
		{`{"field":"list.x","gte":1,"lt":5}`, book, true},
		{`{"field":"author.name","eq":"Ann"}`, book, true},
		{`{"field":"author","exists":true}`, book, true},
		{`{"field":"author.town","exists":true}`, book, true},
		{`{"field":"none","exists":true}`, book, true},
		{`{"field":"note","exists":true}`, book, true},
		{`{"field":"auth","exists":true}`, book, false},
		{`{"field":"auth","exists":false}`, book, true},
		{`{"field":"lang","exists":false}`, book, false},
		{`{"not":{"field":"lang","eq":"de"}}`, book, true},
		{`{"not":{"field":"absent","eq":1}}`, book, true},
		{`{"and":[{"field":"lang","eq":"en"},{"field":"sold","eq":true}]}`, book, true},
		{`{"and":[{"field":"lang","eq":"en"},{"field":"sold","eq":false}]}`, book, false},
		{`{"or":[{"field":"lang","eq":"de"},{"not":{"field":"sold","eq":false}}]}`, book, true},
		{`{"or":[{"field":"lang","eq":"de"}]}`, book, false},
		{`{"field":"lang","eq":"en"}`, "", false},
		{`{"not":{"field":"lang","eq":"en"}}`, "", true},
		{`{"field":"lang","exists":false}`, "{}", true},
	} {
		f, err := Parse([]byte(c.filter))
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
		} else if got := f.Match(attributesOf(t, c.metadata)); got != c.want {
			t.Errorf("%s of %s is %v", c.filter, c.metadata, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat(`{"not":`, 20) + `{"field":"a","eq":1}` + strings.Repeat(`}`, 20)
	wide := `{"or":[` + strings.Repeat(`{"field":"a","eq":1},`, 300) + `{"field":"a","eq":1}]}`
	for filter, want := range map[string]string{
		`[]`:                                   "no JSON object",
		`null`:                                 "no JSON object",
		`{}`:                                   `no "field"`,
		`{"field":"a"}`:                        "tests nothing",
		`{"field":"","eq":1}`:                  "name of a member",
		`{"field":3,"eq":1}`:                   "name of a member",
		`{"field":"a","is":1}`:                 `unknown test "is"`,
		`{"field":"a","eq":{}}`:                "an object or a list",
		`{"field":"a","eq":[1]}`:               "an object or a list",
		`{"field":"a","eq":1,"in":[1]}`:        "one of them",
		`{"field":"a","in":[]}`:                "a list of 1 to",
		`{"field":"a","in":3}`:                 "a list of 1 to",
		`{"field":"a","gt":true}`:              "have an order",
		`{"field":"a","exists":null}`:          "true or false",
		`{"field":"a","exists":true,"eq":1}`:   "stands alone",
		`{"and":[]}`:                           "at least one",
		`{"or":{}}`:                            "at least one",
		`{"and":[{"field":"a","eq":1}],"x":1}`: "other members",
		`{"field":"a","eq":1e999}`:             "double-precision",
		deep:                                   "deeper",
		wide:                                   "more than 256",
	} {
		if _, err := Parse([]byte(filter)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q in it", filter, err, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	compact, _, err := Metadata([]byte(" {\"a\" : [ 1 , 2 ] }\n"))
	if err != nil || string(compact) != `{"a":[1,2]}` {
		t.Errorf("%s, %v", compact, err)
	}
	for metadata, want := range map[string]string{
		`[1]`: "no JSON object", `"a"`: "no JSON object", `{"a":1}x`: "", `{"a"`: "", ``: "", `{"a":1,"a":2}`: "twice",
		`{"":1}`: "empty name", `{"a":1e999}`: "double-precision",
		strings.Repeat(`{"a":`, 17) + `1` + strings.Repeat(`}`, 17):       "deeper",
		`{"a":` + strings.Repeat(`[`, 17) + strings.Repeat(`]`, 17) + `}`: "deeper",
	} {
		if _, _, err := Metadata([]byte(metadata)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q in it", metadata, err, want)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	f, err := Parse([]byte(`{"and":[{"field":"year","gt":1990},{"field":"tags","in":["x","b"]},{"field":"lang","gte":"en"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	attributes := attributesOf(t, book)
	if n := testing.AllocsPerRun(100, func() { f.Match(attributes) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzFilter: neither metadata nor filters make it panic, and what is accepted is
// read to its end.
func FuzzFilter(f *testing.F) {
	f.Add([]byte(book), []byte(`{"or":[{"field":"lang","eq":"de"},{"not":{"field":"list.x","gt":1}}]}`))
	f.Add([]byte(`{}`), []byte(`{"field":"a","exists":false}`))
	f.Fuzz(func(t *testing.T, metadata, filter []byte) {
		compact, attributes, err := Metadata(metadata)
		if err == nil {
			if !json.Valid(compact) {
				t.Errorf("%q became %q", metadata, compact)
			}
			again, same, err := Metadata(compact)
			if err != nil || !bytes.Equal(again, compact) || !bytes.Equal(same, attributes) {
				t.Errorf("%q isn't stable: %q, %v", compact, again, err)
			}
		}
		p, err := Parse(filter)
		if err == nil && attributes != nil {
			not := &Filter{kind: kindNot, parts: []*Filter{p}}
			if p.Match(attributes) == not.Match(attributes) {
				t.Errorf("%q and its opposite are both %v", filter, p.Match(attributes))
			}
		}
	})
}
