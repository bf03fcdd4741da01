//go:build bench

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// An mqttConn is the cheapest MQTT client that counts its acknowledgements: the
// load must not be what is measured. Paho's packets, none of paho's client.
type mqttConn struct {
	conn net.Conn
	out  *bufio.Writer
	room chan struct{} // holds one for each message that may still be sent unacknowledged
	took func(topic string, payload []byte)
	done sync.WaitGroup

	mu  sync.Mutex // guards out, which the reader uses for acknowledgements
	id  uint16
	err error // of the reader; guarded by mu
}

// inflight is how many messages of the load the broker may owe an
// acknowledgement: what a ward full of relays would have under way.
const inflight = 1000

// dialMQTT connects as a user of the shipped access list. What is subscribed
// goes to took, on one goroutine.
func dialMQTT(t testing.TB, broker, user string, took func(topic string, payload []byte), filters ...string) *mqttConn {
	t.Helper()
	conn, err := net.Dial("tcp", broker)
	if err != nil {
		t.Fatal(err)
	}
	c := &mqttConn{conn: conn, out: bufio.NewWriterSize(conn, 32<<10), room: make(chan struct{}, inflight), took: took}
	for range inflight {
		c.room <- struct{}{}
	}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.CleanSession = "MQTT", 4, true
	hello.ClientIdentifier = "bench-" + user + "-" + strconv.Itoa(conn.LocalAddr().(*net.TCPAddr).Port)
	hello.UsernameFlag, hello.Username, hello.PasswordFlag, hello.Password = true, user, true, []byte(mqttPassword)
	in := bufio.NewReaderSize(conn, 32<<10)
	if err := ask(conn, in, hello); err != nil {
		t.Fatalf("connect to the broker as %s: %v", user, err)
	}
	if len(filters) > 0 {
		sub := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		sub.MessageID, sub.Topics, sub.Qoss = 1, filters, make([]byte, len(filters)) // QoS 0: nothing to acknowledge
		if err := ask(conn, in, sub); err != nil {
			t.Fatalf("subscribe as %s: %v", user, err)
		}
	}
	c.done.Go(func() { c.read(in) })
	t.Cleanup(func() { conn.Close(); c.done.Wait() })
	return c
}

// ask sends p and reads the answer.
func ask(conn net.Conn, in *bufio.Reader, p packets.ControlPacket) error {
	if err := p.Write(conn); err != nil {
		return err
	}
	answer, err := packets.ReadPacket(in)
	if err != nil {
		return err
	}
	switch a := answer.(type) {
	case *packets.ConnackPacket:
		if a.ReturnCode != 0 {
			return packets.ConnErrors[a.ReturnCode]
		}
	case *packets.SubackPacket:
		if slices.Contains(a.ReturnCodes, 0x80) {
			return errors.New("the broker grants not all of it")
		}
	default:
		return fmt.Errorf("the broker answered %v", answer)
	}
	return nil
}

func (c *mqttConn) read(in *bufio.Reader) {
	for {
		p, err := packets.ReadPacket(in)
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		switch p := p.(type) {
		case *packets.PubackPacket:
			c.room <- struct{}{}
		case *packets.PublishPacket:
			c.took(p.TopicName, p.Payload)
		}
	}
}

// publish leaves one message of QoS 1 in the buffer, and sends what is there
// when the broker owes too many acknowledgements. payload runs when the message
// may go.
func (c *mqttConn) publish(topic string, payload func() []byte) error {
	select {
	case <-c.room:
	default:
		if err := c.flush(); err != nil {
			return err
		}
		select {
		case <-c.room:
		case <-time.After(20 * time.Second):
			return errors.New("the broker has not acknowledged anything for 20 s")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id = c.id%65535 + 1
	p := packets.PublishPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Publish, Qos: 1}, TopicName: topic, MessageID: c.id, Payload: payload()}
	return p.Write(c.out)
}

func (c *mqttConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return c.out.Flush()
}

// A load is vital signs in the JSON form from sensors of one relay, in turn, so
// that a sensor's messages are as far apart as they can be.
type load struct {
	t       testing.TB
	conn    *mqttConn
	alerts  *alertWatch
	sensors []string
	alarm   alarm

	topics   []string
	seq      []uint32
	alarming []bool
	sent     int
	buf      []byte
}

// An alarm says whether the n-th message of sensor i is one that raises an alert
// at its bed, or keeps it up. Both count from 0.
type alarm func(i, n int) bool

// The heart rates of alarming messages; others stay below 100.
const (
	raisingRate = 210 // of the first, which raises the alert
	risenRate   = 209
)

func newLoad(t testing.TB, broker string, sensors []string, watch *alertWatch, a alarm) *load {
	t.Helper()
	l := &load{t: t, sensors: sensors, alerts: watch, alarm: a, seq: make([]uint32, len(sensors)), alarming: make([]bool, len(sensors))}
	l.conn = dialMQTT(t, broker, relayUser, nil)
	for _, s := range sensors {
		l.topics = append(l.topics, "wl/1/"+relayUser+"/"+s+"/json")
	}
	return l
}

