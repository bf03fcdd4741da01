package frame

import (
	"time"

	"wardline/firmware-protocol/biosensorpb"
)

// Pack puts samples into w as its first value and differences, using again
// the memory that w.Differences has. It panics when there is no sample.
func Pack(w *biosensorpb.Waveform, samples []int32) {
	w.First = samples[0]
	w.Differences = w.Differences[:0]
	for i := 1; i < len(samples); i++ {
		w.Differences = append(w.Differences, samples[i]-samples[i-1])
	}
}

// Unpack appends the samples of w, in counts, to dst.
func Unpack(dst []int32, w *biosensorpb.Waveform) []int32 {
	v := w.First
	dst = append(dst, v)
	for _, d := range w.Differences {
		v += d
		dst = append(dst, v)
	}
	return dst
}

// SampleOffset is when sample i of w was taken, after the frame's clock_us.
func SampleOffset(w *biosensorpb.Waveform, i int) time.Duration {
	us := uint64(w.OffsetUs) + uint64(i)*uint64(w.IntervalNum)/uint64(w.IntervalDen)
	return time.Duration(us) * time.Microsecond
}

// Span is how far the last sample, reading or event of a checked f lies after
// its clock_us.
func Span(f *biosensorpb.Frame) time.Duration {
	var span time.Duration
	for _, w := range f.Waveforms {
		span = max(span, SampleOffset(w, len(w.Differences)))
	}
	for _, r := range f.Readings {
		span = max(span, time.Duration(r.OffsetUs)*time.Microsecond)
	}
	for _, e := range f.Events {
		span = max(span, time.Duration(e.OffsetUs)*time.Microsecond)
	}
	return span
}

// TimeUS is the wall time of f's clock_us by the sensor, in µs since 1970; ok
// is false when the sensor does not know it (§5.2).
func TimeUS(f *biosensorpb.Frame) (us int64, ok bool) {
	return f.StartUs + int64(f.ClockUs), f.StartUs != 0
}
