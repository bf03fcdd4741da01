package intake

import (
	"slices"
	"sync"
)

// Gap is a time, µs UTC, of which messages may be missing: the broker had
// confirmed them to their relays and then forgot the session that it kept them
// in. Nobody can know whether there were any.
type Gap struct {
	From int64 `json:"from"` // 0 = not known
	To   int64 `json:"to"`   // 0 = it goes on: the topics are not subscribed yet
}

// gaps is what an intake remembers of its session, and of what the broker forgot.
//
// A gap is on the disk before the topics are subscribed anew, and until its taker
// says that it is told. Who is killed between the broker's greeting and that
// writing finds a session at the next start, and does not know of the gap: that
// is a time of microseconds, after a loss that is rare.
type gaps struct {
	path string

	mu     sync.Mutex // guards what follows, and the file
	m      memory
	sure   int64  // up to here nothing can be missing, µs UTC; 0 = not known
	count  uint64 // sessions that the broker forgot, since the start
	last   Gap    // the newest of them, since the start
	failed error  // of reading or writing the file, until it is said
}

func newGaps(c Config) *gaps {
	g := &gaps{path: c.TopicsFile, sure: c.Kept}
	g.m, g.failed = readMemory(c.TopicsFile)
	return g
}

// greeted takes the broker's greeting, and reports whether the session of before
// is gone with what the broker held for it.
func (g *gaps) greeted(broker string, present, volatile bool) (forgot bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if present || len(g.m.Topics) == 0 || g.m.Broker != broker {
		return false
	}
	g.m.Topics = nil // so that a second try to subscribe is not a second loss
	if volatile {
		return false
	}
	g.count++
	if g.m.Gap == nil {
		g.m.Gap = &Gap{From: g.sure}
	}
	g.m.Gap.To = 0
	g.last = *g.m.Gap
	g.failed = g.m.write(g.path)
	return true
}

// dropped are the filters that the session may still have and that are wanted no
// more.
func (g *gaps) dropped(want map[string]byte) (out []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.m.Topics {
		if _, ok := want[f]; !ok {
			out = append(out, f)
		}
	}
	return out
}

// subscribed ends a gap, and writes down what there is a session for now.
func (g *gaps) subscribed(broker string, topics []string, now int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.failed
	g.failed = nil
	ends := g.m.Gap != nil && g.m.Gap.To == 0
	if ends {
		g.m.Gap.To = now
		g.last = *g.m.Gap
	}
	if err == nil && !ends && g.m.Broker == broker && slices.Equal(g.m.Topics, topics) {
		return nil // a session that is made again and again costs no flash
	}
	g.m.Broker, g.m.Topics = broker, topics
	if wrote := g.m.write(g.path); wrote != nil {
		err = wrote
	}
	return err
}

// kept notes that a message is on the disk: those that the broker took before it
// are, too. Of a backlog the sensor knows better than the gateway when that was.
func (g *gaps) kept(m *Message) {
	if m.Class == Sensor && m.Reason == "" {
		g.whole(min(m.Received, m.Obs.At))
	}
}

// whole notes that nothing can be missing up to an instant.
func (g *gaps) whole(at int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sure = max(g.sure, at)
}

// Gap is one that is over and was not told yet.
func (in *Intake) Gap() (Gap, bool) {
	g := in.gaps
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.m.Gap == nil || g.m.Gap.To == 0 {
		return Gap{}, false
	}
	return *g.m.Gap, true
}

// Told forgets a gap of which others know now, for good.
func (in *Intake) Told(x Gap) {
	g := in.gaps
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.m.Gap == nil || *g.m.Gap != x {
		return // it has become longer meanwhile
	}
	g.m.Gap = nil
	if err := g.m.write(g.path); err != nil {
		in.c.Log.Warn("cannot write down that a gap was told: it is told again after a restart", "error", err)
	}
}
