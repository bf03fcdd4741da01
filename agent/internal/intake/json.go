package intake

import (
	"math"
	"strings"

	"wardline/firmware-protocol/frame"
	"wardline/shared/vital"
)

// The keys of the JSON form (SPEC §7). A vital's key is its name.
const (
	keyTime       = "t"
	keySeq        = "seq"
	keyBoot       = "boot"
	keyLeadsOff   = "leads_off"
	keyContact    = "contact"
	keyBatteryLow = "battery_low"
)

// decodeJSON reads the flat JSON form in one pass over the payload. Keys are
// exact, there is no null, and of a key given twice the last counts, as in
// encoding/json.
func decodeJSON(m *Message) {
	switch {
	case len(m.Payload) > frame.MaxJSON:
		m.refuse(TooLarge, "%d bytes, at most %d (SPEC §9.17)", len(m.Payload), frame.MaxJSON)
		return
	case len(m.Payload) == 0:
		m.refuse(Reason(frame.ErrEmpty), "no bytes")
		return
	case m.Source.Key != nil && m.Source.Key(m.Sensor) != nil:
		m.refuse(Reason(frame.ErrTagMissing), "sensor %s has a key, and JSON carries no tag: it must send frames (SPEC §7.4)", m.Sensor)
		return
	}
	d := object{scanner: scanner{b: m.Payload}, m: m}
	d.read()
	if m.Reason != "" {
		return
	}
	if d.err != "" {
		m.refuse(MalformedJSON, "byte %d: %s", d.at, d.err)
		return
	}
	d.finish()
}

// object is a message being read.
type object struct {
	scanner
	m       *Message
	hasTime bool
	hasBoot bool
	said    bool // a vital, or how the sensor sits
	has     [vital.Count]bool
	value   [vital.Count]float64
	wrong   wrongType // the first; a malformed end goes before it
}

// wrongType is a key whose value has another type than it must have.
type wrongType struct{ key, got, want string }

func (d *object) read() {
	d.space()
	if !d.eat('{') {
		d.fail("want an object, { … }")
		return
	}
	d.space()
	if !d.eat('}') {
		for d.member() {
		}
	}
	d.space()
	if d.err == "" && d.i < len(d.b) {
		d.fail("more after the object's end")
	}
	if d.err == "" && d.wrong.key != "" {
		d.m.refuse(WrongType, "%s is %s, want %s", d.wrong.key, d.wrong.got, d.wrong.want)
	}
}

// member reads one key and value, and what follows it; false at the end.
func (d *object) member() bool {
	d.space()
	key := d.string()
	d.space()
	if d.err == "" && !d.eat(':') {
		d.fail("want : after a key")
	}
	d.space()
	if d.err != "" {
		return false
	}
	d.valueOf(key)
	d.space()
	switch {
	case d.err != "":
		return false
	case d.eat(','):
		return true
	case !d.eat('}'):
		d.fail("want , or } after a value")
	}
	return false
}

func (d *object) valueOf(key []byte) {
	switch string(key) { // no garbage: the compiler compares in place
	case "hr":
		d.number(vital.HeartRate)
	case "rr":
		d.number(vital.RespRate)
	case "spo2":
		d.number(vital.SpO2)
	case "temp":
		d.number(vital.Temperature)
	case "pulse":
		d.number(vital.Pulse)
	case "battery":
		d.number(vital.Battery)
	case "posture":
		d.posture()
	case keyTime:
		d.time()
	case keySeq:
		d.count(keySeq, &d.m.Obs.Seq, &d.m.Obs.Sequenced)
	case keyBoot:
		d.count(keyBoot, &d.m.Obs.Boot, &d.hasBoot)
	case keyLeadsOff:
		d.leadsOff()
	case keyContact:
		d.state(keyContact, &d.m.Obs.Contact, vital.Good, vital.Bad)
		d.said = true
	case keyBatteryLow:
		d.state(keyBatteryLow, &d.m.Obs.Battery, vital.Bad, vital.Good)
		d.said = true
	default:
		d.m.UnknownKeys++
		d.skip()
	}
}

// mistyped passes over a value of another type and remembers the first.
func (d *object) mistyped(key, want string) {
	got := d.kind()
	d.skip()
	if d.wrong.key == "" {
		d.wrong = wrongType{key, got, want}
	}
}

