package dbkernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// LMDB reads its file through a mapping, so damage inside the file can kill the
// process. The guard makes that stay one namespace's trouble: a note says which
// trees are inside LMDB, the runtime's crash report says whether a signal that
// damage brings was the end, and the next start quarantines those. A SIGKILL, a
// lack of memory or a power cut leaves no report and quarantines nothing.
const (
	crashNoteName   = "crash.note"
	crashReportName = "crash.report"
	// quarantineName is a file in a namespace's directory. As long as it is there
	// the namespace isn't opened; its text says why.
	quarantineName = "quarantine"
)

// The signals that damage inside a mapped file brings, as the runtime names them.
var crashSignals = [][]byte{[]byte("SIGSEGV"), []byte("SIGBUS"), []byte("SIGABRT")}

// guarding is held by the process's one guard: the runtime has one crash output.
var guarding sync.Mutex

// guardCrashes quarantines what the process before died of, and notes for the
// process after. The directory is locked and no namespace is open. A process
// has one guard; where another database has it, release is nil.
func guardCrashes(dir string) (quarantined []string, release func() error, err error) {
	if !guarding.TryLock() {
		return nil, nil, nil
	}
	defer func() {
		if err != nil {
			guarding.Unlock()
		}
	}()
	if quarantined, err = quarantineCrashed(dir); err != nil {
		return nil, nil, err
	}
	report, err := os.OpenFile(filepath.Join(dir, crashReportName), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, err
	}
	err = debug.SetCrashOutput(report, debug.CrashOptions{})
	if err = errors.Join(err, report.Close()); err != nil { // the runtime has its own handle
		return nil, nil, err
	}
	if err = btree.SetCrashNote(filepath.Join(dir, crashNoteName)); err != nil {
		return nil, nil, err
	}
	return quarantined, func() error {
		defer guarding.Unlock()
		return errors.Join(btree.CloseCrashNote(), debug.SetCrashOutput(nil, debug.CrashOptions{}))
	}, nil
}

// quarantineCrashed marks the namespaces that a crash report and the note accuse.
func quarantineCrashed(dir string) (names []string, err error) {
	report, err := os.ReadFile(filepath.Join(dir, crashReportName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !bySignal(report) {
		return nil, nil
	}
	inside, err := btree.ReadCrashNote(filepath.Join(dir, crashNoteName))
	if err != nil {
		return nil, err
	}
	for _, name := range inside {
		at := filepath.Join(dir, namespacesDir, name)
		if strings.HasPrefix(name, incomingDir+"/") { // a stage, which is then copied again
			at = filepath.Join(dir, name)
		}
		if _, err := os.Stat(at); err != nil {
			continue // it was removed meanwhile
		}
		text := fmt.Sprintf("the process died inside this namespace's B+tree:\n\n%s", report[:min(len(report), 4<<10)])
		if err := replaceFile(vfs.OS(), filepath.Join(at, quarantineName), []byte(text)); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func bySignal(report []byte) bool {
	for _, signal := range crashSignals {
		if bytes.Contains(report, signal) {
			return true
		}
	}
	return false
}

// quarantine keeps the namespace from being opened after the next start.
func (n *Namespace) quarantine(reason error) {
	name := filepath.Join(n.dir, quarantineName)
	if err := replaceFile(n.db.opts.FS, name, []byte(reason.Error()+"\n")); err != nil {
		n.logger.Error("the quarantine couldn't be noted; it ends with this process", "file", name, "error", err)
	}
}

// checkQuarantine answers why the namespace must not be opened, if so.
func (n *Namespace) checkQuarantine() error { return n.db.checkQuarantine(n.dir) }

// checkQuarantine answers why the files in a directory must not be opened, if so.
func (db *DB) checkQuarantine(dir string) error {
	name := filepath.Join(dir, quarantineName)
	_, err := db.opts.FS.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: this namespace's B+tree is damaged; %s says how that was found: restore the namespace, or set its directory aside and let it be replicated again; remove that file to open it all the same", ErrDamaged, name)
}
