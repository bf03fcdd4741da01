package rule

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"wardline/shared/vital"
)

// reading is one of a window's model.
type sample struct {
	at int64
	x  float64
}

// TestWindowsAgreeWithAllTheirReadings compares each window function with the
// same computed from every reading, by the grains that the window is made of.
func TestWindowsAgreeWithAllTheirReadings(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		span := int64(10+r.IntN(900)) * second
		spec := newWindowSpec(Of(vital.SpO2), span)
		w := window{spec: spec}
		var all []sample
		at := int64(1e12)
		for range 3000 {
			at += int64(r.IntN(3000)) * 1000
			if r.IntN(200) == 0 {
				at += int64(r.IntN(int(2 * span)))
			}
			x := sample{at, math.Round(80 + 20*r.Float64())}
			w.add(x.x, x.at)
			all = append(all, x)

			newest := at / spec.grain
			n, sum, low, top := 0, 0.0, math.Inf(1), math.Inf(-1)
			reach, base, baseIndex := newest, 0.0, int64(-1)
			for _, y := range all {
				i := y.at / spec.grain
				if i > newest-spec.n {
					n, sum, low, top = n+1, sum+y.x, min(low, y.x), max(top, y.x)
				}
				if i >= newest-spec.n {
					reach = min(reach, i)
					if baseIndex < 0 || i == baseIndex {
						base, baseIndex = y.x, i
					}
				}
			}
			half, whole := reach <= newest-spec.n/2, reach <= newest-(spec.n-spec.n/20)
			if got := w.mean(); got.known != half || half && math.Abs(got.num-sum/float64(n)) > 1e-9 {
				t.Fatalf("span %d: mean %v, want %v (known %v)", span, got, sum/float64(n), half)
			}
			if lo, hi := w.min(), w.max(); lo.known != half || hi.known != half || half && (lo.num != low || hi.num != top) {
				t.Fatalf("span %d: min %v max %v, want %v and %v (known %v)", span, lo, hi, low, top, half)
			}
			if got := w.delta(); got.known != whole || whole && got.num != x.x-base {
				t.Fatalf("span %d: delta %v, want %v (known %v)", span, got, x.x-base, whole)
			}
			if len(w.grains) > windowGrains+1 {
				t.Fatalf("the window holds %d grains", len(w.grains))
			}
		}
	}
}

