package vfs

// memNode is a *memDir or a *memFile.
type memNode any

type memDir struct {
	entries map[string]memNode // as programs see them
	durable map[string]memNode // as they are on the disk
}

func newMemDir() *memDir {
	return &memDir{entries: map[string]memNode{}, durable: map[string]memNode{}}
}

// dirChange sets an entry of a directory; a nil node removes it.
type dirChange struct {
	dir  *memDir
	name string
	node memNode
}

type dirEntry struct {
	dir  *memDir
	name string
}

func (c dirChange) entry() dirEntry { return dirEntry{c.dir, c.name} }

func set(entries map[string]memNode, name string, n memNode) {
	if n == nil {
		delete(entries, name)
		return
	}
	entries[name] = n
}

// dirOp is one operation on directories. A rename has two changes, which
// reach the disk together or not at all, as in a journal.
type dirOp struct {
	changes []dirChange
}

// change carries an operation out where programs see it and notes it as not durable.
func (m *Mem) change(changes ...dirChange) {
	op := &dirOp{changes: changes}
	moved := map[memNode]bool{}
	for _, c := range changes {
		if c.node != nil {
			moved[c.node] = true
		}
	}
	for _, c := range changes {
		if f, ok := c.dir.entries[c.name].(*memFile); ok && !moved[f] {
			m.used -= f.blocks()
			f.unlinked = true
		}
		set(c.dir.entries, c.name, c.node)
	}
	m.pending = append(m.pending, op)
}

// syncDir makes durable what was done in d, and what that builds upon.
func (m *Mem) syncDir(d *memDir) {
	needed := map[dirEntry]bool{}
	synced := make([]bool, len(m.pending))
	for i := len(m.pending) - 1; i >= 0; i-- {
		for _, c := range m.pending[i].changes {
			if c.dir == d || needed[c.entry()] {
				synced[i] = true
			}
		}
		if synced[i] {
			for _, c := range m.pending[i].changes {
				needed[c.entry()] = true
			}
		}
	}
	rest := m.pending[:0]
	for i, op := range m.pending {
		if synced[i] {
			for _, c := range op.changes {
				set(c.dir.durable, c.name, c.node)
			}
		} else {
			rest = append(rest, op)
		}
	}
	clear(m.pending[len(rest):])
	m.pending = rest
}

// loseDir is what a failed fsync of a directory does to it: the system takes
// its changes for written, and a crash will show that they weren't.
func (m *Mem) loseDir(d *memDir) {
	rest := m.pending[:0]
	for _, op := range m.pending {
		touches := false
		for _, c := range op.changes {
			touches = touches || c.dir == d
		}
		if !touches {
			rest = append(rest, op)
		}
	}
	clear(m.pending[len(rest):])
	m.pending = rest
}
