// Package intake takes the ward's messages from the MQTT broker and makes
// observations of them.
//
// It promises that a message is acknowledged to the broker only when its taker
// says so, after the commit: until then the broker keeps it, and gives it again
// after a reconnect or a restart. So a taker must bear repeats. Everything that
// is refused carries a stable Reason and a sentence that says what, where and
// what was meant; refusing one thing changes nothing else.
//
// A connection is one paho client's life: this package reconnects by making a
// new one, with the same id and a session that the broker keeps. paho's own
// reconnecting is not used, because it would send again what was published
// before the cut, after what was published since.
//
// When the queue is full, nothing is read for a while, so that the broker holds
// back: mosquitto 2.0.11 gives many times its in-flight window to a client that
// acknowledges many messages at a time. When there is still no room, a message
// is dropped unacknowledged and counted, and the connection is made anew once the
// queue has been emptied to half, which makes the broker give it again.
//
// It decides nothing about patients: which sensors are known, what is a repeat
// and what is late is for the ward to say.
package intake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// Config says where the broker is and what is wanted of it.
type Config struct {
	Dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil = TCP
	URL      string                                                               // tcp://host:port or tls://host:port
	ClientID string                                                               // fixed, and no other client's; the broker keeps the session under it
	Username string
	Password string
	TLS      *tls.Config // for tls://; nil = the system's roots

	Sources []Source
	Wards   []string // whose response topics are listened to

	// Will is published by the broker when this gateway falls silent, and by Run
	// before it ends. Topic "" = none.
	WillTopic   string
	WillPayload []byte

	// TopicsFile remembers what was subscribed, so that what is no longer wanted
	// is unsubscribed from the session that the broker keeps, and so that a session
	// which the broker has forgotten is missed; "" = not remembered.
	TopicsFile string
	// Kept is when the last message of an earlier life was received that is kept,
	// µs UTC; 0 = not known. What comes after it may be missing when the broker has
	// forgotten the session.
	Kept int64
	// Volatile is a broker that confirms to a relay only what was acknowledged to
	// it: a session that it forgets loses nothing.
	Volatile bool

	// Queue is how many messages may wait; 0 means 8,192. It must exceed the
	// broker's in-flight window (mosquitto: max_inflight_messages).
	Queue int
	// Quiet is how long a connection may bring nothing before its subscriptions
	// are made again, which proves the way there and back; 0 means 60 s.
	Quiet time.Duration
	// KeepAlive of the connection; 0 means 10 s. A broker that falls silent
	// is found out within two and a half times that, one that never answers a
	// connection within 20 s.
	KeepAlive time.Duration

	Connected func(bool)   // is told of each change, in order; nil = nobody
	Log       *slog.Logger // nil = slog.Default()
	Now       func() int64 // µs UTC, for Message.Received; nil = the system's clock
}

func (c Config) withDefaults() Config {
	if c.Queue == 0 {
		c.Queue = 8192
	}
	if c.Quiet == 0 {
		c.Quiet = time.Minute
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = 10 * time.Second
	}
	if c.Connected == nil {
		c.Connected = func(bool) {}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMicro() }
	}
	return c
}

// Status is how the way to the broker is.
type Status struct {
	Connected bool
	Since     int64  // of Connected, µs UTC; 0 = never connected
	LastError string // why it is not connected, or why it was cut last
	// Twin is set when the connection is cut again and again right after it was
	// made: another client uses the same id.
	Twin bool

	Refused []string // topic filters that the broker did not grant

	Received   int64  // messages
	Waiting    int    // in the queue
	Overflowed int64  // dropped unacknowledged because the queue was full; the broker gives them again
	Lost       int64  // the same, of QoS 0: the broker does not
	Sessions   int64  // connections made
	Forgotten  uint64 // sessions that the broker had kept and did not know any more
	Gap        Gap    // the newest one's: from when to when messages may be missing
	Requieted  int64  // times that nothing came for Quiet and everything was subscribed again
}

// Intake is one gateway's way in from its broker, and out to the ward.
type Intake struct {
	c       Config
	decoder *Decoder
	filters []string
	gaps    *gaps
	glances *glances

	queue chan *Message
	ready chan struct{} // holds one when the queue has something that was not seen
	again chan struct{} // holds one when the connection must be made anew
	out   chan publication

	mu      sync.Mutex // guards what follows; never held across I/O
	status  Status
	flooded bool // a message was dropped that the broker must give again
}

