package api

import "wardline/shared/alert"

// The messages of the live socket. A screen sends hello first, with the cursor
// that it holds, and then reads. Instants are µs since 1970 UTC.

// BedLive is the newest of every vital of a bed.
type BedLive struct {
	Bed         string              `json:"bed"`
	At          int64               `json:"at"`
	V           map[string]LiveItem `json:"v"`
	Contact     *bool               `json:"contact"`
	LeadsOff    []string            `json:"leads_off"`
	SilentSince int64               `json:"silent_since" doc:"0 while the sensor speaks"`
	Battery     *float64            `json:"battery" doc:"Share of a full battery"`
}

// LiveItem is [value, instant, quality 0 to 100].
type LiveItem [3]float64

// LinePoint is [instant, mean].
type LinePoint [2]float64

// Up is any message from a screen; T says which.
type Up struct {
	T string `json:"t"` // hello, wave, sound, pong

	Cursor string   `json:"cursor,omitempty"` // hello: "" for a snapshot
	Wards  []string `json:"wards,omitempty"`  // hello: none = all that the person may see

	Ward string `json:"ward,omitempty"` // wave
	Bed  string `json:"bed,omitempty"`  // wave
	On   bool   `json:"on,omitempty"`   // wave, sound

	Now int64 `json:"now,omitempty"` // pong: as in the ping
}

// Snapshot is the full state at a cursor.
type Snapshot struct {
	T      string         `json:"t" enum:"snapshot"`
	Cursor string         `json:"cursor"`
	Now    int64          `json:"now"`
	Wards  []SnapshotWard `json:"wards"`
	Alerts []Alert        `json:"alerts" doc:"The open ones, most urgent first"`
}

// SnapshotWard is a ward with what a wall needs of it.
type SnapshotWard struct {
	ID       string        `json:"id"`
	Name     string        `json:"name"`
	Beds     []SnapshotBed `json:"beds"`
	Gateways []Gateway     `json:"gateways"`
}

// SnapshotBed is a bed with its newest values and its last half hour.
type SnapshotBed struct {
	Bed
	Live *BedLive               `json:"live"`
	Line map[string][]LinePoint `json:"line" doc:"The last 30 minutes by vital"`
}

// Change is one change after a cursor: an alert, a gateway or a ward.
type Change struct {
	T       string   `json:"t" enum:"change"`
	Cursor  string   `json:"cursor"`
	Kind    string   `json:"kind" enum:"alert,gateway,ward"`
	Alert   *Alert   `json:"alert,omitempty"`
	Page    bool     `json:"page,omitempty" doc:"The screen sounds for this change"`
	Gateway *Gateway `json:"gateway,omitempty"`
	Ward    *Ward    `json:"ward,omitempty"`
}

// Vitals is what a ward's beds show now, once a second.
type Vitals struct {
	T    string    `json:"t" enum:"vitals"`
	Ward string    `json:"ward"`
	At   int64     `json:"at"`
	Beds []BedLive `json:"beds"`
}

// Gap says that the cursor is too old: send hello with an empty one.
type Gap struct {
	T string `json:"t" enum:"gap"`
}

// Ping comes every 5 s, so that a screen knows within 12 s that it is cut off.
type Ping struct {
	T   string `json:"t" enum:"ping"`
	Now int64  `json:"now"`
}

// Failure tells a screen what was refused.
type Failure struct {
	T       string  `json:"t" enum:"error"`
	Problem Problem `json:"problem"`
}

// AlertStory is an alert with everything that happened to it.
type AlertStory struct {
	Alert
	Events []alert.Event `json:"events" doc:"Oldest first, by at: when each happened by the clock of who wrote it. The cloud may have learnt of them in another order"`
}
