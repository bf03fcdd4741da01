package api

import (
	"iter"
	"reflect"
	"strconv"
	"testing"

	"wardline/cloud/internal/store"
	"wardline/shared/vital"
)

// course is summaries of 10 s each: a number is a heart rate, 0 nothing measured,
// -1 nothing came.
func course(from int64, rates ...float64) []store.Summary {
	var out []store.Summary
	for i, hr := range rates {
		start := from + int64(i)*10*second
		s := store.Summary{Start: start, End: start + 10*second}
		switch {
		case hr < 0:
			continue
		case hr == 0:
			s.LeadOff = true
		default:
			s.Vitals = []store.VitalSummary{{Vital: vital.HeartRate, N: 10, Min: hr - 2, Mean: hr, Max: hr + 2, Last: hr}}
		}
		out = append(out, s)
	}
	return out
}

func listed(list []store.Summary) iter.Seq2[store.Summary, error] {
	return func(yield func(store.Summary, error) bool) {
		for _, s := range list {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func TestATrendSaysWhatItKnowsAndWhyItDoesNotKnowTheRest(t *testing.T) {
	from := night / (60 * second) * (60 * second)
	at := func(s int64) int64 { return from + s*second }
	list := course(from, 80, 90, 80, 90, 80, 90, -1, -1, -1, -1, 100, 100, 0, 0, 0, 0, 0, 0, 110, 110, -1, -1, -1, -1)
	list[4].Late = true
	list = append(list[:6], append([]store.Summary{{Start: at(50), End: at(60), Late: true, // a second part, joined
		Vitals: []store.VitalSummary{{Vital: vital.HeartRate, N: 10, Min: 60, Mean: 60, Max: 60}}}}, list[6:]...)...)
	got, err := newTrend(Span{from, at(240)}, at(240), 60*second, listed(list),
		[]store.Hole{{From: at(70), To: at(90), Reason: "evicted"}, {From: at(0), To: at(30), Reason: "another bed's"}})
	if err != nil {
		t.Fatal(err)
	}
	f := func(s int64) float64 { return float64(at(s)) }
	want := Trend{From: from, To: at(240), Step: 60 * second,
		Vitals: map[string][]TrendPoint{"hr": {{f(0), 60, round(570. / 7), 92}, {f(60), 98, 100, 102}, {f(180), 108, 110, 112}}},
		Holes: []Hole{{at(60), at(70), "no_data"}, {at(70), at(90), "evicted"}, {at(90), at(100), "no_data"},
			{at(120), at(180), "lead_off"}, {at(200), at(210), "no_data"}},
		Late: []Span{{at(40), at(60)}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestATrendHasAtMostThePointsThatWereAskedFor(t *testing.T) {
	for _, span := range []int64{1, 10, 599, 3600, 86400, 7 * 86400, 31 * 86400} {
		for _, points := range []int{1, 7, 360, 2000} {
			for _, shift := range []int64{0, 1, 12345} {
				from := night + shift*second
				to := from + span*second
				step := stepFor(from, to, points)
				if n := (to-1)/step - from/step + 1; n > int64(points) && step < steps[len(steps)-1] {
					t.Errorf("%d s in steps of %d s are %d points, more than %d", span, step/second, n, points)
				}
			}
		}
	}
}

func TestATrendOverHTTPJoinsWhatCameLate(t *testing.T) {
	w := open(t)
	from := (night - 3600*second) / (3600 * second) * (3600 * second)
	var list []store.Summary
	for _, s := range course(from, 80, 82, 84) {
		s.Ward, s.Bed = "7w", "12"
		list = append(list, s)
	}
	late := list[2]
	late.Late = true
	w.do(t, func(tx *store.Tx) error { return tx.PutVitals(append(list, late)) })
	c := w.as(t, "viewer")
	tr := decoded[Trend](t, c.get("/api/v1/wards/7w/beds/12/trend?points=100&from="+fmtInt(from)+"&to="+fmtInt(from+60*second)))
	if tr.Step != 10*second || len(tr.Vitals["hr"]) != 3 || len(tr.Late) != 1 || len(tr.Holes) != 1 || tr.Holes[0].From != from+30*second {
		t.Errorf("trend %+v", tr)
	}
	wantProblem(t, c.get("/api/v1/wards/7w/beds/12/trend?from=5&to=4"), 422, "invalid")
	wantProblem(t, c.get("/api/v1/wards/7w/beds/12/trend?from=1&to="+fmtInt(night)), 422, "invalid")
}

func fmtInt(n int64) string { return strconv.FormatInt(n, 10) }
