package virtual

import (
	"errors"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
)

var identity = Identity{Sensor: "s001", Boot: 7, Start: time.Unix(1_767_225_600, 0)}

// seen is what a test reads off one frame.
type seen struct {
	at      time.Duration // the frame's end
	value   map[pb.Mdc]float64
	is      map[pb.Mdc]pb.Validity
	state   *pb.State
	events  []*pb.Event
	ecgSpan int32 // highest less lowest count of lead II
}

// watch steps a patient for d and checks every frame on the way.
func watch(t *testing.T, c PatientConfig, d time.Duration) []seen {
	t.Helper()
	c.Identity = identity
	p := NewPatient(c)
	var out []seen
	clock, seq := uint64(0), uint32(0)
	for end := time.Duration(0); end < d; {
		f := p.Step(time.Second)
		if err := frame.Check(f); err != nil {
			t.Fatalf("after %v: %v", end, err)
		}
		if seq++; f.Seq != seq || f.ClockUs != clock {
			t.Fatalf("frame %d at %d, want %d at %d", f.Seq, f.ClockUs, seq, clock)
		}
		f = proto.CloneOf(f)
		clock += uint64(f.Readings[0].OffsetUs)
		end = time.Duration(clock) * time.Microsecond
		s := seen{at: end, value: map[pb.Mdc]float64{}, is: map[pb.Mdc]pb.Validity{}, state: f.State, events: f.Events}
		for _, r := range f.Readings {
			s.is[pb.Mdc(r.Vital)] = r.Validity
			if r.Milli != nil {
				s.value[pb.Mdc(r.Vital)] = float64(*r.Milli) / 1000
			}
		}
		if len(f.Waveforms) > 0 {
			low, high := int32(math.MaxInt32), int32(math.MinInt32)
			for _, v := range frame.Unpack(nil, f.Waveforms[0]) {
				low, high = min(low, v), max(high, v)
			}
			s.ecgSpan = high - low
		}
		out = append(out, s)
	}
	return out
}

const (
	hr   = pb.Mdc_MDC_ECG_HEART_RATE
	rr   = pb.Mdc_MDC_RESP_RATE
	spo2 = pb.Mdc_MDC_PULS_OXIM_SAT_O2
	temp = pb.Mdc_MDC_TEMP_SKIN
)

func TestAPatientWithoutEpisodesStaysInsideTheUsualLimits(t *testing.T) {
	for seed := range uint64(50) {
		for _, s := range watch(t, PatientConfig{Seed: seed}, 10*time.Minute)[30:] {
			for vital, limits := range map[pb.Mdc][2]float64{hr: {52, 110}, rr: {10, 24}, spo2: {94, 100}, temp: {36, 37.6}} {
				if v, ok := s.value[vital]; !ok || v < limits[0] || v > limits[1] {
					t.Fatalf("seed %d at %v: %v is %v (%v)", seed, s.at, vital, v, s.is[vital])
				}
			}
			if s.state.Contact != pb.Contact_CONTACT_GOOD || s.state.GetLeadsOff() != 0 || s.state.GetBatteryPercent() < 60 {
				t.Fatalf("seed %d at %v: %v", seed, s.at, s.state)
			}
		}
	}
}

func TestTheSameSeedGivesTheSameFrames(t *testing.T) {
	c := PatientConfig{Identity: identity, Seed: 42, Leads: 2}
	a, b := NewPatient(c), NewPatient(c)
	c.Seed++
	other, differs := NewPatient(c), false
	for range 60 {
		fa, fb := a.Step(time.Second), b.Step(time.Second)
		if !proto.Equal(fa, fb) {
			t.Fatalf("frame %d differs", fa.Seq)
		}
		differs = differs || !proto.Equal(fa, other.Step(time.Second))
	}
	if !differs {
		t.Error("another seed gives the same patient")
	}
}

