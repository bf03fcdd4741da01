package rule

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"wardline/shared/vital"
)

// packOf is a pack with one rule about a patient.
func packOf(rule string) []byte {
	return []byte("pack: p\nversion: 1\nlimits:\n  hr.high: {default: 120, min: 90, max: 180, unit: /min}\nrules:\n  - id: r\n    says: x\n    priority: low\n" + rule)
}

func state(t testing.TB, when string) *State {
	t.Helper()
	k, err := Parse("p.yaml", packOf("    when: "+when+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile([]*Pack{k}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.NewState(Patient, staleAfter(10*second))
}

func staleAfter(d int64) (out [vital.Count]int64) {
	for i := range out {
		out[i] = d
	}
	return out
}

// tri is the test's own three-valued logic: nil is unknown.
type tri = *bool

func known(b bool) tri { return &b }

func show(x tri) string {
	if x == nil {
		return "unknown"
	}
	return fmt.Sprint(*x)
}

// formula is a random formula over contact, lead_off and silent, and its value
// by enumeration: it is known if it is the same whatever the unknown ones are.
// Kleene's logic knows less for a formula that names an input twice, so the
// model follows the connectives.
func formula(r *rand.Rand, depth int, env map[string]tri) (string, tri) {
	if depth == 0 || r.IntN(4) == 0 {
		name := []string{"contact", "lead_off", "silent"}[r.IntN(3)]
		return name, env[name]
	}
	a, x := formula(r, depth-1, env)
	if r.IntN(3) == 0 {
		if x == nil {
			return "not (" + a + ")", nil
		}
		return "not (" + a + ")", known(!*x)
	}
	b, y := formula(r, depth-1, env)
	if r.IntN(2) == 0 {
		switch {
		case x != nil && !*x, y != nil && !*y:
			return "(" + a + ") and (" + b + ")", known(false)
		case x == nil || y == nil:
			return "(" + a + ") and (" + b + ")", nil
		}
		return "(" + a + ") and (" + b + ")", known(true)
	}
	switch {
	case x != nil && *x, y != nil && *y:
		return "(" + a + ") or (" + b + ")", known(true)
	case x == nil || y == nil:
		return "(" + a + ") or (" + b + ")", nil
	}
	return "(" + a + ") or (" + b + ")", known(false)
}

func TestLogicIsKleenes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	inputs := map[string]Input{"contact": Contact, "lead_off": LeadOff, "silent": Silent}
	for range 2000 {
		env := map[string]tri{}
		for name := range inputs {
			env[name] = []tri{nil, known(true), known(false)}[r.IntN(3)]
		}
		text, want := formula(r, 4, env)
		s := state(t, text)
		for name, x := range env {
			if x != nil {
				s.Set(inputs[name], number01(*x), 1)
			}
		}
		got := s.evaluate(&s.p.rules[0].when, 1)
		if (want == nil) != (got == unknown) || want != nil && *want != (got == isTrue) {
			t.Fatalf("%s with contact %s, lead_off %s, silent %s is %d, want %s", text, show(env["contact"]), show(env["lead_off"]), show(env["silent"]), got, show(want))
		}
	}
}

func TestExpressionsMeanWhatTheySay(t *testing.T) {
	for _, c := range []struct {
		when string
		want truthValue
	}{
		{"hr > 99", isTrue}, {"hr > 100", isFalse}, {"hr >= 100", isTrue}, {"hr < 100", isFalse}, {"hr <= 100", isTrue},
		{"hr == 100", isTrue}, {"hr != 100", isFalse}, {"99 < hr", isTrue}, {"hr > limit.hr.high", isFalse},
		{"hr > limit.hr.high - 21", isTrue}, {"-hr < -99.5", isTrue}, {"hr / 0 > 1", unknown}, {"hr * 2 + 1 == 201", isTrue},
		{"hr > spo2", isTrue}, {"rr > 1", unknown}, {"rr > 1 or hr > 99", isTrue}, {"rr > 1 and hr > 100", isFalse},
		{"not (rr > 1)", unknown}, {`posture == "supine"`, isTrue}, {`posture != "prone"`, isTrue}, {"90 < hr and hr < 110", isTrue},
		{"age(hr) == 3", isTrue}, {"gone(hr) == 0", isTrue}, {"gone(rr) == 2.5", isTrue}, {"gone(temp) == 0", isTrue}, {"age(rr) == 5", isTrue}, {"true or rr > 1", isTrue}, {"hr - (spo2 - 1) == 100 - 96", isTrue},
	} {
		s := state(t, strings.NewReplacer("true or", "contact or").Replace(c.when))
		s.Begin(95 * second)
		s.Set(Contact, 1, 97*second)
		s.Gone(vital.HeartRate, 95*second)
		s.Gone(vital.HeartRate, 96*second)
		s.Gone(vital.RespRate, 96*second)
		s.Gone(vital.RespRate, 98*second+second/2)
		s.Set(Of(vital.RespRate), 16, 98*second) // older than the word that there is none
		s.Set(Of(vital.HeartRate), 100, 97*second)
		s.Set(Of(vital.SpO2), 97, 97*second)
		s.Set(Of(vital.Posture), float64(vital.Supine), 97*second)
		if got := s.evaluate(&s.p.rules[0].when, 100*second); got != c.want {
			t.Errorf("%s is %d, want %d", c.when, got, c.want)
		}
	}
}

func TestAFaultInAPackSaysWhereAndWhatWasMeant(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{string(packOf("    when: hrt > 5\n")), `p.yaml:9:11: nothing is called "hrt": did you mean "hr"?`},
		{string(packOf("    when: hr > limit.hr.hihg\n")), `p.yaml:9:25: no limit is called "limit.hr.hihg": did you mean "limit.hr.high"?`},
		{string(packOf("    when: meen(hr, \"10m\") > 5\n")), `did you mean "mean"?`},
		{string(packOf("    when: mean(hr) > 5\n")), `not enough arguments`},
		{string(packOf("    when: mean(hr, \"1s\") > 5\n")), `a window is 10s to 2h long`},
		{string(packOf("    when: mean(contact, \"1m\") > 5\n")), `p.yaml:9:`},
		{string(packOf("    when: hr + 5\n")), `expected bool`},
		{string(packOf("    when: contact > 5\n")), `invalid operation`},
		{string(packOf("    when: 'hr > 5 ? contact : silent'\n")), `this is not part of the rules' language`},
		{string(packOf("    when: hr in [1, 2]\n")), `not part of the rules' language`},
		{string(packOf("    when: len(\"x\") > 0\n")), `there is no function len`},
		{string(packOf("    when: hr ** 2 > 5\n")), `operator ** is not part`},
		{string(packOf("    when: posture == \"suspine\"\n")), `is no posture`},
		{string(packOf("    when: link_lost\n")), `a rule about a patient cannot read link_lost`},
		{string(packOf("    when: 1 > 0\n")), `reads nothing`},
		{string(packOf("    when: hr > 5\n    fro: 6s\n")), `p.yaml:10:5: unknown key "fro" in the rule: did you mean "for"?`},
		{string(packOf("    when: hr > 5\n    for: 6\n")), `p.yaml:10:10: for must be a duration like 6s`},
		{string(packOf("    when: hr > 5\n    when: hr > 6\n")), `p.yaml:10:`},
		{string(packOf("    when: hr > 5\n    unless: contact\n")), `unless and unless_because come together`},
		{string(packOf("    when: hr > 5\n    escalate: [{after: 1m, priority: low}]\n")), `has a higher priority`},
		{string(packOf("    when: hr > 5\n    test: [{given: {hr: [97 fro 1m]}, expect: nothing}]\n")), `is not like "97 for 11m"`},
		{string(packOf("    when: hr > 5\n    test: [{given: {hr: [97 for 1m]}, expect: raised}]\n")), `like "raised at 11m15s"`},
		{strings.Replace(string(packOf("    when: hr > 5\n")), "priority: low", "priority: urgent", 1), `priority "urgent" is not one of high, medium, low`},
		{strings.Replace(string(packOf("    when: hr > 5\n")), "says: x", "says: x {hrr:0}", 1), `is neither an input`},
		{strings.Replace(string(packOf("    when: hr > 5\n")), "default: 120", "default: 12", 1), `is not between its bounds`},
		{"pack: p\nversion: 1\nrules:\n  - &a {id: r}\n", `must be a mapping`},
		{"pack: p\nversion: [\n", `p.yaml:`},
		{string(packOf("    when: contact\n    test: [{given: {contact: [gone for 1m]}, expect: nothing}]\n")), `only a vital can be gone, not contact`},
		{"", `one YAML document`},
		{strings.Repeat("[", 250_000), `p.yaml:1:1: lines have at most`},
		{strings.Repeat("[\n", 120_000), `brackets nest 200 deep`},
		{string(packOf("    when: " + strings.Repeat("not ", 450) + "contact\n")), `exceeds maximum allowed nodes`},
	} {
		_, err := Parse("p.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n\tgives %v\n\twant  %s", strings.TrimPrefix(c.text[:min(len(c.text), 1000)], string(packOf(""))), err, c.want)
		}
	}
}

