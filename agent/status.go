package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"wardline/agent/internal/control"
	"wardline/agent/internal/outbox"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
)

// status gathers what the agent says of itself.
func (a *agent) status(ctx context.Context) (control.Status, error) {
	s := control.Status{Version: Version, Site: a.link.enrolledAt(), Gateway: a.gateway, Up: time.Since(a.start).Microseconds(), Clock: "free"}
	err := a.loop.do(ctx, func(now ward.Instant) {
		s.Now = now.Wall
		if now.Synchronised {
			s.Clock = "synchronised"
		}
		a.loop.report(&s, now)
	})
	if err != nil {
		return s, fmt.Errorf("the agent is busy: %w", err)
	}
	a.brokerStatus(&s)
	if s.Broker.State != "connected" {
		for i := range s.Sensors {
			s.Sensors[i].State, s.Sensors[i].Since = "unknown", s.Broker.Since
		}
	}
	a.linkStatus(&s)
	a.diskStatus(&s)
	return s, nil
}

// report is the loop's part: it runs there.
func (l *loop) report(s *control.Status, now ward.Instant) {
	s.Intake = l.count.all()
	s.Outbox.Commits, s.Outbox.Failures, s.Outbox.Coalesced = l.commits, l.failures, l.coalesced
	for _, x := range l.ward.Status() {
		s.Sensors = append(s.Sensors, sensorStatus(x, l.ward.Alerts(x.Ward, x.Bed)))
	}
	for _, id := range slices.Sorted(maps.Keys(l.relays)) {
		s.Relays = append(s.Relays, *l.relays[id])
	}
	var open []alert.Alert
	for _, b := range l.cfg.places() {
		open = append(open, l.ward.Alerts(b.Ward, b.Bed)...)
	}
	slices.SortFunc(open, alert.Compare)
	s.Alerts = []control.Alert{}
	for _, a := range open {
		s.Alerts = append(s.Alerts, alertStatus(a, now.Wall))
	}
	if l.stall {
		s.Trouble = append(s.Trouble, fmt.Sprintf("the disk has not answered for %d s: %d commits wait", (now.Mono-l.asked)/1e6, len(l.units)))
	}
	if l.retryAt != 0 {
		s.Trouble = append(s.Trouble, fmt.Sprintf("the disk does not take commits (%s): %d failed so far, %d wait", l.failure, l.failures, len(l.units)))
	}
}

func sensorStatus(x ward.SensorStatus, alerts []alert.Alert) control.Sensor {
	out := control.Sensor{Sensor: x.Sensor, Ward: x.Ward, Bed: x.Bed, Last: x.Heard, State: "live", Missing: x.Missing}
	switch {
	case x.Heard == 0:
		out.State = "unseen"
	case x.SilentSince != 0:
		out.State, out.Since = "silent", x.SilentSince
	}
	for _, a := range alerts {
		if out.State == "live" && a.Phase == alert.Active && a.Condition.Rule == "lead-off" {
			out.State, out.Since = "lead off", a.Condition.Onset
		}
	}
	return out
}

func alertStatus(a alert.Alert, now int64) control.Alert {
	c := a.Condition
	out := control.Alert{
		ID: string(a.ID), Ward: c.Ward, Bed: c.Bed, Priority: c.Priority.String(), Kind: string(c.Kind),
		Rule: c.Rule, Text: c.Text, Phase: string(a.Phase), Onset: c.Onset,
	}
	if ack, ok := a.Ack(now); ok {
		out.AcknowledgedBy, out.Until = ack.By, ack.Until
	}
	return out
}

