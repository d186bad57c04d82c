package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// program is a plugin's file, as it was when it was looked at.
type program struct {
	path   string      // after symbolic links
	info   os.FileInfo // of the file that was summed
	sha256 string      // in hexadecimal digits
	// since is when the file's data or inode changed last, by the system's own clock; 0: it
	// can't be told, or was so lately that another change may have the same time.
	since int64
}

// prefixOf is what a kind's programs' names begin with.
func prefixOf(k pluginv1.Kind) string {
	if k == pluginv1.Kind_KIND_DATA_MODEL {
		return "model-"
	}
	return "notifier-"
}

var typeForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// file is the program's name in plugin_dir.
func (o *Options) file() string { return prefixOf(o.Kind) + o.Type }

// where is the program's path before symbolic links.
func (o *Options) where() string { return filepath.Join(o.PluginDir, o.file()) }

// look finds the program and verifies it. known is what was found before.
func (o *Options) look(ctx context.Context, known program) (program, error) {
	path, err := o.find()
	if err != nil {
		return program{}, err
	}
	p := known
	if known.path != path || !known.isStill() {
		if p, err = sum(ctx, path); err != nil {
			return program{}, err
		}
	}
	if want := strings.ToLower(o.SHA256); want != "" && want != p.sha256 {
		return p, failed(retryChanged, "%s isn't the program that the configuration pins: its sha256 is %s (file of %s, %d bytes), expected %s: put the right file there, or write sha256 = %q if this is the one that you want",
			path, p.sha256, p.info.ModTime().UTC().Format(time.RFC3339), p.info.Size(), want, p.sha256)
	}
	return p, nil
}

// find looks for the program inside plugin_dir, whatever symbolic links there are.
func (o *Options) find() (string, error) {
	if !typeForm.MatchString(o.Type) {
		return "", failed(retryChanged, "%q can't be the type of a plugin: use letters, digits, dots, dashes and underscores", o.Type)
	}
	dir, err := filepath.EvalSymlinks(o.PluginDir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", failed(retryChanged, "plugin_dir %s can't be used: %v: create it with the plugins in it, or set plugin_dir", o.PluginDir, cause(err))
	}
	path, err := filepath.EvalSymlinks(filepath.Join(dir, o.file()))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", failed(retryChanged, "there is no program %s in plugin_dir %s%s: put it there, or correct the type", o.file(), o.PluginDir, o.present(dir))
	case err != nil:
		return "", failed(retryChanged, "%s can't be used: %v: check the file and its directory", o.where(), cause(err))
	}
	if inside, err := filepath.Rel(dir, path); err != nil || inside == ".." || strings.HasPrefix(inside, ".."+string(filepath.Separator)) {
		return "", failed(retryChanged, "%s is a link to %s, which is outside plugin_dir: copy the program into plugin_dir", o.where(), path)
	}
	return path, o.usable(path)
}

// usable checks what can be known of a program without reading it.
func (o *Options) usable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return failed(retryChanged, "%s can't be used: %v", path, cause(err))
	case info.IsDir():
		return failed(retryChanged, "%s is a directory: put the program itself there", path)
	case !info.Mode().IsRegular():
		return failed(retryChanged, "%s is no regular file: put the program itself there", path)
	case info.Mode().Perm()&0o111 == 0:
		return failed(retryChanged, "%s is not executable (mode %s): run 'chmod +x %s'", path, info.Mode().Perm(), path)
	}
	if info.Mode().Perm()&0o002 != 0 {
		o.Logger.Warn("plugin program is writable by everybody: anyone on this machine can have the node run a program of theirs; run 'chmod o-w' on it", "path", path)
	}
	return nil
}

// present lists the programs of a kind that are there, as a hint.
func (o *Options) present(dir string) string {
	found, err := filepath.Glob(filepath.Join(dir, prefixOf(o.Kind)+"*"))
	if err != nil || len(found) == 0 {
		return ""
	}
	names := make([]string, 0, maxShown)
	for _, path := range found[:min(len(found), maxShown)] {
		names = append(names, filepath.Base(path))
	}
	return fmt.Sprintf(" (there are %s)", strings.Join(names, ", "))
}

// sum reads a program and sums it.
func sum(ctx context.Context, path string) (program, error) {
	f, err := os.Open(path)
	if err != nil {
		return program{}, failed(retryChanged, "%s can't be read: %v: let the node's user read it", path, cause(err))
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return program{}, failed(retrySoon, "%s can't be read: %v", path, cause(err))
	}
	h := sha256.New()
	if _, err := io.Copy(h, &interruptible{ctx: ctx, r: f}); err != nil {
		return program{}, failed(retrySoon, "%s can't be read: %v", path, cause(err))
	}
	p := program{path: path, info: info, sha256: hex.EncodeToString(h.Sum(nil))}
	if at := changeTime(info); time.Since(time.Unix(0, at)) > clockTick {
		p.since = at
	}
	return p, nil
}

// clockTick is more than the time that a file system's clock may stand still.
const clockTick = 2 * time.Second

// isStill says that nothing at all has happened to the file since it was summed, so that it
// need not be again: a plugin that keeps dying is looked at often. Nobody can set a file's change time.
func (p program) isStill() bool {
	info, err := os.Stat(p.path)
	return err == nil && p.since != 0 && changeTime(info) == p.since && stampOf(info) == stampOf(p.info)
}

// unchanged says whether the file is the one that was summed.
func (p program) unchanged() bool {
	info, err := os.Stat(p.path)
	return err == nil && os.SameFile(info, p.info) && stampOf(info) == stampOf(p.info)
}

// interruptible ends a long read with its context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// stamp tells one state of a file from another. A zero one is an absent file.
type stamp struct {
	size     int64
	mode     os.FileMode
	modified time.Time
	inode    uint64
}

func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), mode: info.Mode(), modified: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = st.Ino
	}
	return s
}

// stamp looks at the program's file through symbolic links.
func (o *Options) stamp() stamp {
	info, err := os.Stat(o.where())
	if err != nil {
		return stamp{}
	}
	return stampOf(info)
}

// cause is the system's reason without path and call, which a message has already.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
