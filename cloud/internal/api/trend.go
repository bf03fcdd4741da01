package api

import (
	"context"
	"errors"
	"iter"
	"net/http"

	"wardline/cloud/internal/store"
	"wardline/shared/link"
	"wardline/shared/vital"
)

const (
	maxTrend = 31 * 24 * 3600 * 1_000_000 // µs that one trend may span
	lineSpan = 30 * 60 * 1_000_000        // µs of a snapshot's line
	lineStep = 60 * 1_000_000
	// onWay is how long the newest interval may be on its way before it is missed:
	// an interval, its transport, and a second interval for good measure.
	onWay = 30 * 1_000_000
	// joint is how far apart two intervals may lie and still be one stretch.
	joint = 1_000_000
)

// steps are what one point may span, µs: divisors of an hour or a day, so that
// the same instants are asked for again and again.
var steps = func() []int64 {
	var out []int64
	for _, s := range []int64{10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2678400} {
		out = append(out, s*1_000_000)
	}
	return out
}()

// stepFor is the smallest step that gives at most n points between two instants.
func stepFor(from, to int64, n int) int64 {
	for _, s := range steps {
		if (to-1)/s-from/s+1 <= int64(n) {
			return s
		}
	}
	return steps[len(steps)-1]
}

func (s *Server) trend(ctx context.Context, c caller, in *struct {
	Ward   string `path:"ward" maxLength:"64"`
	Bed    string `path:"bed" maxLength:"64"`
	From   int64  `query:"from" minimum:"0" doc:"0 = an hour before to"`
	To     int64  `query:"to" minimum:"0" doc:"Exclusive; 0 = now"`
	Points int    `query:"points" minimum:"1" maximum:"2000" default:"360"`
}) (*body[Trend], error) {
	now := s.c.Now()
	if in.To == 0 {
		in.To = now
	}
	if in.From == 0 {
		in.From = in.To - 3600*1_000_000
	}
	if in.From >= in.To || in.To-in.From > maxTrend {
		p := newProblem(http.StatusUnprocessableEntity, reasonInvalid, "A trend spans at most 31 days, and ends after it begins.")
		p.Fields = []Field{{Where: "query.from", What: "it must be before to, by at most 31 days"}}
		return nil, p
	}
	step := stepFor(in.From, in.To, in.Points)
	in.From = in.From / step * step // a step is not cut in two
	var out Trend
	err := s.c.Store.View(ctx, func(tx *store.Tx) error {
		gateway, err := gatewayOf(tx, in.Ward, in.Bed)
		gone := errors.Is(err, store.ErrNotFound) // nobody watches it any more, but it may have a history
		if err != nil && !gone {
			return err
		}
		declared, err := tx.Holes(gateway, int(link.Vitals), in.From, in.To)
		if err != nil {
			return err
		}
		out, err = newTrend(Span{in.From, in.To}, now, step, tx.Vitals(in.Ward, in.Bed, in.From, in.To), declared)
		if gone && len(out.Vitals) == 0 && err == nil {
			return store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &body[Trend]{out}, s.done(ctx, c, "trend", in.Bed, in.Ward)
}

func gatewayOf(tx *store.Tx, ward, bed string) (string, error) {
	w, err := tx.Ward(ward)
	if err != nil {
		return "", err
	}
	for _, b := range w.Beds {
		if b.ID == bed {
			return b.Gateway, nil
		}
	}
	return "", store.ErrNotFound
}

// newTrend joins a bed's summaries, by their start, into points of a step each.
func newTrend(over Span, now, step int64, list iter.Seq2[store.Summary, error], declared []store.Hole) (Trend, error) {
	from, to := over.From, over.To
	out := Trend{From: from, To: to, Step: step, Vitals: map[string][]TrendPoint{}, Holes: []Hole{}, Late: []Span{}}
	var sums [vital.Count]sum
	var missing gaps
	covered := from
	for x, err := range list {
		if err != nil {
			return out, err
		}
		missing.add(covered, x.Start, "no_data")
		if len(x.Vitals) == 0 {
			missing.add(x.Start, x.End, whyEmpty(x))
		}
		covered = max(covered, x.End)
		if x.Late {
			out.Late = extend(out.Late, Span{x.Start, min(x.End, to)})
		}
		at := x.Start / out.Step * out.Step
		for _, v := range x.Vitals {
			if v.Vital.Valid() && v.Vital != vital.Posture && v.N > 0 {
				sums[v.Vital].add(at, v, func(p TrendPoint) { out.point(v.Vital, p) })
			}
		}
	}
	for v := range sums {
		sums[v].flush(func(p TrendPoint) { out.point(vital.Vital(v), p) })
	}
	missing.add(covered, min(to, now-onWay), "no_data")
	out.Holes = missing.explain(declared, to)
	return out, nil
}

func (t *Trend) point(v vital.Vital, p TrendPoint) {
	t.Vitals[v.String()] = append(t.Vitals[v.String()], p)
}

// whyEmpty says why an interval that came has no values.
func whyEmpty(x store.Summary) string {
	switch {
	case x.Silent:
		return "silent"
	case x.LeadOff:
		return "lead_off"
	}
	return "no_reading"
}

// A sum gathers one vital over one step. Means are weighted by the number of
// readings, so late ones of the same interval count like the others.
type sum struct {
	at             int64
	n              float64
	min, mean, max float64
}

func (s *sum) add(at int64, v store.VitalSummary, done func(TrendPoint)) {
	if at != s.at {
		s.flush(done)
		s.at = at
	}
	n := float64(v.N)
	if s.n == 0 {
		s.min, s.max = v.Min, v.Max
	}
	s.min, s.max = min(s.min, v.Min), max(s.max, v.Max)
	s.mean += v.Mean * n
	s.n += n
}

func (s *sum) flush(done func(TrendPoint)) {
	if s.n > 0 {
		done(TrendPoint{float64(s.at), s.min, round(s.mean / s.n), s.max})
	}
	*s = sum{}
}

// round keeps a mean to a thousandth, as its parts were kept.
func round(x float64) float64 {
	if x < 0 {
		return -round(-x)
	}
	return float64(int64(x*1000+0.5)) / 1000
}

func extend(list []Span, x Span) []Span {
	if n := len(list); n > 0 && x.From <= list[n-1].To+joint {
		list[n-1].To = max(list[n-1].To, x.To)
		return list
	}
	return append(list, x)
}

// gaps are stretches without values, in order.
type gaps []Hole

func (g *gaps) add(from, to int64, why string) {
	if to-from < joint {
		return
	}
	if n := len(*g); n > 0 && (*g)[n-1].Reason == why && from <= (*g)[n-1].To+joint {
		(*g)[n-1].To = max((*g)[n-1].To, to)
		return
	}
	*g = append(*g, Hole{from, to, why})
}

// explain gives the part of each stretch without data that the gateway declared
// lost the gateway's reason: that part will not be filled.
func (g gaps) explain(declared []store.Hole, to int64) []Hole {
	out := []Hole{}
	for _, x := range g {
		x.To = min(x.To, to)
		for _, d := range declared {
			if x.Reason != "no_data" || d.To <= x.From || d.From >= x.To {
				continue
			}
			if d.From-x.From >= joint {
				out = append(out, Hole{x.From, d.From, x.Reason})
			}
			end := min(d.To, x.To)
			out = append(out, Hole{max(d.From, x.From), end, d.Reason})
			x.From = end
		}
		if x.To-x.From >= joint {
			out = append(out, x)
		}
	}
	return out
}

// lineFrom is where the line of a snapshot at now begins.
func lineFrom(now int64) int64 { return (now - lineSpan) / lineStep * lineStep }

// newLine is the means of the last half hour, a point a minute.
func newLine(now int64, list iter.Seq2[store.Summary, error]) (map[string][]LinePoint, error) {
	t, err := newTrend(Span{lineFrom(now), now}, now, lineStep, list, nil)
	out := make(map[string][]LinePoint, len(t.Vitals))
	for name, points := range t.Vitals {
		if name == vital.Battery.String() {
			continue
		}
		for _, p := range points {
			out[name] = append(out[name], LinePoint{p[0], p[2]})
		}
	}
	return out, err
}
