//go:build torture

package agent

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// ownClock is the machine's with its wall clock shifted, for builds that are
// tortured alone: what is in no other build cannot be set off in a ward. The file
// that the variable TORTURE_CLOCK names says by how much, and whether the time is
// then called synchronised, such as "-1h0m0s false". It is read at most every
// 20 ms; the monotonic clock goes on as it was.
func ownClock() func() Instant {
	clock, file := machineClock(), os.Getenv("TORTURE_CLOCK")
	if file == "" {
		return clock
	}
	s := &shift{file: file}
	return func() Instant {
		now := clock()
		by, synchronised := s.at(now.Mono)
		now.Wall += by.Microseconds()
		now.Synchronised = synchronised
		return now
	}
}

// A shift is what the file said last.
type shift struct {
	file string

	mu           sync.Mutex // guards what follows
	read         int64      // Mono, µs
	by           time.Duration
	synchronised bool
}

func (s *shift) at(mono int64) (by time.Duration, synchronised bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read != 0 && mono-s.read < 20_000 {
		return s.by, s.synchronised
	}
	s.read = mono
	text, err := os.ReadFile(s.file)
	if err != nil {
		return s.by, s.synchronised
	}
	var d string
	var yes bool
	if _, err := fmt.Sscan(string(text), &d, &yes); err != nil {
		return s.by, s.synchronised // it is being written
	}
	if x, err := time.ParseDuration(d); err == nil {
		s.by, s.synchronised = x, yes
	}
	return s.by, s.synchronised
}
