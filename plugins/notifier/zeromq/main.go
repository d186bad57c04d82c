package main

import "github.com/unisondb/unisondb/sdk/notifier"

// version is set by the linker: -ldflags "-X main.version=…".
var version = "dev"

func main() { notifier.Serve(program(version)) }
