package board

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

func TestAnAcknowledgementIsOneCommitWithItsEventItsChangeAndItsCommand(t *testing.T) {
	r := newRig(t)
	r.take(false, r.raised(id(1), 1, alert.High))
	r.changes()
	a, err := r.act(alert.Acknowledged, id(1), "")
	if err != nil {
		t.Fatal(err)
	}
	x, ok := a.Ack(r.now)
	if !ok || x.By != "anna" || x.Until != r.now+10*60*second || a.AtGateway() {
		t.Errorf("acknowledged %+v, in force %v, at the gateway %v", x, ok, a.AtGateway())
	}
	list := r.changes()
	if len(list) != 1 || list[0].Page || list[0].AtGateway {
		t.Errorf("the feed got %+v", list)
	}
	pending, err := r.Pending(t.Context(), "gw-7w")
	if err != nil || len(pending) != 1 || len(r.woke) != 1 || r.woke[0] != "gw-7w" {
		t.Fatalf("pending %v, woke %v, %v", pending, r.woke, err)
	}
	for range 2 { // a Result that comes twice
		if err := r.Finish(t.Context(), "gw-7w", pending[0].ID, Done, ""); err != nil {
			t.Fatal(err)
		}
	}
	if list := r.changes(); len(list) != 1 || !list[0].AtGateway || list[0].Page {
		t.Errorf("after the result the feed got %+v", list)
	}
	if err := r.Finish(t.Context(), "gw-8w", pending[0].ID, Done, ""); err != nil {
		t.Error(err)
	}
	if pending, _ := r.Pending(t.Context(), "gw-7w"); len(pending) != 0 {
		t.Errorf("still pending: %v", pending)
	}
}

func TestAnAcknowledgementIsCappedByPriority(t *testing.T) {
	r := newRig(t)
	for n, most := range map[int]time.Duration{1: 8 * time.Hour, 2: 2 * time.Hour, 3: 30 * time.Minute} {
		r.take(false, r.raised(id(n), 1, alert.Priority(n)))
		a, err := r.Act(t.Context(), Act{Alert: id(n), Type: alert.Acknowledged, By: "anna", Until: r.now + 100*3600*second})
		if x, _ := a.Ack(r.now); err != nil || x.Until != r.now+most.Microseconds() {
			t.Errorf("priority %d: until %d after now, %v", n, x.Until-r.now, err)
		}
	}
}

func TestAnExpiredAcknowledgementPagesAgainAlsoWhenTheCloudWasDown(t *testing.T) {
	for _, restart := range []bool{false, true} {
		r := newRig(t)
		r.take(false, r.raised(id(1), 1, alert.High))
		if _, err := r.act(alert.Acknowledged, id(1), ""); err != nil {
			t.Fatal(err)
		}
		r.changes()
		r.now += 9 * 60 * second
		r.sweepNow()
		if got := r.changes(); len(got) != 0 {
			t.Errorf("before it expires: %+v", got)
		}
		if restart {
			r.restart()
		}
		r.now += 61 * second
		r.sweepNow()
		r.sweepNow()
		list := r.changes()
		if len(list) != 1 || !list[0].Page || list[0].Alert.Board.Ack.Type != alert.AckExpired || list[0].Alert.Board.Ack.By != "system" {
			t.Errorf("restart %v: the feed got %+v, want one page", restart, list)
		}
	}
}

func TestATimerOfWhatIsTakenCareOfDoesNothing(t *testing.T) {
	r := newRig(t)
	r.take(false, r.raised(id(1), 1, alert.High), r.raised(id(2), 1, alert.High), r.raised(id(3), 1, alert.High))
	for n := range 3 {
		if _, err := r.act(alert.Acknowledged, id(n+1), ""); err != nil {
			t.Fatal(err)
		}
	}
	r.take(false, r.ended(id(1), 2)) // it is over
	r.now += 60 * second
	if _, err := r.act(alert.Acknowledged, id(2), ""); err != nil { // it was acknowledged anew
		t.Fatal(err)
	}
	r.changes()
	r.now += 9*60*second + second
	r.sweepNow()
	if list := r.changes(); len(list) != 1 || list[0].Alert.ID != id(3) {
		t.Errorf("the feed got %+v, want the third alert alone", list)
	}
}

func TestAWithdrawnAcknowledgementPagesAgain(t *testing.T) {
	r := newRig(t)
	r.take(false, r.raised(id(1), 1, alert.High))
	if _, err := r.act(alert.AckExpired, id(1), ""); !errors.Is(err, ErrConflict) {
		t.Errorf("withdrawing what nobody gave: %v", err)
	}
	r.act(alert.Acknowledged, id(1), "")
	r.changes()
	if _, err := r.act(alert.AckExpired, id(1), ""); err != nil || r.pages() != 1 {
		t.Errorf("withdrawn: %v", err)
	}
}

