package serve

import (
	"os"
	"time"
)

// parentInterval is how often the parent is looked for where the system can't
// tell of its end.
const parentInterval = 500 * time.Millisecond

// exitWithParent ends the process as soon as the node that started it is no
// more. A node that was killed starts its plugins anew, and an old one would hold
// their ports and send beside them. Nothing is handed on first: what wasn't
// acknowledged comes again. parent is the node's number, taken before the node
// knew that the plugin runs: later it may be gone already, and somebody else the parent.
func exitWithParent(parent int) {
	awaitExit(parent)
	os.Exit(1) // without a word: nobody reads the log any more
}

// awaitExit returns when a process isn't this one's parent any more.
func awaitExit(parent int) {
	if os.Getppid() == parent {
		awaitEvent(parent)
	}
	for os.Getppid() == parent {
		time.Sleep(parentInterval)
	}
}
