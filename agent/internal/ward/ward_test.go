package ward

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"wardline/shared/alert"
	"wardline/shared/rule"
	"wardline/shared/vital"
)

// The script's time starts here, on the grid.
const start = int64(1_780_000_000) * tick

// script drives a ward and keeps what came of it.
type script struct {
	t      *testing.T
	w      *Ward
	now    Instant
	out    Output
	events []alert.Event
	sums   []Summary
	counts map[string]uint64
	seq    map[string]uint32
}

func packs(t testing.TB) []*rule.Pack {
	t.Helper()
	var out []*rule.Pack
	for _, name := range rule.Builtins() {
		p, err := rule.Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func config(t testing.TB) Config {
	return Config{Gateway: "gw-7w", Packs: packs(t), Wards: []WardConfig{{ID: "7w", Beds: []Binding{
		{Bed: "1", Sensor: "s1", Patient: "p1"},
		{Bed: "2", Sensor: "s2", Patient: "p2", Limits: map[string]float64{"hr.high": 140}},
	}}}}
}

func begin(t *testing.T, c Config) *script {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, w: w, seq: map[string]uint32{}, counts: map[string]uint64{}, now: Instant{Boot: 1, Mono: 50 * tick, Wall: start, Synchronised: true}}
	s.step(Input{Connected: true})
	return s
}

func (s *script) step(in Input) {
	s.out.Reset()
	s.w.Step(s.now, in, &s.out)
	s.events = append(s.events, s.out.Events...)
	s.sums = append(s.sums, s.out.Summaries...)
	for reason, n := range s.out.Counts {
		s.counts[reason] += n
	}
}

// seconds lets time pass; each second every sensor of says sends what it says.
func (s *script) seconds(n int, says map[string]string) {
	for range n {
		s.now.Mono += tick
		s.now.Wall += tick
		s.step(Input{Tick: true})
		for _, sensor := range slices.Sorted(keys(says)) {
			s.step(Input{Observation: s.observation(sensor, says[sensor], s.now.Wall)})
		}
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// observation reads "hr=72 rr=16 contact leads=RA,LL noleads".
func (s *script) observation(sensor, says string, at int64) *vital.Observation {
	s.seq[sensor]++
	o := &vital.Observation{Relay: "r1", Sensor: sensor, Boot: 1, Seq: s.seq[sensor], Sequenced: true, At: at, Received: s.now.Wall}
	for _, word := range strings.Fields(says) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "contact":
			o.Contact = vital.Good
		case "nocontact":
			o.Contact = vital.Bad
		case "leads":
			o.Leads = true
			for l := range strings.SplitSeq(value, ",") {
				x, _ := vital.LeadByName(l)
				o.LeadsOff |= x
			}
		case "ecg":
			o.ECG = true
		case "gone":
			v, _ := vital.ByName(value)
			o.Gone = append(o.Gone, v)
		default:
			v, ok := vital.ByName(name)
			if !ok {
				s.t.Fatalf("no vital %q", name)
			}
			var x float64
			fmt.Sscan(value, &x)
			o.Readings = append(o.Readings, vital.Reading{Vital: v, Value: x, At: at, Quality: 100})
		}
	}
	return o
}

// log spells the events so far: "65s raised hr-high".
func (s *script) log() (out []string) {
	rules := map[alert.ID]string{}
	for _, e := range s.events {
		if e.Condition != nil {
			rules[e.Alert] = e.Condition.Rule
		}
		out = append(out, fmt.Sprintf("%ds %s %s", (e.At-start)/tick, e.Type, rules[e.Alert]))
	}
	return out
}

func (s *script) expect(want ...string) {
	s.t.Helper()
	if got := s.log(); !slices.Equal(got, want) {
		s.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

const (
	well  = "hr=72 rr=16 spo2=97 temp=36.8 contact"
	tachy = "hr=130 rr=16 spo2=97 temp=36.8 contact"
)

func both(says string) map[string]string { return map[string]string{"s1": says, "s2": well} }

func TestAWardOfWellPatientsRaisesNothing(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(1200, both(well))
	s.expect()
	if len(s.counts) > 0 {
		t.Errorf("set aside: %v", s.counts)
	}
}

func TestAHighHeartRateIsRaisedOnceAfterItsDelayAndEndsWithHysteresis(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.seconds(6, both(tachy)) // 61 s to 66 s
	s.expect()
	s.seconds(1, both(tachy))
	s.expect("67s raised hr-high")
	c := s.events[0].Condition
	if c.Text != "Heart rate 130 above 120 /min for 6 s" || c.Onset != start+61*tick || c.Priority != alert.Medium || c.Bed != "1" || c.Patient != "p1" {
		t.Errorf("condition %+v", c)
	}
	if len(c.Evidence) != 2 || c.Evidence[0].Name != "hr" || c.Evidence[0].Value != 130 || c.Evidence[1].Value != 120 {
		t.Errorf("evidence %+v", c.Evidence)
	}
	s.seconds(33, both(tachy)) // to 100 s
	for range 20 {             // crossing to and fro is one episode
		s.seconds(3, both("hr=119 rr=16 spo2=97 temp=36.8 contact"))
		s.seconds(2, both("hr=121 rr=16 spo2=97 temp=36.8 contact"))
	}
	s.expect("67s raised hr-high")
	s.seconds(20, both("hr=117 rr=16 spo2=97 temp=36.8 contact"))
	s.expect("67s raised hr-high", "211s ended hr-high")
	if got := s.w.Alerts("7w", "1"); len(got) != 0 {
		t.Errorf("open: %v", got)
	}
}

func TestALimitOfThePatientCountsInThePlaceOfThePacks(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, map[string]string{"s1": well, "s2": tachy})
	s.expect()
	s.seconds(20, map[string]string{"s1": well, "s2": "hr=145 contact"})
	s.expect("67s raised hr-high")
	if text := s.events[0].Condition.Text; text != "Heart rate 145 above 140 /min for 6 s" {
		t.Error(text)
	}
}

func TestTheWorseSupersedesTheMilderAndLeavesItWhenItEnds(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(30, both(tachy))
	s.seconds(30, both("hr=170 contact"))
	s.seconds(30, both(tachy))
	s.expect("7s raised hr-high", "36s raised hr-extreme-high", "36s ended hr-high", "71s ended hr-extreme-high", "71s raised hr-high")
	if text := s.events[2].Text; text != "Superseded by: Heart rate 170 above 150 /min for 5 s" {
		t.Error(text)
	}
	if last := s.events[4].Condition; last.Previous != s.events[0].Alert {
		t.Errorf("previous is %q, not the first episode", last.Previous)
	}
	open := s.w.Alerts("7w", "1")
	if len(open) != 2 || open[0].Phase != alert.Latched || open[1].Phase != alert.Active {
		t.Fatalf("open: %+v", open)
	}
	e := alert.Event{Alert: open[0].ID, Author: alert.Board, N: 1, Type: alert.Resolved, At: s.now.Wall, By: "ann"}
	s.step(Input{Response: &e})
	if open = s.w.Alerts("7w", "1"); len(open) != 1 || open[0].Condition.Rule != "hr-high" {
		t.Errorf("open after the latched one was resolved: %+v", open)
	}
}

func TestADeepDesaturationIsOneHighAlert(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(660, both(well))
	s.seconds(120, both("hr=72 rr=16 spo2=70 temp=36.8 contact"))
	s.expect("666s raised spo2-extreme-low")
}

func TestAFallOfSpO2SaysHowFar(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(660, both(well))
	s.seconds(30, both("hr=72 rr=16 spo2=88 temp=36.8 contact"))
	s.expect("676s raised spo2-falling")
	if text := s.events[0].Condition.Text; text != "SpO2 88 %, -9 points in 10 min" {
		t.Error(text)
	}
}

func TestALatchedAlertThatIsRaisedAgainGivesWayToTheNewEpisode(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(20, both("hr=170 contact"))
	s.seconds(20, both(well))
	s.seconds(20, both("hr=170 contact"))
	s.expect("6s raised hr-extreme-high", "31s ended hr-extreme-high", "46s resolved hr-extreme-high", "46s raised hr-extreme-high")
	if open := s.w.Alerts("7w", "1"); len(open) != 1 || open[0].Phase != alert.Active {
		t.Errorf("open: %+v", open)
	}
}

func TestNoHeartRateOnGoodContactIsRaisedAfterTenSeconds(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.seconds(9, both("rr=16 spo2=97 temp=36.8 contact"))
	s.expect()
	s.seconds(11, both("rr=16 spo2=97 temp=36.8 contact"))
	s.expect("70s raised no-heart-rate")
	c := s.events[0].Condition
	if c.Text != "No heart rate for 10 s on good contact" || c.Priority != alert.High || !c.Latch {
		t.Errorf("condition %+v", c)
	}
	s.seconds(100, both("rr=16 spo2=97 temp=36.8 contact"))
	s.expect("70s raised no-heart-rate") // and no cannot-monitor beside it
}

func TestALeadThatIsOffSilencesAsystoleAndSaysSo(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.seconds(100, both("rr=16 spo2=97 temp=36.8 leads=RA,LL"))
	s.expect("64s raised lead-off", "124s updated lead-off")
	c := s.events[0].Condition
	if c.Text != "Electrode off: RA, LL" || c.Priority != alert.Low || c.Kind != alert.Technical || c.Subject != (alert.Subject{Kind: "sensor", ID: "s1"}) {
		t.Errorf("condition %+v", c)
	}
	if s.events[1].Condition.Priority != alert.Medium || s.events[1].Condition.Onset != c.Onset {
		t.Errorf("updated %+v", s.events[1].Condition)
	}
}

func TestALeadOffEndsAnAsystoleAlertWithItsReasonButLeavesItLatched(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(20, both(well))
	s.seconds(20, both("rr=16 spo2=97 temp=36.8 contact"))
	s.seconds(10, both("rr=16 spo2=97 temp=36.8 nocontact"))
	s.expect("30s raised no-heart-rate", "41s ended no-heart-rate", "44s raised lead-off")
	if text := s.events[1].Text; !strings.Contains(text, "cannot be judged") {
		t.Error(text)
	}
	if open := s.w.Alerts("7w", "1"); len(open) != 2 || open[0].Phase != alert.Latched {
		t.Errorf("open: %+v", open)
	}
}

func TestASensorThatStopsIsSilentAfterTwelveSecondsAndNothingElse(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.seconds(11, map[string]string{"s2": well})
	s.expect()
	s.seconds(200, map[string]string{"s2": well})
	s.expect("72s raised sensor-silent")
	if text := s.events[0].Condition.Text; text != "No data from the sensor for 12 s" {
		t.Error(text)
	}
	if live := s.w.Live()[0]; live.SilentSince != start+60*tick || len(live.Values) != 0 {
		t.Errorf("live %+v", live)
	}
	s.seconds(5, both(well))
	s.expect("72s raised sensor-silent", "272s ended sensor-silent")
}

func TestASensorThatNeverSpeaksIsSilentTwelveSecondsAfterTheBrokerIsReached(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(100, map[string]string{"s2": well})
	s.expect("12s raised sensor-silent")
}

func TestALostBrokerIsOneAlertAndNotOneASensor(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.step(Input{Disconnected: true})
	s.seconds(300, nil)
	s.expect("71s raised broker-lost")
	if c := s.events[0].Condition; c.Ward != "7w" || c.Bed != "" || c.Priority != alert.High {
		t.Errorf("condition %+v", c)
	}
	s.step(Input{Connected: true})
	s.seconds(60, both(well))
	s.expect("71s raised broker-lost", "361s ended broker-lost")
}

func TestALostRelayIsOneAlertAndNotOneASensor(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.step(Input{Fact: &Fact{Name: "relay_offline", Relay: "r1", On: true}})
	s.seconds(300, nil)
	s.expect("66s raised relay-offline")
	if c := s.events[0].Condition; c.Text != "Relay offline: r1" || c.Subject.ID != "r1" || c.Ward != "7w" {
		t.Errorf("condition %+v", c)
	}
	s.step(Input{Fact: &Fact{Name: "relay_offline", Relay: "r1"}})
	s.seconds(60, both(well))
	s.expect("66s raised relay-offline", "366s ended relay-offline")
}

func TestAVitalThatIsExpectedAndAbsentIsToldAfterAMinute(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.seconds(100, both("hr=72 contact")) // stale 10 s after 60 s, told with the tick
	s.expect("130s raised cannot-monitor")
	if text := s.events[0].Condition.Text; text != "Cannot watch SpO2, RR, T: no usable value for 1 min" {
		t.Error(text)
	}
	s.seconds(30, both(well))
	s.expect("130s raised cannot-monitor", "172s ended cannot-monitor")
}

func TestAHeartRateThatIsAbsentWithoutAWordOnContactIsToldToo(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both("hr=72 spo2=97"))
	s.seconds(100, both("spo2=97"))
	s.expect("130s raised cannot-monitor")
	if text := s.events[0].Condition.Text; text != "Cannot watch HR: no usable value for 1 min" {
		t.Error(text)
	}
}

func TestAnAlertWhoseRuleCannotBeJudgedStaysOpen(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(30, both("spo2=85 hr=72 contact"))
	s.seconds(600, both("hr=72 contact"))
	s.expect("16s raised spo2-low", "100s raised cannot-monitor")
	s.seconds(30, both("spo2=97 hr=72 contact"))
	s.expect("16s raised spo2-low", "100s raised cannot-monitor", "642s ended cannot-monitor", "646s ended spo2-low")
}

func TestLateDataIsSummedUpAndNeverRaises(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	n := len(s.sums)
	for i := range int64(20) {
		s.step(Input{Observation: s.observation("s1", "hr=190", start-1000*tick+i*tick)})
	}
	s.seconds(30, both(well))
	s.expect()
	if s.counts[ReasonLate] != 20 {
		t.Errorf("counts %v", s.counts)
	}
	var late []Summary
	for _, x := range s.sums[n:] {
		if x.Late {
			late = append(late, x)
		}
	}
	if len(late) != 2 || late[0].Vitals[vital.HeartRate].N != 10 || late[0].Start != start-1000*tick || late[1].Vitals[vital.HeartRate].Mean != 190 {
		t.Errorf("late summaries %+v", late)
	}
}

// noRate is a sensor on the skin that finds no heart rate.
const noRate = "rr=16 spo2=97 temp=36.8 contact"

func TestTimeInWhichNobodyListenedIsNotAnAbsentHeartRate(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.step(Input{Disconnected: true})
	s.now.Mono += 8 * tick // too short for an alert of its own
	s.now.Wall += 8 * tick
	s.step(Input{Connected: true})
	s.seconds(8, both(noRate))
	s.expect()
	s.seconds(2, both(noRate))
	s.expect("78s raised no-heart-rate")
}

func TestAVitalThatTheSensorDoesNotFindIsGoneAtOnce(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.seconds(1, both(noRate+" gone=hr"))
	for _, r := range s.w.Live()[0].Values {
		if r.Vital == vital.HeartRate {
			t.Errorf("the heart rate is still shown as %v", r)
		}
	}
	s.seconds(3, both(noRate+" gone=hr"))
	s.expect()
	s.seconds(1, both(noRate+" gone=hr"))
	s.expect("65s raised no-heart-rate")
	if text := s.events[0].Condition.Text; text != "No heart rate for 5 s on good contact" {
		t.Error(text)
	}
}

// A sensor averages for 4 s after the last beat before it says that it finds
// none; its frames are 244 samples of 4,096 µs. IEC 60601-2-27 allows 10 s in all.
func TestAStandstillIsToldWithinTenSecondsOfTheLastBeat(t *testing.T) {
	const frame, averages = 244 * 4096, 4 * tick
	for beat := start + 30*tick; beat < start+31*tick; beat += tick / 50 {
		s := begin(t, config(t))
		for s.now.Wall < start+60*tick && len(s.events) == 0 {
			s.now.Mono += frame
			s.now.Wall += frame
			says := noRate + " gone=hr"
			if s.now.Wall < beat+averages {
				says = well
			}
			s.step(Input{Observation: s.observation("s1", says, s.now.Wall)})
			s.step(Input{Observation: s.observation("s2", well, s.now.Wall)})
		}
		if len(s.events) != 1 || s.events[0].Condition.Rule != "no-heart-rate" {
			t.Fatalf("got %v", s.log())
		}
		if took := s.events[0].At - beat; took < 2*averages-tick/2 || took > 10*tick {
			t.Errorf("a last beat %d ms into a second is told of after %d ms", (beat-start)/1000%1000, took/1000)
		}
	}
}

func TestANotFoundOfOneFrameIsNoStandstill(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	for range 20 {
		s.seconds(1, both(noRate+" gone=hr"))
		s.seconds(7, both(noRate)) // an artefact: nothing is said of the heart rate
		s.seconds(2, both(well))
	}
	s.expect()
}

func TestAHeartRateIsMissedOnlyOfASensorThatMeasuresOne(t *testing.T) {
	const oximeter = "spo2=97 contact"
	of := func(list ...vital.Vital) []vital.Vital { return list }
	for _, c := range []struct {
		name   string
		expect []vital.Vital
		says   string
		want   []string
	}{
		{"an oximeter, as the site says", of(vital.SpO2), oximeter, nil},
		{"an oximeter of which the site says nothing", nil, oximeter, nil},
		{"an ECG whose heart rate the site does not expect", of(vital.SpO2), oximeter + " ecg", nil},
		{"a sensor that should measure it", of(vital.SpO2, vital.HeartRate), oximeter, []string{"11s raised no-heart-rate"}},
		{"an ECG of which the site says nothing", nil, oximeter + " ecg", []string{"11s raised no-heart-rate"}},
		{"a sensor that looks for it and never found one", nil, oximeter + " gone=hr", []string{"5s raised no-heart-rate"}},
		{"the same, whatever the site says", of(vital.SpO2), oximeter + " gone=hr", []string{"5s raised no-heart-rate"}},
		{"an ECG without a word on contact", nil, "spo2=97 ecg", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := config(t)
			x.Wards[0].Beds[0].Expect = c.expect
			s := begin(t, x)
			s.seconds(200, both(c.says))
			s.expect(c.want...)
		})
	}
}

