package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/vfs"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// What callers decide by.
var (
	// ErrDeadLettersFull: there is no room for another dead letter.
	ErrDeadLettersFull = errors.New("the dead letters are full")
	// ErrDeadLetterNotFound: no dead letter has that id.
	ErrDeadLetterNotFound = errors.New("dead letter not found")
)

// DeadLetter is an event that the other side refused for good.
type DeadLetter struct {
	ID        string          `json:"id"` // of this file, never used twice
	Namespace string          `json:"namespace"`
	Reason    string          `json:"reason"`
	Refusals  int             `json:"refusals"`
	First     time.Time       `json:"first"` // refusal
	Last      time.Time       `json:"last"`
	Event     json.RawMessage `json:"event"` // as notifications have it
}

// DeadLetterOptions configure DeadLetters. Zero values are defaults where one is named.
type DeadLetterOptions struct {
	Name     string       // the notifier's, for messages
	Path     string       // of the file, made with its directory by the first letter
	MaxCount int          // letters; default 10,000
	MaxBytes int64        // of the file; default 64 MiB
	FS       vfs.FS       // the operating system's by default
	Logger   hclog.Logger // silent by default
}

// DeadLetters is the file of a notifier's dead letters. It is opened for as long as
// something is done with it. Its methods may be called concurrently.
type DeadLetters struct {
	opts DeadLetterOptions

	retrying chan struct{} // has room for the one retry; taken before mu

	mu     sync.Mutex
	index  []indexed // in the file's order
	known  map[identity]struct{}
	next   uint64        // the next letter's id
	size   int64         // of the file, as far as it counts
	unsure bool          // a write failed: the file is written anew before it is added to
	room   chan struct{} // closed when letters go
}

// letter is a dead letter as the pump knows it.
type letter struct {
	id          uint64
	namespace   string
	lineage     string
	event       *pluginv1.Event
	reason      string
	refusals    int
	first, last time.Time
}

// indexed is what memory has of a letter.
type indexed struct {
	id        uint64
	namespace string
	identity  identity
	bytes     int // of its line
}

// identity is what makes two letters the same event. Events of a snapshot may share
// all but their key.
type identity struct {
	namespace, lineage string
	epoch, lsn         uint64
	index              uint32
	entryType, key     string
}

func (l letter) identity() identity {
	e := l.event
	id := identity{namespace: l.namespace, lineage: l.lineage, epoch: e.Epoch, lsn: e.Lsn, index: e.Index}
	if e.Count == 0 {
		id.entryType, id.key = e.EntryType, string(e.Key)
	}
	return id
}

// OpenDeadLetters reads what the file holds. A last line that a crash left torn was
// never relied on and is cut off. Where other lines can't be read, the file is set aside under
// another name, loudly, and what can be read goes on. A file of a newer format is an error.
func OpenDeadLetters(o DeadLetterOptions) (*DeadLetters, error) {
	o.MaxCount = orDefault(o.MaxCount, 10_000)
	o.MaxBytes = orDefault(o.MaxBytes, 64<<20)
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	d := &DeadLetters{opts: o, retrying: make(chan struct{}, 1)}
	d.reset(1)
	if err := d.load(); err != nil {
		return nil, fmt.Errorf("opening the dead letters of notifier %q: %w", o.Name, err)
	}
	return d, nil
}

// reset forgets all letters.
func (d *DeadLetters) reset(next uint64) {
	d.index, d.known, d.size, d.next = nil, map[identity]struct{}{}, 0, next
}

func (d *DeadLetters) load() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := readFile(d.opts.FS, d.opts.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := parseLetters(b)
	if err != nil {
		return err
	}
	if !c.damaged {
		d.adopt(c)
		if torn := int64(len(b)) - c.size; torn > 0 {
			d.opts.Logger.Warn("a crash left the last of the dead letters torn; it is cut off, and its event comes again", "path", d.opts.Path, "bytes", torn)
		}
		return nil
	}
	aside := fmt.Sprintf("%s.damaged-%d", d.opts.Path, time.Now().UnixNano())
	if err := d.opts.FS.Rename(d.opts.Path, aside); err != nil {
		return err
	}
	d.opts.Logger.Error("the dead letters were damaged; the file is kept under another name, and what can be read of it goes on: look there for what is missing",
		"path", aside, "letters", len(c.letters))
	return d.rewrite(c.letters, c.next)
}

// adopt takes over what was read of the file.
func (d *DeadLetters) adopt(c contents) {
	d.reset(c.next)
	d.size = c.size
	for i, l := range c.letters {
		d.note(l, len(c.lines[i])+1)
	}
}

func (d *DeadLetters) note(l letter, bytes int) {
	id := l.identity()
	d.index = append(d.index, indexed{l.id, l.namespace, id, bytes})
	d.known[id] = struct{}{}
	d.next = max(d.next, l.id+1)
}

// count is how many letters a namespace has.
func (d *DeadLetters) count(namespace string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.index {
		if i.namespace == namespace {
			n++
		}
	}
	return n
}

// has reports whether an event is among the letters.
func (d *DeadLetters) has(id identity) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, there := d.known[id]
	return there
}

