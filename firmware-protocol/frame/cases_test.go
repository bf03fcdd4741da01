package frame

import (
	"bytes"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "wardline/firmware-protocol/biosensorpb"
)

// vector is one message that every codec of the protocol must judge alike.
type vector struct {
	name, why string
	kind      string // frame or request
	key       []byte
	wire      []byte
	repeats   string // name of the vector with the same boot and seq
}

var (
	key1 = bytes.Repeat([]byte{0x5a}, 32)
	key2 = bytes.Repeat([]byte{0xa5}, 32)
)

const start2026 = 1_767_225_600_000_000 // 2026-01-01T00:00:00Z

// plain is a frame as a vitals-only sensor sends it.
func plain() *pb.Frame {
	return &pb.Frame{Major: 1, Sensor: "s001", Boot: 3, Seq: 17, StartUs: start2026, ClockUs: 16_000_000,
		Readings: []*pb.Reading{reading(pb.Mdc_MDC_ECG_HEART_RATE, pb.Mdc_MDC_DIM_BEAT_PER_MIN, 72000)}}
}

func reading(vital, unit pb.Mdc, milli int32) *pb.Reading {
	return &pb.Reading{Vital: uint32(vital), Unit: uint32(unit), Milli: new(milli)}
}

// with is plain, changed.
func with(change func(f *pb.Frame)) *pb.Frame {
	f := plain()
	change(f)
	return f
}

// wave is a waveform of n samples, each one count above the one before.
func wave(n int) *pb.Waveform {
	w := &pb.Waveform{Lead: uint32(pb.Mdc_MDC_ECG_ELEC_POTL_II), IntervalNum: 4096, IntervalDen: 1, Scale: 5000, First: -3}
	for range n - 1 {
		w.Differences = append(w.Differences, 1)
	}
	return w
}

func withWave(change func(w *pb.Waveform)) *pb.Frame {
	return with(func(f *pb.Frame) {
		w := wave(4)
		change(w)
		f.Waveforms = []*pb.Waveform{w}
	})
}

func full() *pb.Frame {
	f := plain()
	f.Waveforms = []*pb.Waveform{wave(244), {Lead: uint32(pb.Mdc_MDC_IMPED_TTHOR), OffsetUs: 8192, IntervalNum: 40960,
		IntervalDen: 1, Scale: 10_000_000, First: 60, Differences: []int32{-64, 63, -65, 64, 0}}}
	f.Readings = append(f.Readings,
		reading(pb.Mdc_MDC_RESP_RATE, pb.Mdc_MDC_DIM_RESP_PER_MIN, 16000),
		reading(pb.Mdc_MDC_TEMP_SKIN, pb.Mdc_MDC_DIM_DEGC, 36800),
		&pb.Reading{Vital: uint32(pb.Mdc_MDC_PULS_OXIM_SAT_O2), Unit: uint32(pb.Mdc_MDC_DIM_PERCENT), OffsetUs: 999_424,
			Validity: pb.Validity_VALIDITY_ARTEFACT, Quality: new(uint32(12))})
	f.Events = []*pb.Event{{Kind: pb.Event_KIND_LEAD_OFF, OffsetUs: 500, Value: 1},
		{Kind: pb.Event_KIND_RHYTHM_NOTE, Note: "(AFIB"}}
	f.State = &pb.State{BatteryMv: new(uint32(2901)), BatteryPercent: new(uint32(81)), RssiDbm: new(int32(-61)),
		Contact: pb.Contact_CONTACT_POOR, LeadsOff: new(uint32(1)), Posture: pb.Posture_POSTURE_LEFT,
		StoragePermille: new(uint32(7)), OldestSeq: new(uint32(1))}
	return f
}

// raw is the envelope of m without any check.
func raw(m proto.Message, key []byte, extra ...byte) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	var domain []byte
	if _, ok := m.(*pb.Request); ok {
		domain = requestDomain
	}
	return rawBody(append(b, extra...), key, domain)
}

func rawBody(body, key, domain []byte) []byte {
	out := append(protowire.AppendVarint([]byte{keyBody}, uint64(len(body))), body...)
	if key != nil {
		out = append(append(out, keyTag, tagBytes), sign(nil, key, domain, body)[:tagBytes]...)
	}
	return out
}

func field(num protowire.Number, typ protowire.Type) []byte {
	return protowire.AppendTag(nil, num, typ)
}

