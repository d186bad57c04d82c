package httpapi

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
)

// What a support archive takes from a live process. It shows how the program is built
// inside, and costs the process a pause, so it is for this machine only.
var debugEndpoints = map[string]*endpoint{
	"/v1/debug/goroutines": debugEndpoint("goroutines"),
	"/v1/debug/heap":       debugEndpoint("heap"),
	"/v1/debug/runtime":    debugEndpoint("runtime"),
}

func debugEndpoint(name string) *endpoint {
	return &endpoint{name: "debug_" + name, system: true, probe: true, local: true}
}

// debugging is a handler for this machine only.
func debugging(h handler) handler {
	return func(c *call) error {
		if !c.fromLoopback() {
			return &Error{Status: http.StatusForbidden, Code: CodeForbidden, Message: "this route shows the process from inside, so it answers on loopback only: call it on the machine itself"}
		}
		return h(c)
	}
}

// goroutines is what every goroutine is doing, as text.
func (c *call) goroutines() error { return c.profile("goroutine", "text/plain; charset=utf-8", 2) }

// heap is a profile of the memory in use, for `go tool pprof`.
func (c *call) heap() error { return c.profile("heap", "application/octet-stream", 0) }

func (c *call) profile(name, contentType string, form int) error {
	c.w.Header().Set("Content-Type", contentType)
	return pprof.Lookup(name).WriteTo(c.w, form)
}

// runtimeInfo says what the process is and takes.
func (c *call) runtimeInfo() error {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	out := struct {
		GoVersion   string            `json:"go_version"`
		OS          string            `json:"os"`
		Arch        string            `json:"arch"`
		CPUs        int               `json:"cpus"`
		MaxProcs    int               `json:"max_procs"`
		Goroutines  int               `json:"goroutines"`
		HeapBytes   uint64            `json:"heap_bytes"`   // in use
		SystemBytes uint64            `json:"system_bytes"` // had from the system by Go
		Collections uint32            `json:"collections"`  // of garbage
		Modules     map[string]string `json:"modules"`      // versions of what the program is built of
	}{
		GoVersion: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0),
		Goroutines: runtime.NumGoroutine(), HeapBytes: m.HeapInuse, SystemBytes: m.Sys, Collections: m.NumGC, Modules: map[string]string{},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			out.Modules[module.Path] = module.Version
		}
	}
	return c.json(out)
}
