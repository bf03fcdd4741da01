package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"wardline/shared/pki"
)

// floorFile keeps the time floor in the data folder: µs UTC, the newest time that
// was known to be true.
const floorFile = "time-floor"

const (
	floorEvery = 10 * time.Minute // the floor is written
	clockApart = 2 * time.Second  // less is no correction: what a message to the cloud and back may take
	floorAhead = 7 * 24 * time.Hour
)

// keeper is the agent's time: the machine's clocks, and what is known beside them.
//
// While the machine's wall clock is synchronised it is the time. Else the time is
// the cloud's, as it was last told, and on from there by the monotonic clock; else
// the machine's wall clock, but never less than the floor, which is the newest time
// that was known to be true and goes on by the monotonic clock from the start. So a
// machine without a battery for its clock, which begins in 1970, goes on where it
// was, and what it writes down comes after what it wrote before.
//
// A floor only follows what was known to be true, and follows it back too: one that
// a wrong time server once set ahead holds until the next true time and no longer.
type keeper struct {
	machine func() Instant
	path    string

	mu       sync.Mutex // guards what follows; never held across I/O
	floor    int64      // wall time, at floorMono; 0 = none
	floorAt  int64      // Mono
	floorOf  uint64     // boot
	anchor   int64      // the cloud's time, at anchorAt; 0 = none
	anchorAt int64      // Mono
	anchorOf uint64     // boot
	written  int64      // Mono of the floor's last writing
}

// newKeeper reads the floor. newest is the wall time of what was written down last,
// which counts as far as a week without the true time may have gone; 0 = nothing.
func newKeeper(machine func() Instant, data string, newest int64) *keeper {
	k := &keeper{machine: machine, path: filepath.Join(data, floorFile)}
	text, _ := os.ReadFile(k.path) // without it there is none
	known, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	k.floor = max(0, known)
	if newest > k.floor && newest-k.floor < floorAhead.Microseconds() {
		k.floor = newest + 1
	}
	now := machine()
	k.floorAt, k.floorOf = now.Mono, now.Boot
	return k
}

// now is the agent's only source of time.
func (k *keeper) now() Instant {
	m := k.machine()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case m.Synchronised:
		k.floor, k.floorAt, k.floorOf, k.anchor = m.Wall, m.Mono, m.Boot, 0
	case k.anchor != 0 && k.anchorOf == m.Boot:
		m.Wall = k.anchor + m.Mono - k.anchorAt
	case k.floor != 0:
		floor := k.floor
		if k.floorOf == m.Boot {
			floor += max(0, m.Mono-k.floorAt)
		}
		m.Wall = max(m.Wall, floor)
	}
	return m
}

// known says whether the time is: synchronised, or the cloud's.
func (k *keeper) known() bool {
	m := k.machine()
	k.mu.Lock()
	defer k.mu.Unlock()
	return m.Synchronised || k.anchor != 0 && k.anchorOf == m.Boot
}

// told takes the cloud's time, which is true but for the time that its message
// took. It counts while the machine's clock is not synchronised. apart says that
// the time was wrong until now.
func (k *keeper) told(cloud int64) (apart bool) {
	before := k.now()
	if before.Synchronised || cloud <= 0 {
		return false
	}
	off := time.Duration(cloud-before.Wall) * time.Microsecond
	apart = off.Abs() > clockApart
	k.mu.Lock()
	defer k.mu.Unlock()
	k.anchor, k.anchorAt, k.anchorOf = before.Wall, before.Mono, before.Boot
	if apart {
		k.anchor = cloud
	}
	k.floor, k.floorAt, k.floorOf = k.anchor, before.Mono, before.Boot
	return apart
}

// write keeps the floor now and then. It is a promise of nobody: an older floor is
// less good, and never wrong.
func (k *keeper) write() error {
	if !k.known() {
		return nil
	}
	now := k.now()
	k.mu.Lock()
	due := k.written == 0 || now.Mono-k.written >= floorEvery.Microseconds()
	if due {
		k.written = now.Mono
	}
	k.mu.Unlock()
	if !due {
		return nil
	}
	return pki.WriteFile(k.path, []byte(strconv.FormatInt(now.Wall, 10)+"\n"), 0o600)
}
