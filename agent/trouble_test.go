package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"wardline/agent/internal/local"
	"wardline/agent/internal/outbox"
	"wardline/shared/alert"
	"wardline/shared/link"
)

// rig is a whole agent, its clock and its broker in a bubble. The broker gives
// what the test says, and remembers what was acknowledged and published.
type rig struct {
	t     *testing.T
	dir   string
	began time.Time
	stop  context.CancelFunc
	ended chan error

	mu     sync.Mutex // guards what follows
	conn   net.Conn   // of the session
	eye    net.Conn   // of the client that looks on beside it; nil = none
	window int        // messages that may be unacknowledged; 0 = any number
	queue  []*packets.PublishPacket
	up     chan struct{}
	next   uint16
	given  map[uint16]string // what is not acknowledged, by packet
	acked  []string          // topics and payloads, in their order
	shown  map[string]string // retained, by topic
	fault  func(point string) error
	faults int
}

// deaf is a listener to which nobody comes.
type deaf struct {
	once sync.Once
	gone chan struct{}
}

func (d *deaf) Accept() (net.Conn, error) { <-d.gone; return nil, net.ErrClosed }
func (d *deaf) Close() error              { d.once.Do(func() { close(d.gone) }); return nil }
func (d *deaf) Addr() net.Addr            { return &net.UnixAddr{Name: "deaf"} }

func newRig(t *testing.T, dir string, inflight ...int) *rig {
	t.Helper()
	r := &rig{t: t, dir: dir, began: time.Now(), ended: make(chan error, 1), up: make(chan struct{}, 8), given: map[uint16]string{}, shown: map[string]string{}}
	c := testConfig(dir)
	if len(inflight) > 0 {
		r.window, c.MQTT.Inflight = inflight[0], inflight[0]
	}
	c.Clock = r.clock
	c.DialBroker = r.dial
	c.Listen = func(string, string) (net.Listener, error) { return &deaf{gone: make(chan struct{})}, nil }
	c.Fault = func(point string) error {
		r.mu.Lock()
		f := r.fault
		r.mu.Unlock()
		if f == nil {
			return nil
		}
		err := f(point)
		if err != nil {
			r.mu.Lock()
			r.faults++
			r.mu.Unlock()
		}
		return err
	}
	c.Log = slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.ended <- Run(ctx, c) }()
	<-r.up
	return r
}

func (r *rig) clock() Instant {
	return Instant{Boot: 1, Mono: 1_000_000 + time.Since(r.began).Microseconds(), Wall: time.Now().UnixMicro(), Synchronised: true}
}

func (r *rig) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { // ends when near is closed
		eye := false
		for {
			p, err := packets.ReadPacket(far)
			if err != nil {
				far.Close()
				r.mu.Lock()
				if r.eye == far {
					r.eye = nil
				}
				r.mu.Unlock()
				return
			}
			if c, ok := p.(*packets.ConnectPacket); ok {
				eye = strings.HasPrefix(c.ClientIdentifier, "eye-")
			}
			r.packet(far, p, eye)
		}
	}()
	return near, nil
}

// packet answers as a broker that had this agent's session before. Nothing is held
// while it writes, since the other end may be gone.
func (r *rig) packet(c net.Conn, p packets.ControlPacket, eye bool) {
	if reply := r.take(c, p, eye); reply != nil {
		reply.Write(c)
	}
}

func (r *rig) take(c net.Conn, p packets.ControlPacket, eye bool) packets.ControlPacket {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch p := p.(type) {
	case *packets.ConnectPacket:
		ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
		ack.SessionPresent = !eye
		return ack
	case *packets.SubscribePacket:
		ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
		ack.MessageID, ack.ReturnCodes = p.MessageID, make([]byte, len(p.Topics))
		if eye {
			r.eye = c
			return ack
		}
		r.conn = c
		select {
		case r.up <- struct{}{}:
		default:
		}
		return ack
	case *packets.PublishPacket:
		r.shown[p.TopicName] = string(p.Payload)
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		return ack
	case *packets.PubackPacket:
		r.acked = append(r.acked, r.given[p.MessageID])
		delete(r.given, p.MessageID)
		if len(r.queue) > 0 {
			next := r.queue[0]
			r.queue = r.queue[1:]
			r.given[next.MessageID] = next.TopicName + " " + string(next.Payload)
			return next
		}
	case *packets.PingreqPacket:
		return packets.NewControlPacket(packets.Pingresp)
	}
	return nil
}

