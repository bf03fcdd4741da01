package broker

import (
	"bytes"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// relayer puts off the acknowledgement of what the agent subscribes to.
//
// mochi acknowledges a message to its sender before it gives it to anybody. So
// such a message is taken out of its hands (OnPublish), published again in the
// name of the broker, and found again by a mark (a user property, which MQTT
// 3.1.1 does not carry) when it is put in flight to the agent; the agent's
// acknowledgement of that packet id is the sender's.
type relayer struct {
	mqtt.HookBase
	server *mqtt.Server
	c      Config
	ready  atomic.Bool // the agent has subscribed once

	mu     sync.Mutex // guards what follows; never held across I/O
	marks  uint64
	coming map[string]sender // by mark: handed to mochi, not in flight yet
	owed   map[uint16]sender // by the agent's packet id
}

// sender is whom to acknowledge to, and which of its packets.
type sender struct {
	client *mqtt.Client
	packet uint16
}

// markKey names the user property.
const markKey = "wardline-mark"

func newRelayer(s *mqtt.Server, c Config) *relayer {
	return &relayer{server: s, c: c, coming: map[string]sender{}, owed: map[uint16]sender{}}
}

func (r *relayer) ID() string { return "relayer" }

func (r *relayer) Provides(b byte) bool {
	return bytes.IndexByte([]byte{mqtt.OnConnect, mqtt.OnSubscribed, mqtt.OnPublish, mqtt.OnQosPublish, mqtt.OnQosComplete}, b) >= 0
}

// errEarly closes a connection without a word; its client tries again.
var errEarly = errors.New("the agent is not there yet")

func (r *relayer) OnConnect(cl *mqtt.Client, _ packets.Packet) error {
	if !r.ready.Load() && cl.ID != r.c.Agent {
		return errEarly
	}
	return nil
}

func (r *relayer) OnSubscribed(cl *mqtt.Client, _ packets.Packet, _ []byte) {
	if cl.ID == r.c.Agent {
		r.ready.Store(true)
	}
}

// errQoS2 ends a connection.
var errQoS2 = errors.New("QoS 2 is not served: the protocol uses QoS 1")

func (r *relayer) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline || cl.ID == r.c.Agent || pk.FixedHeader.Qos == 0 || !r.wanted(pk.TopicName) {
		return pk, nil
	}
	if pk.FixedHeader.Qos > 1 {
		cl.Stop(errQoS2)
		return pk, packets.ErrRejectPacket
	}
	if !r.forward(cl, pk) {
		cl.Stop(packets.ErrQuotaExceeded) // unacknowledged: it comes again
	}
	return pk, packets.ErrRejectPacket
}

// wanted says whether the agent subscribes to the topic and will acknowledge.
func (r *relayer) wanted(topic string) bool {
	sub, ok := r.server.Topics.Subscribers(topic).Subscriptions[r.c.Agent]
	return ok && sub.Qos > 0
}

// forward publishes pk again, and says whether it is in flight to the agent.
func (r *relayer) forward(cl *mqtt.Client, pk packets.Packet) bool {
	r.mu.Lock()
	r.marks++
	mark := strconv.FormatUint(r.marks, 36)
	r.coming[mark] = sender{cl, pk.PacketID}
	r.mu.Unlock()
	inline, _ := r.server.Clients.Get(mqtt.InlineClientId)
	err := r.server.InjectPacket(inline, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Retain: pk.FixedHeader.Retain},
		TopicName:   pk.TopicName,
		Payload:     pk.Payload,
		PacketID:    1, // unused, but none is refused
		Properties:  packets.Properties{User: []packets.UserProperty{{Key: markKey, Val: mark}}},
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	_, waiting := r.coming[mark]
	delete(r.coming, mark)
	return err == nil && !waiting
}

// OnQosPublish is called when a packet is put in flight, and when it is sent again.
func (r *relayer) OnQosPublish(cl *mqtt.Client, pk packets.Packet, _ int64, _ int) {
	if cl.ID != r.c.Agent || pk.FixedHeader.Type != packets.Publish {
		return
	}
	for _, p := range pk.Properties.User {
		if p.Key != markKey {
			continue
		}
		r.mu.Lock()
		if s, ok := r.coming[p.Val]; ok {
			r.owed[pk.PacketID] = s
			delete(r.coming, p.Val)
		}
		r.mu.Unlock()
	}
}

// OnQosComplete is called when the agent has acknowledged a packet.
func (r *relayer) OnQosComplete(cl *mqtt.Client, pk packets.Packet) {
	if cl.ID != r.c.Agent || pk.FixedHeader.Type != packets.Puback {
		return
	}
	r.mu.Lock()
	s, ok := r.owed[pk.PacketID]
	delete(r.owed, pk.PacketID)
	r.mu.Unlock()
	if ok {
		// To a connection that has ended meanwhile this does nothing.
		_ = s.client.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: s.packet})
	}
}
