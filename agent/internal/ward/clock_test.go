package ward

import (
	"fmt"
	"slices"
	"testing"

	"wardline/shared/alert"
	"wardline/shared/vital"
)

// hr is what bed 1's screen shows, and how long ago that was measured.
func (s *script) hr() (value float64, ago int64) {
	for _, l := range s.w.Live() {
		for _, r := range l.Values {
			if l.Bed == "1" && r.Vital == vital.HeartRate {
				return r.Value, (s.now.Wall - r.At) / tick
			}
		}
	}
	return 0, -1
}

func (s *script) rules(bed string) (out []string) {
	for _, a := range s.w.Alerts("7w", bed) {
		out = append(out, a.Condition.Rule)
	}
	return out
}

func TestABedsScreenAndItsLeadsGoOnThroughABackwardStepOfAllClocks(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both("hr=72 contact leads="))
	s.now.Wall -= 600 * tick
	s.seconds(120, both("hr=95 contact leads="))
	if value, ago := s.hr(); value != 95 || ago > 1 {
		t.Errorf("the screen shows %v of %d s ago", value, ago)
	}
	if len(s.events) != 0 {
		t.Errorf("events: %v", s.log())
	}
	s.seconds(60, both("nocontact leads=RA"))
	if got := s.rules("1"); !slices.Equal(got, []string{"lead-off"}) {
		t.Errorf("with a lead off there are %v", got)
	}
	for _, x := range s.sums {
		if x.Late {
			t.Errorf("the summary of %d is history", (x.Start-start)/tick)
		}
	}
}

func TestARelaysLastWordThatItIsOfflineHidesNothingThatItCarriesLive(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(30, both("hr=72 contact leads="))
	s.step(Input{Fact: &Fact{Name: "relay_offline", Relay: "r1", On: true}})
	s.seconds(30, both("contact leads= gone=hr"))
	if got := s.rules("1"); !slices.Equal(got, []string{"no-heart-rate"}) {
		t.Errorf("a heart that stands still raises %v", got)
	}
}

// Such as a site's own topics beside those of the firmware protocol.
func TestWhatASensorSaysByNoRelayIsNotHiddenByTheRelayThatItHadBefore(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(30, both(well))
	s.step(Input{Fact: &Fact{Name: "relay_offline", Relay: "r1", On: true}})
	for range 10 {
		s.pass(tick)
		o := s.observation("s1", noRate+" gone=hr", s.now.Wall)
		o.Relay = ""
		s.step(Input{Observation: o})
	}
	if got := s.rules("1"); !slices.Equal(got, []string{"no-heart-rate"}) {
		t.Errorf("a heart that stands still raises %v", got)
	}
}

func TestAnUnsynchronisedGatewayFollowsASensorWhoseClockIsSetBack(t *testing.T) {
	for _, sequenced := range []bool{true, false} {
		s := begin(t, config(t))
		s.now.Synchronised = false
		say := func(n int, says string, shift int64) {
			for range n {
				s.now.Mono += tick
				s.now.Wall += tick
				s.step(Input{Tick: true})
				o := s.observation("s1", says, s.now.Wall+shift)
				if !sequenced {
					o.Sequenced, o.Hash = false, uint64(o.At)
				}
				s.step(Input{Observation: o})
			}
		}
		say(30, "hr=72 contact leads=", 0)
		say(30, "hr=190 contact leads=", -600*tick)
		if got := s.rules("1"); !slices.Equal(got, []string{"hr-extreme-high"}) {
			t.Errorf("sequenced %v: a heart rate of 190 for 30 s raises %v, counts %v", sequenced, got, s.counts)
		}
	}
}

func TestAnUnsynchronisedGatewayTakesNoBackFillForNews(t *testing.T) {
	s := begin(t, config(t))
	s.now.Synchronised = false
	for i := range 60 {
		s.now.Mono += tick
		s.now.Wall += tick
		s.step(Input{Observation: s.observation("s1", "hr=72 contact leads=", s.now.Wall)})
		o := s.observation("s1", "hr=190 contact leads=", s.now.Wall-600*tick) // as long as the live frames come
		o.Seq = 100_000 - uint32(i)
		s.step(Input{Observation: o})
	}
	if got := s.rules("1"); len(got) != 0 {
		t.Errorf("history raised %v", got)
	}
}

// pass lets time go by without a word of any sensor.
func (s *script) pass(us int64) {
	s.now.Mono += us
	s.now.Wall += us
	s.step(Input{Tick: true})
}

