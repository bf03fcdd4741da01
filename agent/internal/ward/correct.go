package ward

import (
	"maps"
	"slices"

	"wardline/shared/alert"
)

// Correct passes the times of open alerts through fix, which sets right what was
// stamped before the time was known, and puts out an update of each whose onset
// was wrong.
func (w *Ward) Correct(now Instant, fix func(int64) int64, out *Output) {
	if w.replaying {
		w.resume(now, out)
	}
	for _, id := range slices.Sorted(maps.Keys(w.alerts)) {
		a := w.alerts[id]
		x := a.Condition.Corrected(fix)
		wrong := x.Onset != a.Condition.Onset || fix(a.RaisedAt) != a.RaisedAt
		a.RaisedAt = fix(a.RaisedAt)
		if a.EndedAt != 0 {
			a.EndedAt = fix(a.EndedAt)
		}
		for _, act := range []*alert.Act{&a.Ward.Ack, &a.Ward.Silence, &a.Ward.Responsibility} {
			if act.Type != "" {
				act.At = fix(act.At)
			}
		}
		if wrong {
			w.emit(a, alert.Event{Type: alert.Updated, At: now.Wall, Condition: &x}, out)
		}
	}
}

// Doubts says whether the gateway's clock was set and not all sensors' clocks agree
// with it yet.
func (w *Ward) Doubts() bool {
	return slices.ContainsFunc(w.beds, func(b *bed) bool { return b.Doubted })
}

// stepped keeps the rest of what was given a time in the ward as long as it was,
// when the wall clock steps by so much (µs): an acknowledgement of half an hour is
// one of half an hour. What the board gave an end has it by the cloud's clock.
// What sensors say is held against their own clocks until these agree with the
// gateway's again: which of the two is right nobody knows.
func (w *Ward) stepped(by int64) {
	for _, b := range w.beds {
		b.Doubted = true
	}
	for _, a := range w.alerts {
		for _, act := range []*alert.Act{&a.Ward.Ack, &a.Ward.Silence} {
			if act.Until != 0 {
				act.Until += by
			}
		}
	}
	w.ackCheck += by
}
