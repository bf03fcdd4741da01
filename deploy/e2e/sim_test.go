package e2e

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	simSeeds = flag.Int("sim.seeds", 0, "how many seeds are simulated; 0 = 6, and 3 with -short")
	simSeed  = flag.Uint64("sim.seed", 0, "the one seed that is simulated, with its story; 0 = many")
)

// The times of a simulation.
const (
	simFaults   = 100 * time.Second // faults begin until then
	simCalm     = 190 * time.Second // and are over by then: then nobody sends any more
	simConverge = 80 * time.Second  // for everything to arrive
	simRoom     = 1 << 30           // bytes, of memory for the folders
	simStuck    = 20 * time.Minute  // after that something never ends
)

// TestSimulation plays a cloud, three gateways with their brokers, and relays in
// fake time, with faults that a seed chooses, and holds the promises against a
// ledger of what the relays sent.
func TestSimulation(t *testing.T) {
	from := simFolder(t)
	synctest.Test(t, func(t *testing.T) { template(t, from) })
	if t.Failed() {
		return
	}
	first, n := uint64(1), *simSeeds
	switch {
	case *simSeed != 0:
		first, n = *simSeed, 1
	case n == 0 && testing.Short():
		n = 3
	case n == 0:
		n = 6
	}
	var mu sync.Mutex
	fired := map[string]int{}
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+uint64(n); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				if n > 6 { // few run one after another: the race detector bears no more
					t.Parallel()
				}
				synctest.Test(t, func(t *testing.T) {
					for _, name := range simulate(t, from, seed) {
						mu.Lock()
						fired[name]++
						mu.Unlock()
					}
				})
			})
		}
	})
	total := 0
	for _, p := range plans {
		total += fired[p.name]
		if n >= 150 && fired[p.name] == 0 {
			t.Errorf("in %d seeds the fault %q was never tried", n, p.name)
		}
	}
	t.Logf("%d seeds, %d faults: %v", n, total, fired)
}

// simFolder is one in memory, where there is such: what a disk costs is no part of
// fake time.
func simFolder(t *testing.T) string {
	t.Helper()
	var fs syscall.Statfs_t
	if syscall.Statfs("/dev/shm", &fs) != nil || int64(fs.Bavail)*int64(fs.Bsize) < simRoom {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "wardline-sim")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// simulate plays one seed and returns the faults that fired.
func simulate(t *testing.T, from string, seed uint64) (fired []string) {
	w := newWorld(t, from, seed)
	defer func() {
		if t.Failed() || *simSeed != 0 {
			t.Logf("the story of seed %d:\n%s\nreplay it: go test ./deploy/e2e -run TestSimulation -sim.seed=%d", seed, w.story(), seed)
		}
	}()
	switch seed % 10 { // some begin when certificates are due, or have ended
	case 3:
		w.days = 61
	case 7:
		w.days = 200
	}
	w.episodes()
	faults, cost := w.plan()
	for _, f := range faults {
		w.note("planned: %v", f)
	}
	w.cloud.begin()
	<-w.cloud.ready
	for _, g := range w.gateways {
		g.begin()
	}
	stuck := time.AfterFunc(simStuck, func() {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		fmt.Fprintf(os.Stderr, "seed %d is stuck:\n%s\n\n%s\n", seed, w.story(), stacks)
		panic("a simulation is stuck")
	})
	defer stuck.Stop()
	stop := make(chan struct{})
	var relays, plan sync.WaitGroup
	for _, g := range w.gateways {
		relays.Go(func() { g.relay.run(stop) })
	}
	for _, f := range faults {
		plan.Go(func() {
			time.Sleep(time.Until(simStart.Add(f.at)))
			w.note("begins: %v", f)
			f.fired = f.do(w)
			w.note("over:   %v, fired: %v", f, f.fired)
		})
	}
	for time.Since(simStart) < simCalm {
		time.Sleep(5 * time.Second)
		w.checkNow(cost)
		if t.Failed() {
			break
		}
	}
	plan.Wait()
	for _, g := range w.gateways {
		g.relay.finish()
	}
	if !t.Failed() {
		time.Sleep(simConverge)
		w.checkEnd(cost)
		w.checkCertificates()
	}
	close(stop)
	relays.Wait()
	for _, g := range w.gateways {
		g.end()
	}
	w.cloud.end()
	for _, g := range w.gateways {
		w.net.cut("relay "+g.id, true)
	}
	for _, f := range faults {
		if !f.fired && !t.Failed() {
			t.Errorf("a planned fault did not happen: %v", f)
		}
		fired = append(fired, f.name)
	}
	return fired
}

// episodes plans when each sensor's heart rate is high.
func (w *world) episodes() {
	for _, g := range w.gateways {
		for _, s := range g.relay.sensors {
			at := w.now() + int64(15+w.rng.IntN(15))*1e6
			for range 2 {
				long := int64(45+w.rng.IntN(10)) * 1e6
				s.episodes = append(s.episodes, simSpan{at, at + long})
				at += long + int64(30+w.rng.IntN(10))*1e6
			}
		}
	}
}

// checkCertificates: where they were due, each gateway has another.
func (w *world) checkCertificates() {
	w.t.Helper()
	if w.days == 0 {
		return
	}
	for _, g := range w.gateways {
		if left := g.certificate().NotAfter.Sub(time.UnixMicro(w.now())); left < 80*24*time.Hour {
			w.fail("%s has a certificate for %v still, and began with one that was due", g.id, left)
		}
	}
}