func TestAnOverrideStaysWithinTheBounds(t *testing.T) {
	k, err := Parse("p.yaml", packOf("    when: hr > limit.hr.high\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		value float64
		want  string
	}{
		{"hr.high", 130, ""},
		{"hr.high", 200, "limit hr.high: 200 /min is above its upper bound of 180 /min"},
		{"hr.high", 10, "limit hr.high: 10 /min is below its lower bound of 90 /min"},
		{"hr.hig", 130, `no pack has a limit "hr.hig": did you mean "hr.high"?`},
	} {
		p, err := Compile([]*Pack{k}, map[string]float64{c.name: c.value})
		if got := fmt.Sprint(err); err != nil && got != c.want || err == nil && c.want != "" {
			t.Errorf("%s = %v: %v, want %s", c.name, c.value, err, c.want)
		}
		if err == nil && p.Limits()[0].Value != c.value {
			t.Errorf("the limit is %v", p.Limits()[0].Value)
		}
	}
}

func TestLimitsDoNotCross(t *testing.T) {
	k, err := Builtin("adult-ward")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		limits map[string]float64
		want   string
	}{
		{map[string]float64{"hr.high": 160}, "limit hr.extreme_high must be above hr.high, but 150 /min is not above 160 /min: raise hr.extreme_high (at most 220) or lower hr.high (at least 90)"},
		{map[string]float64{"hr.high": 150}, "limit hr.extreme_high must be above hr.high, but 150 /min is not above 150 /min: raise hr.extreme_high (at most 220) or lower hr.high (at least 90)"},
		{map[string]float64{"hr.high": 160, "hr.extreme_high": 180}, ""},
		{map[string]float64{"spo2.low": 82}, "limit spo2.low must be above spo2.extreme_low, but 82 % is not above 82 %: raise spo2.low (at most 95) or lower spo2.extreme_low (at least 70)"},
		{map[string]float64{"hr.low": 38}, "limit hr.low must be above hr.extreme_low, but 38 /min is not above 40 /min: raise hr.low (at most 70) or lower hr.extreme_low (at least 20)"},
	} {
		if _, err := Compile([]*Pack{k}, c.limits); c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%v: %v, want %s", c.limits, err, c.want)
		}
	}
	rest := "rules:\n  - {id: r, says: x, priority: low, when: hr > 1}\n"
	for text, want := range map[string]string{
		"a.low: {default: 2, min: 1, max: 3, above: a.top}\n  a.top: {default: 2, min: 1, max: 3}": "p.yaml:4:3: limit a.low must be above a.top, but 2",
		"a.low: {default: 2, min: 1, max: 3, above: a.tip}\n  a.top: {default: 1, min: 1, max: 3}": `p.yaml:4:3: limit a.low is above "a.tip", which the pack does not have: did you mean "a.top"?`,
	} {
		if _, err := Parse("p.yaml", []byte("pack: p\nversion: 1\nlimits:\n  "+text+"\n"+rest)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\ngives %v\nwant  %s", text, err, want)
		}
	}
}

func TestACaseThatDoesNotHoldIsReported(t *testing.T) {
	k, err := Parse("p.yaml", packOf("    when: hr > 120\n    for: 6s\n    test:\n      - {given: {hr: [130 for 1m]}, expect: raised at 7s}\n      - {given: {hr: [130 for 1m]}, expect: nothing}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := "p.yaml:12:1: rule r: expected raised at 7s, but: raised at 6s\np.yaml:13:1: rule r: expected nothing, but: raised at 6s"
	if err := Test(k); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(packOf("    when: mean(hr, \"10m\") > limit.hr.high and not contact\n"))
	f.Add(packOf("    when: (hr > 1 or age(rr) < 5) and posture == \"supine\"\n    for: 6s\n    unless: silent\n    unless_because: x\n"))
	f.Add(packOf("    when: hr > 1\n    escalate: [{after: 1m, priority: high}]\n    test:\n      - {given: {hr: [1 for 1m, absent for 2s]}, expect: \"raised at 1s, ended at 3s\"}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := Parse("p.yaml", text); err == nil {
			if _, err := Compile([]*Pack{k}, nil); err != nil {
				t.Errorf("parsed but not compiled: %v", err)
			}
		}
	})
}
