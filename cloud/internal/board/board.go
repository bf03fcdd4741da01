// Package board is the life of an alert in the cloud: it folds what the gateways
// tell, takes what people do, and runs what time brings.
//
// It promises that an event has its effect once however often it comes; that a
// person's act, its event, its place in the feed and the command that carries it
// to the gateway are one commit; that an acknowledgement which runs out while the
// alert is open pages again, also when the cloud was down at that instant; that
// history never pages and that what is still true does, with its true onset, also
// when the link tears or the cloud stops while a gateway's history is taken; and
// that a gateway which falls silent is itself an alert within [LinkLostAfter], and
// one that is revoked at once.
//
// It never decides a patient's condition, its identity or its priority: gateways
// do. The only alerts it raises are technical and its own, and the only ones of a
// gateway that it ends are those that the gateway has lost. It keeps nothing in
// memory: every call and every timer reads the rows that it decides on.
package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

// Errors that callers decide on.
var (
	ErrNotFound = store.ErrNotFound
	// ErrConflict means that the alert is not in a state for the act; the
	// error's text says why, for a clinician.
	ErrConflict = errors.New("the alert does not allow it")
	// ErrInvalid means that the act itself lacks something.
	ErrInvalid = errors.New("the act is not complete")
)

// Config joins the board to the rest.
type Config struct {
	Store *store.Store
	// Wake is told, after a commit, that [Board.Pending] has something new for a
	// gateway: a hint to its session, if there is one. It must not block. nil = it
	// waits until Pending is asked.
	Wake func(gateway string)
	Now  func() int64 // µs UTC; nil = the system's clock
	Log  *slog.Logger // nil = slog.Default()
}

// Board applies events and runs timers. Its methods may be called from any
// goroutine.
type Board struct{ c Config }

// New makes a board. Nothing happens by itself before [Board.Run].
func New(c Config) *Board {
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMicro() }
	}
	if c.Wake == nil {
		c.Wake = func(string) {}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Board{c}
}

// Refused is the answer to an event that the board will never take.
type Refused struct{ Reason string }

func (e *Refused) Error() string { return e.Reason }

// Take folds events from a gateway's lane, in their order, within the transaction
// that moves the lane's cursor. It may speak of its own wards only. With hold
// the events are from before the gateway's session, and an alert that would page
// waits for [Board.Released], within bounds: see holdFor. With late they were sent
// long after they were observed. An alert that began in events of either sort and
// has ended when it could first page is history and marked late; one that is still
// true then is news, however old its records are. A [Refused] means that an event is not for this
// board to take; nothing of events was then written.
func (b *Board) Take(tx *store.Tx, gateway string, wards []string, events []alert.Event, hold, late bool) error {
	var order []alert.ID
	byAlert := map[alert.ID][]alert.Event{}
	for _, e := range events {
		if err := mayTell(gateway, wards, e); err != nil {
			return err
		}
		if byAlert[e.Alert] == nil {
			order = append(order, e.Alert)
		}
		byAlert[e.Alert] = append(byAlert[e.Alert], e)
	}
	held := make([]store.Alert, len(order))
	for i, id := range order {
		a, err := tx.Alert(id)
		if errors.Is(err, store.ErrNotFound) {
			a, err = store.Alert{Alert: alert.Alert{ID: id}, Gateway: gateway}, nil
		}
		if err != nil {
			return err
		}
		if a.Gateway != gateway {
			return &Refused{fmt.Sprintf("alert %s is another gateway's", id)}
		}
		held[i] = a
	}
	for i, id := range order {
		if err := b.fold(tx, &held[i], byAlert[id], hold, late); err != nil {
			return err
		}
	}
	return nil
}

// mayTell says why a gateway may not tell of e. A condition without a ward is
// refused too: nobody would see it.
func mayTell(gateway string, wards []string, e alert.Event) error {
	if err := e.Check(); err != nil {
		return &Refused{err.Error()}
	}
	if e.Author != alert.Gateway {
		return &Refused{fmt.Sprintf("an event of author %s cannot come from a gateway", e.Author)}
	}
	c := e.Condition
	if c == nil {
		return nil
	}
	if c.Gateway != gateway && c.Gateway != alert.Unenrolled {
		return &Refused{fmt.Sprintf("the condition is of gateway %q", c.Gateway)}
	}
	if !slices.Contains(wards, c.Ward) {
		return &Refused{fmt.Sprintf("ward %q is not one of the gateway's", c.Ward)}
	}
	return nil
}

// fold applies one alert's events and writes what follows from them. Whether the
// alert is late is of how it came here: no event of its gateway's says so.
func (b *Board) fold(tx *store.Tx, a *store.Alert, events []alert.Event, hold, late bool) error {
	changed := false
	for _, e := range events {
		fresh, err := tx.AddEvent(e)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		first := a.Phase == alert.Unknown
		if a.Alert, err = alert.Apply(a.Alert, e); err != nil {
			return &Refused{err.Error()}
		}
		a.History = a.History || (hold || late) && first && a.Phase != alert.Unknown
		changed = true
	}
	if !changed {
		return nil
	}
	if a.History && a.Phase != alert.Active {
		a.Late = true // it has ended before anybody here was told that it is true
	}
	a.History = a.History && !a.Late && (hold || a.Held)
	return b.write(tx, a, hold)
}

