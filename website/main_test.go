package website

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestMain removes what the tests of this package share.
func TestMain(m *testing.M) {
	status := m.Run()
	for _, dir := range []string{built.dir, site.dir} {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(status)
}

// built is the folder of the programs that all tests share.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// buildPrograms builds unisondb and its plugins as a user gets them, once for all tests. The folder is to stand first on
// the PATH.
func buildPrograms(t *testing.T) (folder string) {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "unisondb-website-"); built.err == nil {
			built.err = build(built.dir)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// build builds them. Plugins are named as `make build` names them.
func build(folder string) error {
	if err := goBuild(folder, "."); err != nil {
		return err
	}
	for _, kind := range []string{"notifier", "model"} {
		raw := filepath.Join(folder, "plugins", kind)
		if err := os.MkdirAll(raw, 0o755); err != nil {
			return err
		}
		sources, err := filepath.Glob(filepath.Join("../plugins", kind, "*", "*.go"))
		if err != nil {
			return err
		}
		types := map[string]bool{}
		for _, path := range sources {
			types[filepath.Base(filepath.Dir(path))] = true
		}
		var packages []string
		for name := range types {
			packages = append(packages, "./plugins/"+kind+"/"+name)
		}
		if err := goBuild(raw, packages...); err != nil {
			return err
		}
		for name := range types {
			if err := os.Rename(filepath.Join(raw, name), filepath.Join(folder, "plugins", kind+"-"+name)); err != nil {
				return err
			}
		}
		if err := os.Remove(raw); err != nil {
			return err
		}
	}
	return nil
}

// goBuild builds programs of the root module into a folder.
func goBuild(folder string, packages ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", folder + "/"}, packages...)...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", strings.Join(packages, " "), err, out)
	}
	return nil
}