// New checks a configuration. Its errors name the source and what was meant.
func New(c Config) (*Intake, error) {
	c = c.withDefaults()
	d, err := NewDecoder(c.Sources, c.Wards)
	if err != nil {
		return nil, err
	}
	if c.ClientID == "" {
		return nil, errors.New("the broker needs a client id: it keeps the session under it")
	}
	if _, err := parseURL(c.URL); err != nil {
		return nil, err
	}
	return &Intake{
		c: c, decoder: d, filters: d.filters(), gaps: newGaps(c), glances: newGlances(),
		queue: make(chan *Message, c.Queue), ready: make(chan struct{}, 1), again: make(chan struct{}, 1),
		out: make(chan publication, maxPublications),
	}, nil
}

// Decoder is the one that Decode uses; a replay of kept frames uses it too.
func (in *Intake) Decoder() *Decoder { return in.decoder }

// Ready holds a value when messages may be waiting, for a select; Next then
// returns at once.
func (in *Intake) Ready() <-chan struct{} { return in.ready }

// Next returns up to max messages: at once what is there, else it waits at most
// wait for the first. It returns none when the time is over, and an error only
// when ctx ends. The messages are not decoded yet.
func (in *Intake) Next(ctx context.Context, max int, wait time.Duration) ([]*Message, error) {
	batch := in.take(nil, max)
	if len(batch) > 0 || wait <= 0 {
		return batch, ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case m := <-in.queue:
		return in.take([]*Message{m}, max), nil
	case <-timer.C:
		return nil, ctx.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (in *Intake) take(batch []*Message, max int) []*Message {
	for len(batch) < max {
		select {
		case m := <-in.queue:
			batch = append(batch, m)
			continue
		default:
		}
		break
	}
	if len(in.queue) > 0 {
		signal(in.ready)
	}
	in.drained()
	return batch
}

// drained asks for a new connection when messages were dropped and there is
// room for them again.
func (in *Intake) drained() {
	if len(in.queue) > in.c.Queue/2 {
		return
	}
	in.mu.Lock()
	flooded := in.flooded
	in.flooded = false
	in.mu.Unlock()
	if flooded {
		signal(in.again)
	}
}

// put is called by the session for each message, and gives up waiting for room
// when the session is over.
func (in *Intake) put(m *Message, qos byte, over <-chan struct{}) {
	kept := in.queued(m, over)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.status.Received++
	switch {
	case kept:
	case qos == 0:
		in.status.Lost++
	default:
		in.status.Overflowed++
		in.flooded = true
	}
}

// queued puts m on the queue. While that is full it waits, so that nothing more
// is read and the broker holds back; but not so long that the connection seems
// dead, and not again before what was dropped then has been asked for.
func (in *Intake) queued(m *Message, over <-chan struct{}) bool {
	select {
	case in.queue <- m:
		signal(in.ready)
		return true
	default:
	}
	in.mu.Lock()
	flooded := in.flooded
	in.mu.Unlock()
	if flooded {
		return false
	}
	patience := time.NewTimer(in.c.KeepAlive / 2)
	defer patience.Stop()
	select {
	case in.queue <- m:
		signal(in.ready)
		return true
	case <-patience.C:
	case <-over:
	}
	return false
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Status tells how the way to the broker is.
func (in *Intake) Status() Status {
	in.mu.Lock()
	defer in.mu.Unlock()
	s := in.status
	s.Refused = slices.Clone(s.Refused)
	s.Waiting = len(in.queue)
	in.gaps.mu.Lock()
	defer in.gaps.mu.Unlock()
	s.Forgotten, s.Gap = in.gaps.count, in.gaps.last
	return s
}

// ErrNotConnected means that nothing can be published now. What is retained is
// published again by its owner when Connected says true.
var ErrNotConnected = errors.New("not connected to the broker")

// ErrBusy means that maxPublications wait already.
var ErrBusy = errors.New("too much waits to be published")

// maxPublications is how many may wait to be sent, and how many to be confirmed.
const maxPublications = 1024

type publication struct {
	topic    string
	retained bool
	payload  []byte
	done     func(error)
}

// Publish sends one message of QoS 1 and does not wait: those of one caller are
// sent in order. When it returns nil, done (if not nil) is called once: with nil
// when the broker has confirmed it, else with an error, such as ErrNotConnected
// when the connection broke before; then nothing is known and nothing is sent
// again. done must not block. The payload belongs to Publish from now on.
func (in *Intake) Publish(topic string, retained bool, payload []byte, done func(error)) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.status.Connected {
		return fmt.Errorf("publish %s: %w", topic, ErrNotConnected)
	}
	select {
	case in.out <- publication{topic, retained, payload, done}:
		return nil
	default:
		return fmt.Errorf("publish %s: %w", topic, ErrBusy)
	}
}
