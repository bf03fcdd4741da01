package store

import (
	"fmt"
	"slices"
	"testing"

	"wardline/shared/alert"
)

func TestOfEachAlertTheOldestCommandWithoutAResultIsPending(t *testing.T) {
	s := open(t)
	add := func(a string, n uint32, madeAt, deadline int64) {
		do(t, s, func(tx *Tx) error {
			return tx.AddCommand(Command{ID: fmt.Sprint(a, n), Gateway: "gw-7w", Kind: "alert_event", Alert: alert.ID(a), N: n,
				Payload: []byte("{}"), MadeAt: madeAt, Deadline: deadline})
		})
	}
	pending := func(now int64, limit int) (ids []string) {
		t.Helper()
		do(t, s, func(tx *Tx) error {
			list, err := tx.PendingCommands("gw-7w", now, limit)
			for _, c := range list {
				ids = append(ids, c.ID)
			}
			return err
		})
		return ids
	}
	done := func(id string) {
		do(t, s, func(tx *Tx) error {
			_, _, err := tx.FinishCommand("gw-7w", id, "done", "", 9)
			return err
		})
	}
	add("a", 1, 50, 0)
	add("a", 2, 40, 0) // the cloud's clock had been set back
	add("b", 3, 60, 70)
	add("b", 10, 61, 0)
	add("c", 1, 45, 0)
	for _, step := range []struct {
		done  string
		now   int64
		limit int
		want  []string
	}{
		{"", 60, 10, []string{"c1", "a1", "b3"}},
		{"", 60, 2, []string{"c1", "a1"}},
		{"", 71, 10, []string{"c1", "a1", "b10"}}, // what has expired stands in nobody's way
		{"a1", 60, 10, []string{"a2", "c1", "b3"}},
		{"b3", 60, 10, []string{"a2", "c1", "b10"}},
		{"a2", 60, 10, []string{"c1", "b10"}},
	} {
		done(step.done)
		if got := pending(step.now, step.limit); !slices.Equal(got, step.want) {
			t.Errorf("with %q done, at %d: %q, want %q", step.done, step.now, got, step.want)
		}
	}
}