// give delivers one message of QoS 1, at once or when the window has room, and to
// who looks on beside the session.
func (r *rig) give(topic, payload string) {
	r.t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos = topic, []byte(payload), 1
	r.mu.Lock()
	r.next = r.next%65_000 + 1
	p.MessageID = r.next
	c, eye := r.conn, r.eye
	waits := r.window > 0 && len(r.given) >= r.window
	if waits {
		r.queue = append(r.queue, p)
	} else {
		r.given[p.MessageID] = topic + " " + payload
	}
	r.mu.Unlock()
	if !waits {
		if err := p.Write(c); err != nil {
			r.t.Fatal(err)
		}
	}
	if eye != nil {
		q := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		q.TopicName, q.Payload = topic, []byte(payload)
		eye.SetWriteDeadline(time.Now().Add(time.Second))
		q.Write(eye) // it may be gone by now
	}
}

func (r *rig) hurt(f func(point string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

// story is what the patients of two beds say in a minute and a half: one has an
// alert that is latched, the other two that end.
func (r *rig) story(second int) {
	s1, s2 := 72, 72
	if second >= 10 && second < 25 {
		s1 = 190
	}
	if second >= 15 && second < 40 || second >= 60 && second < 75 {
		s2 = 130
	}
	for sensor, hr := range map[string]int{"S1": s1, "S2": s2} {
		r.give("wl/1/r/"+sensor+"/json", fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":%d,"contact":true}`, time.Now().UnixMicro(), second+1, hr))
	}
}

const storyLasts = 90 // s

// tell tells the story, a second at a time, with at called before each.
func (r *rig) tell(at func(second int)) {
	for second := range storyLasts {
		at(second)
		r.story(second)
		time.Sleep(time.Second)
	}
	time.Sleep(5 * time.Second)
	synctest.Wait()
}

func (r *rig) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.ended; err != nil {
		r.t.Fatal(err)
	}
}

// held is what a data folder holds: the frames' payloads and the alerts' events in
// their order, but for what is said of the disk itself.
func (r *rig) held(dir string) (frames, events []string) {
	r.t.Helper()
	frames, events, disorder := r.read(dir)
	if len(disorder) > 0 {
		r.t.Errorf("out of order: %v", disorder)
	}
	return frames, events
}

func (r *rig) read(dir string) (frames, events, disorder []string) {
	r.t.Helper()
	b := start(r.t, dir, Instant{Boot: 9, Mono: 1e6, Wall: time.Now().UnixMicro(), Synchronised: true})
	for batch, err := range b.disk.box.Load().Frames(0) {
		if err != nil {
			r.t.Fatal(err)
		}
		for _, f := range batch.Frames {
			frames = append(frames, f.Topic+" "+string(f.Payload))
		}
	}
	rules, ns := map[alert.ID]string{}, map[alert.ID]uint32{}
	for _, x := range b.records(link.Alerts) {
		var e alert.Event
		if err := json.Unmarshal(x.Payload, &e); err != nil {
			r.t.Fatal(err)
		}
		if e.Condition != nil {
			rules[e.Alert] = e.Condition.Rule
		}
		if rule := rules[e.Alert]; rule != "disk-failing" && rule != "storage-damaged" && e.Type != alert.Updated {
			events = append(events, rule+" "+string(e.Type))
		}
		if e.N <= ns[e.Alert] {
			disorder = append(disorder, fmt.Sprintf("event %d of %s after event %d", e.N, rules[e.Alert], ns[e.Alert]))
		}
		ns[e.Alert] = e.N
	}
	b.disk.Close()
	return frames, events, disorder
}

// crash is a copy of the data folder as it is now.
func (r *rig) crash() string {
	r.t.Helper()
	dir := r.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(r.dir)); err != nil {
		r.t.Fatal(err)
	}
	return dir
}

// acknowledgedIsKept holds what was acknowledged so far against a crash now.
func (r *rig) acknowledgedIsKept(when string) {
	r.t.Helper()
	r.mu.Lock()
	acked := slices.Clone(r.acked)
	r.mu.Unlock()
	frames, _, _ := r.read(r.crash())
	for _, p := range acked {
		if !slices.Contains(frames, p) {
			r.t.Fatalf("%s, %s is acknowledged and not kept", when, p)
		}
	}
}

func (r *rig) lamp(bed string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown[local.AlertsTopic("7w", bed)]
}

func once(f func() error) func() error {
	done := false
	return func() error {
		if done {
			return nil
		}
		done = true
		return f()
	}
}

var errDisk = errors.New("the disk says no")

// failing is the disk's error at a point.
func failing(at string, err error) func(string) error {
	return func(point string) error {
		if point == at {
			return err
		}
		return nil
	}
}

// TestPromise1And2WhateverHappensToACommitTheWardIsAlertedAndNothingIsLost tells
// the same story with a disk that works and with ones that do not, from before the
// first alert on, and wants the same of each in the end.
func TestPromise1And2WhateverHappensToACommitTheWardIsAlertedAndNothingIsLost(t *testing.T) {
	var want []string
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		r.tell(func(int) {})
		r.end()
		_, want = r.held(r.dir)
	})
	if len(want) < 5 {
		t.Fatalf("the story has the alerts %v only", want)
	}
	stall := func(err error) func(string) error {
		first := once(func() error { time.Sleep(5 * time.Second); return err })
		return func(point string) error {
			if point == BeforeCommit {
				return first()
			}
			return nil
		}
	}
	damaged := once(func() error { return fmt.Errorf("keep a commit: %w", outbox.ErrDamaged) })
	for name, x := range map[string]struct {
		from, to int // the story's seconds
		fault    func(string) error
		told     bool // that the disk fails
	}{
		"an error and nothing kept": {12, 32, failing(BeforeCommit, errDisk), true},
		"an error but it was kept":  {12, 19, failing(AfterCommit, errDisk), false}, // which the disk says when it is asked
		"a stall of 5 s":            {13, 20, stall(nil), false},
		"a stall that ends in an error": {13, 25, func() func(string) error {
			first, then := stall(errDisk), failing(BeforeCommit, errDisk)
			return func(point string) error { return errors.Join(first(point), then(point)) }
		}(), true},
		"a stall of 20 s": {13, 33, func() func(string) error {
			first := once(func() error { time.Sleep(20 * time.Second); return nil })
			return func(point string) error {
				if point == BeforeCommit {
					return first()
				}
				return nil
			}
		}(), true},
		"damage while several wait": {12, 33, func() func(string) error {
			n := 0
			return func(point string) error {
				if point != BeforeCommit {
					return nil
				}
				if n++; n < 12 {
					return errDisk
				}
				return damaged()
			}
		}(), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, t.TempDir())
				quiet := 0
				r.tell(func(second int) {
					switch second {
					case x.from:
						synctest.Wait()
						r.hurt(x.fault)
					case x.from + 3:
						r.mu.Lock()
						quiet = len(r.acked)
						r.mu.Unlock()
						r.acknowledgedIsKept("in the middle")
					case 18: // raised at 15 s
						if s := r.lamp("1"); !strings.Contains(s, `/hr-extreme-high"`) {
							t.Errorf("the lamp is shown %s", s)
						} else if x.to > 20 && x.told && !strings.Contains(s, `"durable":false`) {
							t.Errorf("the lamp shows as durable what is not: %s", s)
						}
					case x.to:
						if told := strings.Contains(r.lamp(""), `/disk-failing"`); told != x.told && name != "damage while several wait" {
							t.Errorf("that the disk fails is told: %v, want %v: %s", told, x.told, r.lamp(""))
						}
						r.acknowledgedIsKept("at its end")
						r.hurt(nil)
					case x.to + 15:
						if s := r.lamp("1"); !strings.Contains(s, `/hr-extreme-high"`) || strings.Contains(s, `"durable":false`) {
							t.Errorf("when it is over the lamp is shown %s", s)
						}
					}
				})
				r.end()
				if len(r.given) > 0 || len(r.acked) != 2*storyLasts || quiet == 0 {
					t.Errorf("%d messages are acknowledged and %d are not; %d were in the middle", len(r.acked), len(r.given), quiet)
				}
				frames, events, disorder := r.read(r.dir)
				if name == "damage while several wait" { // each open alert is told anew in the fresh outbox
					all := map[string]bool{}
					for _, e := range events {
						all[e] = true
					}
					for _, e := range want {
						if !all[e] {
							t.Errorf("%s is not told: %v", e, slices.Sorted(maps.Keys(all)))
						}
					}
					return
				}
				if len(disorder) > 0 {
					t.Errorf("out of order: %v", disorder)
				}
				if !slices.Equal(events, want) {
					t.Errorf("the cloud is told\n%v, without the trouble\n%v", events, want)
				}
				if n := len(frames); n != 2*storyLasts || len(slices.Compact(slices.Sorted(slices.Values(frames)))) != n {
					t.Errorf("%d frames are kept, want %d", n, 2*storyLasts)
				}
			})
		})
	}
}