func (a *agent) brokerStatus(s *control.Status) {
	b := a.in.Status()
	s.Broker = control.Link{State: "connecting", Peer: a.brokerURL(), Since: b.Since, Error: b.LastError}
	if b.Connected {
		s.Broker.State = "connected"
	}
	if b.Twin && b.LastError != "" { // else it is over
		s.Trouble = append(s.Trouble, b.LastError)
	}
	if len(b.Refused) > 0 {
		s.Trouble = append(s.Trouble, fmt.Sprintf("the broker does not let the agent read %v: see its access list", b.Refused))
	}
	s.Broker.Forgotten = b.Forgotten
	if b.Gap.To != 0 {
		s.Broker.MissingFrom, s.Broker.MissingTo = b.Gap.From, b.Gap.To
		s.Trouble = append(s.Trouble, "the broker forgot what it had taken, so messages may be missing "+gapText(b.Gap)+": see its persistence")
	}
	if b.Overflowed > 0 {
		s.Trouble = append(s.Trouble, fmt.Sprintf("%d messages overflowed the queue and were asked for again", b.Overflowed))
	}
}

func (a *agent) linkStatus(s *control.Status) {
	u, off := a.link.now()
	s.Uplink = control.Link{State: "connecting", Peer: u.Cloud, Since: u.Since, Error: u.LastError}
	switch {
	case off != "":
		s.Uplink = control.Link{State: "off", Error: off}
	case u.Connected:
		s.Uplink.State = "connected"
	case u.Refused != "":
		s.Uplink.State = "refused"
	}
	if ends := a.link.certificateEnds(); ends != 0 {
		at, failed := a.link.renewals()
		s.Certificate = &control.Certificate{Ends: ends, Days: daysUntil(ends, s.Now), Renewed: at, Error: failed}
	}
	if u.Technician {
		s.Trouble = append(s.Trouble, "the cloud refuses this gateway: "+cmp.Or(u.LastError, u.Refused))
	}
}

// daysUntil is the whole days from now to an instant, both µs, rounded down.
func daysUntil(at, now int64) int64 {
	return int64(math.Floor(float64(at-now) / float64((24 * time.Hour).Microseconds())))
}

func (a *agent) diskStatus(s *control.Status) {
	d := a.disk.Stats()
	s.Outbox.Bytes, s.Outbox.MaxBytes, s.Outbox.FramesFrom = d.Bytes, d.MaxBytes, d.FramesFrom
	s.Outbox.Owed, s.Outbox.Torn, s.Outbox.Key = d.Owed, d.Torn, a.disk.key
	for _, l := range d.Lanes {
		s.Outbox.Copies += l.First - l.Kept
		s.Lanes = append(s.Lanes, control.Lane{Lane: l.Lane.String(), Last: l.Last, Pending: l.Pending(), Oldest: l.Oldest, Evicted: uint64(l.Evicted)})
	}
	s.Flash = a.flash.status()
	if aside, why := a.disk.damage(); aside != "" {
		s.Trouble = append(s.Trouble, fmt.Sprintf("the outbox was damaged (%s) and put aside as %s%s", why, aside, salvaged(d.Salvaged)))
	}
	if x := d.Salvaged; x != nil {
		s.Outbox.Salvage = &control.Salvage{From: x.From, Records: x.Records, Lost: x.Lost, Done: x.Done}
	}
	if d.Torn > 0 {
		s.Trouble = append(s.Trouble, fmt.Sprintf("the disk changed %d rows of the outbox since the start: look at the card", d.Torn))
	}
	if a.disk.gone {
		s.Trouble = append(s.Trouble, "the outbox was gone at the start, and a fresh one is begun: what it still owed the cloud is lost")
	}
	if err := a.disk.lacks; err != nil {
		s.Trouble = append(s.Trouble, fmt.Sprintf("the ward is watched, but nothing is kept or sent: %s", plain(err)))
	}
}

// salvaged says what was taken over from a damaged outbox.
func salvaged(s *outbox.Salvage) string {
	switch {
	case s == nil:
		return ""
	case !s.Done:
		return fmt.Sprintf("; %d records of it are taken over so far", s.Records)
	case s.Lost > 0:
		return fmt.Sprintf("; %d records of it were taken over, %d could not be read", s.Records, s.Lost)
	}
	return fmt.Sprintf("; %d records of it were taken over", s.Records)
}
