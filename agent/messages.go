package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

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

// response takes what a person did at a ward's station, at a bed or about the
// ward as a whole.
func (l *loop) response(now ward.Instant, m *intake.Message) {
	r, err := local.ParseResponse(m.Payload, m.Retained, now.Wall)
	var events []alert.Event
	id := responseID(m)
	if (m.Again || r.At != 0) && (l.waits(id) || l.disk.Seen(id)) {
		l.count.setAside(unsourced, ward.ReasonRepeat, fmt.Sprintf("response at %s: it was taken before", m.Topic))
		return
	}
	if err == nil {
		events, err = r.Events(l.ward.Alerts(m.Ward, m.Bed), now.Wall)
	}
	if err != nil {
		reason := "malformed_response"
		if why, ok := errors.AsType[*local.Refusal](err); ok {
			reason = why.Reason
		}
		l.count.setAside(unsourced, reason, fmt.Sprintf("response at %s: %v", m.Topic, err))
		return
	}
	for i := range events {
		l.step(now, ward.Input{Response: &events[i]})
	}
	u := l.unit(now)
	u.commit.Commands = append(u.commit.Commands, id)
}

// responseID is under what it is remembered that a response was taken: what a
// person did in the ward is done once, however often the broker gives it. One that
// does not say when it was given, and comes again without the broker's word that
// it may be the same, is taken for another press of the button.
func responseID(m *intake.Message) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s", m.Topic, m.Payload)
	return fmt.Sprintf("ward-%x", h.Sum(nil)[:16])
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

// newerFor is how long after the last frame of a newer major version it is said
// that such frames are set aside.
const newerFor = 10 * time.Minute

// newer notices that a message was set aside as one of a newer major version
// (SPEC §10.1): its sensor is not watched.
func (l *loop) newer(now ward.Instant, m *intake.Message) {
	if m.Reason == intake.Reason(frame.ErrVersion) {
		l.facts.happened("newer_frames", fmt.Sprintf("sensor %s, relay %s", m.Sensor, m.Relay), now.Mono+newerFor.Microseconds())
	}
}

// forgotFor is how long it is true that the broker forgot the session: an alert of
// it stays until somebody has resolved it.
const forgotFor = time.Minute

// learnOfBroker notices that the broker has forgotten what it had taken. The
// intake remembers it until the alert is on the disk.
func (l *loop) learnOfBroker(now ward.Instant) {
	gap, ok := l.in.Gap()
	if !ok || gap == l.gap {
		return
	}
	l.gap = gap
	l.facts.happened("broker_forgot", gapText(gap), now.Mono+forgotFor.Microseconds())
	l.takeFacts(now)
	u := l.unit(now)
	u.done = append(u.done, func() { l.in.Told(gap) })
}

// gapText says from when to when messages may be missing.
func gapText(g intake.Gap) string {
	at := func(us int64) string { return time.UnixMicro(us).UTC().Format(time.DateTime) }
	from := "nobody knows when"
	if g.From != 0 {
		from = at(g.From)
	}
	return fmt.Sprintf("from %s to %s UTC", from, at(g.To))
}

// certificateWarning is how long before its end a certificate is spoken of.
const certificateWarning = 14 * 24 * time.Hour

// certificate notices how long the gateway's certificate lasts; ends is µs UTC,
// 0 for one that is not known.
func (l *loop) certificate(now ward.Instant, ends int64) {
	day := time.UnixMicro(ends).UTC().Format(time.DateOnly)
	over := ends != 0 && now.Wall >= ends
	l.facts.set("certificate_expired", over, day)
	l.facts.set("certificate_ending", ends != 0 && !over && ends-now.Wall < certificateWarning.Microseconds(), day)
}

// learn notices what the shell can know by itself.
func (l *loop) learn(now ward.Instant) {
	l.facts.pass(now.Mono)
	l.certificate(now, l.link.certificateEnds())
	lost, why := l.link.lost()
	l.facts.set("link_lost", lost, why)
	l.learnOfDisk(now, l.disk.Stats())
	l.learnOfBroker(now)
	if l.stalled(now); l.answer == nil { // else it would wait for the same disk
		l.learnOfTime(now)
	}
	if r := l.retell.Swap(nil); r != nil {
		l.tellAgain(now, nil, r.skip)
	}
}
