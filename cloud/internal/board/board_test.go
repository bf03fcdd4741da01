package board

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

func TestANewAlertPagesOnceAndItsRepeatChangesNothing(t *testing.T) {
	r := newRig(t)
	e := r.raised(id(1), 1, alert.High)
	r.take(false, e)
	if got := r.pages(); got != 1 {
		t.Errorf("paged %d times, want once", got)
	}
	r.take(false, e, e)
	if got := r.changes(); len(got) != 0 {
		t.Errorf("a repeat made %d changes", len(got))
	}
}

// A gateway whose outbox was damaged tells again what it still knows, by the same
// numbers, and then how it stands.
func TestWhatIsToldAgainAfterADamagedOutboxChangesNothingAndWhatIsNewDoesNotPage(t *testing.T) {
	r := newRig(t)
	told := r.raised(id(1), 1, alert.High)
	r.take(false, told)
	if _, err := r.act(alert.Acknowledged, id(1), ""); err != nil {
		t.Fatal(err)
	}
	r.changes()
	before := r.alert(id(1))
	again := r.raised(id(1), 1, alert.Medium)
	again.Condition.Text = "other words under an old number"
	for _, hold := range []bool{true, false} {
		r.take(hold, again, told)
		if got := r.changes(); len(got) != 0 || !reflect.DeepEqual(r.alert(id(1)), before) {
			t.Errorf("hold %v: told again it made %+v", hold, got)
		}
	}
	update := alert.Event{Alert: id(1), Author: alert.Gateway, N: 5, Type: alert.Updated, At: r.now, Condition: r.condition(alert.High)}
	update.Condition.Text = "Heart rate 150 above 120 /min"
	r.take(true, again, update)
	list := r.changes()
	if len(list) != 1 || list[0].Page || list[0].Held || list[0].Alert.Late || list[0].Alert.Condition.Text != update.Condition.Text {
		t.Errorf("the update made %+v, want one change that does not page", list)
	}
}

func TestAWorsePriorityPagesAgainAndAMilderDoesNot(t *testing.T) {
	r := newRig(t)
	update := func(n uint32, p alert.Priority) alert.Event {
		return alert.Event{Alert: id(1), Author: alert.Gateway, N: n, Type: alert.Updated, At: r.now, Condition: r.condition(p)}
	}
	r.take(false, r.raised(id(1), 1, alert.Medium))
	r.pages()
	for i, step := range []struct {
		p    alert.Priority
		want int
	}{{alert.Low, 0}, {alert.Medium, 0}, {alert.High, 1}, {alert.Medium, 0}, {alert.High, 0}} {
		r.take(false, update(uint32(i+2), step.p))
		if got := r.pages(); got != step.want {
			t.Errorf("step %d to %s paged %d times, want %d", i, step.p, got, step.want)
		}
	}
}

func TestHistoryNeverPagesAndWhatIsStillTrueDoesWithItsTrueOnset(t *testing.T) {
	r := newRig(t)
	over, still := r.raised(id(1), 1, alert.High), r.raised(id(2), 1, alert.High)
	r.now += 3600 * second
	r.take(true, over, still)
	r.take(true, r.ended(id(1), 2))
	if got := r.pages(); got != 0 {
		t.Fatalf("paged %d times while the history was being taken", got)
	}
	if a := r.alert(id(2)); Sounds(a.Alert, a.Held, r.now) {
		t.Error("a held alert sounds")
	}
	if err := r.Released(t.Context(), "gw-7w"); err != nil {
		t.Fatal(err)
	}
	list := r.changes()
	if len(list) != 1 || list[0].Alert.ID != id(2) || !list[0].Page || list[0].Alert.Condition.Onset != still.Condition.Onset {
		t.Errorf("released %+v, want one page of the alert that is still true, with its onset", list)
	}
	if err := r.Released(t.Context(), "gw-7w"); err != nil || r.pages() != 0 {
		t.Errorf("a second release paged again (%v)", err)
	}
}

