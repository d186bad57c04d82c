package models

import (
	"errors"
	"fmt"
	"testing"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// BenchmarkSync brings an index of 50,000 vectors of 384 dimensions, as they may be
// stored, up to date: where nothing has changed, where one cell has, and from nowhere.
func BenchmarkSync(b *testing.B) {
	f := newFixture(b)
	f.client = f.connect(NewView(model, []string{space}, f.source))
	value := make([]byte, 4*384)
	const cells = 50_000
	for at := 0; at < cells; at += 5000 {
		f.update(func(t *dbkernel.Tx) error {
			var errs []error
			for i := range 5000 {
				errs = append(errs, t.PutModel(model, fmt.Appendf(nil, "vector-%06d", at+i), value))
			}
			return errors.Join(errs...)
		})
	}
	f.check(f.ns().Flush(f.ctx))
	var x index
	f.check(x.sync(f.ctx, f.client))
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			f.check(x.sync(f.ctx, f.client))
		}
	})
	b.Run("one cell", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			f.put("vector-000007", string(value))
			b.StartTimer()
			f.check(x.sync(f.ctx, f.client))
		}
	})
	b.Run("from nowhere", func(b *testing.B) {
		for b.Loop() {
			x.position = nil
			f.check(x.sync(f.ctx, f.client))
		}
		b.ReportMetric(float64(b.N)*cells/b.Elapsed().Seconds(), "cells/s")
	})
}

// BenchmarkCall makes calls that read a key and write it, through a connection in memory.
func BenchmarkCall(b *testing.B) {
	f := newFixture(b)
	c, _ := f.caller(f.count)
	for b.Loop() {
		if _, err := c.Call(f.ctx, Request{Namespace: space, Method: "add"}); err != nil {
			b.Fatal(err)
		}
	}
	got, err := f.client.Get(f.ctx, &pluginv1.GetRequest{Namespace: space, Keys: [][]byte{[]byte("n")}})
	if err != nil || string(got.GetItems()[0].GetValue()) != fmt.Sprint(b.N) {
		b.Errorf("counted %q of %d, %v", got.GetItems()[0].GetValue(), b.N, err)
	}
}
