// Package alert is the life of an alert: one episode with one identity from the
// bed to the screen, as a fold of its events.
//
// Both tiers keep events and fold them with the same Apply, so that they cannot
// disagree about an alert they have both heard everything of. The tier that
// detects a condition computes identity, priority and words once; nobody else
// does it again. The package is pure: no clock, no disk, no goroutine.
package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// ID is the identity of one episode: 32 lower-case hexadecimal digits.
type ID string

// Identify computes the identity of the episode that a rule began for a subject
// at onset (µs UTC, as first decided). A rule's version is no part of it: a new
// pack version goes on with the same episode.
func Identify(gateway string, s Subject, rule string, onset int64) ID {
	h := sha256.New()
	for _, part := range []string{gateway, s.Kind, s.ID, rule, strconv.FormatInt(onset, 10)} {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	return ID(hex.EncodeToString(h.Sum(nil)[:16]))
}

// Priority is one of the three of IEC 60601-1-8. A greater one is more urgent.
type Priority uint8

// The three priorities.
const (
	Low    Priority = 1
	Medium Priority = 2
	High   Priority = 3
)

// Kind tells the patient's condition from our ability to watch the patient.
type Kind string

// The two kinds.
const (
	Physiological Kind = "physiological"
	Technical     Kind = "technical"
)

// Author is who numbers an event: the gateway that watches the bed, or the
// board in the cloud. A person acts through one of the two.
type Author string

// The two authors.
const (
	Gateway Author = "gateway"
	Board   Author = "board"
)

// Type is what happened.
type Type string

// The events of the condition (its author detected it) and of the response
// (people's, and the board's).
const (
	Raised  Type = "raised"
	Updated Type = "updated"
	Ended   Type = "ended"

	Acknowledged Type = "acknowledged"
	AckExpired   Type = "acknowledgement_expired"
	Accepted     Type = "accepted"
	Rejected     Type = "rejected"
	PassedOn     Type = "passed_on"
	Silenced     Type = "silenced"
	Unsilenced   Type = "unsilenced"
	Escalated    Type = "escalated"
	Commented    Type = "commented"
	Resolved     Type = "resolved"
)

// Condition reports whether t belongs to the condition's axis.
func (t Type) Condition() bool { return t == Raised || t == Updated || t == Ended }

// Subject is whom or what an alert is about.
type Subject struct {
	Kind string `json:"kind"` // binding, sensor, relay, gateway
	ID   string `json:"id"`
}

// Evidence is one reading or limit that made a rule true.
type Evidence struct {
	Name  string  `json:"name"`           // hr, limit.hr.high, mean(hr,1m) …
	Value float64 `json:"value"`          // in Unit
	Unit  string  `json:"unit,omitempty"` // UCUM
	At    int64   `json:"at,omitempty"`   // when it was measured, µs UTC; 0 for a limit
}

// Unenrolled is the gateway in the conditions of one that no cloud knows yet. The
// cloud that it enrols with later knows whose they are by the certificate.
const Unenrolled = "unenrolled"

// Condition is what was detected, complete at raised and again at each update,
// so that the latest one explains itself without the rest.
type Condition struct {
	Gateway     string     `json:"gateway"` // "cloud" for the cloud's own technical alerts
	Ward        string     `json:"ward"`
	Bed         string     `json:"bed,omitempty"` // "" when it is about no single bed
	Subject     Subject    `json:"subject"`
	Sensor      string     `json:"sensor,omitempty"`
	Patient     string     `json:"patient,omitempty"` // a pseudonym, never a name
	Rule        string     `json:"rule"`
	Pack        string     `json:"pack"`
	PackVersion int        `json:"pack_version"`
	Family      string     `json:"family,omitempty"` // rules of one family supersede each other
	Code        string     `json:"code,omitempty"`   // MDC reference identifiers, event/source
	Kind        Kind       `json:"kind"`
	Priority    Priority   `json:"priority"`
	Text        string     `json:"text"`            // for a clinician, in words
	Onset       int64      `json:"onset"`           // when the condition became true, µs UTC
	Latch       bool       `json:"latch,omitempty"` // stays after its end until resolved
	Evidence    []Evidence `json:"evidence,omitempty"`
	Previous    ID         `json:"previous,omitempty"` // the last episode of the same rule and subject
}

// Event is one thing that happened to an alert. Its JSON form is what is kept on
// both tiers' disks, crosses the link and is shown by the API.
type Event struct {
	Alert  ID     `json:"alert"`
	Author Author `json:"author"`
	N      uint32 `json:"n"` // the author's own number for this alert, rising from 1; holes are allowed
	Type   Type   `json:"type"`
	At     int64  `json:"at"`             // when it happened, µs UTC by the author's clock
	Late   bool   `json:"late,omitempty"` // the condition was history when it was learnt of

	Condition *Condition `json:"condition,omitempty"` // raised, updated

	By       string   `json:"by,omitempty"`       // who acted: an account, a ward station, "system"
	Via      string   `json:"via,omitempty"`      // page, api, ward, link
	Until    int64    `json:"until,omitempty"`    // acknowledged, silenced: µs UTC; 0 = until the condition ends
	Priority Priority `json:"priority,omitempty"` // acknowledged, silenced: the priority that the person saw
	Text     string   `json:"text,omitempty"`     // a comment, a reason
	Step     int      `json:"step,omitempty"`     // escalated: the step reached, from 1
	To       string   `json:"to,omitempty"`       // passed_on: to whom
}

// Check reports what an event lacks to be folded.
func (e Event) Check() error {
	switch {
	case len(e.Alert) != 32:
		return fmt.Errorf("event of alert %q: an alert's id has 32 digits", e.Alert)
	case e.Author != Gateway && e.Author != Board:
		return fmt.Errorf("event of alert %s: author %q is neither gateway nor board", e.Alert, e.Author)
	case e.N == 0:
		return fmt.Errorf("event of alert %s: numbers start at 1", e.Alert)
	case e.At <= 0:
		return fmt.Errorf("event of alert %s: it has no time", e.Alert)
	case (e.Type == Raised || e.Type == Updated) && e.Condition == nil:
		return fmt.Errorf("event of alert %s: %s without a condition", e.Alert, e.Type)
	case e.Condition != nil && (e.Condition.Priority < Low || e.Condition.Priority > High):
		return fmt.Errorf("event of alert %s: priority %d is not one of 1, 2, 3", e.Alert, e.Condition.Priority)
	case !known[e.Type]:
		return fmt.Errorf("event of alert %s: unknown type %q", e.Alert, e.Type)
	}
	return nil
}

var known = map[Type]bool{
	Raised: true, Updated: true, Ended: true, Acknowledged: true, AckExpired: true, Accepted: true, Rejected: true,
	PassedOn: true, Silenced: true, Unsilenced: true, Escalated: true, Commented: true, Resolved: true,
}

// String is the priority's word.
func (p Priority) String() string {
	switch p {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	}
	return "none"
}

// Marks is the priority's symbol of IEC 60601-1-8: ***, ** or *.
func (p Priority) Marks() string { return "***"[:min(int(p), 3)] }

// MarshalText writes the priority's word.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a priority's word.
func (p *Priority) UnmarshalText(b []byte) error {
	switch string(b) {
	case "high":
		*p = High
	case "medium":
		*p = Medium
	case "low":
		*p = Low
	case "none", "":
		*p = 0
	default:
		return fmt.Errorf("priority %q is not one of high, medium, low", b)
	}
	return nil
}
