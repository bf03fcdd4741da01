package link

import (
	"errors"
	"fmt"
	"slices"

	"wardline/shared/link/linkpb"
)

// Bounds of the window: how many bytes of batches may be unacknowledged. The
// window of alerts stands apart and is fixed, so that nothing else fills it.
const (
	minWindow   = 2 * MaxMessage
	firstWindow = 4 * MaxMessage
	maxWindow   = 4 << 20
	alertWindow = 1 << 20
)

// queueBound is how much longer, in µs, than the quickest round trip a batch may
// take before the window counts as filling queues on the way.
const queueBound = 100e3

// stallAfter is how long, in µs, batches may be out without any Ack before the
// session is worth nothing: an answer was lost, or the other end is stuck.
const stallAfter = 30e6

// ErrDiverged means that the cloud and this outbox do not have the same lanes
// behind them: the disk went back in time, or the cloud did. The outbox must
// begin a new epoch.
var ErrDiverged = errors.New("the cloud's lanes are not this outbox's")

// Sender is the gateway's half of a session: it decides which lane goes next and
// how much may be on its way. It is not safe for use by several goroutines.
//
// Its now is µs on any clock that never jumps.
type Sender struct {
	lanes  [len(Lanes) + 1]sendLane
	flying []flight
	last   Lane  // of the batch before
	vtime  int64 // the pass of the lane that was served last

	window   int   // bytes, of all lanes but alerts
	limit    int   // the window's upper bound
	rtt      int64 // smoothed, µs
	quickest int64 // round trip, µs; 0 = none yet
	shrunk   int64 // when the window was last made smaller
	moved    int64 // when an Ack last told something new
}

type sendLane struct {
	sent, acked, last uint64
	flying            int   // bytes
	pass              int64 // bytes sent by weight: the lane with the least goes next
}

type flight struct {
	lane  Lane
	last  uint64
	bytes int
	at    int64
}

// NewSender begins a session with what the cloud's Welcome and the outbox say.
// hashAt is the running hash after a seq, false where the outbox does not know
// it (inside a hole, or before what is kept). It fails with [ErrDiverged]. A cloud
// that lacks what it had once acknowledged is sent it again: what is not kept any
// more, read has to give as a hole.
//
// What the Welcome says is durable may be forgotten: see [Sender.Durable].
func NewSender(w *linkpb.Welcome, lanes []LaneState, hashAt func(Lane, uint64) (Hash, bool)) (*Sender, error) {
	s := &Sender{window: firstWindow, limit: maxWindow}
	if n := int(w.GetLimits().GetWindow()); n > 0 {
		s.limit = max(minWindow, min(maxWindow, n))
	}
	s.window = min(s.window, s.limit)
	through := map[Lane]*linkpb.Durable{}
	for _, d := range w.Lanes {
		through[Lane(d.Lane)] = d
	}
	for _, l := range lanes {
		d := through[l.Lane]
		n := d.GetThrough()
		switch hash, known := hashAt(l.Lane, n); {
		case n > l.Last:
			return nil, fmt.Errorf("%w: it has %s up to %d, which ends here at %d", ErrDiverged, l.Lane, n, l.Last)
		case n > 0 && known && hash != Hash(d.Hash):
			return nil, fmt.Errorf("%w: %s differ up to %d", ErrDiverged, l.Lane, n)
		}
		s.lanes[l.Lane] = sendLane{sent: n, acked: n, last: l.Last}
	}
	return s, nil
}

// Durable is how far a lane is durable in the cloud: the outbox may forget it.
func (s *Sender) Durable(lane Lane) uint64 { return s.lanes[lane].acked }

// Grow tells how far the outbox's lanes reach now.
func (s *Sender) Grow(lanes []LaneState) {
	for _, l := range lanes {
		s.lanes[l.Lane].last = max(s.lanes[l.Lane].last, l.Last)
	}
}

// Alert reports whether an alert waits and the batch before was not one: then
// [Sender.Next] comes before anything else that there is to write.
func (s *Sender) Alert() bool { return s.last != Alerts && s.ready(Alerts) }

// Ready reports whether [Sender.Next] has a batch to send.
func (s *Sender) Ready() bool { return s.pick() != 0 }

func (s *Sender) ready(lane Lane) bool {
	l := &s.lanes[lane]
	if l.sent >= l.last {
		return false
	}
	if lane == Alerts {
		return l.flying < alertWindow
	}
	return s.bulk() < s.window
}

// bulk is what is in flight of all lanes but alerts.
func (s *Sender) bulk() int {
	n := 0
	for _, lane := range Lanes[1:] {
		n += s.lanes[lane].flying
	}
	return n
}

