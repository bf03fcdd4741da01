package board

import (
	"context"
	"testing"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

// session begins or ends the gateway's session, as fleet tells it.
func (r *rig) session(up bool) {
	r.t.Helper()
	r.do(func(tx *store.Tx) error { return r.Link(tx, "gw-7w", up, r.now) })
}

// pass lets time pass second by second, running what falls due, and gives the
// second in which the alert paged, 0 for never.
func (r *rig) pass(seconds int) (paged int) {
	r.t.Helper()
	for s := range seconds {
		r.now += second
		r.sweepNow()
		if n := r.pages(); n > 1 || n == 1 && paged > 0 {
			r.t.Fatalf("second %d: paged again", s+1)
		} else if n == 1 {
			paged = s + 1
		}
	}
	return paged
}

func TestPromise11AHeldAlertWaitsForItsGatewayAndPagesWhenThatDoesNotTellItsEnd(t *testing.T) {
	restart := func(r *rig) {
		r.restart()
		r.session(false) // as fleet does before anybody connects
		if err := r.holdAnew(context.Background()); err != nil {
			r.t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		tear func(r *rig)
		then func(r *rig)
		want int // seconds after the tear, or in the session, until it pages; 0 = never
	}{
		"the session only lasts":           {func(*rig) {}, func(*rig) {}, 10},
		"the link tears for good":          {func(r *rig) { r.session(false) }, func(*rig) {}, 30},
		"the cloud restarts":               {restart, func(*rig) {}, 30},
		"the cloud restarts an hour later": {func(r *rig) { r.now += 3600 * second; restart(r) }, func(*rig) {}, 30},
		"the gateway is back and has ended it": {
			func(r *rig) { r.session(false); r.pass(29) },
			func(r *rig) { r.session(true); r.take(true, r.ended(id(1), 2)); r.Released(r.t.Context(), "gw-7w") }, 0,
		},
		"the cloud restarts, and the gateway has ended it": {
			func(r *rig) { r.now += 3600 * second; restart(r); r.pass(29) },
			func(r *rig) { r.session(true); r.take(true, r.ended(id(1), 2)); r.Released(r.t.Context(), "gw-7w") }, 0,
		},
		"the gateway is back, and tells no more": {
			func(r *rig) { r.session(false); r.pass(20) }, func(r *rig) { r.session(true) }, 10,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.session(true)
			r.take(true, r.raised(id(1), 1, alert.High))
			c.tear(r)
			c.then(r)
			if got := r.pages(); got != 0 {
				t.Fatalf("paged %d times at once", got)
			}
			if got := r.pass(120); got != c.want {
				t.Errorf("paged after %d s, want %d", got, c.want)
			}
		})
	}
}

func TestALinkThatTearsAgainAndAgainHoldsAnAlertForAMinuteAtMost(t *testing.T) {
	r := newRig(t)
	r.session(true)
	r.take(true, r.raised(id(1), 1, alert.High))
	paged := 0
	for n := range 20 {
		r.session(n%2 == 1)
		if got := r.pass(8); got != 0 {
			paged = n*8 + got
		}
	}
	if paged != 60 {
		t.Errorf("paged after %d s, want 60", paged)
	}
}

func TestAHoldThatHasEndedLeavesNoTimer(t *testing.T) {
	r := newRig(t)
	r.take(true, r.raised(id(1), 1, alert.High), r.raised(id(2), 1, alert.High))
	r.take(true, r.ended(id(1), 2))
	if err := r.Released(t.Context(), "gw-7w"); err != nil {
		t.Fatal(err)
	}
	r.do(func(tx *store.Tx) error {
		due, err := tx.NextTimer()
		if due != 0 {
			t.Errorf("a timer is due at %d", due)
		}
		return err
	})
}

func TestPromise11WhatBeganAndEndedBeforeItCouldPageIsLateAndWhatIsStillTrueIsNot(t *testing.T) {
	type want struct {
		late, open bool
		pages      int
	}
	over := want{late: true}
	news := want{open: true, pages: 1}
	released := func(r *rig) { r.Released(r.t.Context(), "gw-7w") }
	raised := func(r *rig) alert.Event { return r.raised(id(1), 1, alert.High) }
	latched := func(r *rig) alert.Event { e := raised(r); e.Condition.Latch = true; return e }
	acked := func(r *rig) alert.Event {
		return alert.Event{Alert: id(1), Author: alert.Gateway, N: 2, Type: alert.Acknowledged, At: r.now, By: "station-1", Until: r.now + 3600*second}
	}
	for name, c := range map[string]struct {
		tell func(r *rig)
		want want
	}{
		"begun and ended before the session": {func(r *rig) { r.take(true, raised(r), r.ended(id(1), 2)); released(r) }, over},
		"the same in two batches":            {func(r *rig) { r.take(true, raised(r)); r.take(true, r.ended(id(1), 2)); released(r) }, over},
		"the same though the ward had acknowledged": {
			func(r *rig) { r.take(true, raised(r), acked(r)); r.take(true, r.ended(id(1), 3)); released(r) }, over,
		},
		"ended while it was held": {func(r *rig) { r.take(true, raised(r)); r.take(false, r.ended(id(1), 2)); released(r) }, over},
		"ended in the next session, with a torn link between": {
			func(r *rig) {
				r.take(true, raised(r))
				r.session(false)
				r.session(true)
				r.take(true, r.ended(id(1), 2))
				released(r)
			}, over,
		},
		"begun and ended in records that were long under way": {func(r *rig) { r.takeLate(raised(r), r.ended(id(1), 2)) }, over},

		"still true after the fold": {func(r *rig) { r.take(true, raised(r)); released(r) }, news},
		"ended after it had paged": {
			func(r *rig) { r.take(true, raised(r)); released(r); r.take(false, r.ended(id(1), 2)) }, want{pages: 1},
		},
		"ended in the next session's history, after it had paged": {
			func(r *rig) { r.take(true, raised(r)); released(r); r.take(true, r.ended(id(1), 2)); released(r) }, want{pages: 1},
		},
		"acknowledged in the ward, and ended in the next session's history": {
			func(r *rig) {
				r.take(true, raised(r), acked(r))
				released(r)
				r.take(true, r.ended(id(1), 3))
				released(r)
			}, want{},
		},
		"true in records that were long under way": {func(r *rig) { r.takeLate(raised(r)) }, news},
		"ended in such records, after it had paged": {
			func(r *rig) { r.takeLate(raised(r)); r.takeLate(r.ended(id(1), 2)) }, want{pages: 1},
		},
		"begun and ended at once, live": {func(r *rig) { r.take(false, raised(r), r.ended(id(1), 2)) }, want{}},
		// It stays until somebody resolves it, which nobody in the ward has done.
		"latched, and its condition over before the session": {
			func(r *rig) { r.take(true, latched(r), r.ended(id(1), 2)); released(r) }, want{late: true, open: true, pages: 1},
		},
		"latched, over, and resolved in the ward before the session": {
			func(r *rig) {
				resolved := alert.Event{Alert: id(1), Author: alert.Gateway, N: 3, Type: alert.Resolved, At: r.now, By: "station-1"}
				r.take(true, latched(r), r.ended(id(1), 2), resolved)
				released(r)
			}, over,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c.tell(r)
			var got want
			for _, x := range r.changes() {
				if x.Page {
					got.pages++
				}
				got.late, got.open = x.Alert.Late, x.Alert.Open()
			}
			if got != c.want {
				t.Errorf("told %+v, want %+v", got, c.want)
			}
			if a := r.alert(id(1)); a.Late != c.want.late || a.Held || a.History {
				t.Errorf("kept: late %v, held %v, history %v", a.Late, a.Held, a.History)
			}
		})
	}
}

// takeLate takes events of the session that were sent long after they were observed.
func (r *rig) takeLate(events ...alert.Event) {
	r.t.Helper()
	r.do(func(tx *store.Tx) error { return r.Take(tx, "gw-7w", []string{"7w"}, events, false, true) })
}
