package api

import (
	"encoding/binary"
	"math"

	"wardline/cloud/internal/feed"
)

// waveVersion is the version of the binary form of a piece of a waveform:
//
//	u8 version, u8 length of ward, u8 length of bed, u8 0,
//	u32 lead (MDC), i64 first sample's instant (µs UTC),
//	u32 numerator and u32 denominator of the µs between samples,
//	u32 nV a count, u32 n, ward, bed, zeros up to a multiple of 4, n × i16
//
// all little-endian. A sample beyond 16 bits is kept at their end.
const waveVersion = 1

// encodeWave writes a piece in the form that viewers get.
func encodeWave(w *feed.Wave) []byte {
	if len(w.Ward) > math.MaxUint8 || len(w.Bed) > math.MaxUint8 {
		return nil // an id has at most 64 bytes
	}
	le := binary.LittleEndian
	b := make([]byte, 0, 36+len(w.Ward)+len(w.Bed)+2*len(w.Samples))
	b = append(b, waveVersion, byte(len(w.Ward)), byte(len(w.Bed)), 0)
	b = le.AppendUint32(b, w.Lead)
	b = le.AppendUint64(b, uint64(w.Start))
	b = le.AppendUint32(b, w.IntervalNum)
	b = le.AppendUint32(b, w.IntervalDen)
	b = le.AppendUint32(b, w.NVPerCount)
	b = le.AppendUint32(b, uint32(len(w.Samples)))
	b = append(append(b, w.Ward...), w.Bed...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	for _, x := range w.Samples {
		b = le.AppendUint16(b, uint16(int16(min(max(x, math.MinInt16), math.MaxInt16))))
	}
	return b
}
