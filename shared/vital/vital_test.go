package vital

import (
	"math"
	"testing"
)

func TestEveryVitalIsFoundByItsNameAndItsCode(t *testing.T) {
	for _, m := range All() {
		if got, ok := ByName(m.Name); !ok || got != m.Vital {
			t.Errorf("ByName(%q) = %v, %v; want %v", m.Name, got, ok, m.Vital)
		}
		if m.MDC == 0 {
			continue
		}
		if got, ok := ByMDC(m.MDC); !ok || got != m.Vital {
			t.Errorf("ByMDC(%d) = %v, %v; want %v", m.MDC, got, ok, m.Vital)
		}
	}
}

func TestImplausibleValuesAreNotMeasurements(t *testing.T) {
	for _, c := range []struct {
		v     Vital
		value float64
		want  bool
	}{
		{HeartRate, 72, true}, {HeartRate, 0, false}, {HeartRate, math.NaN(), false}, {HeartRate, math.Inf(1), false},
		{SpO2, 100, true}, {SpO2, 101, false}, {RespRate, 0, true}, {Temperature, -273, false},
		{Vital(0), 1, false}, {Vital(200), 1, false},
	} {
		if got := c.v.Plausible(c.value); got != c.want {
			t.Errorf("%v.Plausible(%v) = %v, want %v", c.v, c.value, got, c.want)
		}
	}
}

func TestPosturesAreFoundByTheirNames(t *testing.T) {
	for p := Supine; p <= UpsideDown; p++ {
		if got, ok := PostureByName(p.String()); !ok || got != p {
			t.Errorf("PostureByName(%q) = %v, %v", p, got, ok)
		}
	}
	if _, ok := PostureByName(""); ok {
		t.Error("the empty name is a posture")
	}
}

func TestAVitalIsWrittenAsItsName(t *testing.T) {
	b, _ := RespRate.MarshalText()
	var v Vital
	if err := v.UnmarshalText(b); err != nil || v != RespRate {
		t.Errorf("%s read back as %v, %v", b, v, err)
	}
	if err := v.UnmarshalText([]byte("bp")); err == nil {
		t.Error("an unknown name was read")
	}
}
