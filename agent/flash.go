package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"wardline/agent/internal/control"
	"wardline/agent/internal/ward"
	"wardline/shared/pki"
)

// flash counts what this process has the kernel write to the disk, which is what
// wears a gateway's card out. A day is 24 h of the monotonic clock, so that no
// step of the wall clock makes one longer; the time that a gateway was off is
// part of no day.
type flash struct {
	file  string
	now   func() ward.Instant
	wrote func() (int64, bool) // bytes so far, of this process; false = not known here

	mu   sync.Mutex // guards what follows
	last int64      // what wrote said last
	s    flashState
}

// flashState is what is kept over restarts.
type flashState struct {
	Boot    uint64  `json:"boot"` // the instant up to which is counted
	Mono    int64   `json:"mono"`
	Elapsed int64   `json:"elapsed"` // of today, µs
	Today   int64   `json:"today"`   // bytes
	Days    []int64 `json:"days"`    // bytes of the whole days before, oldest first
}

const (
	flashFile     = "flash.json"
	flashDays     = 7                // that are kept
	flashEvery    = 10 * time.Minute // a kill loses the count of so long: more often would itself wear the card
	flashDay      = 24 * time.Hour
	flashKnownFor = time.Minute // what is told of a day needs so much of one
)

// openFlash goes on from what an earlier run left. A file that cannot be read is
// begun anew: it only counts.
func openFlash(dir string, now func() ward.Instant, wrote func() (int64, bool), log *slog.Logger) *flash {
	f := &flash{file: filepath.Join(dir, flashFile), now: now, wrote: wrote}
	text, err := os.ReadFile(f.file)
	if err == nil {
		err = json.Unmarshal(text, &f.s)
	}
	if err != nil {
		f.s = flashState{}
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("the count of bytes written to flash begins anew", "error", err)
		}
	}
	f.last, _ = wrote() // what was written before is another run's, or too little to matter
	if at := now(); f.s.Boot != at.Boot || f.s.Mono > at.Mono {
		f.s.Boot, f.s.Mono = at.Boot, at.Mono
	}
	return f
}

// count brings the count up to now. The caller holds mu.
func (f *flash) count() {
	at := f.now()
	f.s.Elapsed += max(0, at.Mono-f.s.Mono)
	f.s.Mono = at.Mono
	if n, ok := f.wrote(); ok {
		f.s.Today += n - f.last
		f.last = n
	}
	for day := flashDay.Microseconds(); f.s.Elapsed >= day; f.s.Elapsed -= day {
		f.s.Days = append(f.s.Days, f.s.Today)
		f.s.Days = f.s.Days[max(0, len(f.s.Days)-flashDays):]
		f.s.Today = 0
	}
}

// status is nil where the system does not tell.
func (f *flash) status() *control.Flash {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.wrote(); !ok {
		return nil
	}
	f.count()
	bytes, span := f.s.Today, f.s.Elapsed
	for _, n := range f.s.Days {
		bytes, span = bytes+n, span+flashDay.Microseconds()
	}
	out := &control.Flash{Today: f.s.Today}
	if span >= flashKnownFor.Microseconds() {
		out.PerDay = int64(float64(bytes) / float64(span) * float64(flashDay.Microseconds()))
	}
	return out
}

// run keeps the count now and then, and when ctx ends.
func (f *flash) run(ctx context.Context, log *slog.Logger) {
	if _, ok := f.wrote(); !ok {
		return
	}
	tick := time.NewTicker(flashEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		if err := f.save(); err != nil {
			log.Warn("the count of bytes written to flash is not kept", "error", err)
		}
	}
}

func (f *flash) save() error {
	f.mu.Lock()
	f.count()
	text := must(json.Marshal(f.s))
	f.mu.Unlock()
	return pki.WriteFile(f.file, text, 0o600)
}

// wroteBytes is how many bytes this process has caused to be sent to a disk so
// far: write_bytes of /proc/self/io (proc_pid_io(5)), which counts whole pages
// when they are made dirty, and no file system in memory. The file system's own
// journal is not in it.
func wroteBytes() (int64, bool) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, false // no Linux, or a kernel without task accounting
	}
	n, err := ioWriteBytes(text)
	return n, err == nil
}

func ioWriteBytes(text []byte) (int64, error) {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("write_bytes:")); ok {
			return strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no write_bytes")
}
