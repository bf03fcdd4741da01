package virtual

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EpisodeKind is what befalls a sensor or its patient.
type EpisodeKind string

// The episodes. What each does to the figures lies clearly beyond the usual
// limits for adults (clear of heart rate 120, SpO2 90, respiration 8,
// temperature 38.5).
const (
	Tachycardia  EpisodeKind = "tachycardia"  // heart rate goes to 156
	Desaturation EpisodeKind = "desaturation" // SpO2 sinks to 84
	Apnoea       EpisodeKind = "apnoea"       // no breath; the rate sinks below 8 within 8 s
	Asystole     EpisodeKind = "asystole"     // flat ECG on good contact; no heart rate from 4 s after the last beat on
	LeadOff      EpisodeKind = "lead_off"     // electrode RA is off; no heart or respiration rate
	Silent       EpisodeKind = "silent"       // nothing reaches the broker; it is sent afterwards
	BatteryLow   EpisodeKind = "battery_low"  // 8 percent left
	Fever        EpisodeKind = "fever"        // temperature rises to 39.6
)

var kinds = []EpisodeKind{Tachycardia, Desaturation, Apnoea, Asystole, LeadOff, Silent, BatteryLow, Fever}

// DefaultDuration is an episode's when none is written.
const DefaultDuration = time.Minute

// Episode is one scripted event in the life of one sensor.
type Episode struct {
	Sensor int // which sensor, from 1
	Kind   EpisodeKind
	After  time.Duration // from the start to its onset
	For    time.Duration
}

// String writes the episode as ParseEpisode reads it.
func (e Episode) String() string {
	return fmt.Sprintf("%s@%v+%v:%d", e.Kind, e.After, e.For, e.Sensor)
}

// during says whether the episode is on at t after the start.
func (e Episode) during(t time.Duration) bool { return t >= e.After && t < e.After+e.For }

// ParseEpisode reads kind@after+duration:sensor, such as
// tachycardia@20s+60s:3. The duration may be left out, for a minute, and the
// sensor, for the first. Its errors wrap ErrUsage.
func ParseEpisode(s string) (Episode, error) {
	e, err := parseEpisode(s)
	if err != nil {
		return e, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return e, nil
}

func parseEpisode(s string) (Episode, error) {
	e := Episode{Sensor: 1, For: DefaultDuration}
	kind, rest, ok := strings.Cut(strings.TrimSpace(s), "@")
	e.Kind = EpisodeKind(kind)
	if !slices.Contains(kinds, e.Kind) {
		return e, fmt.Errorf("episode %q: no kind %q; there are %s", s, kind, words(kinds))
	}
	if !ok {
		return e, fmt.Errorf("episode %q: want its onset, such as %s@20s", s, kind)
	}
	var err error
	if rest, sensor, ok := strings.Cut(rest, ":"); ok {
		if e.Sensor, err = strconv.Atoi(sensor); err != nil || e.Sensor < 1 || e.Sensor > MaxSensors {
			return e, fmt.Errorf("episode %q: sensor %q, want 1 to %d", s, sensor, MaxSensors)
		}
		return e, e.parseTimes(s, rest)
	}
	return e, e.parseTimes(s, rest)
}

func (e *Episode) parseTimes(s, text string) error {
	after, duration, ok := strings.Cut(text, "+")
	var err error
	if e.After, err = time.ParseDuration(after); err != nil || e.After < 0 {
		return fmt.Errorf("episode %q: onset %q, want a duration such as 20s", s, after)
	}
	if !ok {
		return nil
	}
	if e.For, err = time.ParseDuration(duration); err != nil || e.For <= 0 {
		return fmt.Errorf("episode %q: lasts %q, want a duration such as 60s", s, duration)
	}
	return nil
}

func words(kinds []EpisodeKind) string {
	var out []string
	for _, k := range kinds {
		out = append(out, string(k))
	}
	return strings.Join(out, ", ")
}

// ParseEpisodes reads several episodes with commas between; none from "".
func ParseEpisodes(s string) ([]Episode, error) {
	var out []Episode
	for part := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		e, err := ParseEpisode(part)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// script is the episodes of one sensor.
type script []Episode

func (s script) on(kind EpisodeKind, t time.Duration) bool {
	for _, e := range s {
		if e.Kind == kind && e.during(t) {
			return true
		}
	}
	return false
}

// of picks the episodes of sensor i, from 0.
func of(all []Episode, i int) script {
	var out script
	for _, e := range all {
		if e.Sensor == i+1 {
			out = append(out, e)
		}
	}
	return out
}