// Such as a recording without beats that is played after one with them.
func TestContactThatASensorSaidBeforeItBeganAnewDoesNotHold(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well+" leads="))
	for range 100 {
		s.seconds(1, map[string]string{"s2": well})
		o := s.observation("s1", "rr=16 spo2=97 temp=36.8 ecg", s.now.Wall)
		o.Boot = 2
		s.step(Input{Observation: o})
	}
	s.expect("130s raised cannot-monitor")
	if text := s.events[0].Condition.Text; text != "Cannot watch HR: no usable value for 1 min" {
		t.Error(text)
	}
	o := s.observation("s1", noRate, s.now.Wall)
	o.Boot = 2
	s.step(Input{Observation: o})
	s.seconds(1, nil)
	if open := s.w.Alerts("7w", "1"); len(open) == 0 || open[0].Condition.Rule != "no-heart-rate" {
		t.Errorf("on contact that it says anew: %v", open)
	}
}

func TestAHeartRateThatWasThereIsMissedWhateverTheSiteExpects(t *testing.T) {
	c := config(t)
	c.Wards[0].Beds[0].Expect = []vital.Vital{vital.SpO2}
	s := begin(t, c)
	s.seconds(60, both(well))
	s.seconds(60, both(noRate))
	s.expect("70s raised no-heart-rate")
}

