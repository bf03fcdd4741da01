package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wardline/shared/alert"
)

const now = int64(1_767_268_800_250_000)

func open(id string, p alert.Priority, k alert.Kind, change ...func(*alert.Alert)) alert.Alert {
	a := alert.Alert{ID: alert.ID(strings.Repeat(id, 32)), Phase: alert.Active, RaisedAt: now - 5e6,
		Condition: alert.Condition{Gateway: "gw-7w", Ward: "7w", Bed: "12", Rule: "hr-high", Pack: "adult-ward", Kind: k, Priority: p,
			Text: "Heart rate 156 above 120 /min", Onset: now - 10e6}}
	for _, f := range change {
		f(&a)
	}
	return a
}

func TestTheAlertsOfABedAreShownMostUrgentFirst(t *testing.T) {
	latched := open("b", alert.Medium, alert.Physiological, func(a *alert.Alert) {
		a.Phase, a.Condition.Latch = alert.Latched, true
		a.Ward.Ack = alert.Act{Type: alert.Acknowledged, By: "station-1", At: now - 1e6, Until: now + 60e6, Priority: alert.Medium}
	})
	got := Alerts("7w", "12", now, []Open{
		{Alert: open("a", alert.Low, alert.Technical), Durable: true},
		{Alert: latched, Durable: true},
		{Alert: open("c", alert.High, alert.Physiological)},
		{Alert: open("d", alert.High, alert.Physiological, func(a *alert.Alert) { a.Phase = alert.Over })},
	})
	golden(t, "testdata/alerts.json", got)
	golden(t, "testdata/none.json", Alerts("7w", "12", now, nil))
	golden(t, "testdata/heartbeat.json", encode(Heartbeat{At: now, Gateway: "gw-7w", Watching: true, Link: true, LinkSince: now - 60e6, EveryS: 5}))
	golden(t, "testdata/will.json", Will("gw-7w"))
}

// golden compares with a file; WRITE_GOLDEN=1 writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	got = append(got, '\n')
	if os.Getenv("WRITE_GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(got) != string(want) {
		t.Errorf("%s:\ngot  %swant %s%v", path, got, want, err)
	}
}

func TestOnlyTheWardStopsTheSoundInTheWard(t *testing.T) {
	ack := alert.Act{Type: alert.Acknowledged, By: "x", At: now - 1e6, Until: now + 60e6, Priority: alert.High}
	silence := ack
	silence.Type = alert.Silenced
	for _, c := range []struct {
		name   string
		change func(*alert.Alert)
		sound  bool
		acked  bool
	}{
		{"nobody", func(*alert.Alert) {}, true, false},
		{"ward acknowledged", func(a *alert.Alert) { a.Ward.Ack = ack }, false, true},
		{"ward paused", func(a *alert.Alert) { a.Ward.Silence = silence }, false, false},
		{"board acknowledged", func(a *alert.Alert) { a.Board.Ack = ack }, true, true},
		{"ward's is over", func(a *alert.Alert) { a.Ward.Ack = ack; a.Ward.Ack.Until = now }, true, false},
		{"a worse one now", func(a *alert.Alert) { a.Ward.Ack = ack; a.Ward.Ack.Priority = alert.Medium }, true, false},
		{"history", func(a *alert.Alert) { a.Phase, a.Late = alert.Latched, true }, false, false},
		{"late but still true", func(a *alert.Alert) { a.Late = true }, true, false},
	} {
		var b bedAlerts
		if err := json.Unmarshal(Alerts("7w", "12", now, []Open{{Alert: open("a", alert.High, alert.Physiological, c.change)}}), &b); err != nil {
			t.Fatal(err)
		}
		if a := b.Alerts[0]; a.Sound != c.sound || a.Acknowledged != c.acked {
			t.Errorf("%s: sound %v, acknowledged %v; want %v, %v", c.name, a.Sound, a.Acknowledged, c.sound, c.acked)
		}
	}
}

func TestResponsesAreCutToWhatThePriorityAllows(t *testing.T) {
	high, medium := open("a", alert.High, alert.Physiological), open("b", alert.Medium, alert.Technical)
	for _, c := range []struct {
		r     Response
		types string
		until []time.Duration
	}{
		{Response{Act: Acknowledge, Alert: "all", By: "s"}, "acknowledged acknowledged", []time.Duration{10 * time.Minute, 30 * time.Minute}},
		{Response{Act: PauseSound, Alert: "all", By: "s", Minutes: 3}, "silenced silenced", []time.Duration{2 * time.Minute, 3 * time.Minute}},
		{Response{Act: PauseSound, Alert: string(high.ID), By: "s", Minutes: 0.5}, "silenced", []time.Duration{30 * time.Second}},
		{Response{Act: StandBy, Alert: "all", By: "s", Minutes: 600}, "silenced", []time.Duration{time.Hour}},
	} {
		events, err := c.r.Events([]alert.Alert{high, medium}, now)
		if err != nil {
			t.Errorf("%+v: %v", c.r, err)
			continue
		}
		var types []string
		for i, e := range events {
			types = append(types, string(e.Type))
			if got := time.Duration(e.Until-now) * time.Microsecond; i < len(c.until) && got != c.until[i] {
				t.Errorf("%+v lasts %v, want %v", c.r, got, c.until[i])
			}
			e.N = 1
			if err := e.Check(); err != nil {
				t.Error(err)
			}
		}
		if got := strings.Join(types, " "); got != c.types {
			t.Errorf("%+v: events %s, want %s", c.r, got, c.types)
		}
	}
}

