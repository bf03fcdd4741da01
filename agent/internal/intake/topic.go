package intake

import (
	"fmt"
	"regexp"
	"strings"

	"wardline/firmware-protocol/frame"
)

const (
	relayStates = "wl/1/+/state"
	wardPrefix  = "wl/1/ward/"
)

// wardID is what may name a ward (SPEC §2.3).
var wardID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// responseFilters are the topic filters of a ward's responses: at its beds, and
// to what is about no single bed.
func responseFilters(ward string) []string {
	return []string{wardPrefix + ward + "/bed/+/response", wardPrefix + ward + "/response"}
}

// Decoder makes observations of messages by their topics. It keeps nothing
// between messages, so a kept message decodes as it did when it came.
type Decoder struct {
	sources []Source
	wards   []string
}

// NewDecoder checks sources and the ids of wards.
func NewDecoder(sources []Source, wards []string) (*Decoder, error) {
	d := &Decoder{sources: append([]Source(nil), sources...), wards: wards}
	names := map[string]bool{}
	for i := range d.sources {
		s := &d.sources[i]
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("source %q: %w", s.Name, err)
		}
		if names[s.Name] {
			return nil, fmt.Errorf("source %q: there are two of this name", s.Name)
		}
		names[s.Name] = true
		s.levels = strings.Split(s.Topic, "/")
	}
	for _, w := range wards {
		if !wardID.MatchString(w) {
			return nil, fmt.Errorf("%q cannot name a ward", w)
		}
	}
	return d, nil
}

func (s *Source) check() error {
	if s.Name == "" {
		return fmt.Errorf("it has no name")
	}
	if s.Format != FormatFrame && s.Format != FormatJSON {
		return fmt.Errorf("format %q is neither %q nor %q", s.Format, FormatFrame, FormatJSON)
	}
	sensor := 0
	levels := strings.Split(s.Topic, "/")
	for i, l := range levels {
		switch {
		case l == "{sensor}":
			sensor++
		case l == "{relay}", l == "+":
		case l == "#" && i == len(levels)-1:
		case strings.ContainsAny(l, "#+{}"):
			return fmt.Errorf("topic %q: level %q is neither plain nor one of +, {relay}, {sensor}, nor # at the end", s.Topic, l)
		}
	}
	if sensor != 1 {
		return fmt.Errorf("topic %q must have {sensor} once, where the sensor's id stands", s.Topic)
	}
	return nil
}

// filter is the source's topic as MQTT wants it.
func (s *Source) filter() string {
	return strings.NewReplacer("{relay}", "+", "{sensor}", "+").Replace(s.Topic)
}

// filters are all that the decoder can make something of, each once.
func (d *Decoder) filters() []string {
	out := []string{relayStates}
	for _, w := range d.wards {
		out = append(out, responseFilters(w)...)
	}
	return append(out, d.sensors()...)
}

// watched are the filters of what sensors say, and relays of themselves.
func (d *Decoder) watched() []string { return append(d.sensors(), relayStates) }

func (d *Decoder) sensors() (out []string) {
	seen := map[string]bool{}
	for i := range d.sources {
		if f := d.sources[i].filter(); !seen[f] {
			seen[f] = true
			out = append(out, f)
		}
	}
	return out
}

// match takes the ids out of a topic of this source. It makes no garbage.
func (s *Source) match(topic string) (relay, sensor string, ok bool) {
	rest, more := topic, true
	for _, l := range s.levels {
		if l == "#" {
			return relay, sensor, true
		}
		if !more {
			return "", "", false
		}
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch l {
		case "{relay}":
			relay = level
		case "{sensor}":
			sensor = level
		case "+", level:
		default:
			return "", "", false
		}
	}
	return relay, sensor, !more
}

// route finds out what m speaks of, by its topic alone.
func (d *Decoder) route(m *Message) {
	for i := range d.sources {
		s := &d.sources[i]
		relay, sensor, ok := s.match(m.Topic)
		if !ok || relay == "ward" && strings.HasPrefix(m.Topic, wardPrefix) {
			continue
		}
		m.Class, m.Source, m.Relay, m.Sensor = Sensor, s, relay, sensor
		if !frame.ValidID(sensor) || relay != "" && !frame.ValidRelay(relay) {
			m.refuse(WrongTopic, "topic %.128q of source %q: its ids must be 1 to %d of A-Z a-z 0-9 . _ -", m.Topic, s.Name, frame.MaxID)
		}
		return
	}
	if rest, ok := strings.CutPrefix(m.Topic, wardPrefix); ok {
		l := strings.Split(rest, "/")
		switch {
		case len(l) == 4 && l[1] == "bed" && l[3] == "response":
			m.Class, m.Ward, m.Bed = Response, l[0], l[2]
			return
		case len(l) == 2 && l[1] == "response":
			m.Class, m.Ward = Response, l[0]
			return
		}
	}
	if t, ok := frame.ParseTopic(m.Topic); ok && t.Kind == frame.KindState {
		m.Class, m.Relay = Relay, t.Relay
		return
	}
	m.refuse(WrongTopic, "topic %.128q is of no source", m.Topic)
}
