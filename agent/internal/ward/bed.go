package ward

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"wardline/shared/rule"
	"wardline/shared/vital"
)

// bed is one binding and all that is known of its patient and its sensor.
type bed struct {
	subject
	bounds  Bounds
	expect  uint64 // mask of vitals; 0 = what was seen
	repeats repeats
	sums    sums
	via     *relay
	heard
}

// heard is what a bed's sensor said.
type heard struct {
	Heard     int64  // ward time of the newest frame; 0 for never
	Connected int64  // the same on the connection's clock
	Source    string // by which it came
	Newest    int64  // sensor time of the newest live frame, µs UTC
	NewestT   int64  // the same in ward time
	Seq       uint32 // of the newest live frame of Boot
	Doubted   bool   // the gateway's clock was set, and the sensor's does not agree with it yet
	Clock     int64  // what the sensor's clock says less ward time, if it is Timed
	Timed     bool
	Behind    odd // messages that seem to be history
	Ahead     odd // messages ahead of their time
	Seen      uint64
	Absent    uint64 // the expected vitals that were absent last
	Silent    bool
	SilentAt  int64 // ward time since when nothing came
	OffAt     int64 // ward time since when a lead is off; 0 while none is

	ContactSaid vital.State
	LeadsOff    vital.Leads
	LeadsSaid   bool
	Battery     vital.State
	ECG         bool                       // it has sent one
	Boot        uint32                     // whose words these are; 0 before the first
	Latest      [vital.Count]vital.Reading `json:"-"` // kept by Save as a list
	LatestT     [vital.Count]int64         // when each was measured, in ward time
	Happened    [len(happenings)]int64     // when each was said last, in ward time; 0 when that is over
}

// happenings are the inputs that carry what a sensor says once, from vital.Button on.
var happenings = [...]rule.Input{rule.Button, rule.Fall, rule.SensorFault}

// happenedHolds is how long what happened once is true for the rules: until the
// next ticks have seen it. Their alerts are latched.
const happenedHolds = 10 * tick

// leadOffTold is how long a lead is off before that is an alert of its own (the
// technical pack's delay). Only after that does a vital that is absent once the
// lead is back count as absent from then.
const leadOffTold = 3 * tick

func newBed(p *rule.Program, wardID string, x Binding, b Bounds) *bed {
	n := &bed{bounds: b}
	for _, v := range x.Expect {
		n.expect |= 1 << v
	}
	n.subject = newSubject(p, rule.Patient, b.stale())
	n.ward, n.bed, n.sensor, n.patient = wardID, x.Bed, x.Sensor, x.Patient
	n.note()
	return n
}

func (b Bounds) stale() (out [vital.Count]int64) {
	for v := range out {
		out[v] = b.Stale
	}
	return out
}

// bind notes the source that the sensor is heard by, and its bounds.
func (b *bed) bind(source string, bounds Bounds) {
	b.Source, b.bounds = source, bounds
	b.state.SetStale(bounds.stale())
	b.state.Note(rule.Silent, rule.Lasting(bounds.Silence))
}

// observe takes what a sensor said.
func (w *Ward) observe(o *vital.Observation, t int64, out *Output) {
	b := w.bySensor[o.Sensor]
	if b == nil {
		out.count(ReasonUnknownSensor)
		return
	}
	if w.glance {
		if b.repeats.knows(o) {
			out.count(ReasonRepeat)
			return
		}
	} else if o.Sequenced && b.repeats.sequenced(o.Boot, o.Seq) || !o.Sequenced && b.repeats.hashed(o.Hash) {
		out.count(ReasonRepeat)
		return
	}
	now, v := w.when(b, o, t)
	switch v {
	case ahead:
		out.count(ReasonFuture)
		return
	case history:
		out.count(ReasonLate)
		for i := range o.Readings {
			if r := o.Readings[i]; plausible(r, out) {
				b.add(w, r, true, o.Stamped, out)
			}
		}
		return
	}
	b.hear(w, o, t)
	// What is newest is told by the sensor's order, else by ward time: the wall
	// clocks may step. A later frame was not measured before an earlier one.
	order, measured := b.order(o), t-max(0, now-o.At)
	if order > 0 && measured < b.NewestT {
		now -= b.NewestT - measured
		measured = b.NewestT
	}
	if order >= 0 && measured >= b.NewestT {
		b.Newest, b.NewestT = min(o.At, now), measured
		if !o.Stamped { // else it is the gateway's own clock
			w.newest = b
			b.follow(o.At, now, t)
		}
		b.said(o, t)
	}
	for _, e := range o.Events {
		age := max(0, now-e.At)
		if i := int(e.Kind - vital.Button); i < len(happenings) && age <= liveBound {
			b.Happened[i] = t
			b.state.Set(happenings[i], 1, t-age)
			w.step(&b.subject, t-age, t, out)
		}
	}
	b.readings(w, o.Readings, o.Stamped, now, t, out)
	for _, v := range o.Gone {
		b.Seen |= 1 << v // what is looked for is measured
		if b.LatestT[v] <= measured {
			b.state.Gone(v, measured)
		}
	}
	w.step(&b.subject, t, t, out)
}