func TestResponsesThatAreRefusedSayWhy(t *testing.T) {
	a := open("a", alert.High, alert.Physiological)
	wide := open("e", alert.Medium, alert.Technical, func(x *alert.Alert) { x.Condition.Bed = "" }) // of the ward
	for _, c := range []struct {
		payload  string
		retained bool
		reason   string
	}{
		{`{"act":`, false, MalformedResponse},
		{`{"act":"acknowledge","alert":1,"by":"s"}`, false, MalformedResponse},
		{`{"act":"acknowledge","alert":"all","by":"s","minutes":-1}`, false, MalformedResponse},
		{`{"act":"acknowledge","alert":"` + strings.Repeat("x", 5000) + `"}`, false, MalformedResponse},
		{`{"act":"resolve","alert":"all","by":"s"}`, false, UnknownAct},
		{`{"act":"acknowledge","alert":"all"}`, false, MissingBy},
		{`{"act":"acknowledge","by":"s"}`, false, NoSuchAlert},
		{`{"act":"acknowledge","alert":"4f","by":"s"}`, false, NoSuchAlert},
		{`{"act":"acknowledge","alert":"all","by":"s"}`, true, StaleResponse},
		{fmt.Sprintf(`{"act":"acknowledge","alert":"all","by":"s","at":%d}`, now-61e6), false, StaleResponse},
		{`{"act":"stand_by","alert":"all","by":"s"}`, false, NotAllowed},
		{`{"act":"stand_by","alert":"` + string(wide.ID) + `","by":"s"}`, false, NotAllowed},
	} {
		r, err := ParseResponse([]byte(c.payload), c.retained, now)
		if err == nil {
			_, err = r.Events([]alert.Alert{a, wide}, now)
		}
		refused, ok := errors.AsType[*Refusal](err)
		if !ok || refused.Reason != c.reason || refused.Detail == "" {
			t.Errorf("%.60s: %v, want %s", c.payload, err, c.reason)
		}
	}
}

// ward is what retains.
type ward struct {
	mu   sync.Mutex
	down bool
	said []string
	kept map[string]string
}

func (w *ward) publish(topic string, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return errors.New("down")
	}
	w.said = append(w.said, topic)
	w.kept[topic] = string(payload)
	return nil
}

// set changes how the ward is, after everything else has come to rest.
func (w *ward) set(change func()) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func TestTheNewestIsShownAgainAfterAReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{kept: map[string]string{}}
		s := New(Config{Gateway: "gw-7w", Wards: []string{"7w", "8"}, Publish: w.publish,
			Link: func() (bool, int64) { return false, 0 }, Now: func() int64 { return time.Now().UnixMicro() }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		s.Show("7w", "12", []byte("old"))
		w.set(func() { w.down = true })
		s.Show("7w", "12", []byte("new"))
		time.Sleep(6 * time.Second)
		w.set(func() { w.down = false })
		time.Sleep(5 * time.Second) // what was owed is made up for by the next beat
		w.set(func() {
			if got := w.kept[AlertsTopic("7w", "12")]; got != "new" {
				t.Errorf("shown: %s", got)
			}
			w.kept = map[string]string{}
		})
		s.Connected()
		w.set(func() {
			if w.kept[AlertsTopic("7w", "12")] != "new" || w.kept[AgentTopic("7w")] == "" || w.kept[AgentTopic("8")] == "" {
				t.Errorf("after a reconnect: %v", w.kept)
			}
			w.said = nil
		})
		time.Sleep(10*time.Second + time.Millisecond)
		w.set(func() {
			if got := strings.Join(w.said, " "); strings.Count(got, AgentTopic("7w")) != 2 {
				t.Errorf("in 10 s: %s, want two heartbeats a ward", got)
			}
		})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsAboutNoSingleBedHasATopicOfItsWard(t *testing.T) {
	if got, want := AlertsTopic("7w", ""), "wl/1/ward/7w/alerts"; got != want {
		t.Errorf("the topic is %s, want %s", got, want)
	}
}
