package intake

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"sync"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"wardline/firmware-protocol/frame"
)

// maxGlances is how many messages of the second client may wait; what comes on top
// is dropped, since who watches wants now and not then.
const maxGlances = 1024

// glances is a second client, which keeps no session, acknowledges nothing and
// hears sensors and relays alone. While the gateway's disk takes nothing, no
// message is acknowledged, and so a broker soon gives no more by the session: a
// ward is watched all the same. What was seen so comes again by the session, later.
type glances struct {
	out     chan *Message
	changed chan struct{} // holds one when the wish has changed

	mu   sync.Mutex // guards what follows
	wish bool
}

func newGlances() *glances {
	return &glances{out: make(chan *Message, maxGlances), changed: make(chan struct{}, 1)}
}

// Glance begins or ends it. A broker that confirms to relays only what was
// acknowledged is given no more by them, and so has no more to give.
func (in *Intake) Glance(on bool) {
	g := in.glances
	g.mu.Lock()
	defer g.mu.Unlock()
	if on = on && !in.c.Volatile; on != g.wish {
		g.wish = on
		signal(g.changed)
	}
}

// Glances are the messages that were seen so. They are not decoded yet, and Ack of
// them does nothing.
func (in *Intake) Glances() <-chan *Message { return in.glances.out }

func (g *glances) wished() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wish
}

// run looks whenever it is wished, until ctx ends.
func (g *glances) run(ctx context.Context, in *Intake, u *url.URL) {
	for ctx.Err() == nil {
		if !g.wished() {
			select {
			case <-ctx.Done():
			case <-g.changed:
			}
			continue
		}
		if err := g.look(ctx, in, u); err != nil && ctx.Err() == nil {
			in.c.Log.Warn("cannot watch beside the session with the broker", "error", err)
			sleep(ctx, lastWait)
		}
	}
}

// look is one connection, which ends when it is wished no more.
func (g *glances) look(ctx context.Context, in *Intake, u *url.URL) error {
	s := &session{in: in, lost: make(chan error, 1), over: make(chan struct{})}
	dialing, stop := context.WithCancel(ctx)
	defer stop()
	id := "eye-" + in.c.ClientID[max(0, len(in.c.ClientID)-19):] // 23 characters at most
	s.client = mqtt.NewClient(s.options(dialing, u).SetClientID(id).SetCleanSession(true).
		SetDefaultPublishHandler(func(_ mqtt.Client, p mqtt.Message) { g.put(in, p) }))
	token := s.client.Connect()
	if err := await(ctx, token, 2*connectTimeout); err != nil {
		stop()
		s.end(0)
		token.Wait()
		return fmt.Errorf("connect to the broker: %w", err)
	}
	defer s.end(0)
	want := map[string]byte{}
	for _, f := range in.decoder.watched() {
		want[f] = 0
	}
	if err := await(ctx, s.client.SubscribeMultiple(want, nil), answerTimeout); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for g.wished() {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.lost:
			return err
		case <-g.changed:
		}
	}
	return nil
}

func (g *glances) put(in *Intake, p mqtt.Message) {
	if p.Retained() || len(p.Payload()) > frame.MaxWire {
		return
	}
	select {
	case g.out <- &Message{Topic: p.Topic(), Payload: bytes.Clone(p.Payload()), Received: in.c.Now()}:
	default:
	}
}