func TestAnAlertOfAHeartRateThatTheSiteDoesNotExpectAnyMoreEnds(t *testing.T) {
	c := config(t)
	c.Wards[0].Beds[0].Expect = []vital.Vital{vital.SpO2, vital.HeartRate}
	s := begin(t, c)
	s.seconds(60, both("spo2=97 contact"))
	s.expect("11s raised no-heart-rate")
	open, saved := s.w.allOpen(), s.w.Save()
	c.Wards[0].Beds[0].Expect = []vital.Vital{vital.SpO2}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(saved, open); err != nil {
		t.Fatal(err)
	}
	s.w, s.events = w, nil
	s.step(Input{Connected: true})
	s.seconds(60, both("spo2=97 contact"))
	if len(s.events) != 1 || s.events[0].Type != alert.Ended || s.events[0].Alert != open[0].ID {
		t.Errorf("got %v", s.log())
	}
}

func TestAHeartRateIsAwaitedFromWhenItsSensorCanBeSeenAgain(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	s.seconds(20, map[string]string{"s2": well})
	s.seconds(10, both(noRate))
	s.expect("72s raised sensor-silent", "81s ended sensor-silent")
	s.seconds(2, both(noRate))
	s.expect("72s raised sensor-silent", "81s ended sensor-silent", "91s raised no-heart-rate")
}

