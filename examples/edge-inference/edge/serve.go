package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/payments"
)

// maxPayment bounds what is read of a request.
const maxPayment = 4 << 10

func handler(current *holder) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /decide", func(w http.ResponseWriter, r *http.Request) {
		p, err := readPayment(w, r)
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		now := current.Load()
		if now == nil {
			refuse(w, http.StatusServiceUnavailable, "no release has arrived yet: try again")
			return
		}
		answer, err := now.release.Decide(p)
		if err != nil {
			refuse(w, http.StatusNotFound, err.Error())
			return
		}
		reply(w, http.StatusOK, answer)
	})
	mux.HandleFunc("GET /release", func(w http.ResponseWriter, _ *http.Request) {
		now := current.Load()
		if now == nil {
			refuse(w, http.StatusServiceUnavailable, "no release has arrived yet: try again")
			return
		}
		reply(w, http.StatusOK, struct {
			Release  int             `json:"release"`
			Position client.Position `json:"position"`
			arrival
		}{now.release.Number(), now.release.Position(), now.arrival})
	})
	return mux
}

func readPayment(w http.ResponseWriter, r *http.Request) (p payments.Payment, err error) {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPayment)).Decode(&p); err != nil {
		return p, fmt.Errorf("the payment can't be read: %w: send card, amount, hour, x and y as JSON", err)
	}
	return p, p.Check()
}

func refuse(w http.ResponseWriter, status int, why string) {
	reply(w, status, map[string]string{"error": why})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // it fails where the client has gone
}
