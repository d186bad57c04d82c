package httpapi

import (
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// SetPatience makes slow clients slow at once. It is called before the first request.
func (a *API) SetPatience(d time.Duration) { a.patience = patience{d, d, d, d, d, d} }

// SetMemoryPatience is how long requests wait for memory. It is called before the first request.
func (a *API) SetMemoryPatience(d time.Duration) { a.patience.memory = d }

// SetMadePatience is how long requests wait for a namespace to be made. It is called before
// the first request.
func (a *API) SetMadePatience(d time.Duration) { a.made = d }

// TakeMemory takes all the memory of an API that has the least, and returns how to give it back.
func (a *API) TakeMemory(t *testing.T) (free func()) {
	const least = maxBody + dbkernel.MaxBatchLen + 4*largeBody
	if err := a.bodies.Acquire(t.Context(), least); err != nil {
		t.Fatal(err)
	}
	return func() { a.bodies.Release(least) }
}

// MemoryIsFree says whether all the memory is free of an API that has the least.
func (a *API) MemoryIsFree() bool {
	const least = maxBody + dbkernel.MaxBatchLen + 4*largeBody
	if !a.bodies.TryAcquire(least) {
		return false
	}
	a.bodies.Release(least)
	return true
}
