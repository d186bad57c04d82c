package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Inspection is a log as it lies in its directory, looked at by a tool that must
// change nothing and must get far with a log that Open refuses.
type Inspection struct {
	// Problems say why Open would refuse the log; none for a sound one. Walk finds
	// damage that Open doesn't look for.
	Problems []error
	// Torn says that the log doesn't end cleanly, as after a crash: Open repairs that.
	Torn bool

	o       Options
	extents []extent
	beyond  bool // there are frames behind the last extent's end, which is damage
}

// Inspect looks at the log in a directory that nobody has open. The segments on the
// way back from the newest one are part of it as far as their headers can be read.
// fs.ErrNotExist means that there is no log.
func Inspect(o Options) (*Inspection, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	files, err := listFiles(o)
	if err != nil {
		return nil, err
	}
	in := &Inspection{o: o}
	r := &recovery{o: o, checkpoint: noLimit, files: files} // that scans the last segment only
	defer r.close()
	if err := in.readChain(r); err != nil {
		return nil, err
	}
	if err := in.read(r); err != nil {
		return nil, err
	}
	return in, nil
}

// readChain follows the headers, from an older segment on where the newest one's is bad.
func (in *Inspection) readChain(r *recovery) error {
	for {
		err := r.readChain()
		if err == nil {
			return nil
		}
		if !refusal(err) {
			return err
		}
		in.Problems = append(in.Problems, err)
		rest := r.files.segments[:len(r.files.segments)-1]
		switch {
		case len(r.chain) > 0 && r.chain[0].number > rest[0]:
			in.Problems = append(in.Problems, fmt.Errorf("segments older than %s weren't looked at: nothing leads to them", r.chain[0].path))
			return nil
		case len(r.chain) > 0 || len(rest) == 0:
			return nil
		}
		r.files.segments = rest
	}
}

// refusal reports whether an error says what is wrong with the log, and not with reading it.
func refusal(err error) bool {
	return errors.Is(err, codec.ErrCorrupt) || errors.Is(err, ErrNewerFormat)
}

// read finds out what the segments that were found hold.
func (in *Inspection) read(r *recovery) error {
	if len(r.chain) == 0 {
		return nil
	}
	for _, step := range []func() error{r.checkStarts, r.scanEnd} {
		if err := step(); err != nil {
			if !refusal(err) {
				return err
			}
			in.Problems = append(in.Problems, err)
		}
	}
	if r.tail < 0 {
		return nil
	}
	c := r.chain[r.tail]
	in.extents = append(r.extents(r.tail), extent{
		seg: r.segment(c), first: c.starts, last: c.scanned.next - 1, firstTime: c.time, lastTime: c.scanned.lastTime, end: c.scanned.end,
	})
	in.Torn = !r.resumes()
	in.beyond = r.found.found && r.found.synced >= c.scanned.next
	return nil
}

// scanEnd walks the last segment and looks behind its end. Before it, segments that
// nobody knows the beginning of are left out: what is missing shows as damage of the
// one in front.
func (r *recovery) scanEnd() error {
	if r.tail < 0 {
		return nil
	}
	end := r.chain[r.tail]
	r.chain = slices.DeleteFunc(r.chain, func(c *candidate) bool { return c.starts == 0 && c.number < end.number })
	r.tail = slices.Index(r.chain, end)
	if err := r.scan(r.tail); err != nil {
		return err
	}
	return r.judgeEnd()
}

// Segments lists the log's segments, oldest first.
func (in *Inspection) Segments() []SegmentInfo {
	var infos []SegmentInfo
	for i, x := range in.extents {
		infos = append(infos, x.info(i < len(in.extents)-1))
	}
	return infos
}

// Walk hands out the records with LSNs from one to another, a frame at a time, and
// tells of all damage that it meets on the way. The records of a frame that begins or
// ends outside are among them. An error of records ends the walk.
func (in *Inspection) Walk(from, to uint64, records func(chunk []byte) error, problem func(error)) error {
	for i, x := range in.extents {
		last := x.last
		if i == len(in.extents)-1 && in.beyond {
			last = noLimit // what is behind the damage
		}
		if last < from || x.first > to {
			continue
		}
		if err := in.walk(x, last, records, problem); err != nil {
			return fmt.Errorf("reading %s: %w", x.seg.path, err)
		}
	}
	return nil
}

func (in *Inspection) walk(x extent, last uint64, records func([]byte) error, problem func(error)) error {
	f, err := x.seg.acquire()
	if err != nil {
		return err
	}
	var stop error
	w := newWindow(x.seg.path, f, x.seg.length, nil)
	walkFrames(newScan(w, x.seg.seed, x.first), last, func(chunk []byte) {
		if stop == nil {
			stop = records(chunk)
		}
	}, problem)
	return errors.Join(stop, x.seg.release())
}
