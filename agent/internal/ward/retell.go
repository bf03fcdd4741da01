package ward

import (
	"maps"
	"slices"

	"wardline/shared/alert"
)

// numbersFrom is the second (2025, UTC) from which numbers rise with time.
const numbersFrom = 1_735_689_600

// Retell puts out again what the cloud must have heard of every open alert, or of
// those that only names, each with an update that says where its condition stands.
// It is for when what was decided never reached the cloud, or was lost there; what
// it had heard already changes nothing there. A skip lets numbers go on higher: the
// cloud may have heard others under the next ones, from a disk that went back. They
// also rise with time, in case that the same copy of a disk comes back twice.
func (w *Ward) Retell(now Instant, only map[alert.ID]bool, skip uint32, out *Output) {
	if w.replaying { // what is open is not in its place yet
		w.resume(now, out)
	}
	for _, id := range slices.Sorted(maps.Keys(w.alerts)) {
		a := w.alerts[id]
		if only != nil && !only[id] {
			continue
		}
		if skip > 0 {
			a.Ward.N = max(a.Ward.N+skip, uint32(max(0, now.Wall/1e6-numbersFrom)))
		}
		out.Events = append(out.Events, a.Retell()...)
		x := a.Condition
		w.emit(a, alert.Event{Type: alert.Updated, At: now.Wall, Condition: &x}, out)
	}
}
