package ward

import (
	"slices"

	"wardline/shared/alert"
	"wardline/shared/rule"
)

// System is who acts when no person does.
const system = "system"

// change turns what a rule did into events of its alert, decided at t.
func (w *Ward) change(s *subject, c *rule.Change, t int64, out *Output) {
	at := w.clock.wall(t)
	switch c.Kind {
	case rule.Raised:
		w.raise(s, c, t, at, out)
	case rule.Updated:
		if a := w.alerts[s.open[c.Rule]]; a != nil {
			x := w.condition(s, c.Rule, t)
			x.Priority, x.Onset, x.Previous = c.Priority, a.Condition.Onset, a.Condition.Previous
			w.emit(a, alert.Event{Type: alert.Updated, At: at, Condition: &x}, out)
		}
	case rule.Ended:
		if a := w.alerts[s.open[c.Rule]]; a != nil {
			w.end(s, c, a, at, out)
		}
		s.open[c.Rule] = ""
	}
}

func (w *Ward) raise(s *subject, c *rule.Change, t, at int64, out *Output) {
	x := w.condition(s, c.Rule, t)
	x.Priority, x.Onset = c.Priority, w.clock.wall(c.Onset)
	key := episodes(x.Subject) + x.Rule
	x.Previous = w.last[key]
	id := alert.Identify(w.gatewayID, x.Subject, x.Rule, x.Onset)
	w.last[key], s.open[c.Rule] = id, id
	if old := w.alerts[x.Previous]; old != nil && id != x.Previous {
		w.emit(old, alert.Event{Type: alert.Resolved, At: at, By: system, Text: "Raised again as a new episode"}, out)
	}
	a := &alert.Alert{}
	w.alerts[id] = a
	w.emit(a, alert.Event{Alert: id, Type: alert.Raised, At: at, Condition: &x}, out)
}

// episodes begins the keys of Ward.last that are about a subject.
func episodes(s alert.Subject) string { return s.Kind + " " + s.ID + " " }

// end ends an alert. One that a worse alert takes the place of does not stay
// latched beside it.
func (w *Ward) end(s *subject, c *rule.Change, a *alert.Alert, at int64, out *Output) {
	text := c.Why
	if c.By >= 0 {
		text = "Superseded by: " + s.state.Says(c.By, w.clock.T)
	}
	w.emit(a, alert.Event{Type: alert.Ended, At: at, Text: text}, out)
	if c.By >= 0 && a.Open() {
		w.emit(a, alert.Event{Type: alert.Resolved, At: at, By: system, Text: text}, out)
	}
}

// condition is what a rule of a subject has detected, but for priority and onset.
func (w *Ward) condition(s *subject, i int, t int64) alert.Condition {
	p := s.state.Program()
	r, k := p.Rule(i), p.Pack(i)
	x := alert.Condition{
		Gateway: w.gatewayID, Ward: s.ward, Bed: s.bed, Subject: w.subjectOf(s, r.About), Sensor: s.sensor, Patient: s.patient,
		Rule: r.ID, Pack: k.Name, PackVersion: k.Version, Family: r.Family, Code: r.Code, Kind: k.Kind,
		Text: s.state.Says(i, t), Latch: r.Latch, Evidence: s.state.Evidence(i, t),
	}
	for j := range x.Evidence {
		x.Evidence[j].At = w.clock.wall(x.Evidence[j].At)
	}
	return x
}

// subjectOf names whom a rule of a scope is about. A binding is ward, bed,
// sensor and patient: another patient in the bed is another binding. What befalls
// the gateway is an alert in each of its wards, since each has people to tell.
func (w *Ward) subjectOf(s *subject, scope rule.Scope) alert.Subject {
	switch scope {
	case rule.Patient:
		return alert.Subject{Kind: "binding", ID: s.ward + "/" + s.bed + "/" + s.sensor + "/" + s.patient}
	case rule.Sensor:
		return alert.Subject{Kind: "sensor", ID: s.sensor}
	case rule.Relay:
		for _, id := range w.relayIDs {
			if &w.relays[id].subject == s {
				return alert.Subject{Kind: "relay", ID: id}
			}
		}
	}
	return alert.Subject{Kind: "gateway", ID: w.gatewayID + "/" + s.ward}
}

