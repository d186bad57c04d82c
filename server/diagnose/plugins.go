package diagnose

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

	"golang.org/x/sys/unix"

	"github.com/unisondb/unisondb/server/config"
)

// plugins looks at the programs that the node is to run.
func (d *diagnosis) plugins(_ context.Context, s *Step) {
	if !s.needs(d.cfg != nil, theConfiguration) {
		return
	}
	for _, n := range d.cfg.Notifiers {
		d.program(s, fmt.Sprintf("notifier %s", n.Name), "notifier-"+n.Type, n.Program)
	}
	for _, m := range d.cfg.Models {
		d.program(s, fmt.Sprintf("model %s", m.Name), "model-"+m.Name, m.Program)
	}
	if len(s.Findings) == 0 {
		s.skip("none is configured")
	}
}

func (d *diagnosis) program(s *Step, block, name string, want config.Program) {
	path := filepath.Join(d.cfg.PluginDir, name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.fail(fmt.Sprintf("%s: there is no program %s", block, path), "put it there, or set plugin_dir; the node runs without it, and is degraded")
		return
	case err != nil:
		s.fail(fmt.Sprintf("%s: %v", block, err), "let the user that runs the node read it")
		return
	case info.IsDir() || unix.Access(path, unix.X_OK) != nil:
		s.fail(fmt.Sprintf("%s: this user may not run %s", block, path), "make it executable: chmod 755")
		return
	}
	sum, err := sumOf(path)
	switch {
	case err != nil:
		s.fail(fmt.Sprintf("%s: %v", block, err), "let the user that runs the node read it")
	case want.SHA256 != "" && sum != want.SHA256:
		s.fail(fmt.Sprintf("%s: %s has SHA-256 %s, the configuration wants %s", block, path, sum, want.SHA256),
			"put the program there that was meant, or correct sha256 if this one is")
	default:
		s.ok(fmt.Sprintf("%s: %s, SHA-256 %s", block, path, sum))
	}
}

func sumOf(path string) (sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
