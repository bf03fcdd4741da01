package ward

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"wardline/shared/alert"
	"wardline/shared/rule"
	"wardline/shared/vital"
)

// The bounds and defaults of a ward's watch, in µs.
const (
	defaultSilence = 12 * tick // SPEC 5.4, as the next
	defaultStale   = 10 * tick
	defaultSummary = 10 * tick
	liveBound      = 10 * tick // what was measured longer ago is history (SPEC 5.1)
	futureBound    = 5 * tick  // a sensor's clock may run ahead by this much (SPEC 5.1)
	maxRelays      = 1000
)

// Ward is the state. It belongs to one goroutine.
type Ward struct {
	config    Config
	gatewayID string
	every     int64 // a summary's interval
	clock     clock
	conn      connection

	beds     []*bed // in the configuration's order
	bySensor map[string]*bed
	newest   *bed // that was heard last
	relays   map[string]*relay
	words    map[rule.Input]string    // of the gateway's facts
	relayIDs []string                 // in the order in which they were heard of
	gateways []*subject               // the gateway as each ward sees it, in the configuration's order
	programs map[string]*rule.Program // by overrides
	packs    []*rule.Pack

	alerts map[alert.ID]*alert.Alert // the open ones
	last   map[string]alert.ID       // by subject and rule: the newest episode, for Previous

	glance    bool          // the observation that is taken is one seen in passing
	replaying bool          // Restore was called, and no live input came since
	loaded    []alert.Alert // the open alerts that Restore was given
	ackCheck  int64         // wall time up to which ends of acknowledgements were told

	changes []rule.Change   // scratch
	sorted  []vital.Reading // scratch
}

// subject is what rules run for, and its open alerts by the rule's index.
type subject struct {
	ward, bed, sensor, patient string
	state                      *rule.State
	open                       []alert.ID
}

// relay is a relay that serves, or may serve, one of the beds.
type relay struct {
	subject
	id      string
	offline bool
	told    bool // offline was said in this life of the process
	text    string
}

// connection counts the time for which the broker was connected: the clock of
// sensors' silence.
type connection struct {
	On    bool
	Off   int64 // ward time since when it is not on in this life
	Since int64 // ward time
	Total int64 // of earlier connections
	Ended int64 // ward time of the last one's end; 0 for never
}

func (c *connection) set(on bool, t int64) {
	if c.On && !on {
		c.Total += t - c.Since
		c.Ended, c.Off = t, t
	}
	if !c.On && on {
		c.Since = t
	}
	c.On = on
}

// connected notes that the broker was reached: the time without it is nobody's
// silence and no vital's absence.
func (w *Ward) connected(t int64) {
	if !w.conn.On && w.conn.Ended != 0 {
		for _, b := range w.beds {
			b.state.Excuse(t - w.conn.Ended)
		}
	}
	w.conn.set(true, t)
}

func (c *connection) time(t int64) int64 {
	if !c.On {
		return c.Total
	}
	return c.Total + max(0, t-c.Since)
}

// brokerLostTold is how long the broker is lost before that is an alert of its own
// (the technical pack's delay). Only then does it explain what cannot be seen, and
// end the alerts that it explains.
const brokerLostTold = 10 * tick

// lost reports whether the broker is lost for so long that there is an alert of it.
func (c *connection) lost(t int64) bool { return !c.On && t-c.Off >= brokerLostTold }

// New checks a configuration, compiles its packs once for each set of overrides
// and makes a ward that has heard nothing yet.
func New(c Config) (*Ward, error) {
	w := &Ward{
		config: c, gatewayID: c.Gateway, every: c.SummaryEvery, packs: c.Packs,
		bySensor: map[string]*bed{}, relays: map[string]*relay{}, programs: map[string]*rule.Program{},
		words: map[rule.Input]string{}, alerts: map[alert.ID]*alert.Alert{}, last: map[string]alert.ID{},
	}
	if w.every == 0 {
		w.every = defaultSummary
	}
	if c.Gateway == "" || len(c.Wards) == 0 || w.every < tick {
		return nil, errors.New("make ward: it needs a gateway's id, a ward, and summaries of a second at least")
	}
	seen := map[BedKey]bool{}
	for _, x := range c.Wards {
		for _, binding := range x.Beds {
			if key := (BedKey{x.ID, binding.Bed}); seen[key] {
				return nil, fmt.Errorf("make ward: bed %s of ward %s is bound twice", binding.Bed, x.ID)
			} else {
				seen[key] = true
			}
			if err := w.bind(x.ID, binding); err != nil {
				return nil, fmt.Errorf("make ward: bed %s of ward %s: %w", binding.Bed, x.ID, err)
			}
		}
	}
	p, err := w.program(nil)
	if err != nil {
		return nil, fmt.Errorf("make ward: %w", err)
	}
	for _, x := range c.Wards {
		g := newSubject(p, rule.Gateway, [vital.Count]int64{})
		g.ward = x.ID
		w.gateways = append(w.gateways, &g)
	}
	return w, nil
}

func newSubject(p *rule.Program, s rule.Scope, stale [vital.Count]int64) subject {
	return subject{state: p.NewState(s, stale), open: make([]alert.ID, p.Len())}
}