// emit numbers an event of the gateway's, folds it and puts it out. An alert
// that is not open any more is forgotten.
func (w *Ward) emit(a *alert.Alert, e alert.Event, out *Output) bool {
	if e.Alert == "" {
		e.Alert = a.ID
	}
	e.Author, e.N = alert.Gateway, a.N(alert.Gateway)+1
	if !w.fold(a, e, out) {
		return false
	}
	out.Events = append(out.Events, e)
	return true
}

func (w *Ward) fold(a *alert.Alert, e alert.Event, out *Output) bool {
	x, err := alert.Apply(*a, e)
	if err != nil {
		out.count(ReasonBadResponse)
		return false
	}
	*a = x
	out.changed(BedKey{x.Condition.Ward, x.Condition.Bed})
	if !x.Open() {
		delete(w.alerts, x.ID)
	}
	return true
}

func (o *Output) changed(k BedKey) {
	if !slices.Contains(o.Beds, k) {
		o.Beds = append(o.Beds, k)
	}
}

// respond folds what a person or the board did. A ward station's act is numbered
// here and put out. An alert that is resolved although its condition lasts
// begins a new episode after its delay: nothing is watched less for being resolved.
func (w *Ward) respond(e alert.Event, out *Output) {
	a := w.alerts[e.Alert]
	if a == nil {
		if !w.over(e.Alert) {
			out.count(ReasonUnknownAlert)
		}
		return
	}
	own := e.Author == alert.Gateway
	if e.Type.Condition() || own && e.N != 0 || own && e.Type == alert.Resolved && a.Phase == alert.Active {
		out.count(ReasonBadResponse)
		return
	}
	active := a.Phase == alert.Active
	if own {
		if e.At == 0 {
			e.At = w.clock.Wall
		}
		if e.Priority == 0 {
			e.Priority = a.Condition.Priority
		}
		w.emit(a, e, out)
	} else {
		w.fold(a, e, out)
	}
	if active && !a.Open() {
		if s, i, ok := w.find(a.Condition); ok && s.open[i] == a.ID {
			s.open[i] = ""
			s.state.Drop(i)
		}
	}
}

// over reports whether an alert was known here and is not open any more: what is
// said of it is right and has no effect.
func (w *Ward) over(id alert.ID) bool {
	for _, x := range w.last {
		if x == id {
			return true
		}
	}
	return false
}

// find is the subject and rule that a condition is about, as configured now.
func (w *Ward) find(c alert.Condition) (*subject, int, bool) {
	var s *subject
	switch c.Subject.Kind {
	case "binding", "sensor":
		if b := w.bySensor[c.Sensor]; b != nil {
			s = &b.subject
		}
	case "relay":
		if r := w.relay(c.Subject.ID); r != nil {
			s = &r.subject
			r.ward = c.Ward
		}
	case "gateway":
		for _, g := range w.gateways {
			if g.ward == c.Ward {
				s = g
			}
		}
	}
	if s == nil {
		return nil, 0, false
	}
	i, ok := s.state.Program().ByID(c.Rule)
	return s, i, ok && w.subjectOf(s, s.state.Program().Rule(i).About) == c.Subject
}

// acknowledgementsEnd tells the beds where an acknowledgement or a silence ran
// out since the last tick, so that they sound again.
func (w *Ward) acknowledgementsEnd(wall int64, out *Output) {
	for _, a := range w.alerts {
		for _, r := range []*alert.Response{&a.Ward, &a.Board} {
			for _, x := range []*alert.Act{&r.Ack, &r.Silence} {
				if x.Until != 0 && x.Until > w.ackCheck && x.Until <= wall {
					out.changed(BedKey{a.Condition.Ward, a.Condition.Bed})
				}
			}
		}
	}
	w.ackCheck = wall // also when it was stepped back: what ends now is told now
}