// The beats are found again in the samples, by a threshold at half an R wave.
func TestTheBeatsOfTheECGAreThoseOfTheHeartRate(t *testing.T) {
	for _, episodes := range [][]Episode{nil, {{Kind: Tachycardia, For: time.Hour}}} {
		p := NewPatient(PatientConfig{Identity: identity, Seed: 9, Leads: 2, Episodes: episodes})
		const half = 100 // counts: 0.5 mV
		beats, high, rates, sum := 0, false, 0, 0.0
		for i := range 120 {
			f := p.Step(time.Second)
			if len(f.Waveforms) != 3 {
				t.Fatalf("%d waveforms, want two leads and respiration", len(f.Waveforms))
			}
			if i < 30 {
				continue
			}
			for _, v := range frame.Unpack(nil, f.Waveforms[0]) {
				if v > half && !high {
					beats++
				}
				high = v > half
			}
			rates++
			sum += float64(f.Readings[0].GetMilli()) / 1000
		}
		minutes := 90 * float64(samples(time.Second)) * SampleUS / 60e6
		if got, want := float64(beats)/minutes, sum/float64(rates); math.Abs(got-want) > 2 {
			t.Errorf("%v: the ECG beats %.1f a minute, %.1f is reported", episodes, got, want)
		}
	}
}

// breaths are counted where respiration crosses zero upwards.
func TestTheBreathsOfTheWaveformAreThoseOfTheRate(t *testing.T) {
	p := NewPatient(PatientConfig{Identity: identity, Seed: 5, Leads: 1})
	breaths, below, at, sum := 0, false, 0.0, 0.0
	for range 300 {
		f := p.Step(time.Second)
		w := f.Waveforms[1]
		if w.OffsetUs%SampleUS != 0 || (f.ClockUs+uint64(w.OffsetUs))%(respEvery*SampleUS) != 0 {
			t.Fatalf("respiration begins %d µs after %d", w.OffsetUs, f.ClockUs)
		}
		for _, v := range frame.Unpack(nil, w) {
			if v > 0 && below {
				breaths++
			}
			below = v <= 0
			at += respEvery * SampleUS / 60e6
		}
		sum += float64(f.Readings[1].GetMilli()) / 1000
	}
	if got, want := float64(breaths)/at, sum/300; math.Abs(got-want) > 1 {
		t.Errorf("the waveform breathes %.1f a minute, %.1f is reported", got, want)
	}
}

func TestEachEpisodeShowsAndPasses(t *testing.T) {
	const onset, lasts = 60 * time.Second, 90 * time.Second
	run := func(k EpisodeKind) func(at time.Duration) seen {
		all := watch(t, PatientConfig{Seed: 3, Leads: 1, Episodes: []Episode{{Kind: k, After: onset, For: lasts}}}, 5*time.Minute)
		return func(at time.Duration) seen { return all[int(at/time.Second)] }
	}
	below := func(s seen, v pb.Mdc, limit float64) bool { x, ok := s.value[v]; return ok && x < limit }
	above := func(s seen, v pb.Mdc, limit float64) bool { x, ok := s.value[v]; return ok && x > limit }
	for _, c := range []struct {
		kind  EpisodeKind
		shows time.Duration // after the onset
		there func(s seen) bool
	}{
		{Tachycardia, 10 * time.Second, func(s seen) bool { return above(s, hr, 145) }},
		{Desaturation, 20 * time.Second, func(s seen) bool { return below(s, spo2, 86) }},
		{Apnoea, 12 * time.Second, func(s seen) bool { return below(s, rr, 8) }},
		{Fever, 60 * time.Second, func(s seen) bool { return above(s, temp, 39.2) }},
		{BatteryLow, 2 * time.Second, func(s seen) bool { return s.state.GetBatteryPercent() == 8 }},
		{Asystole, 6 * time.Second, func(s seen) bool {
			return s.is[hr] == pb.Validity_VALIDITY_NOT_FOUND && s.state.Contact == pb.Contact_CONTACT_GOOD && s.ecgSpan < 40
		}},
		{LeadOff, 2 * time.Second, func(s seen) bool {
			return s.is[hr] == pb.Validity_VALIDITY_NO_CONTACT && s.is[rr] == pb.Validity_VALIDITY_NO_CONTACT &&
				s.state.GetLeadsOff() == 1 && s.state.Contact == pb.Contact_CONTACT_POOR && s.ecgSpan < 40
		}},
	} {
		at := run(c.kind)
		if s := at(onset - 2*time.Second); c.there(s) {
			t.Errorf("%s: there before its onset: %+v", c.kind, s)
		}
		for after := c.shows; after < lasts; after += time.Second {
			if s := at(onset + after); !c.there(s) {
				t.Errorf("%s: not there %v after its onset: %+v", c.kind, after, s)
				break
			}
		}
		if s := at(onset + lasts + time.Minute); c.there(s) {
			t.Errorf("%s: still there a minute after its end: %+v", c.kind, s)
		}
	}
}

