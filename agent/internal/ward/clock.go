package ward

// The grid on which time passes, in µs.
const tick = int64(1e6)

// maxTicks bounds how much of a gap between two Steps is gone through in ticks:
// two minutes, within which every vital goes stale and every sensor silent.
const maxTicks = 120

// clock is the ward's own time: µs that never step back, nor forward while the
// machine was off. It starts as wall time and goes on with the monotonic clock.
type clock struct {
	Boot    uint64
	Shift   int64 // ward time less Mono, in this boot
	T       int64 // newest ward time
	Wall    int64 // wall time at T
	Sync    bool
	Started bool
	Next    int64 // the next tick
}

// to moves the clock on to now and returns the ward time.
func (c *clock) to(now Instant) int64 {
	switch {
	case !c.Started:
		c.Shift = now.Wall - now.Mono
		c.Next = (now.Wall/tick + 1) * tick
	case c.Boot != now.Boot:
		// The machine started anew: the wall clock tells for how long it was off, if it can.
		off := int64(0)
		if c.Sync && now.Synchronised {
			off = max(0, now.Wall-c.Wall)
		}
		c.Shift = c.T + off - now.Mono
	}
	c.T = max(c.T, now.Mono+c.Shift)
	c.Boot, c.Wall, c.Sync, c.Started = now.Boot, now.Wall, now.Synchronised, true
	c.Next = max(c.Next, c.T/tick*tick-maxTicks*tick)
	return c.T
}

// wall is the wall time of a ward time.
func (c *clock) wall(t int64) int64 {
	if t == 0 {
		return 0
	}
	return max(1, c.Wall-(c.T-t))
}

// UntilTick is how long after now the ward's time passes on its grid again, in
// µs: at most a second, and 0 when that is overdue.
func (w *Ward) UntilTick(now Instant) int64 {
	c := &w.clock
	if !c.Started || c.Boot != now.Boot {
		return 0 // the next Step says
	}
	return min(max(0, c.Next-(now.Mono+c.Shift)), tick)
}