func TestAContactThatFlickersDoesNotHideAnAbsentHeartRate(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	for range 6 {
		s.seconds(2, both(noRate))
		s.seconds(1, both("nocontact"))
	}
	if got := s.log(); len(got) == 0 || !strings.HasSuffix(got[0], "raised no-heart-rate") {
		t.Errorf("an absent heart rate on a flickering contact gives %v", got)
	}
}

func TestBackFillDoesNotEndASensorsSilence(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(well))
	for range 30 {
		s.seconds(1, map[string]string{"s2": well})
		s.step(Input{Observation: s.observation("s1", well, s.now.Wall-3600*tick)})
	}
	s.expect("72s raised sensor-silent")
}

func TestSummariesAreAlignedAndCountEveryReadingOnce(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(95, map[string]string{"s1": "hr=72"})
	s.seconds(30, nil)
	n := uint32(0)
	for _, x := range s.sums {
		if x.Start%defaultSummary != 0 || x.End-x.Start != defaultSummary || x.Late || x.Bed != "1" {
			t.Errorf("summary %+v", x)
		}
		n += x.Vitals[vital.HeartRate].N
	}
	if n != 95 || len(s.sums) != 10 {
		t.Errorf("%d readings in %d summaries", n, len(s.sums))
	}
}

func TestWhatIsWrongIsCountedAndChangesNothing(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(10, both(well))
	same := s.observation("s1", tachy, s.now.Wall)
	for range 30 {
		s.seconds(1, both(well))
		s.step(Input{Observation: s.observation("nobody", tachy, s.now.Wall)})
		s.step(Input{Observation: same})
		s.step(Input{Observation: s.observation("s1", tachy, s.now.Wall+3600*tick)})
	}
	s.step(Input{Observation: s.observation("s1", "hr=9999", s.now.Wall)})
	s.step(Input{Fact: &Fact{Name: "moon_full", On: true}})
	s.step(Input{Response: &alert.Event{Alert: alert.ID(strings.Repeat("0", 32)), Author: alert.Board, N: 1, Type: alert.Commented, At: start}})
	s.seconds(30, both(well))
	s.expect()
	for reason, want := range map[string]uint64{ReasonUnknownSensor: 30, ReasonRepeat: 29, ReasonFuture: 30, ReasonImplausible: 1, ReasonUnknownFact: 1, ReasonUnknownAlert: 1} {
		if s.counts[reason] != want {
			t.Errorf("%s counted %d times, want %d", reason, s.counts[reason], want)
		}
	}
}

