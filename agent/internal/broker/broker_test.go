package broker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

const patience = 10 * time.Second

// serve runs a broker until the test ends.
func serve(t *testing.T, c Config) (address string) {
	t.Helper()
	ready := make(chan string, 1)
	c.Ready = func(a string) { ready <- a }
	c.Log = slog.New(slog.DiscardHandler)
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case a := <-ready:
		return a
	case err := <-done:
		t.Fatal(err)
		return ""
	}
}

// client speaks MQTT 3.1.1 packet by packet.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// connect returns nil when the broker closes without a word, else its CONNACK's code.
func connect(t *testing.T, address, id, user, password string) (*client, byte) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{t, conn, bufio.NewReader(conn)}
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: 4,
		Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), ClientIdentifier: id, Keepalive: 60,
			UsernameFlag: user != "", Username: []byte(user), PasswordFlag: user != "", Password: []byte(password)}})
	pk, err := c.read()
	if err != nil {
		return nil, 0
	}
	return c, pk.ReasonCode
}

func (c *client) send(pk packets.Packet) {
	c.t.Helper()
	var b bytes.Buffer
	var err error
	pk.ProtocolVersion = 4
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&b)
	case packets.Pingreq:
		err = pk.PingreqEncode(&b)
	}
	if err == nil {
		_, err = c.conn.Write(b.Bytes())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() (packets.Packet, error) {
	var pk packets.Packet
	first, err := c.in.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	n, _, err := packets.DecodeLength(c.in)
	if err != nil {
		return pk, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return pk, err
	}
	pk.ProtocolVersion = 4
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	}
	return pk, err
}

// want reads the next packet, which must be of the given type.
func (c *client) want(typ byte) packets.Packet {
	c.t.Helper()
	pk, err := c.read()
	if err != nil || pk.FixedHeader.Type != typ {
		c.t.Fatalf("got packet type %d, %v; want %d", pk.FixedHeader.Type, err, typ)
	}
	return pk
}

func (c *client) subscribe(filter string) byte {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1,
		Filters: packets.Subscriptions{{Filter: filter, Qos: 1}}})
	return c.want(packets.Suback).ReasonCodes[0]
}

func (c *client) publish(topic, payload string, id uint16, qos byte) {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic, Payload: []byte(payload), PacketID: id})
}

func (c *client) ack(id uint16) {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: id})
}

// nothing proves that no packet has come: an answer to a ping is the next one.
func (c *client) nothing() {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	c.want(packets.Pingresp)
}

const frameTopic = "wl/1/relay1/s001/frame"

func agentOf(t *testing.T, address string) *client {
	t.Helper()
	agent, code := connect(t, address, "agent", "", "")
	if agent == nil || code != 0 {
		t.Fatal("the agent is not let in")
	}
	return agent
}

func TestAMessageIsAcknowledgedWhenTheAgentHasAcknowledgedIt(t *testing.T) {
	address := serve(t, Config{Agent: "agent"})
	agent := agentOf(t, address)
	agent.subscribe("wl/1/+/+/frame")
	relay, _ := connect(t, address, "relay1", "", "")
	relay.publish(frameTopic, "one", 11, 1)
	relay.publish(frameTopic, "two", 12, 1)
	one, two := agent.want(packets.Publish), agent.want(packets.Publish)
	if string(one.Payload) != "one" || string(two.Payload) != "two" || one.FixedHeader.Qos != 1 {
		t.Fatalf("the agent got %q and %q", one.Payload, two.Payload)
	}
	relay.nothing()
	agent.ack(two.PacketID)
	if pk := relay.want(packets.Puback); pk.PacketID != 12 {
		t.Errorf("packet %d was acknowledged, want 12", pk.PacketID)
	}
	relay.nothing()
	agent.ack(one.PacketID)
	if pk := relay.want(packets.Puback); pk.PacketID != 11 {
		t.Errorf("packet %d was acknowledged, want 11", pk.PacketID)
	}
}

