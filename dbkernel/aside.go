package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Aside is something that was taken away from a namespace and kept for a human: a
// file of records that were cut off, a damaged segment of the log as it was, or a
// whole directory.
type Aside struct {
	Namespace string
	Path      string // of the file or directory
	Reason    string
	At        time.Time
	// RemoveAfter is when it is removed; zero where only a human removes it.
	RemoveAfter time.Time
	// Directory says that all of a namespace's directory is there. The rest is zero then.
	Directory bool
	// FirstLSN and LastLSN bound the records of a file, Records counts them.
	FirstLSN, LastLSN, Records uint64
}

const (
	asideDir = "aside"
	// asideTime is the moment in a name: UTC, to the millisecond.
	asideTime = "20060102T150405.000Z"
	// reasonName is a file in a directory that was set aside; beside a file of
	// records it has that one's name and this ending.
	reasonName   = "reason.txt"
	reasonEnding = ".reason.txt"
	recordsEnd   = ".jsonl"
	// untilMark stands in the name of a directory between its reason and the time
	// from which on it may be removed: the move and the promise are one rename.
	untilMark = ".until-"
)

var asideName = regexp.MustCompile(`^(.+)-(\d{8}T\d{6}\.\d{3}Z)-(.*)$`)

// Aside lists what was set aside, oldest first, from the files alone.
func (db *DB) Aside() ([]Aside, error) {
	dir := filepath.Join(db.opts.Dir, asideDir)
	names, err := db.opts.FS.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Aside
	for _, name := range names {
		a, ok, err := db.describeAside(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b Aside) int { return a.At.Compare(b.At) })
	return all, nil
}

// describeAside reads what the names say; false for files that only go with others.
func (db *DB) describeAside(path string) (a Aside, ok bool, err error) {
	parts := asideName.FindStringSubmatch(filepath.Base(path))
	if parts == nil || strings.HasSuffix(path, reasonEnding) || strings.HasSuffix(path, tmpEnding) {
		return a, false, nil
	}
	info, err := db.opts.FS.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil // it was removed meanwhile
	}
	if err != nil {
		return a, false, err
	}
	a = Aside{Namespace: parts[1], Path: path, Directory: info.IsDir()}
	if a.At, err = time.Parse(asideTime, parts[2]); err != nil {
		return a, false, nil //nolint:nilerr // somebody else's file
	}
	if a.Directory {
		said, until, limited := strings.Cut(parts[3], untilMark)
		if limited {
			// A time that can't be read is somebody's way to keep the directory.
			a.RemoveAfter, _ = time.Parse(asideTime, until)
		}
		a.Reason = strings.ReplaceAll(said, "-", " ")
		db.readReason(filepath.Join(path, reasonName), &a.Reason)
		return a, true, nil
	}
	stem := strings.TrimSuffix(strings.TrimSuffix(path, recordsEnd), segmentEnd)
	db.readReason(stem+reasonEnding, &a.Reason)
	return a, a.bounds(parts[3]), nil
}

// bounds reads <first>-<last>.jsonl or .segment.
func (a *Aside) bounds(s string) bool {
	s, ok := strings.CutSuffix(s, recordsEnd)
	if !ok {
		s, ok = strings.CutSuffix(s, segmentEnd)
	}
	first, last, dash := strings.Cut(s, "-")
	var err1, err2 error
	a.FirstLSN, err1 = strconv.ParseUint(first, 10, 64)
	a.LastLSN, err2 = strconv.ParseUint(last, 10, 64)
	a.Records = a.LastLSN - a.FirstLSN + 1
	return ok && dash && err1 == nil && err2 == nil && a.FirstLSN <= a.LastLSN
}

// readReason replaces what the name says by what a file says, if it is there.
func (db *DB) readReason(path string, reason *string) {
	if b, err := readFile(db.opts.FS, path); err == nil {
		*reason = strings.TrimSpace(string(b))
	}
}

func (db *DB) writeReason(path, reason string) error {
	return replaceFile(db.opts.FS, path, []byte(reason+"\n"))
}