func TestAWardStationsActIsNumberedAndPutOut(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(20, both(tachy))
	id := s.events[0].Alert
	s.step(Input{Response: &alert.Event{Alert: id, Author: alert.Gateway, Type: alert.Acknowledged, By: "station-1", Via: "ward", Until: s.now.Wall + 60*tick}})
	s.expect("7s raised hr-high", "20s acknowledged hr-high")
	if e := s.events[1]; e.N != 2 || e.Priority != alert.Medium {
		t.Errorf("event %+v", e)
	}
	if open := s.w.Alerts("7w", "1"); len(open) != 1 {
		t.Errorf("open: %+v", open)
	} else if _, ok := open[0].Ack(s.now.Wall); !ok || open[0].ID != id {
		t.Errorf("not acknowledged: %+v", open[0])
	}
	s.step(Input{Response: &alert.Event{Alert: id, Author: alert.Gateway, Type: alert.Resolved, By: "station-1"}})
	if s.counts[ReasonBadResponse] != 1 {
		t.Error("an alert whose condition lasts was resolved")
	}
	told := 0
	for range 70 {
		s.seconds(1, map[string]string{})
		if slices.Contains(s.out.Beds, BedKey{"7w", "1"}) {
			told++
		}
	}
	if told == 0 {
		t.Error("nobody was told that the acknowledgement ran out")
	}
}

