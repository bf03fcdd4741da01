package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"wardline/agent/internal/control"
	"wardline/agent/internal/intake"
	"wardline/agent/internal/outbox"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
	"wardline/shared/link"
)

// The loop's bounds.
const (
	batchMax        = 256             // messages of one turn
	linger          = 2 * time.Second // how long a turn without an alert may wait for its commit: each costs pages of flash
	tickEvery       = time.Second     // the ward's grid of time
	checkpointEvery = time.Minute     // of the ward's state
	slowCommit      = time.Second     // after it the ward is alerted, and goes on, before the commit has ended
	retryEvery      = time.Second     // of a commit that failed
	maxWaiting      = 8192            // messages that may wait for a failing disk before the loop takes no more
	stepTolerance   = 10_000          // µs that wall and monotonic time may part within one commit
)

// loop is the agent's one core: what comes in is stepped, committed,
// acknowledged and told, in this order, by one goroutine that owns the ward.
// The same inputs give the same alerts, now, after a restart and in a test.
type loop struct {
	cfg   Config
	time  *keeper
	log   *slog.Logger
	ward  *ward.Ward
	disk  *disk
	in    *intake.Intake
	facts *facts
	tell  *teller
	watch *watch
	count *counters
	link  *linker

	append  func(outbox.Commit) (outbox.Position, error) // the disk's
	sources []intake.Source
	relays  map[string]*control.Relay // what relays said of themselves
	relayOf map[string]string         // by sensor: who carried it last

	calls chan func(ward.Instant) // run by the loop between turns
	wake  chan struct{}           // the uplink's: the outbox has more

	out       ward.Output
	answer    chan error                        // of the oldest unit, which the disk works on; nil = none
	asked     int64                             // Mono of its beginning
	stall     bool                              // it was said that the disk does not answer
	units     []*unit                           // what is not committed yet, oldest first; all but the last are closed
	untold    map[ward.BedKey]struct{}          // beds that changed while the disk takes nothing
	kept      map[ward.BedKey]map[alert.ID]bool // episodes that the outbox holds as open
	crowded   bool                              // nothing is left on the disk that could give way to alerts
	held      map[alert.ID]alert.Event          // updates that wait for room; the latest of each alert
	coalesced uint64                            // updates that a later one took the place of
	retell    atomic.Pointer[retelling]         // the link's wish
	salvaged  *outbox.Salvage                   // as it was last told of
	torn      int64
	gap       intake.Gap // the last one that was told of

	behind      bool       // the disk took nothing, and what comes by the session is not live again yet
	drift       int64      // of the wall clock from the monotonic one, at the last message
	corrected   bool       // what was stamped before the machine's clock was set
	amendment   *amendment // the last
	floorFailed error
	lastSaved   int64 // Mono of the last checkpoint
	retryAt     int64 // Mono; 0 = the disk works
	commits     uint64
	failures    uint64
	failure     string // the last one, in words
}

// run takes turns until ctx ends. What it had not committed then was not
// acknowledged either, and comes again.
func (l *loop) run(ctx context.Context) error {
	tick := time.NewTimer(tickEvery)
	defer tick.Stop()
	flush := time.NewTimer(time.Hour)
	defer flush.Stop()
	for {
		flush.Reset(l.untilFlush())
		ready := l.in.Ready()
		if l.full() {
			ready = nil
		}
		select {
		case <-ctx.Done():
			if l.answer != nil {
				<-l.answer
			}
			return nil
		case err := <-l.answer:
			l.answered(err)
		case <-ready:
			l.takeMessages(ctx)
		case m := <-l.in.Glances():
			l.glance(l.cfg.Clock(), m)
		case call := <-l.calls:
			call(l.cfg.Clock())
		case <-tick.C:
			l.tick()
			tick.Reset(l.untilTick())
		case <-flush.C:
		}
		l.flush()
	}
}

// full says that a failing disk holds up so many messages that no more are taken.
func (l *loop) full() bool {
	n := 0
	for _, u := range l.units {
		n += len(u.acks)
	}
	return n >= maxWaiting
}

// takeMessages steps what is there.
func (l *loop) takeMessages(ctx context.Context) {
	batch, err := l.in.Next(ctx, batchMax, 0)
	if err != nil {
		return // ctx ended; run sees it
	}
	now := l.cfg.Clock()
	l.takeFacts(now) // that the broker was reached comes before what it gives
	for _, m := range batch {
		l.message(now, m)
	}
}

// glance steps a message that was seen beside the session with the broker, while
// the disk takes nothing. It comes again, and is kept then.
func (l *loop) glance(now ward.Instant, m *intake.Message) {
	if l.stepped(now) {
		l.step(now, ward.Input{Tick: true})
	}
	l.in.Decoder().Decode(m, now.Wall, now.Synchronised && !l.ward.Doubts())
	switch {
	case m.Reason != "":
	case m.Class == intake.Relay:
		l.relay(now, m)
	case m.Class == intake.Sensor:
		m.Obs.Received = now.Wall
		l.step(now, ward.Input{Observation: &m.Obs, Glance: true})
		if l.dropped() == "" && l.out.Counts[ward.ReasonLate] == 0 {
			l.watch.frame(m)
		}
	}
}

