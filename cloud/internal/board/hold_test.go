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