// padded is f with an unknown field that makes its body size bytes.
func padded(f *pb.Frame, size int) []byte {
	have := proto.Size(f)
	pad := append(field(1000, protowire.BytesType), 0x80|byte((size-have-4)&0x7f), byte((size-have-4)>>7))
	return append(pad, make([]byte, size-have-4)...)
}

func repeat[T any](n int, v T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func ask(change func(r *pb.Request)) []byte {
	r := &pb.Request{Major: 1, Id: 9}
	change(r)
	return raw(r, nil)
}

func seqs(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = uint32(i + 1)
	}
	return out
}

func cases() []vector {
	stamped := append(raw(plain(), nil), 0x1a, 11, 0x08)
	stamped = append(protowire.AppendVarint(stamped, start2026+17_000_000), 0x10, 1)
	sealed := raw(plain(), key1)
	flip := func(b []byte, i int) []byte { b = bytes.Clone(b); b[(i+len(b))%len(b)] ^= 1; return b }
	var all []vector
	ok := func(kind string, key []byte) func(name, why string, wire []byte) {
		return func(name, why string, wire []byte) {
			all = append(all, vector{name: name, why: why, kind: kind, key: key, wire: wire})
		}
	}
	f, keyed, q := ok("frame", nil), ok("frame", key1), ok("request", nil)

	f("plain", "one reading, nothing else", raw(plain(), nil))
	f("full", "something of everything", raw(full(), nil))
	f("stamped", "the relay's stamp beside the body", stamped)
	f("state-only", "a state is content enough", raw(with(func(f *pb.Frame) { f.Readings, f.State = nil, &pb.State{} }), nil))
	f("no-start", "a sensor that does not know the time", raw(with(func(f *pb.Frame) { f.StartUs = 0 }), nil))
	f("no-value", "a reading without a value says why", raw(with(func(f *pb.Frame) {
		f.Readings[0].Milli, f.Readings[0].Validity = nil, pb.Validity_VALIDITY_NOT_FOUND
	}), nil))
	f("negative-value", "values and samples are signed", raw(with(func(f *pb.Frame) { f.Readings[0].Milli = new(int32(-1500)) }), nil))
	all = append(all, vector{name: "repeated", why: "the same boot and seq again: opened alike, dropped by whoever counts",
		kind: "frame", wire: raw(plain(), nil), repeats: "plain"})
	keyed("tagged", "a tag under the sensor's key", sealed)
	f("tag-not-asked-for", "a site without keys accepts a tag", sealed)
	keyed("tagged-and-stamped", "the stamp is not under the tag", append(bytes.Clone(sealed), 0x1a, 2, 0x10, 2))
	unpacked := raw(withWave(func(w *pb.Waveform) { w.Differences = nil }), nil)
	f("one-sample", "a waveform of one sample has no differences", unpacked)

	keyed("tag-missing", "the site sets keys", raw(plain(), nil))
	keyed("tag-wrong", "one bit of the tag is another", flip(sealed, -1))
	keyed("tag-of-another-key", "sealed under another sensor's key", raw(plain(), key2))
	keyed("body-changed", "one bit of the body is another", flip(sealed, 8))
	keyed("tag-of-a-request", "a request's tag does not serve for a frame", rawBody(bodyOf(plain()), key1, requestDomain))
	f("tag-short", "a tag has 16 bytes", append(raw(plain(), nil), keyTag, 3, 1, 2, 3))

	f("empty", "no bytes at all", []byte{})
	f("no-body", "an envelope with a stamp only", []byte{0x1a, 2, 0x10, 1})
	f("empty-body", "a body of no bytes", []byte{keyBody, 0})
	f("nothing-inside", "a frame with neither waveform, reading, event nor state", raw(with(func(f *pb.Frame) { f.Readings = nil }), nil))
	f("truncated-envelope", "cut in the middle of the body", raw(plain(), nil)[:20])
	f("truncated-length", "cut after the body's key", []byte{keyBody})
	f("truncated-body", "the body ends in the middle of a field", rawBody(bodyOf(plain())[:9], nil, nil))
	f("no-protobuf", "text", []byte(`{"hr":72}`))
	f("group-unended", "a group that does not end", append(raw(plain(), nil), 0x4b))
	f("body-of-another-type", "field 1 of the envelope is a number", []byte{0x08, 1})
	f("stamp-damaged", "the stamp ends in the middle of a number", append(raw(plain(), nil), 0x1a, 2, 0x08, 0xff))
	f("seq-of-another-type", "field 4 of the frame is bytes", raw(with(func(f *pb.Frame) { f.Seq = 0 }), nil, append(field(4, protowire.BytesType), 0)...))
	f("sensor-not-utf8", "an id with bytes that are no text", rawBody(bytes.Replace(bodyOf(plain()), []byte("s001"), []byte("s\xff01"), 1), nil, nil))

	f("newer-minor", "unknown fields in frame and envelope are kept and passed over",
		append(raw(plain(), nil, append(field(900, protowire.VarintType), 5)...), append(field(77, protowire.BytesType), 1, 9)...))
	f("newer-minor-enum", "an event, validity and posture that this version does not know", raw(with(func(f *pb.Frame) {
		f.Events = []*pb.Event{{Kind: 99}}
		f.State = &pb.State{Posture: 77, Contact: 9}
		f.Readings[0].Milli, f.Readings[0].Validity = nil, 88
	}), nil))
	f("older-minor", "a sensor of the first release: no state, no quality, no clock", raw(with(func(f *pb.Frame) { f.ClockUs = 0 }), nil))
	f("newer-major", "major version 2", raw(with(func(f *pb.Frame) { f.Major = 2 }), nil))
	f("newer-major-unreadable", "major version 2, and what follows is nothing to version 1", rawBody([]byte{0x08, 2, 0xff, 0xff}, nil, nil))
	f("no-major", "field 1 left out", raw(with(func(f *pb.Frame) { f.Major = 0 }), nil))
	f("major-zero", "field 1 is 0", rawBody(append([]byte{0x08, 0}, bodyOf(plain())[2:]...), nil, nil))
	f("major-not-first", "field 1 follows another", rawBody(append(bodyOf(plain())[2:], 0x08, 1), nil, nil))

	f("wire-at-limit", "a message of 16384 bytes", padTo(raw(plain(), nil), MaxWire))
	f("wire-over-limit", "a message of 16385 bytes", padTo(raw(plain(), nil), MaxWire+1))
	f("body-at-limit", "a body of 16320 bytes", raw(plain(), nil, padded(plain(), MaxBody)...))
	f("body-over-limit", "a body of 16321 bytes", raw(plain(), nil, padded(plain(), MaxBody+1)...))
	limits(f)
	requests(q)
	all = append(all, vector{name: "request-tagged", why: "a request under the sensor's key", kind: "request", key: key1,
		wire: raw(&pb.Request{Major: 1, Id: 1, Ask: &pb.Request_Identify{Identify: &pb.Identify{Seconds: 5}}}, key1)})
	all = append(all, vector{name: "request-tag-of-a-frame", why: "a frame's tag does not serve for a request", kind: "request", key: key1, wire: sealed})
	return all
}

