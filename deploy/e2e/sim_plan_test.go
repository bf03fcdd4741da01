package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"wardline/agent"
	"wardline/cloud"
)

// A simFault is something that goes wrong at an instant of a simulation. Its do
// returns when it is over, and says whether it has happened.
type simFault struct {
	name string
	gw   int // whose; -1 for the cloud
	at   time.Duration
	do   func(w *world) (fired bool)

	fired bool
}

// What a fault costs, of what is promised otherwise. The model asks for less then.
type costs struct {
	frames bool // summaries may lack readings, or have some twice
	alerts bool // an episode may be told in part, or as two
}

// plans are all kinds of faults. Each makes one for a gateway.
var plans = []struct {
	name string
	make func(w *world, gw int) func(w *world) bool
	cost costs
}{
	{"crash before commit", crashAt(agent.BeforeCommit), costs{}},
	{"crash after commit", crashAt(agent.AfterCommit), costs{}},
	{"crash before acknowledging", crashAt(agent.BeforeAck), costs{}},
	{"crash after acknowledging", crashAt(agent.AfterAck), costs{}},
	{"crash before forgetting", crashAt(agent.BeforeForget), costs{}},
	{"crash after forgetting", crashAt(agent.AfterForget), costs{}},
	{"answer of a commit lost", diskFails(agent.AfterCommit, 1), costs{}},
	{"disk full", diskFails(agent.BeforeCommit, 8), costs{}},
	{"disk slow", diskSlow, costs{}},
	{"damaged page", damagedPage, costs{frames: true, alerts: true}},
	{"disk went back", diskWentBack, costs{frames: true, alerts: true}},
	{"link cut", linkCut, costs{}},
	{"link half open", linkMute, costs{}},
	{"relay cut", relayCut, costs{}},
	{"duplicates", duplicates, costs{}},
	{"clock an hour ahead", clockStep(3600), costs{}},
	{"clock an hour back", clockStep(-3600), costs{}},
	{"cloud crash before commit", cloudCrash(cloud.BeforeCommit), costs{}},
	{"cloud crash after commit", cloudCrash(cloud.AfterCommit), costs{}},
	{"cloud's answer lost", cloudFails(cloud.AfterCommit), costs{}},
	{"cloud's disk full", cloudFails(cloud.BeforeCommit), costs{}},
	{"cloud went back", cloudWentBack, costs{frames: true}},
}

// patience is how long a fault waits for the point that it is to happen at: a
// gateway that the cloud has left comes back within half a minute. A node's next
// fault is later.
const (
	patience = 64 * time.Second
	nodeRest = 65 * time.Second
)

// crashAt pulls a gateway's plug when it comes by a point.
func crashAt(point string) func(w *world, gw int) func(w *world) bool {
	return func(w *world, gw int) func(w *world) bool {
		down := time.Duration(w.rng.IntN(8000)) * time.Millisecond
		skip := w.rng.IntN(3)
		return func(w *world) bool {
			g := w.gateways[gw]
			copied, ok := g.crashWhen(point, skip)
			if !ok {
				return false
			}
			if !w.cost[gw].frames { // else the disk may be an older one
				w.checkKept(g, copied, g.acked)
			}
			time.Sleep(down)
			g.revive(copied)
			return true
		}
	}
}

// crashWhen crashes a node at a point, but for the first few times.
func (n *node) crashWhen(point string, skip int) (copied string, ok bool) {
	happened := make(chan string, 1)
	var passed atomic.Int64
	n.set(func(at string) error {
		if at != point {
			return nil
		}
		switch k := int(passed.Add(1)); {
		case k <= skip:
			return nil
		case k == skip+1: // several of a process come by at a time, and it dies once
			happened <- n.crash()
		}
		return errDead
	})
	select {
	case copied = <-happened:
		return copied, true
	case <-time.After(patience):
		n.set(nil)
		return "", false
	}
}

