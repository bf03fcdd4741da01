package ward

import (
	"wardline/shared/alert"
	"wardline/shared/rule"
	"wardline/shared/vital"
)

// Instant is one reading of the shell's only source of time. Delays and silence
// are counted in Mono; Wall goes into records.
type Instant struct {
	Boot         uint64 // which start of the machine Mono counts from
	Mono         int64  // µs since that start, never stepping
	Wall         int64  // µs since 1970 UTC, as good as the gateway's clock
	Synchronised bool   // Wall can be believed
}

// Config is what a ward is made from.
type Config struct {
	Gateway string
	Wards   []WardConfig
	Packs   []*rule.Pack

	Sources map[string]Bounds // by the source that a sensor was last heard by; zero fields, and no entry, mean 12 s and 10 s

	SummaryEvery int64 // µs; 0 means 10 s
}

// WardConfig is one ward and its beds.
type WardConfig struct {
	ID, Name string
	Beds     []Binding
}

// Binding says whose vitals a sensor's frames are.
type Binding struct {
	Bed     string
	Sensor  string
	Patient string             // a pseudonym, never a name; may be ""
	Limits  map[string]float64 // overrides of the packs' limits, within their bounds
	Expect  []vital.Vital      // must be watched; empty means whatever the sensor has sent once
}

// Bounds says how soon a sensor's silence and a vital's absence are told, in µs.
type Bounds struct {
	Silence int64 // without any frame for this long it is silent; 0 means 12 s
	Stale   int64 // a vital older than this is absent; 0 means 10 s
}

// Input is one thing that Step takes. Exactly one of the fields before Replay is set.
type Input struct {
	Observation  *vital.Observation
	Tick         bool         // time has passed, nothing else
	Response     *alert.Event // from the board (with its number), or from a ward station (Author Gateway, N 0: numbered here)
	Connected    bool         // the broker was reached
	Disconnected bool         // the broker was lost
	Fact         *Fact        // something that the shell knows

	// Glance marks an observation that was seen in passing and comes again: the rules
	// and the screen have it, and nothing else is made of it.
	Glance bool

	// Replay marks what is taken again after Restore. Its outputs were kept
	// before the crash; the first input without the mark ends the replay.
	Replay bool
}

// Fact is something that the shell knows about the gateway or about a relay.
type Fact struct {
	Name  string // an input of rules about a gateway or relay: link_lost, disk_nearly_full, relay_offline …
	Relay string // for relay_offline: which
	On    bool
	Text  string // words for the alert's text, such as a percentage; may be ""
}

// BedKey names a bed.
type BedKey struct{ Ward, Bed string }

// Output is what came of Steps since Reset. Its slices are used again.
type Output struct {
	Events    []alert.Event // to be kept in order
	Summaries []Summary
	Beds      []BedKey          // whose list of alerts changed; Bed is "" for the ward as a whole
	Counts    map[string]uint64 // what was set aside, by its Reason; nil until the first
}

// The reasons for which an observation, or a part of one, is set aside.
const (
	ReasonUnknownSensor = "unknown_sensor"   // no bed has this sensor: nothing changes
	ReasonRepeat        = "repeat"           // this (boot, seq), or this very message, was taken before
	ReasonLate          = "late"             // history: kept in summaries, shown to no rule
	ReasonFuture        = "future_timestamp" // more than 5 s ahead of a synchronised clock
	ReasonImplausible   = "implausible"      // a value that no body has; the rest of the frame counts
	ReasonUnknownAlert  = "unknown_alert"    // a response to an alert that is not known here; one that is over is no fault
	ReasonBadResponse   = "bad_response"     // a response that alert.Apply refuses
	ReasonUnknownFact   = "unknown_fact"     // a fact that no rule can read
)

// Reset empties o and keeps its memory.
func (o *Output) Reset() {
	o.Events, o.Summaries, o.Beds = o.Events[:0], o.Summaries[:0], o.Beds[:0]
	clear(o.Counts)
}

func (o *Output) count(reason string) {
	if o.Counts == nil {
		o.Counts = map[string]uint64{}
	}
	o.Counts[reason]++
}

// Summary is what one sensor measured in one interval, aligned to the interval.
// There is none for an interval in which nothing was measured.
type Summary struct {
	Ward, Bed, Sensor, Patient string
	Start, End                 int64 // µs UTC of sensor time; End is exclusive
	Late                       bool  // it holds history only: the interval's own summary went before, if there was one
	Contact                    vital.State
	LeadOff, Silent            bool
	Stamped                    bool                      // its times are of the gateway's receipt
	Vitals                     [vital.Count]VitalSummary // by vital; N is 0 where there was none
}

// VitalSummary is one vital's part of a Summary.
type VitalSummary struct {
	N                    uint32
	Min, Mean, Max, Last float64
	Quality              uint8 // the mean
}

// BedLive is what a bed's screen shows now.
type BedLive struct {
	Ward, Bed, Sensor, Patient string
	At                         int64           // newest sensor time heard, µs UTC; 0 for never
	Values                     []vital.Reading // not stale; by vital
	Contact                    vital.State
	LeadOff                    bool
	LeadsOff                   vital.Leads
	SilentSince                int64 // µs UTC; 0 while it is heard
	Battery                    vital.State
}

// SensorStatus is what a technician sees of a sensor.
type SensorStatus struct {
	Ward, Bed, Sensor, Relay string
	Heard                    int64  // when the gateway last took something from it, µs UTC; 0 for never
	SilentSince              int64  // µs UTC; 0 while it is heard
	Missing                  uint64 // frames that its seqs say were sent and that never came
	NotEvaluable             []NotEvaluable
}

// NotEvaluable is a rule that cannot be judged for want of what it reads.
type NotEvaluable struct {
	Rule  string
	Since int64 // µs UTC
}
