package store

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"wardline/shared/alert"
)

func TestRetentionDeletesWhatIsOldAndNothingElse(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro()
	s := openAt(t, filepath.Join(t.TempDir(), "cloud.db"), func() int64 { return now })
	days := func(n int) int64 { return now - int64(n)*24*3600*1e6 }
	r := Retention{Vitals: 30 * day, Alerts: 365 * day, Feed: 7 * day, FeedRows: 1000, Commands: 30 * day, Acts: 7 * day, OddRecords: 90 * day, Tokens: 90 * day}

	at := now
	now = days(8)
	do(t, s, note("old"))
	now = at
	do(t, s, note("new"))
	do(t, s, func(tx *Tx) error {
		var list []Summary
		for i := range retainChunk + 100 { // more than one transaction removes
			list = append(list, summaryAt("12", days(31)-int64(i)*10e6))
		}
		list = append(list, summaryAt("12", days(29)))
		if err := tx.PutVitals(list); err != nil {
			return err
		}
		for n, age := range []int{31, 29} {
			err := tx.PutHole(Hole{Gateway: "gw", Lane: 3, From: days(age), To: days(age), Reason: "quota"})
			if err == nil {
				err = tx.AddCommand(Command{ID: fmt.Sprint(n), Gateway: "gw", MadeAt: days(age), Payload: []byte("{}")})
			}
			if err == nil {
				_, _, _, err = tx.AddAct("anna", fmt.Sprint(n), "a", alert.Acknowledged, days(age-23))
			}
			if err == nil {
				err = tx.AddToken(Token{ID: fmt.Sprint(n), SecretHash: []byte{1}, Gateway: "gw", ExpiresAt: days(age + 60)})
			}
			if err != nil {
				return err
			}
		}
		for id, age := range map[string]int{"old": 366, "new": 364, "open": 400} {
			a := Alert{Alert: alert.Alert{ID: alert.ID(id), Phase: alert.Over, EndedAt: days(age)}, Gateway: "gw"}
			a.Condition = alert.Condition{Ward: "7w", Kind: alert.Physiological, Priority: alert.High, Onset: days(age)}
			if id == "open" {
				a.Phase, a.EndedAt = alert.Active, 0
			}
			if err := tx.PutAlert(&a); err != nil {
				return err
			}
			e := alert.Event{Alert: alert.ID(id), Author: alert.Gateway, N: 1, At: days(age), Type: alert.Ended}
			if _, err := tx.AddEvent(e); err != nil {
				return err
			}
		}
		return nil
	})

	removed, err := s.Retain(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := Removed{"feed": 1, "vitals": retainChunk + 100, "hole": 1, "command": 1, "act": 1, "token": 1, "alert": 1}
	for table, n := range want {
		if removed[table] != n {
			t.Errorf("removed %d rows of %s, want %d", removed[table], table, n)
		}
	}
	if got := len(vitalsOf(t, s, "12", 0, math.MaxInt64)); got != 1 {
		t.Errorf("%d summaries are left, want 1", got)
	}
	for table, want := range map[string]int{"feed": 1, "alert": 2, "alert_event": 2, "hole": 1, "command": 1, "act": 1, "token": 1} {
		var got int
		view(t, s, func(tx *Tx) error { return tx.QueryRow(`SELECT count(*) FROM ` + table).Scan(&got) })
		if got != want {
			t.Errorf("%d rows of %s are left, want %d", got, table, want)
		}
	}
	if again, err := s.Retain(t.Context(), r); err != nil || len(again) != 0 {
		t.Errorf("a second time removed %v, %v", again, err)
	}
}