// write keeps a changed alert, its timer, and its place in the feed, and decides
// whether the change pages.
func (b *Board) write(tx *store.Tx, a *store.Alert, hold bool) error {
	now, was := b.c.Now(), a.Held
	page := decidePage(a, now, hold)
	if err := errors.Join(setAckTimer(tx, a), setHoldTimer(tx, a, was, now)); err != nil {
		return err
	}
	if err := tx.PutAlert(a); err != nil {
		return err
	}
	if a.Phase == alert.Unknown {
		return nil // a response overtook the alert; it is shown when that comes
	}
	payload, err := json.Marshal(Change{Alert: a.Alert, Version: a.Version, AtGateway: a.AtGateway(), Held: a.Held, Page: page})
	if err != nil {
		return err
	}
	tx.Feed(ChangeKind, a.Condition.Ward, payload)
	return nil
}

// decidePage says whether an alert pages now, and notes it in the alert. An
// alert pages when it is open, nobody's acknowledgement or silence holds, and it
// has not paged at this priority since. One that is latched is open: it pages also
// when it is late, because nobody in the ward has resolved it.
func decidePage(a *store.Alert, now int64, hold bool) bool {
	wants := a.Open() && !forTheWard(a.Condition) && !answered(a.Alert, now) && a.Condition.Priority > a.Paged
	a.Held = wants && (hold || a.Held) || a.History && a.Open() && !forTheWard(a.Condition)
	if !wants || a.Held {
		return false
	}
	a.Paged = a.Condition.Priority
	return true
}

// wardsLinkLost is the gateways' own rule of a lost link, about themselves. It is
// for the people in the ward. Told here it could only ever be late, because it
// comes by the very link that is back: it is shown, and nobody is paged. That a
// link is lost is the cloud's to say while it lasts, by its own rule.
const wardsLinkLost = "link-lost"

func forTheWard(c alert.Condition) bool {
	return c.Rule == wardsLinkLost && c.Subject.Kind == "gateway"
}

func answered(a alert.Alert, now int64) bool {
	if _, ok := a.Ack(now); ok {
		return true
	}
	_, ok := a.Silence(now)
	return ok
}

// Sounds reports whether a screen sounds for an alert at now: it is open, no
// acknowledgement or silence holds, and it is not held until its gateway's
// history has been taken. A gateway's own word of a lost link never sounds here.
func Sounds(a alert.Alert, held bool, now int64) bool {
	return a.Open() && !held && !forTheWard(a.Condition) && !answered(a, now)
}

// ChangeKind is the feed's kind for a [Change].
const ChangeKind = "alert"

// Change is what the feed holds of a changed alert.
type Change struct {
	Alert     alert.Alert `json:"alert"`
	Version   uint64      `json:"version"` // rises with every change of the alert
	AtGateway bool        `json:"at_gateway"`
	Held      bool        `json:"held,omitempty"`
	Page      bool        `json:"page,omitempty"` // the change pages
}

// ParseChange reads the payload of a feed row of [ChangeKind].
func ParseChange(payload []byte) (Change, error) {
	var c Change
	if err := json.Unmarshal(payload, &c); err != nil {
		return c, fmt.Errorf("read a change: %w", err)
	}
	return c, nil
}

// Released lets a gateway's held alerts page: its history has been taken, so what
// is open now is true now. When the session ends before, they stay held, and page
// at the latest when their timers fall due.
func (b *Board) Released(ctx context.Context, gateway string) error {
	return b.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		ids, err := tx.HeldAlerts(gateway)
		if err != nil {
			return err
		}
		for _, id := range ids {
			a, err := tx.Alert(id)
			if err != nil {
				return err
			}
			if err := b.release(tx, &a); err != nil {
				return err
			}
		}
		return nil
	})
}

// release lets a held alert page, if it still has to.
func (b *Board) release(tx *store.Tx, a *store.Alert) error {
	a.Held, a.History = false, false
	if err := tx.StopTimer(timerHold, string(a.ID)); err != nil {
		return err
	}
	return b.write(tx, a, false)
}

// forgottenText is why the board ends what its gateway lost.
const forgottenText = "The gateway no longer knows of it"

// Forgotten ends what a gateway has lost: its alerts that are open here and are not
// among open, which is all that is open there or was told of by this session. No
// clock is asked, for the gateway's may have been set meanwhile. Nobody else could
// end them: the gateway whose disk was damaged does not know of them, and what is
// true raises its alert anew. A latched one is resolved by the system.
func (b *Board) Forgotten(ctx context.Context, gateway string, open []alert.ID) error {
	known := map[alert.ID]bool{}
	for _, id := range open {
		known[id] = true
	}
	return b.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		list, err := openOf(tx, gateway)
		if err != nil {
			return err
		}
		for _, a := range list {
			if known[a.ID] {
				continue
			}
			if err := b.forget(tx, &a); err != nil {
				return err
			}
		}
		return nil
	})
}

// openOf lists a gateway's open alerts.
func openOf(tx *store.Tx, gateway string) (out []store.Alert, err error) {
	const page = 1000
	q := store.AlertQuery{Open: new(true), Limit: page}
	for {
		list, err := tx.Alerts(q)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if a.Gateway == gateway {
				out = append(out, a)
			}
		}
		if len(list) < page {
			return out, nil
		}
		last := list[page-1]
		q.BeforeOnset, q.BeforeID = last.Condition.Onset, last.ID
	}
}

func (b *Board) forget(tx *store.Tx, a *store.Alert) error {
	e := alert.Event{
		Alert: a.ID, Author: alert.Board, N: b.number(a.Alert) - 1, At: max(b.c.Now(), a.RaisedAt), Text: forgottenText,
	}
	var events []alert.Event
	if a.Phase == alert.Active {
		e.N++
		e.Type = alert.Ended
		events = append(events, e)
	}
	if a.Condition.Latch {
		e.N++
		e.Type, e.By = alert.Resolved, "system"
		events = append(events, e)
	}
	return b.fold(tx, a, events, false, false)
}