// relayUser is the relay of the shipped access list that the load speaks for.
const relayUser = "relay1"

// one puts the next message into the connection's buffer.
func (l *load) one() {
	i := l.sent % len(l.sensors)
	hr := 60 + l.sent%30
	if was := l.alarming[i]; l.alarm(i, int(l.seq[i])) {
		hr, l.alarming[i] = risenRate, true
		if !was {
			hr = raisingRate
		}
	} else {
		l.alarming[i] = false
	}
	l.sent++
	l.seq[i]++
	err := l.conn.publish(l.topics[i], func() []byte {
		now := time.Now()
		if hr == raisingRate {
			l.alerts.expect(l.sensors[i], now)
		}
		l.buf = fmt.Appendf(l.buf[:0], `{"t":%d,"seq":%d,"boot":1,"hr":%d,"rr":%d,"spo2":%d,"temp":36.%d,"battery":0.81,"contact":true}`,
			now.UnixMicro(), l.seq[i], hr, 12+l.sent%8, 95+l.sent%5, l.sent%10)
		return l.buf
	})
	if err != nil {
		l.t.Fatalf("message %d: %v", l.sent, err)
	}
}

func (l *load) flush() {
	if err := l.conn.flush(); err != nil {
		l.t.Fatalf("after %d messages: %v", l.sent, err)
	}
}

// saturate sends n messages as fast as the broker takes them, while no more than
// ahead alerts are owed: else messages would grow old in the broker's queue.
func (l *load) saturate(n, ahead int) {
	for range n {
		if l.sent%256 == 0 {
			l.flush()
			l.alerts.atMost(l.t, ahead)
		}
		l.one()
	}
	l.flush()
	l.alerts.atMost(l.t, 0)
}

// pace sends at a rate, in messages a second, for a while.
func (l *load) pace(rate int, during time.Duration) {
	begin, before := time.Now(), l.sent
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for at := begin; at.Sub(begin) < during; at = <-tick.C {
		due := before + int(at.Sub(begin).Seconds()*float64(rate))
		for l.sent < due {
			l.one()
			l.flush()
		}
	}
	l.alerts.atMost(l.t, 0)
}

// An alertWatch takes the time from the message that raises an alert to the
// alert on the ward's topic, where a lamp would see it.
type alertWatch struct {
	beats chan struct{} // holds one when a gateway said that it watches

	mu    sync.Mutex           // guards what follows
	owed  map[string]time.Time // by bed, when it was sent
	took  []time.Duration
	fewer chan struct{} // closed when something that was owed has come; nil = nobody waits
}

func newAlertWatch() *alertWatch {
	return &alertWatch{owed: map[string]time.Time{}, beats: make(chan struct{}, 1)}
}

// listen follows the ward's topics as a station does.
func (a *alertWatch) listen(t testing.TB, broker string) {
	t.Helper()
	dialMQTT(t, broker, "station", a.message, "wl/1/ward/+/bed/+/alerts", "wl/1/ward/+/agent")
}

// message takes one of the ward's messages. In these measurements a bed has its
// sensor's name.
func (a *alertWatch) message(topic string, payload []byte) {
	now := time.Now()
	level := strings.Split(topic, "/")
	if len(level) == 5 && bytes.Contains(payload, []byte(`"watching":true`)) {
		select {
		case a.beats <- struct{}{}:
		default:
		}
		return
	}
	if len(level) == 7 && bytes.Contains(payload, []byte(`"active":true`)) {
		a.came(level[5], now)
	}
}

func (a *alertWatch) came(bed string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	since, ok := a.owed[bed]
	if !ok {
		return
	}
	delete(a.owed, bed)
	a.took = append(a.took, now.Sub(since))
	if a.fewer != nil {
		close(a.fewer)
		a.fewer = nil
	}
}

func (a *alertWatch) expect(bed string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owed[bed] = at
}

// atMost waits until no more than n alerts are owed.
func (a *alertWatch) atMost(t testing.TB, n int) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		a.mu.Lock()
		if len(a.owed) <= n {
			a.mu.Unlock()
			return
		}
		if a.fewer == nil {
			a.fewer = make(chan struct{})
		}
		fewer, owed := a.fewer, len(a.owed)
		a.mu.Unlock()
		select {
		case <-fewer:
		case <-late:
			t.Fatalf("%d alerts have not come within 20 s", owed)
		}
	}
}

// times are what was measured since the last call, sorted.
func (a *alertWatch) times(t testing.TB) []time.Duration {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	took := a.took
	a.took = nil
	if len(took) == 0 {
		t.Fatal("no alert was measured")
	}
	slices.Sort(took)
	return took
}

// watching waits until whoever takes the messages says that it does.
func (a *alertWatch) watching(t testing.TB) {
	t.Helper()
	select {
	case <-a.beats:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody watches after 20 s")
	}
}
