package wal

import (
	"fmt"
	"path/filepath"
)

// BeginSegment begins a new segment behind the last record, so that the one before it
// can go once its records aren't needed. Nothing is done where the active one is
// empty and its header names its first LSN.
func (l *Log) BeginSegment() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	x := l.view.Load().active
	if x.empty() && x.seg.segHeader.first != 0 {
		return nil
	}
	if l.torn {
		if err := l.wipe(); err != nil {
			return err
		}
	}
	if err := l.sync(false); err != nil {
		return err
	}
	l.forgetNext()
	seg, w, err := l.build(l.spec(l.o.minSegmentSize(), continued(x), x.last+1))
	if err != nil {
		return l.failIfUnsure(err)
	}
	l.switchTo(seg, w, x.lastTime)
	return nil
}

// DropThrough removes the closed segments up to the one that holds lsn, that one
// included, whatever they contain: the log begins behind it. Files whose segment's
// number is in aside are moved to the path there, on the same file system, instead.
// Oldest first, each for good before the next one is touched, so that a crash leaves
// a log that begins later, never one with a gap. Readers that are not past them get
// ErrTrimmed. Nothing is done where the log begins behind lsn.
func (l *Log) DropThrough(lsn uint64, aside map[uint64]string) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.collect(); err != nil {
		return err
	}
	v := l.view.Load()
	if lsn >= v.active.first {
		return fmt.Errorf("cannot drop the log through LSN %d: the segment that begins with LSN %d isn't closed", lsn, v.active.first)
	}
	if err := l.anchor(v); err != nil {
		return err
	}
	for v.first() <= lsn {
		oldest := v.closed[0].seg
		var err error
		if to := aside[oldest.number]; to != "" {
			err = l.moveOldest(to)
		} else {
			err = l.removeOldest()
		}
		if err != nil {
			return err
		}
		v = l.view.Load()
	}
	return nil
}

// anchor has the active segment know its first LSN after a crash, also where it is
// the only one.
func (l *Log) anchor(v *view) error {
	if v.active.seg.segHeader.first != 0 {
		return nil
	}
	if v.active.empty() {
		return l.BeginSegment()
	}
	return l.sync(false)
}

// moveOldest moves the oldest segment's file out of the log's directory. Where that
// can't be done it is removed: that the log goes on matters more.
func (l *Log) moveOldest(to string) error {
	oldest := l.view.Load().closed[0].seg
	l.publish(func(v view) *view {
		v.closed = v.closed[1:]
		return &v
	})
	free := oldest.retire()
	if err := l.o.FS.Rename(oldest.path, to); err != nil {
		l.o.Logger.Warn("cannot set a segment aside; it is removed", "path", oldest.path, "to", to, "error", err)
		return l.discard(oldest.path, oldest.length, oldest.number, free)
	}
	if err := l.o.FS.SyncDir(filepath.Dir(to)); err != nil {
		l.o.Logger.Warn("cannot sync the directory of a segment that was set aside", "path", to, "error", err)
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return l.fail(fmt.Errorf("sync the log's directory: %w", err))
	}
	return nil
}