func plausible(r vital.Reading, out *Output) bool {
	ok := r.Vital.Plausible(r.Value) && r.At > 0
	if !ok {
		out.count(ReasonImplausible)
	}
	return ok
}

// hear notes that something live came from the sensor (SPEC 5.4: history does
// not end its silence).
func (b *bed) hear(w *Ward, o *vital.Observation, t int64) {
	if b.Heard == 0 || b.Source != o.Source {
		b.bind(o.Source, w.config.bounds(o.Source))
	}
	if b.Heard == 0 {
		for _, in := range happenings {
			b.state.Set(in, 0, t)
		}
	}
	if b.Heard == 0 || b.Silent {
		b.state.Begin(t)
	}
	b.Heard, b.Connected = t, w.conn.time(t)
	b.Silent = false
	b.state.Set(rule.Silent, 0, t)
	if b.via == nil || b.via.id != o.Relay {
		b.via = w.relay(o.Relay)
	}
	if b.via != nil {
		if !b.via.told || b.via.offline { // whatever was said of it, here is its word
			w.relayTold(b.via, false, t)
		}
	}
	b.state.Set(rule.RelayOffline, 0, t) // also when it does not say by which it came
}

// said takes what a live frame says of the sensor itself.
func (b *bed) said(o *vital.Observation, t int64) {
	was, leads := b.ContactSaid, b.LeadsOff
	if o.Sequenced {
		if b.Boot != 0 && o.Boot != b.Boot {
			b.forgetContact(t)
		}
		b.Boot, b.Seq = o.Boot, o.Seq
	}
	if o.Contact != vital.NotSaid {
		b.ContactSaid = o.Contact
	}
	if o.Leads {
		b.LeadsSaid, b.LeadsOff = true, o.LeadsOff
	}
	b.ECG = b.ECG || o.ECG
	if b.ContactSaid != was || b.LeadsOff != leads {
		b.state.Note(rule.LeadOff, b.leadWords())
	}
	switch off := b.leadOff(); {
	case off && b.OffAt == 0:
		b.OffAt = t
	case !off && b.OffAt != 0:
		// A contact that flickers must not put off what its absence hides.
		if t-b.OffAt >= leadOffTold {
			b.state.Begin(t)
		}
		b.OffAt = 0
	}
	if o.Battery != vital.NotSaid {
		b.Battery = o.Battery
		b.state.Set(rule.BatteryLow, number01(o.Battery == vital.Bad), t)
	}
	b.facts(t)
}

// forgetContact takes back what the sensor said of its contact before it began
// anew: it may be on another patient, or be another that says nothing of it.
func (b *bed) forgetContact(t int64) {
	b.ContactSaid, b.LeadsSaid, b.LeadsOff = vital.NotSaid, false, 0
	if b.Battery != vital.NotSaid { // nor of a battery that was exchanged
		b.Battery = vital.NotSaid
		b.state.Set(rule.BatteryLow, 0, t)
	}
	b.state.Clear(rule.Contact, t)
	b.state.Clear(rule.LeadOff, t)
}

// facts gives the rules what the sensor said of its contact, and whether it is
// one that measures a heart rate.
func (b *bed) facts(t int64) {
	b.state.Set(rule.HRExpected, number01(b.expectsHR()), t)
	if c := b.contact(); c != vital.NotSaid {
		b.state.Set(rule.Contact, number01(c == vital.Good), t)
		b.state.Set(rule.LeadOff, number01(b.leadOff()), t)
	}
}

// expectsHR reports whether a heart rate that is absent is to be missed: the site
// says that the sensor measures it, the sensor has measured it or looked for it,
// or it sends an ECG and the site says nothing of what it measures.
func (b *bed) expectsHR() bool {
	return (b.expect|b.Seen)>>vital.HeartRate&1 != 0 || b.expect == 0 && b.ECG
}

