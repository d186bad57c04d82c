package replicator

import "testing"

// TestHeartbeatsAreSpread: each of a thousand followers is told by one of as many heartbeats
// as there are parts, the parts are about as large, and stay so after one for everybody.
func TestHeartbeatsAreSpread(t *testing.T) {
	const followers = 1000
	f := &feed{Source: &Source{}, ring: ring{next: 1}, live: make(map[*cursor]struct{})}
	for range followers {
		f.join(1)
	}
	told := func() (n int) {
		for c := range f.live {
			if c.beatDueLocked() {
				c.had.number, c.had.all = f.beats.number, f.beats.forAll
				n++
			}
		}
		return n
	}
	for turn := range 3 {
		all := 0
		for range maxBeatParts {
			f.beats.number++
			n := told()
			if n != followers/maxBeatParts {
				t.Errorf("turn %d: heartbeat %d is for %d followers", turn, f.beats.number, n)
			}
			all += n
		}
		if all != followers {
			t.Errorf("turn %d: %d followers were told", turn, all)
		}
		f.beats.number++
		f.beats.forAll = f.beats.number
		if n := told(); n != followers {
			t.Errorf("a heartbeat for everybody is for %d followers", n)
		}
		for f.beats.number%maxBeatParts != 0 { // to where the next turn begins
			f.beats.number++
			told()
		}
	}
	for c := range f.live { // all leave but one, which is the only part then
		if len(f.live) > 1 {
			f.leave(c)
		}
	}
	f.beats.number++
	if n := told(); n != 1 {
		t.Error("the last follower isn't told")
	}
}
