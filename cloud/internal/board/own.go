package board

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/alert"
)

// CloudGateway stands in the place of a gateway's id in the cloud's own alerts.
const CloudGateway = "cloud"

// LinkLostAfter is how long a gateway's link may be down before that is an alert.
const LinkLostAfter = 30 * time.Second

// A rule of the cloud's own. They are few and built in, because they speak of
// the cloud's machinery and not of patients.
type rule struct {
	id       string
	priority alert.Priority
	latch    bool // it tells of something that happened, and stays until resolved
}

var (
	linkLost   = rule{id: "gateway-link-lost", priority: alert.Medium}
	unreadable = rule{id: "record-unreadable", priority: alert.Low, latch: true}
	twoOfOne   = rule{id: "gateway-identity-conflict", priority: alert.Medium, latch: true}
	revoked    = rule{id: "gateway-revoked", priority: alert.Medium}
)

const (
	pack        = "cloud"
	packVersion = 1
)

// Link notes that a gateway's link went up or down at since (µs UTC). One that
// stays down for [LinkLostAfter] is an alert in each of its wards, with since as
// its onset, until it is up. What is held waits for a gateway that is away, and
// when it is back for the rest of its history.
func (b *Board) Link(tx *store.Tx, gateway string, up bool, since int64) error {
	wait := awayFor
	if up {
		wait = holdFor
	}
	if err := b.waitOn(tx, gateway, wait); err != nil {
		return err
	}
	if up {
		if err := tx.StopTimer(timerLink, gateway); err != nil {
			return err
		}
		return errors.Join(
			b.end(tx, linkLost, gatewaySubject(gateway), "the link is back"),
			b.end(tx, revoked, gatewaySubject(gateway), "the gateway is enrolled and connected again"),
		)
	}
	return tx.SetTimer(store.Timer{
		Kind: timerLink, Subject: gateway, Due: since + LinkLostAfter.Microseconds(), Version: uint64(since),
	})
}

// Gone raises an alert in each ward of a gateway that was revoked, since nobody is
// told of them from here any more. It lasts until the gateway is enrolled and
// connected again, or somebody resolves it because another serves the ward. A lost
// link of the gateway is an alert no longer.
func (b *Board) Gone(tx *store.Tx, gateway string) error {
	g, err := tx.Gateway(gateway)
	if err != nil {
		return err
	}
	for _, ward := range g.Wards {
		name := ward
		if w, err := tx.Ward(ward); err == nil {
			name = w.Name
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		text := fmt.Sprintf("No alert of %s comes here: gateway %s was revoked", name, gateway)
		if g.RevokedWhy != "" {
			text += " (" + g.RevokedWhy + ")"
		}
		if err := b.raise(tx, revoked, gatewaySubject(gateway), []string{ward}, text, b.c.Now()); err != nil {
			return err
		}
	}
	if err := tx.StopTimer(timerLink, gateway); err != nil {
		return err
	}
	return b.end(tx, linkLost, gatewaySubject(gateway), "the gateway was revoked")
}

// Odd raises an alert that a gateway's record cannot be read and was set aside.
// It stays until somebody resolves it; further records do not add alerts.
func (b *Board) Odd(tx *store.Tx, gateway string, wards []string, reason string) error {
	text := fmt.Sprintf("Gateway %s: a record could not be read and was set aside (%s)", gateway, reason)
	return b.raise(tx, unreadable, gatewaySubject(gateway), wards, text, b.c.Now())
}

// Conflict raises an alert that two gateways show one identity. It stays until
// somebody resolves it.
func (b *Board) Conflict(ctx context.Context, gateway string, wards []string, detail string) error {
	text := fmt.Sprintf("Gateway %s: two machines use this identity (%s)", gateway, detail)
	return b.c.Store.Do(ctx, store.High, func(tx *store.Tx) error {
		return b.raise(tx, twoOfOne, gatewaySubject(gateway), wards, text, b.c.Now())
	})
}

func gatewaySubject(id string) alert.Subject { return alert.Subject{Kind: "gateway", ID: id} }

// raise raises one alert in each ward that has none open of the rule and subject.
func (b *Board) raise(tx *store.Tx, r rule, s alert.Subject, wards []string, text string, onset int64) error {
	open, err := tx.OwnAlerts(r.id, s)
	if err != nil {
		return err
	}
	for _, ward := range wards {
		if slices.ContainsFunc(open, func(a store.Alert) bool { return a.Condition.Ward == ward }) {
			continue
		}
		if err := b.raiseIn(tx, r, s, ward, text, onset); err != nil {
			return err
		}
	}
	return nil
}

func (b *Board) raiseIn(tx *store.Tx, r rule, s alert.Subject, ward, text string, onset int64) error {
	previous, err := tx.LastOwnAlert(r.id, s, ward)
	if err != nil {
		return err
	}
	now := b.c.Now()
	// A gateway may have several wards, and each has its own alert of it.
	id := alert.Identify(CloudGateway+"/"+ward, s, r.id, onset)
	events := []alert.Event{{
		Alert: id, Author: alert.Board, N: 1, Type: alert.Raised, At: now,
		Condition: &alert.Condition{
			Gateway: CloudGateway, Ward: ward, Subject: s, Rule: r.id, Pack: pack, PackVersion: packVersion,
			Kind: alert.Technical, Priority: r.priority, Text: text, Onset: onset, Latch: r.latch, Previous: previous,
		},
	}}
	if r.latch {
		events = append(events, alert.Event{Alert: id, Author: alert.Board, N: 2, Type: alert.Ended, At: now, Text: "it happened once"})
	}
	return b.fold(tx, &store.Alert{Alert: alert.Alert{ID: id}, Gateway: CloudGateway}, events, false, false)
}

func (b *Board) end(tx *store.Tx, r rule, s alert.Subject, why string) error {
	open, err := tx.OwnAlerts(r.id, s)
	if err != nil {
		return err
	}
	for _, a := range open {
		e := alert.Event{
			Alert: a.ID, Author: alert.Board, N: a.N(alert.Board) + 1, Type: alert.Ended, At: b.c.Now(), Text: why,
		}
		if err := b.fold(tx, &a, []alert.Event{e}, false, false); err != nil {
			return err
		}
	}
	return nil
}
