package command

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// newFileMode is the mode of files that commands make, before the umask.
const newFileMode = 0o666

// writeFile makes or replaces a file with what fill writes, all or nothing. What
// isn't a regular file (a device, a pipe) is written to as it stands.
func writeFile(name string, fill func(io.Writer) error) error {
	// Behind a symbolic link it is the file that is replaced, not the link.
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return localf("%s is a directory: name a file in it", name)
	case err == nil && !info.Mode().IsRegular():
		return writeInPlace(name, fill)
	}
	file, err := renameio.NewPendingFile(name, renameio.WithTempDir(filepath.Dir(name)),
		renameio.WithPermissions(newFileMode), renameio.WithExistingPermissions())
	if err != nil {
		return localf("write %s: %w", name, causeOf(err))
	}
	if err := fill(file); err != nil {
		return errors.Join(err, file.Cleanup())
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return errors.Join(localf("write %s: %w", name, causeOf(err)), file.Cleanup())
	}
	return nil
}

func writeInPlace(name string, fill func(io.Writer) error) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return localf("write %s: %w", name, causeOf(err))
	}
	err = fill(file)
	if closeErr := file.Close(); err == nil && closeErr != nil {
		err = localf("write %s: %w", name, causeOf(closeErr))
	}
	return err
}
