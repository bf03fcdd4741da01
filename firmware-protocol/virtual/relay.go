package virtual

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/firmware-protocol/frame"
)

// stateEvery is how often the relay says how it is (SPEC §11).
const stateEvery = time.Minute

// catchUp is how many frames that waited go out with each new one.
const catchUp = 4

// relay is one run; everything in it is owned by its loop.
type relay struct {
	cfg     Config
	sensors []*sensor
	byName  map[string]*sensor
	conn    *conn

	start time.Time
	every time.Duration // between two frames of one sensor, in sensor time
	sent  int64
	ended int // sensors whose recording is over
}

// Run is a virtual relay until ctx ends, what it plays is over, or the broker
// cannot be reached at the start. Later losses of the broker it sits out, and
// then sends what it held. It returns nil when it has done what c asks.
func Run(ctx context.Context, c Config) error {
	if err := c.complete(); err != nil {
		return fmt.Errorf("virtual relay: %w", err)
	}
	r := &relay{cfg: c, byName: map[string]*sensor{}, start: time.Now(), every: c.FrameEvery}
	if c.Leads > 0 || c.Records != nil {
		r.every = time.Duration(samples(c.FrameEvery)) * SampleUS * time.Microsecond
	}
	if r.cfg.Boot == 0 {
		r.cfg.Boot = uint32(r.start.Unix())
	}
	if err := r.open(); err != nil {
		return fmt.Errorf("virtual relay: %w", err)
	}
	conn, err := connect(ctx, &r.cfg, r.state())
	if err != nil {
		return fmt.Errorf("virtual relay: %w", err)
	}
	r.conn = conn
	err = r.loop(ctx)
	conn.close(ctx.Err() == nil)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("virtual relay: %w", err)
	}
	return nil
}

// open makes the sensors. Their clocks begin so that frames are spread evenly
// over an interval and, for history, so that its end is at the now of the end.
func (r *relay) open() error {
	if r.cfg.Speed > 1 && r.cfg.Length == 0 {
		longest, err := r.longest()
		if err != nil {
			return err
		}
		r.cfg.Length = longest
	}
	back := time.Duration(0)
	if r.cfg.Speed > 1 {
		back = r.cfg.Length - r.real(r.cfg.Length)
	}
	n := len(r.cfg.SensorNames())
	sensors, err := newSensors(&r.cfg, func(i int) time.Time { return r.start.Add(r.phase(i, n) - back) })
	if err != nil {
		return err
	}
	r.sensors = sensors
	for _, s := range sensors {
		r.byName[s.name] = s
	}
	return nil
}

// real is how long it takes to play d.
func (r *relay) real(d time.Duration) time.Duration {
	return time.Duration(float64(d) / r.cfg.Speed)
}

// phase is by how much sensor i of n is behind the first.
func (r *relay) phase(i, n int) time.Duration {
	if r.cfg.Unpaced {
		return 0
	}
	return r.real(r.every) * time.Duration(i) / time.Duration(n)
}

// longest is what is left of the longest record.
func (r *relay) longest() (time.Duration, error) {
	records, err := openRecords(r.cfg.Records)
	longest := time.Duration(0)
	for _, rec := range records {
		longest = max(longest, time.Duration(float64(rec.Len())/rec.Frequency*1e9)-r.cfg.From)
	}
	return longest, err
}

// loop sends each sensor's frames in turn, each when it is due.
func (r *relay) loop(ctx context.Context) error {
	last := int64(math.MaxInt64) // turns
	if r.cfg.Length > 0 {
		last = int64(r.cfg.Length/r.every) * int64(len(r.sensors))
	}
	state := time.NewTicker(stateEvery)
	defer state.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for turn := int64(0); turn < last && r.ended < len(r.sensors); turn++ {
		i := int(turn % int64(len(r.sensors)))
		round := turn/int64(len(r.sensors)) + 1
		if i == 0 {
			r.ended = 0
		}
		due := r.start.Add(r.phase(i, len(r.sensors)) + r.real(time.Duration(round)*r.every))
		if err := r.until(ctx, due, timer, state.C); err != nil {
			return err
		}
		if err := r.turn(ctx, r.sensors[i]); err != nil {
			return err
		}
		if r.cfg.Messages > 0 && r.sent >= r.cfg.Messages {
			return nil
		}
	}
	return nil
}

