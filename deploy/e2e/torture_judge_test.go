//go:build system

package e2e

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheLedgerFindsWhatIsLostToldTwiceInventedOrEndedFalsely(t *testing.T) {
	t.Parallel()
	const key = "w1/1 Episode 151 16"
	open, ended := cloudAlert{ID: "a", Open: true}, cloudAlert{ID: "b"}
	for _, c := range []struct {
		name string
		is   episode
		ill  bool
		has  []cloudAlert
		want func(*tally) int // nil = nothing is wrong
	}{
		{"lost", episode{}, false, nil, func(y *tally) int { return y.lost }},
		{"lost with the disk", episode{forgot: true}, true, nil, func(y *tally) int { return y.lost }},
		{"twice", episode{}, true, []cloudAlert{open, ended}, func(y *tally) int { return y.twice }},
		{"three times", episode{forgot: true}, true, []cloudAlert{open, ended, ended}, func(y *tally) int { return y.twice }},
		{"ended while it lasts", episode{}, true, []cloudAlert{ended}, func(y *tally) int { return y.falselyEnded }},
		{"open for ever", episode{}, false, []cloudAlert{open}, func(y *tally) int { return y.tooOld }},
		{"it lasts", episode{}, true, []cloudAlert{open}, nil},
		{"it is over", episode{}, false, []cloudAlert{ended}, nil},
		{"begun anew on an older disk", episode{forgot: true}, true, []cloudAlert{ended, open}, nil},
	} {
		y := &tally{}
		y.episode(key, &c.is, c.ill, false, c.has)
		switch {
		case c.want == nil && y.err() != nil:
			t.Errorf("%s: %v, want nothing", c.name, y.err())
		case c.want != nil && (c.want(y) != 1 || len(y.wrong) != 1 || !strings.Contains(y.err().Error(), key)):
			t.Errorf("%s: %+v, want this one thing", c.name, y)
		}
	}
	said := []cloudEvent{{Author: "gateway", Type: "raised", N: 50001, Condition: &struct{ Text string }{"now"}}, {Author: "gateway", Type: "raised", N: 1, Condition: &struct{ Text string }{"then"}}}
	if got := firstText(said); got != "then" {
		t.Errorf("an alert that was updated is known by %q, want what was said first", got)
	}
	for n, bed := range [][]cloudAlert{{ended}, {ended, open}, {open, open}} {
		y := &tally{}
		if y.standIn(key, bed); (y.falselyEnded == 0) != (n == 1) {
			t.Errorf("open for a patient on an older disk are %d: %+v", n, y)
		}
	}
	for _, events := range [][]cloudEvent{
		{{Author: "gateway", Type: "ended", N: 1}},
		{{Author: "gateway", Type: "raised", N: 1}, {Author: "gateway", Type: "raised", N: 2}},
		{{Author: "gateway", Type: "raised", N: 1}, {Author: "gateway", Type: "ended", N: 2}, {Author: "gateway", Type: "ended", N: 3}},
		{{Author: "board", Type: "ended", N: 1}},
	} {
		if y := (&tally{}); y.whole(cloudAlert{}, events) {
			t.Errorf("an episode was made of %v", events)
		}
	}
	y := &tally{}
	if y.whole(cloudAlert{ID: "a"}, []cloudEvent{{Author: "gateway", Type: "raised", N: 1}, {Author: "board", Type: "acknowledged", N: 1}, {Author: "gateway", Type: "ended", N: 3}}) || y.unfolded != 1 {
		t.Errorf("an event that is missing: %+v", y)
	}
	if !y.whole(cloudAlert{ID: "a"}, []cloudEvent{{Author: "gateway", Type: "raised", N: 1}, {Author: "gateway", Type: "raised", N: 50001}, {Author: "gateway", Type: "updated", N: 50002}, {Author: "gateway", Type: "ended", N: 50003}, {Author: "gateway", Type: "ended", N: 2}}) || y.unfolded != 1 {
		t.Errorf("an episode that goes on after its gateway's disk went back: %+v", y)
	}
	if !y.whole(cloudAlert{ID: "a"}, []cloudEvent{{Author: "gateway", Type: "ended", N: 2}, {Author: "gateway", Type: "raised", N: 1}}) || y.unfolded != 1 {
		t.Errorf("a whole episode: %+v", y)
	}
}

// TestAPatientsStateLastsUntilNothingWasInTheWayForLongEnough is the ledger's own
// rule: only then must the gateway know of it.
func TestAPatientsStateLastsUntilNothingWasInTheWayForLongEnough(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := &patient{bed: "1", since: now}
	r := &relay{patients: []*patient{p}, clear: now}
	at := func(d time.Duration) bool { r.say(now.Add(d)); return p.ill }
	if at(steady-time.Millisecond) || !at(steady) || p.was[0].text != "Episode 151 16" {
		t.Fatalf("the patient is %+v, want ill after %v", p, steady)
	}
	r.hindrance(true)
	if at(10 * steady); !p.ill || p.was[0].over {
		t.Fatalf("the patient is %+v, want ill while something is in the way", p)
	}
	r.clear = now.Add(10 * steady)
	if at(11*steady - time.Millisecond); !p.ill {
		t.Fatal("the patient got well too early after what was in the way")
	}
	if at(11 * steady); p.ill || !p.was[0].over {
		t.Fatalf("the patient is %+v, want well", p)
	}
	r.freeze()
	if at(20 * steady); p.ill || r.restless() != "" {
		t.Errorf("the patient is %+v, want well and at rest", p)
	}
	if r.thaw(); r.restless() != "1" {
		t.Errorf("restless are %q, want the one", r.restless())
	}
	if at(21 * steady); len(p.was) != 2 || p.was[1].text != "Episode 152 16" {
		t.Errorf("the patient is %+v, want a second episode with its own name", p)
	}
}

func TestASeedGivesTheSamePlanOfEveryFault(t *testing.T) {
	t.Parallel()
	without := map[string]bool{"cloud older": true}
	a, b := planned(7, 1000, 4, without), planned(7, 1000, 4, without)
	if !slices.Equal(a, b) || slices.Equal(a, planned(8, 1000, 4, without)) {
		t.Error("the plan does not follow the seed")
	}
	count := map[string]int{}
	for _, f := range a {
		count[f.kind]++
	}
	if count["cloud older"] > 0 {
		t.Error("what was left out is in the plan")
	}
	for _, kind := range append(slices.Clone(wardFaults), "cloud killed") {
		if count[kind] < 20 {
			t.Errorf("%d of %q among 1,000", count[kind], kind)
		}
	}
}

func TestOnlyTheAgentThatIsTorturedReadsAShiftedClock(t *testing.T) {
	t.Parallel()
	tortured, err := tortureAgent()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{program(t, "wardline-agent"): false, tortured: true} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(b, []byte("TORTURE_CLOCK")); got != want {
			t.Errorf("%s reads the variable: %v, want %v", file, got, want)
		}
	}
}
