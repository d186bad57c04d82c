package packaging_test

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestInstall: what `make install` puts where, for whoever makes a package of it.
func TestInstall(t *testing.T) {
	destination := installation(t)
	const data, program = 0o644, 0o755
	want := map[string]fs.FileMode{ // the pages of commands apart
		"etc/unisondb/hub.hcl":                              data,
		"etc/unisondb/relayer.hcl":                          data,
		"usr/bin/unisondb":                                  fs.ModeSymlink | 0o777,
		"usr/lib/systemd/system/unisondb-hub.service":       data,
		"usr/lib/systemd/system/unisondb-relayer.service":   data,
		"usr/lib/sysusers.d/unisondb.conf":                  data,
		"usr/lib/unisondb/plugins/model-vector":             program,
		"usr/lib/unisondb/plugins/notifier-mqtt":            program,
		"usr/lib/unisondb/plugins/notifier-webhook":         program,
		"usr/lib/unisondb/plugins/notifier-zeromq":          program,
		"usr/lib/unisondb/unisondb":                         program,
		"usr/share/bash-completion/completions/unisondb":    data,
		"usr/share/fish/vendor_completions.d/unisondb.fish": data,
		"usr/share/man/man1/unisondb.1":                     data,
		"usr/share/man/man1/unisondb-kv.1":                  data,
		"usr/share/man/man1/unisondb-operator-raft.1":       data,
		"usr/share/man/man1/unisondb-server.1":              data,
		"usr/share/zsh/site-functions/_unisondb":            data,
	}
	for name, mode := range want {
		info, err := os.Lstat(filepath.Join(destination, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode(); got != mode {
			t.Errorf("%s has mode %v, want %v", name, got, mode)
		}
	}
	err := filepath.WalkDir(destination, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(destination, path)
		if _, ok := want[name]; !ok && !strings.HasPrefix(name, "usr/share/man/man1/unisondb-") {
			t.Errorf("%s is installed, too", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, unit := range []string{"hub", "relayer"} {
		b, err := os.ReadFile(filepath.Join(destination, "usr/lib/systemd/system/unisondb-"+unit+".service"))
		if err != nil || strings.Contains(string(b), "/usr/local") || !strings.Contains(string(b), "ExecStart=/usr/bin/unisondb ") {
			t.Errorf("%v: the unit doesn't start what is installed:\n%s", err, b)
		}
	}
}

// TestInstallAgain keeps what an operator has written.
func TestInstallAgain(t *testing.T) {
	destination := installation(t)
	file := filepath.Join(destination, "etc/unisondb/hub.hcl")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(file, before, 0o644); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(file, []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(filepath.Dir(destination), "bin")
	if err := run("make", "--old-file=build", "--old-file=man", "install", "BIN="+bin, "DESTDIR="+destination, "PREFIX=/usr", "MAN="+filepath.Join(bin, "man1")); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != "mine\n" {
		t.Errorf("%v: it is now %q", err, after)
	}
}

// TestLibrariesOfTheImage: what the programs are linked to comes with the packages that the image
// installs, on the system that the image is made of.
func TestLibrariesOfTheImage(t *testing.T) {
	release, _ := os.ReadFile("/etc/os-release")
	if !strings.Contains(string(release), "VERSION_CODENAME=bookworm") {
		t.Skip("this isn't the image's release of Debian")
	}
	destination := installation(t)
	final := lastStage(t)
	have := closure(t, append(aptPackages(final), "libc6")) // libc6 is in every image of Debian
	programs, err := filepath.Glob(filepath.Join(destination, "usr/lib/unisondb/plugins/*"))
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{} // library to programs
	for _, program := range append(programs, filepath.Join(destination, "usr/lib/unisondb/unisondb")) {
		for _, library := range libraries(t, program) {
			needs[library] = append(needs[library], filepath.Base(program))
		}
	}
	owners := owners(t, slices.Sorted(maps.Keys(needs)))
	for library, programs := range needs {
		if !slices.ContainsFunc(owners[library], func(name string) bool { return have[name] }) {
			t.Errorf("%v need %s of %v, which the image doesn't install", programs, library, owners[library])
		}
	}
}

// libraries are the shared libraries that a program loads, those of its libraries included.
func libraries(t *testing.T, program string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", program, err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), " => "); ok {
			names = append(names, name)
		}
	}
	return names
}

// owners are the packages that have each of the libraries.
func owners(t *testing.T, libraries []string) map[string][]string {
	t.Helper()
	args := []string{"-S"}
	for _, library := range libraries {
		args = append(args, "*/"+library)
	}
	out, _ := exec.CommandContext(t.Context(), "dpkg", args...).Output() // it fails where one has no owner
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		owner, file, _ := strings.Cut(strings.TrimSpace(line), ": ")
		owner, _, _ = strings.Cut(owner, ":") // of an architecture
		all[filepath.Base(file)] = append(all[filepath.Base(file)], owner)
	}
	return all
}

// closure are packages with all that they depend on.
func closure(t *testing.T, packages []string) map[string]bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dpkg-query", "-W", "-f", "${Package}\t${Pre-Depends}, ${Depends}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	dependencies := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, list, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dependencies[name] = list
	}
	all := map[string]bool{}
	for len(packages) > 0 {
		name := packages[0]
		packages = packages[1:]
		if all[name] {
			continue
		}
		all[name] = true
		for dependency := range strings.FieldsFuncSeq(dependencies[name], func(c rune) bool { return c == ',' || c == '|' }) {
			dependency, _, _ := strings.Cut(strings.TrimSpace(dependency), " ")
			dependency, _, _ = strings.Cut(dependency, ":")
			packages = append(packages, dependency)
		}
	}
	return all
}