// add sets letters aside; they are durable when it returns. One that is there
// already, because a crash had it come again, isn't added. ErrDeadLettersFull where not all
// have room; those that have are in. room is closed when there may be more.
func (d *DeadLetters) add(letters []letter) (room <-chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room == nil {
		d.room = make(chan struct{})
	}
	if err := d.look(); err != nil {
		return d.room, err
	}
	var lines []byte
	var fresh []letter
	var sizes []int
	full := false
	now := map[identity]struct{}{}
	for _, l := range letters {
		id := l.identity()
		if _, there := d.known[id]; there {
			continue
		}
		if _, twice := now[id]; twice {
			continue
		}
		now[id] = struct{}{}
		l.id = d.next + uint64(len(fresh))
		line, err := l.encode()
		if err != nil {
			return d.room, err
		}
		if len(d.index)+len(fresh) >= d.opts.MaxCount || d.size+int64(len(lines)+len(line)) > d.opts.MaxBytes {
			full = true
			break
		}
		lines, fresh, sizes = append(lines, line...), append(fresh, l), append(sizes, len(line))
	}
	if len(fresh) > 0 {
		if err := d.append(lines); err != nil {
			return d.room, fmt.Errorf("setting an event aside in %s: %w", d.opts.Path, err)
		}
		for i, l := range fresh {
			d.note(l, sizes[i])
		}
	}
	if full {
		return d.room, d.fullError()
	}
	return d.room, nil
}

func (d *DeadLetters) fullError() error {
	return fmt.Errorf("%w: notifier %q has %d in %s: delivery stands still, so that none is lost; retry them once the other side takes them "+
		"('unisondb operator plugin dead-letters retry %s'), or move the file away", ErrDeadLettersFull, d.opts.Name, len(d.index), d.opts.Path, d.opts.Name)
}

// look begins anew where somebody has moved the file away, and makes one that isn't there.
func (d *DeadLetters) look() error {
	_, err := d.opts.FS.Stat(d.opts.Path)
	switch {
	case err == nil && d.size > 0 && !d.unsure:
		return nil
	case err == nil && d.size > 0:
		return d.again()
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if d.size > 0 {
		d.opts.Logger.Warn("the file of dead letters is gone; a new one begins", "path", d.opts.Path, "letters", len(d.index))
	}
	if err := makeDir(d.opts.FS, filepath.Dir(d.opts.Path)); err != nil {
		return err
	}
	return d.rewrite(nil, d.next)
}

// again writes the file anew after a failed write: what the disk has of that is unknown.
func (d *DeadLetters) again() error {
	b, err := readFile(d.opts.FS, d.opts.Path)
	if err != nil {
		return err
	}
	c, err := parseLetters(b[:min(int64(len(b)), d.size)])
	if err != nil {
		return err
	}
	if c.damaged || len(c.letters) != len(d.index) {
		return fmt.Errorf("%w: %s doesn't hold what was written: move it away, so that a new one begins", errDamaged, d.opts.Path)
	}
	return d.rewrite(c.letters, d.next)
}

// append writes lines behind what counts, durably.
func (d *DeadLetters) append(lines []byte) error {
	f, err := d.opts.FS.Open(d.opts.Path)
	if err != nil {
		return err
	}
	if _, err = f.WritevAt([][]byte{lines}, d.size); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		d.unsure = true
		return err
	}
	d.size += int64(len(lines))
	return nil
}

// rewrite makes the file hold these letters, durably and all at once.
func (d *DeadLetters) rewrite(letters []letter, next uint64) error {
	for _, l := range letters {
		next = max(next, l.id+1)
	}
	b, err := header(next)
	if err != nil {
		return err
	}
	sizes := make([]int, len(letters))
	for i, l := range letters {
		line, err := l.encode()
		if err != nil {
			return err
		}
		b, sizes[i] = append(b, line...), len(line)
	}
	if err := replaceFile(d.opts.FS, d.opts.Path, b); err != nil {
		return err
	}
	fewer := len(letters) < len(d.index)
	d.reset(next)
	d.size, d.unsure = int64(len(b)), false
	for i, l := range letters {
		d.note(l, sizes[i])
	}
	if fewer && d.room != nil {
		close(d.room)
		d.room = nil
	}
	return nil
}

// read reads the letters that the file holds.
func (d *DeadLetters) read() ([]letter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readLocked()
}

func (d *DeadLetters) readLocked() ([]letter, error) {
	if len(d.index) == 0 {
		return nil, nil
	}
	b, err := readFile(d.opts.FS, d.opts.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := parseLetters(b[:min(int64(len(b)), d.size)])
	if err != nil {
		return nil, err
	}
	if c.damaged {
		return nil, fmt.Errorf("%w: %s: restart the node, which keeps what can be read of it", errDamaged, d.opts.Path)
	}
	return c.letters, nil
}

// List answers all letters, the oldest first.
func (d *DeadLetters) List() ([]DeadLetter, error) {
	letters, err := d.read()
	if err != nil {
		return nil, fmt.Errorf("reading the dead letters of notifier %q: %w", d.opts.Name, err)
	}
	all := make([]DeadLetter, len(letters))
	for i, l := range letters {
		all[i] = DeadLetter{
			ID: strconv.FormatUint(l.id, 10), Namespace: l.namespace, Reason: l.reason, Refusals: l.refusals,
			First: l.first, Last: l.last, Event: l.message(),
		}
	}
	return all, nil
}