func TestWhatWasInFlightIsAcknowledgedAfterTheAgentReconnects(t *testing.T) {
	address := serve(t, Config{Agent: "agent"})
	agent := agentOf(t, address)
	agent.subscribe("wl/1/+/+/frame")
	relay, _ := connect(t, address, "relay1", "", "")
	relay.publish(frameTopic, "one", 11, 1)
	agent.want(packets.Publish)
	agent.conn.Close()
	relay.publish(frameTopic, "two", 12, 1) // while it is away
	relay.nothing()
	agent = agentOf(t, address)
	got := map[string]bool{}
	for len(got) < 2 {
		pk := agent.want(packets.Publish)
		got[string(pk.Payload)] = true
		agent.ack(pk.PacketID)
	}
	if a, b := relay.want(packets.Puback), relay.want(packets.Puback); a.PacketID+b.PacketID != 23 {
		t.Errorf("acknowledged %d and %d", a.PacketID, b.PacketID)
	}
}

func TestNobodyIsLetInBeforeTheAgentListens(t *testing.T) {
	address := serve(t, Config{Agent: "agent"})
	if c, code := connect(t, address, "relay1", "", ""); c != nil && code == 0 {
		t.Fatal("a relay was let in before the agent")
	}
	agent := agentOf(t, address)
	agent.subscribe("wl/#")
	if c, code := connect(t, address, "relay1", "", ""); c == nil || code != 0 {
		t.Error("the relay is not let in now")
	}
}

func TestWhatOnlyOthersListenToIsAcknowledgedAtOnce(t *testing.T) {
	address := serve(t, Config{Agent: "agent"})
	agentOf(t, address).subscribe("wl/1/+/+/frame")
	lamp, _ := connect(t, address, "lamp", "", "")
	lamp.subscribe("other/#")
	relay, _ := connect(t, address, "relay1", "", "")
	relay.publish("other/x", "hello", 5, 1)
	if pk := relay.want(packets.Puback); pk.PacketID != 5 {
		t.Errorf("acknowledged %d", pk.PacketID)
	}
	if pk := lamp.want(packets.Publish); string(pk.Payload) != "hello" {
		t.Errorf("the lamp got %q", pk.Payload)
	}
}

func TestASenderBeyondTheBoundIsDisconnectedUnacknowledged(t *testing.T) {
	address := serve(t, Config{Agent: "agent"})
	agent := agentOf(t, address)
	agent.subscribe("wl/1/+/+/frame")
	var reading sync.WaitGroup
	reading.Go(func() { // the agent takes and acknowledges nothing
		for {
			if _, err := agent.read(); err != nil {
				return
			}
		}
	})
	relay, _ := connect(t, address, "relay1", "", "")
	var err error
	for i := 1; i <= maxInflight+1000 && err == nil; i++ {
		var b bytes.Buffer
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: frameTopic, Payload: []byte("x"), PacketID: uint16(i), ProtocolVersion: 4}
		if err = pk.PublishEncode(&b); err == nil {
			_, err = relay.conn.Write(b.Bytes())
		}
	}
	pk, err := relay.read()
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("packet %d came, %v; want the connection closed", pk.FixedHeader.Type, err)
	}
	agent.conn.Close()
	reading.Wait()
}

func TestTooGreatAMessageAndQoS2EndTheConnection(t *testing.T) {
	address := serve(t, Config{Agent: "agent"})
	agent := agentOf(t, address)
	agent.subscribe("wl/#")
	a, _ := connect(t, address, "relay1", "", "")
	a.publish(frameTopic, strings.Repeat("x", 20<<10), 1, 1)
	if _, err := a.read(); err == nil {
		t.Error("20 KiB were taken")
	}
	b, _ := connect(t, address, "relay2", "", "")
	b.publish(frameTopic, "x", 1, 2)
	if _, err := b.read(); err == nil {
		t.Error("QoS 2 was served")
	}
	agent.nothing()
}

