package command

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, line := range []string{
		"kv put -namespace=x a b",
		"kv put a b -namespace x",
		"kv get --address=http://127.0.0.1:4000 a",
		"kv put a -- -b",
		"server -dev -dev-relayers=1",
		"server -config=a.hcl -config=b.hcl",
		"operator plugin dead-letters list a",
		"operator relayer token",
		"operator relayer token list",
		"help kv get",
		"kv -help",
		"-version",
		"-help",
	} {
		if err := Check(strings.Fields(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, line := range []string{
		"",
		"kv",
		"kv put a",
		"kv put a b c",
		"kv put -name-space=x a b",
		"kv put -ttl=soon a b",
		"kv put a b -namespace",
		"kv set a b",
		"kvs put a b",
		"-address=x kv put a b",
		"operator plugin dead-letters",
		"help kvs",
		"status -dev",
	} {
		if err := Check(strings.Fields(line)); err == nil {
			t.Errorf("%q is taken", line)
		}
	}
}
