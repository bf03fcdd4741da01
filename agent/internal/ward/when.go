package ward

import "wardline/shared/vital"

// verdict is what a message is by its time.
type verdict uint8

const (
	news verdict = iota
	history
	ahead // of its time: it is set aside
)

// odd is a sensor's run of messages, none live between, whose times are not what
// its clock should say.
type odd struct {
	Since int64 // ward time of the first; 0 for none
	By    int64 // by how much its time was off, µs
}

// goesOn adds a message to the run, and reports whether it has gone on for the
// live bound: no back-fill looks so, hence the sensor's clock was set.
func (x *odd) goesOn(by, t int64) bool {
	if x.Since == 0 {
		*x = odd{t, by}
	}
	return t-x.Since >= liveBound
}

// when judges a message by its time. now is what the sensor's clock says at t, if
// it is news (SPEC 5.1).
func (w *Ward) when(b *bed, o *vital.Observation, t int64) (now int64, v verdict) {
	if w.clock.Sync {
		now = w.clock.Wall
		switch {
		case o.At <= now+futureBound && o.At >= now-liveBound:
			b.Doubted = false
			return now, news
		case b.Doubted: // by the sensor's clock, until the two agree again
		case o.At > now:
			return now, ahead
		default:
			return now, history
		}
	}
	if o.Stamped {
		return o.At, news
	}
	// The gateway's own clock says nothing, or has just been set. What the sensor's says goes on as it did
	// at its newest frame; of a sensor that never spoke, as another's.
	by := b
	if b.Heard == 0 && w.newest != nil && t-w.newest.Heard < liveBound {
		by = w.newest
	}
	if !by.Timed {
		return o.At, news
	}
	now = t + by.Clock
	order := b.order(o)
	switch off := now - o.At; {
	case off > liveBound:
		if order > 0 && o.At < b.Newest {
			return o.At, news // a later frame with an earlier time: the clock was set back
		}
		if b.Behind.By-off > tick {
			b.Behind = odd{} // it catches up, as what had to wait does: no clock that was set back
		}
		if order < 0 || !b.Behind.goesOn(off, t) {
			return now, history
		}
		return o.At, news
	case off < -futureBound:
		if order < 0 {
			return now, history // of before the clock was set back
		}
		if !b.Ahead.goesOn(-off, t) {
			return now, ahead
		}
		return o.At, news
	}
	return max(now, o.At), news
}

// order tells a frame that is later than the newest (1) from an earlier one (-1)
// by its place in the sensor's order; 0 when that does not tell. Neither a lower
// boot does nor a seq that is far from the newest: a sensor that breaks SPEC 4.1
// once must not be taken for history ever after.
func (b *bed) order(o *vital.Observation) int {
	switch {
	case !o.Sequenced || b.Boot == 0 || o.Boot < b.Boot:
		return 0
	case o.Boot > b.Boot:
		return 1
	case max(o.Seq, b.Seq)-min(o.Seq, b.Seq) >= seqWindow:
		return 0
	case o.Seq > b.Seq:
		return 1
	}
	return -1
}

// follow takes the newest frame's time for the sensor's clock: at once when it is
// ahead of what was thought, for it cannot have come before it was sent; slowly
// when it is behind, for it may have waited on its way.
func (b *bed) follow(at, now, t int64) {
	b.Clock, b.Timed = max(at, now-(now-at)/16)-t, true
	b.Behind, b.Ahead = odd{}, odd{}
}

// advance moves the ward's time on to now. Over a start of the machine without a
// clock that can be believed, nobody knows how far the sensors' clocks went.
func (w *Ward) advance(now Instant) int64 {
	if c := &w.clock; c.Started && c.Boot != now.Boot && !(c.Sync && now.Synchronised) {
		for _, b := range w.beds {
			b.Timed = false
		}
	}
	c := &w.clock
	if by := (now.Wall - now.Mono) - (c.Wall - (c.T - c.Shift)); c.Started && c.Boot == now.Boot && (by > tick || by < -tick) {
		w.stepped(by)
	}
	return c.to(now)
}