func TestAPersonsActOutranksAWardsWhoseClockIsAhead(t *testing.T) {
	r := newRig(t)
	ward := alert.Event{Alert: id(1), Author: alert.Gateway, N: 2, Type: alert.Acknowledged, At: r.now + 300*second, By: "station-1",
		Until: r.now + 600*second, Priority: alert.High}
	r.take(false, r.raised(id(1), 1, alert.High), ward)
	a, err := r.act(alert.AckExpired, id(1), "")
	if _, ok := a.Ack(r.now); err != nil || ok {
		t.Errorf("withdrawn, but the acknowledgement is in force: %v, %v", ok, err)
	}
}

func TestEachResponseHasItsOwnInstantAlsoWhileAWardsClockIsAhead(t *testing.T) {
	r := newRig(t)
	ward := alert.Event{Alert: id(1), Author: alert.Gateway, N: 2, Type: alert.Acknowledged, At: r.now + 300*second, By: "station-1",
		Until: r.now + 600*second, Priority: alert.High}
	r.take(false, r.raised(id(1), 1, alert.High), ward)
	want := []alert.Type{alert.AckExpired, alert.Commented, alert.Acknowledged, alert.Commented, alert.AckExpired}
	for _, x := range want {
		if _, err := r.act(x, id(1), "said"); err != nil {
			t.Fatal(err)
		}
	}
	var last int64
	r.do(func(tx *store.Tx) error {
		events, err := tx.Events(id(1))
		for i, e := range events[2:] {
			if e.At <= last || e.At <= ward.At || e.Type != want[i] {
				t.Errorf("event %d is %s at %d, after one at %d; want %s", i, e.Type, e.At, last, want[i])
			}
			last = e.At
		}
		return err
	})
}

func TestTheNextCommandOfAnAlertWaitsForTheResultOfTheOneBefore(t *testing.T) {
	r := newRig(t)
	r.take(false, r.raised(id(1), 1, alert.High), r.raised(id(2), 1, alert.High))
	began := r.now/second - numbersFrom
	for range 3 {
		r.act(alert.Commented, id(1), "said")
		r.now -= second // the cloud's clock is set back
	}
	other := fmt.Sprintf("-%d", r.now/second-numbersFrom)
	r.act(alert.Acknowledged, id(2), "")
	n := func(i int64) string { return fmt.Sprintf("-%d", began+i) }
	for _, step := range []struct{ outcome, first, other string }{
		{"", n(0), other}, {Failed, n(0), other}, {Done, n(1), other}, {"refused", n(2), other}, {Done, "", other},
	} {
		var of [3]string // the alert's command that is pending, without the alert's id
		list, err := r.Pending(t.Context(), "gw-7w")
		if err != nil {
			t.Fatal(err)
		}
		if step.outcome != "" {
			for _, c := range list {
				if c.Alert == id(1) {
					if err := r.Finish(t.Context(), "gw-7w", c.ID, step.outcome, ""); err != nil {
						t.Fatal(err)
					}
				}
			}
			if list, err = r.Pending(t.Context(), "gw-7w"); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range list {
			n := 1
			if c.Alert == id(2) {
				n = 2
			}
			of[n] += strings.TrimPrefix(c.ID, string(c.Alert))
		}
		if of[1] != step.first || of[2] != step.other {
			t.Errorf("after %q the pending commands are %q, want %q and %q", step.outcome, of, step.first, step.other)
		}
	}
	if a := r.alert(id(1)); !a.AtGateway() {
		t.Error("all has its result, and it is not at the gateway")
	}
}

func TestOnlyWhatIsOverIsResolved(t *testing.T) {
	r := newRig(t)
	latched := r.raised(id(2), 1, alert.High)
	latched.Condition.Latch = true
	r.take(false, r.raised(id(1), 1, alert.High), latched, r.ended(id(2), 2), r.raised(id(3), 1, alert.High), r.ended(id(3), 2))
	_, err := r.act(alert.Resolved, id(1), "seen")
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "acknowledge instead") {
		t.Errorf("an active alert: %v", err)
	}
	if _, err := r.act(alert.Resolved, id(2), ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a word: %v", err)
	}
	if a, err := r.act(alert.Resolved, id(2), "seen"); err != nil || a.Open() {
		t.Errorf("a latched alert: open %v, %v", a.Open(), err)
	}
	for _, n := range []int{2, 3} {
		if _, err := r.act(alert.Resolved, id(n), "seen"); !errors.Is(err, ErrConflict) {
			t.Errorf("alert %d again: %v", n, err)
		}
	}
	if _, err := r.act(alert.Acknowledged, id(3), ""); !errors.Is(err, ErrConflict) {
		t.Errorf("acknowledging what is over: %v", err)
	}
	if _, err := r.act(alert.Commented, id(3), "was walking"); err != nil {
		t.Errorf("a comment on history: %v", err)
	}
	if _, err := r.act(alert.Commented, id(77), "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an alert that is not there: %v", err)
	}
	if _, err := r.act(alert.Escalated, id(1), "x"); !errors.Is(err, ErrInvalid) {
		t.Errorf("what a person cannot do: %v", err)
	}
}