func TestAGatewaysOwnWordOfALostLinkIsShownAndPagesNobody(t *testing.T) {
	r := newRig(t)
	lost := func(a alert.ID, rule, kind string) alert.Event {
		e := r.raised(a, 1, alert.Medium)
		e.Condition.Kind, e.Condition.Bed = alert.Technical, ""
		e.Condition.Rule, e.Condition.Subject = rule, alert.Subject{Kind: kind, ID: "gw-7w"}
		return e
	}
	r.take(false, lost(id(1), "link-lost", "gateway"))
	r.take(true, lost(id(2), "link-lost", "gateway"))
	if err := r.Released(t.Context(), "gw-7w"); err != nil {
		t.Fatal(err)
	}
	list := r.changes()
	if len(list) != 2 {
		t.Fatalf("%d changes are shown, want 2", len(list))
	}
	for _, c := range list {
		if c.Page || c.Held || !c.Alert.Open() || Sounds(c.Alert, c.Held, r.now) {
			t.Errorf("page %v, held %v, open %v: %+v", c.Page, c.Held, c.Alert.Open(), c.Alert)
		}
	}
	r.take(false, lost(id(3), "broker-lost", "gateway"), lost(id(4), "link-lost", "relay"))
	if got := r.pages(); got != 2 {
		t.Errorf("other alerts paged %d times, want twice", got)
	}
}

func TestWhatAGatewayHasLostEndsAndOnlyThat(t *testing.T) {
	r := newRig(t)
	lost, known, overLatched, latched := r.raised(id(1), 1, alert.High), r.raised(id(2), 1, alert.High), r.raised(id(3), 1, alert.High), r.raised(id(4), 1, alert.Medium)
	overLatched.Condition.Latch, latched.Condition.Latch = true, true
	held, over := r.raised(id(5), 1, alert.High), r.raised(id(6), 1, alert.High)
	r.take(false, lost, known, overLatched, latched, over)
	r.take(true, held)
	r.take(false, r.ended(id(3), 2), r.ended(id(6), 2))
	r.do(func(tx *store.Tx) error {
		other := r.raised(id(9), 1, alert.High)
		other.Condition.Gateway = "gw-8w"
		return errors.Join(
			r.Take(tx, "gw-8w", []string{"7w"}, []alert.Event{other}, false, false),
			r.Odd(tx, "gw-7w", []string{"7w"}, "kind 99"))
	})
	endedAt := r.alert(id(3)).EndedAt
	r.now += 60 * second
	r.take(false, r.raised(id(7), 1, alert.High)) // since the hello
	r.now += second
	r.changes()
	forgotten := func() []Change {
		if err := r.Forgotten(t.Context(), "gw-7w", []alert.ID{id(2), id(7)}); err != nil {
			t.Fatal(err)
		}
		return r.changes()
	}
	list := forgotten()
	if len(list) != 4 {
		t.Errorf("%d changes, want 4", len(list))
	}
	for _, c := range list {
		if c.Page || c.Held || c.Alert.Open() {
			t.Errorf("page %v, held %v, open %v: %+v", c.Page, c.Held, c.Alert.Open(), c.Alert)
		}
	}
	for n, want := range map[int]struct {
		open  bool
		phase alert.Phase
		text  string
		by    string
	}{
		1: {false, alert.Over, forgottenText, ""}, 2: {true, alert.Active, "", ""}, 3: {false, alert.Latched, "", "system"},
		4: {false, alert.Latched, forgottenText, "system"}, 5: {false, alert.Over, forgottenText, ""}, 6: {false, alert.Over, "", ""},
		7: {true, alert.Active, "", ""}, 9: {true, alert.Active, "", ""},
	} {
		a := r.alert(id(n))
		if a.Open() != want.open || a.Phase != want.phase || a.EndText != want.text || a.Resolution().By != want.by {
			t.Errorf("alert %d: open %v, %s, %q, resolved by %q, want %+v", n, a.Open(), a.Phase, a.EndText, a.Resolution().By, want)
		}
	}
	if got := r.alert(id(3)).EndedAt; got != endedAt {
		t.Error("what had ended before got another end")
	}
	if err := r.Released(t.Context(), "gw-7w"); err != nil || r.pages() != 0 {
		t.Errorf("a forgotten alert paged when the held ones were released (%v)", err)
	}
	if again := forgotten(); len(again) != 0 {
		t.Errorf("a second time made %d changes", len(again))
	}
	r.take(false, r.ended(id(1), 2))
	if a := r.alert(id(1)); a.Open() {
		t.Errorf("the gateway's own end opened it: %+v", a)
	}
}

