package agent

import (
	"encoding/binary"
	"hash/fnv"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// machineClock reads the kernel's clocks: the time since boot, suspension
// included, the wall clock, and whether something keeps the wall clock true.
func machineClock() func() Instant {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	h := fnv.New128a()
	h.Write(id)
	boot := binary.BigEndian.Uint64(h.Sum(nil))
	var asked atomic.Int64 // Mono of the last question about synchronised; 0 = none yet
	var isSynchronised atomic.Bool
	return func() Instant {
		var ts unix.Timespec
		mono := int64(0)
		if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
			mono = ts.Nano() / 1000
		}
		if last := asked.Load(); last == 0 || mono-last >= askEvery.Microseconds() {
			asked.Store(mono)
			isSynchronised.Store(synchronised())
		}
		return Instant{Boot: boot, Mono: mono, Wall: time.Now().UnixMicro(), Synchronised: isSynchronised.Load()}
	}
}

// askEvery is how often the kernel is asked about synchronisation: a time service
// takes minutes to lose it, and asking costs as much as decoding a message.
const askEvery = time.Second

// synchronised asks the kernel whether a time service disciplines its clock
// (STA_UNSYNC is clear), as chrony, ntpd and systemd-timesyncd arrange.
func synchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const timeError = 5 // TIME_ERROR of adjtimex(2)
	return err == nil && state != timeError && t.Status&unix.STA_UNSYNC == 0
}
