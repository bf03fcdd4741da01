package feed

import (
	"slices"
	"sync"

	"wardline/shared/link/linkpb"
)

// Wave is a piece of one waveform.
type Wave struct {
	Ward, Bed   string
	Lead        uint32 // MDC code
	Start       int64  // of the first sample, µs UTC
	IntervalNum uint32 // µs between samples = IntervalNum / IntervalDen
	IntervalDen uint32
	NVPerCount  uint32
	Samples     []int32

	once    sync.Once
	encoded []byte
}

// Encoded is the piece as encode writes it, made once for all its viewers.
func (w *Wave) Encoded(encode func(*Wave) []byte) []byte {
	w.once.Do(func() { w.encoded = encode(w) })
	return w.encoded
}

// Viewer is somebody who looks at a bed's waveforms.
type Viewer struct {
	// C gives pieces as they come. One who does not keep up loses the oldest.
	// It is never closed: see Done.
	C <-chan *Wave
	// Done is closed by Close; whoever waits for C waits for it too.
	Done <-chan struct{}

	c     chan *Wave
	done  chan struct{}
	hub   *Hub
	key   bedKey
	close sync.Once
}

// SubscribeWaves begins to look at a bed's waveforms. Close the viewer.
func (h *Hub) SubscribeWaves(ward, bed string) *Viewer {
	c, done := make(chan *Wave, waveQueue), make(chan struct{})
	v := &Viewer{C: c, Done: done, c: c, done: done, hub: h, key: bedKey{ward, bed}}
	h.mu.Lock()
	h.viewers[v.key] = append(h.viewers[v.key], v)
	first := len(h.viewers[v.key]) == 1
	h.mu.Unlock()
	if first {
		h.nudge()
	}
	return v
}

// Close ends looking.
func (v *Viewer) Close() {
	v.close.Do(func() {
		close(v.done)
		h := v.hub
		h.mu.Lock()
		rest := slices.DeleteFunc(slices.Clone(h.viewers[v.key]), func(x *Viewer) bool { return x == v })
		if len(rest) == 0 {
			delete(h.viewers, v.key)
		} else {
			h.viewers[v.key] = rest
		}
		h.mu.Unlock()
		if len(rest) == 0 {
			h.nudge()
		}
	})
}

// PutWave passes a piece from a gateway on to whoever looks at that bed. It does
// not block.
func (h *Hub) PutWave(wards []string, m *linkpb.Wave) {
	h.mu.Lock()
	defer h.mu.Unlock()
	viewers := h.viewers[bedKey{m.Ward, m.Bed}]
	if len(viewers) == 0 {
		return
	}
	if !slices.Contains(wards, m.Ward) || len(m.Samples) > maxSamples {
		h.dropped++
		return
	}
	w := &Wave{
		Ward: m.Ward, Bed: m.Bed, Lead: m.Lead, Start: m.Start, IntervalNum: m.IntervalNum,
		IntervalDen: m.IntervalDen, NVPerCount: m.NvPerCount, Samples: m.Samples,
	}
	for _, v := range viewers {
		h.dropped += v.put(w)
	}
}

// put makes room for a piece by dropping the oldest. Only PutWave puts, under the
// hub's lock.
func (v *Viewer) put(w *Wave) (dropped uint64) {
	for {
		select {
		case v.c <- w:
			return dropped
		default:
		}
		select {
		case <-v.c:
			dropped++
		default:
		}
	}
}
