package intake

import (
	"errors"
	"fmt"
	"time"

	"wardline/firmware-protocol/frame"
	"wardline/shared/vital"
)

// Decode makes of m what it speaks of. now is the gateway's time (µs UTC) at
// which it was received or, in a replay, was received then. It never fails: what
// cannot be used has a Reason and a Detail, and is the taker's to count. A time is
// held against now only if the clock is synchronised; else it must only be one that
// there can be.
func (d *Decoder) Decode(m *Message, now int64, synchronised bool) {
	m.reset()
	d.route(m)
	if m.Reason != "" {
		return
	}
	if size := max(m.size, len(m.Payload)); size > frame.MaxWire {
		limit, section := frame.MaxWire, "9.1"
		if m.Class == Sensor && m.Source.Format == FormatJSON {
			limit, section = frame.MaxJSON, "9.17"
		}
		m.refuse(TooLarge, "%d bytes, at most %d (SPEC §%s)", size, limit, section)
		return
	}
	switch m.Class {
	case Sensor:
		m.Obs.Relay, m.Obs.Sensor, m.Obs.Source, m.Obs.Received = m.Relay, m.Sensor, m.Source.Name, m.Received
		if m.Source.Format == FormatFrame {
			decodeFrame(m)
		} else {
			decodeJSON(m)
		}
		switch at := m.Obs.At; {
		case m.Reason != "":
		case synchronised:
			m.checkTime(now)
		case at >= frame.MaxStartUS:
			m.refuse(Future, "its time %s is none of this century (SPEC §5.1)", clock(at))
		case at <= 0:
			m.refuse(TooOld, "its time %s is before 1970 (SPEC §5.1)", clock(at))
		}
	case Relay:
		var err error
		if m.State, err = frame.ParseRelayState(m.Payload); err != nil {
			m.refuseFrame(MalformedState, err)
		}
	}
}

func (m *Message) reset() {
	m.Class, m.Source, m.Relay, m.Sensor, m.Ward, m.Bed = Stray, nil, "", "", "", ""
	readings := m.Obs.Readings[:0]
	if readings == nil {
		readings = m.readings[:0]
	}
	events := m.Obs.Events[:0]
	m.Obs = vital.Observation{Readings: readings, Gone: m.Obs.Gone[:0], Events: events}
	m.Frame, m.Stamp, m.State = nil, frame.Stamp{}, frame.RelayState{}
	m.Reason, m.Detail, m.UnknownKeys, m.Implausible = "", "", 0, 0
}

// checkTime holds the observation's time against the gateway's clock (SPEC §5).
func (m *Message) checkTime(now int64) {
	switch at := m.Obs.At; {
	case at > now+frame.MaxFuture.Microseconds():
		m.refuse(Future, "its time %s is %s ahead of the gateway's clock: at most %s is borne; is the relay's clock set?",
			clock(at), span(at-now), frame.MaxFuture)
	case at < now-frame.MaxAge.Microseconds():
		m.refuse(TooOld, "its time %s is %s ago: at most 7 days are borne%s", clock(at), span(now-at), otherUnit(at, now))
	}
}

// otherUnit guesses that a number was meant in another unit than µs.
func otherUnit(at, now int64) string {
	const year = 365 * 24 * int64(time.Hour/time.Microsecond)
	for _, u := range []struct {
		name   string
		factor int64
	}{{"seconds", 1e6}, {"milliseconds", 1e3}} {
		if at > 0 && at < now/u.factor*2 && at*u.factor > now-year && at*u.factor < now+year {
			return fmt.Sprintf("; a number is in microseconds, this one looks like %s", u.name)
		}
	}
	return ""
}

func clock(us int64) string { return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000Z") }

// span writes µs as a person would say them: of a long one the largest unit says
// enough.
func span(us int64) string {
	const day = 24 * time.Hour
	d := time.Duration(us) * time.Microsecond
	for _, u := range []struct {
		size time.Duration
		name string
	}{{365 * day, "years"}, {day, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*u.size {
			return fmt.Sprintf("%d %s", d/u.size, u.name)
		}
	}
	return d.Round(time.Millisecond).String()
}

func (m *Message) refuse(r Reason, format string, args ...any) {
	m.Reason, m.Detail = r, fmt.Sprintf(format, args...)
}

// refuseFrame takes over what the protocol's package says; malformed is what it
// calls malformed.
func (m *Message) refuseFrame(malformed Reason, err error) {
	e, ok := errors.AsType[*frame.Error](err)
	if !ok || e.Reason == frame.ErrMalformed {
		m.refuse(malformed, "%v", err)
		return
	}
	m.refuse(Reason(e.Reason), "%v", err)
}
