package frame

import (
	"encoding/json"
	"fmt"

	"wardline/firmware-protocol/biosensorpb"
)

// RelayState is what a relay says of itself, retained, and by its last will
// (§11). It is JSON, so that a technician reads it with mosquitto_sub.
type RelayState struct {
	Online   bool       `json:"online"`
	Firmware string     `json:"firmware,omitempty"`
	Battery  *float64   `json:"battery,omitempty"` // 0 to 1; nil: on mains
	UptimeS  int64      `json:"uptime_s,omitempty"`
	Clock    RelayClock `json:"clock,omitempty"`
	Sensors  int        `json:"sensors,omitempty"` // heard within the last minute
}

// RelayClock is the state of a relay's clock, in words.
type RelayClock string

// The clock states of §3.2.
const (
	ClockSynchronised RelayClock = "synchronised"
	ClockFree         RelayClock = "free"
	ClockUnset        RelayClock = "unset"
)

// Wire is the clock state as a stamp carries it.
func (c RelayClock) Wire() biosensorpb.Clock {
	switch c {
	case ClockSynchronised:
		return biosensorpb.Clock_CLOCK_SYNCHRONISED
	case ClockFree:
		return biosensorpb.Clock_CLOCK_FREE
	case ClockUnset:
		return biosensorpb.Clock_CLOCK_UNSET
	}
	return biosensorpb.Clock_CLOCK_UNKNOWN
}

// ParseRelayState reads a message of a relay's state topic. Unknown keys are
// passed over. Errors are *Error.
func ParseRelayState(b []byte) (RelayState, error) {
	var s struct {
		Online *bool `json:"online"`
		RelayState
	}
	if len(b) > MaxRelayState {
		return s.RelayState, &Error{Reason: ErrTooLarge, Section: "9.19", Path: "relay state", Got: count(len(b), "bytes"), Want: atMost(MaxRelayState)}
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return RelayState{}, &Error{Reason: ErrMalformed, Section: "11", Path: "relay state", Got: err.Error()}
	}
	if s.Online == nil {
		return RelayState{}, &Error{Reason: ErrMalformed, Section: "11", Path: "online", Got: "nothing", Want: "true or false"}
	}
	s.RelayState.Online = *s.Online
	if v := s.Battery; v != nil && (*v < 0 || *v > 1) {
		return RelayState{}, limit("11", "battery", fmt.Sprint(*v), "0 to 1")
	}
	return s.RelayState, nil
}
