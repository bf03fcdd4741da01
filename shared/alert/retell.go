package alert

import (
	"cmp"
	"slices"
)

// Retell is what a gateway says again of an open alert when it has lost what it
// had said: that it was raised, its own latest acts, and whether the condition
// ended. The numbers are the last ones that it used, up to [Alert.N]: none is
// lower than that of the true event. So whoever heard all of those takes none of
// these, and whoever heard some or none of them folds these to the same phase and
// the same acts. The condition may have been updated since: an update with a new
// number has to follow. Comments are not said again.
func (a Alert) Retell() []Event {
	events := []Event{{Type: Raised, At: a.RaisedAt, Late: a.Late, Condition: &a.Condition}}
	for _, x := range []Act{a.Ward.Responsibility, a.Ward.Silence, a.Ward.Ack} {
		if x.Type != "" {
			events = append(events, Event{
				Type: x.Type, At: x.At, By: x.By, Via: x.Via, Until: x.Until, Priority: x.Priority, Text: x.Text, To: x.To,
			})
		}
	}
	if a.Phase != Active {
		events = append(events, Event{Type: Ended, At: a.EndedAt, Text: a.EndText})
	}
	slices.SortStableFunc(events[1:], func(x, y Event) int { return cmp.Compare(x.At, y.At) })
	for i := range events {
		events[i].Alert, events[i].Author = a.ID, Gateway
		events[i].N = a.Ward.N - uint32(len(events)-1-i)
	}
	return events
}
