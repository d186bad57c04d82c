package topology

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// An encoded command is its kind as an unsigned varint, a byte of flags, and
// its fields as JSON.
const flagIgnorable = 1 // a build that doesn't know the kind skips the command

// maxCommand bounds an encoded command, in bytes; a snapshot to restore is bounded by maxSnapshot.
const maxCommand = 1 << 20

// Encode writes a command as it stands in the group's log. It refuses one that is
// too large.
func Encode(c Command) ([]byte, error) {
	f, ok := forms[c.Kind()]
	if !ok {
		return nil, fmt.Errorf("topology: %T has no number", c)
	}
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s command: %w", f.name, err)
	}
	if _, restores := c.(Restore); len(body) > maxCommand && !restores {
		return nil, refuse(CodeTooLarge, "the request takes %d bytes of the control plane's log, which are more than %d: make it smaller, for example with patterns instead of names", len(body), maxCommand)
	}
	b := binary.AppendUvarint(make([]byte, 0, len(body)+binary.MaxVarintLen32+1), uint64(c.Kind()))
	var flags byte
	if f.ignorable {
		flags |= flagIgnorable
	}
	return append(append(b, flags), body...), nil
}

// decode reads a command. ignorable commands that this build doesn't know are
// answered as nil, and without an error; any other that it can't read is an error with
// the code UNREADABLE_COMMAND. Fields that this build doesn't know are errors, too: it
// would apply something else than a build that does.
func decode(b []byte) (c Command, ignorable bool, err error) {
	kind, flags, body, err := split(b)
	if err != nil {
		return nil, false, err
	}
	ignorable = flags&flagIgnorable != 0
	f, ok := forms[kind]
	switch {
	case !ok && ignorable:
		return nil, true, nil
	case !ok:
		return nil, false, refuse(CodeUnreadableCommand, "command %d of the control plane is of a newer version; this one reads up to %d (%v): upgrade this hub", kind, newest, newest)
	}
	if c, err = f.read(body); err != nil {
		return nil, ignorable, refuse(CodeUnreadableCommand, "a %s command of the control plane can't be read: %v: it is of a newer version or damaged: upgrade this hub", f.name, err)
	}
	return c, ignorable, nil
}

func split(b []byte) (kind Kind, flags byte, body []byte, err error) {
	k, n := binary.Uvarint(b)
	switch {
	case n <= 0 || k == 0 || k > 1<<32-1 || len(b) == n:
		return 0, 0, nil, refuse(CodeUnreadableCommand, "an entry of the control plane's log is no command: it is damaged: remove this hub from the group and add it again with an empty raft directory")
	case b[n]&^flagIgnorable != 0:
		return 0, 0, nil, refuse(CodeUnreadableCommand, "command %d of the control plane has flags of a newer version: upgrade this hub", k)
	}
	return Kind(k), b[n], b[n+1:], nil
}

// kindOf is the kind of an encoded command, known or not.
func kindOf(b []byte) (k Kind, ignorable bool, err error) {
	k, flags, _, err := split(b)
	return k, flags&flagIgnorable != 0, err
}

// readBody reads the fields of a command, all of which have to be known.
func readBody[C Command](body []byte) (Command, error) {
	var c C
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one object")
	}
	return c, nil
}