// A relay that was cut off gives what it held, oldest first and each frame later
// in the sensor's order than the one before.
func TestAnUnsynchronisedGatewayTakesWhatHadToWaitForHistory(t *testing.T) {
	for _, sequenced := range []bool{true, false} {
		for _, every := range []int64{tick / 100, tick / 10, tick / 2} {
			s := begin(t, config(t))
			s.now.Synchronised = false
			say := func(says string, at int64) {
				o := s.observation("s1", says, at)
				if !sequenced {
					o.Sequenced, o.Hash = false, uint64(at)
				}
				s.step(Input{Observation: o})
			}
			for range 30 {
				s.pass(tick)
				say("hr=72 contact leads=", s.now.Wall)
			}
			at, cut := s.now.Wall, s.now.Wall+3600*tick
			s.pass(3600 * tick)
			for at += tick; at < s.now.Wall; at += tick {
				s.pass(every)
				says := "hr=190 contact leads="
				if at > cut-60*tick {
					says = "hr=75 contact leads="
				}
				say(says, at)
			}
			for _, e := range s.events {
				if e.Type == alert.Raised && e.Condition.Rule == "hr-extreme-high" {
					t.Errorf("sequenced %v, a frame every %d ms: history raised %s", sequenced, every/1000, e.Condition.Rule)
				}
			}
			if value, ago := s.hr(); value != 75 || ago > 1 {
				t.Errorf("sequenced %v, a frame every %d ms: the screen shows %v of %d s ago in the end", sequenced, every/1000, value, ago)
			}
		}
	}
}

func TestAnUnsynchronisedGatewayTellsStandstillInTimeWhileASensorsClockIsSetBack(t *testing.T) {
	s := begin(t, config(t))
	s.now.Synchronised = false
	says, shift := well, int64(0)
	for i := range 100 {
		if i == 60 {
			says, shift = noRate+" gone=hr", -600*tick
		}
		s.pass(tick)
		s.step(Input{Observation: s.observation("s1", says, s.now.Wall+shift)})
		s.step(Input{Observation: s.observation("s2", well, s.now.Wall)})
	}
	s.expect("65s raised no-heart-rate")
}

func TestOneFrameWithAWrongSeqHidesNothing(t *testing.T) {
	for _, synchronised := range []bool{true, false} {
		s := begin(t, config(t))
		s.seconds(30, both(well))
		s.now.Synchronised = synchronised
		o := s.observation("s1", well, s.now.Wall)
		o.Seq = 4e9
		s.step(Input{Observation: o})
		s.seconds(30, both("nocontact"))
		s.expect("34s raised lead-off")
	}
}

func TestAMachineThatStartsAnewWithoutTheTimeTakesItsSensorsAsTheyAre(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(30, both(well))
	w, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(s.w.Save(), s.w.allOpen()); err != nil {
		t.Fatal(err)
	}
	s.w = w
	s.now = Instant{Boot: 2, Mono: 20 * tick, Wall: s.now.Wall + tick} // its clock stood still while it was off
	s.step(Input{Connected: true})
	for range 10 {
		s.pass(tick)
		s.step(Input{Observation: s.observation("s1", "hr=190 contact leads=", s.now.Wall+90*tick)})
	}
	if got := s.rules("1"); !slices.Equal(got, []string{"hr-extreme-high"}) || len(s.counts) != 0 {
		t.Errorf("bed 1 has %v, counts %v", got, s.counts)
	}
}

func TestABedGoesOnThroughASmallForwardStepThatItsSensorDoesNotFollow(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(30, both(well+" leads="))
	s.now.Wall += 8 * tick
	s.pass(tick)
	s.step(Input{Observation: s.observation("s1", "hr=95 nocontact leads=RA", s.now.Wall-8*tick)})
	if l := s.w.Live()[0]; !l.LeadOff || l.Values[0].Value != 95 {
		t.Errorf("the screen shows %+v", l)
	}
}

func TestAnAcknowledgementThatEndsAfterTheClockWasSetBackIsTold(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(60, both(tachy))
	s.now.Wall -= 600 * tick
	s.seconds(1, both(tachy))
	id := s.w.Alerts("7w", "1")[0].ID
	s.step(Input{Response: &alert.Event{Alert: id, Author: alert.Gateway, Type: alert.Acknowledged, By: "station-1", Until: s.now.Wall + 60*tick}})
	told := 0
	for range 70 {
		s.pass(tick)
		if slices.Contains(s.out.Beds, BedKey{"7w", "1"}) {
			told++
		}
		s.step(Input{Observation: s.observation("s1", tachy, s.now.Wall)})
		s.step(Input{Observation: s.observation("s2", well, s.now.Wall)})
	}
	if told != 1 {
		t.Errorf("the bed was told %d times that the acknowledgement ended", told)
	}
}

