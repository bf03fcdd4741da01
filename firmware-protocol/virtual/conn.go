package virtual

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"wardline/firmware-protocol/frame"
)

// The bounds of a connection.
const (
	inFlight     = 1024 // messages without an acknowledgement; then the relay waits
	waiting      = 64   // requests not yet looked at; more are dropped
	connectWait  = 10 * time.Second
	writeWait    = 10 * time.Second
	goodbye      = 250 * time.Millisecond
	reconnectMax = 5 * time.Second
	owed         = 30 * time.Second // for the last acknowledgements
	parting      = 2 * time.Second  // for those, when the relay is told to stop
)

// offline is the relay's last will, and its last word (SPEC §11).
const offline = `{"online":false}`

type request struct {
	sensor string
	wire   []byte
}

// conn is the relay's session with the broker.
type conn struct {
	client   mqtt.Client
	cfg      *Config
	topic    string // of the relay's state
	requests chan request
	tokens   chan mqtt.Token
	gone     chan struct{} // closed when no acknowledgement is awaited any more
	drained  sync.WaitGroup

	mu    sync.Mutex // guards what follows; never held across I/O
	state []byte     // said again at each connect
}

// connect opens the session; the first failure is final.
func connect(ctx context.Context, c *Config, state []byte) (*conn, error) {
	k := &conn{cfg: c, topic: frame.Topic{Relay: c.Relay, Kind: frame.KindState}.String(), state: state,
		requests: make(chan request, waiting), tokens: make(chan mqtt.Token, inFlight),
		gone: make(chan struct{})}
	k.client = mqtt.NewClient(k.options(ctx))
	token := k.client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
	}
	if err := errors.Join(token.Error(), ctx.Err()); err != nil {
		k.client.Disconnect(0)
		return nil, fmt.Errorf("connect to %s: %w", c.Broker, err)
	}
	k.drained.Go(k.drain)
	return k, nil
}

func (k *conn) options(ctx context.Context) *mqtt.ClientOptions {
	c := k.cfg
	o := mqtt.NewClientOptions().AddBroker(c.Broker).SetClientID("wl-relay-"+c.Relay).
		SetUsername(c.Username).SetPassword(c.Password).
		SetCleanSession(false).SetProtocolVersion(4).SetOrderMatters(true).
		SetConnectTimeout(connectWait).SetWriteTimeout(writeWait).SetMaxReconnectInterval(reconnectMax).
		SetBinaryWill(k.topic, []byte(offline), 1, true).
		SetDefaultPublishHandler(func(mqtt.Client, mqtt.Message) {}).
		SetOnConnectHandler(k.connected).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.Log.Warn("broker lost", "error", err) })
	if c.TLS != nil {
		o.SetTLSConfig(c.TLS)
	}
	if c.Dial != nil {
		o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
			return dial(ctx, c, u)
		})
	}
	return o
}

// dial uses the configuration's own dialler, with TLS where the broker's
// address says so.
func dial(ctx context.Context, c *Config, u *url.URL) (net.Conn, error) {
	raw, err := c.Dial(ctx, "tcp", u.Host)
	if err != nil || (u.Scheme != "ssl" && u.Scheme != "tls" && u.Scheme != "mqtts") {
		return raw, err
	}
	conf := &tls.Config{}
	if c.TLS != nil {
		conf = c.TLS.Clone()
	}
	if conf.ServerName == "" {
		conf.ServerName = u.Hostname()
	}
	return tls.Client(raw, conf), nil
}

// connected runs in a goroutine of the client's, at each connect.
func (k *conn) connected(client mqtt.Client) {
	filter := frame.Topic{Relay: k.cfg.Relay, Sensor: "+", Kind: frame.KindRequest}.String()
	token := client.Subscribe(filter, 1, k.asked)
	token.WaitTimeout(connectWait)
	if sub, ok := token.(*mqtt.SubscribeToken); token.Error() != nil || (ok && sub.Result()[filter] == 0x80) {
		k.cfg.Log.Warn("requests cannot be taken", "topic", filter, "error", token.Error())
	}
	k.mu.Lock()
	state := k.state
	k.mu.Unlock()
	k.say(state)
}

// asked must not block: it is on the connection's own path.
func (k *conn) asked(_ mqtt.Client, m mqtt.Message) {
	t, ok := frame.ParseTopic(m.Topic())
	if !ok {
		return
	}
	select {
	case k.requests <- request{t.Sensor, m.Payload()}:
	default:
		k.cfg.Stats.Refused.Add(1)
	}
}

func (k *conn) open() bool { return k.client.IsConnectionOpen() }

// publish gives wire to the broker. It blocks while inFlight messages wait for
// their acknowledgement.
func (k *conn) publish(ctx context.Context, topic string, wire []byte) error {
	token := k.client.Publish(topic, 1, false, wire)
	k.cfg.Stats.Bytes.Add(int64(len(wire)))
	select {
	case k.tokens <- token:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// say publishes the relay's state, retained.
func (k *conn) say(state []byte) {
	k.mu.Lock()
	k.state = state
	k.mu.Unlock()
	k.client.Publish(k.topic, 1, true, state)
}

// drain counts acknowledgements in the order of sending, until close.
func (k *conn) drain() {
	for token := range k.tokens {
		select {
		case <-token.Done():
		case <-k.gone:
		}
		select {
		case <-token.Done():
			if token.Error() == nil {
				k.cfg.Stats.Messages.Add(1)
				continue
			}
		default:
		}
		k.cfg.Stats.Failed.Add(1)
	}
}

// close says goodbye, when everything is acknowledged or what one waits for that
// is over: owed for what was played whole, and parting, while there is a
// connection, for what was cut short.
func (k *conn) close(whole bool) {
	close(k.tokens)
	drained := make(chan struct{})
	go func() {
		k.drained.Wait()
		close(drained)
	}()
	patience := parting
	if whole {
		patience = owed
	}
	if whole || k.open() {
		select {
		case <-drained:
		case <-time.After(patience):
		}
	}
	if k.open() {
		k.client.Publish(k.topic, 1, true, []byte(offline)).WaitTimeout(goodbye)
	}
	k.client.Disconnect(uint(goodbye.Milliseconds()))
	close(k.gone)
	<-drained
}
