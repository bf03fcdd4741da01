package frame

import "strings"

// Kind is what travels on a topic of a relay (§1).
type Kind string

// The relay's topics.
const (
	KindFrame   Kind = "frame"
	KindJSON    Kind = "json"
	KindState   Kind = "state" // of a relay; it names no sensor
	KindRequest Kind = "request"
)

const prefix = "wl/1/"

// Topic is wl/1/{relay}/{sensor}/{kind}, or wl/1/{relay}/state.
type Topic struct {
	Relay, Sensor string
	Kind          Kind
}

func (t Topic) String() string {
	if t.Kind == KindState {
		return prefix + t.Relay + "/state"
	}
	return prefix + t.Relay + "/" + t.Sensor + "/" + string(t.Kind)
}

// ParseTopic reads a relay's topic; ok is false for every other, those of the
// ward among them.
func ParseTopic(s string) (t Topic, ok bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return Topic{}, false
	}
	relay, rest, ok := strings.Cut(rest, "/")
	if !ok || !ValidRelay(relay) {
		return Topic{}, false
	}
	if rest == string(KindState) {
		return Topic{Relay: relay, Kind: KindState}, true
	}
	sensor, kind, ok := strings.Cut(rest, "/")
	if !ok || !ValidID(sensor) {
		return Topic{}, false
	}
	switch k := Kind(kind); k {
	case KindFrame, KindJSON, KindRequest:
		return Topic{Relay: relay, Sensor: sensor, Kind: k}, true
	}
	return Topic{}, false
}

// ValidID says whether s may name a sensor, ward or bed (§2.1).
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > MaxID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// ValidRelay says whether s may name a relay (§2.2): an id other than "ward",
// under which the ward's own topics lie.
func ValidRelay(s string) bool { return s != "ward" && ValidID(s) }
