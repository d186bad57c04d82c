package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashOptions say how much of what wasn't synced survives a crash. The zero
// value: nothing.
type CrashOptions struct {
	// Keep is the probability, from 0 to 1, that an unsynced sector, length or
	// change of a directory reached the disk, each decided by itself.
	Keep float64
	// Torn is the probability that a sector that was being written holds a part
	// of the new bytes and the rest of the old ones.
	Torn float64
}

// AnyCrash draws options: often all or nothing, mostly something between.
func AnyCrash(rng *rand.Rand) CrashOptions {
	switch rng.IntN(6) {
	case 0:
		return CrashOptions{}
	case 1:
		return CrashOptions{Keep: 1}
	default:
		return CrashOptions{Keep: rng.Float64(), Torn: 0.2 * rng.Float64()}
	}
}

// Crash returns what the disk holds if the power goes at this moment: all that
// was synced, and of the rest a random share. m itself goes on as if nothing
// had happened; both may be used from then on. There is no capacity and there
// are no locks in the new file system.
func (m *Mem) Crash(rng *rand.Rand, o CrashOptions) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{rng: rng, CrashOptions: o, files: map[*memFile]*memFile{}, entries: map[*memDir]map[string]memNode{}}
	c.replay(m.pending)
	after := NewMem()
	after.root = c.dir(m.root)
	for _, f := range c.files {
		after.used += f.blocks()
	}
	return after
}

// crash carries the state of one Crash.
type crash struct {
	CrashOptions
	rng     *rand.Rand
	files   map[*memFile]*memFile
	entries map[*memDir]map[string]memNode // what differs from durable
}

func (c *crash) kept() bool { return c.Keep > 0 && c.rng.Float64() < c.Keep }

// replay decides which unsynced changes of directories reached the disk.
// Changes of the same names keep their order: what survives of such a chain is
// a beginning. Otherwise anything goes.
func (c *crash) replay(pending []*dirOp) {
	broken := map[dirEntry]bool{}
	for _, op := range pending {
		survives := c.kept()
		for _, ch := range op.changes {
			survives = survives && !broken[ch.entry()]
		}
		for _, ch := range op.changes {
			if !survives {
				broken[ch.entry()] = true
				continue
			}
			entries, ok := c.entries[ch.dir]
			if !ok {
				entries = maps.Clone(ch.dir.durable)
				c.entries[ch.dir] = entries
			}
			set(entries, ch.name, ch.node)
		}
	}
}

func (c *crash) dir(d *memDir) *memDir {
	entries, ok := c.entries[d]
	if !ok {
		entries = d.durable
	}
	after := newMemDir()
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		var n memNode
		switch was := entries[name].(type) {
		case *memDir:
			n = c.dir(was)
		case *memFile:
			n = c.file(was)
		}
		after.entries[name], after.durable[name] = n, n
	}
	return after
}

// file is the file after the crash; two names of one file stay one.
func (c *crash) file(f *memFile) *memFile {
	if after, ok := c.files[f]; ok {
		return after
	}
	after := &memFile{dirty: map[int]uint8{}, size: f.dsize, pages: slices.Clone(f.durable)}
	for _, i := range slices.Sorted(maps.Keys(f.dirty)) {
		c.page(f, after, i)
	}
	if f.sizeDirty && c.kept() {
		after.size = f.size
	}
	after.fit()
	after.durable, after.dsize = slices.Clone(after.pages), after.size
	c.files[f] = after
	return after
}

// page decides the fate of each dirty sector of a page.
func (c *crash) page(f, after *memFile, i int) {
	p, mask := pageAt(f.pages, i), uint8(0)
	for s := range sectorsPerPage {
		if f.dirty[i]&(1<<s) == 0 || !c.kept() {
			continue
		}
		mask |= 1 << s
		if c.Torn > 0 && c.rng.Float64() < c.Torn {
			torn := *p
			cut := (s+1)*sectorSize - 1 - c.rng.IntN(sectorSize-1)
			copy(torn[cut:(s+1)*sectorSize], pageAt(f.durable, i)[cut:])
			p = &torn
		}
	}
	if mask != 0 || f.dirty[i] == 0 && c.kept() {
		setPage(&after.pages, i, merge(pageAt(f.durable, i), p, mask))
	}
}

// fit cuts off pages behind the file's end, where survivors of a write may lie
// whose new length didn't survive, and zeros the rest of the last one.
func (f *memFile) fit() {
	keep := int((f.size + pageSize - 1) / pageSize)
	if len(f.pages) > keep {
		f.pages = f.pages[:keep]
	}
	if in := f.size % pageSize; in != 0 && len(f.pages) == keep && f.pages[keep-1] != nil {
		cut := *f.pages[keep-1]
		clear(cut[in:])
		f.pages[keep-1] = &cut
	}
}