// diskFails has a gateway's commits end in an error for some seconds.
func diskFails(point string, seconds int) func(w *world, gw int) func(w *world) bool {
	return func(w *world, gw int) func(w *world) bool {
		return func(w *world) bool {
			return failing(w.gateways[gw].node, point, time.Duration(seconds)*time.Second)
		}
	}
}

func failing(n *node, point string, long time.Duration) bool {
	fired := make(chan struct{}, 1)
	n.set(func(at string) error {
		if at != point {
			return nil
		}
		select {
		case fired <- struct{}{}:
		default:
		}
		return errors.New("input/output error")
	})
	defer n.set(nil)
	select {
	case <-fired:
	case <-time.After(patience):
		return false
	}
	time.Sleep(long)
	return true
}

// diskSlow has each commit of a gateway take three seconds for a while.
func diskSlow(w *world, gw int) func(w *world) bool {
	return func(w *world) bool {
		n := w.gateways[gw].node
		var slow atomic.Int64
		n.set(func(at string) error {
			if at == agent.BeforeCommit {
				slow.Add(1)
				time.Sleep(3 * time.Second)
			}
			return nil
		})
		time.Sleep(12 * time.Second)
		n.set(nil)
		time.Sleep(4 * time.Second)
		return slow.Load() > 0
	}
}

// damagedPage pulls a gateway's plug, and a page of its outbox is noise when it
// comes back.
func damagedPage(w *world, gw int) func(w *world) bool {
	pick := w.rng.Uint64()
	return func(w *world) bool {
		g := w.gateways[gw]
		copied, ok := g.crashWhen(agent.AfterAck, 0)
		if !ok {
			return false
		}
		file := filepath.Join(copied, "outbox.db")
		b, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		const page = 4096
		at := int(pick%uint64(len(b)/page)) * page
		for i := range page {
			b[at+i] ^= 0xa7
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			w.t.Fatal(err)
		}
		w.note("page %d of %d of %s is noise", at/page, len(b)/page, g.id)
		g.revive(copied)
		return true
	}
}

// diskWentBack puts a copy of half a minute ago in the place of a gateway's disk.
func diskWentBack(w *world, gw int) func(w *world) bool {
	return func(w *world) bool {
		g := w.gateways[gw]
		old := filepath.Join(w.dir, fmt.Sprintf("%s-of-life-%d", g.name, g.lives))
		copied := make(chan struct{}, 1)
		g.set(func(at string) error {
			if at == agent.BeforeCommit {
				select {
				case copied <- struct{}{}:
					copyFolder(w.t, g.data, old)
				default:
				}
			}
			return nil
		})
		time.Sleep(30 * time.Second)
		g.set(nil)
		if len(copied) == 0 {
			return false
		}
		if _, ok := g.crashWhen(agent.AfterAck, 0); !ok {
			return false
		}
		g.revive(old)
		return true
	}
}

func linkCut(w *world, gw int) func(w *world) bool {
	long := time.Duration(2+w.rng.IntN(20)) * time.Second
	return func(w *world) bool {
		cable := "link " + w.gateways[gw].id
		w.net.cut(cable, true)
		time.Sleep(long)
		w.net.cut(cable, false)
		return true
	}
}

func linkMute(w *world, gw int) func(w *world) bool {
	return func(w *world) bool {
		cable := "link " + w.gateways[gw].id
		before, _ := w.gateways[gw].status()
		w.net.silence(cable, true)
		time.Sleep(30 * time.Second) // 25 s, and the next look
		s, ok := w.gateways[gw].status()
		w.net.silence(cable, false)
		if ok && before.Uplink.State == "connected" && s.Uplink.State == "connected" {
			w.t.Errorf("%s takes a session for alive that has carried nothing for 30 s", w.gateways[gw].id)
		}
		return true
	}
}

