package ward

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"wardline/shared/alert"
	"wardline/shared/rule"
	"wardline/shared/vital"
)

// checkpointVersion is the form of a checkpoint. One of another form is refused:
// the caller begins with a new Ward and replays what it holds.
const checkpointVersion = 1

// checkpoint is all that Step's results depend on, apart from the configuration.
type checkpoint struct {
	Version    int
	Clock      clock
	Connection connection
	AckCheck   int64
	Beds       []savedBed
	Relays     []savedRelay
	Gateways   map[string]savedSubject // by ward
	Words      map[rule.Input]string
	Alerts     []alert.Alert
	Last       map[string]alert.ID
}

type savedSubject struct {
	Rules []byte
	Open  map[string]alert.ID `json:",omitempty"` // by rule
}

type savedBed struct {
	Ward, Bed, Sensor, Patient string
	Relay                      string
	Heard                      heard
	Latest                     []vital.Reading
	Repeats                    savedRepeats
	Live                       savedInterval
	Late                       []savedInterval
	savedSubject
}

type savedInterval struct {
	Start, Touched int64
	Stamped        bool                `json:",omitempty"`
	Vitals         map[vital.Vital]sum `json:",omitempty"`
}

type savedRelay struct {
	ID, Ward, Text string
	Offline, Told  bool
	savedSubject
}

// Save is the checkpoint: everything that later Steps depend on, in a form of
// this package's own. It can be restored into a Ward of another configuration;
// what belongs to a binding that is no more is left out then.
func (w *Ward) Save() []byte {
	c := checkpoint{
		Version: checkpointVersion, Clock: w.clock, Connection: w.conn, AckCheck: w.ackCheck,
		Gateways: map[string]savedSubject{}, Words: w.words, Last: w.last,
	}
	for _, g := range w.gateways {
		c.Gateways[g.ward] = g.save()
	}
	hashes := min(max(hashesSaved/max(1, len(w.beds)), hashesLeast), hashesKept)
	for _, b := range w.beds {
		x := savedBed{
			Ward: b.ward, Bed: b.bed, Sensor: b.sensor, Patient: b.patient,
			Heard: b.heard, Repeats: b.repeats.save(hashes), Live: b.sums.Live.save(), savedSubject: b.save(),
		}
		for i := range b.sums.Late {
			x.Late = append(x.Late, b.sums.Late[i].save())
		}
		for _, r := range b.Latest {
			if r.Vital.Valid() {
				x.Latest = append(x.Latest, r)
			}
		}
		if b.via != nil {
			x.Relay = b.via.id
		}
		c.Beds = append(c.Beds, x)
	}
	for _, id := range w.relayIDs {
		r := w.relays[id]
		c.Relays = append(c.Relays, savedRelay{id, r.ward, r.text, r.offline, r.told, r.save()})
	}
	for _, a := range w.alerts {
		c.Alerts = append(c.Alerts, *a)
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic("ward: a checkpoint cannot be written: " + err.Error()) // it holds finite numbers and text only
	}
	return b
}

func (s *subject) save() savedSubject {
	x := savedSubject{Rules: s.state.Save(nil), Open: map[string]alert.ID{}}
	for i, id := range s.open {
		if id != "" {
			x.Open[s.state.Program().Rule(i).ID] = id
		}
	}
	return x
}

func (s *subject) load(x savedSubject) error {
	if _, err := s.state.Load(x.Rules); err != nil {
		return err
	}
	for id, a := range x.Open {
		if i, ok := s.state.Program().ByID(id); ok {
			s.open[i] = a
		}
	}
	return nil
}

func (x *interval) save() savedInterval {
	out := savedInterval{x.Start, x.Touched, x.Stamped, map[vital.Vital]sum{}}
	for v, y := range x.Vitals {
		if y.N > 0 {
			out.Vitals[vital.Vital(v)] = y
		}
	}
	return out
}

func (x savedInterval) load() interval {
	out := interval{Start: x.Start, Touched: x.Touched, Stamped: x.Stamped}
	for v, y := range x.Vitals {
		out.Vitals[v] = y
	}
	return out
}

// Restore loads a checkpoint into a new Ward; an empty one means that there is
// none. open are the alerts that are open as of now, later than the checkpoint:
// they take the place of what the replay leads to at the first Step without
// Replay, and Alerts tells them before. Facts of the gateway are off then, until
// they are told; what a relay last said is believed until it is heard again. An error is about
// the checkpoint alone: the Ward goes on as if there were none.
func (w *Ward) Restore(state []byte, open []alert.Alert) error {
	err := w.read(state)
	if err != nil {
		fresh, _ := New(w.config) // it was good before
		*w = *fresh
		err = fmt.Errorf("restore ward: %w", err)
	}
	w.replaying, w.loaded = true, slices.Clone(open)
	return err
}

func (w *Ward) read(state []byte) error {
	if len(state) == 0 {
		return nil
	}
	var c checkpoint
	if err := json.Unmarshal(state, &c); err != nil {
		return err
	}
	if c.Version != checkpointVersion {
		return fmt.Errorf("the checkpoint has version %d, not %d", c.Version, checkpointVersion)
	}
	return w.load(&c)
}