// contact is what is known of the sensor's contact. A sensor that says nothing
// of its contact, but that all of its electrodes are on, has contact.
func (b *bed) contact() vital.State {
	switch {
	case b.ContactSaid != vital.NotSaid || !b.LeadsSaid:
		return b.ContactSaid
	case b.LeadsOff == 0:
		return vital.Good
	}
	return vital.Bad
}

func (b *bed) leadOff() bool { return b.LeadsOff != 0 || b.ContactSaid == vital.Bad }

func (b *bed) leadWords() string {
	if b.LeadsOff == 0 {
		return "Poor or no contact with the skin"
	}
	return "Electrode off: " + strings.Join(b.LeadsOff.Names(), ", ")
}

// readings gives live readings to the rules in the order in which they were
// measured, a step for each instant. now is the sensor's clock at t.
func (b *bed) readings(w *Ward, list []vital.Reading, stamped bool, now, t int64, out *Output) {
	byTime := func(x, y vital.Reading) int { return cmp.Compare(x.At, y.At) }
	if !slices.IsSortedFunc(list, byTime) {
		w.sorted = append(w.sorted[:0], list...)
		slices.SortStableFunc(w.sorted, byTime)
		list = w.sorted
	}
	at := int64(0)
	for _, r := range list {
		age := max(0, now-r.At)
		late := age > liveBound
		if !plausible(r, out) {
			continue
		}
		b.add(w, r, late, stamped, out)
		if late {
			continue
		}
		if at != 0 && t-age > at {
			w.step(&b.subject, at, t, out)
		}
		at = t - age
		b.Seen |= 1 << r.Vital
		if r.At = min(r.At, now); at >= b.LatestT[r.Vital] {
			b.Latest[r.Vital], b.LatestT[r.Vital] = r, at
		}
		b.state.Set(rule.Of(r.Vital), r.Value, at)
	}
	if at != 0 {
		w.step(&b.subject, at, t, out)
	}
}

// contactHolds is for how long a frame's word on contact counts, in µs. It ends
// before a heart rate can be missed, so that a sensor which stops sending is
// silent, and not a patient without a heart rate.
const contactHolds = 5 * tick

// watch tells the rules whether the sensor is silent. connected is the
// connection's clock.
func (b *bed) watch(connected, t int64) {
	if t-b.Heard >= contactHolds {
		b.state.Clear(rule.Contact, t)
	}
	for i, at := range b.Happened {
		if at != 0 && t-at >= happenedHolds {
			b.Happened[i] = 0
			b.state.Set(happenings[i], 0, t)
		}
	}
	if silent := connected-b.Connected >= b.bounds.Silence; silent && !b.Silent {
		b.Silent, b.SilentAt = true, b.Heard
		if b.Heard == 0 {
			b.SilentAt = t - b.bounds.Silence
		}
		b.state.Set(rule.Silent, 1, t)
	}
}

func (b *bed) relayTold(offline bool, connected, t int64) {
	if was, _ := b.state.Value(rule.RelayOffline); was == 1 && !offline {
		b.Connected, b.Silent = connected, false
		b.state.Set(rule.Silent, 0, t)
	}
	b.state.Set(rule.RelayOffline, number01(offline), t)
}

// note gives the rules' texts their words anew, which a checkpoint does not keep.
func (b *bed) note() {
	b.state.Note(rule.Silent, rule.Lasting(b.bounds.Silence))
	b.state.Note(rule.LeadOff, b.leadWords())
	b.state.Note(rule.Unwatched, labels(b.Absent))
}

// unwatched tells the rules how many of the expected vitals are absent. One
// whose absence is an alert of its own, as a heart rate's on contact, is not counted.
func (b *bed) unwatched(t int64) {
	if b.Heard == 0 {
		return
	}
	p := b.state.Program()
	expect := b.expect
	if expect == 0 {
		expect = b.Seen
	}
	expect &= p.Reads()
	if b.contact() != vital.NotSaid {
		expect &^= p.Ages()
	}
	absent := expect &^ b.state.Known()
	if absent == b.Absent && b.state.Known()>>rule.Unwatched&1 != 0 {
		return
	}
	b.Absent = absent
	b.state.Note(rule.Unwatched, labels(absent))
	b.state.Set(rule.Unwatched, float64(bits.OnesCount64(absent)), t)
}

// labels lists the vitals of a mask as a screen calls them.
func labels(mask uint64) string {
	var out []string
	for _, m := range vital.All() {
		if mask>>m.Vital&1 != 0 {
			out = append(out, m.Label)
		}
	}
	return strings.Join(out, ", ")
}
