package ward

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"wardline/shared/alert"
)

// scene is a story of 20 minutes that touches much of what runs on time: delays,
// hysteresis, latches, windows, silence, contact, an acknowledgement.
func scene(i int) map[string]string {
	says := map[string]string{"s1": well, "s2": well}
	switch {
	case i >= 60 && i < 90 || i >= 600 && i < 610:
		says["s1"] = tachy
	case i >= 200 && i < 230:
		says["s1"] = "hr=72 rr=16 spo2=80 temp=36.8 contact"
	case i >= 300 && i < 340:
		delete(says, "s1")
	case i >= 400 && i < 430:
		says["s1"] = "nocontact leads=RA"
	case i >= 700 && i < 740:
		says["s1"] = "rr=16 spo2=97 contact ecg gone=hr"
	case i >= 900:
		says["s1"] = tachy
	}
	return says
}

// tell plays the day with the gateway's wall clock off by what off says, while the
// sensors' clocks run true, and tells what happened by the monotonic clock.
func tell(t *testing.T, synchronised bool, off func(i int) int64, stamped bool) []string {
	t.Helper()
	s := begin(t, config(t))
	var out []string
	rules, told := map[alert.ID]string{}, 0
	for i := range 1200 {
		s.now.Mono += tick
		s.now.Wall = start + int64(i+1)*tick + off(i)
		s.now.Synchronised = synchronised
		s.step(Input{Tick: true})
		says := scene(i)
		for _, sensor := range slices.Sorted(keys(says)) {
			at := start + int64(i+1)*tick
			if stamped {
				at = s.now.Wall
			}
			o := s.observation(sensor, says[sensor], at)
			o.Stamped = stamped
			s.step(Input{Observation: o})
		}
		if i == 70 {
			s.step(Input{Response: &alert.Event{Alert: s.w.Alerts("7w", "1")[0].ID, Author: alert.Gateway, Type: alert.Acknowledged, By: "station", Until: s.now.Wall + 15*tick}})
		}
		for _, a := range s.w.Alerts("7w", "1") {
			if _, in := a.Ack(s.now.Wall); in {
				out = append(out, fmt.Sprintf("%d acknowledged", i))
			}
		}
		for ; told < len(s.events); told++ {
			e := s.events[told]
			if e.Condition != nil {
				rules[e.Alert] = e.Condition.Rule
			}
			if rules[e.Alert] != "clock-unsynchronised" {
				out = append(out, fmt.Sprintf("%d %s %s", i, e.Type, rules[e.Alert]))
			}
		}
	}
	return out
}

func TestStepsOfAnHourNeitherRaiseNorEndNorReorder(t *testing.T) {
	const hour = 3600 * tick
	steps := map[string]func(i int) int64{
		"ahead at 65, in a delay":  func(i int) int64 { return since(i, 65) * hour },
		"back at 65, in a delay":   func(i int) int64 { return since(i, 65) * -hour },
		"ahead at 75, in an alert": func(i int) int64 { return since(i, 75) * hour },
		"back at 75, in an alert":  func(i int) int64 { return since(i, 75) * -hour },
		"back in a silence":        func(i int) int64 { return since(i, 320) * -hour },
		"ahead in a silence":       func(i int) int64 { return since(i, 305) * hour },
		"to and fro": func(i int) int64 {
			return (since(i, 63) - 2*since(i, 206) + since(i, 310) + since(i, 705) - since(i, 720)) * hour
		},
		"every minute": func(i int) int64 { return int64(i/60%2) * hour },
	}
	for _, synchronised := range []bool{true, false} {
		for _, stamped := range []bool{false, true} {
			want := tell(t, synchronised, func(int) int64 { return 0 }, stamped)
			if n := len(want); n < 20 || !strings.Contains(strings.Join(want, ","), "acknowledged") {
				t.Fatalf("the day tells of %d things only: %v", n, want)
			}
			for name, off := range steps {
				got := tell(t, synchronised, off, stamped)
				if !slices.Equal(got, want) {
					t.Errorf("%s (synchronised %v, stamped %v):\n\t%s\nwant\n\t%s", name, synchronised, stamped, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
				}
			}
		}
	}
}

func since(i, from int) int64 {
	if i >= from {
		return 1
	}
	return 0
}

// TestAClockThatIsOnlySetAfterAnHourChangesNothing: it is wrong by years until then.
func TestAClockThatIsOnlySetAfterAnHourChangesNothing(t *testing.T) {
	run := func(off int64) (out []string) {
		s, told := begin(t, config(t)), 0
		s.now.Synchronised = false
		for i := range 3700 {
			s.now.Mono += tick
			s.now.Wall = start + int64(i+1)*tick
			if i < 3600 {
				s.now.Wall += off
			} else {
				s.now.Synchronised = true
			}
			s.step(Input{Tick: true})
			says := scene(i % 1200)
			for _, sensor := range slices.Sorted(keys(says)) {
				s.step(Input{Observation: s.observation(sensor, says[sensor], start+int64(i+1)*tick)})
			}
			for ; told < len(s.events); told++ {
				if e := s.events[told]; e.Condition == nil || e.Condition.Rule != "clock-unsynchronised" {
					out = append(out, fmt.Sprintf("%d %s", i, e.Type))
				}
			}
		}
		return out
	}
	want := run(0)
	if got := run(-26 * 365 * 86400 * tick); !slices.Equal(got, want) || len(want) < 5 {
		t.Errorf("with a clock that was wrong for an hour\n%v\nwant\n%v", got, want)
	}
}

func TestAnOnsetThatWasStampedByAWrongClockIsToldAnew(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(20, both(tachy))
	a := s.w.Alerts("7w", "1")[0]
	const by = 1000 * tick
	s.out.Reset()
	s.w.Correct(s.now, func(wall int64) int64 { return wall + by }, &s.out)
	if len(s.out.Events) != 1 || s.out.Events[0].Type != alert.Updated || s.out.Events[0].Condition.Onset != a.Condition.Onset+by {
		t.Fatalf("it tells %+v", s.out.Events)
	}
	got := s.w.Alerts("7w", "1")[0]
	if got.ID != a.ID || got.RaisedAt != a.RaisedAt+by || got.Condition.Evidence[0].At != a.Condition.Evidence[0].At+by {
		t.Errorf("the alert is %+v, it was %+v", got, a)
	}
	s.out.Reset()
	s.w.Correct(s.now, func(wall int64) int64 { return wall }, &s.out)
	if len(s.out.Events) != 0 {
		t.Errorf("what is right is told anew: %+v", s.out.Events)
	}
}
