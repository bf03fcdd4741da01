package board

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

// The kinds of timers.
const (
	timerAck  = "acknowledgement" // subject: an alert; version: when it was given
	timerLink = "link"            // subject: a gateway; version: since when it is down
	timerHold = "hold"            // subject: an alert that is held; version: since when it is
)

// How long the page of a held alert waits for the rest of its gateway's history.
// A gateway that does not come back to tell it is an alert itself by then.
const (
	holdFor    = 10 * time.Second // of a session
	awayFor    = LinkLostAfter    // without a session
	heldAtMost = 60 * time.Second // in all, however often the link tears, while the cloud runs
)

// sweepEvery is how long a timer that another process set may go unnoticed.
const sweepEvery = time.Second

// sweepLimit is how many timers one transaction runs at most.
const sweepLimit = 100

// Run gives the gateways whose alerts were held when the cloud stopped time to
// come back, runs what else fell due meanwhile, and then runs each timer as it
// falls due, until ctx ends. It returns early only when the store is damaged or
// closed.
func (b *Board) Run(ctx context.Context) error {
	if err := b.holdAnew(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("hold alerts anew: %w", err)
	}
	for ctx.Err() == nil {
		wait, err := b.sweep(ctx)
		if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrClosed) {
			return fmt.Errorf("run timers: %w", err)
		}
		if err != nil && ctx.Err() == nil {
			b.c.Log.Error("timers could not be run, trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// sweep runs what is due and says how long to wait for what comes next.
func (b *Board) sweep(ctx context.Context) (time.Duration, error) {
	var due int64
	next := func(tx *store.Tx) (err error) {
		due, err = tx.NextTimer()
		return err
	}
	if err := b.c.Store.View(ctx, next); err != nil {
		return sweepEvery, err
	}
	for due > 0 && due <= b.c.Now() {
		var made []store.Command
		err := b.c.Store.Do(ctx, store.High, func(tx *store.Tx) (err error) {
			made, err = b.runDue(tx)
			return err
		})
		if err != nil {
			return sweepEvery, err
		}
		b.wake(made)
		if err := b.c.Store.View(ctx, next); err != nil {
			return sweepEvery, err
		}
	}
	if due == 0 {
		return sweepEvery, nil
	}
	return min(sweepEvery, time.Duration(due-b.c.Now())*time.Microsecond), nil
}

// A ripe timer is one that is due, with what it concerns.
type ripe struct {
	timer    store.Timer
	alert    store.Alert // of timerAck, timerHold
	priority alert.Priority
}

// runDue runs a bounded number of due timers, the most urgent first.
func (b *Board) runDue(tx *store.Tx) (made []store.Command, err error) {
	timers, err := tx.DueTimers(b.c.Now(), sweepLimit)
	if err != nil {
		return nil, err
	}
	var list []ripe
	for _, t := range timers {
		r := ripe{timer: t, priority: linkLost.priority}
		if t.Kind == timerAck || t.Kind == timerHold {
			r.alert, err = tx.Alert(alert.ID(t.Subject))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
			r.priority = r.alert.Condition.Priority
		}
		list = append(list, r)
		if err := tx.StopTimer(t.Kind, t.Subject); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(x, y ripe) int { return cmp.Compare(y.priority, x.priority) })
	for _, r := range list {
		more, err := b.runOne(tx, r)
		if err != nil {
			return nil, err
		}
		made = append(made, more...)
	}
	return made, nil
}

// runOne checks again that what a timer was set for still holds, and acts.
func (b *Board) runOne(tx *store.Tx, r ripe) ([]store.Command, error) {
	switch r.timer.Kind {
	case timerAck:
		a := r.alert
		x, _ := a.Ack(0)
		if a.ID == "" || !a.Open() || x.Type != alert.Acknowledged || uint64(x.At) != r.timer.Version {
			return nil, nil
		}
		return b.respond(tx, &a, alert.Event{Type: alert.AckExpired, By: "system"})
	case timerHold:
		if r.alert.ID == "" || !r.alert.Held {
			return nil, nil
		}
		return nil, b.release(tx, &r.alert)
	case timerLink:
		g, err := tx.Gateway(r.timer.Subject)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil || g.RevokedAt > 0 || g.Link != store.LinkDown || uint64(g.LinkSince) != r.timer.Version {
			return nil, err
		}
		text := fmt.Sprintf("Gateway %s: link lost. The ward is still watched by its gateway, but not from here", g.ID)
		return nil, b.raise(tx, linkLost, gatewaySubject(g.ID), g.Wards, text, g.LinkSince)
	}
	return nil, nil
}

// setAckTimer makes the timer of an alert fit its acknowledgement.
func setAckTimer(tx *store.Tx, a *store.Alert) error {
	x, _ := a.Ack(0)
	if !a.Open() || x.Type != alert.Acknowledged || x.Until == 0 {
		return tx.StopTimer(timerAck, string(a.ID))
	}
	return tx.SetTimer(store.Timer{Kind: timerAck, Subject: string(a.ID), Due: x.Until, Version: uint64(x.At)})
}

// setHoldTimer makes the timer of an alert fit whether it is held, and whether it
// was.
func setHoldTimer(tx *store.Tx, a *store.Alert, was bool, now int64) error {
	switch {
	case a.Held && !was:
		return tx.SetTimer(holdTimer(a.ID, now, now, holdFor))
	case was && !a.Held:
		return tx.StopTimer(timerHold, string(a.ID))
	}
	return nil
}

// holdTimer is the timer of an alert that is held since an instant and may wait
// from now on, but in all no longer than heldAtMost.
func holdTimer(id alert.ID, since, now int64, wait time.Duration) store.Timer {
	return store.Timer{
		Kind: timerHold, Subject: string(id), Version: uint64(since),
		Due: min(now+wait.Microseconds(), since+heldAtMost.Microseconds()),
	}
}

// waitOn lets a gateway's held alerts wait from now on, because its link changed.
func (b *Board) waitOn(tx *store.Tx, gateway string, wait time.Duration) error {
	ids, err := tx.HeldAlerts(gateway)
	if err != nil {
		return err
	}
	for _, id := range ids {
		now := b.c.Now()
		t, err := tx.Timer(timerHold, string(id))
		if errors.Is(err, store.ErrNotFound) { // held by a version that set none
			t.Version, err = uint64(now), nil
		}
		if err != nil {
			return fmt.Errorf("timer of held alert %s: %w", id, err)
		}
		if err := tx.SetTimer(holdTimer(id, int64(t.Version), now, wait)); err != nil {
			return err
		}
	}
	return nil
}

// holdAnew begins the hold of every held alert anew: while the cloud was down no
// gateway could tell how it went on.
func (b *Board) holdAnew(ctx context.Context) error {
	return b.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		ids, err := tx.HeldAlerts("")
		for _, id := range ids {
			now := b.c.Now()
			err = errors.Join(err, tx.SetTimer(holdTimer(id, now, now, awayFor)))
		}
		return err
	})
}
