package pluginhost

// State is how a plugin does.
type State string

// The states of a plugin.
const (
	// StateDisabled: configured, and not to run.
	StateDisabled State = "disabled"
	// StateStarting: its program is being started, or started again.
	StateStarting State = "starting"
	// StateReady: it works.
	StateReady State = "ready"
	// StateDegraded: it doesn't work; Reason says why and what to do.
	StateDegraded State = "degraded"
	// StateStopped: the node stops.
	StateStopped State = "stopped"
)

// Status is a plugin as an operator sees it. Its JSON is what
// `operator plugin list -json` prints.
type Status struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Kind  Kind   `json:"kind"`
	State State  `json:"state"`
	// Reason is why it is degraded, or what it waits for, and what to do.
	Reason string `json:"reason"`
	// Version and SHA256 are those of the program that runs, or was last looked at.
	Version     string `json:"version"`
	SHA256      string `json:"sha256"`
	Description string `json:"description,omitempty"`
	Path        string `json:"path,omitempty"`
	// PID is 0 while no process runs.
	PID int `json:"pid"`
	// Restarts counts how often the process was started again since the node's start.
	Restarts uint64 `json:"restarts"`
	// MemoryBytes is what the process has resident, CPUSeconds what it used since it
	// was started.
	MemoryBytes int64   `json:"memory_bytes"`
	MemoryLimit int64   `json:"memory_limit"`
	CPUSeconds  float64 `json:"cpu_seconds"`
	// LogLinesDropped counts lines of its log that were too many.
	LogLinesDropped uint64 `json:"log_lines_dropped"`
	// Methods are those of a data model.
	Methods    []Method          `json:"methods,omitempty"`
	Namespaces []NamespaceStatus `json:"namespaces"`
}

// Method is a request that a data model answers.
type Method struct {
	Name        string `json:"name"`
	Writes      bool   `json:"writes"`
	Description string `json:"description,omitempty"`
}

// NamespaceStatus is how a notifier does in one namespace. Of a data model's
// only Name is set.
type NamespaceStatus struct {
	Name string `json:"name"`
	// Cursor is the position up to which the other side has accepted everything,
	// <lineage>:<epoch>:<lsn>; empty before the first event.
	Cursor string `json:"cursor"`
	// LagRecords is how far Cursor is behind the namespace's commit LSN.
	LagRecords uint64 `json:"lag_records"`
	Delivered  uint64 `json:"delivered"` // events accepted since the start
	Refusals   uint64 `json:"refusals"`  // of events, since the start
	// DeadLetters are events set aside that nobody has retried.
	DeadLetters int `json:"dead_letters"`
	// CursorsLost counts how often the log didn't hold what the cursor pointed to.
	CursorsLost uint64 `json:"cursors_lost"`
	// LastError is what kept the last batch from being accepted; empty after one was.
	LastError string `json:"last_error"`
}
