package command

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// newFileMode is the mode of files that commands make, before the umask, and secretFileMode
// that of files that hold secrets.
const (
	newFileMode    = 0o666
	secretFileMode = 0o600
)

// writeFile makes or replaces a file with what fill writes, all or nothing. What
// isn't a regular file (a device, a pipe) is written to as it stands.
func writeFile(name string, fill func(io.Writer) error) error {
	return writeFileAs(name, fill, renameio.WithPermissions(newFileMode), renameio.WithExistingPermissions())
}

// writeSecretFile is writeFile for what only the file's owner may read, whoever might before.
func writeSecretFile(name string, fill func(io.Writer) error) error {
	return writeFileAs(name, fill, renameio.WithStaticPermissions(secretFileMode))
}

func writeFileAs(name string, fill func(io.Writer) error, permissions ...renameio.Option) error {
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
	file, err := renameio.NewPendingFile(name, append(permissions, renameio.WithTempDir(filepath.Dir(name)))...)
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
