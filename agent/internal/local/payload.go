// Package local is what is said inside the ward, with or without a cloud: the
// retained topics that a lamp, a sounder or a nurse's station follows, and what
// stations and buttons answer (SPEC §12).
//
// It promises that a bed's topic always holds the newest state that was given
// to Show, after every reconnect too, and that the heartbeat stops when the
// agent does. It decides nothing about an alert and keeps nothing on disk; what
// a response does is for the ward, which numbers and keeps the events made here.
package local

import (
	"encoding/json"
	"slices"

	"wardline/shared/alert"
)

// AlertsTopic is where a bed's alerts are shown, retained; with bed "", those of
// the ward that are about no single bed.
func AlertsTopic(ward, bed string) string {
	if bed == "" {
		return "wl/1/ward/" + ward + "/alerts"
	}
	return "wl/1/ward/" + ward + "/bed/" + bed + "/alerts"
}

// AgentTopic is where the agent's heartbeat is, retained; its last will too.
func AgentTopic(ward string) string { return "wl/1/ward/" + ward + "/agent" }

// Open is an open alert, and whether it is on the gateway's disk yet.
type Open struct {
	Alert   alert.Alert
	Durable bool
}

// bedAlerts is the payload of a bed's topic (SPEC §12.1):
//
//	{"at":1767268800250000,"ward":"7w","bed":"12","alerts":[
//	 {"id":"4f…","kind":"physiological","priority":"high","marks":"***","text":"Heart rate 156, limit 120",
//	  "rule":"adult-ward/hr-high","onset":1767268790000000,"active":true,
//	  "acknowledged":true,"acknowledged_by":"station-1","until":1767269390000000,
//	  "sound":false,"durable":true}]}
//
// Times are µs since 1970 UTC. The most urgent alert is first; "alerts":[] says
// that there is none. acknowledged_by and until are left out when not acknowledged
// (until also when the acknowledgement lasts as long as the condition).
type bedAlerts struct {
	At     int64       `json:"at"`
	Ward   string      `json:"ward"`
	Bed    string      `json:"bed"`
	Alerts []shownOpen `json:"alerts"`
}

type shownOpen struct {
	ID             alert.ID       `json:"id"`
	Kind           alert.Kind     `json:"kind"`
	Priority       alert.Priority `json:"priority"`
	Marks          string         `json:"marks"` // IEC 60601-1-8: ***, ** or *
	Text           string         `json:"text"`
	Rule           string         `json:"rule"` // pack/rule
	Onset          int64          `json:"onset"`
	Active         bool           `json:"active"` // false: latched, the condition is over
	Acknowledged   bool           `json:"acknowledged"`
	AcknowledgedBy string         `json:"acknowledged_by,omitempty"`
	Until          int64          `json:"until,omitempty"`
	Sound          bool           `json:"sound"`   // is it to be heard
	Durable        bool           `json:"durable"` // is it on the gateway's disk
}

// Alerts is the payload that shows a bed's open alerts at now (µs UTC). An alert
// that is not open is passed over. Only an
// acknowledgement or silence that was given in the ward stops the sound there.
func Alerts(ward, bed string, now int64, open []Open) []byte {
	open = slices.Clone(open)
	slices.SortStableFunc(open, func(x, y Open) int { return alert.Compare(x.Alert, y.Alert) })
	b := bedAlerts{At: now, Ward: ward, Bed: bed, Alerts: []shownOpen{}}
	for _, o := range open {
		if o.Alert.Open() {
			b.Alerts = append(b.Alerts, show(o, now))
		}
	}
	return encode(b)
}

func show(o Open, now int64) shownOpen {
	c := o.Alert.Condition
	s := shownOpen{
		ID: o.Alert.ID, Kind: c.Kind, Priority: c.Priority, Marks: c.Priority.Marks(), Text: c.Text,
		Rule: c.Pack + "/" + c.Rule, Onset: c.Onset, Active: o.Alert.Phase == alert.Active, Durable: o.Durable,
	}
	if ack, ok := o.Alert.Ack(now); ok {
		s.Acknowledged, s.AcknowledgedBy, s.Until = true, ack.By, ack.Until
	}
	// What was late when it was learnt of and has ended is never heard.
	s.Sound = !quiet(o.Alert, now) && (s.Active || !o.Alert.Late)
	return s
}

// quiet says whether somebody in the ward has stopped the sound.
func quiet(a alert.Alert, now int64) bool {
	a.Board = alert.Response{}
	_, acknowledged := a.Ack(now)
	_, silenced := a.Silence(now)
	return acknowledged || silenced
}

// Heartbeat is the payload of the agent's topic (SPEC §12.2), every 5 s:
//
//	{"at":1767268800000000,"gateway":"gw-7w","watching":true,"link":true,"link_since":1767260000000000,"every_s":5}
//
// The last will and last word is {"gateway":"gw-7w","watching":false}.
type Heartbeat struct {
	At        int64  `json:"at,omitempty"`
	Gateway   string `json:"gateway"`
	Watching  bool   `json:"watching"`
	Link      bool   `json:"link"`                 // is the cloud connected
	LinkSince int64  `json:"link_since,omitempty"` // since when link has been as it is; 0 = since the start
	EveryS    int    `json:"every_s,omitempty"`
}

// Will is the agent's last will, and its last word when it stops in order.
func Will(gateway string) []byte { return encode(Heartbeat{Gateway: gateway}) }

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("local: " + err.Error()) // strings, numbers and booleans
	}
	return b
}
