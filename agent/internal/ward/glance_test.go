package ward

import "testing"

// A glance and the message itself, in either order, are one to the rules and the
// summaries, and what a glance saw is not known as taken.
func TestAGlanceFeedsTheRulesAndNothingElse(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(3, both(well))
	sums := len(s.sums)
	for range 15 {
		s.now.Mono += tick
		s.now.Wall += tick
		s.step(Input{Tick: true})
		o := s.observation("s1", "hr=190 contact", s.now.Wall)
		s.step(Input{Observation: o, Glance: true})
	}
	raised := 0
	for _, line := range s.log() {
		if line == "8s raised hr-extreme-high" || line == "9s raised hr-extreme-high" {
			raised++
		}
	}
	if raised != 1 {
		t.Errorf("the alerts are %v", s.log())
	}
	for _, x := range s.sums[sums:] {
		if x.Bed == "1" && x.End > start+10*tick {
			t.Errorf("a summary was made of glances: %+v", x)
		}
	}
	if x := s.w.Status()[0]; x.Missing != 0 || x.SilentSince != 0 {
		t.Errorf("the status is %+v", x)
	}
	// The messages come by the session.
	repeats := s.counts[ReasonRepeat]
	s.seq["s1"] -= 15
	for i := range 15 {
		s.step(Input{Observation: s.observation("s1", "hr=190 contact", s.now.Wall-int64(14-i)*tick)})
	}
	if s.counts[ReasonRepeat] != repeats {
		t.Error("what was only glanced at is taken for known")
	}
	o := s.observation("s1", "hr=190 contact", s.now.Wall)
	s.step(Input{Observation: o})
	s.step(Input{Observation: o, Glance: true})
	if s.counts[ReasonRepeat] != repeats+1 {
		t.Error("a glance at what is known counts")
	}
	again := 0
	for _, e := range s.events {
		if e.Condition != nil && e.Type == "raised" && e.Condition.Rule == "hr-extreme-high" {
			again++
		}
	}
	if again != 1 {
		t.Errorf("raised %d times: %v", again, s.log())
	}
}
