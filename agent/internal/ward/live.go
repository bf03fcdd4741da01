package ward

import (
	"slices"

	"wardline/shared/alert"
	"wardline/shared/rule"
	"wardline/shared/vital"
)

// Live is what is known of every bed that has a sensor, in the configuration's
// order, as of the last Step.
func (w *Ward) Live() []BedLive {
	var out []BedLive
	for _, b := range w.beds {
		if b.sensor == "" {
			continue
		}
		x := BedLive{
			Ward: b.ward, Bed: b.bed, Sensor: b.sensor, Patient: b.patient, At: b.Newest,
			Contact: b.contact(), LeadOff: b.leadOff(), LeadsOff: b.LeadsOff, SilentSince: w.silentSince(b), Battery: b.Battery,
		}
		for v := vital.Vital(1); v.Valid(); v++ {
			if b.state.Known()>>v&1 != 0 {
				x.Values = append(x.Values, b.Latest[v])
			}
		}
		out = append(out, x)
	}
	return out
}

func (w *Ward) silentSince(b *bed) int64 {
	if !b.Silent {
		return 0
	}
	return w.clock.wall(b.SilentAt)
}

// Alerts lists the open alerts of a bed, the most urgent first; with bed "",
// those of the ward that are about no single bed.
func (w *Ward) Alerts(ward, bed string) []alert.Alert {
	var out []alert.Alert
	w.each(func(a *alert.Alert) {
		if a.Condition.Ward == ward && a.Condition.Bed == bed {
			out = append(out, *a)
		}
	})
	slices.SortFunc(out, alert.Compare)
	return out
}

// each calls f with the open alerts, in no order.
func (w *Ward) each(f func(*alert.Alert)) {
	if w.replaying {
		for i := range w.loaded {
			if w.loaded[i].Open() {
				f(&w.loaded[i])
			}
		}
		return
	}
	for _, a := range w.alerts {
		f(a)
	}
}

// Limits lists the limits that are in force for a bed.
func (w *Ward) Limits(ward, bed string) []rule.Limit {
	for _, b := range w.beds {
		if b.ward == ward && b.bed == bed {
			return b.state.Program().Limits()
		}
	}
	return nil
}

// Status is what a technician sees of every sensor, as of the last Step.
func (w *Ward) Status() []SensorStatus {
	var out []SensorStatus
	for _, b := range w.beds {
		if b.sensor == "" {
			continue
		}
		x := SensorStatus{Ward: b.ward, Bed: b.bed, Sensor: b.sensor, Heard: w.clock.wall(b.Heard), SilentSince: w.silentSince(b), Missing: b.repeats.missing}
		if b.via != nil {
			x.Relay = b.via.id
		}
		p := b.state.Program()
		for i := range p.Len() {
			if since := b.state.Lost(i); since != 0 {
				x.NotEvaluable = append(x.NotEvaluable, NotEvaluable{p.Rule(i).ID, w.clock.wall(since)})
			}
		}
		out = append(out, x)
	}
	return out
}
