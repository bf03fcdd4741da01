package board

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

const second = int64(1e6)

// rig is a board on a real store, with a clock that the test moves.
type rig struct {
	*Board
	t    *testing.T
	path string
	now  int64
	woke []string // gateways
	seen uint64   // cursor of changes
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "cloud.db"), now: 1_750_000_000 * second}
	r.open()
	return r
}

// open opens store and board, as a start of the cloud does.
func (r *rig) open() {
	r.t.Helper()
	s, err := store.OpenAt(r.path, func() int64 { return r.now })
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close() })
	r.Board = New(Config{Store: s, Now: func() int64 { return r.now }, Wake: func(gateway string) { r.woke = append(r.woke, gateway) }})
}

func (r *rig) restart() {
	r.t.Helper()
	if err := r.c.Store.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

func (r *rig) do(f func(tx *store.Tx) error) {
	r.t.Helper()
	if err := r.c.Store.Do(r.t.Context(), store.Normal, f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) take(hold bool, events ...alert.Event) {
	r.t.Helper()
	r.do(func(tx *store.Tx) error { return r.Take(tx, "gw-7w", []string{"7w"}, events, hold, false) })
}

func (r *rig) act(t alert.Type, id alert.ID, text string) (store.Alert, error) {
	return r.Act(r.t.Context(), Act{Alert: id, Type: t, By: "anna", Via: "page", Text: text})
}

func (r *rig) alert(id alert.ID) (a store.Alert) {
	r.t.Helper()
	err := r.c.Store.View(r.t.Context(), func(tx *store.Tx) (err error) {
		a, err = tx.Alert(id)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// changes is what the feed got since it was last asked.
func (r *rig) changes() (list []Change) {
	r.t.Helper()
	err := r.c.Store.View(r.t.Context(), func(tx *store.Tx) error {
		rows, err := tx.FeedAfter(r.seen, 10_000)
		for _, row := range rows {
			c, perr := ParseChange(row.Payload)
			err = errors.Join(err, perr)
			list, r.seen = append(list, c), row.Seq
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// pages counts the changes that page, since it was last asked.
func (r *rig) pages() (n int) {
	r.t.Helper()
	for _, c := range r.changes() {
		if c.Page {
			n++
		}
	}
	return n
}

// sweepNow runs what is due, as Run does.
func (r *rig) sweepNow() {
	r.t.Helper()
	if _, err := r.sweep(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

func id(n int) alert.ID { return alert.ID(fmt.Sprintf("%032x", n)) }

func (r *rig) raised(a alert.ID, n uint32, p alert.Priority) alert.Event {
	return alert.Event{Alert: a, Author: alert.Gateway, N: n, Type: alert.Raised, At: r.now, Condition: r.condition(p)}
}

func (r *rig) condition(p alert.Priority) *alert.Condition {
	return &alert.Condition{
		Gateway: "gw-7w", Ward: "7w", Bed: "12", Subject: alert.Subject{Kind: "binding", ID: "7w/12"}, Rule: "hr-high",
		Pack: "adult-ward", Kind: alert.Physiological, Priority: p, Text: "Heart rate 131 above 120 /min", Onset: r.now - 6*second,
	}
}

func (r *rig) ended(a alert.ID, n uint32) alert.Event {
	return alert.Event{Alert: a, Author: alert.Gateway, N: n, Type: alert.Ended, At: r.now}
}