func TestAnActWithAKeyHappensOnce(t *testing.T) {
	r := newRig(t)
	r.take(false, r.raised(id(1), 1, alert.High))
	r.changes()
	comment := Act{Alert: id(1), Type: alert.Commented, By: "anna", Text: "on my way", Key: "k1"}
	for range 3 {
		a, err := r.Act(t.Context(), comment)
		if err != nil || len(a.Comments) != 1 {
			t.Fatalf("%d comments, %v", len(a.Comments), err)
		}
	}
	if got := len(r.changes()); got != 1 || len(r.woke) != 1 {
		t.Errorf("%d changes, %d commands; want one each", got, len(r.woke))
	}
	other := comment
	other.Type = alert.Acknowledged
	if _, err := r.Act(t.Context(), other); !errors.Is(err, ErrConflict) {
		t.Errorf("the key for another act: %v", err)
	}
	other.By = "ben" // keys are each person's own
	if _, err := r.Act(t.Context(), other); err != nil {
		t.Error(err)
	}
	refused := Act{Alert: id(1), Type: alert.Resolved, By: "anna", Text: "x", Key: "k2"}
	for range 2 { // a refusal leaves the key unused
		if _, err := r.Act(t.Context(), refused); !errors.Is(err, ErrConflict) || strings.Contains(err.Error(), "key") {
			t.Errorf("refused: %v", err)
		}
	}
}

func gateway(link string, since int64) store.Gateway {
	return store.Gateway{ID: "gw-7w", Site: "main", Wards: []string{"7w", "8w"}, Link: link, LinkSince: since}
}

// link makes the gateway's link so, as fleet does.
func (r *rig) link(state string) {
	r.t.Helper()
	r.do(func(tx *store.Tx) error {
		return errors.Join(tx.PutGateway(gateway(state, r.now)), r.Link(tx, "gw-7w", state == store.LinkUp, r.now))
	})
}

func TestALinkLostForLongIsAnAlertInEachWardUntilItIsBack(t *testing.T) {
	r := newRig(t)
	r.link(store.LinkUp)
	r.link(store.LinkDown)
	lost := r.now
	r.now += 29 * second
	r.sweepNow()
	if got := r.changes(); len(got) != 0 {
		t.Fatalf("too early: %+v", got)
	}
	r.restart()
	r.now += 2 * second
	r.sweepNow()
	list := r.changes()
	if len(list) != 2 {
		t.Fatalf("raised %d alerts, want one in each ward", len(list))
	}
	for _, c := range list {
		if !c.Page || c.Alert.Condition.Kind != alert.Technical || c.Alert.Condition.Priority != alert.Medium || c.Alert.Condition.Onset != lost {
			t.Errorf("raised %+v", c)
		}
	}
	if _, err := r.act(alert.Acknowledged, list[0].Alert.ID, ""); err != nil || len(r.woke) != 0 {
		t.Errorf("acknowledging the cloud's own alert: %v, %d commands", err, len(r.woke))
	}
	r.changes()
	r.now += 60 * second
	r.link(store.LinkUp)
	list = r.changes()
	if len(list) != 2 || list[0].Alert.Open() || list[1].Alert.Open() || list[0].Page {
		t.Errorf("when it is back: %+v", list)
	}
	r.link(store.LinkDown)
	r.now += 31 * second
	r.sweepNow()
	if again := r.changes(); len(again) != 2 || again[0].Alert.Condition.Previous == "" {
		t.Errorf("a second time: %+v, want a new episode that names the last", again)
	}
}

