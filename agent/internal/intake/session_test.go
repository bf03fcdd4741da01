package intake

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// answering is a broker that does what a test wants of it: answer gets each
// packet after CONNECT.
func answering(t *testing.T, answer func(net.Conn, packets.ControlPacket)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			for {
				p, err := packets.ReadPacket(conn)
				if err != nil {
					conn.Close()
					break
				}
				if _, ok := p.(*packets.ConnectPacket); ok && answer != nil {
					packets.NewControlPacket(packets.Connack).Write(conn)
				} else if answer != nil {
					answer(conn, p)
				}
			}
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "tcp://" + l.Addr().String()
}

// granting answers subscriptions; those to refused get 0x80.
func granting(refused func(topic string) bool) func(net.Conn, packets.ControlPacket) {
	return func(conn net.Conn, p packets.ControlPacket) {
		s, ok := p.(*packets.SubscribePacket)
		if !ok {
			return
		}
		ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
		ack.MessageID = s.MessageID
		for _, topic := range s.Topics {
			code := byte(1)
			if refused(topic) {
				code = 0x80
			}
			ack.ReturnCodes = append(ack.ReturnCodes, code)
		}
		ack.Write(conn)
	}
}

func TestTopicsThatTheBrokerDoesNotGrantAreSaid(t *testing.T) {
	in := start(t, Config{URL: answering(t, granting(func(topic string) bool { return strings.HasSuffix(topic, "/json") }))})
	in.connected(t, true)
	if s := in.Status(); !slices.Equal(s.Refused, []string{"wl/1/+/+/json"}) {
		t.Errorf("refused %q", s.Refused)
	}
}

func TestABrokerThatGrantsNothingIsNoConnection(t *testing.T) {
	in := start(t, Config{URL: answering(t, granting(func(string) bool { return true }))})
	until(t, in, func(s Status) bool { return strings.Contains(s.LastError, "none of the topics") })
	if s := in.Status(); s.Connected || s.Sessions != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestRunEndsWhileABrokerDoesNotAnswer(t *testing.T) {
	in := start(t, Config{URL: answering(t, nil)})
	in.stop() // waits for Run; the test's time limit is the check
	if s := in.Status(); s.Connected {
		t.Errorf("status %+v", s)
	}
}

func TestABrokerThatIsNotThereIsSaid(t *testing.T) {
	in := start(t, Config{URL: "tcp://127.0.0.1:" + freePort(t)})
	until(t, in, func(s Status) bool { return strings.Contains(s.LastError, "refused") })
}

func TestAddressesThatCannotBeABrokers(t *testing.T) {
	for _, url := range []string{"", "http://x", "127.0.0.1:1883", "tcp://", "tcp://%zz"} {
		if _, err := New(Config{URL: url, ClientID: "x"}); err == nil {
			t.Errorf("%q was taken", url)
		}
	}
	if _, err := New(Config{URL: "mqtts://gateway", ClientID: ""}); err == nil {
		t.Error("no client id was taken")
	}
	if u, err := parseURL("mqtts://gateway"); err != nil || u.Host != "gateway:8883" || !secure(u) {
		t.Errorf("%v, %v", u, err)
	}
}

func TestABrokerThatRefusesAPacketsIDGrantsTheTopicsToTheNext(t *testing.T) {
	asked := map[uint16]bool{}
	url := answering(t, func(conn net.Conn, p packets.ControlPacket) {
		s, ok := p.(*packets.SubscribePacket)
		if !ok {
			return
		}
		asked[s.MessageID] = true // by one connection at a time
		first := len(asked) == 1
		granting(func(string) bool { return first })(conn, p)
	})
	in := start(t, Config{URL: url, ClientID: "wardline-agent-gw"})
	in.connected(t, true)
	if s := in.Status(); s.Sessions != 1 || len(s.Refused) != 0 {
		t.Errorf("%d sessions, refused %v: the first was to go on", s.Sessions, s.Refused)
	}
	in.stop()
	if len(asked) != 2 {
		t.Errorf("asked with the ids %v", asked)
	}
}
