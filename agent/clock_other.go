//go:build !linux

package agent

import "time"

// machineClock serves the demonstration on systems that no gateway runs: time
// counts from the start of the process, and the wall clock is taken as true.
func machineClock() func() Instant {
	start := time.Now()
	boot := uint64(start.UnixNano())
	return func() Instant {
		now := time.Now()
		return Instant{Boot: boot, Mono: now.Sub(start).Microseconds(), Wall: now.UnixMicro(), Synchronised: true}
	}
}
