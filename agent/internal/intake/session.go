package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"wardline/firmware-protocol/frame"
)

// How a connection is made and kept.
const (
	connectTimeout = 10 * time.Second // for the network and for MQTT's own greeting
	answerTimeout  = 10 * time.Second // for SUBACK and UNSUBACK
	writeTimeout   = 10 * time.Second
	goodbye        = 500 * time.Millisecond
	// Before a second attempt it waits for firstWait, doubled up to lastWait: a broker
	// that has forgotten the session confirms to relays what nobody gets until the
	// topics are subscribed. Twins cut each other off less often.
	firstWait = 500 * time.Millisecond
	lastWait  = 2 * time.Second
	twinWait  = 10 * time.Second
	// A client whose connection is cut by the broker within shortLife of being
	// made, twins times in a row, has a twin.
	shortLife = 5 * time.Second
	twins     = 3
)

// errAgain ends a session because messages were dropped that the broker must
// give again.
var errAgain = errors.New("the queue was full: connecting again so that the broker repeats what was dropped")

// Run keeps a session with the broker until ctx ends, and returns nil then. It
// never gives up: Status says what is wrong meanwhile.
func (in *Intake) Run(ctx context.Context) error {
	u, err := parseURL(in.c.URL)
	if err != nil {
		return err
	}
	looked := make(chan struct{})
	go func() { in.glances.run(ctx, in, u); close(looked) }()
	defer func() { <-looked }()
	wait, short := firstWait, 0
	for ctx.Err() == nil {
		began := time.Now()
		up, err := in.session(ctx, u)
		lived := time.Since(began)
		if up && lived < shortLife && byPeer(err) {
			short++
		} else {
			short = 0
		}
		in.note(err, short >= twins)
		if ctx.Err() != nil {
			break
		}
		switch {
		case up && short == 0:
			wait = firstWait
		case errors.Is(err, errAgain):
			wait = 0
		}
		sleep(ctx, wait/2+rand.N(wait/2+1))
		most := lastWait
		if short >= twins {
			most = twinWait
		}
		wait = min(max(2*wait, firstWait), most)
	}
	return nil
}

// byPeer says whether the broker ended the connection.
func byPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// note writes down why a session ended.
func (in *Intake) note(err error, twin bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		if err.Error() != in.status.LastError {
			in.c.Log.Warn("no broker", "url", in.c.URL, "error", err)
		}
		in.status.LastError = err.Error()
	}
	if twin && !in.status.Twin {
		in.c.Log.Error("the broker cuts the connection right after it was made: another client uses the same id", "client", in.c.ClientID)
	}
	in.status.Twin = twin
	if twin {
		in.status.LastError = fmt.Sprintf("the broker cuts the connection right after it was made: does another client use the id %q?", in.c.ClientID)
	}
}

// session is one connection's life: one paho client, from connect to the end.
type session struct {
	in     *Intake
	client mqtt.Client
	lost   chan error    // holds why the connection broke
	over   chan struct{} // closed when it ends

	mu   sync.Mutex // guards wire, which paho's goroutine opens
	wire *wire
}

// session runs one and says whether it came as far as being subscribed.
func (in *Intake) session(ctx context.Context, u *url.URL) (up bool, err error) {
	s := &session{in: in, lost: make(chan error, 1), over: make(chan struct{})}
	dialing, stop := context.WithCancel(ctx)
	defer stop()
	o := s.options(dialing, u)
	if in.c.WillTopic != "" {
		o.SetBinaryWill(in.c.WillTopic, in.c.WillPayload, 1, true)
	}
	s.client = mqtt.NewClient(o)
	token := s.client.Connect()
	if err := await(ctx, token, 2*connectTimeout); err != nil {
		stop()
		s.end(0)
		token.Wait() // neither dialing nor greeting goes on after this
		return false, fmt.Errorf("connect to the broker: %w", err)
	}
	in.greeted(token.(*mqtt.ConnectToken).SessionPresent())
	if err := s.subscribe(ctx); err != nil {
		s.end(0)
		return false, err
	}
	broken := make(chan struct{})
	ended := make(chan struct{})
	in.connected(true)
	go func() { s.publish(broken); close(ended) }()
	err = s.live(ctx)
	in.connected(false)
	if ctx.Err() != nil && in.c.WillTopic != "" {
		await(context.WithoutCancel(ctx), s.client.Publish(in.c.WillTopic, 1, true, in.c.WillPayload), goodbye)
	}
	close(broken)
	<-ended
	s.end(goodbye)
	return true, err
}

