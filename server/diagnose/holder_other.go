//go:build !linux

package diagnose

// holder would name the process that listens at an address.
func holder(string) string { return "another process: 'lsof -i' says which" }
