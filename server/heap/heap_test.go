package heap

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		floor, live uint64
		want        int
	}{
		{64 << 20, 0, 100},
		{64 << 20, 1 << 20, 6300},
		{64 << 20, 16 << 20, 300},
		{64 << 20, 32 << 20, 100},
		{64 << 20, 1 << 30, 100},
		{0, 1 << 20, 100},
	} {
		if got := percent(c.floor, c.live); got != c.want {
			t.Errorf("percent(%d, %d) = %d, expected %d", c.floor, c.live, got, c.want)
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
	eventually("a small heap", func() bool { return goal() >= MaxFloor })
	large := make([]byte, MaxFloor)
	eventually("a large heap", func() bool { return gogc() == defaultPercent })
	runtime.KeepAlive(large)
	eventually("a small heap again", func() bool { return gogc() > defaultPercent })
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
