package intake

import (
	"wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/shared/vital"
)

// Class is what a message speaks of.
type Class uint8

// The classes of messages.
const (
	Stray    Class = 0 // of no source: from a session's old topics
	Sensor   Class = 1 // an observation: Obs, and Frame of a frame
	Relay    Class = 2 // a relay's own state: State
	Response Class = 3 // of a ward station: Ward and Bed; the payload is for package local
)

// Format names a decoder.
type Format string

// The decoders.
const (
	FormatFrame Format = "frame" // SPEC §3: an envelope with a Frame
	FormatJSON  Format = "json"  // SPEC §7: one flat object
)

// Source maps topics to a decoder.
type Source struct {
	Name string
	// Topic is an MQTT filter in which {relay} and {sensor} stand for one level
	// each and name it, such as wl/1/{relay}/{sensor}/json.
	Topic  string
	Format Format
	// Key is a sensor's key, of sites that set keys; nil = tags are not asked for.
	Key func(sensor string) []byte

	levels []string // of Topic
}

// Message is one message, as it came and as it was understood.
type Message struct {
	Topic    string
	Payload  []byte
	Received int64 // µs UTC by the gateway's clock
	Retained bool  // the broker had kept it: it was not said just now
	Again    bool  // the broker, or who sent it, is not sure whether it was given before

	// What Decode makes of it. Strings may share the topic's memory.
	Class     Class
	Source    *Source // nil but for class Sensor
	Relay     string
	Sensor    string
	Ward, Bed string // class Response; Bed is "" for the ward as a whole

	Obs   vital.Observation  // class Sensor
	Frame *biosensorpb.Frame // of a frame, for its waveforms
	Stamp frame.Stamp        // of a frame
	State frame.RelayState   // class Relay

	Reason Reason // why it is set aside; "" = good
	Detail string // what, where and what was meant; also of a good one with implausible values

	UnknownKeys int // JSON keys that were passed over
	Implausible int // readings that were set aside one by one

	ack      func()
	size     int              // of the payload as it came; 0 = as it is
	readings [8]vital.Reading // where Obs.Readings begins
}

// Ack tells the broker that the message is kept. Call it after the commit, once.
// When the connection has changed since, it does nothing, and the broker gives
// the message again.
func (m *Message) Ack() {
	if m.ack != nil {
		m.ack()
	}
}

// Reason is why a message was set aside: a word that never changes, for counters.
type Reason string

// The reasons of this package. Those of frames (frame.Reason) pass through,
// except that malformed is malformed_frame.
const (
	MalformedJSON  Reason = "malformed_json"
	MalformedFrame Reason = "malformed_frame"
	MalformedState Reason = "malformed_state" // of a relay
	TooLarge       Reason = "too_large"
	WrongType      Reason = "wrong_type" // a JSON key with another type than it must have
	MissingTime    Reason = "missing_time"
	NoVital        Reason = "no_vital"
	Future         Reason = "future_timestamp"
	TooOld         Reason = "too_old"
	WrongSensor    Reason = "wrong_sensor" // the frame names another sensor than its topic
	WrongTopic     Reason = "topic"        // of no source, or without a relay's or sensor's id
)