func (w *Ward) load(c *checkpoint) error {
	w.clock, w.conn, w.ackCheck = c.Clock, c.Connection, c.AckCheck
	for i := range c.Alerts {
		w.alerts[c.Alerts[i].ID] = &c.Alerts[i]
	}
	var faults []error
	for _, g := range w.gateways {
		if x, ok := c.Gateways[g.ward]; ok {
			faults = append(faults, g.load(x))
		}
		for in, words := range c.Words {
			w.words[in] = words
			g.state.Note(in, words)
		}
	}
	for _, x := range c.Relays {
		if r := w.relay(x.ID); r != nil {
			r.ward, r.text, r.offline, r.told = x.Ward, x.Text, x.Offline, x.Told
			faults = append(faults, r.load(x.savedSubject))
			r.state.Note(rule.RelayOffline, r.text)
		}
	}
	for _, x := range c.Beds {
		b := w.bySensor[x.Sensor]
		if b == nil || b.ward != x.Ward || b.bed != x.Bed || b.patient != x.Patient {
			continue // another binding: it begins anew
		}
		b.heard, b.via = x.Heard, w.relay(x.Relay)
		if b.Heard != 0 {
			b.bind(b.Source, w.config.bounds(b.Source))
			if w.newest == nil || b.Heard > w.newest.Heard {
				w.newest = b
			}
		}
		for _, r := range x.Latest {
			b.Latest[r.Vital] = r
		}
		b.repeats.load(x.Repeats)
		b.sums.Live = x.Live.load()
		for _, y := range x.Late {
			b.sums.Late = append(b.sums.Late, y.load())
		}
		faults = append(faults, b.load(x.savedSubject))
		b.note()
	}
	for key, id := range c.Last {
		if w.remembers(key) {
			w.last[key] = id
		}
	}
	return errors.Join(faults...)
}

// remembers reports whether a key of last is about a subject of this configuration.
func (w *Ward) remembers(key string) bool {
	about := func(s *subject, scope rule.Scope) bool {
		return strings.HasPrefix(key, episodes(w.subjectOf(s, scope)))
	}
	for _, b := range w.beds {
		if about(&b.subject, rule.Patient) || about(&b.subject, rule.Sensor) {
			return true
		}
	}
	for _, r := range w.relays {
		if about(&r.subject, rule.Relay) {
			return true
		}
	}
	for _, g := range w.gateways {
		if about(g, rule.Gateway) {
			return true
		}
	}
	return false
}

// resume ends a replay, which the first live input does: the alerts that are open as of now take the place of
// those that the replay led to, and silence waits for the broker.
func (w *Ward) resume(now Instant, out *Output) {
	w.conn.set(false, w.clock.T) // down time is not silence
	t := w.advance(now)
	w.conn.Off = t
	w.clock.Next = max(w.clock.Next, t/tick*tick) // nothing is learnt of the time between
	w.replaying = false
	for _, id := range w.relayIDs {
		w.relays[id].told = false
	}
	for in := rule.BrokerLost + 1; in.String() != ""; in++ {
		for _, g := range w.gateways {
			g.state.Set(in, 0, t) // the shell begins anew, and tells what is true
		}
	}
	loaded := map[alert.ID]bool{}
	for i := range w.loaded {
		loaded[w.loaded[i].ID] = true
	}
	for id, a := range w.alerts {
		if loaded[id] {
			continue
		}
		delete(w.alerts, id)
		if s, i, ok := w.find(a.Condition); ok && s.open[i] == id {
			s.open[i] = ""
			s.state.Drop(i)
		}
	}
	for i := range w.loaded {
		if w.loaded[i].Open() {
			w.adopt(&w.loaded[i], t, out)
		}
	}
	w.loaded = nil
}

// adopt goes on with an alert that is open from an earlier life.
func (w *Ward) adopt(a *alert.Alert, t int64, out *Output) {
	w.alerts[a.ID] = a
	s, i, ok := w.find(a.Condition)
	if !ok {
		at := w.clock.wall(t)
		const why = "The bed is not bound to this sensor and patient any more"
		if a.Phase == alert.Active {
			w.emit(a, alert.Event{Type: alert.Ended, At: at, Text: why}, out)
		}
		if a.Open() {
			w.emit(a, alert.Event{Type: alert.Resolved, At: at, By: system, Text: why}, out)
		}
		return
	}
	w.last[episodes(a.Condition.Subject)+a.Condition.Rule] = a.ID
	if a.Phase != alert.Active {
		if s.open[i] == a.ID { // it ended after the checkpoint, and is not to end again
			s.open[i] = ""
			s.state.Drop(i)
		}
		return
	}
	if !s.state.Open(i) {
		s.state.Adopt(i, t-max(0, w.clock.Wall-a.Condition.Onset), t-max(0, w.clock.Wall-a.RaisedAt), a.Condition.Priority)
	}
	s.open[i] = a.ID
}
