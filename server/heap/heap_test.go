package heap

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		floor, live, scanned uint64
		want                 int
	}{
		{64 << 20, 0, 0, 1600}, // more would let the smallest heap grow beyond the floor
		{64 << 20, 1 << 20, 1 << 20, 1600},
		{64 << 20, 16 << 20, 16 << 20, 300},
		{64 << 20, 16 << 20, 24 << 20, 200},
		{64 << 20, 32 << 20, 32 << 20, 100},
		{64 << 20, 1 << 30, 1 << 30, 100},
		{8 << 20, 0, 0, 200},
		{0, 1 << 20, 1 << 20, 100},
	} {
		if got := percent(c.floor, c.live, c.scanned); got != c.want {
			t.Errorf("percent(%d, %d, %d) = %d, expected %d", c.floor, c.live, c.scanned, got, c.want)
		}
	}
}

// TestFloor looks at what the runtime goes by, before and after the heap has outgrown the floor.
func TestFloor(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Cleanup(func() { SetFloor(0) })
	gogc := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	goal := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); runtime.GC() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: GOGC is %d, the goal %d", what, gogc(), goal())
			}
		}
	}
	SetFloor(MaxFloor)
	const about = MaxFloor / 8
	small := func() bool { return goal() >= MaxFloor-about && goal() <= MaxFloor+about }
	if !small() {
		t.Errorf("at once the goal is %d", goal())
	}
	eventually("a small heap", small)
	large := make([]byte, MaxFloor)
	eventually("a large heap", func() bool { return gogc() == defaultPercent })
	runtime.KeepAlive(large)
	eventually("a small heap again", small)
	SetFloor(0)
	if got := gogc(); got != defaultPercent {
		t.Errorf("without a floor GOGC is %d", got)
	}
}

// TestUsersChoice: a GOGC in the environment is left as it is.
func TestUsersChoice(t *testing.T) {
	t.Setenv("GOGC", "50")
	SetFloor(MaxFloor)
	if floor != 0 {
		t.Errorf("the floor is %d", floor)
	}
}