// end leaves nothing of the client running.
func (s *session) end(quiesce time.Duration) {
	close(s.over)
	s.client.Disconnect(uint(quiesce.Milliseconds()))
	s.mu.Lock()
	w := s.wire
	s.mu.Unlock()
	if w != nil {
		w.cut()
	}
}

func (s *session) options(ctx context.Context, u *url.URL) *mqtt.ClientOptions {
	c := s.in.c
	o := mqtt.NewClientOptions().
		AddBroker("tcp://" + u.Host). // open does the rest
		SetClientID(c.ClientID).SetUsername(c.Username).SetPassword(c.Password).
		SetProtocolVersion(4).
		SetCleanSession(false).
		SetAutoAckDisabled(true).
		SetOrderMatters(true).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		SetConnectTimeout(connectTimeout).
		SetWriteTimeout(writeTimeout).
		SetKeepAlive(c.KeepAlive).
		SetPingTimeout(c.KeepAlive).
		SetStore(noStore{}).
		SetDefaultPublishHandler(s.message).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.lost <- err })
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		conn, err := dial(ctx, c.Dial, u, c.TLS, connectTimeout)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), conn.Close())
		}
		s.wire = newWire(conn, writeTimeout)
		return s.wire, nil
	})
	return o
}

// message is paho's handler: it only puts, because while it runs nothing else is
// read from the broker.
func (s *session) message(_ mqtt.Client, p mqtt.Message) {
	payload, size := p.Payload(), len(p.Payload())
	if size > frame.MaxWire { // refused in any case: enough stays to say so
		payload = bytes.Clone(payload[:frame.MaxWire+1])
	}
	m := &Message{Topic: p.Topic(), Payload: payload, size: size, Received: s.in.c.Now(), Retained: p.Retained(), Again: p.Duplicate()}
	m.ack = func() {
		s.in.gaps.kept(m)
		p.Ack()
	}
	s.in.put(m, p.Qos(), s.over)
}

// How often it is asked for topics of which the broker grants none, and how far
// apart. mochi, which the embedded broker is, refuses a packet whose id a message has
// that waits for its acknowledgement. The next packet has the next id, and meanwhile
// what waited is committed.
const (
	askTries = 6
	askAgain = 500 * time.Millisecond
)

// ask subscribes to topics once, and returns those that were not granted.
func (s *session) ask(ctx context.Context, want map[string]byte) (refused []string, err error) {
	token := s.client.SubscribeMultiple(want, nil).(*mqtt.SubscribeToken)
	err = await(ctx, token, answerTimeout)
	select {
	case <-token.Done(): // before that its result is the reader's of the connection
	default:
		return nil, err
	}
	if err != nil && len(token.Result()) == 0 {
		return nil, err
	}
	for f, code := range token.Result() {
		if code > 2 {
			refused = append(refused, f)
		}
	}
	return refused, nil
}

