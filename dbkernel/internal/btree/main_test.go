package btree

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// children are what the test binary does instead of testing when a test starts
// it again as another process.
var children = map[string]func(){}

const childEnv = "BTREE_TEST_CHILD"

func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv(childEnv)]; ok {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}