// pick is the lane whose turn it is, 0 for none. Alerts go next unless the batch
// before was one already; then the shares decide, so that other lanes get theirs
// while many alerts are waiting.
func (s *Sender) pick() Lane {
	if s.Alert() {
		return Alerts
	}
	var best Lane
	for _, lane := range Lanes {
		if s.ready(lane) && (best == 0 || s.lanes[lane].pass < s.lanes[best].pass) {
			best = lane
		}
	}
	return best
}

// Next is the batch to write now, nil when there is none or the window is full.
// read gives records of a lane after a seq, at least one when there is one and
// else at most about so many bytes: [Record.Size] of each. wall (µs UTC) is what
// records' times are held against.
func (s *Sender) Next(wall, now int64, read func(lane Lane, after uint64, maxBytes int) ([]Record, error)) (*linkpb.Batch, error) {
	for _, lane := range Lanes {
		if l := &s.lanes[lane]; l.sent >= l.last {
			l.pass = max(l.pass, s.vtime) // time without work earns no share
		}
	}
	lane := s.pick()
	if lane == 0 {
		return nil, nil
	}
	l := &s.lanes[lane]
	records, err := read(lane, l.sent, batchBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", lane, err)
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("read %s: nothing after %d, though it reaches %d", lane, l.sent, l.last)
	}
	if from, err := records[0].from(); err != nil || from > l.sent+1 {
		return nil, fmt.Errorf("read %s: %w", lane, errors.Join(err, &GapError{lane, l.sent + 1, from}))
	}
	records, late := cut(lane, records, wall)
	b, err := Pack(lane, records, late)
	if err != nil {
		return nil, err
	}
	s.send(now, lane, records[len(records)-1].Seq, len(b.Packed)+32)
	return b, nil
}

// cut keeps as many records as one batch may hold that are all late or all not.
func cut(lane Lane, records []Record, wall int64) ([]Record, bool) {
	late := func(r Record) bool { return wall-r.Observed > lane.liveBound() }
	size := 0
	for i, r := range records {
		size += r.Size()
		if i > 0 && (size > batchBytes || i == MaxRecords || late(r) != late(records[0])) {
			return records[:i], late(records[0])
		}
	}
	return records, late(records[0])
}

func (s *Sender) send(now int64, lane Lane, last uint64, bytes int) {
	l := &s.lanes[lane]
	s.vtime = max(s.vtime, l.pass)
	l.sent, l.last = last, max(last, l.last)
	l.flying += bytes
	l.pass += int64(bytes) * 8 / lane.weight()
	s.last = lane
	s.flying = append(s.flying, flight{lane, last, bytes, now})
}

// Ack takes the cloud's word and reports whether it told something new. It fails
// when the cloud acknowledges what it was never sent.
func (s *Sender) Ack(now int64, a *linkpb.Ack) (bool, error) {
	lane := Lane(a.Lane)
	l := &s.lanes[lane]
	if a.Through > l.sent {
		return false, fmt.Errorf("%s acknowledged up to %d, sent up to %d", lane, a.Through, l.sent)
	}
	if a.Through <= l.acked {
		return false, nil
	}
	full := s.bulk()+MaxMessage > s.window
	l.acked, s.moved = a.Through, now
	bytes, took := 0, int64(-1)
	s.flying = slices.DeleteFunc(s.flying, func(f flight) bool {
		if f.lane != lane || f.last > a.Through {
			return false
		}
		bytes, took = bytes+f.bytes, now-f.at
		return true
	})
	l.flying -= bytes
	if took >= 0 {
		s.adapt(now, took, bytes, full && lane != Alerts)
	}
	return true, nil
}

// adapt sizes the window: it doubles each round trip while it is full and round
// trips stay near the quickest, and gives back a quarter, once a round trip,
// when they do not.
func (s *Sender) adapt(now, took int64, bytes int, full bool) {
	took = max(took, 1)
	if s.quickest == 0 {
		s.quickest, s.rtt = took, took
	}
	s.quickest = min(s.quickest, took)
	s.rtt += (took - s.rtt) / 8
	switch {
	case took > max(2*s.quickest, s.quickest+queueBound):
		if now-s.shrunk > s.rtt {
			s.window, s.shrunk = max(minWindow, s.window*3/4), now
		}
	case full:
		s.window = min(s.limit, s.window+bytes)
	}
}

// RTT is the smoothed time from a batch to its Ack, µs; 0 before the first.
func (s *Sender) RTT() int64 { return s.rtt }

// Window is how many bytes may be in flight now, beside alerts.
func (s *Sender) Window() int { return s.window }

// StallsAt is when (µs) the session is to be given up unless an Ack comes that
// tells something new; false when nothing is out.
func (s *Sender) StallsAt() (int64, bool) {
	if len(s.flying) == 0 {
		return 0, false
	}
	return max(s.flying[0].at, s.moved) + stallAfter, true
}
