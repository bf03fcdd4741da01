package vital

// Observation is all that a sensor said in one frame or message, in the form
// that rules and screens read, whatever it was encoded in on the way.
// Waveforms are not part of it: nothing decides on them here.
type Observation struct {
	Relay  string
	Sensor string
	Source string // the name under which the gateway's configuration has its topic

	// Boot and Seq number a sensor's frames; a pair that was seen before is a
	// repeat. Without Sequenced, Hash tells a repeat instead.
	Boot, Seq uint32
	Sequenced bool
	Hash      uint64 // of the message as it came

	At       int64 // the newest instant that it speaks of: µs UTC by the sensor's clock
	Stamped  bool  // At is the gateway's receipt: neither sensor nor relay had the time
	Received int64 // when the gateway took it: µs UTC by the gateway's clock

	Readings []Reading
	Gone     []Vital // that have no value at At, as the sensor says
	ECG      bool    // an ECG came with it
	Contact  State   // does the sensor sit on skin well enough to measure
	LeadsOff Leads   // electrodes that are off
	Leads    bool    // the sensor said which leads are off, be it none
	Events   []Happening
	Battery  State // Bad when the sensor says that its battery is low
}

// State is what is known of a yes-or-no question about a sensor.
type State uint8

// The states.
const (
	NotSaid State = 0
	Good    State = 1
	Bad     State = 2
)

// Leads is a set of electrodes, a bit each.
type Leads uint16

// The electrodes that a patch can report, in the order of LeadNames.
const (
	LeadRA Leads = 1 << iota
	LeadLA
	LeadLL
	LeadRL
	LeadV1
	LeadV2
	LeadV3
	LeadV4
	LeadV5
	LeadV6
)

// LeadNames are the electrodes' names, the lowest bit first.
var LeadNames = [...]string{"RA", "LA", "LL", "RL", "V1", "V2", "V3", "V4", "V5", "V6"}

// Names lists the electrodes of the set.
func (l Leads) Names() []string {
	var out []string
	for i, n := range LeadNames {
		if l&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// LeadByName finds an electrode by its name.
func LeadByName(name string) (Leads, bool) {
	for i, n := range LeadNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Happening is a thing that a sensor reports once.
type Happening struct {
	Kind HappeningKind
	At   int64 // µs UTC by the sensor's clock
}

// HappeningKind is what happened at the sensor.
type HappeningKind uint8

// What a sensor can report that raises an alert.
const (
	Button      HappeningKind = 1 // the patient pressed the button
	Fall        HappeningKind = 2 // suspected, or sure
	SensorFault HappeningKind = 3
)
