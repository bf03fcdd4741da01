package intake

import (
	"fmt"
	"slices"

	"wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/shared/vital"
)

// questionable is the quality at most of a reading whose sensor doubts it.
const questionable = 30

func decodeFrame(m *Message) {
	var key []byte
	if m.Source.Key != nil {
		key = m.Source.Key(m.Sensor)
	}
	f, stamp, err := frame.Open(m.Payload, key)
	m.Stamp = stamp
	if err != nil {
		m.refuseFrame(MalformedFrame, err)
		return
	}
	if f.Sensor != m.Sensor {
		m.refuse(WrongSensor, "the frame is of sensor %q, its topic says %q", f.Sensor, m.Sensor)
		return
	}
	m.Frame = f
	o := &m.Obs
	o.Boot, o.Seq, o.Sequenced = f.Boot, f.Seq, true
	start, stamped := frameStart(f, stamp, m.Received)
	o.Stamped = stamped
	o.At = start + frame.Span(f).Microseconds()
	o.ECG = slices.ContainsFunc(f.Waveforms, isECG)
	for _, r := range f.Readings {
		m.reading(r, start)
	}
	for _, e := range f.Events {
		m.event(e, start)
	}
	if f.State != nil {
		m.sensorState(f.State)
	}
}

// isECG goes by the lead's code: ECG leads are terms 256 to 511 of partition 2
// (ISO/IEEE 11073-10101), and ours (SPEC §4.7).
func isECG(w *biosensorpb.Waveform) bool {
	const first = uint32(biosensorpb.Mdc_MDC_ECG_ELEC_POTL)
	return w.Lead >= first && w.Lead < first+256 || w.Lead == uint32(biosensorpb.Mdc_MDC_PRIVATE_ECG_2)
}

// frameStart is the time of the frame's clock_us (SPEC §5.2): the sensor's own;
// else such that the frame ended when a relay with a synchronised clock received
// it; else when the gateway did, which is stamped.
func frameStart(f *biosensorpb.Frame, s frame.Stamp, received int64) (start int64, stamped bool) {
	if us, ok := frame.TimeUS(f); ok {
		return us, false
	}
	stamped = true
	if s.Clock == biosensorpb.Clock_CLOCK_SYNCHRONISED && s.ReceivedUS > 0 {
		received, stamped = s.ReceivedUS, false
	}
	return received - frame.Span(f).Microseconds(), stamped
}

func (m *Message) reading(r *biosensorpb.Reading, start int64) {
	if r.Validity == biosensorpb.Validity_VALIDITY_NO_CONTACT && m.Obs.Contact == vital.NotSaid {
		m.Obs.Contact = vital.Bad
	}
	v, known := vital.ByMDC(r.Vital)
	if !known {
		m.UnknownKeys++
		return
	}
	if r.Milli == nil {
		// Only what was looked for and not found is gone; an artefact or a poor
		// contact leaves the last value until it is stale.
		if r.Validity == biosensorpb.Validity_VALIDITY_NOT_FOUND {
			m.Obs.Gone = append(m.Obs.Gone, v)
		}
		return
	}
	x := vital.Reading{Vital: v, Quality: 100, At: start + int64(r.OffsetUs), Value: float64(*r.Milli) / 1000}
	if r.Quality != nil {
		x.Quality = uint8(*r.Quality)
	}
	if r.Validity == biosensorpb.Validity_VALIDITY_QUESTIONABLE {
		x.Quality = min(x.Quality, questionable)
	}
	if unit := v.Meaning().UnitMDC; r.Unit != unit {
		m.setAside("%s is in unit %d, want %d", v, r.Unit, unit)
		return
	}
	m.add(x)
}

// add takes a reading, or sets it aside when no body can have it.
func (m *Message) add(r vital.Reading) {
	if !r.Vital.Plausible(r.Value) {
		w := r.Vital.Meaning()
		m.setAside("%s %g is not plausible: %g to %g %s", w.Name, r.Value, w.Min, w.Max, w.Unit)
		return
	}
	m.Obs.Readings = append(m.Obs.Readings, r)
}

// setAside counts a value that is not used; the first one's Detail stays.
func (m *Message) setAside(format string, args ...any) {
	m.Implausible++
	if m.Detail == "" {
		m.Detail = fmt.Sprintf(format, args...)
	}
}

var happenings = map[biosensorpb.Event_Kind]vital.HappeningKind{
	biosensorpb.Event_KIND_BUTTON:       vital.Button,
	biosensorpb.Event_KIND_FALL:         vital.Fall,
	biosensorpb.Event_KIND_SENSOR_FAULT: vital.SensorFault,
}

func (m *Message) event(e *biosensorpb.Event, start int64) {
	o, at := &m.Obs, start+int64(e.OffsetUs)
	switch e.Kind {
	case biosensorpb.Event_KIND_LEAD_OFF:
		o.Leads, o.LeadsOff = true, vital.Leads(e.Value)
	case biosensorpb.Event_KIND_POSTURE:
		m.posture(biosensorpb.Posture(e.Value), at)
	case biosensorpb.Event_KIND_BATTERY_LOW:
		o.Battery = vital.Bad
	default:
		if k, ok := happenings[e.Kind]; ok {
			o.Events = append(o.Events, vital.Happening{Kind: k, At: at})
		}
	}
}

// posture's numbers on the wire are those of vital.PostureCode.
func (m *Message) posture(p biosensorpb.Posture, at int64) {
	if p != biosensorpb.Posture_POSTURE_UNKNOWN {
		m.add(vital.Reading{Vital: vital.Posture, Quality: 100, At: at, Value: float64(p)})
	}
}

// sensorState is how the sensor is as the frame ends.
func (m *Message) sensorState(s *biosensorpb.State) {
	o := &m.Obs
	switch s.Contact {
	case biosensorpb.Contact_CONTACT_GOOD:
		o.Contact = vital.Good
	case biosensorpb.Contact_CONTACT_POOR, biosensorpb.Contact_CONTACT_NONE:
		o.Contact = vital.Bad
	}
	if s.LeadsOff != nil {
		o.Leads, o.LeadsOff = true, vital.Leads(*s.LeadsOff)
	}
	if s.BatteryPercent != nil {
		m.add(vital.Reading{Vital: vital.Battery, Quality: 100, At: o.At, Value: float64(*s.BatteryPercent) / 100})
	}
	m.posture(s.Posture, o.At)
}
