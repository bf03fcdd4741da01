package e2e

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// A simSensor is what a virtual relay knows of one sensor: the ledger that the
// product is held against.
type simSensor struct {
	id, bed  string
	episodes []simSpan // of a heart rate of 130 /min, between which it is 72
	frames   []simFrame
}

// A simSpan is from an instant to another, µs UTC.
type simSpan struct{ from, to int64 }

// A simFrame is one that was sent, under seq = its index + 1.
type simFrame struct {
	at    int64
	acked bool
}

func (s *simSensor) high(at int64) bool {
	for _, x := range s.episodes {
		if at >= x.from && at < x.to {
			return true
		}
	}
	return false
}

// A simRelay publishes a frame a second of each sensor with QoS 1, and again what
// was not acknowledged when its connection breaks.
type simRelay struct {
	id      string
	dial    func() (net.Conn, error)
	sensors []*simSensor
	now     func() int64 // the sensors' time, µs UTC, which is true

	mu     sync.Mutex // guards what follows; never held across I/O
	conn   net.Conn
	next   uint16
	flying map[uint16]flying // by packet id
	done   bool
}

type flying struct{ sensor, frame int }

// run sends until stop is closed, and is over when all was acknowledged or the
// grace has passed.
func (r *simRelay) run(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		r.mu.Lock()
		conn, done := r.conn, r.done
		r.mu.Unlock()
		if conn == nil {
			conn = r.connect()
		}
		if !done {
			for i, s := range r.sensors {
				r.mu.Lock()
				s.frames = append(s.frames, simFrame{at: r.now()})
				n := len(s.frames) - 1
				r.mu.Unlock()
				if conn != nil {
					r.send(conn, i, n, false)
				}
			}
		}
		if conn != nil {
			packets.NewControlPacket(packets.Pingreq).Write(conn)
		}
	}
}

// connect opens a session and sends what is owed, oldest first.
func (r *simRelay) connect() net.Conn {
	conn, err := r.dial()
	if err != nil {
		return nil
	}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.CleanSession = "MQTT", 4, true
	hello.ClientIdentifier, hello.Keepalive = r.id, 30
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if hello.Write(conn) != nil {
		conn.Close()
		return nil
	}
	if p, err := packets.ReadPacket(conn); err != nil || p.(*packets.ConnackPacket).ReturnCode != 0 {
		conn.Close()
		return nil
	}
	conn.SetReadDeadline(time.Time{})
	r.mu.Lock()
	r.conn, r.flying = conn, map[uint16]flying{}
	var owed []flying
	for i, s := range r.sensors {
		for n := range s.frames {
			if !s.frames[n].acked {
				owed = append(owed, flying{i, n})
			}
		}
	}
	r.mu.Unlock()
	go r.hear(conn)
	for _, o := range owed {
		r.send(conn, o.sensor, o.frame, true)
	}
	return conn
}

func (r *simRelay) send(conn net.Conn, sensor, n int, again bool) {
	s := r.sensors[sensor]
	r.mu.Lock()
	r.next = max(1, r.next+1)
	id, at := r.next, s.frames[n].at
	r.flying[id] = flying{sensor, n}
	r.mu.Unlock()
	hr := 72
	if s.high(at) {
		hr = 130
	}
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos, p.Dup, p.MessageID = 1, again, id
	p.TopicName = fmt.Sprintf("wl/1/%s/%s/json", r.id, s.id)
	p.Payload = fmt.Appendf(nil, `{"t":%d,"boot":1,"seq":%d,"hr":%d,"contact":true}`, at, n+1, hr)
	p.Write(conn) // what fails shows in hear
}

// repeat sends the newest frames once more, as a relay does that missed their
// acknowledgement.
func (r *simRelay) repeat(count int) bool {
	r.mu.Lock()
	conn := r.conn
	r.mu.Unlock()
	if conn == nil {
		return false
	}
	for i, s := range r.sensors {
		r.mu.Lock()
		n := len(s.frames)
		r.mu.Unlock()
		for k := max(0, n-count); k < n; k++ {
			r.send(conn, i, k, true)
		}
	}
	return true
}

func (r *simRelay) hear(conn net.Conn) {
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			conn.Close()
			r.mu.Lock()
			if r.conn == conn {
				r.conn = nil
			}
			r.mu.Unlock()
			return
		}
		if ack, ok := p.(*packets.PubackPacket); ok {
			r.mu.Lock()
			if f, ok := r.flying[ack.MessageID]; ok && r.conn == conn {
				r.sensors[f.sensor].frames[f.frame].acked = true
				delete(r.flying, ack.MessageID)
			}
			r.mu.Unlock()
		}
	}
}

// finish has it send no new frames.
func (r *simRelay) finish() {
	r.mu.Lock()
	r.done = true
	r.mu.Unlock()
}

// owes is how many frames are not acknowledged.
func (r *simRelay) owes() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sensors {
		for i := range s.frames {
			if !s.frames[i].acked {
				n++
			}
		}
	}
	return n
}

// acked is what was acknowledged of each sensor: seqs.
func (r *simRelay) acked() map[string]map[int]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]map[int]bool{}
	for _, s := range r.sensors {
		out[s.id] = map[int]bool{}
		for i := range s.frames {
			if s.frames[i].acked {
				out[s.id][i+1] = true
			}
		}
	}
	return out
}