func TestEachSourceHasItsOwnBounds(t *testing.T) {
	c := config(t)
	c.Sources = map[string]Bounds{"patches": {}, "spot checks": {Silence: 90 * tick, Stale: 80 * tick}}
	s := begin(t, c)
	hear := func(sensor, source string) {
		o := s.observation(sensor, well, s.now.Wall)
		o.Source = source
		s.step(Input{Observation: o})
	}
	s.seconds(20, nil)
	s.expect() // the longest is borne before anything is known
	hear("s1", "patches")
	hear("s2", "spot checks")
	s.seconds(40, nil)
	s.expect("32s raised sensor-silent")
	if v, _ := s.hr(); v != 0 {
		t.Errorf("bed 1 shows %v after 40 s", v)
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(s.w.Save(), s.w.allOpen()); err != nil {
		t.Fatal(err)
	}
	s.w = w
	s.step(Input{Connected: true})
	s.seconds(60, nil)
	s.expect("32s raised sensor-silent", "110s raised sensor-silent")
}

func TestAnAlertThatTheBrokersAbsenceWouldExplainOutlivesAShortOne(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(20, both(well))
	s.seconds(80, both("hr=72 rr=16 spo2=97 contact")) // no temperature
	if got := s.rules("1"); !slices.Equal(got, []string{"cannot-monitor"}) {
		t.Fatalf("open: %v", got)
	}
	n := len(s.events)
	w, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(s.w.Save(), s.w.allOpen()); err != nil {
		t.Fatal(err)
	}
	s.w = w
	s.seconds(3, nil) // the broker is not reached yet
	s.step(Input{Connected: true})
	s.seconds(30, both("hr=72 rr=16 spo2=97 contact"))
	if len(s.events) != n {
		t.Errorf("a restart brought %v", s.log()[n:])
	}
}

func TestAThousandMessagesWithoutASeqAreKnownWhenTheyComeAgain(t *testing.T) {
	s := begin(t, config(t))
	var sent []*vital.Observation
	for i := range 1024 {
		o := s.observation("s1", fmt.Sprintf("hr=%d", 60+i%20), s.now.Wall-int64(1024-i)*1000)
		o.Sequenced, o.Hash = false, uint64(i+1)
		sent = append(sent, o)
		s.step(Input{Observation: o})
	}
	for _, o := range sent {
		s.step(Input{Observation: o})
	}
	if got := s.counts[ReasonRepeat]; got != 1024 {
		t.Errorf("%d of 1024 are known as repeats", got)
	}
}

func TestAnUnsynchronisedGatewaySetsAsideWhatIsAheadUntilTheSensorInsists(t *testing.T) {
	s := begin(t, config(t))
	s.now.Synchronised = false
	s.seconds(20, map[string]string{"s1": "hr=72 contact leads="})
	s.step(Input{Observation: s.observation("s1", "hr=190 contact leads=", s.now.Wall+3600*tick)})
	s.step(Input{Observation: s.observation("s2", "hr=190 contact leads=", s.now.Wall+3600*tick)})
	if got := s.counts[ReasonFuture]; got != 2 {
		t.Errorf("%d of 2 messages from the future are set aside", got)
	}
	for range 30 { // one relay's clock is set, the other's is not
		s.now.Mono += tick
		s.now.Wall += tick
		s.step(Input{Tick: true})
		s.step(Input{Observation: s.observation("s1", "hr=72 contact leads=", s.now.Wall)})
		s.step(Input{Observation: s.observation("s2", "hr=190 contact leads=", s.now.Wall+3600*tick)})
	}
	if got := s.rules("2"); !slices.Equal(got, []string{"hr-extreme-high"}) {
		t.Errorf("bed 2 has %v, counts %v", got, s.counts)
	}
}

func TestWhatABrokerMayGiveAgainAfterARestartIsKnown(t *testing.T) {
	s := begin(t, config(t))
	var sent []*vital.Observation
	for i := range 1024 {
		o := s.observation("s1", "hr=72", s.now.Wall-int64(1024-i)*1000)
		o.Sequenced, o.Hash = false, uint64(i+1)
		sent = append(sent, o)
		s.step(Input{Observation: o})
	}
	w, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(s.w.Save(), s.w.allOpen()); err != nil {
		t.Fatal(err)
	}
	s.w = w
	for _, o := range sent {
		s.step(Input{Observation: o})
	}
	if got := s.counts[ReasonRepeat]; got != 1024 {
		t.Errorf("%d of 1024 are known as repeats", got)
	}
}
