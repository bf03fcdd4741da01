//go:build bench

package agent

import (
	"errors"
	"flag"
	"log/slog"
	"os"
	"testing"
	"time"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/ward"
	"wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/firmware-protocol/virtual"
	"wardline/shared/link"
)

// What the measurements of deploy/e2e ask for.
var (
	fillConfig = flag.String("fill", "", "fill the data folder of the agent with this configuration `FILE`")
	fillFor    = flag.Duration("fill-for", 24*time.Hour, "as it would be after so long without a cloud")
	fillECG    = flag.Duration("fill-ecg", 0, "how much of the end of it has a two-lead ECG")
)

// fillEvery is how much one frame covers, a thousand samples of an ECG: the
// summaries are the same as with a frame a second, and a day is made in less
// than a minute.
const fillEvery = 1000 * virtual.SampleUS * time.Microsecond

// TestFill is the agent's own loop through a day without a cloud, with a clock
// that runs ahead: what it leaves in the outbox is what a gateway would have kept.
func TestFill(t *testing.T) {
	if *fillConfig == "" {
		t.Skip("the measurements of deploy/e2e ask for it")
	}
	c, err := Load(*fillConfig)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().UnixMicro()
	now := Instant{Boot: 1, Mono: 1e6, Wall: end - fillFor.Microseconds(), Synchronised: true}
	c.Log, c.Clock = slog.New(slog.DiscardHandler), func() Instant { return now }
	c = c.withDefaults()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(c)
	if err = errors.Join(err, d.lacks); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	k := newKeeper(c.Clock, c.Data, 0)
	a := &agent{cfg: c, time: k, gateway: c.identity(), client: c.clientID(), disk: d, facts: newFacts()}
	if err := a.build(); err != nil {
		t.Fatal(err)
	}
	if err := a.restore(); err != nil {
		t.Fatal(err)
	}
	a.facts.connected(true)
	sensors := fillSensors(c, now.Wall, end)
	for now.Wall < end {
		for _, s := range sensors {
			a.loop.message(now, s.next(t, now.Wall))
		}
		a.loop.tick()
		now.Mono += fillEvery.Microseconds()
		now.Wall += fillEvery.Microseconds()
		a.loop.flush()
	}
	for _, in := range a.loop.count.all() {
		if len(in.SetAside) > 0 || in.PassedOver[ward.ReasonLate] > 0 {
			t.Errorf("%s: set aside %v, passed over %v", in.Source, in.SetAside, in.PassedOver)
		}
	}
	for _, l := range d.Lanes() {
		t.Logf("%v: %d records wait", l.Lane, l.Pending())
		if l.Pending() == 0 && (l.Lane == link.Alerts || l.Lane == link.Vitals) {
			t.Errorf("nothing waits in %v", l.Lane)
		}
	}
}

// fillSensor is a bed's sensor: one without an ECG, and then one with.
type fillSensor struct {
	topic      string
	plain, ecg *virtual.Patient
	ecgAt      int64 // µs UTC
}

func fillSensors(c Config, begin, end int64) (list []*fillSensor) {
	ecgAt := end - fillECG.Microseconds()
	at := func(t int64) time.Time { return time.UnixMicro(t).Add(-fillEvery) } // a frame comes when it is over
	for _, w := range c.Wards {
		for _, b := range w.Beds {
			i := len(list)
			id := virtual.Identity{Sensor: b.Sensor, Boot: 7, Start: at(begin)}
			s := &fillSensor{topic: frame.Topic{Relay: "relay1", Sensor: b.Sensor, Kind: frame.KindFrame}.String(), ecgAt: ecgAt}
			s.plain = virtual.NewPatient(virtual.PatientConfig{Identity: id, Seed: uint64(i), Episodes: []virtual.Episode{
				{Kind: virtual.Desaturation, After: time.Duration(i+1) * 20 * time.Minute, For: 3 * time.Minute},
				{Kind: virtual.LeadOff, After: time.Duration(i+2) * 25 * time.Minute, For: 5 * time.Minute},
				{Kind: virtual.Fever, After: time.Duration(i+3) * 15 * time.Minute, For: 30 * time.Minute},
			}})
			id.Boot, id.Start = 8, at(ecgAt)
			s.ecg = virtual.NewPatient(virtual.PatientConfig{Identity: id, Seed: uint64(i), Leads: 2})
			list = append(list, s)
		}
	}
	return list
}

func (s *fillSensor) next(t *testing.T, now int64) *intake.Message {
	t.Helper()
	p := s.plain
	if now >= s.ecgAt && *fillECG > 0 {
		p = s.ecg
	}
	wire, err := frame.Seal(nil, p.Step(fillEvery), nil, frame.Stamp{ReceivedUS: now, Clock: biosensorpb.Clock_CLOCK_SYNCHRONISED})
	if err != nil {
		t.Fatal(err)
	}
	return &intake.Message{Topic: s.topic, Payload: wire, Received: now}
}
