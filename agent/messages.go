package agent

import (
	"context"
	"errors"
	"fmt"

	"wardline/agent/internal/control"
	"wardline/agent/internal/intake"
	"wardline/agent/internal/local"
	"wardline/agent/internal/ward"
	"wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
	"wardline/shared/alert"
)

// maxRelays bounds what is remembered of relays.
const maxRelays = 1000

// relay takes what a relay says of itself.
func (l *loop) relay(now ward.Instant, m *intake.Message) {
	r := l.relays[m.Relay]
	if r == nil || r.Online != m.State.Online {
		if r == nil && len(l.relays) >= maxRelays {
			l.count.setAside(unsourced, "too_many_relays", fmt.Sprintf("relay %s: %d relays are known already", m.Relay, maxRelays))
			return
		}
		r = &control.Relay{Relay: m.Relay, Online: m.State.Online, Since: now.Wall}
		l.relays[m.Relay] = r
	}
	r.Firmware = m.State.Firmware
	l.facts.relay(m.Relay, !m.State.Online)
}

// response takes what a person did at a ward's station.
func (l *loop) response(now ward.Instant, m *intake.Message) {
	r, err := local.ParseResponse(m.Payload, m.Retained, now.Wall)
	var events []alert.Event
	if err == nil {
		events, err = r.Events(l.ward.Alerts(m.Ward, m.Bed), now.Wall)
	}
	if err != nil {
		reason := "malformed_response"
		if why, ok := errors.AsType[*local.Refusal](err); ok {
			reason = why.Reason
		}
		l.count.setAside(unsourced, reason, fmt.Sprintf("response at bed %s: %v", m.Bed, err))
		return
	}
	for i := range events {
		l.step(now, ward.Input{Response: &events[i]})
	}
}

// identifyFor is how long a sensor blinks.
const identifyFor = 30 // s

// identify asks the relay that carries a sensor to make it blink.
func (l *loop) identify(ctx context.Context, sensor string) error {
	relay := ""
	if err := l.do(ctx, func(ward.Instant) { relay = l.relayOf[sensor] }); err != nil {
		return err
	}
	if relay == "" {
		return refused(fmt.Sprintf("sensor %s has not been heard, so nobody knows its relay", sensor))
	}
	topic := frame.Topic{Relay: relay, Sensor: sensor, Kind: frame.KindRequest}
	request := &biosensorpb.Request{Major: frame.Major, Ask: &biosensorpb.Request_Identify{Identify: &biosensorpb.Identify{Seconds: identifyFor}}}
	return l.in.Publish(topic.String(), false, must(frame.SealRequest(nil, request, l.keyOf(sensor))), nil)
}

// keyOf is a sensor's key, nil at a site that sets none.
func (l *loop) keyOf(sensor string) []byte {
	for _, s := range l.sources {
		if s.Key != nil && s.Key(sensor) != nil {
			return s.Key(sensor)
		}
	}
	return nil
}

// learn notices what the shell can know by itself.
func (l *loop) learn(now ward.Instant) {
	lost, why := l.link.lost()
	l.facts.set("link_lost", lost, why)
	d := l.disk.Stats()
	l.facts.set("disk_nearly_full", d.Tight || d.Over, fmt.Sprintf("%d of %d MiB used", d.Bytes>>20, d.MaxBytes>>20))
}
