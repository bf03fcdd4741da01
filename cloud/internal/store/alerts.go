package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"wardline/shared/alert"
)

// Alert is one episode's row.
type Alert struct {
	alert.Alert        // the fold
	Gateway     string // whose lane it came by; "cloud" for the cloud's own
	Version     uint64 // rises by one with every change
	Paged       alert.Priority
	Held        bool // its page waits for the end of the gateway's fold
	History     bool // all of it came as history, and the gateway's fold has not ended
	ResponseN   uint32
	AtGatewayN  uint32
}

// AtGateway reports whether the gateway answered for the newest response.
func (a Alert) AtGateway() bool { return a.AtGatewayN >= a.ResponseN }

// alertState is the fold as it is kept, so that a field's name in Go may change.
type alertState struct {
	Alert   alert.Alert `json:"alert"`
	History bool        `json:"history,omitempty"`
}

const alertColumns = `gateway, version, paged, held, response_n, at_gateway_n, state`

// Alert finds an alert, [ErrNotFound] when there is none of that id.
func (tx *Tx) Alert(id alert.ID) (Alert, error) {
	return scanAlert(tx.QueryRow(`SELECT `+alertColumns+` FROM alert WHERE id = $1`, string(id)))
}

func scanAlert(row scanner) (Alert, error) {
	var a Alert
	var state []byte
	var held int64
	err := row.Scan(&a.Gateway, &a.Version, &a.Paged, &held, &a.ResponseN, &a.AtGatewayN, &state)
	if err != nil {
		return a, err
	}
	a.Held = held != 0
	var kept alertState
	if err := json.Unmarshal(state, &kept); err != nil {
		return a, fmt.Errorf("state of an alert: %w", err)
	}
	a.Alert, a.History = kept.Alert, kept.History
	return a, nil
}

// PutAlert writes an alert's row whole and raises its version, also in a.
func (tx *Tx) PutAlert(a *Alert) error {
	state, err := json.Marshal(alertState{a.Alert, a.History})
	if err != nil {
		return err
	}
	a.Version++
	c := a.Condition
	_, err = tx.Exec(`INSERT INTO alert (id, gateway, ward, bed, rule, subject, kind, priority, onset, ended_at, open,
			version, paged, held, response_n, at_gateway_n, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
		ON CONFLICT (id) DO UPDATE SET gateway = $2, ward = $3, bed = $4, rule = $5, subject = $6, kind = $7, priority = $8,
			onset = $9, ended_at = $10, open = $11, version = $12, paged = $13, held = $14, response_n = $15,
			at_gateway_n = $16, state = $17`,
		string(a.ID), a.Gateway, c.Ward, c.Bed, c.Rule, c.Subject.Kind+":"+c.Subject.ID, string(c.Kind), int64(c.Priority),
		c.Onset, a.EndedAt, flag(a.Open()), int64(a.Version), int64(a.Paged), flag(a.Held), int64(a.ResponseN),
		int64(a.AtGatewayN), string(state))
	if err != nil {
		return fmt.Errorf("write alert %s: %w", a.ID, err)
	}
	return nil
}

func flag(on bool) int64 {
	if on {
		return 1
	}
	return 0
}

// AddEvent writes an event; false when the same author's same number is there
// already.
func (tx *Tx) AddEvent(e alert.Event) (bool, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return false, err
	}
	n, err := affected(tx.Exec(`INSERT INTO alert_event (alert, author, n, at, event) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (alert, author, n) DO NOTHING`, string(e.Alert), string(e.Author), int64(e.N), e.At, string(text)))
	if err != nil {
		return false, fmt.Errorf("write event of alert %s: %w", e.Alert, err)
	}
	return n == 1, nil
}

// Events is everything that happened to an alert, by time.
func (tx *Tx) Events(id alert.ID) ([]alert.Event, error) {
	var out []alert.Event
	err := tx.each(func(row scanner) error {
		var text []byte
		if err := row.Scan(&text); err != nil {
			return err
		}
		var e alert.Event
		if err := json.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("event of alert %s: %w", id, err)
		}
		out = append(out, e)
		return nil
	}, `SELECT event FROM alert_event WHERE alert = $1 ORDER BY at, author, n`, string(id))
	return out, err
}