func TestASteppedWallClockNeitherRaisesNorEnds(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(20, both(tachy))
	s.now.Wall += 3600 * tick
	s.seconds(20, both(tachy))
	s.now.Wall -= 7200 * tick
	s.seconds(20, both(tachy))
	if len(s.events) != 1 {
		t.Errorf("events: %v", s.log())
	}
}

func TestAGatewayFactIsAnAlertOfTheGateway(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(10, both(well))
	s.step(Input{Fact: &Fact{Name: "link_lost", On: true}})
	s.step(Input{Fact: &Fact{Name: "disk_nearly_full", On: true, Text: "4 % free"}})
	s.seconds(30, both(well))
	s.expect("20s raised disk-nearly-full", "25s raised link-lost")
	if c := s.events[0].Condition; c.Text != "Gateway's disk is nearly full: 4 % free" || c.Subject != (alert.Subject{Kind: "gateway", ID: "gw-7w/7w"}) {
		t.Errorf("condition %+v", c)
	}
	if got := s.w.Alerts("7w", ""); len(got) != 2 {
		t.Errorf("open: %+v", got)
	}
}

// An array of readings, as some sensors send every few seconds.
func TestReadingsOfOneFrameCountAtTheInstantsAtWhichTheyWereMeasured(t *testing.T) {
	for _, c := range []struct {
		high int
		want []string
	}{{5, nil}, {8, []string{"20s raised hr-high"}}} {
		s := begin(t, config(t))
		s.seconds(10, both(well))
		s.now.Mono += 10 * tick
		s.now.Wall += 10 * tick
		o := s.observation("s1", "contact", s.now.Wall)
		for i := range 10 {
			x := 72.0
			if i < c.high {
				x = 140
			}
			o.Readings = append(o.Readings, vital.Reading{Vital: vital.HeartRate, Value: x, At: s.now.Wall - int64(9-i)*tick, Quality: 100})
		}
		if c.high == 8 { // in no order
			slices.Reverse(o.Readings)
		}
		s.step(Input{Observation: o})
		s.expect(c.want...)
	}
}