func TestUsersMayDoWhatIsTheirs(t *testing.T) {
	users := []User{{Name: "agent", Password: "a", Agent: true}, {Name: "relay1", Password: "r"},
		{Name: "lamp", Password: "l", Read: []string{"wl/1/ward/#"}, Write: []string{"wl/1/ward/7w/bed/+/response"}}}
	address := serve(t, Config{Agent: "agent", Users: users})
	if c, code := connect(t, address, "agent", "relay1", "r"); c != nil && code == 0 {
		t.Error("a relay is let in as the agent")
	}
	if c, code := connect(t, address, "agent", "agent", "wrong"); c != nil && code == 0 {
		t.Error("a wrong password is let in")
	}
	agent, code := connect(t, address, "agent", "agent", "a")
	if agent == nil || code != 0 {
		t.Fatal("the agent is not let in")
	}
	agent.subscribe("wl/#")
	lamp, _ := connect(t, address, "lamp", "lamp", "l")
	if code := lamp.subscribe("wl/1/ward/7w/bed/+/alerts"); code > 2 {
		t.Errorf("the lamp may not follow alerts: %#x", code)
	}
	if code := lamp.subscribe("wl/1/relay1/+/frame"); code < 0x80 {
		t.Errorf("the lamp may follow frames: %#x", code)
	}
	if code := lamp.subscribe("#"); code < 0x80 {
		t.Errorf("the lamp may follow everything: %#x", code)
	}
	relay, _ := connect(t, address, "relay1", "relay1", "r")
	relay.publish("wl/1/relay2/s001/frame", "x", 1, 1)
	for {
		pk, err := relay.read()
		if err != nil {
			break
		}
		if pk.FixedHeader.Type != packets.Disconnect {
			t.Fatalf("a relay may publish for another: packet type %d", pk.FixedHeader.Type)
		}
	}
	agent.nothing()
}

func TestWhatCannotBeServedIsSaidAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		config Config
		says   string
	}{
		{Config{Listen: l.Addr().String()}, "another program has this port"},
		{Config{Listen: "0.0.0.0:0"}, "loopback"},
		{Config{Listen: "1883"}, "host:port"},
		{Config{Listen: "127.0.0.1:0", Users: []User{{Name: "x"}}}, "password"},
	} {
		c.config.Log = slog.New(slog.DiscardHandler)
		if err := Run(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.config.Listen, err, c.says)
		}
	}
}

// The library's way to disconnect all clients can stop for ever when one leaves by itself.
func TestClientsAreDisconnectedAtTheEndWithoutTheLibrarysWay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := mqtt.New(&mqtt.Options{Capabilities: capabilities(Config{}), Logger: quiet(slog.Default())})
	own := &listener{Net: listeners.NewNet("tcp", l), server: s}
	if err := errors.Join(s.AddHook(&guard{}, nil), s.AddListener(own), s.Serve()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, code := connect(t, l.Addr().String(), "relay", "", "")
	if c == nil || code != 0 {
		t.Fatalf("connect: %v, code %d", c, code)
	}
	own.Close(func(string) { t.Error("the clients were left to the library") })
	c.want(packets.Disconnect)
	if pk, err := c.read(); !errors.Is(err, io.EOF) {
		t.Errorf("got a packet of type %d (%v), want the end of the connection", pk.FixedHeader.Type, err)
	}
}

func TestFiltersCoverTopicsAndNarrowerFilters(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/#", "a/b/c", true}, {"a/#", "a", true}, {"a/+", "a/b", true}, {"a/+", "a/b/c", false}, {"a/+", "a/#", false},
		{"a/#", "a/#", true}, {"a/b", "a/+", false}, {"a/+", "a/+", true}, {"a/b", "a", false}, {"#", "#", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("%s covers %s: %v", c.filter, c.topic, got)
		}
	}
}
