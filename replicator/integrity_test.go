package replicator

import (
	"errors"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

func markOf(lsn, digest uint64) dbkernel.Mark {
	return dbkernel.Mark{Epoch: 1, LSN: lsn, Digest: digest}
}

func newInspector() (*inspector, *time.Time) {
	now := time.Unix(1000, 0)
	return &inspector{now: func() time.Time { return now }}, &now
}

// TestComparesNewestCommonMark: marks are compared once both ends have them, however late
// this one comes.
func TestComparesNewestCommonMark(t *testing.T) {
	i, _ := newInspector()
	i.begin()
	i.hear([]dbkernel.Mark{markOf(10, 1)})
	i.compare(nil)
	if st := i.status(); st.ComparedLSN != 0 {
		t.Fatalf("%+v", st)
	}
	for lsn := uint64(20); lsn < 200; lsn += 10 { // the source goes on, and keeps only its newest
		i.hear([]dbkernel.Mark{markOf(lsn+10, 1), markOf(lsn, 1)})
	}
	i.compare([]dbkernel.Mark{markOf(30, 1), markOf(10, 1)})
	if st := i.status(); st.ComparedLSN != 30 || !st.Equal || st.Differences != 0 {
		t.Errorf("%+v", st)
	}
	i.compare([]dbkernel.Mark{markOf(30, 2)}) // compared already
	i.compare([]dbkernel.Mark{{Epoch: 2, LSN: 40, Digest: 1}, markOf(10, 2)})
	if st := i.status(); st.ComparedLSN != 30 || !st.Equal {
		t.Errorf("another history's mark was compared: %+v", st)
	}
	i.compare([]dbkernel.Mark{markOf(50, 7), markOf(30, 1)})
	if st := i.status(); st.ComparedLSN != 50 || st.Equal || st.Differences != 1 {
		t.Errorf("%+v", st)
	}
	for lsn := uint64(1000); lsn < 1000+10*maxTheirMarks; lsn++ {
		i.hear([]dbkernel.Mark{markOf(lsn, 1)})
	}
	if len(i.theirs) > maxTheirMarks {
		t.Errorf("%d marks are kept", len(i.theirs))
	}
}

// TestRepairsBackOff: a difference is repaired at once; one that stays is repaired ever more rarely, and one that
// is gone starts anew.
func TestRepairsBackOff(t *testing.T) {
	i, now := newInspector()
	i.begin()
	differ := func(lsn uint64) {
		i.hear([]dbkernel.Mark{markOf(lsn, 1)})
		i.compare([]dbkernel.Mark{markOf(lsn, 2)})
	}
	differ(10)
	if m, due := i.due(false); !due || m.LSN != 10 {
		t.Fatalf("%v, %v", m, due)
	}
	if _, due := i.due(true); due {
		t.Fatal("two repairs at the same time")
	}
	i.done(3, nil)
	repairs, lsn := 0, uint64(20)
	for range 24 * 3600 {
		*now = now.Add(time.Second)
		if lsn++; lsn%10 == 0 {
			differ(lsn)
		}
		if m, due := i.due(false); due {
			if m.LSN == 0 {
				t.Fatal("a repair of nothing")
			}
			repairs++
			i.done(0, errors.New("in vain"))
		}
	}
	if repairs < 40 || repairs > 70 {
		t.Errorf("%d repairs in a day", repairs)
	}
	if st := i.status(); st.Repaired != 3 || st.LastError != "in vain" {
		t.Errorf("%+v", st)
	}
	i.hear([]dbkernel.Mark{markOf(lsn+1, 1)})
	i.compare([]dbkernel.Mark{markOf(lsn+1, 1)})
	if _, due := i.due(false); due {
		t.Error("a repair although all is equal")
	}
	if _, due := i.due(true); !due {
		t.Error("bad ranges have to wait although all was equal")
	}
}