// program compiles the packs with overrides, once for each set of them.
func (w *Ward) program(limits map[string]float64) (*rule.Program, error) {
	var names []string
	for name := range limits {
		names = append(names, name)
	}
	slices.Sort(names)
	var key strings.Builder
	for _, name := range names {
		fmt.Fprintf(&key, "%s=%v;", name, limits[name])
	}
	if p := w.programs[key.String()]; p != nil {
		return p, nil
	}
	p, err := rule.Compile(w.packs, limits)
	if err != nil {
		return nil, err
	}
	w.programs[key.String()] = p
	return p, nil
}

func (w *Ward) bind(wardID string, x Binding) error {
	if x.Sensor != "" && w.bySensor[x.Sensor] != nil {
		return fmt.Errorf("sensor %s is bound to another bed too", x.Sensor)
	}
	p, err := w.program(x.Limits)
	if err != nil {
		return err
	}
	n := newBed(p, wardID, x, w.config.unheard())
	w.beds = append(w.beds, n)
	if x.Sensor != "" {
		w.bySensor[x.Sensor] = n
	}
	return nil
}

// bounds are those of sensors that come by a source.
func (c *Config) bounds(source string) Bounds { return c.Sources[source].orDefault() }

// unheard are the bounds of a sensor of which nobody knows yet by which source it
// comes: the longest silence is borne.
func (c *Config) unheard() Bounds {
	b := Bounds{}.orDefault()
	for _, s := range c.Sources {
		b.Silence = max(b.Silence, s.Silence)
	}
	return b
}

func (b Bounds) orDefault() Bounds {
	b.Silence, b.Stale = cmp.Or(b.Silence, defaultSilence), cmp.Or(b.Stale, defaultStale)
	return b
}

// Step moves the ward on to now, in ticks, and takes in. What comes of it is
// appended to out. The same inputs give the same outputs.
func (w *Ward) Step(now Instant, in Input, out *Output) {
	if w.replaying && !in.Replay {
		w.resume(now, out)
	}
	t := w.advance(now)
	for w.clock.Next <= t {
		w.tick(w.clock.Next, out)
		w.clock.Next += tick
	}
	switch {
	case in.Observation != nil:
		w.glance = in.Glance
		w.observe(in.Observation, t, out)
		w.glance = false
	case in.Connected:
		w.connected(t)
	case in.Disconnected:
		w.conn.set(false, t)
	case in.Response != nil:
		w.respond(*in.Response, out)
	case in.Fact != nil:
		w.fact(in.Fact, t, out)
	}
}

// tick is one second of time passing.
func (w *Ward) tick(t int64, out *Output) {
	connected := w.conn.time(t)
	for _, b := range w.beds {
		if b.sensor == "" {
			continue
		}
		b.watch(connected, t)
		b.state.Set(rule.BrokerLost, number01(w.conn.lost(t)), t)
		w.step(&b.subject, t, t, out)
		b.unwatched(t)
		b.flush(w, t, out)
	}
	for _, id := range w.relayIDs {
		r := w.relays[id]
		if r.told {
			r.state.Set(rule.RelayOffline, number01(r.offline && w.serves(r)), t)
		}
		w.step(&r.subject, t, t, out)
	}
	for _, g := range w.gateways {
		g.state.Set(rule.BrokerLost, number01(!w.conn.On), t)
		g.state.Set(rule.ClockUnsynchronised, number01(!w.clock.Sync), t)
		w.step(g, t, t, out)
	}
	w.acknowledgementsEnd(w.clock.wall(t), out)
}

func number01(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// serves finds a bed that r serves, and so the ward that its alert belongs to.
func (w *Ward) serves(r *relay) bool {
	for _, b := range w.beds {
		if b.via == r {
			r.ward = b.ward
			return true
		}
	}
	return false
}

// relay finds or begins a relay; nil when there are too many.
func (w *Ward) relay(id string) *relay {
	r := w.relays[id]
	if r == nil && id != "" && len(w.relays) < maxRelays {
		p, _ := w.program(nil) // compiled before, by New
		r = &relay{subject: newSubject(p, rule.Relay, [vital.Count]int64{}), id: id}
		w.relays[id] = r
		w.relayIDs = append(w.relayIDs, id)
	}
	return r
}

// fact takes what the shell knows.
func (w *Ward) fact(f *Fact, t int64, out *Output) {
	in, ok := rule.InputByName(f.Name)
	switch {
	case ok && in == rule.RelayOffline:
		r := w.relay(f.Relay)
		if r == nil {
			out.count(ReasonUnknownFact)
			return
		}
		if r.text = f.Text; r.text == "" {
			r.text = f.Relay
		}
		r.state.Note(in, r.text)
		w.relayTold(r, f.On, t)
	case ok && in > rule.BrokerLost && in != rule.ClockUnsynchronised:
		w.words[in] = f.Text
		for _, g := range w.gateways {
			g.state.Note(in, f.Text)
			g.state.Set(in, number01(f.On), t)
			w.step(g, t, t, out)
		}
	default:
		out.count(ReasonUnknownFact)
	}
}

// relayTold takes that a relay is offline or online. Once it is back, each of
// its sensors has its silence bound to be heard again.
func (w *Ward) relayTold(r *relay, offline bool, t int64) {
	r.offline, r.told = offline, true
	for _, b := range w.beds {
		if b.via == r {
			b.relayTold(offline, w.conn.time(t), t)
		}
	}
}

// step runs a subject's rules at an instant of ward time and turns changes into
// events that are decided at t.
func (w *Ward) step(s *subject, at, t int64, out *Output) {
	w.changes = s.state.Step(at, w.changes[:0])
	for i := range w.changes {
		w.change(s, &w.changes[i], t, out)
	}
}
