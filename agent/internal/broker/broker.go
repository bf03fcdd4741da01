// Package broker is an MQTT broker inside the agent's process, for a site that
// has none.
//
// It promises what a broker of its own on the gateway's disk could not promise
// better: a message that the agent subscribes to is acknowledged to its sender
// when the agent has acknowledged it, which it does after its commit. So it needs
// no disk of its own: what dies with the process was not acknowledged, and the
// relay sends it again. Until the agent has subscribed for the first time nobody
// else is let in, so nothing is taken that nobody keeps.
//
// What it does not keep over a restart: sessions, and retained messages. The
// agent and relays publish theirs again when they connect; a relay misses the
// requests of meanwhile, which its gateway repeats. Messages that only others
// than the agent subscribe to are acknowledged at once, as by any broker. QoS 2
// is refused by ending the connection; the protocol has no use for it.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Config says who may connect and where.
type Config struct {
	Listen string      // host:port; port 0 takes a free one, see Ready
	TLS    *tls.Config // nil = in clear

	// Agent is the client id of the agent, whose acknowledgements are waited for;
	// "" = of nobody, a plain broker.
	Agent string

	// Users may connect. None = anybody, without a name, from this machine only;
	// Listen must be a loopback address then.
	Users []User

	// MaxPayload bounds a message's payload in bytes; 0 means 16 KiB. Its sender is
	// disconnected.
	MaxPayload int

	On    func(network, address string) (net.Listener, error) // nil = net.Listen
	Ready func(address string)                                // called once when it listens; nil = nobody asks
	Log   *slog.Logger                                        // nil = slog.Default()
}

// User is who may connect, and on which topics.
type User struct {
	Name, Password string
	// Filters that may be published to and subscribed to. None of both = those of
	// a relay of this name (SPEC §1.3).
	Write, Read []string
	Agent       bool // may do everything, and is the only one to use Config.Agent as its client id
}

const (
	defaultPayload = 16 << 10
	// packetOverhead is what a packet has beside its payload: header, topic, id.
	packetOverhead = 1 << 10
	// maxInflight is how many messages wait for one client's acknowledgement: for
	// the agent, some seconds of a thousand sensors. Beyond it the sender is
	// disconnected unacknowledged, and sends again.
	maxInflight = 4096
)

// Run serves until ctx ends and returns nil then. A listening address that cannot
// be had is an error at once.
func Run(ctx context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	l, err := listen(c)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	s := mqtt.New(&mqtt.Options{Capabilities: capabilities(c), InlineClient: true, Logger: quiet(c.Log)})
	if err := s.AddHook(&guard{c: c}, nil); err != nil {
		return errors.Join(fmt.Errorf("broker: %w", err), l.Close())
	}
	if c.Agent != "" {
		if err := s.AddHook(newRelayer(s, c), nil); err != nil {
			return errors.Join(fmt.Errorf("broker: %w", err), l.Close())
		}
	}
	if err := s.AddListener(&listener{Net: listeners.NewNet("tcp", l), server: s}); err != nil {
		return errors.Join(fmt.Errorf("broker: %w", err), l.Close())
	}
	if err := s.Serve(); err != nil {
		return errors.Join(fmt.Errorf("broker: %w", err), l.Close())
	}
	if c.Ready != nil {
		c.Ready(l.Addr().String())
	}
	<-ctx.Done()
	return s.Close() // waits for its clients' goroutines
}

// listener disconnects its clients itself when it closes. The library's own way (v2.7.9)
// takes the read lock of its clients twice over, and stops for ever if a client leaves
// between the two.
type listener struct {
	*listeners.Net
	server *mqtt.Server
}

// Close disconnects the listener's clients and accepts no more; the library's function
// for that is not called.
func (l *listener) Close(listeners.CloseFn) {
	l.Net.Close(func(id string) {
		for _, c := range l.server.Clients.GetAll() {
			if c.Net.Listener == id && !c.Closed() {
				_ = l.server.DisconnectClient(c, packets.ErrServerShuttingDown)
			}
		}
	})
}

// Check says what Run would refuse, but for an address that is in use.
func (c Config) Check() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port, such as 127.0.0.1:1883", c.Listen)
	}
	if len(c.Users) == 0 && !loopback(host) {
		return fmt.Errorf("listen: %s can be reached from other machines, so there must be users (users_file); without them only a loopback address is served, such as 127.0.0.1:1883", c.Listen)
	}
	names := map[string]bool{}
	for _, u := range c.Users {
		if u.Name == "" || u.Password == "" || names[u.Name] {
			return fmt.Errorf("users: %q: each needs a name of its own and a password", u.Name)
		}
		names[u.Name] = true
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func listen(c Config) (net.Listener, error) {
	on := c.On
	if on == nil {
		on = net.Listen
	}
	l, err := on("tcp", c.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: another program has this port; if it is a broker, let the agent use it instead (%w)", c.Listen, err)
	}
	if err != nil {
		return nil, err
	}
	if c.TLS != nil {
		l = tls.NewListener(l, c.TLS)
	}
	return l, nil
}

func capabilities(c Config) *mqtt.Capabilities {
	payload := c.MaxPayload
	if payload == 0 {
		payload = defaultPayload
	}
	k := mqtt.NewDefaultServerCapabilities()
	k.MaximumPacketSize = uint32(payload + packetOverhead)
	k.MaximumInflight = maxInflight
	k.ReceiveMaximum = math.MaxUint16 // the in-flight bound is the one that holds
	k.MaximumClientWritesPending = 2 * maxInflight
	k.MaximumMessageExpiryInterval = 0 // what waits for the agent waits
	k.SharedSubAvailable = 0
	k.MinimumProtocolVersion = 4
	k.MaximumClients = 4096
	return k
}

// quiet lets mochi's warnings through, as debugging: they speak of clients'
// faults, one a message.
func quiet(l *slog.Logger) *slog.Logger { return slog.New(demoted{l.Handler()}) }

// demoted hands records on one level lower than they claim, errors excepted.
type demoted struct{ slog.Handler }

func (d demoted) Enabled(ctx context.Context, l slog.Level) bool {
	return d.Handler.Enabled(ctx, demote(l))
}

func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = demote(r.Level)
	return d.Handler.Handle(ctx, r)
}

func (d demoted) WithAttrs(as []slog.Attr) slog.Handler { return demoted{d.Handler.WithAttrs(as)} }
func (d demoted) WithGroup(name string) slog.Handler    { return demoted{d.Handler.WithGroup(name)} }

func demote(l slog.Level) slog.Level {
	if l >= slog.LevelError {
		return l
	}
	return slog.LevelDebug
}

// matches says whether an MQTT filter covers a topic, or another filter that
// somebody wants to subscribe to.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i >= len(t) || t[i] == "#" || level != "+" && level != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}