// until takes requests until due; when that is past, those that are there.
func (r *relay) until(ctx context.Context, due time.Time, timer *time.Timer, state <-chan time.Time) error {
	over := timer.C
	if wait := time.Until(due); wait > 0 && !r.cfg.Unpaced {
		timer.Reset(wait)
	} else {
		over = past
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case q := <-r.conn.requests:
			r.request(q)
		case <-state:
			r.conn.say(r.state())
		case <-over:
			return nil
		}
	}
}

// past is always ready. Among what is ready select picks by chance, so requests
// are taken soon, though not first, by a relay that has fallen behind.
var past = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()

// turn takes one sensor's next frame and sends it.
func (r *relay) turn(ctx context.Context, s *sensor) error {
	t, step := s.at, r.every
	if r.cfg.Unpaced {
		step = max(time.Since(r.start).Truncate(time.Microsecond)-t, 0) // as of this instant
	}
	stamp := frame.Stamp{ReceivedUS: time.Now().UnixMicro(), Clock: pb.Clock_CLOCK_SYNCHRONISED}
	wire, done, err := s.take(step, r.cfg.JSON, stamp)
	if done {
		r.ended++
		return nil
	}
	if err != nil {
		return err
	}
	if s.script.on(Silent, t) || !r.conn.open() {
		s.wait(s.newest)
		return nil
	}
	if err := r.send(ctx, s, wire); err != nil {
		return err
	}
	return r.catchUp(ctx, s)
}

// catchUp sends some of what waited and of what was asked for.
func (r *relay) catchUp(ctx context.Context, s *sensor) error {
	for range catchUp {
		if wire := s.next(&s.unsent); wire != nil {
			if err := r.send(ctx, s, wire); err != nil {
				return err
			}
			r.cfg.Stats.Late.Add(1)
		}
		if wire := s.next(&s.asked); wire != nil {
			if err := r.send(ctx, s, wire); err != nil {
				return err
			}
			r.cfg.Stats.Backfilled.Add(1)
		}
	}
	return nil
}

func (r *relay) send(ctx context.Context, s *sensor, wire []byte) error {
	r.sent++
	return r.conn.publish(ctx, s.topic, wire)
}

// request opens and answers one request.
func (r *relay) request(q request) {
	s := r.byName[q.sensor]
	if s == nil {
		r.cfg.Stats.Refused.Add(1)
		return
	}
	req, err := frame.OpenRequest(q.wire, s.key)
	if err != nil {
		r.cfg.Stats.Refused.Add(1)
		r.cfg.Log.Warn("request refused", "sensor", s.name, "reason", frame.ReasonOf(err), "error", err)
		return
	}
	r.cfg.Stats.Requests.Add(1)
	if id, ok := req.Ask.(*pb.Request_Identify); ok {
		r.cfg.Log.Info("sensor blinks", "sensor", s.name, "seconds", id.Identify.Seconds)
		return
	}
	if b := req.GetBackfill(); b != nil && b.Boot != r.cfg.Boot {
		return // another boot's frames are not held
	}
	s.answer(req)
}

// state is what the relay says of itself.
func (r *relay) state() []byte {
	b, err := json.Marshal(frame.RelayState{Online: true, Firmware: "virtual", Clock: frame.ClockSynchronised,
		UptimeS: int64(time.Since(r.start).Seconds()), Sensors: len(r.sensors)})
	if err != nil {
		panic(err) // a struct of plain values
	}
	return b
}
