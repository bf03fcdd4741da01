package local

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"wardline/shared/alert"
)

// Limits of responses (SPEC §12.3, §9.19).
const (
	maxResponse = 4096             // bytes
	maxBy       = 64               // bytes of a station's name
	maxStale    = 60 * time.Second // of a response that says when it was given
)

// The longest that a response lasts, and how long without minutes, by priority:
// high, medium, low. They hold in the ward, where the person stands at the bed.
// Audio pauses of patient monitors end after two minutes or so, and IEC
// 60601-1-8 wants the end to be indicated; a longer quiet needs an
// acknowledgement, by which somebody says that they act.
var (
	maxPause       = byPriority{2 * time.Minute, 5 * time.Minute, 10 * time.Minute}
	maxAcknowledge = byPriority{10 * time.Minute, 30 * time.Minute, time.Hour}
)

// maxStandBy bounds stand-by, which quiets a bed's technical alerts while its
// patient is away. It never quiets a physiological alert, nor one of the ward.
const maxStandBy = time.Hour

type byPriority struct{ high, medium, low time.Duration }

func (b byPriority) of(p alert.Priority) time.Duration {
	switch p {
	case alert.High:
		return b.high
	case alert.Medium:
		return b.medium
	}
	return b.low
}

// Act is what a person did.
type Act string

// The acts.
const (
	Acknowledge Act = "acknowledge" // I am acting
	PauseSound  Act = "pause_sound" // do not sound for a while
	StandBy     Act = "stand_by"    // the patient is away
)

// Response is a message of the response topic of a bed, or of a ward:
//
//	{"act":"acknowledge","alert":"4f…","by":"station-1","minutes":2,"at":1767268800250000}
//
// alert is an id or "all" of the bed or, on the ward's topic, of what is about no
// single bed; minutes (optional) is cut to what the
// priority allows; at (optional, µs UTC) is when the person acted.
type Response struct {
	Act     Act     `json:"act"`
	Alert   string  `json:"alert"`
	By      string  `json:"by"`
	Minutes float64 `json:"minutes"`
	At      int64   `json:"at"`
}

// Refusal is why a response does nothing: a word for a counter, and a sentence.
type Refusal struct{ Reason, Detail string }

func (r *Refusal) Error() string { return r.Detail }

// The reasons of refusals.
const (
	MalformedResponse = "malformed_response"
	UnknownAct        = "unknown_act"
	MissingBy         = "missing_by"
	StaleResponse     = "stale_response"
	NoSuchAlert       = "no_such_alert"
	NotAllowed        = "not_allowed"
)

func refusal(reason, format string, args ...any) error {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// ParseResponse reads a message of a response topic. retained is the message's
// flag: one that the broker had kept was not said just now. Errors are *Refusal.
func ParseResponse(payload []byte, retained bool, now int64) (Response, error) {
	var r Response
	if len(payload) > maxResponse {
		return r, refusal(MalformedResponse, "a response of %d bytes, at most %d", len(payload), maxResponse)
	}
	if err := json.Unmarshal(payload, &r); err != nil {
		return r, refusal(MalformedResponse, "a response that is not in its form: %v", err)
	}
	age := time.Duration(now-r.At) * time.Microsecond
	switch {
	case r.Act != Acknowledge && r.Act != PauseSound && r.Act != StandBy:
		return r, refusal(UnknownAct, "act %.32q is none of acknowledge, pause_sound, stand_by", r.Act)
	case r.By == "" || len(r.By) > maxBy || !plain(r.By):
		return r, refusal(MissingBy, "by must name the station, in 1 to %d bytes of printable text", maxBy)
	case r.Alert == "":
		return r, refusal(NoSuchAlert, `alert must be an alert's id or "all"`)
	case r.Minutes < 0:
		return r, refusal(MalformedResponse, "minutes is %g, want 0 or more", r.Minutes)
	case retained:
		return r, refusal(StaleResponse, "the response was published retained, so nobody knows when it was given")
	case r.At != 0 && (age > maxStale || age < -maxStale):
		return r, refusal(StaleResponse, "the response was given %s from now, at most %s is borne", age.Round(time.Second), maxStale)
	}
	return r, nil
}

// plain says whether a name can be shown as it is: it turns no terminal's state
// and no line's direction around.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}

// Events is what r does to the open alerts of its bed, or of its ward: events of the gateway
// without a number, one an alert. Errors are *Refusal.
func (r Response) Events(open []alert.Alert, now int64) ([]alert.Event, error) {
	var out []alert.Event
	found := false
	for _, a := range open {
		if !a.Open() || r.Alert != "all" && r.Alert != string(a.ID) {
			continue
		}
		found = true
		if r.Act == StandBy && (a.Condition.Kind == alert.Physiological || a.Condition.Bed == "") {
			continue
		}
		out = append(out, r.event(a, now))
	}
	switch {
	case !found && r.Alert == "all":
		return nil, refusal(NoSuchAlert, "there is no open alert here")
	case !found:
		return nil, refusal(NoSuchAlert, "alert %.40q is not open here", r.Alert)
	case len(out) == 0:
		return nil, refusal(NotAllowed, "stand-by quiets a bed's technical alerts only: acknowledge what is physiological or about the ward")
	}
	return out, nil
}

func (r Response) event(a alert.Alert, now int64) alert.Event {
	p := a.Condition.Priority
	e := alert.Event{Alert: a.ID, Author: alert.Gateway, At: now, By: r.By, Via: "ward", Priority: p}
	most := maxStandBy
	switch r.Act {
	case Acknowledge:
		e.Type, most = alert.Acknowledged, maxAcknowledge.of(p)
	case PauseSound:
		e.Type, e.Text, most = alert.Silenced, "sound paused in the ward", maxPause.of(p)
	default:
		e.Type, e.Text = alert.Silenced, "stand-by"
	}
	lasts := most
	if r.Minutes > 0 && r.Minutes < most.Minutes() {
		lasts = time.Duration(r.Minutes * float64(time.Minute))
	}
	e.Until = now + lasts.Microseconds()
	return e
}
