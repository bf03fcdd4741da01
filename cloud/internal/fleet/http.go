package fleet

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// Bounds of POST /enrol, which anybody can reach.
const (
	enrolBody      = 16 << 10 // bytes
	triesOfAddress = 10       // a minute, from one address
	triesOfAll     = 300      // a minute
)

type enrolRequest struct {
	Token string `json:"token"`
	CSR   string `json:"csr"` // PEM
}

// Handler is POST /enrol: {"token": …, "csr": …} to [Enrolled], or a problem of
// RFC 9457 with a reason.
func (f *Fleet) Handler() http.Handler { return http.HandlerFunc(f.serveEnrol) }

func (f *Fleet) serveEnrol(w http.ResponseWriter, r *http.Request) {
	if !f.tries.allow(f.c.Address(r.RemoteAddr), time.UnixMicro(f.c.Now())) {
		f.more.add(enrolling, 1)
		w.Header().Set("Retry-After", "60")
		problem(w, &Refusal{http.StatusTooManyRequests, TooMany, "too many tries: wait a minute"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, enrolBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		problem(w, &Refusal{http.StatusRequestEntityTooLarge, BadRequest, "the request is too large"})
		return
	}
	if err != nil { // the server bounds how long it may take
		problem(w, &Refusal{http.StatusRequestTimeout, BadRequest, "the request did not arrive whole"})
		return
	}
	var ask enrolRequest
	if err := json.Unmarshal(body, &ask); err != nil {
		problem(w, &Refusal{http.StatusBadRequest, BadRequest, "the request is not JSON with token and csr"})
		return
	}
	got, err := f.Enrol(r.Context(), ask.Token, ask.CSR, r.RemoteAddr)
	f.answer(w, got, err, "a gateway could not be enrolled")
}

func problem(w http.ResponseWriter, r *Refusal) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(r.Status)
	json.NewEncoder(w).Encode(map[string]any{
		"type": "about:blank", "title": http.StatusText(r.Status), "status": r.Status, "detail": r.Detail, "reason": r.Reason,
	})
}
