package packaging_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/command"
)

// instruction is a line of a Dockerfile, with those that continue it.
type instruction struct{ name, text string }

// instructions are those of the Dockerfile.
func instructions(t *testing.T) []instruction {
	t.Helper()
	var all []instruction
	text := strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		all = append(all, instruction{name, strings.Join(strings.Fields(rest), " ")})
	}
	return all
}

// lastStage are the instructions of the image that is delivered.
func lastStage(t *testing.T) []instruction {
	t.Helper()
	all := instructions(t)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].name == "FROM" {
			return all[i:]
		}
	}
	t.Fatal("the Dockerfile has no stage")
	return nil
}

// aptPackages are what the stage installs.
func aptPackages(stage []instruction) []string {
	var names []string
	for _, i := range stage {
		_, list, ok := strings.Cut(i.text, "apt-get install ")
		if i.name != "RUN" || !ok {
			continue
		}
		list, _, _ = strings.Cut(list, "&&")
		for word := range strings.FieldsSeq(list) {
			if word[0] != '-' {
				names = append(names, word)
			}
		}
	}
	return names
}

// of is the last instruction of a name in the image.
func of(t *testing.T, name string) string {
	t.Helper()
	for _, i := range slices.Backward(lastStage(t)) {
		if i.name == name {
			return i.text
		}
	}
	t.Fatalf("the image has no %s", name)
	return ""
}

// TestImageRunsAsNobodySpecial: a number other than 0, which a cluster can check.
func TestImageRunsAsNobodySpecial(t *testing.T) {
	user, group, ok := strings.Cut(of(t, "USER"), ":")
	if !ok || strings.Trim(user, "0123456789") != "" || strings.Trim(group, "0123456789") != "" || user == "0" || group == "0" {
		t.Errorf("it runs as %s:%s", user, group)
	}
	if all := read(t, "Dockerfile"); !strings.Contains(all, "useradd --system --uid "+user+" --gid "+group+" ") || !strings.Contains(all, "groupadd --system --gid "+group+" ") {
		t.Errorf("nobody makes the user %s and the group %s", user, group)
	}
}

// TestImageCommands: what the image runs are commands of the program.
func TestImageCommands(t *testing.T) {
	var entry, cmd, health []string
	_, check, _ := strings.Cut(of(t, "HEALTHCHECK"), "CMD ")
	for text, into := range map[string]*[]string{of(t, "ENTRYPOINT"): &entry, of(t, "CMD"): &cmd, check: &health} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if !slices.Equal(entry, []string{command.Name}) || len(health) == 0 || health[0] != command.Name {
		t.Fatalf("it enters at %q and checks its health by %q", entry, health)
	}
	for _, args := range [][]string{cmd, health[1:]} {
		if err := command.Check(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// TestImageIsBuiltAsByMake, with the Go that the module wants and the libraries that tools/bootstrap installs.
func TestImageIsBuiltAsByMake(t *testing.T) {
	all := instructions(t)
	if version, _, _ := strings.Cut(goVersion(t), "."); version != "1" {
		t.Fatalf("go.mod wants Go %s", goVersion(t))
	}
	minor := strings.Join(strings.Split(goVersion(t), ".")[:2], ".")
	if all[0].text != "golang:"+minor+"-bookworm AS build" {
		t.Errorf("it is built from %q, and go.mod wants Go %s", all[0].text, minor)
	}
	bootstrap := read(t, "tools/bootstrap")
	for _, name := range aptPackages(all[:slices.Index(all, lastStage(t)[0])]) {
		if !strings.Contains(bootstrap, name) {
			t.Errorf("%s is no package that tools/bootstrap knows", name)
		}
	}
	makefile, made := read(t, "GNUmakefile"), false
	for _, i := range all {
		rest, ok := strings.CutPrefix(i.text, "make ")
		if i.name != "RUN" || !ok {
			continue
		}
		made = true
		for word := range strings.FieldsSeq(rest) {
			name, _, assigned := strings.Cut(word, "=")
			if !assigned && !strings.Contains(makefile, "\n"+name+":") || assigned && !strings.Contains(makefile, "\n"+name+" ") {
				t.Errorf("GNUmakefile knows no %s", name)
			}
		}
	}
	if !made {
		t.Error("it isn't built by make")
	}
}

func goVersion(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(read(t, "go.mod")) {
		if version, ok := strings.CutPrefix(line, "go "); ok {
			return strings.TrimSpace(version)
		}
	}
	t.Fatal("go.mod names no version")
	return ""
}

// TestImageCopiesWhatIsThere, from the repository and from what `make install` makes.
func TestImageCopiesWhatIsThere(t *testing.T) {
	for _, i := range instructions(t) {
		if i.name != "COPY" {
			continue
		}
		words := strings.Fields(i.text)
		from := root
		if words[0] == "--from=build" {
			from, words = installation(t), words[1:]
		}
		for _, source := range words[:len(words)-1] {
			info, err := os.Lstat(filepath.Join(from, strings.TrimPrefix(source, "/out")))
			switch {
			case err != nil:
				t.Errorf("COPY %s: %v", i.text, err)
			case info.Mode()&fs.ModeSymlink != 0:
				t.Errorf("COPY %s: it copies what a link leads to, and the plugins aren't beside that", i.text)
			}
		}
	}
}

// TestContextIsEnough: Go finds everything that the programs are made of in what .dockerignore leaves.
func TestContextIsEnough(t *testing.T) {
	context := t.TempDir()
	copyContext(t, context)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", ".", "./plugins/...", "./tools/manpages")
	cmd.Dir = context
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, name := range []string{"GNUmakefile", "tools/packaging/unisondb-hub.service"} {
		if _, err := os.Stat(filepath.Join(context, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{".git", "bin", "dist", "website"} {
		if _, err := os.Lstat(filepath.Join(context, name)); err == nil {
			t.Errorf("%s is sent to the builder", name)
		}
	}
}

// copyContext copies what .dockerignore leaves of the repository.
func copyContext(t *testing.T, to string) {
	t.Helper()
	patterns := strings.Split(read(t, ".dockerignore"), "\n")
	err := filepath.WalkDir(root, func(from string, entry fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(root, from)
		switch {
		case errors.Is(err, fs.ErrNotExist): // another test cleans up behind itself
			return nil
		case err != nil || relErr != nil:
			return errors.Join(err, relErr)
		case name != "." && ignored(filepath.ToSlash(name), patterns):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ignored says whether a pattern of .dockerignore names a path; "**/" stands for any folders.
func ignored(name string, patterns []string) bool {
	for _, pattern := range patterns {
		if pattern == "" || pattern[0] == '#' {
			continue
		}
		subject := name
		if anywhere, ok := strings.CutPrefix(pattern, "**/"); ok {
			pattern, subject = anywhere, path.Base(name)
		}
		if ok, err := path.Match(pattern, subject); ok && err == nil {
			return true
		}
	}
	return false
}
