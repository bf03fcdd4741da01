package fleet

import (
	"testing"

	"wardline/shared/link/linkpb"
)

func TestABedsOwnLimitStandsBeforeItsWards(t *testing.T) {
	w := ward(&linkpb.Ward{Id: "7w", Limits: []*linkpb.Limit{{Name: "hr.high", Value: 120}, {Name: "hr.low", Value: 50}}, Beds: []*linkpb.Bed{
		{Id: "1"}, {Id: "2", Limits: []*linkpb.Limit{{Name: "hr.high", Value: 140}}},
	}})
	for i, want := range []map[string]float64{{"hr.high": 120, "hr.low": 50}, {"hr.high": 140, "hr.low": 50}} {
		got := map[string]float64{}
		for _, l := range w.Beds[i].Limits {
			got[l.Name] = l.Value
		}
		if len(got) != len(w.Beds[i].Limits) || got["hr.high"] != want["hr.high"] || got["hr.low"] != want["hr.low"] {
			t.Errorf("bed %s has %v, want %v", w.Beds[i].ID, w.Beds[i].Limits, want)
		}
	}
}
