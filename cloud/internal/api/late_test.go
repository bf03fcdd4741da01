package api

import (
	"testing"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

func TestAnAlertThatWasOverBeforeTheCloudHeardOfItIsSaidToBeLate(t *testing.T) {
	w := open(t)
	news := w.raise(t, "7w", "12", "hr-high", night, false)
	w.take(t, "7w", alert.Event{Alert: news, Author: alert.Gateway, N: 2, Type: alert.Ended, At: night + 20*second})
	raised := alert.Event{Alert: alert.Identify("gw-7w", alert.Subject{}, "rr-high", night), Author: alert.Gateway, N: 1, Type: alert.Raised,
		At: night, Condition: &alert.Condition{Gateway: "gw-7w", Ward: "7w", Bed: "12", Rule: "rr-high", Kind: alert.Physiological,
			Priority: alert.Medium, Text: "Respiration 31 above 25 /min", Onset: night}}
	ended := alert.Event{Alert: raised.Alert, Author: alert.Gateway, N: 2, Type: alert.Ended, At: night + 30*second}
	w.do(t, func(tx *store.Tx) error {
		return w.board.Take(tx, "gw-7w", []string{"7w"}, []alert.Event{raised, ended}, true, true)
	})
	nurse := w.as(t, "clinician")
	for id, want := range map[alert.ID]bool{news: false, raised.Alert: true} {
		got := decoded[AlertStory](t, nurse.get("/api/v1/alerts/"+string(id)))
		if got.Late != want || got.Page || got.Open {
			t.Errorf("%s: late %v, page %v, open %v; want late %v", got.Rule, got.Late, got.Page, got.Open, want)
		}
	}
}
