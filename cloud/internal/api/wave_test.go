package api

import (
	"path/filepath"
	"testing"

	"wardline/cloud/internal/feed"
	"wardline/shared/link/linkpb"
)

func waveOf(m *linkpb.Wave) *feed.Wave {
	return &feed.Wave{Ward: m.Ward, Bed: m.Bed, Lead: m.Lead, Start: m.Start, IntervalNum: m.IntervalNum,
		IntervalDen: m.IntervalDen, NVPerCount: m.NvPerCount, Samples: m.Samples}
}

func TestThePageReadsTheBinaryFormOfAWaveform(t *testing.T) {
	b := encodeWave(&feed.Wave{Ward: "7w", Bed: "12", Lead: 131329, Start: night, IntervalNum: 4096, IntervalDen: 1, NVPerCount: 2441,
		Samples: []int32{0, 100, -100, 32767, -32768, 40000, -40000}})
	if len(b) != 32+4+14 {
		t.Errorf("%d bytes", len(b))
	}
	goldenBytes(t, filepath.Join("testdata", "wave.bin"), b)
}
