package website

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/unisondb/unisondb/website/internal/docs"
)

const (
	startPage = "get-started/index.md"
	// repositoryURL is what a reader clones.
	repositoryURL = "https://github.com/unisondb/unisondb"
	// startPatience is for a build of everything from nothing, standard library included, beside other tests.
	startPatience = 12 * time.Minute
)

// stoppedCleanly is for the end of the page: the nodes have said that they stopped, and nothing that was built
// runs any more.
const stoppedCleanly = `
<!-- do: grep -q 'unisondb: stopped' "$__state/terminal.terminal" -->
<!-- do: if ls -l /proc/[0-9]*/exe 2>/dev/null | grep "$__page/unisondb/bin"; then false; fi -->
`

// TestGetStarted follows the first page as somebody does who has nothing: the blocks in order, a fresh clone of
// this repository as it is now, an empty home directory, and with it Go's caches empty. In the end Ctrl-C stops the
// nodes, which say so, and nothing of theirs runs any more.
//
// Like all pages it has no network but a loopback of its own, so that the ports of -dev are free. Go gets the modules
// as it would from a proxy, out of the files that this machine has downloaded: that they can be downloaded is shown by
// their being here.
func TestGetStarted(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(startPage)
	if err != nil {
		t.Fatal(err)
	}
	page, err := docs.Parse(startPage, string(text)+"\n"+stoppedCleanly)
	if err != nil {
		t.Fatal(err)
	}
	downloadModules(t, "..", ".", "./plugins/...")
	downloadModules(t, "../examples/notifier-file", ".")
	env := []string{
		"PATH=" + goFolder(t) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + t.TempDir(),
		"LANG=C.UTF-8",
		"GOTOOLCHAIN=local",
		"GOPROXY=file://" + filepath.ToSlash(filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download")),
		"GOFLAGS=-modcacherw", // so that the test can remove it
		"GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=url." + snapshot(t) + ".insteadOf",
		"GIT_CONFIG_VALUE_0=" + repositoryURL,
	}
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	begun := time.Now()
	err = docs.Run(ctx, page, t.TempDir(), env)
	if errors.Is(err, docs.ErrIsolation) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("done in %v", time.Since(begun).Round(time.Millisecond))
}

// snapshot is a repository with one commit: what is in this one's work tree, committed or not.
func snapshot(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	files, err := exec.Command("git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skipf("the sources are in no git repository: %v", err)
	}
	for name := range bytes.SplitSeq(bytes.TrimRight(files, "\x00"), []byte{0}) {
		copyFile(t, filepath.Join("..", string(name)), filepath.Join(folder, string(name)))
	}
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	git("add", "--all", "--force")
	git("commit", "-q", "--no-gpg-sign", "-m", "the work tree")
	return folder
}

// copyFile copies a file or a symbolic link. One that isn't there any more is left out: it was removed and
// that isn't committed.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err == nil {
			err = os.Symlink(target, to)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, info.Mode().Perm())
	}
	if err != nil {
		t.Fatal(err)
	}
}