// subscribe asks for all topics and lets go of those that the broker still has
// from an older configuration.
func (s *session) subscribe(ctx context.Context) error {
	want := map[string]byte{}
	for _, f := range s.in.filters {
		want[f] = 1
	}
	refused, err := s.ask(ctx, want)
	for try := 1; err == nil && len(refused) == len(want) && try < askTries; try++ {
		sleep(ctx, askAgain)
		refused, err = s.ask(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	s.in.refused(refused)
	if len(refused) == len(want) {
		return errors.New("subscribe: the broker grants none of the topics: does this client's ACL allow it to read them?")
	}
	if drop := s.in.gaps.dropped(want); len(drop) > 0 {
		if err := await(ctx, s.client.Unsubscribe(drop...), answerTimeout); err != nil {
			return fmt.Errorf("unsubscribe %s: %w", strings.Join(drop, ", "), err)
		}
	}
	if err := s.in.gaps.subscribed(s.in.c.URL, s.in.filters, s.in.c.Now()); err != nil {
		s.in.c.Log.Warn("cannot remember the session with the broker", "error", err)
	}
	return nil
}

// live waits for what ends a session, and looks after a quiet one.
func (s *session) live(ctx context.Context) error {
	quiet := time.NewTimer(s.in.c.Quiet)
	defer quiet.Stop()
	heard := s.in.received()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.lost:
			return fmt.Errorf("the connection to the broker broke: %w", err)
		case <-s.in.again:
			return errAgain
		case <-quiet.C:
		}
		if now := s.in.received(); now == heard {
			asked := s.in.c.Now()
			if err := s.subscribe(ctx); err != nil {
				return fmt.Errorf("nothing came for %s: %w", s.in.c.Quiet, err)
			}
			s.in.requieted()
			if s.in.received() == heard {
				s.in.gaps.whole(asked)
			}
		}
		heard = s.in.received()
		quiet.Reset(s.in.c.Quiet)
	}
}

// publish sends what Publish was given, in order, until broken is closed, and
// calls every done.
func (s *session) publish(broken <-chan struct{}) {
	type sent struct {
		token mqtt.Token
		done  func(error)
	}
	flying := make(chan sent, maxPublications)
	confirmed := make(chan struct{})
	go func() { // ends when flying is closed, below
		defer close(confirmed)
		for f := range flying {
			err := ErrNotConnected
			select {
			case <-f.token.Done():
				err = f.token.Error()
			default:
				select {
				case <-f.token.Done():
					err = f.token.Error()
				case <-broken:
				}
			}
			if f.done != nil {
				f.done(err)
			}
		}
	}()
	for open := true; open; {
		select {
		case p := <-s.in.out:
			flying <- sent{s.client.Publish(p.topic, 1, p.retained, p.payload), p.done}
		case <-broken:
			open = false
		}
	}
	close(flying)
	<-confirmed
	for { // connected is false by now: nothing comes after these
		select {
		case p := <-s.in.out:
			if p.done != nil {
				p.done(ErrNotConnected)
			}
		default:
			return
		}
	}
}

// greeted takes what the broker says of the session when a connection is made.
func (in *Intake) greeted(present bool) {
	if in.gaps.greeted(in.c.URL, present, in.c.Volatile) {
		in.c.Log.Error("the broker has forgotten the session with what it held for the agent: messages that it had confirmed to relays may be missing",
			"url", in.c.URL, "since", time.UnixMicro(in.Status().Gap.From).UTC())
	}
}

func (in *Intake) connected(yes bool) {
	in.mu.Lock()
	in.status.Connected, in.status.Since = yes, in.c.Now()
	if yes {
		in.status.Sessions++
		in.status.LastError = ""
	}
	in.mu.Unlock()
	in.c.Connected(yes)
}

func (in *Intake) refused(filters []string) {
	in.mu.Lock()
	in.status.Refused = filters
	in.mu.Unlock()
	if len(filters) > 0 {
		in.c.Log.Error("the broker does not grant topics", "topics", filters)
	}
}

func (in *Intake) received() int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.status.Received
}

func (in *Intake) requieted() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.status.Requieted++
}

func await(ctx context.Context, t mqtt.Token, most time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, errors.New("the broker does not answer"))
	defer cancel()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// noStore keeps nothing: the broker keeps what was not acknowledged, and what is
// published is published again by its owner.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
