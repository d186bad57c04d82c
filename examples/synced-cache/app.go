package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// items is how many keys there are.
const items = 1000

func itemKey(n int) string { return fmt.Sprintf("item/%04d", n) }

// #region read

// reader reads through to the relayer.
func reader(relayer *client.Client) func(ctx context.Context, key string) (Value, error) {
	return func(ctx context.Context, key string) (Value, error) {
		v, err := relayer.KV().Get(ctx, []byte(key))
		var answer *client.Error
		switch {
		case err == nil:
			return Value{Data: v.Data, Found: true, At: v.Position}, nil
		case errors.Is(err, client.ErrNotFound) && errors.As(err, &answer):
			return Value{At: answer.Position}, nil
		}
		return Value{}, err
	}
}

// #endregion read

// app is the application: it reads through its cache, and lets be seen what it does.
type app struct{ cache *Cache }

func (a app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /get/{key...}", a.get)
	mux.HandleFunc("GET /read", a.read)
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.cache.Stats()) })
	return mux
}

// get answers one key, and where it came from.
func (a app) get(w http.ResponseWriter, r *http.Request) {
	v, source, err := a.cache.Get(r.Context(), r.PathValue("key"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("X-Cache", string(source))
	if !v.Found {
		http.Error(w, "no such item", http.StatusNotFound)
		return
	}
	_, _ = w.Write(v.Data) // the reader may have gone
}

// read does what an application does all the time: it reads n items, some far more often than others.
func (a app) read(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		http.Error(w, "n is missing: say how many items to read", http.StatusBadRequest)
		return
	}
	popular := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), 1.1, 1, items-1)
	before := time.Now()
	for range n {
		if _, _, err := a.cache.Get(r.Context(), itemKey(int(popular.Uint64()))); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	answer(w, map[string]any{"reads": n, "ns_per_read": time.Since(before).Nanoseconds() / int64(max(n, 1))})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}