func TestAGatewayWhoseClockIsWrongWatchesAllTheSame(t *testing.T) {
	s := begin(t, config(t))
	s.now.Synchronised = false
	for range 400 {
		s.now.Mono += tick
		s.now.Wall += tick
		o := s.observation("s1", tachy, s.now.Wall+20*86400*tick)
		s.step(Input{Observation: o})
		s.step(Input{Observation: s.observation("s2", well, s.now.Wall+20*86400*tick)})
	}
	s.expect("7s raised hr-high", "301s raised clock-unsynchronised")
}

func TestTheSameInputsGiveTheSameEvents(t *testing.T) {
	run := func() string {
		s := begin(t, config(t))
		s.seconds(30, both("hr=170 rr=3 spo2=80 contact"))
		s.seconds(30, map[string]string{"s2": "hr=30 rr=40 spo2=70 temp=41 nocontact"})
		return asJSON(t, s.events)
	}
	if a, b := run(), run(); a != b || len(a) < 100 {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestEachWardOfAGatewayIsToldWhatBefallsIt(t *testing.T) {
	c := config(t)
	c.Wards = append(c.Wards, WardConfig{ID: "8e", Beds: []Binding{{Bed: "1", Sensor: "s3"}}})
	s := begin(t, c)
	s.step(Input{Fact: &Fact{Name: "link_lost", On: true}})
	s.seconds(20, map[string]string{"s1": well, "s2": well, "s3": well})
	s.expect("15s raised link-lost", "15s raised link-lost")
	if a, b := s.w.Alerts("7w", ""), s.w.Alerts("8e", ""); len(a) != 1 || len(b) != 1 || a[0].ID == b[0].ID {
		t.Errorf("open: %v and %v", a, b)
	}
}

func TestEachPhysiologicalRuleIsRaisedOnceAfterItsDelayAndEnds(t *testing.T) {
	for _, c := range []struct {
		rule, ill string
		delay     int // s from the first reading
		priority  alert.Priority
	}{
		{"hr-high", "hr=125 rr=16 spo2=97 temp=36.8 contact", 6, alert.Medium},
		{"hr-extreme-high", "hr=160 rr=16 spo2=97 temp=36.8 contact", 5, alert.High},
		{"hr-low", "hr=45 rr=16 spo2=97 temp=36.8 contact", 6, alert.Medium},
		{"hr-extreme-low", "hr=35 rr=16 spo2=97 temp=36.8 contact", 5, alert.High},
		{"rr-high", "hr=72 rr=34 spo2=97 temp=36.8 contact", 14, alert.Medium},
		{"rr-low", "hr=72 rr=7 spo2=97 temp=36.8 contact", 14, alert.Medium},
		{"rr-extreme-low", "hr=72 rr=0 spo2=97 temp=36.8 contact", 10, alert.High},
		{"spo2-low", "hr=72 rr=16 spo2=88 temp=36.8 contact", 15, alert.Medium},
		{"spo2-extreme-low", "hr=72 rr=16 spo2=78 temp=36.8 contact", 5, alert.High},
		{"temp-high", "hr=72 rr=16 spo2=97 temp=39 contact", 300, alert.Low},
		{"temp-extreme-high", "hr=72 rr=16 spo2=97 temp=40.5 contact", 180, alert.Medium},
		{"temp-low", "hr=72 rr=16 spo2=97 temp=33 contact", 300, alert.Low},
		{"battery-level-low", well + " battery=0.1", 30, alert.Low},
	} {
		s := begin(t, config(t))
		s.seconds(60, both(well))
		s.seconds(c.delay, both(c.ill))
		s.expect()
		s.seconds(c.delay, both(c.ill))
		s.expect(fmt.Sprintf("%ds raised %s", 61+c.delay, c.rule))
		if len(s.events) == 0 {
			continue
		}
		if got := s.events[0].Condition.Priority; got != c.priority {
			t.Errorf("%s has priority %s, want %s", c.rule, got, c.priority)
		}
		s.seconds(400, both(well+" battery=0.9"))
		if n := len(s.events); n != 2 || s.events[1].Type != alert.Ended {
			t.Errorf("%s did not just end: %v", c.rule, s.log())
		}
	}
}

func TestABatterysLevelIsToldAsAPercentage(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(40, both(well+" battery=0.08"))
	open := s.w.Alerts("7w", "1")
	if len(open) != 1 || open[0].Condition.Text != "Sensor's battery is low: 8 %" {
		t.Errorf("open are %+v", open)
	}
}

func TestWhatASensorReportsOnceIsAnAlertUntilSomebodyResolvesIt(t *testing.T) {
	for kind, rule := range map[vital.HappeningKind]string{vital.Button: "patient-call", vital.Fall: "fall", vital.SensorFault: "sensor-fault"} {
		s := begin(t, config(t))
		s.seconds(10, both(well))
		o := s.observation("s1", well, s.now.Wall)
		o.Events = []vital.Happening{{Kind: kind, At: o.At}}
		s.step(Input{Observation: o})
		late := s.observation("s2", well, s.now.Wall-60*tick)
		late.Events = o.Events
		s.step(Input{Observation: late})
		s.seconds(30, both(well))
		s.expect("10s raised "+rule, "20s ended "+rule)
		if a := s.w.Alerts("7w", "1"); len(a) != 1 || a[0].Phase != alert.Latched || a[0].Condition.Priority != alert.Medium {
			t.Errorf("%s: open %+v", rule, a)
		}
		if a := s.w.Alerts("7w", "2"); len(a) != 0 {
			t.Errorf("%s: history raised %+v", rule, a)
		}
	}
}

// A frame holds up to a minute (SPEC 9.12), so it can be live and hold history.
func TestAButtonIsToldFromWhenItWasPressedAndNotOnceThatIsHistory(t *testing.T) {
	for ago, want := range map[int64]int{0: 1, 7: 1, 40: 0} {
		s := begin(t, config(t))
		s.seconds(30, both(well))
		o := s.observation("s1", well, s.now.Wall)
		o.Events = []vital.Happening{{Kind: vital.Button, At: s.now.Wall - ago*tick}}
		s.step(Input{Observation: o})
		open := s.w.Alerts("7w", "1")
		if len(open) != want || want == 1 && open[0].Condition.Onset != s.now.Wall-ago*tick {
			t.Errorf("pressed %d s ago: open %+v", ago, open)
		}
	}
}