// look has the ward watched beside the session with the broker for as long as
// messages are not acknowledged, and until what comes by the session is live again.
func (l *loop) look() {
	blind := l.retryAt != 0 || l.stall
	l.behind = l.behind || blind
	l.in.Glance(blind || l.behind)
}

// stepped says whether the wall clock was set since the last message.
func (l *loop) stepped(now ward.Instant) bool {
	was, by := l.drift, now.Wall-now.Mono-l.drift
	l.drift += by
	return was != 0 && (by >= stepTolerance || by <= -stepTolerance)
}

// message steps one message and puts it into the open unit.
func (l *loop) message(now ward.Instant, m *intake.Message) {
	if l.stepped(now) { // before it is asked whether sensors' times may be held against the clock
		l.step(now, ward.Input{Tick: true})
	}
	l.in.Decoder().Decode(m, now.Wall, now.Synchronised && !l.ward.Doubts())
	l.count.message(m)
	u := l.unit(now)
	u.acks = append(u.acks, m)
	if m.Reason != "" {
		l.newer(now, m)
		return
	}
	switch m.Class {
	case intake.Sensor:
		m.Obs.Received = now.Wall
		l.step(now, ward.Input{Observation: &m.Obs})
		if reason := l.dropped(); reason != "" {
			l.count.setAside(m.Source.Name, reason, fmt.Sprintf("sensor %s: %s", m.Sensor, reasonText[reason]))
			return
		}
		l.count.late(m.Source.Name, l.out.Counts[ward.ReasonLate])
		u.commit.Frames = append(u.commit.Frames, outbox.Frame{Topic: m.Topic, Source: m.Source.Name, Received: now.Wall, Payload: m.Payload})
		l.relayOf[m.Sensor] = m.Relay
		if l.out.Counts[ward.ReasonLate] == 0 { // a screen's sweep shows now
			l.watch.frame(m)
			l.behind = false
		}
	case intake.Relay:
		l.relay(now, m)
	case intake.Response:
		l.response(now, m)
	}
}

// reasonText says what a whole message was set aside for by the ward.
var reasonText = map[string]string{
	ward.ReasonUnknownSensor: "no bed of this gateway has it; bind it in the configuration",
	ward.ReasonRepeat:        "this frame was taken before",
	ward.ReasonFuture:        "its time is ahead of what this sensor, or another, said before: is the relay's clock set?",
}

// dropped is why the ward took nothing of the observation just stepped, if so.
func (l *loop) dropped() string {
	for reason := range reasonText {
		if l.out.Counts[reason] > 0 {
			return reason
		}
	}
	return ""
}

// step gives the ward one input and gathers what came of it.
func (l *loop) step(now ward.Instant, in ward.Input) {
	l.part(now)
	l.out.Reset()
	l.ward.Step(now, in, &l.out)
	l.gather(now)
}

func (l *loop) gather(now ward.Instant) {
	if len(l.out.Events)+len(l.out.Summaries)+len(l.out.Beds) == 0 {
		return
	}
	u := l.unit(now)
	for _, e := range l.out.Events {
		l.owe(u, e)
		u.events = append(u.events, e)
		u.urgent = true
	}
	for i := range l.out.Summaries {
		s := &l.out.Summaries[i]
		u.add(link.Vitals, link.VitalsSummary, s.End, must(proto.Marshal(summaryMessage(s))))
	}
	for _, b := range l.out.Beds {
		u.beds[b] = struct{}{}
		u.urgent = true
		if l.retryAt != 0 || l.answer != nil {
			l.untold[b] = struct{}{}
		}
	}
}

// untilTick is how long it is until the ward's time passes on its grid again, so
// that a delay which runs out then is not looked at up to a second later.
func (l *loop) untilTick() time.Duration {
	return time.Duration(l.ward.UntilTick(l.cfg.Clock())) * time.Microsecond
}

// tick lets time pass, and tells the ward what the shell has learnt since.
func (l *loop) tick() {
	now := l.cfg.Clock()
	l.learn(now)
	l.takeFacts(now)
	l.step(now, ward.Input{Tick: true})
	l.look()
	l.watch.publish(l.ward, now)
}

func (l *loop) takeFacts(now ward.Instant) {
	for _, f := range l.facts.changed() {
		l.step(now, f)
	}
}

// do runs f on the loop and waits for it; f must not block.
func (l *loop) do(ctx context.Context, f func(ward.Instant)) error {
	return l.call(ctx, func(now ward.Instant, done func()) {
		f(now)
		done()
	})
}

// call runs f on the loop and waits until it says that it is done.
func (l *loop) call(ctx context.Context, f func(now ward.Instant, done func())) error {
	done := make(chan struct{})
	select {
	case l.calls <- func(now ward.Instant) { f(now, func() { close(done) }) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
