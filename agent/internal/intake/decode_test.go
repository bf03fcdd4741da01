package intake

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/shared/vital"
)

const now = int64(1_767_268_800_250_000) // 2026-01-01T12:00:00.25Z

var ward7 = []Source{
	{Name: "frames", Topic: "wl/1/{relay}/{sensor}/frame", Format: FormatFrame},
	{Name: "json", Topic: "wl/1/{relay}/{sensor}/json", Format: FormatJSON},
	{Name: "site", Topic: "hospital/+/{sensor}/vitals/#", Format: FormatJSON},
	{Name: "keyed", Topic: "keyed/{relay}/{sensor}/json", Format: FormatJSON, Key: func(string) []byte { return make([]byte, 16) }},
}

func decoder(t testing.TB) *Decoder {
	t.Helper()
	d, err := NewDecoder(ward7, []string{"7w"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func decodeText(t testing.TB, topic, payload string) *Message {
	t.Helper()
	m := &Message{Topic: topic, Payload: []byte(payload), Received: now}
	decoder(t).Decode(m, now, true)
	return m
}

const jsonTopic = "wl/1/relay1/s001/json"

func TestTheJSONFormOfTheSpecificationIsRead(t *testing.T) {
	m := decodeText(t, jsonTopic, `{"t":"2026-01-01T12:00:00.250Z","seq":17,"boot":3,"hr":72,"rr":16,"spo2":97,"temp":36.8,"posture":"supine","battery":0.81,"leads_off":[],"contact":true}`)
	if m.Reason != "" || m.Class != Sensor || m.Source.Name != "json" || m.Relay != "relay1" || m.Sensor != "s001" {
		t.Fatalf("%s %s: %+v", m.Reason, m.Detail, m)
	}
	o := m.Obs
	if o.At != now || o.Received != now || o.Boot != 3 || o.Seq != 17 || !o.Sequenced || o.Contact != vital.Good || !o.Leads || o.LeadsOff != 0 {
		t.Errorf("observation %+v", o)
	}
	want := map[vital.Vital]float64{vital.HeartRate: 72, vital.RespRate: 16, vital.SpO2: 97, vital.Temperature: 36.8, vital.Posture: 1, vital.Battery: 0.81}
	if len(o.Readings) != len(want) {
		t.Errorf("readings %v", o.Readings)
	}
	for _, r := range o.Readings {
		if r.Value != want[r.Vital] || r.At != now || r.Quality != 100 {
			t.Errorf("%v is %+v, want %v", r.Vital, r, want[r.Vital])
		}
	}
}

func TestWhatIsRefusedSaysWhatAndWhereAndWhatWasMeant(t *testing.T) {
	at := `"t":"2026-01-01T12:00:00.250Z"`
	for _, c := range []struct {
		payload string
		reason  Reason
		says    string
	}{
		{``, "empty", "no bytes"},
		{`{`, MalformedJSON, "byte 1"},
		{`[]`, MalformedJSON, "want an object"},
		{`{` + at + `,"hr":072}`, MalformedJSON, "zero"},
		{`{` + at + `,"hr":72} x`, MalformedJSON, "more after"},
		{`{` + at + `,"hr":72,}`, MalformedJSON, "string"},
		{"{\"a\":\"\x01\"}", MalformedJSON, "control"},
		{`{` + at + `,"hr":"72"}`, WrongType, "hr is a string, want a number"},
		{`{` + at + `,"hr":null}`, WrongType, "hr is null"},
		{`{` + at + `,"contact":1}`, WrongType, "contact is a number, want true or false"},
		{`{` + at + `,"leads_off":"RA"}`, WrongType, "leads_off is a string, want an array"},
		{`{` + at + `,"leads_off":["XX"]}`, WrongType, "RA LA LL"},
		{`{` + at + `,"leads_off":["RA",1]}`, WrongType, "leads_off is an array"},
		{`{` + at + `,"posture":7}`, WrongType, "posture is a number"},
		{`{` + at + `,"hr":1,"seq":0,"boot":1}`, WrongType, "seq is 0, want a whole number from 1"},
		{`{` + at + `,"hr":1,"seq":1.5,"boot":1}`, WrongType, "seq is 1.5"},
		{`{` + at + `,"hr":72,"seq":1}`, "limit", "together"},
		{`{"t":"2026-01-01 12:00:00","hr":72}`, WrongType, "RFC 3339"},
		{`{"t":"2026-01-01T12:00:00","hr":72}`, WrongType, "zone"},
		{`{"t":"2026-02-30T12:00:00Z","hr":72}`, WrongType, "RFC 3339"},
		{`{"t":1.7e15,"hr":72}`, WrongType, "whole number"},
		{`{"t":true,"hr":72}`, WrongType, "t is true or false"},
		{`{"hr":72}`, MissingTime, "RFC 3339"},
		{`{}`, MissingTime, "there is no t"},
		{`{` + at + `}`, NoVital, "none of hr"},
		{`{` + at + `,"bp":120}`, NoVital, "none of hr"},
		{`{"t":"2026-01-01T12:00:06Z","hr":72}`, Future, "5.75s ahead"},
		{`{"t":"2025-12-24T12:00:00Z","hr":72}`, TooOld, "7 days"},
		{`{"t":1767268800,"hr":72}`, TooOld, "looks like seconds"},
		{`{"t":1767268800250,"hr":72}`, TooOld, "looks like milliseconds"},
		{`{` + at + `,"x":"` + strings.Repeat("y", 4096) + `"}`, TooLarge, "at most 4096"},
	} {
		m := decodeText(t, jsonTopic, c.payload)
		if m.Reason != c.reason || !strings.Contains(m.Detail, c.says) {
			t.Errorf("%.60s: %s: %s; want %s and %q", c.payload, m.Reason, m.Detail, c.reason, c.says)
		}
	}
	if m := decodeText(t, "keyed/relay1/s001/json", `{`+at+`,"hr":72}`); m.Reason != "tag_missing" {
		t.Errorf("JSON of a sensor with a key: %q %s", m.Reason, m.Detail)
	}
}

func TestImplausibleValuesAreSetAsideOneByOne(t *testing.T) {
	m := decodeText(t, jsonTopic, `{"t":1767268800250000,"hr":500,"spo2":97,"temp":-4,"posture":"dancing","bp":1}`)
	if m.Reason != "" || m.Implausible != 3 || m.UnknownKeys != 1 || len(m.Obs.Readings) != 1 || m.Obs.Readings[0].Vital != vital.SpO2 {
		t.Errorf("%s %s, %d implausible, %d unknown, readings %v", m.Reason, m.Detail, m.Implausible, m.UnknownKeys, m.Obs.Readings)
	}
	if !strings.Contains(m.Detail, "posture") {
		t.Errorf("detail %q", m.Detail)
	}
	m = decodeText(t, jsonTopic, `{"t":1767268800250000,"leads_off":["RA","V6"],"battery_low":true,"contact":false}`)
	if m.Reason != "" || m.Obs.LeadsOff != vital.LeadRA|vital.LeadV6 || m.Obs.Battery != vital.Bad || m.Obs.Contact != vital.Bad {
		t.Errorf("%s %s: %+v", m.Reason, m.Detail, m.Obs)
	}
}

func TestWithoutASeqTheContentTellsARepeat(t *testing.T) {
	a := decodeText(t, jsonTopic, `{"t":1767268800250000,"hr":72}`)
	b := decodeText(t, jsonTopic, `{"t":1767268800250000,"hr":72}`)
	c := decodeText(t, jsonTopic, `{"t":1767268800250000,"hr":73}`)
	if a.Obs.Sequenced || a.Obs.Hash == 0 || a.Obs.Hash != b.Obs.Hash || a.Obs.Hash == c.Obs.Hash {
		t.Errorf("hashes %x %x %x", a.Obs.Hash, b.Obs.Hash, c.Obs.Hash)
	}
}

func TestTopicsSayWhatAMessageSpeaksOf(t *testing.T) {
	good := `{"t":1767268800250000,"hr":72}`
	for _, c := range []struct {
		topic  string
		class  Class
		reason Reason
		is     string
	}{
		{"wl/1/r/s/json", Sensor, "", "json r s"},
		{"hospital/4/s9/vitals/x/y", Sensor, "", "site  s9"},
		{"hospital/4/s9/vitals", Sensor, "", "site  s9"},
		{"wl/1/ward/s/json", Stray, WrongTopic, ""},
		{"wl/1/r/s!/json", Sensor, WrongTopic, ""},
		{"wl/1/r//json", Sensor, WrongTopic, ""},
		{"wl/1/r/s/json/x", Stray, WrongTopic, ""},
		{"elsewhere", Stray, WrongTopic, ""},
		{"wl/1/ward/7w/bed/12/response", Response, "", "7w 12"},
		{"wl/1/ward/7w/response", Response, "", "7w "},
		{"wl/1/r/state", Relay, MalformedState, ""},
	} {
		m := decodeText(t, c.topic, good)
		is := m.Ward + " " + m.Bed
		if m.Source != nil {
			is = m.Source.Name + " " + m.Relay + " " + m.Sensor
		}
		if m.Class != c.class || m.Reason != c.reason || c.is != "" && is != c.is {
			t.Errorf("%s: class %d, %q %s, %q", c.topic, m.Class, m.Reason, m.Detail, is)
		}
	}
	if m := decodeText(t, "wl/1/r/state", `{"online":false}`); m.Reason != "" || m.Relay != "r" || m.State.Online {
		t.Errorf("relay's state: %s %s %+v", m.Reason, m.Detail, m.State)
	}
}

func TestSourcesThatCannotWorkAreRefused(t *testing.T) {
	for _, s := range []Source{
		{Name: "", Topic: "{sensor}", Format: FormatJSON},
		{Name: "a", Topic: "x/y", Format: FormatJSON},
		{Name: "a", Topic: "x/#/{sensor}", Format: FormatJSON},
		{Name: "a", Topic: "x/a{sensor}", Format: FormatJSON},
		{Name: "a", Topic: "{sensor}/{sensor}", Format: FormatJSON},
		{Name: "a", Topic: "{sensor}", Format: "xml"},
	} {
		if _, err := NewDecoder([]Source{s}, nil); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

func wire1(t testing.TB, change func(*biosensorpb.Frame), stamp frame.Stamp) []byte {
	t.Helper()
	f := &biosensorpb.Frame{Major: 1, Sensor: "s001", Boot: 2, Seq: 9, StartUs: now - 60e6, ClockUs: 60e6 - 1e6,
		Readings: []*biosensorpb.Reading{
			{Vital: 147842, OffsetUs: 1e6, Milli: proto.Int32(72000), Unit: 264864},
			{Vital: 150456, OffsetUs: 5e5, Milli: proto.Int32(97000), Unit: 262688, Validity: biosensorpb.Validity_VALIDITY_QUESTIONABLE},
			{Vital: 150388, Milli: proto.Int32(36800), Unit: 1},
			{Vital: 151562, Validity: biosensorpb.Validity_VALIDITY_ARTEFACT},
			{Vital: 149530, Validity: biosensorpb.Validity_VALIDITY_NOT_FOUND},
			{Vital: 999999, Milli: proto.Int32(1), Unit: 1},
		},
		Events: []*biosensorpb.Event{{Kind: biosensorpb.Event_KIND_BUTTON, OffsetUs: 7}, {Kind: biosensorpb.Event_KIND_BATTERY_LOW}},
		State:  &biosensorpb.State{BatteryPercent: proto.Uint32(12), Contact: biosensorpb.Contact_CONTACT_GOOD, LeadsOff: proto.Uint32(2), Posture: biosensorpb.Posture_POSTURE_LEFT},
	}
	if change != nil {
		change(f)
	}
	b, err := frame.Seal(nil, f, nil, stamp)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAFrameIsReadIntoAnObservation(t *testing.T) {
	m := decodeText(t, "wl/1/relay1/s001/frame", string(wire1(t, nil, frame.Stamp{})))
	if m.Reason != "" || m.Frame == nil {
		t.Fatalf("%s: %s", m.Reason, m.Detail)
	}
	o := m.Obs
	if o.At != now || o.Boot != 2 || o.Seq != 9 || !o.Sequenced || o.Contact != vital.Good || o.LeadsOff != vital.LeadLA || !o.Leads || o.Battery != vital.Bad {
		t.Errorf("observation %+v", o)
	}
	want := []vital.Reading{
		{Vital: vital.HeartRate, Quality: 100, At: now, Value: 72},
		{Vital: vital.SpO2, Quality: questionable, At: now - 5e5, Value: 97},
		{Vital: vital.Battery, Quality: 100, At: now, Value: 0.12},
		{Vital: vital.Posture, Quality: 100, At: now, Value: float64(vital.LeftSide)},
	}
	if fmt.Sprint(o.Readings) != fmt.Sprint(want) {
		t.Errorf("readings %v, want %v", o.Readings, want)
	}
	if len(o.Gone) != 1 || o.Gone[0] != vital.Pulse {
		t.Errorf("gone %v, want the pulse that was not found", o.Gone)
	}
	if len(o.Events) != 1 || o.Events[0] != (vital.Happening{Kind: vital.Button, At: now - 1e6 + 7}) {
		t.Errorf("events %v", o.Events)
	}
	if m.Implausible != 1 || m.UnknownKeys != 1 || !strings.Contains(m.Detail, "temp is in unit 1") {
		t.Errorf("%d implausible, %d unknown, %q", m.Implausible, m.UnknownKeys, m.Detail)
	}
}

func TestAnECGIsKnownByItsLead(t *testing.T) {
	for lead, want := range map[biosensorpb.Mdc]bool{
		biosensorpb.Mdc_MDC_ECG_ELEC_POTL: true, biosensorpb.Mdc_MDC_ECG_ELEC_POTL_II: true, biosensorpb.Mdc_MDC_ECG_ELEC_POTL_MCL: true,
		biosensorpb.Mdc_MDC_PRIVATE_ECG_2: true, biosensorpb.Mdc_MDC_IMPED_TTHOR: false, biosensorpb.Mdc_MDC_PULS_OXIM_PLETH: false,
	} {
		m := decodeText(t, "wl/1/relay1/s001/frame", string(wire1(t, func(f *biosensorpb.Frame) {
			f.Waveforms = []*biosensorpb.Waveform{{Lead: uint32(lead), IntervalNum: 4096, IntervalDen: 1, Scale: 5000}}
		}, frame.Stamp{})))
		if m.Reason != "" || m.Obs.ECG != want {
			t.Errorf("%s: an ECG %v, want %v (%s %s)", lead, m.Obs.ECG, want, m.Reason, m.Detail)
		}
	}
}

func TestAFrameOfASensorWithoutTheTimeIsTimedByWhoReceivedIt(t *testing.T) {
	unset := func(f *biosensorpb.Frame) { f.StartUs = 0 }
	for _, c := range []struct {
		stamp frame.Stamp
		at    int64
	}{
		{frame.Stamp{}, now},
		{frame.Stamp{ReceivedUS: now - 3e6, Clock: biosensorpb.Clock_CLOCK_SYNCHRONISED}, now - 3e6},
		{frame.Stamp{ReceivedUS: now - 3e6, Clock: biosensorpb.Clock_CLOCK_FREE}, now},
	} {
		m := decodeText(t, "wl/1/relay1/s001/frame", string(wire1(t, unset, c.stamp)))
		if m.Reason != "" || m.Obs.At != c.at {
			t.Errorf("stamp %+v: %s at %d, want %d", c.stamp, m.Reason, m.Obs.At, c.at)
		}
	}
}

func TestFramesThatAreRefused(t *testing.T) {
	good := wire1(t, nil, frame.Stamp{})
	for _, c := range []struct {
		payload string
		topic   string
		reason  Reason
	}{
		{"", "wl/1/relay1/s001/frame", "empty"},
		{"rubbish", "wl/1/relay1/s001/frame", MalformedFrame},
		{string(good), "wl/1/relay1/s002/frame", WrongSensor},
		{strings.Repeat("x", 1<<20), "wl/1/relay1/s001/frame", TooLarge},
		{string(wire1(t, func(f *biosensorpb.Frame) { f.StartUs += 10e6 }, frame.Stamp{})), "wl/1/relay1/s001/frame", Future},
		{string(wire1(t, func(f *biosensorpb.Frame) { f.StartUs -= 8 * 86400e6 }, frame.Stamp{})), "wl/1/relay1/s001/frame", TooOld},
	} {
		if m := decodeText(t, c.topic, c.payload); m.Reason != c.reason || m.Detail == "" {
			t.Errorf("%.20q at %s: %s %s, want %s", c.payload, c.topic, m.Reason, m.Detail, c.reason)
		}
	}
}

func TestATimeIsHeldAgainstAClockThatCanBeBelievedOnly(t *testing.T) {
	for _, c := range []struct {
		t                int64
		believed, unsure Reason
	}{
		{now, "", ""},
		{now + 3600e6, Future, ""},
		{now - 30*86400e6, TooOld, ""},
		{1767268800250, TooOld, ""}, // in milliseconds, or a clock that was never set
		{frame.MaxStartUS, Future, Future},
		{9e15, Future, Future},
		{0, TooOld, TooOld},
		{-5, TooOld, TooOld},
	} {
		m := &Message{Topic: jsonTopic, Payload: fmt.Appendf(nil, `{"t":%d,"hr":72}`, c.t), Received: now}
		for synchronised, want := range map[bool]Reason{true: c.believed, false: c.unsure} {
			if decoder(t).Decode(m, now, synchronised); m.Reason != want {
				t.Errorf("%d, synchronised %v: %q %s, want %q", c.t, synchronised, m.Reason, m.Detail, want)
			}
		}
	}
}

func TestAMessageDecodedAgainIsTheSame(t *testing.T) {
	m := &Message{Topic: jsonTopic, Payload: []byte(`{"t":1767268800250000,"hr":720,"rr":16,"x":1}`), Received: now}
	d := decoder(t)
	d.Decode(m, now, true)
	first := fmt.Sprintf("%+v %s %d %d", m.Obs, m.Detail, m.UnknownKeys, m.Implausible)
	d.Decode(m, now, true)
	if again := fmt.Sprintf("%+v %s %d %d", m.Obs, m.Detail, m.UnknownKeys, m.Implausible); again != first {
		t.Errorf("%s\nthen %s", first, again)
	}
}

// FuzzJSON holds the scanner against encoding/json: the same bytes are JSON, and
// the same values are read.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"t":"2026-01-01T12:00:00.250Z","seq":17,"boot":3,"hr":72,"rr":16.5e0,"posture":"supine","leads_off":["RA"],"contact":true}`,
		`{"hr":1e400,"x":{"a":[1,{"b":null}]},"t":1}`, "{\"\\u0068r\":1,\"t\":2}", `{"a":"\ud800","b":"é` + "\xff" + `"}`, `{ } `, `{"hr":-0.0,"hr":12345678901234567890}`,
	} {
		f.Add([]byte(s))
	}
	d := decoder(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > frame.MaxJSON {
			return
		}
		m := &Message{Topic: jsonTopic, Payload: b, Received: now}
		d.Decode(m, now, true)
		var keys map[string]json.RawMessage
		err := json.Unmarshal(b, &keys)
		if (err == nil && keys != nil) == (m.Reason == MalformedJSON) {
			t.Fatalf("%q: %s %s; encoding/json says %v", b, m.Reason, m.Detail, err)
		}
		if m.Reason != "" || err != nil {
			return
		}
		for _, r := range m.Obs.Readings {
			if r.Vital == vital.Posture {
				continue
			}
			var want float64
			if err := json.Unmarshal(keys[r.Vital.String()], &want); err != nil || want != r.Value {
				t.Fatalf("%q: %v is %v, encoding/json reads %v, %v", b, r.Vital, r.Value, want, err)
			}
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-01-01T12:00:00.250Z", "2024-02-29T23:59:59+05:30", "0000-01-01T00:00:00-00:00", "2026-01-01T12:00:00.1234567Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		us, ok := parseTime([]byte(s))
		if !ok {
			return
		}
		want, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
		if err != nil || floor(want) != us {
			t.Fatalf("%q is %d; the library says %v, %v", s, us, want, err)
		}
	})
}

func floor(x time.Time) int64 { return x.Unix()*1_000_000 + int64(x.Nanosecond()/1000) }

func TestTimesAreReadToTheMicrosecond(t *testing.T) {
	for s, want := range map[string]int64{
		"2026-01-01T12:00:00.250Z": now, "2026-01-01T13:00:00.25+01:00": now, "2026-01-01t12:00:00.2500009z": now,
		"2026-01-01T07:30:00.25-04:30": now,
	} {
		if got, ok := parseTime([]byte(s)); !ok || got != want {
			t.Errorf("%s is %d, %v; want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "2026-01-01T12:00:00.Z", "2026-1-01T12:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T12:00:00+1:00", "2026-01-01T12:00:00,5Z", "2026-01-01T12:00:00ZZ"} {
		if _, ok := parseTime([]byte(s)); ok {
			t.Errorf("%s was read", s)
		}
	}
}

const benchJSON = `{"t":"2026-01-01T12:00:00.250Z","seq":17,"boot":3,"hr":72,"rr":16,"spo2":97,"temp":36.8,"posture":"supine","battery":0.81,"leads_off":[]}`

func BenchmarkJSON(b *testing.B) {
	d := decoder(b)
	m := &Message{Topic: "wl/1/relay01/sensor0001/json", Payload: []byte(benchJSON), Received: now}
	b.ReportAllocs()
	for b.Loop() {
		if d.Decode(m, now, true); m.Reason != "" {
			b.Fatal(m.Detail)
		}
	}
}

func BenchmarkEncodingJSON(b *testing.B) {
	type form struct {
		T        json.RawMessage `json:"t"`
		Seq      *uint32         `json:"seq"`
		Boot     *uint32         `json:"boot"`
		HR       *float64        `json:"hr"`
		RR       *float64        `json:"rr"`
		SpO2     *float64        `json:"spo2"`
		Temp     *float64        `json:"temp"`
		Posture  *string         `json:"posture"`
		Battery  *float64        `json:"battery"`
		LeadsOff *[]string       `json:"leads_off"`
	}
	b.ReportAllocs()
	for b.Loop() {
		var f form
		if err := json.Unmarshal([]byte(benchJSON), &f); err != nil || math.Abs(*f.HR-72) > 0 {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	d := decoder(b)
	m := &Message{Topic: "wl/1/relay1/s001/frame", Payload: wire1(b, nil, frame.Stamp{}), Received: now}
	b.ReportAllocs()
	for b.Loop() {
		if d.Decode(m, now, true); m.Reason != "" {
			b.Fatal(m.Detail)
		}
	}
}

func TestHowFarATimeIsOffIsSaidInTheUnitThatFits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		27187*time.Hour + 18*time.Minute: "3 years", 400 * 24 * time.Hour: "400 days", 30 * time.Hour: "30 hours",
		90 * time.Minute: "90 minutes", 10035 * time.Millisecond: "10.035s",
	} {
		if got := span(d.Microseconds()); got != want {
			t.Errorf("%s is said as %q, want %q", d, got, want)
		}
	}
}
