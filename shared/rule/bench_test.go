package rule

import (
	"testing"

	"github.com/expr-lang/expr"

	"wardline/shared/vital"
)

// BenchmarkEvaluate and BenchmarkBareExpr evaluate the same condition: expr's
// virtual machine on a plain structure is the floor.
func BenchmarkEvaluate(b *testing.B) {
	for _, c := range conditions {
		b.Run(c, func(b *testing.B) {
			s := state(b, c)
			s.Set(Of(vital.HeartRate), 100, 1)
			s.Set(Of(vital.SpO2), 97, 1)
			e := &s.p.rules[0].when
			b.ReportAllocs()
			for b.Loop() {
				s.evaluate(e, 1)
			}
		})
	}
}

var conditions = []string{"hr > 120", "hr > 120 and spo2 < 90 or hr < 40 and spo2 < 88"}

func BenchmarkBareExpr(b *testing.B) {
	type env struct {
		HR   float64 `expr:"hr"`
		SpO2 float64 `expr:"spo2"`
	}
	for _, c := range conditions {
		b.Run(c, func(b *testing.B) {
			p, err := expr.Compile(c, expr.Env(env{}), expr.AsBool())
			if err != nil {
				b.Fatal(err)
			}
			e := env{100, 97}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := expr.Run(p, e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStep is a second of 50 sensors on both packs in which every vital
// changes. It reports the rules evaluated a second on one core.
func BenchmarkStep(b *testing.B) {
	p := builtinProgram(b)
	states := make([]*State, 50)
	at := 1000 * second
	for i := range states {
		states[i] = p.NewState(Patient, staleAfter(10*second))
		states[i].Begin(at)
	}
	var changes []Change
	k := 0.0
	b.ReportAllocs()
	for b.Loop() {
		at += second
		k = 1 - k
		for _, s := range states {
			s.Set(Of(vital.HeartRate), 72+k, at)
			s.Set(Of(vital.RespRate), 16+k, at)
			s.Set(Of(vital.SpO2), 97+k, at)
			s.Set(Of(vital.Temperature), 36+k, at)
			changes = s.Step(at, changes[:0])
		}
	}
	reading := 0
	for _, i := range p.scopes[Patient] {
		if p.rules[i].reads&(1<<vital.HeartRate|1<<vital.RespRate|1<<vital.SpO2|1<<vital.Temperature) != 0 {
			reading++
		}
	}
	b.ReportMetric(float64(b.N*50*reading)/b.Elapsed().Seconds(), "rules/s")
	b.ReportMetric(0, "ns/op")
}

func TestAStepCostsNoMemoryWhileNothingHappens(t *testing.T) {
	p := builtinProgram(t)
	s := p.NewState(Patient, staleAfter(10*second))
	at, k := 1000*second, 0.0
	var changes []Change
	one := func() {
		at += second
		k = 1 - k
		s.Set(Of(vital.HeartRate), 72+k, at)
		s.Set(Of(vital.SpO2), 97+k, at)
		changes = s.Step(at, changes[:0])
	}
	for range 1000 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n > 0 {
		t.Errorf("%v allocations a step", n)
	}
}
