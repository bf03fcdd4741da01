package virtual

import "math"

// The resampler's filter: a sinc under a Hann window, tabulated.
const (
	halfTaps = 12  // input samples to either side
	phases   = 256 // positions between two input samples
)

// resampler gives a signal's value at any instant, low-passed for the rate at
// which it will be sampled.
type resampler struct {
	in   []float64 // in the unit wanted
	step float64   // input samples per output sample
	taps [phases + 1][2 * halfTaps]float64
}

// newResampler prepares in, sampled at frequency, for samples of every µs.
func newResampler(in []float64, frequency, everyUS float64) *resampler {
	r := &resampler{in: in, step: frequency * everyUS / 1e6}
	cut := min(1, 1/r.step) * 0.95 // of the input's Nyquist frequency
	for p := range r.taps {
		sum := 0.0
		for k := range r.taps[p] {
			x := float64(k-halfTaps+1) - float64(p)/phases
			w := cut
			if x != 0 {
				w = math.Sin(math.Pi*x*cut) / (math.Pi * x)
			}
			w *= 0.5 + 0.5*math.Cos(math.Pi*x/(halfTaps+1))
			r.taps[p][k] = w
			sum += w
		}
		for k := range r.taps[p] {
			r.taps[p][k] /= sum
		}
	}
	return r
}

// at is output sample i. Beyond its ends the signal holds its last value.
func (r *resampler) at(i int) float64 {
	x := float64(i) * r.step
	base := int(x)
	taps := &r.taps[int((x-float64(base))*phases+0.5)]
	first := base - halfTaps + 1
	v := 0.0
	if first >= 0 && first+2*halfTaps <= len(r.in) {
		for k, s := range r.in[first : first+2*halfTaps] {
			v += taps[k] * s
		}
		return v
	}
	for k, w := range taps {
		v += w * r.in[min(max(first+k, 0), len(r.in)-1)]
	}
	return v
}
