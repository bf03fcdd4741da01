//go:build !torture

package agent

// ownClock is the agent's source of time when nobody gave it another.
func ownClock() func() Instant { return machineClock() }
