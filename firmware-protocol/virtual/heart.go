package virtual

import (
	"math"
	"math/rand/v2"

	pb "wardline/firmware-protocol/biosensorpb"
)

// rate turns beats into a heart rate as bedside monitors do: the mean of the
// last 12 RR intervals or, when the last three all exceed 1200 ms, of the last
// four (BeneHeart D60 and Philips MP2 disclose the same rule).
type rate struct {
	rr   [12]int64 // µs, a ring
	n    int       // intervals ever
	last int64     // µs at the last beat
	some bool
}

// lostUS is how long without a beat a heart rate stands: the asystole of the
// PhysioNet/CinC Challenge 2015.
const lostUS = 4_000_000

func (r *rate) beat(at int64) {
	if r.some {
		r.rr[r.n%len(r.rr)] = at - r.last
		r.n++
	}
	r.last, r.some = at, true
}

// value is the heart rate at now, both in µs; Validity says why there is none.
func (r *rate) value(now int64) (float64, pb.Validity) {
	if !r.some || now-r.last >= lostUS {
		if now < lostUS {
			return 0, pb.Validity_VALIDITY_CALIBRATING
		}
		r.n, r.some = 0, false
		return 0, pb.Validity_VALIDITY_NOT_FOUND
	}
	if r.n < 3 {
		return 0, pb.Validity_VALIDITY_CALIBRATING
	}
	use, slow := min(r.n, len(r.rr)), true
	for i := 1; i <= 3; i++ {
		slow = slow && r.back(i) > 1_200_000
	}
	if slow {
		use = min(use, 4)
	}
	sum := int64(0)
	for i := 1; i <= use; i++ {
		sum += r.back(i)
	}
	return math.Round(60e6 * float64(use) / float64(sum)), pb.Validity_VALIDITY_VALID
}

// back is the interval i before the newest, from 1.
func (r *rate) back(i int) int64 { return r.rr[(r.n-i)%len(r.rr)] }

// A wave of the beat's model: a Gaussian, as in McSharry et al., IEEE Trans
// Biomed Eng 50(3):289, 2003. Times are from the R peak.
type bump struct {
	atUS, widthUS float64
	mV            [2]float64 // lead II, lead I
}

var qrs = []bump{
	{-170_000, 25_000, [2]float64{0.12, 0.08}}, // P
	{-28_000, 9_000, [2]float64{-0.10, -0.06}}, // Q
	{0, 11_000, [2]float64{1.10, 0.70}},        // R
	{30_000, 10_000, [2]float64{-0.22, -0.10}}, // S
}

// tWave's place goes with the square root of the RR interval (Bazett).
var tWave = bump{280_000, 55_000, [2]float64{0.28, 0.18}}

// aheadUS is how far before its R peak a beat's first wave begins.
const aheadUS = 260_000

// heart beats at a given rate and draws the ECG of its beats.
type heart struct {
	rng   *rand.Rand
	next  int64 // µs of the next R peak
	rate  rate
	peaks []int64 // R peaks drawn ahead and not yet counted

	drawn [2][]float64 // mV ahead of the frame's begin, a lead each; empty: not drawn
}

// run moves the heart to end (µs) at bpm; breath is the phase of respiration,
// which sways the rhythm. A heart at 0 stands still.
func (h *heart) run(begin, end int64, bpm, breath float64) {
	for h.next < end+aheadUS {
		if bpm == 0 {
			h.next = max(h.next, end+aheadUS)
			break
		}
		rr := 60e6 / bpm * (1 + 0.03*math.Sin(breath) + 0.008*h.rng.NormFloat64())
		h.draw(begin, h.next, rr)
		h.peaks = append(h.peaks, h.next)
		h.next += int64(rr)
	}
	i := 0
	for i < len(h.peaks) && h.peaks[i] < end {
		h.rate.beat(h.peaks[i])
		i++
	}
	h.peaks = append(h.peaks[:0], h.peaks[i:]...)
}

// draw adds the beat with its R peak at r to the canvas, which begins at begin.
func (h *heart) draw(begin, r int64, rr float64) {
	if h.drawn[0] == nil {
		return
	}
	t := tWave
	t.atUS *= math.Sqrt(rr / 1e6)
	for _, b := range qrs {
		h.add(begin, r, b)
	}
	h.add(begin, r, t)
}

func (h *heart) add(begin, r int64, b bump) {
	centre := float64(r-begin) + b.atUS
	from := max(int(math.Ceil((centre-4*b.widthUS)/SampleUS)), 0)
	to := min(int((centre+4*b.widthUS)/SampleUS), len(h.drawn[0])-1)
	for i := from; i <= to; i++ {
		x := (float64(i)*SampleUS - centre) / b.widthUS
		g := math.Exp(-x * x / 2)
		for lead := range h.drawn {
			h.drawn[lead][i] += b.mV[lead] * g
		}
	}
}

// take moves the canvas on by n samples.
func (h *heart) take(n int) {
	for lead, c := range h.drawn {
		if c == nil {
			continue
		}
		copy(c, c[n:])
		clear(c[len(c)-n:])
		h.drawn[lead] = c
	}
}

// canvas is how many samples are drawn ahead of a frame of n.
func canvas(n int) int { return n + (aheadUS+900_000)/SampleUS }