func builtinProgram(t testing.TB) *Program {
	t.Helper()
	var all []*Pack
	for _, name := range Builtins() {
		k, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	p, err := Compile(all, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wander gives a state random vitals and facts at an instant.
func wander(r *rand.Rand, s *State, hold *[8]float64, at int64) {
	for v := vital.HeartRate; v <= vital.Temperature; v++ {
		if r.IntN(30) == 0 {
			lo, hi := [...]float64{0, 30, 75, 2, 33}[v], [...]float64{0, 170, 100, 40, 41}[v]
			hold[v] = math.Round(lo + r.Float64()*(hi-lo))
		}
		switch {
		case hold[v] == 0:
		case r.IntN(20) != 0:
			s.Set(Of(v), hold[v], at)
		case r.IntN(2) == 0:
			for x := range int64(1 + r.IntN(5)) {
				s.Gone(v, at+x*second)
			}
		}
	}
	if r.IntN(50) == 0 {
		s.Set([]Input{Contact, LeadOff, Silent, BatteryLow, HRExpected}[r.IntN(5)], float64(r.IntN(2)), at)
	}
	if r.IntN(50) == 0 {
		s.Set(Unwatched, float64(r.IntN(2)), at)
	}
}

// TestAStateThatIsSavedAndLoadedGoesOnAsItWas also checks what always holds of
// changes: raised and ended alternate, and of a family only the worst is open.
func TestAStateThatIsSavedAndLoadedGoesOnAsItWas(t *testing.T) {
	p := builtinProgram(t)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		s, hold := p.NewState(Patient, staleAfter(10*second)), [8]float64{}
		twin := s
		open := map[int]bool{}
		at := int64(1e15)
		s.Begin(at)
		for range 4000 {
			at += second
			if r.IntN(100) == 0 {
				b := s.Save([]byte("front"))
				twin = p.NewState(Patient, staleAfter(10*second))
				rest, err := twin.Load(append(b[5:], "rest"...))
				if err != nil || string(rest) != "rest" {
					t.Fatalf("load: %q, %v", rest, err)
				}
				if !bytes.Equal(twin.Save(nil), b[5:]) {
					t.Fatal("a loaded state is saved as another one")
				}
			}
			tell(r, &hold, at, s, twin)
			got, want := twin.Step(at, nil), []Change(nil)
			if twin != s {
				want = s.Step(at, nil)
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("after a load: %+v, want %+v", got, want)
				}
			}
			for _, c := range got {
				check(t, p, open, c)
			}
			families(t, p, open)
		}
	}
}

// tell gives both states the same, once when they are one.
func tell(r *rand.Rand, hold *[8]float64, at int64, a, b *State) {
	seed := rand.NewPCG(r.Uint64(), 1)
	copyOf := *seed
	before := *hold
	wander(rand.New(seed), a, hold, at)
	if a != b {
		wander(rand.New(&copyOf), b, &before, at)
	}
}

func check(t *testing.T, p *Program, open map[int]bool, c Change) {
	t.Helper()
	switch {
	case c.Kind == Raised && open[c.Rule], c.Kind == Ended && !open[c.Rule], c.Kind == Updated && !open[c.Rule]:
		t.Fatalf("rule %s: %s while open is %v", p.Rule(c.Rule).ID, c.Kind, open[c.Rule])
	case c.Kind == Raised:
		open[c.Rule] = true
		if c.At-c.Onset < p.Rule(c.Rule).For {
			t.Fatalf("rule %s: raised %d µs after its onset", p.Rule(c.Rule).ID, c.At-c.Onset)
		}
	case c.Kind == Ended:
		delete(open, c.Rule)
	}
}

func families(t *testing.T, p *Program, open map[int]bool) {
	t.Helper()
	seen := map[string]int{}
	for i := range open {
		if f := p.Rule(i).Family; f != "" {
			if seen[f]++; seen[f] > 1 {
				t.Fatalf("two of family %s are open", f)
			}
		}
	}
}

func TestAPlaceInAFamilyIsSaidAndDoesNotDependOnTheOrderInThePack(t *testing.T) {
	rules := func(list ...string) string {
		text := "pack: p\nversion: 1\nrules:\n"
		for _, more := range list {
			text += "  - {says: x, family: f, when: spo2 < 90, " + more + "}\n"
		}
		return text
	}
	const a, b = "id: a, priority: high, rank: 2", "id: b, priority: high, rank: 1"
	for _, text := range []string{rules(a, b), rules(b, a)} {
		k, err := Parse("p.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		p, _ := Compile([]*Pack{k}, nil)
		s := p.NewState(Patient, staleAfter(10*second))
		s.Set(Of(vital.SpO2), 70, 100*second)
		got := s.Step(100*second, nil)
		if len(got) != 1 || got[0].Kind != Raised || p.Rule(got[0].Rule).ID != "a" {
			t.Errorf("of\n%s\ncame %+v, want a raised and nothing else", text, got)
		}
	}
	for _, c := range []struct{ text, want string }{
		{rules("id: a, priority: high", "id: b, priority: high"), "p.yaml:5:5: rules a and b of family f have the same priority and rank: give the worse one a higher rank"},
		{rules(a, "id: b, priority: high, rank: 2"), "rules a and b of family f have the same priority and rank"},
		{rules("id: a, priority: low, rank: 1.5"), "rank is a rule's place in its family, a whole number from 1"},
		{rules("id: a, priority: low, escalate: [{after: 1m, priority: high}]", "id: b, priority: medium"), "rule a escalates to high, but rule b, which supersedes it, has priority medium"},
		{strings.Replace(rules(a), "family: f, ", "", 1), "rank is a rule's place in its family"},
	} {
		if _, err := Parse("p.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngives %v\nwant  %s", c.text, err, c.want)
		}
	}
}

func TestADelayStandsStillWhileNothingIsKnown(t *testing.T) {
	k, err := Parse("p.yaml", packOf("    when: temp > 38\n    for: 1m\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := Compile([]*Pack{k}, nil)
	run := func(gap int64) int64 {
		s := p.NewState(Patient, staleAfter(10*second))
		for t := 100 * second; t < 400*second; t += second {
			if t < 130*second || t >= 130*second+gap {
				s.Set(Of(vital.Temperature), 39, t)
			}
			for _, c := range s.Step(t, nil) {
				if c.Kind == Raised {
					return (c.At - 100*second) / second
				}
			}
		}
		return -1
	}
	for _, c := range []struct{ gap, want int64 }{
		{0, 60}, {5 * second, 60},
		{30 * second, 81},   // known until 139 s: 39 s had passed, 21 s were unknown
		{100 * second, 190}, // unknown for more than a minute: it begins anew at 230 s
	} {
		if got := run(c.gap); got != c.want {
			t.Errorf("a gap of %d s: raised after %d s, want %d s", c.gap/second, got, c.want)
		}
	}
}

func TestADamagedStateIsRefused(t *testing.T) {
	p := builtinProgram(t)
	r := rand.New(rand.NewPCG(8, 8))
	s, hold := p.NewState(Patient, staleAfter(10*second)), [8]float64{}
	for at := second; at < 900*second; at += second {
		wander(r, s, &hold, at)
		s.Step(at, nil)
	}
	b := s.Save(nil)
	for n := range len(b) {
		if _, err := p.NewState(Patient, staleAfter(second)).Load(b[:n]); err == nil {
			t.Fatalf("a state cut at %d of %d bytes was loaded", n, len(b))
		}
	}
	for range 20_000 { // whatever it says, it must not break the program
		c := bytes.Clone(b)
		for range 1 + r.IntN(4) {
			c[r.IntN(len(c))] = byte(r.Uint32())
		}
		x := p.NewState(Patient, staleAfter(second))
		if _, err := x.Load(c); err == nil {
			x.Set(Of(vital.SpO2), 90, 1000*second)
			x.Step(1000*second, nil)
		}
	}
}