// The clock of a gateway is not what tells which alert came first: it may have
// been an hour ahead when the alert was raised, and set right since.
func TestWhatAGatewayHasLostEndsAlsoWhenItsClockWasSetBackMeanwhile(t *testing.T) {
	r := newRig(t)
	ahead := r.raised(id(1), 1, alert.Medium)
	ahead.At += 3600 * second
	ahead.Condition.Onset = ahead.At
	r.take(false, ahead)
	if err := r.Forgotten(t.Context(), "gw-7w", nil); err != nil {
		t.Fatal(err)
	}
	if a := r.alert(id(1)); a.Open() || a.EndText != forgottenText {
		t.Errorf("the alert from an hour ahead is open %v, %q", a.Open(), a.EndText)
	}
}

func TestAGatewaySpeaksOnlyForItself(t *testing.T) {
	r := newRig(t)
	r.do(func(tx *store.Tx) error {
		other := r.raised(id(9), 1, alert.High)
		other.Condition.Gateway, other.Condition.Ward = "gw-8w", "8w"
		return r.Take(tx, "gw-8w", []string{"8w"}, []alert.Event{other}, false, false)
	})
	r.changes()
	board, ward, gateway, broken := r.raised(id(1), 1, alert.High), r.raised(id(1), 1, alert.High), r.raised(id(1), 1, alert.High), r.raised(id(1), 0, alert.High)
	nowhere := r.raised(id(1), 1, alert.High)
	nowhere.Condition.Ward, nowhere.Condition.Bed = "", ""
	board.Author = alert.Board
	ward.Condition.Ward = "8w"
	gateway.Condition.Gateway = "gw-8w"
	for name, e := range map[string]alert.Event{
		"an event of the board's": board, "another ward": ward, "no ward": nowhere, "another gateway": gateway, "no number": broken,
		"another gateway's alert": r.ended(id(9), 2),
	} {
		err := r.c.Store.Do(t.Context(), store.Normal, func(tx *store.Tx) error {
			return r.Take(tx, "gw-7w", []string{"7w"}, []alert.Event{r.raised(id(2), 1, alert.Low), e}, false, false)
		})
		if _, ok := errors.AsType[*Refused](err); !ok {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if got := r.changes(); len(got) != 0 {
		t.Errorf("refused batches left %d changes", len(got))
	}
}

// TestTakeAgreesWithApply cuts random histories into random batches, repeats
// some, and holds what the board kept against a plain fold.
func TestTakeAgreesWithApply(t *testing.T) {
	r := newRig(t)
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 7))
		alerts := []alert.ID{id(int(seed)*10 + 1), id(int(seed)*10 + 2), id(int(seed)*10 + 3)}
		want := map[alert.ID]alert.Alert{}
		numbers := map[alert.ID]uint32{}
		var history []alert.Event
		for range 1 + random.IntN(25) {
			r.now += second
			a := alerts[random.IntN(len(alerts))]
			numbers[a] += 1 + uint32(random.IntN(2)) // holes are allowed
			e := r.randomEvent(random, a, numbers[a])
			history = append(history, e)
			var err error
			if want[a], err = alert.Apply(want[a], e); err != nil {
				t.Fatal(err)
			}
		}
		for at := 0; at < len(history); {
			n := 1 + random.IntN(len(history)-at)
			again := random.IntN(at + 1) // from where the gateway sends again
			r.take(random.IntN(2) == 0, history[again:at+n]...)
			if random.IntN(4) == 0 {
				r.take(false, history[at:at+n]...)
			}
			at += n
		}
		for a, w := range want {
			got := r.alert(a)
			got.Late, w.Late = false, false // of how it came here, which no event says
			if !reflect.DeepEqual(got.Alert, w) {
				t.Fatalf("seed %d: kept\n%+v\nwant\n%+v", seed, got.Alert, w)
			}
		}
	}
}

func (r *rig) randomEvent(random *rand.Rand, a alert.ID, n uint32) alert.Event {
	e := alert.Event{Alert: a, Author: alert.Gateway, N: n, At: r.now, By: "station-1", Via: "ward"}
	switch random.IntN(7) {
	case 0, 1:
		e.Type, e.Condition = alert.Raised, r.condition(alert.Priority(1+random.IntN(3)))
		e.Condition.Latch, e.Late = random.IntN(2) == 0, random.IntN(4) == 0
	case 2:
		e.Type, e.Condition = alert.Updated, r.condition(alert.Priority(1+random.IntN(3)))
	case 3:
		e.Type, e.Text = alert.Ended, "as the rule says"
	case 4:
		e.Type, e.Until, e.Priority = alert.Acknowledged, r.now+60*second, alert.High
	case 5:
		e.Type = alert.AckExpired
	case 6:
		e.Type, e.Text = alert.Commented, "seen"
	}
	return e
}
