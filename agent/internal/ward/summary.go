package ward

import (
	"cmp"
	"slices"

	"wardline/shared/vital"
)

const (
	summaryIdle = 12 * tick // a live interval without news for this long is over
	lateIdle    = 5 * tick  // so is one of history
	maxLate     = 64        // intervals of history that are open at once, a bed
)

// interval gathers one summary.
type interval struct {
	Start   int64 // sensor time, µs UTC
	Touched int64 // ward time
	Stamped bool  // by the gateway's receipt
	Vitals  [vital.Count]sum
}

type sum struct {
	N              uint32
	Quality        uint64
	Sum            float64
	Min, Max, Last float64
	At             int64 // of Last
}

func (s *sum) add(r vital.Reading) {
	if s.N == 0 {
		s.Min, s.Max = r.Value, r.Value
	}
	s.N++
	s.Sum += r.Value
	s.Quality += uint64(r.Quality)
	s.Min, s.Max = min(s.Min, r.Value), max(s.Max, r.Value)
	if r.At >= s.At {
		s.At, s.Last = r.At, r.Value
	}
}

// sums is a bed's summaries that are not put out yet.
type sums struct {
	Live interval   // Touched is 0 when there is none
	Late []interval // history, in no order
}

// add puts a reading into the interval that it was measured in. The newest
// interval is live, and put out as soon as a newer one begins; older ones are
// history, but for live ones that are so much older that the clocks were set back.
func (b *bed) add(w *Ward, r vital.Reading, late, stamped bool, out *Output) {
	if w.glance {
		return
	}
	start := r.At - r.At%w.every
	live := &b.sums.Live
	switch {
	case live.Touched != 0 && start == live.Start:
	case !late && (start > live.Start || live.Start-start > liveBound+w.every):
		b.put(w, live, false, out)
		*live = interval{Start: start}
	default:
		live = b.past(w, start, out)
	}
	live.Touched = w.clock.T
	live.Stamped = live.Stamped || stamped
	live.Vitals[r.Vital].add(r)
}

// past is the open interval of history that begins at start.
func (b *bed) past(w *Ward, start int64, out *Output) *interval {
	late := &b.sums.Late
	for i := range *late {
		if (*late)[i].Start == start {
			return &(*late)[i]
		}
	}
	if len(*late) == maxLate {
		oldest := 0
		for i := range *late {
			if (*late)[i].Touched < (*late)[oldest].Touched {
				oldest = i
			}
		}
		b.put(w, &(*late)[oldest], true, out)
		*late = slices.Delete(*late, oldest, oldest+1)
	}
	*late = append(*late, interval{Start: start})
	return &(*late)[len(*late)-1]
}

// flush puts out the intervals that get no more readings.
func (b *bed) flush(w *Ward, t int64, out *Output) {
	if x := &b.sums.Live; x.Touched != 0 && t-x.Touched >= summaryIdle {
		b.put(w, x, false, out)
	}
	if len(b.sums.Late) == 0 {
		return
	}
	slices.SortFunc(b.sums.Late, func(x, y interval) int { return cmp.Compare(x.Start, y.Start) })
	kept := b.sums.Late[:0]
	for i := range b.sums.Late {
		if x := &b.sums.Late[i]; t-x.Touched >= lateIdle {
			b.put(w, x, true, out)
		} else {
			kept = append(kept, *x)
		}
	}
	b.sums.Late = kept
}

// put puts an interval out and marks it as gone. What was said of the sensor
// goes with live ones only: of history it is not known.
func (b *bed) put(w *Ward, x *interval, late bool, out *Output) {
	if x.Touched == 0 {
		return
	}
	x.Touched = 0
	s := Summary{Ward: b.ward, Bed: b.bed, Sensor: b.sensor, Patient: b.patient, Start: x.Start, End: x.Start + w.every, Late: late, Stamped: x.Stamped}
	if !late {
		s.Contact, s.LeadOff, s.Silent = b.contact(), b.leadOff(), b.Silent
	}
	for v := range x.Vitals {
		if y := &x.Vitals[v]; y.N > 0 {
			s.Vitals[v] = VitalSummary{y.N, y.Min, y.Sum / float64(y.N), y.Max, y.Last, uint8(y.Quality / uint64(y.N))}
		}
	}
	out.Summaries = append(out.Summaries, s)
}
