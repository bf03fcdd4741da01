package feed

import (
	"context"
	"slices"
	"sync"
	"time"

	"wardline/shared/link/linkpb"
	"wardline/shared/vital"
)

// Bounds of the hub. What is beyond them is dropped and counted.
const (
	maxBeds      = 2000 // of one ward
	waveQueue    = 64   // pieces that wait for one viewer; then the oldest goes
	maxSamples   = 8192 // of one piece
	RenewEvery   = 20 * time.Second
	WatchedFor   = 60 * time.Second // a wave command asks for this long, so it stops by itself when nobody renews it
	liveKeptFor  = 24 * time.Hour   // a bed that says nothing for longer is forgotten
	forgetsEvery = 1000             // puts between two looks for such beds
)

// BedLive is the newest of every vital of a bed. Instants are µs UTC.
type BedLive struct {
	Ward, Bed   string
	At          int64 // when the newest observation was made, by the sensor's clock
	Received    int64 // when it came here
	Values      []Value
	Contact     *bool // nil = not known
	LeadOff     bool
	LeadsOff    []string
	SilentSince int64    // 0 while the sensor speaks
	Battery     *float64 // share of a full battery; nil = not known
}

// Value is the newest value of a vital.
type Value struct {
	Vital   vital.Vital
	Value   float64 // in the vital's unit
	At      int64
	Quality uint8 // 0 to 100
}

// Hub holds the live values of every bed and passes waveforms on to viewers.
type Hub struct {
	watch func(ward, bed string, on bool)
	now   func() int64

	wake chan struct{}

	mu      sync.Mutex // guards what follows
	wards   map[string]map[string]BedLive
	puts    int
	viewers map[bedKey][]*Viewer
	again   bool // watch everything anew: a gateway came back
	dropped uint64
}

type bedKey struct{ ward, bed string }

// NewHub makes a hub. watch is called, from [Hub.Run] alone, when a bed gets its
// first viewer, at least every [RenewEvery] while it has one, and when its last has gone.
// now is µs UTC, nil = the system's clock.
func NewHub(watch func(ward, bed string, on bool), now func() int64) *Hub {
	if now == nil {
		now = func() int64 { return time.Now().UnixMicro() }
	}
	return &Hub{
		watch: watch, now: now, wake: make(chan struct{}, 1),
		wards: map[string]map[string]BedLive{}, viewers: map[bedKey][]*Viewer{},
	}
}

// PutLive takes what a gateway says of its beds, in its own wards only. It does
// not block.
func (h *Hub) PutLive(wards []string, l *linkpb.Live) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgetOld(now)
	for _, b := range l.GetBeds() {
		if !slices.Contains(wards, b.Ward) {
			h.dropped++
			continue
		}
		beds := h.wards[b.Ward]
		if beds == nil {
			beds = map[string]BedLive{}
			h.wards[b.Ward] = beds
		}
		if _, known := beds[b.Bed]; !known && len(beds) >= maxBeds {
			h.dropped++
			continue
		}
		beds[b.Bed] = bedLive(b, now)
	}
}

func (h *Hub) forgetOld(now int64) {
	if h.puts++; h.puts%forgetsEvery != 0 {
		return
	}
	for ward, beds := range h.wards {
		for bed, b := range beds {
			if now-b.Received > liveKeptFor.Microseconds() {
				delete(beds, bed)
			}
		}
		if len(beds) == 0 {
			delete(h.wards, ward)
		}
	}
}

func bedLive(b *linkpb.BedLive, now int64) BedLive {
	out := BedLive{
		Ward: b.Ward, Bed: b.Bed, At: b.At, Received: now, Contact: b.Contact,
		LeadOff: b.LeadOff, LeadsOff: b.LeadsOff, SilentSince: b.SilentSince,
	}
	if b.Battery != nil {
		out.Battery = new(float64(*b.Battery))
	}
	for _, v := range b.Values {
		if x := vital.Vital(v.Vital); v.Vital < uint32(vital.Count) && x.Valid() {
			out.Values = append(out.Values, Value{Vital: x, Value: float64(v.Value), At: v.At, Quality: uint8(min(v.Quality, 100))})
		}
	}
	return out
}

// Vitals is the newest of every bed of a ward, by bed. The caller must not
// change what it refers to.
func (h *Hub) Vitals(ward string) []BedLive {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]BedLive, 0, len(h.wards[ward]))
	for _, b := range h.wards[ward] {
		out = append(out, b)
	}
	slices.SortFunc(out, func(x, y BedLive) int {
		if x.Bed < y.Bed {
			return -1
		}
		return 1
	})
	return out
}

// Dropped is how much was dropped at a bound since the start.
func (h *Hub) Dropped() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropped
}

// Run asks for waveforms while somebody looks, until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	asked := map[bedKey]time.Time{}
	tick := time.NewTicker(RenewEvery / 4)
	defer tick.Stop()
	for {
		on, off := h.due(asked)
		for _, k := range off {
			h.watch(k.ward, k.bed, false)
		}
		for _, k := range on {
			h.watch(k.ward, k.bed, true)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		case <-tick.C:
		}
	}
}

// due says what to ask for now, and notes it in asked.
func (h *Hub) due(asked map[bedKey]time.Time) (on, off []bedKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.again {
		clear(asked)
		h.again = false
	}
	now := time.Now()
	for k := range h.viewers {
		if at, ok := asked[k]; !ok || now.Sub(at) >= RenewEvery*3/4 {
			on = append(on, k)
			asked[k] = now
		}
	}
	for k := range asked {
		if h.viewers[k] == nil {
			off = append(off, k)
			delete(asked, k)
		}
	}
	return on, off
}

// Renew asks anew for everything that somebody looks at: a gateway came back.
func (h *Hub) Renew() {
	h.mu.Lock()
	h.again = true
	h.mu.Unlock()
	h.nudge()
}

func (h *Hub) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}
