package ward

import (
	"fmt"
	"slices"
	"testing"

	"wardline/shared/alert"
	"wardline/shared/rule"
)

const baselinePack = `
pack: baseline
version: 1
for: tests
rules:
  - id: above-baseline
    says: "Heart rate {hr:0}, far above the hour's mean"
    priority: high
    when: hr > mean(hr, "1h") + 30
    for: 20s
    latch: true
    test:
      - {given: {hr: [70 for 61m, 120 for 1m]}, expect: raised at 61m20s}
`

func baseline(t *testing.T) Config {
	t.Helper()
	p, err := rule.Parse("baseline.yaml", []byte(baselinePack))
	if err != nil {
		t.Fatal(err)
	}
	c := config(t)
	c.Packs = append(c.Packs, p)
	return c
}

// TestAnHoursBaselineAndADelayComeBackFromACheckpoint: nothing of the hour can be
// had of frames, which are kept for less.
func TestAnHoursBaselineAndADelayComeBackFromACheckpoint(t *testing.T) {
	told := func(s *script) (out []string) {
		for _, e := range s.events {
			if e.Condition != nil && e.Condition.Rule == "above-baseline" {
				out = append(out, fmt.Sprintf("%d %s", (e.At-start)/tick, e.Type))
			}
		}
		return out
	}
	play := func(restartAt int) []string {
		s := begin(t, baseline(t))
		for i := range 3700 {
			says := "hr=70 rr=16 spo2=97 contact"
			if i >= 3610 {
				says = "hr=112 rr=16 spo2=97 contact"
			}
			if i == restartAt {
				w, err := New(baseline(t))
				if err == nil {
					err = w.Restore(s.w.Save(), s.w.allOpen())
				}
				if err != nil {
					t.Fatal(err)
				}
				s.w = w
				s.step(Input{Connected: true})
			}
			s.seconds(1, both(says))
		}
		return told(s)
	}
	want := play(-1)
	if len(want) == 0 {
		t.Fatal("nothing is raised above the baseline")
	}
	for _, at := range []int{1800, 3605, 3620, 3629, 3640} {
		if got := play(at); !slices.Equal(got, want) {
			t.Errorf("restarted at %d: %v, want %v", at, got, want)
		}
	}
}

// TestAnEpisodeThatBeganBeforeAnythingThatIsKeptGoesOn: no checkpoint, no frames,
// only the open alerts.
func TestAnEpisodeThatBeganBeforeAnythingThatIsKeptGoesOn(t *testing.T) {
	s := begin(t, config(t))
	s.seconds(30, both(tachy))
	a := s.w.Alerts("7w", "1")[0]
	w, err := New(config(t))
	if err == nil {
		err = w.Restore(nil, s.w.allOpen())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.w, s.events = w, nil
	s.now.Mono += 3600 * tick
	s.now.Wall += 3600 * tick
	s.step(Input{Connected: true})
	s.seconds(60, both(tachy))
	for _, e := range s.events {
		if e.Type == alert.Raised || e.Alert == a.ID {
			t.Errorf("while it lasts: %s of %s", e.Type, e.Alert)
		}
	}
	s.events = nil
	s.seconds(30, both(well))
	if !slices.ContainsFunc(s.events, func(e alert.Event) bool { return e.Alert == a.ID && e.Type == alert.Ended }) {
		t.Errorf("when it is over: %v", s.log())
	}
}
