package ward

import (
	"maps"
	"slices"

	"wardline/shared/alert"
)

// Retell puts out again what the cloud must have heard of every open alert, each
// with an update that says where its condition stands. It is for a disk that has
// lost what was decided; what the cloud had heard already changes nothing there.
func (w *Ward) Retell(out *Output) {
	for _, id := range slices.Sorted(maps.Keys(w.alerts)) {
		a := w.alerts[id]
		out.Events = append(out.Events, a.Retell()...)
		x := a.Condition
		w.emit(a, alert.Event{Type: alert.Updated, At: w.clock.Wall, Condition: &x}, out)
	}
}