func relayCut(w *world, gw int) func(w *world) bool {
	long := time.Duration(1+w.rng.IntN(8)) * time.Second
	return func(w *world) bool {
		w.net.cut("relay "+w.gateways[gw].id, true)
		time.Sleep(long)
		w.net.cut("relay "+w.gateways[gw].id, false)
		return true
	}
}

func duplicates(w *world, gw int) func(w *world) bool {
	return func(w *world) bool { return w.gateways[gw].relay.repeat(30) }
}

func clockStep(seconds int64) func(w *world, gw int) func(w *world) bool {
	return func(w *world, gw int) func(w *world) bool {
		return func(w *world) bool {
			g := w.gateways[gw]
			step := func(by int64) {
				g.mu.Lock()
				g.offset += by * 1e6
				g.wasStepped = true
				g.mu.Unlock()
			}
			step(seconds)
			time.Sleep(25 * time.Second)
			step(-seconds)
			return true
		}
	}
}

func cloudCrash(point string) func(w *world, gw int) func(w *world) bool {
	return func(w *world, _ int) func(w *world) bool {
		down := time.Duration(w.rng.IntN(8000)) * time.Millisecond
		skip := w.rng.IntN(4)
		return func(w *world) bool {
			copied, ok := w.cloud.crashWhen(point, skip)
			if !ok {
				return false
			}
			time.Sleep(down)
			w.cloud.revive(copied)
			return true
		}
	}
}

func cloudFails(point string) func(w *world, gw int) func(w *world) bool {
	return func(w *world, _ int) func(w *world) bool {
		return func(w *world) bool { return failing(w.cloud, point, 3*time.Second) }
	}
}

// cloudWentBack restores the cloud from a copy of 40 s ago.
func cloudWentBack(w *world, _ int) func(w *world) bool {
	return func(w *world) bool {
		old := filepath.Join(w.dir, fmt.Sprintf("cloud-of-life-%d", w.cloud.lives))
		copied := make(chan struct{}, 1)
		w.cloud.set(func(at string) error {
			if at == cloud.BeforeCommit {
				select {
				case copied <- struct{}{}:
					copyFolder(w.t, w.cloud.data, old)
				default:
				}
			}
			return nil
		})
		time.Sleep(40 * time.Second)
		w.cloud.set(nil)
		if len(copied) == 0 {
			return false
		}
		if _, ok := w.cloud.crashWhen(cloud.AfterCommit, 0); !ok {
			return false
		}
		w.cloud.revive(old)
		return true
	}
}

// plan chooses faults: one at a time a node, and each with the time that it needs.
func (w *world) plan() (list []*simFault, cost map[int]costs) {
	cost = map[int]costs{}
	w.cost = cost
	free := map[int]time.Duration{}
	for gw := -1; gw < simGateways; gw++ {
		free[gw] = time.Duration(8+w.rng.IntN(6)) * time.Second
	}
	for range 5 + w.rng.IntN(4) {
		p := plans[w.rng.IntN(len(plans))]
		gw := w.rng.IntN(simGateways)
		node := gw
		if strings.HasPrefix(p.name, "cloud") {
			node = -1
		}
		at := free[node] + time.Duration(w.rng.IntN(8000))*time.Millisecond
		if at > simFaults {
			continue
		}
		free[node] = at + nodeRest
		list = append(list, &simFault{name: p.name, gw: node, at: at, do: p.make(w, gw)})
		if node >= 0 {
			cost[gw] = costs{cost[gw].frames || p.cost.frames, cost[gw].alerts || p.cost.alerts}
			continue
		}
		for g := range simGateways {
			cost[g] = costs{cost[g].frames || p.cost.frames, cost[g].alerts || p.cost.alerts}
		}
	}
	return list, cost
}

func (f *simFault) String() string {
	whose := "cloud"
	if f.gw >= 0 {
		whose = fmt.Sprintf("gw-%d", f.gw)
	}
	return fmt.Sprintf("%v %s: %s", f.at, whose, f.name)
}