func bodyOf(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// padTo adds an unknown field that makes the message n bytes.
func padTo(wire []byte, n int) []byte {
	pad := n - len(wire) - 4
	wire = append(wire, append(field(100, protowire.BytesType), 0x80|byte(pad&0x7f), byte(pad>>7))...)
	return append(wire, make([]byte, pad)...)
}

// limits adds a vector at each limit and one just over it.
func limits(add func(name, why string, wire []byte)) {
	pair := func(name, what string, at, over *pb.Frame) {
		add(name+"-at-limit", what+": the last that is allowed", raw(at, nil))
		add(name+"-over-limit", what+": the first that is not", raw(over, nil))
	}
	change := func(name, what string, at, over func(f *pb.Frame)) { pair(name, what, with(at), with(over)) }
	inWave := func(name, what string, at, over func(w *pb.Waveform)) { pair(name, what, withWave(at), withWave(over)) }

	change("sensor", "32 letters", func(f *pb.Frame) { f.Sensor = strings.Repeat("s", 32) }, func(f *pb.Frame) { f.Sensor = strings.Repeat("s", 33) })
	change("sensor-letters", "letters of an id", func(f *pb.Frame) { f.Sensor = "A-z_0.9" }, func(f *pb.Frame) { f.Sensor = "a/b" })
	change("boot", "boot counts from 1", func(f *pb.Frame) { f.Boot = 1 }, func(f *pb.Frame) { f.Boot = 0 })
	change("seq", "seq counts from 1", func(f *pb.Frame) { f.Seq = 1 }, func(f *pb.Frame) { f.Seq = 0 })
	change("start-low", "1990-01-01", func(f *pb.Frame) { f.StartUs = MinStartUS }, func(f *pb.Frame) { f.StartUs = MinStartUS - 1 })
	change("start-high", "the year 2100", func(f *pb.Frame) { f.StartUs = MaxStartUS - 1 }, func(f *pb.Frame) { f.StartUs = MaxStartUS })
	change("clock", "2^48 µs", func(f *pb.Frame) { f.ClockUs = MaxClockUS }, func(f *pb.Frame) { f.ClockUs = MaxClockUS + 1 })
	change("waveforms", "8 waveforms", func(f *pb.Frame) { f.Waveforms = repeat(8, wave(2)) }, func(f *pb.Frame) { f.Waveforms = repeat(9, wave(2)) })
	change("readings", "64 readings", func(f *pb.Frame) { f.Readings = repeat(64, f.Readings[0]) }, func(f *pb.Frame) { f.Readings = repeat(65, f.Readings[0]) })
	button := &pb.Event{Kind: pb.Event_KIND_BUTTON}
	change("events", "32 events", func(f *pb.Frame) { f.Events = repeat(32, button) }, func(f *pb.Frame) { f.Events = repeat(33, button) })
	change("samples", "4096 samples of a waveform", func(f *pb.Frame) { f.Waveforms = []*pb.Waveform{wave(4096)} },
		func(f *pb.Frame) { f.Waveforms = []*pb.Waveform{wave(4097)} })
	change("frame-samples", "8192 samples of a frame", func(f *pb.Frame) { f.Waveforms = repeat(2, wave(4096)) },
		func(f *pb.Frame) { f.Waveforms = append(repeat(2, wave(4096)), wave(1)) })
	inWave("sample-high", "2^23-1", func(w *pb.Waveform) { w.First, w.Differences = MaxSample-1, []int32{1} },
		func(w *pb.Waveform) { w.First, w.Differences = MaxSample-1, []int32{1, 1} })
	inWave("sample-low", "-2^23", func(w *pb.Waveform) { w.First = MinSample }, func(w *pb.Waveform) { w.First = MinSample - 1 })
	inWave("lead", "a lead has a code", func(w *pb.Waveform) { w.Lead = 1 }, func(w *pb.Waveform) { w.Lead = 0 })
	inWave("interval-low", "100 µs a sample", func(w *pb.Waveform) { w.IntervalNum, w.IntervalDen = 300, 3 },
		func(w *pb.Waveform) { w.IntervalNum, w.IntervalDen = 299, 3 })
	inWave("interval-high", "10 s a sample", func(w *pb.Waveform) { w.IntervalNum = MaxIntervalUS }, func(w *pb.Waveform) { w.IntervalNum = MaxIntervalUS + 1 })
	inWave("interval-den", "a denominator of 1000000", func(w *pb.Waveform) { w.IntervalNum, w.IntervalDen = 4_000_000_000, 1_000_000 },
		func(w *pb.Waveform) { w.IntervalNum, w.IntervalDen = 4_000_000_000, 1_000_001 })
	inWave("interval-den-zero", "a denominator of 1, and of 0", func(w *pb.Waveform) { w.IntervalDen = 1 }, func(w *pb.Waveform) { w.IntervalDen = 0 })
	inWave("scale-high", "one unit a count", func(w *pb.Waveform) { w.Scale = MaxScale }, func(w *pb.Waveform) { w.Scale = MaxScale + 1 })
	inWave("scale-low", "one nano-unit a count", func(w *pb.Waveform) { w.Scale = 1 }, func(w *pb.Waveform) { w.Scale = 0 })
	inWave("span", "a last sample 60 s after the frame's clock", func(w *pb.Waveform) { w.OffsetUs = MaxSpanUS - 3*4096 },
		func(w *pb.Waveform) { w.OffsetUs = MaxSpanUS - 3*4096 + 1 })
	change("reading-offset", "60 s", func(f *pb.Frame) { f.Readings[0].OffsetUs = MaxSpanUS }, func(f *pb.Frame) { f.Readings[0].OffsetUs = MaxSpanUS + 1 })
	change("quality", "100 of 100", func(f *pb.Frame) { f.Readings[0].Quality = new(uint32(100)) }, func(f *pb.Frame) { f.Readings[0].Quality = new(uint32(101)) })
	change("validity", "a value goes with valid and questionable only",
		func(f *pb.Frame) { f.Readings[0].Validity = pb.Validity_VALIDITY_QUESTIONABLE },
		func(f *pb.Frame) { f.Readings[0].Validity = pb.Validity_VALIDITY_NO_CONTACT })
	change("value-missing", "valid goes with a value", func(f *pb.Frame) { f.Readings[0].Milli = new(int32(0)) }, func(f *pb.Frame) { f.Readings[0].Milli = nil })
	change("vital", "a vital has a code", func(f *pb.Frame) { f.Readings[0].Vital = 1 }, func(f *pb.Frame) { f.Readings[0].Vital = 0 })
	change("unit", "a value has a unit", func(f *pb.Frame) { f.Readings[0].Unit = 1 }, func(f *pb.Frame) { f.Readings[0].Unit = 0 })
	event := func(e *pb.Event) func(f *pb.Frame) { return func(f *pb.Frame) { f.Events = []*pb.Event{e} } }
	change("kind", "an event has a kind", event(&pb.Event{Kind: 1}), event(&pb.Event{}))
	change("event-offset", "60 s", event(&pb.Event{Kind: 1, OffsetUs: MaxSpanUS}), event(&pb.Event{Kind: 1, OffsetUs: MaxSpanUS + 1}))
	change("note", "16 bytes", event(&pb.Event{Kind: 9, Note: "(ABCDEFGHIJKLMN~"}), event(&pb.Event{Kind: 9, Note: "(ABCDEFGHIJKLMN~~"}))
	change("note-letters", "printable ASCII", event(&pb.Event{Kind: 9, Note: " ~"}), event(&pb.Event{Kind: 9, Note: "é"}))
	state := func(s *pb.State) func(f *pb.Frame) { return func(f *pb.Frame) { f.State = s } }
	change("battery", "100 percent", state(&pb.State{BatteryPercent: new(uint32(100))}), state(&pb.State{BatteryPercent: new(uint32(101))}))
	change("storage", "1000 permille", state(&pb.State{StoragePermille: new(uint32(1000))}), state(&pb.State{StoragePermille: new(uint32(1001))}))
	change("oldest-seq", "seqs count from 1", state(&pb.State{OldestSeq: new(uint32(1))}), state(&pb.State{OldestSeq: new(uint32(0))}))
}

func requests(add func(name, why string, wire []byte)) {
	backfill := func(b *pb.Backfill) []byte {
		return ask(func(r *pb.Request) { r.Ask = &pb.Request_Backfill{Backfill: b} })
	}
	identify := func(s uint32) []byte {
		return ask(func(r *pb.Request) { r.Ask = &pb.Request_Identify{Identify: &pb.Identify{Seconds: s}} })
	}
	add("request-list", "back-fill of three frames", backfill(&pb.Backfill{Boot: 3, Seqs: []uint32{4, 9, 2}}))
	add("request-list-at-limit", "100 seqs", backfill(&pb.Backfill{Boot: 3, Seqs: seqs(100)}))
	add("request-list-over-limit", "101 seqs", backfill(&pb.Backfill{Boot: 3, Seqs: seqs(101)}))
	add("request-range-at-limit", "10000 frames", backfill(&pb.Backfill{Boot: 3, FirstSeq: 1, LastSeq: 10_000}))
	add("request-range-over-limit", "10001 frames", backfill(&pb.Backfill{Boot: 3, FirstSeq: 1, LastSeq: 10_001}))
	add("request-range-backwards", "last before first", backfill(&pb.Backfill{Boot: 3, FirstSeq: 9, LastSeq: 8}))
	add("request-range-from-zero", "seqs count from 1", backfill(&pb.Backfill{Boot: 3, LastSeq: 8}))
	add("request-both", "a list and a range", backfill(&pb.Backfill{Boot: 3, Seqs: seqs(1), FirstSeq: 1, LastSeq: 2}))
	add("request-neither", "neither a list nor a range", backfill(&pb.Backfill{Boot: 3}))
	add("request-no-boot", "of which boot", backfill(&pb.Backfill{Seqs: seqs(1)}))
	add("request-stream-off", "stop every waveform", ask(func(r *pb.Request) { r.Ask = &pb.Request_Stream{Stream: &pb.Stream{}} }))
	add("request-identify-at-limit", "60 s", identify(60))
	add("request-identify-over-limit", "61 s", identify(61))
	add("request-identify-zero", "0 s", identify(0))
	add("request-nothing", "asks for nothing", ask(func(*pb.Request) {}))
	add("request-newer-major", "major version 2", ask(func(r *pb.Request) { r.Major = 2 }))
}
