package dbkernel

// beginSwitch announces that the directory of a name is about to be replaced. Until
// the returned function is called, Namespace waits for it, and so does the next
// switch of the name.
func (db *DB) beginSwitch(name string) (end func(), err error) {
	db.lockAfterSwitch(name)
	defer db.mu.Unlock()
	if db.closed {
		return nil, ErrClosed
	}
	done := make(chan struct{})
	db.switching[name] = done
	db.switches.Add(1)
	return func() {
		db.mu.Lock()
		delete(db.switching, name)
		db.mu.Unlock()
		close(done)
		db.switches.Done()
	}, nil
}

// lockAfterSwitch locks mu at a moment when the name is not being switched.
func (db *DB) lockAfterSwitch(name string) {
	for {
		db.mu.Lock()
		done := db.switching[name]
		if done == nil {
			return
		}
		db.mu.Unlock()
		<-done
	}
}

// handle is the name's handle, made if need be but not opened. It is for switches:
// it doesn't wait for their end.
func (db *DB) handle(name string) *Namespace {
	db.mu.Lock()
	defer db.mu.Unlock()
	n := db.open[name]
	if n == nil {
		n = newNamespace(db, name, db.optionsLocked(name))
		db.open[name] = n
	}
	return n
}

// supersede ends the handle of a name that is being switched: waiting calls and
// later ones answer ErrSuperseded, and the files are closed when it returns. The
// next look-up makes another handle.
func (db *DB) supersede(n *Namespace) error {
	err := n.end(ErrSuperseded)
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.open[n.name] == n {
		delete(db.open, n.name)
	}
	return err
}
