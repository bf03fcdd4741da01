package agent

import (
	"fmt"
	"maps"
	"slices"

	"wardline/agent/internal/outbox"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
)

// owe puts an event among what the cloud is to have. While nothing is left on the
// disk that could give way to alerts, an update waits until there is room or
// something else is told of its alert: of several in a row the last is enough. The
// episode, which is kept each time, says that it waits.
func (l *loop) owe(u *unit, e alert.Event) {
	if held, waits := l.held[e.Alert]; waits {
		delete(l.held, e.Alert)
		if e.Type == alert.Updated {
			l.coalesced++
		} else {
			u.event(held)
		}
	}
	if l.crowded && e.Type == alert.Updated {
		l.held[e.Alert] = e
		return
	}
	u.event(e)
}

// nearlyFull is the share of the outbox that the cloud may be owed before it is
// said that more will give way.
const nearlyFull = 0.75

// learnOfDisk notices how full the disk is and what was found on it.
func (l *loop) learnOfDisk(now ward.Instant, d outbox.Stats) {
	const mib = 1 << 20
	full := fmt.Sprintf("the cloud does not have %d of %d MiB, and vitals give way when it is full", d.Owed/mib, d.MaxBytes/mib)
	if d.Tight {
		full = fmt.Sprintf("%d MiB are free on the file system", d.Free/mib)
	}
	l.facts.set("disk_nearly_full", d.Tight || float64(d.Owed) > nearlyFull*float64(d.MaxBytes), full)
	l.facts.set("outbox_full", d.Over, fmt.Sprintf("%d MiB of %d", d.Owed/mib, d.MaxBytes/mib))
	if d.Torn > l.torn {
		l.log.Error("rows of the outbox were changed by the disk", "rows", d.Torn)
		l.facts.happened("storage_damaged", fmt.Sprintf("%d rows changed by the disk", d.Torn), now.Mono+tornFor.Microseconds())
	}
	l.torn = d.Torn
	if s := d.Salvaged; s != nil && s.Done && (l.salvaged == nil || !l.salvaged.Done) {
		l.log.Info("what could be read of the damaged outbox was taken over", "from", s.From, "records", s.Records, "lost", s.Lost)
		// An alert that was raised by one of these records and whose episode was lost
		// is open in the cloud alone: the next Hello does not name it.
		l.disk.tellChanged()
	}
	l.salvaged = d.Salvaged
	if l.crowded = d.Over; !l.crowded && len(l.held) > 0 {
		l.release(now)
	}
}

// release tells the updates that waited for room.
func (l *loop) release(now ward.Instant) {
	u := l.unit(now)
	for _, id := range slices.Sorted(maps.Keys(l.held)) {
		e := l.held[id]
		u.event(e)
		u.beds[ward.BedKey{Ward: e.Condition.Ward, Bed: e.Condition.Bed}] = struct{}{}
	}
	clear(l.held)
}

// retelling is that the cloud must hear of the open alerts again; skip as in
// [ward.Ward.Retell].
type retelling struct{ skip uint32 }

// afterGoingBack is by how much the numbers of an alert's events jump when the
// disk went back in time: more than the cloud can have heard of one alert after
// the copy that it went back to, at an update every two seconds for a day.
const afterGoingBack = 50_000

// tellAgain tells the cloud of open alerts, all or those that only names.
func (l *loop) tellAgain(now ward.Instant, only map[alert.ID]bool, skip uint32) {
	l.part(now)
	l.out.Reset()
	l.ward.Retell(now, only, skip, &l.out)
	u := l.unit(now)
	for _, e := range l.out.Events {
		delete(l.held, e.Alert)
		u.event(e)
		u.urgent = true
	}
	for _, b := range l.cfg.places() { // the episodes with their new numbers
		u.beds[b] = struct{}{}
	}
}
