package rule

import (
	"wardline/shared/alert"
	"wardline/shared/vital"
)

// Pack is a versioned set of rules, as it was written. It was parsed and
// checked; Compile makes it run.
type Pack struct {
	Name    string
	Version int
	For     string // whom it is meant for, in words
	Kind    alert.Kind
	Limits  []Limit
	Rules   []Rule
}

// Limit is a number that rules read and that a ward or a patient may override
// between Min and Max.
type Limit struct {
	Name     string  // hr.high: read as limit.hr.high
	Value    float64 // the pack's default, or the override in a Program
	Min, Max float64 // hard bounds, inclusive
	Unit     string  // UCUM
	Above    string  // a limit of the same pack that must be lower, whatever is overridden; "" for none
	at       place
}

func (k *Pack) limitNames() []string {
	var out []string
	for _, l := range k.Limits {
		out = append(out, l.Name)
	}
	return out
}

// Scope is what kind of thing a rule is about.
type Scope uint8

// The scopes. Rules about patients and about their sensors read the same
// inputs, those of one bed.
const (
	Patient Scope = iota
	Sensor
	Relay
	Gateway
)

var scopeNames = []string{Patient: "patient", Sensor: "sensor", Relay: "relay", Gateway: "gateway"}

// String is the scope's name in a pack.
func (s Scope) String() string { return scopeNames[s] }

// Rule is one condition, as it was written. Its durations are in µs.
type Rule struct {
	ID       string
	About    Scope
	Says     string // the alert's text, with {hr:0} and {limit.hr.high:0}
	Code     string // MDC reference identifiers, event/source
	Priority alert.Priority
	Family   string // of the rules of a family that are true, the worst is told
	Rank     int    // of two with the same priority in a family, the one with the higher is worse
	When     string
	For      int64
	Until    string // "" means: not when
	UntilFor int64
	Unless   string // while it is true the rule is held back
	UnlessBy string // why it is held back, in words
	Latch    bool
	Escalate []Escalation
	Strip    Strip
	Cases    []Case

	at    place // of the rule
	sayAt place
	whens [3]place // of when, until, unless
}

// Escalation makes an alert more urgent when it has lasted.
type Escalation struct {
	After    int64 // µs since the alert was raised
	Priority alert.Priority
}

// Strip is how much waveform, in µs, is to be kept with an alert. It is carried
// for whoever keeps waveforms; rules do nothing with it.
type Strip struct{ Before, After int64 }

// Case is one of a rule's own tests.
type Case struct {
	Given  map[string][]Stretch
	Expect []Expectation
	Line   int
}

// Stretch is an input that keeps a value for a while, told once a second.
type Stretch struct {
	Value  float64
	Absent bool  // nothing is said of it
	Gone   bool  // the sensor says that it finds none
	Lasts  int64 // µs
}

// Expectation is that the rule's alert is raised, updated or ended at an
// instant of the case (µs from its start). No expectation at all means that
// nothing happens.
type Expectation struct {
	Kind ChangeKind
	At   int64
}

// Input is what an expression can read: a vital, by its own number, or a fact.
type Input uint8

// Of is the input that carries a vital.
func Of(v vital.Vital) Input { return Input(v) }

// The facts. All are true or false, except Unwatched.
const (
	Contact     Input = 16 + iota // the sensor sits on skin
	LeadOff                       // an electrode is off, or contact is poor or none
	Silent                        // nothing came from the sensor for its silence bound
	BatteryLow                    // the sensor says so
	Unwatched                     // how many vitals that are expected are absent
	HRExpected                    // the sensor measures a heart rate: one that is absent is a danger
	Button                        // the patient pressed the sensor's button, a moment ago
	Fall                          // the sensor says that the patient fell, a moment ago
	SensorFault                   // the sensor says that something is wrong with it, a moment ago
	RelayOffline
	BrokerLost
	LinkLost
	DiskNearlyFull
	DiskFailing
	ClockUnsynchronised
	StorageDamaged
	NewerFrames
	Renumbered
	CertificateEnding
	CertificateExpired
	OutboxFull
	CloudBehind
	BrokerForgot
	inputs

	maxInputs = 64
)

// A vital's number must stay below the facts', and all must fit a mask.
const (
	_ = uint(int(Contact) - vital.Count)
	_ = uint(maxInputs - inputs)
)

type sort uint8

const (
	number sort = iota
	truth
	posture
)

type meaning struct {
	name   string
	sort   sort
	unit   string
	scopes [4]bool
}

var bed, gateway = [4]bool{Patient: true, Sensor: true}, [4]bool{Gateway: true}

var meanings = func() (m [inputs]meaning) {
	for _, v := range vital.All() {
		m[v.Vital] = meaning{v.Name, number, v.Unit, bed}
	}
	m[vital.Posture].sort = posture
	m[Contact] = meaning{"contact", truth, "", bed}
	m[LeadOff] = meaning{"lead_off", truth, "", bed}
	m[Silent] = meaning{"silent", truth, "", bed}
	m[BatteryLow] = meaning{"battery_low", truth, "", bed}
	m[Unwatched] = meaning{"unwatched", number, "", bed}
	m[HRExpected] = meaning{"hr_expected", truth, "", bed}
	m[Button] = meaning{"button", truth, "", bed}
	m[Fall] = meaning{"fall", truth, "", bed}
	m[SensorFault] = meaning{"sensor_fault", truth, "", bed}
	m[RelayOffline] = meaning{"relay_offline", truth, "", [4]bool{Patient: true, Sensor: true, Relay: true}}
	m[BrokerLost] = meaning{"broker_lost", truth, "", [4]bool{Patient: true, Sensor: true, Gateway: true}}
	m[LinkLost] = meaning{"link_lost", truth, "", gateway}
	m[DiskNearlyFull] = meaning{"disk_nearly_full", truth, "", gateway}
	m[DiskFailing] = meaning{"disk_failing", truth, "", gateway}
	m[ClockUnsynchronised] = meaning{"clock_unsynchronised", truth, "", gateway}
	m[StorageDamaged] = meaning{"storage_damaged", truth, "", gateway}
	m[NewerFrames] = meaning{"newer_frames", truth, "", gateway}
	m[Renumbered] = meaning{"renumbered", truth, "", gateway}
	m[CertificateEnding] = meaning{"certificate_ending", truth, "", gateway}
	m[CertificateExpired] = meaning{"certificate_expired", truth, "", gateway}
	m[OutboxFull] = meaning{"outbox_full", truth, "", gateway}
	m[CloudBehind] = meaning{"cloud_behind", truth, "", gateway}
	m[BrokerForgot] = meaning{"broker_forgot", truth, "", gateway}
	return m
}()

var byName = func() map[string]Input {
	m := map[string]Input{}
	for i, x := range meanings {
		if x.name != "" {
			m[x.name] = Input(i)
		}
	}
	return m
}()

// InputByName finds the input that expressions call name.
func InputByName(name string) (Input, bool) { in, ok := byName[name]; return in, ok }

// String is the input's name in expressions.
func (i Input) String() string {
	if i >= inputs {
		return ""
	}
	return meanings[i].name
}

// Vital is the vital that i carries, 0 when it is a fact.
func (i Input) Vital() vital.Vital {
	if i < Contact {
		return vital.Vital(i)
	}
	return 0
}
