package api

// The types of this file are the contract with the page and with other programs.
// Instants are µs since 1970 UTC. What is null in JSON is not known or not so.

// Person is who is signed in and what that person may do.
type Person struct {
	Name    string   `json:"name" doc:"The account's name"`
	Display string   `json:"display" doc:"The name that others see"`
	Role    string   `json:"role" enum:"viewer,clinician,lead,technician,administrator"`
	Wards   []string `json:"wards" doc:"The wards that the person is limited to; * is every ward"`
	May     []string `json:"may" doc:"Permissions: patients.read, alerts.act, gateways.read, gateways.manage, people.manage, audit.read, status.read"`
	Until   int64    `json:"until" doc:"When the session ends whatever happens"`
}

// Ward is a ward and its beds, as its gateways describe them.
type Ward struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Beds []Bed  `json:"beds"`
}

// Bed is a bed and what is bound to it.
type Bed struct {
	ID      string             `json:"id"`
	Sensor  string             `json:"sensor" doc:"Empty when no sensor is bound"`
	Patient string             `json:"patient" doc:"A pseudonym, never a name; empty when nobody is bound"`
	Limits  map[string]float64 `json:"limits" doc:"Limits in force by name, such as hr.high"`
	Expect  []string           `json:"expect" doc:"Vitals that the sensor is expected to give"`
	Gateway string             `json:"gateway" doc:"The gateway that watches the bed"`
}

// Alert is one episode as it stands. It is made by NewAlert alone, so that REST
// and the live socket cannot differ.
type Alert struct {
	ID       string     `json:"id"`
	Ward     string     `json:"ward"`
	Bed      string     `json:"bed" doc:"Empty when it is about no single bed"`
	Kind     string     `json:"kind" enum:"physiological,technical"`
	Priority string     `json:"priority" enum:"high,medium,low"`
	Marks    string     `json:"marks" doc:"The priority's symbol: ***, ** or *"`
	Text     string     `json:"text"`
	Rule     string     `json:"rule"`
	Code     string     `json:"code" doc:"IEEE 11073-10101 identifiers, event/source"`
	Onset    int64      `json:"onset" doc:"When the condition became true"`
	RaisedAt int64      `json:"raised_at" doc:"When the alert was decided"`
	EndedAt  int64      `json:"ended_at" doc:"0 while the condition lasts"`
	Phase    string     `json:"phase" enum:"active,latched,ended"`
	Late     bool       `json:"late" doc:"It was history when it was learnt of"`
	Latch    bool       `json:"latch" doc:"It stays after its end until it is resolved"`
	Open     bool       `json:"open" doc:"It still wants somebody"`
	Worst    string     `json:"worst" enum:"high,medium,low" doc:"The highest priority that it had"`
	EndText  string     `json:"end_text"`
	Gateway  string     `json:"gateway"`
	Sensor   string     `json:"sensor"`
	Evidence []Evidence `json:"evidence" doc:"Readings and limits that made the rule true"`

	Ack            *Ack            `json:"ack" doc:"The acknowledgement in force"`
	AtGateway      bool            `json:"at_gateway" doc:"The gateway has confirmed the newest response"`
	Responsibility *Responsibility `json:"responsibility"`
	Resolution     *Resolution     `json:"resolution"`
	Comments       []Comment       `json:"comments"`

	Previous string `json:"previous" doc:"The episode before this one, of the same rule and subject"`
	Version  uint64 `json:"version" doc:"Rises with every change"`
	Page     bool   `json:"page" doc:"A screen sounds for it"`
}

// Evidence is one reading or limit that made a rule true.
type Evidence struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit" doc:"UCUM"`
	At    int64   `json:"at" doc:"0 for a limit"`
}

// Ack is an acknowledgement in force.
type Ack struct {
	By    string `json:"by"`
	At    int64  `json:"at"`
	Until int64  `json:"until" doc:"0 = until the condition ends"`
	Via   string `json:"via" doc:"page, api or ward"`
}

// Responsibility is who accepted, rejected or passed on an alert last.
type Responsibility struct {
	Type string `json:"type" enum:"accepted,rejected,passed_on"`
	By   string `json:"by"`
	At   int64  `json:"at"`
}

// Resolution is how an alert was resolved.
type Resolution struct {
	By   string `json:"by"`
	At   int64  `json:"at"`
	Text string `json:"text"`
}

// Comment is a person's words on an alert.
type Comment struct {
	By   string `json:"by"`
	At   int64  `json:"at"`
	Text string `json:"text"`
}

// Gateway is a gateway and its link.
type Gateway struct {
	ID       string   `json:"id"`
	Site     string   `json:"site"`
	Wards    []string `json:"wards"`
	Link     string   `json:"link" enum:"up,down,never"`
	Since    int64    `json:"since" doc:"When the link became so; 0 = never"`
	Why      string   `json:"why" doc:"Why there is no link, in words; 'refused: …' while the cloud itself sends the gateway away"`
	Software string   `json:"software"`
	Revoked  bool     `json:"revoked"`
	Pending  int      `json:"pending" doc:"Commands that the gateway has not confirmed"`
}

// TrendPoint is [instant, min, mean, max] over one step that starts at instant.
type TrendPoint [4]float64

// Trend is the course of a bed's vitals. Points exist only where there are
// readings: a step without a point is a stretch without data.
type Trend struct {
	From   int64                   `json:"from"`
	To     int64                   `json:"to"`
	Step   int64                   `json:"step" doc:"µs that one point spans"`
	Vitals map[string][]TrendPoint `json:"vitals"`
	Holes  []Hole                  `json:"holes" doc:"Stretches that will not be filled, or for which nothing has come"`
	Late   []Span                  `json:"late" doc:"Stretches that were filled in afterwards"`
}

// Hole is a stretch without data, and why.
type Hole struct {
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Reason string `json:"reason" doc:"no_data when nothing has come so far, otherwise the gateway's reason"`
}

// Span is a stretch of time.
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// AuditRow is one row of the audit log.
type AuditRow struct {
	Seq     int64  `json:"seq"`
	At      int64  `json:"at"`
	Who     string `json:"who"`
	From    string `json:"from" doc:"The network address"`
	What    string `json:"what"`
	On      string `json:"on"`
	Ward    string `json:"ward"`
	Outcome string `json:"outcome" enum:"done,refused,failed"`
	Why     string `json:"why"`
	Hash    string `json:"hash" doc:"SHA-256 over the previous row's hash and this row, hexadecimal"`
}