// AlertQuery says which alerts to list. The zero value is all of them.
type AlertQuery struct {
	Wards []string // nil = every ward
	Bed   string   // "" = every bed
	Open  *bool    // nil = open and not
	// Before is a place in the list: what comes after it, that is, what is older.
	// The zero value is the beginning.
	BeforeOnset int64
	BeforeID    alert.ID
	Limit       int // 0 = 100; at most 1000
}

// Alerts lists alerts of which the condition is known, the newest onset first.
func (tx *Tx) Alerts(q AlertQuery) ([]Alert, error) {
	where := []string{"kind <> ''"}
	var args []any
	arg := func(x any) string {
		args = append(args, x)
		return fmt.Sprintf("$%d", len(args))
	}
	if q.Wards != nil {
		in := []string{"''"} // nothing has no ward: an empty list finds nothing
		for _, w := range q.Wards {
			in = append(in, arg(w))
		}
		where = append(where, "ward IN ("+strings.Join(in, ", ")+")")
	}
	if q.Bed != "" {
		where = append(where, "bed = "+arg(q.Bed))
	}
	if q.Open != nil {
		where = append(where, fmt.Sprintf("open = %d", flag(*q.Open)))
	}
	if q.BeforeOnset != 0 || q.BeforeID != "" {
		o := arg(q.BeforeOnset)
		where = append(where, "(onset < "+o+" OR (onset = "+o+" AND id < "+arg(string(q.BeforeID))+"))")
	}
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	var out []Alert
	// The number of texts that this makes is bounded by the number of wards.
	err := tx.each(func(row scanner) error {
		a, err := scanAlert(row)
		out = append(out, a)
		return err
	}, `SELECT `+alertColumns+` FROM alert WHERE `+strings.Join(where, " AND ")+
		` ORDER BY onset DESC, id DESC LIMIT `+arg(min(limit, 1000)), args...)
	return out, err
}

// OwnAlerts lists the open alerts that the cloud raised by a rule for a subject.
func (tx *Tx) OwnAlerts(rule string, s alert.Subject) ([]Alert, error) {
	var out []Alert
	err := tx.each(func(row scanner) error {
		a, err := scanAlert(row)
		out = append(out, a)
		return err
	}, `SELECT `+alertColumns+` FROM alert WHERE gateway = 'cloud' AND open = 1 AND rule = $1 AND subject = $2
		ORDER BY ward, onset`, rule, s.Kind+":"+s.ID)
	return out, err
}

// LastOwnAlert is the newest alert, open or not, that the cloud raised by a rule
// for a subject in a ward; "" for none.
func (tx *Tx) LastOwnAlert(rule string, s alert.Subject, ward string) (alert.ID, error) {
	var id string
	err := tx.QueryRow(`SELECT id FROM alert WHERE gateway = 'cloud' AND rule = $1 AND subject = $2 AND ward = $3
		ORDER BY onset DESC LIMIT 1`, rule, s.Kind+":"+s.ID, ward).Scan(&id)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return alert.ID(id), err
}

// HeldAlerts lists the ids of a gateway's alerts that are held; of every gateway
// for "".
func (tx *Tx) HeldAlerts(gateway string) ([]alert.ID, error) {
	var out []alert.ID
	err := tx.each(func(row scanner) error {
		var id string
		err := row.Scan(&id)
		out = append(out, alert.ID(id))
		return err
	}, `SELECT id FROM alert WHERE held = 1 AND ($1 = '' OR gateway = $1) ORDER BY onset, id`, gateway)
	return out, err
}

// AddAct notes a person's act under its key; false, with the alert and type that
// the key was used for, when it was used before.
func (tx *Tx) AddAct(person, key string, id alert.ID, t alert.Type, at int64) (fresh bool, usedFor alert.ID, usedAs alert.Type, err error) {
	n, err := affected(tx.Exec(`INSERT INTO act (person, key, alert, type, at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (person, key) DO NOTHING`, person, key, string(id), string(t), at))
	if err != nil || n == 1 {
		return n == 1, id, t, err
	}
	var a, k string
	err = tx.QueryRow(`SELECT alert, type FROM act WHERE person = $1 AND key = $2`, person, key).Scan(&a, &k)
	return false, alert.ID(a), alert.Type(k), err
}