func TestWhatChangesIsAnEvent(t *testing.T) {
	var got []pb.Event_Kind
	for _, s := range watch(t, PatientConfig{Seed: 3, Episodes: []Episode{
		{Kind: LeadOff, After: 10 * time.Second, For: 10 * time.Second},
		{Kind: BatteryLow, After: 30 * time.Second, For: 10 * time.Second}}}, time.Minute) {
		for _, e := range s.events {
			got = append(got, e.Kind)
		}
	}
	want := []pb.Event_Kind{pb.Event_KIND_LEAD_OFF, pb.Event_KIND_LEAD_OFF, pb.Event_KIND_BATTERY_LOW}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAHeartRateFollowsTheRuleOfTheLastIntervals(t *testing.T) {
	var r rate
	at := int64(0)
	beat := func(n int, rrUS int64) {
		for range n {
			at += rrUS
			r.beat(at)
		}
	}
	value := func() float64 { v, _ := r.value(at); return v }
	if _, is := r.value(0); is != pb.Validity_VALIDITY_CALIBRATING {
		t.Errorf("before any beat: %v", is)
	}
	beat(13, 750_000)
	if got := value(); got != 80 {
		t.Errorf("steady: got %v, want 80", got)
	}
	beat(2, 1_500_000) // two long ones: still the mean of twelve
	if got, want := value(), math.Round(60/((10*0.75+2*1.5)/12)); got != want {
		t.Errorf("two long intervals: got %v, want %v", got, want)
	}
	beat(1, 1_500_000) // three: the mean of four
	if got, want := value(), math.Round(60/((0.75+3*1.5)/4)); got != want {
		t.Errorf("three long intervals: got %v, want %v", got, want)
	}
	if _, is := r.value(at + lostUS); is != pb.Validity_VALIDITY_NOT_FOUND {
		t.Errorf("4 s without a beat: %v", is)
	}
}

func TestEpisodesAreReadAsTheyAreWritten(t *testing.T) {
	all, err := ParseEpisodes("tachycardia@20s+1m0s:3, silent@5m , lead_off@0s+500ms")
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	if all[0] != (Episode{3, Tachycardia, 20 * time.Second, time.Minute}) || all[1] != (Episode{1, Silent, 5 * time.Minute, DefaultDuration}) {
		t.Errorf("got %v", all)
	}
	for _, e := range all {
		if again, err := ParseEpisode(e.String()); err != nil || again != e {
			t.Errorf("%v: got %v, %v", e, again, err)
		}
	}
	for _, s := range []string{"flu@1s", "fever", "fever@", "fever@-1s", "fever@1s+0s", "fever@1s:0", "fever@1s:1001", "fever@1s:x", "fever@1s+", "x:3"} {
		if e, err := ParseEpisode(s); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: got %v, %v", s, e, err)
		}
	}
}

func TestAResampledSineIsTheSineResampled(t *testing.T) {
	in := make([]float64, 3600)
	for i := range in {
		in[i] = 200 * math.Sin(2*math.Pi*10*float64(i)/360)
	}
	r := newResampler(in, 360, SampleUS)
	for i := 100; i < 2300; i++ {
		if got, want := r.at(i), 200*math.Sin(2*math.Pi*10*float64(i)*SampleUS/1e6); math.Abs(got-want) > 2 {
			t.Fatalf("sample %d: got %.2f, want %.2f", i, got, want)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for name, leads := range map[string]int{"vitals": 0, "two leads": 2} {
		b.Run(name, func(b *testing.B) {
			p := NewPatient(PatientConfig{Identity: identity, Leads: leads})
			b.ReportAllocs()
			for b.Loop() {
				p.Step(time.Second)
			}
		})
	}
}
