package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

// Act is what a person does to an alert.
type Act struct {
	Alert alert.ID
	// Type is Acknowledged, AckExpired (the person withdraws an acknowledgement),
	// Commented or Resolved.
	Type  alert.Type
	By    string // the account
	Via   string // page, api
	Until int64  // Acknowledged: µs UTC; 0 = the default of the priority
	Text  string // a comment, a reason; at most MaxText bytes
	// Key makes the act happen once for the person, however often it is sent;
	// "" = it happens each time. At most MaxKey bytes.
	Key string
	// Also is done in the act's own transaction: its audit row, without which the
	// act does not happen. nil = nothing.
	Also func(*store.Tx) error
}

// Bounds of an act.
const (
	MaxText = 2000
	MaxKey  = 128
)

// ackFor is how long an acknowledgement holds when the person says nothing, and
// at most. The times are this product's: IEC 60601-1-8 asks that a pause be
// limited and leaves the length to the responsible organisation.
var ackFor = map[alert.Priority]struct{ usual, most time.Duration }{
	alert.High:   {10 * time.Minute, 30 * time.Minute},
	alert.Medium: {30 * time.Minute, 2 * time.Hour},
	alert.Low:    {time.Hour, 8 * time.Hour},
}

// Act is the one path for people's acts. It returns the alert as it stands
// afterwards. Its errors wrap [ErrNotFound], [ErrConflict] or [ErrInvalid]; the
// caller has seen to it that the person may.
func (b *Board) Act(ctx context.Context, x Act) (store.Alert, error) {
	if err := x.check(); err != nil {
		return store.Alert{}, err
	}
	var a store.Alert
	var made []store.Command
	err := b.c.Store.Do(ctx, store.High, func(tx *store.Tx) (err error) {
		if a, made, err = b.act(tx, x); err == nil && x.Also != nil {
			err = x.Also(tx)
		}
		return err
	})
	if err != nil {
		return store.Alert{}, err
	}
	b.wake(made)
	return a, nil
}

func (b *Board) wake(made []store.Command) {
	for _, c := range made {
		b.c.Wake(c.Gateway)
	}
}

func (x Act) check() error {
	switch {
	case x.By == "":
		return fmt.Errorf("%w: nobody acts", ErrInvalid)
	case len(x.Text) > MaxText:
		return fmt.Errorf("%w: a text has at most %d bytes", ErrInvalid, MaxText)
	case len(x.Key) > MaxKey:
		return fmt.Errorf("%w: an idempotency key has at most %d bytes", ErrInvalid, MaxKey)
	case (x.Type == alert.Commented || x.Type == alert.Resolved) && strings.TrimSpace(x.Text) == "":
		return fmt.Errorf("%w: say something", ErrInvalid)
	}
	switch x.Type {
	case alert.Acknowledged, alert.AckExpired, alert.Commented, alert.Resolved:
		return nil
	}
	return fmt.Errorf("%w: a person cannot %q", ErrInvalid, x.Type)
}

func (b *Board) act(tx *store.Tx, x Act) (store.Alert, []store.Command, error) {
	a, err := tx.Alert(x.Alert)
	if err != nil {
		return a, nil, fmt.Errorf("alert %.40q: %w", x.Alert, err)
	}
	now := b.c.Now()
	if x.Key != "" {
		fresh, usedFor, usedAs, err := tx.AddAct(x.By, x.Key, x.Alert, x.Type, now)
		if err != nil {
			return a, nil, err
		}
		if !fresh && (usedFor != x.Alert || usedAs != x.Type) {
			return a, nil, fmt.Errorf("%w: the idempotency key was used for another act", ErrConflict)
		}
		if !fresh {
			return a, nil, nil
		}
	}
	if err := allowed(a.Alert, x.Type, now); err != nil {
		return a, nil, err
	}
	e := alert.Event{Type: x.Type, By: x.By, Via: x.Via, Text: strings.TrimSpace(x.Text)}
	if x.Type == alert.Acknowledged {
		e.Priority = a.Condition.Priority
		e.Until = ackUntil(x.Until, e.Priority, now)
	}
	made, err := b.respond(tx, &a, e)
	return a, made, err
}

// allowed says why an alert does not let a person do something.
func allowed(a alert.Alert, t alert.Type, now int64) error {
	resolved := a.Resolution().Type != ""
	switch t {
	case alert.Acknowledged:
		if !a.Open() {
			return fmt.Errorf("%w: it is over, there is nothing to acknowledge", ErrConflict)
		}
	case alert.AckExpired:
		if _, ok := a.Ack(now); !ok {
			return fmt.Errorf("%w: no acknowledgement is in force", ErrConflict)
		}
	case alert.Resolved:
		switch {
		case resolved:
			return fmt.Errorf("%w: it is resolved already", ErrConflict)
		case a.Phase == alert.Over:
			return fmt.Errorf("%w: it has ended by itself, there is nothing to resolve", ErrConflict)
		case a.Phase != alert.Latched && a.Condition.Gateway != CloudGateway:
			return fmt.Errorf("%w: the condition is still true: acknowledge instead", ErrConflict)
		}
	}
	return nil
}