func TestARevokedGatewayIsAnAlertInEachWardUntilItIsResolvedOrConnectedAgain(t *testing.T) {
	r := newRig(t)
	r.link(store.LinkDown)
	r.now += 31 * second
	r.sweepNow()
	r.changes()
	gone := func() []Change {
		r.now += second
		r.do(func(tx *store.Tx) error { return r.Gone(tx, "gw-7w") })
		return r.changes()
	}
	texts := map[string]alert.ID{}
	for _, c := range gone() {
		switch c.Alert.Condition.Rule {
		case "gateway-revoked":
			if !c.Page || c.Alert.Phase != alert.Active || c.Alert.Condition.Priority != alert.Medium || c.Alert.Condition.Kind != alert.Technical {
				t.Errorf("raised %+v", c)
			}
			texts[c.Alert.Condition.Text] = c.Alert.ID
		case "gateway-link-lost":
			if c.Alert.Open() || c.Page {
				t.Errorf("the lost link is still an alert: %+v", c)
			}
		}
	}
	seventh, ok := texts["No alert of 7w comes here: gateway gw-7w was revoked"]
	if !ok || len(texts) != 2 {
		t.Fatalf("raised %q, want one in each ward", texts)
	}
	if again := gone(); len(again) != 0 {
		t.Errorf("told again while it is open: %+v", again)
	}
	if _, err := r.act(alert.Resolved, seventh, "it was replaced"); err != nil {
		t.Error(err)
	}
	r.now += 60 * second
	r.sweepNow()
	if got := r.pages(); got != 0 {
		t.Errorf("paged %d times after it was resolved", got)
	}
	r.link(store.LinkUp)
	ended := 0
	for _, c := range r.changes() {
		if c.Alert.Open() {
			t.Errorf("connected again, and there still is %+v", c.Alert)
		}
		ended++
	}
	if ended != 1 {
		t.Errorf("%d alerts ended when the gateway was connected again, want the other ward's", ended)
	}
}

func TestAShortLossOrARevokedGatewayIsNoLostLink(t *testing.T) {
	r := newRig(t)
	r.link(store.LinkDown)
	r.now += 10 * second
	r.link(store.LinkUp)
	r.now += 60 * second
	r.sweepNow()
	r.link(store.LinkDown)
	r.do(func(tx *store.Tx) error {
		g := gateway(store.LinkDown, r.now)
		g.RevokedAt = r.now
		return tx.PutGateway(g)
	})
	r.now += 60 * second
	r.sweepNow()
	if got := r.changes(); len(got) != 0 {
		t.Errorf("raised %+v", got)
	}
}

func TestUnreadableRecordsAreOneAlertUntilItIsResolved(t *testing.T) {
	r := newRig(t)
	odd := func() {
		r.now += second
		r.do(func(tx *store.Tx) error { return r.Odd(tx, "gw-7w", []string{"7w"}, "kind 99") })
	}
	odd()
	odd()
	list := r.changes()
	if len(list) != 1 || !list[0].Page || list[0].Alert.Phase != alert.Latched {
		t.Fatalf("raised %+v, want one latched alert", list)
	}
	if _, err := r.act(alert.Resolved, list[0].Alert.ID, "told the technician"); err != nil {
		t.Fatal(err)
	}
	odd()
	if got := r.pages(); got != 1 {
		t.Errorf("after it was resolved the next record raised %d alerts", got)
	}
}

func TestPromise12AnActWithoutItsAuditRowDoesNotHappen(t *testing.T) {
	r := newRig(t)
	r.take(false, r.raised(id(1), 1, alert.High))
	sick := errors.New("the audit log takes no row")
	_, err := r.Act(t.Context(), Act{Alert: id(1), Type: alert.Acknowledged, By: "anna", Also: func(*store.Tx) error { return sick }})
	if !errors.Is(err, sick) {
		t.Errorf("the act fails with %v", err)
	}
	if a := r.alert(id(1)); a.Board.N != 0 || len(r.woke) != 0 {
		t.Errorf("the alert has changed: %+v, sent %v", a.Board, r.woke)
	}
}

// TestARestoredBoardSaysNothingNewUnderANumberThatAGatewayKnows: what the board
// did after the backup is forgotten there, and known at the gateway.
func TestARestoredBoardSaysNothingNewUnderANumberThatAGatewayKnows(t *testing.T) {
	r := newRig(t)
	r.take(false, r.raised(id(1), 1, alert.High))
	backup := r.alert(id(1)).Alert
	for range 3 {
		r.act(alert.Acknowledged, id(1), "")
		r.now += 10 * second
	}
	known := r.alert(id(1)).N(alert.Board)
	if next := r.number(backup); next <= known {
		t.Errorf("the restored board goes on with number %d, the gateway knows up to %d", next, known)
	}
}