func (d *object) number(v vital.Vital) {
	d.said = true
	if !d.isNumber() {
		d.mistyped(v.String(), "a number")
		return
	}
	d.has[v], d.value[v] = true, d.float()
}

func (d *object) posture() {
	d.said = true
	if d.peek() != '"' {
		d.mistyped("posture", "a string")
		return
	}
	p, ok := vital.PostureByName(string(d.string()))
	d.has[vital.Posture] = ok
	d.value[vital.Posture] = float64(p)
	if !ok && d.err == "" {
		d.m.setAside("posture is none of the known ones")
	}
}

// count reads a whole number from 1.
func (d *object) count(key string, to *uint32, has *bool) {
	const want = "a whole number from 1 to 4294967295"
	if !d.isNumber() {
		d.mistyped(key, want)
		return
	}
	begin := d.i
	n, whole := d.integer()
	if d.err != "" {
		return
	}
	if !whole || n < 1 || n > math.MaxUint32 {
		d.notThat(key, begin, want)
		return
	}
	*to, *has = uint32(n), true
}

func (d *object) notThat(key string, begin int, want string) {
	if d.wrong.key == "" {
		d.wrong = wrongType{key, string(d.b[begin:min(d.i, begin+40)]), want}
	}
}

func (d *object) time() {
	const want = "RFC 3339 with a zone, such as 2026-01-01T12:00:00.250Z, or microseconds since 1970 as a whole number"
	begin := d.i
	switch {
	case d.peek() == '"':
		at, ok := parseTime(d.string())
		if d.hasTime, d.m.Obs.At = ok, at; !ok && d.err == "" {
			d.notThat(keyTime, begin, want)
		}
	case d.isNumber():
		at, whole := d.integer()
		if d.hasTime, d.m.Obs.At = whole, at; !whole && d.err == "" {
			d.notThat(keyTime, begin, want)
		}
	default:
		d.mistyped(keyTime, want)
	}
}

func (d *object) state(key string, to *vital.State, yes, no vital.State) {
	switch {
	case d.word("true"):
		*to = yes
	case d.word("false"):
		*to = no
	default:
		d.mistyped(key, "true or false")
	}
}

func (d *object) leadsOff() {
	const want = "an array of lead names"
	o := &d.m.Obs
	o.Leads, o.LeadsOff = false, 0
	begin := d.i
	if !d.eat('[') {
		d.mistyped(keyLeadsOff, want)
		return
	}
	o.Leads, d.said = true, true
	d.space()
	if d.eat(']') {
		return
	}
	for d.err == "" {
		d.space()
		if d.peek() != '"' {
			d.i = begin
			d.mistyped(keyLeadsOff, want)
			return
		}
		name := d.string()
		if lead, ok := vital.LeadByName(string(name)); ok {
			o.LeadsOff |= lead
		} else if d.err == "" && d.wrong.key == "" {
			d.wrong = wrongType{keyLeadsOff, "[… " + string(name[:min(len(name), 16)]) + " …]",
				"names of " + strings.Join(vital.LeadNames[:], " ")}
		}
		d.space()
		if d.eat(',') {
			continue
		}
		if !d.eat(']') {
			d.fail("want , or ] in an array")
		}
		return
	}
}

// finish makes the observation of what was read.
func (d *object) finish() {
	m := d.m
	if !d.hasTime {
		m.refuse(MissingTime, "there is no t: when it was measured, RFC 3339 with a zone or microseconds since 1970")
		return
	}
	if !d.said {
		m.refuse(NoVital, "there is none of hr, rr, spo2, temp, pulse, posture, battery, leads_off, contact, battery_low")
		return
	}
	if m.Obs.Sequenced != d.hasBoot {
		m.refuse(Reason(frame.ErrLimit), "seq and boot go together: both or neither (SPEC §7)")
		return
	}
	for v := vital.Vital(1); int(v) < vital.Count; v++ {
		if d.has[v] {
			m.add(vital.Reading{Vital: v, Quality: 100, At: m.Obs.At, Value: d.value[v]})
		}
	}
	if !m.Obs.Sequenced {
		m.Obs.Hash = hash(m.Payload)
	}
}

// hash is FNV-1a, 64 bits: it must be the same after a restart.
func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