func ackUntil(asked int64, p alert.Priority, now int64) int64 {
	limits, ok := ackFor[p]
	if !ok {
		limits = ackFor[alert.High]
	}
	if asked <= now {
		return now + limits.usual.Microseconds()
	}
	return min(asked, now+limits.most.Microseconds())
}

// respond writes one event of the board's, complete but for its number and time,
// and returns the command that tells the gateway.
func (b *Board) respond(tx *store.Tx, a *store.Alert, e alert.Event) ([]store.Command, error) {
	e.Alert, e.Author, e.N = a.ID, alert.Board, b.number(a.Alert)
	// The later of ward's and board's word counts. A gateway whose clock is ahead
	// must not make what a person does now look older than what it follows, nor as
	// old as what a person did before.
	e.At = max(b.c.Now(), lastWord(a.Alert)+1)
	if _, err := tx.AddEvent(e); err != nil {
		return nil, err
	}
	var err error
	if a.Alert, err = alert.Apply(a.Alert, e); err != nil {
		return nil, err
	}
	if e.Type == alert.AckExpired {
		a.Paged = 0 // it pages again
	}
	var made []store.Command
	if a.Gateway != CloudGateway {
		c, err := commandFor(a.Gateway, e, b.c.Now())
		if err != nil {
			return nil, err
		}
		if err := tx.AddCommand(c); err != nil {
			return nil, err
		}
		a.ResponseN = e.N
		made = append(made, c)
	}
	return made, b.write(tx, a, false)
}

// numbersFrom is the second (2025, UTC) from which the board counts.
const numbersFrom = 1_735_689_600

// number is the board's next number for an alert. It rises with time, so that a
// board restored from a backup, which has forgotten what it said, does not say
// something new under a number that the gateway has folded already.
func (b *Board) number(a alert.Alert) uint32 {
	return max(a.N(alert.Board)+1, uint32(max(0, b.c.Now()/1e6-numbersFrom)))
}

// lastWord is when an alert's newest response was given, by its author's clock.
func lastWord(a alert.Alert) (at int64) {
	for _, r := range []alert.Response{a.Ward, a.Board} {
		at = max(at, r.Ack.At, r.Silence.At, r.Responsibility.At, r.Resolution.At)
	}
	for _, c := range a.Comments {
		at = max(at, c.At)
	}
	return at
}

// AlertEvent is the kind of a command that carries an event of the board's.
const AlertEvent = "alert_event"

// commandFor makes the command that tells a gateway of an event. Its id follows
// from the event; it has no deadline, because it is state and not a wish.
func commandFor(gateway string, e alert.Event, now int64) (store.Command, error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return store.Command{}, err
	}
	return store.Command{
		ID: fmt.Sprintf("%s-%d", e.Alert, e.N), Gateway: gateway, Kind: AlertEvent,
		Alert: e.Alert, N: e.N, Payload: payload, MadeAt: now,
	}, nil
}

// pendingLimit is how many commands Pending gives at a time; the rest follow as
// results come in.
const pendingLimit = 32

// Pending lists the commands that a gateway may carry out now, oldest first: of
// each alert the first that has no result. A gateway folds events by their
// numbers, so one that came after a later one would have no effect there, and
// yet be called done.
func (b *Board) Pending(ctx context.Context, gateway string) (list []store.Command, err error) {
	err = b.c.Store.View(ctx, func(tx *store.Tx) error {
		list, err = tx.PendingCommands(gateway, b.c.Now(), pendingLimit)
		return err
	})
	return list, err
}

// The outcomes of commands that the board decides on. What failed may be done
// when it is asked again.
const (
	Done   = "done"
	Failed = "failed"
)

// Finish takes a gateway's result of a command. A result of an unknown command,
// or a second one, changes nothing. A command that failed stays pending, and what
// follows it waits.
func (b *Board) Finish(ctx context.Context, gateway, id, outcome, detail string) error {
	if outcome == Failed {
		b.c.Log.Warn("a gateway could not carry out a command, it is asked again", "gateway", gateway, "command", id, "detail", detail)
		return nil
	}
	return b.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		c, fresh, err := tx.FinishCommand(gateway, id, outcome, detail, b.c.Now())
		if err != nil || !fresh || c.Alert == "" || outcome != Done {
			return err
		}
		a, err := tx.Alert(c.Alert)
		if errors.Is(err, store.ErrNotFound) || err == nil && c.N <= a.AtGatewayN {
			return nil
		}
		if err != nil {
			return err
		}
		a.AtGatewayN = c.N
		return b.write(tx, &a, a.Held)
	})
}