// SetAside moves the whole directory of a namespace to aside/, whether or not it
// can be opened. Its handle is superseded, its name is free afterwards.
// ErrNamespaceNotFound.
func (db *DB) SetAside(ctx context.Context, name, reason string) error {
	return db.SetAsideUntil(ctx, name, reason, time.Time{})
}

// SetAsideUntil is SetAside of a directory that this or a later process removes
// some time after removeAfter, by the database's clock, and never before. With the
// zero time it is kept. ErrNamespaceNotFound, ErrInvalid.
func (db *DB) SetAsideUntil(ctx context.Context, name, reason string, removeAfter time.Time) error {
	if !ValidName(name) {
		return fmt.Errorf("%w: %q is no valid name", ErrNamespaceNotFound, name)
	}
	ending, err := asideUntil(removeAfter)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	end, err := db.beginSwitch(name)
	if err != nil {
		return err
	}
	defer end()
	if err := db.setAside(name, reason, ending); err != nil {
		return diskFull(fmt.Errorf("setting namespace %q aside: %w", name, err))
	}
	return nil
}

// asideUntil is the end of the name of a directory that may be removed at a time,
// rounded up to what a name can say; empty for the zero time.
func asideUntil(at time.Time) (string, error) {
	if at.IsZero() {
		return "", nil
	}
	at = at.Add(time.Millisecond - time.Nanosecond).Truncate(time.Millisecond).UTC()
	if at.Year() < 1 || at.Year() > 9999 {
		return "", fmt.Errorf("%w time %s to remove a directory after: use a year up to 9999", ErrInvalid, at)
	}
	return untilMark + at.Format(asideTime), nil
}

// setAside moves the directory of a name that is being switched. The ending is that
// of asideUntil.
func (db *DB) setAside(name, reason, ending string) error {
	dir := db.dir(name)
	if _, err := db.opts.FS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return ErrNamespaceNotFound
	} else if err != nil {
		return err
	}
	path, err := db.asidePath(name, "-"+slug(reason)+ending)
	if err != nil {
		return err
	}
	if err := db.supersede(db.handle(name)); err != nil {
		db.opts.Logger.Warn("closing a namespace that is set aside failed", "namespace", name, "error", err)
	}
	if _, err := db.moveIn(dir, path); err != nil {
		return err
	}
	db.opts.Logger.Warn("a namespace's directory was set aside", "namespace", name, "path", path, "reason", reason)
	return db.writeReason(filepath.Join(path, reasonName), reason)
}

// removeDueAside removes the directories whose time in aside/ is over.
func (db *DB) removeDueAside(now time.Time) error {
	all, err := db.Aside()
	errs := []error{err}
	for _, a := range all {
		if a.RemoveAfter.IsZero() || !now.After(a.RemoveAfter) {
			continue
		}
		if err := db.removeDir(a.Path); err != nil {
			errs = append(errs, fmt.Errorf("removing %s, whose time is over: %w", a.Path, err))
			continue
		}
		db.opts.Logger.Info("a namespace's directory that was set aside is removed: its time is over", "namespace", a.Namespace, "path", a.Path, "reason", a.Reason)
	}
	return errors.Join(errs...)
}

// asidePath is a path in aside/, which is made, that nothing has yet. The ending
// comes behind name and time.
func (db *DB) asidePath(name, ending string) (string, error) {
	dir := filepath.Join(db.opts.Dir, asideDir)
	if err := makeDir(db.opts.FS, dir); err != nil {
		return "", err
	}
	for at := db.opts.Clock().UTC(); ; at = at.Add(time.Millisecond) {
		path := filepath.Join(dir, name+"-"+at.Format(asideTime)+ending)
		if _, err := db.opts.FS.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
	}
}

// slug is a reason as a part of a file's name.
func slug(reason string) string {
	const longest = 40
	var b strings.Builder
	for _, r := range strings.ToLower(reason) {
		switch {
		case b.Len() == longest:
			return strings.TrimSuffix(b.String(), "-")
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if s := strings.TrimSuffix(b.String(), "-"); s != "" {
		return s
	}
	return "unknown"
}
