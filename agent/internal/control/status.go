// Package control is how the field technician's tool talks to the agent that
// runs on the same gateway: HTTP over a unix socket that only the agent's own
// account and root can open.
//
// Status is a documented contract (wardline-agent status --json): fields are
// added, never renamed. The package holds no state of its own: it asks the agent.
package control

// Status is what an agent says of itself. Times are µs since 1970 UTC, 0 for
// never; spans are µs.
type Status struct {
	Version string `json:"version"`
	Site    string `json:"site"` // "" before enrolment
	Gateway string `json:"gateway"`
	Now     int64  `json:"now"`
	Up      int64  `json:"up"`    // since the agent started
	Clock   string `json:"clock"` // synchronised or free
	Broker  Link   `json:"broker"`
	Uplink  Link   `json:"uplink"`
	// Certificate is what the cloud knows the gateway by; none before the agent has
	// tried to connect with it.
	Certificate *Certificate `json:"certificate,omitempty"`

	Lanes   []Lane   `json:"lanes"`
	Outbox  Outbox   `json:"outbox"`
	Flash   *Flash   `json:"flash,omitempty"` // none where the system does not tell
	Sensors []Sensor `json:"sensors"`
	Relays  []Relay  `json:"relays"`
	Alerts  []Alert  `json:"alerts"`            // the open ones, most urgent first
	Intake  []Intake `json:"intake"`            // a source each
	Trouble []string `json:"trouble,omitempty"` // what is wrong with the agent itself, in words
}

// Link is one of the agent's connections.
type Link struct {
	State string `json:"state"`           // connected, connecting, refused, off
	Peer  string `json:"peer"`            // whom it speaks to
	Since int64  `json:"since"`           // of this state
	Error string `json:"error,omitempty"` // the last one

	// Of the broker, since the start: how often it had forgotten the session with
	// what it had taken for the agent, and from when (0 = not known) to when messages
	// may be missing for that, the last time.
	Forgotten   uint64 `json:"forgotten,omitempty"`
	MissingFrom int64  `json:"missing_from,omitempty"`
	MissingTo   int64  `json:"missing_to,omitempty"`
}

// Certificate is how long the gateway's certificate lasts.
type Certificate struct {
	Ends    int64  `json:"ends"`
	Days    int64  `json:"days"`              // whole days left; negative when it is over
	Renewed int64  `json:"renewed,omitempty"` // when it was last renewed, since the start
	Error   string `json:"error,omitempty"`   // why the last try to renew it failed
}

// Lane is one of the outbox's queues towards the cloud.
type Lane struct {
	Lane    string `json:"lane"`
	Last    uint64 `json:"last"`    // the newest record's seq, 0 for none yet
	Pending uint64 `json:"pending"` // records that the cloud does not have
	Oldest  int64  `json:"oldest"`  // when the oldest pending one was observed
	Evicted uint64 `json:"evicted"` // records given up for want of space, ever
}

// Outbox is the gateway's disk.
type Outbox struct {
	Bytes      int64    `json:"bytes"`
	MaxBytes   int64    `json:"max_bytes"`
	FramesFrom int64    `json:"frames_from"` // the oldest frame kept
	Commits    uint64   `json:"commits"`
	Failures   uint64   `json:"failures"`  // commits that failed and were kept and tried again
	Owed       int64    `json:"owed"`      // bytes that the cloud does not have
	Copies     uint64   `json:"copies"`    // records that the cloud has, kept in case that it loses them
	Coalesced  uint64   `json:"coalesced"` // updates of alerts that a later one took the place of, for want of space
	Torn       int64    `json:"torn"`      // rows that the disk changed, since the start
	Key        string   `json:"key"`       // what it is sealed with, in words
	Salvage    *Salvage `json:"salvage,omitempty"`
}

// Salvage is what was taken over from an outbox that was damaged.
type Salvage struct {
	From    string `json:"from"`    // its file
	Records int64  `json:"records"` // for the cloud
	Lost    int64  `json:"lost"`    // that could not be read
	Done    bool   `json:"done"`
}

// Flash is what the agent has had written to the disk, in bytes. Its days are
// 24 h of the monotonic clock, not the calendar's.
type Flash struct {
	Today  int64 `json:"today"`
	PerDay int64 `json:"per_day"` // the mean of today so far and the seven days before; 0 = not known yet
}

// Sensor is a sensor that is bound to a bed.
type Sensor struct {
	Sensor string `json:"sensor"`
	Ward   string `json:"ward"`
	Bed    string `json:"bed"`
	State  string `json:"state"` // live, silent, lead off, unseen; unknown without a broker
	Since  int64  `json:"since"` // of this state
	Last   int64  `json:"last"`  // when it was last heard
	// Missing counts the frames that its numbers say were sent and that never came;
	// one that comes late is taken off again. Kept over restarts.
	Missing uint64 `json:"missing,omitempty"`
}

// Relay is a relay that has said something of itself.
type Relay struct {
	Relay    string `json:"relay"`
	Online   bool   `json:"online"`
	Since    int64  `json:"since"`
	Firmware string `json:"firmware,omitempty"`
}

// Alert is an open alert in brief.
type Alert struct {
	ID             string `json:"id"`
	Ward           string `json:"ward"`
	Bed            string `json:"bed,omitempty"`
	Priority       string `json:"priority"` // high, medium, low
	Kind           string `json:"kind"`     // physiological, technical
	Rule           string `json:"rule"`
	Text           string `json:"text"`
	Phase          string `json:"phase"` // active, latched
	Onset          int64  `json:"onset"`
	AcknowledgedBy string `json:"acknowledged_by,omitempty"` // while it holds
	Until          int64  `json:"until,omitempty"`
}

// Intake counts what came in by one source.
type Intake struct {
	Source     string            `json:"source"`
	Accepted   uint64            `json:"accepted"`
	SetAside   map[string]uint64 `json:"set_aside"`          // by reason
	PassedOver map[string]uint64 `json:"passed_over"`        // in accepted messages: implausible, unknown_key; late ones, which are history
	LastWhy    string            `json:"last_why,omitempty"` // the last refusal, in words
}

// Line is one thing that happened, as tail prints it (a documented contract,
// wardline-agent tail --json).
type Line struct {
	At    int64  `json:"at"`              // µs UTC
	What  string `json:"what"`            // raised, updated, ended, acknowledged …, set aside, lost
	Where string `json:"where,omitempty"` // 7w/12, a source's name
	Alert string `json:"alert,omitempty"`
	Text  string `json:"text"`
}
