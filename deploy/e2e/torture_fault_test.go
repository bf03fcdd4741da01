//go:build system

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"
)

// A fault is one cycle: what is done to whom.
type fault struct {
	cycle  int
	kind   string
	target int           // a ward; -1 = the cloud
	last   time.Duration // how long it lasts
	rest   time.Duration // what the target is given afterwards
	coin   bool          // of two ways to do it, the worse
	pick   uint64        // for what is torn at random
}

// wardFaults are what befalls a ward, each as often as it stands here.
var wardFaults = []string{
	"agent killed", "agent killed", "agent killed", "agent killed",
	"broker killed", "broker killed", "broker killed",
	"link cut", "link cut", "link stalled", "link stalled", "link slow", "link torn",
	"disk full", "disk full", "disk older", "clock", "clock",
	"agent frozen", "broker frozen",
}

// traces are what the agents say of the faults that befell them: one that left no
// mark at all was none.
var traces = map[string]string{
	"agent killed":  "restored",
	"broker killed": "no broker",
	"cloud killed":  "cloud lost",
	"link cut":      "cloud lost",
	"disk full":     "commit failed and is kept",
	"disk older":    "gateway and cloud disagreed",
	"clock":         "the clock was wrong",
}

// planned is the plan of a seed: the same seed, cycles and wards give the same.
func planned(seed uint64, cycles, wards int, without map[string]bool) []fault {
	r := rand.New(rand.NewPCG(seed, 0))
	ms := func(from, to int) time.Duration { return time.Duration(from+r.IntN(to-from)) * time.Millisecond }
	plan := make([]fault, 0, cycles)
	for i := range cycles {
		f := fault{cycle: i + 1, target: i%(wards+1) - 1, last: ms(0, 2000), rest: ms(1000, 5000), coin: r.IntN(2) == 0, pick: r.Uint64()}
		for f.kind = ""; f.kind == "" || without[f.kind]; {
			if f.target >= 0 {
				f.kind = wardFaults[r.IntN(len(wardFaults))]
			} else if f.kind = "cloud killed"; r.IntN(4) == 0 && !without["cloud older"] {
				f.kind = "cloud older"
			}
		}
		plan = append(plan, f)
	}
	return plan
}

func (f fault) String() string {
	return fmt.Sprintf("%4d %-13s of %2d for %v, coin %v", f.cycle, f.kind, f.target+1, f.last, f.coin)
}

// suffer does a fault to a ward, and returns what it was: a disk of which there is
// no older copy yet cannot be put back.
func (x *tortured) suffer(f fault) string {
	x.t.Helper()
	switch f.kind {
	case "agent killed":
		x.relay.hindrance(true)
		x.agent.kill()
		if f.coin {
			x.copyDisk()
		}
		time.Sleep(f.last)
		x.agent.start()
		x.up()
		x.relay.over()
	case "broker killed":
		x.relay.hindrance(true)
		x.broker.kill()
		if f.coin { // and with its own memory
			os.Remove(x.path("mosquitto.db"))
		}
		time.Sleep(f.last)
		x.broker.start()
		x.up()
		x.relay.over()
	case "link cut":
		x.wire.cut()
		time.Sleep(f.last)
		x.wire.restore()
	case "link stalled":
		x.wire.stall()
		time.Sleep(f.last)
		if f.coin { // what was under way is lost
			x.wire.cut()
			x.wire.restore()
		}
		x.wire.flow()
	case "link slow":
		x.wire.slow(100 * time.Millisecond)
		time.Sleep(f.last)
		x.wire.slow(0)
	case "link torn":
		x.wire.tear(f.pick)
		time.Sleep(f.last)
		x.wire.mend()
	case "disk full":
		x.relay.hindrance(true)
		free := x.fillDisk()
		time.Sleep(f.last)
		if f.coin { // and the agent starts on a full one
			x.agent.kill()
			x.agent.start()
			time.Sleep(time.Second)
		}
		free()
		x.up()
		x.relay.over()
	case "disk older":
		return x.goBack(f)
	case "agent frozen":
		x.relay.hindrance(true)
		x.freezeFor(x.agent.cur, f.last)
		x.up()
		x.relay.over()
	case "broker frozen":
		x.relay.hindrance(true)
		x.freezeFor(x.broker.cur, f.last)
		x.up()
		x.relay.over()
	case "clock":
		by := []time.Duration{-time.Hour, time.Hour, 0}[f.pick%3]
		x.setClock(by)
		time.Sleep(f.last)
	default:
		x.t.Fatalf("no fault is called %q", f.kind)
	}
	return f.kind
}

// goBack puts the agent's disk back to an older copy. What the cloud has, it keeps:
// so the gateway may first tell it all. What is going on then, the gateway has to
// find again.
func (x *tortured) goBack(f fault) string {
	if x.older == "" {
		f.kind, f.coin = "agent killed", true
		return x.suffer(f)
	}
	x.relay.hindrance(true)
	x.empty()
	x.agent.kill()
	x.relay.forget()
	x.putBack()
	time.Sleep(f.last)
	x.agent.start()
	x.up()
	x.relay.over()
	return f.kind
}

// freezeFor stops a process where it is, as a machine without memory or a stuck
// disk does, and lets it go on.
func (x *tortured) freezeFor(p *proc, d time.Duration) {
	x.t.Helper()
	for _, sig := range []os.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := p.cmd.Process.Signal(sig); err != nil {
			x.t.Errorf("%v of %s: %v", sig, p.name, err)
		}
		if sig == syscall.SIGSTOP {
			time.Sleep(d)
		}
	}
}

// fillDisk leaves the agent's disk without room, and returns what gives it back.
// Without a disk of its own, the agent's files may not grow.
func (x *tortured) fillDisk() (free func()) {
	if x.disk {
		return x.fill()
	}
	set := func(n int64) {
		if err := limitFiles(x.agent.cur.cmd.Process.Pid, n); err != nil {
			x.t.Errorf("bound the size of the agent's files: %v", err)
		}
	}
	set(0)
	return func() { set(-1) }
}
