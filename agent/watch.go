package agent

import (
	"sync"
	"sync/atomic"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/ward"
	"wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/shared/link/linkpb"
	"wardline/shared/vital"
)

// watch is what goes to the cloud without being kept: the newest of every bed,
// and waveforms of the beds that somebody looks at.
type watch struct {
	beds  map[string]ward.BedKey // by sensor
	live  atomic.Pointer[linkpb.Live]
	waves chan *linkpb.Wave
	now   func() int64 // µs UTC

	mu     sync.Mutex            // guards what follows
	wanted map[ward.BedKey]int64 // until when, µs UTC
}

// maxWaves is how many pieces of waveform may wait for the uplink; what comes on
// top is dropped, since the screen wants now and not then.
const maxWaves = 64

func newWatch(wards []Ward, now func() int64) *watch {
	w := &watch{beds: map[string]ward.BedKey{}, waves: make(chan *linkpb.Wave, maxWaves), now: now, wanted: map[ward.BedKey]int64{}}
	for _, x := range wards {
		for _, b := range x.Beds {
			if b.Sensor != "" {
				w.beds[b.Sensor] = ward.BedKey{Ward: x.ID, Bed: b.Bed}
			}
		}
	}
	return w
}

// want begins, prolongs or ends the sending of a bed's waveforms. It is false
// when the gateway has no such bed.
func (w *watch) want(b ward.BedKey, on bool, until int64) bool {
	known := false
	for _, x := range w.beds {
		known = known || x == b
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !on {
		delete(w.wanted, b)
	} else if known {
		w.wanted[b] = until
	}
	return known
}

func (w *watch) wants(b ward.BedKey) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	until, ok := w.wanted[b]
	if ok && until < w.now() {
		delete(w.wanted, b)
		return false
	}
	return ok
}

// frame sends a frame's waveforms on when somebody looks at its bed.
func (w *watch) frame(m *intake.Message) {
	if m.Frame == nil || len(m.Frame.Waveforms) == 0 {
		return
	}
	b, ok := w.beds[m.Sensor]
	if !ok || !w.wants(b) {
		return
	}
	start := m.Obs.At - frame.Span(m.Frame).Microseconds()
	for _, x := range m.Frame.Waveforms {
		select {
		case w.waves <- waveMessage(b, start, x):
		default:
			return
		}
	}
}

func waveMessage(b ward.BedKey, start int64, x *biosensorpb.Waveform) *linkpb.Wave {
	return &linkpb.Wave{
		Ward: b.Ward, Bed: b.Bed, Lead: x.Lead, Start: start + int64(x.OffsetUs),
		IntervalNum: x.IntervalNum, IntervalDen: x.IntervalDen, NvPerCount: x.Scale,
		Samples: frame.Unpack(nil, x),
	}
}

// publish makes the newest of every bed what the uplink sends next.
func (w *watch) publish(from *ward.Ward, now ward.Instant) {
	live := &linkpb.Live{At: now.Wall}
	for _, b := range from.Live() {
		live.Beds = append(live.Beds, liveMessage(b))
	}
	w.live.Store(live)
}

func liveMessage(b ward.BedLive) *linkpb.BedLive {
	out := &linkpb.BedLive{Ward: b.Ward, Bed: b.Bed, At: b.At, LeadOff: b.LeadOff, LeadsOff: b.LeadsOff.Names(), SilentSince: b.SilentSince}
	for _, r := range b.Values {
		if r.Vital == vital.Battery {
			out.Battery = new(float32(r.Value))
			continue
		}
		out.Values = append(out.Values, &linkpb.Value{Vital: uint32(r.Vital), Value: float32(r.Value), At: r.At, Quality: uint32(r.Quality)})
	}
	if b.Contact != vital.NotSaid {
		out.Contact = new(b.Contact == vital.Good)
	}
	return out
}

// summaryMessage is a summary as the link carries it.
func summaryMessage(s *ward.Summary) *linkpb.Summary {
	out := &linkpb.Summary{
		Ward: s.Ward, Bed: s.Bed, Sensor: s.Sensor, Patient: s.Patient, Start: s.Start, End: s.End,
		Late: s.Late, Contact: s.Contact == vital.Good, LeadOff: s.LeadOff, Silent: s.Silent, GatewayTime: s.Stamped,
	}
	for v, x := range s.Vitals {
		if x.N > 0 {
			out.Vitals = append(out.Vitals, &linkpb.VitalSummary{
				Vital: uint32(v), N: x.N, Min: float32(x.Min), Mean: float32(x.Mean), Max: float32(x.Max), Last: float32(x.Last), Quality: uint32(x.Quality),
			})
		}
	}
	return out
}
