package intake

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// piped is brokers at the other end of pipes, one a connection: each does with
// every packet what answer does, until that says that it reads no more.
type piped struct {
	answer func(c net.Conn, p packets.ControlPacket) (reads bool)
	dialed chan time.Time
	ends   sync.WaitGroup
}

func (b *piped) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	b.dialed <- time.Now()
	b.ends.Go(func() {
		for {
			p, err := packets.ReadPacket(far)
			if err != nil {
				far.Close()
				return
			}
			if !b.answer(far, p) {
				return
			}
		}
	})
	return near, nil
}

// serve answers a packet as a broker does.
func serve(c net.Conn, p packets.ControlPacket) bool {
	switch p.(type) {
	case *packets.ConnectPacket:
		packets.NewControlPacket(packets.Connack).Write(c)
	case *packets.PingreqPacket:
		packets.NewControlPacket(packets.Pingresp).Write(c)
	default:
		granting(func(string) bool { return false })(c, p)
	}
	return true
}

// foundOut runs an intake with such a broker and returns how long after the first
// dial it makes another connection.
func foundOut(t *testing.T, answer func(net.Conn, packets.ControlPacket) bool) time.Duration {
	t.Helper()
	b := &piped{answer: answer, dialed: make(chan time.Time, 16)}
	in := start(t, Config{URL: "tcp://broker", Dial: b.dial})
	first := <-b.dialed
	took := (<-b.dialed).Sub(first)
	in.stop()
	b.ends.Wait()
	return took
}

func TestABrokerThatNeverAnswersIsFoundOutInTime(t *testing.T) {
	for name, x := range map[string]struct {
		within time.Duration
		answer func(net.Conn, packets.ControlPacket) bool
	}{
		"to the greeting": {20*time.Second + firstWait, func(net.Conn, packets.ControlPacket) bool { return true }},
		"to the subscription": {10*time.Second + firstWait, func(c net.Conn, p packets.ControlPacket) bool {
			_, ok := p.(*packets.SubscribePacket)
			return ok || serve(c, p)
		}},
		"to a ping": {25*time.Second + firstWait, func(c net.Conn, p packets.ControlPacket) bool {
			_, ok := p.(*packets.PingreqPacket)
			return ok || serve(c, p)
		}},
		"and does not even read": {25*time.Second + firstWait, func(c net.Conn, p packets.ControlPacket) bool {
			_, ok := p.(*packets.SubscribePacket)
			return serve(c, p) && !ok
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if took := foundOut(t, x.answer); took > x.within {
					t.Errorf("it was found out after %v, want %v at most", took, x.within)
				} else {
					t.Logf("found out after %v", took)
				}
			})
		})
	}
}

// Who answers pings and has lost the subscription without knowing is found by
// asking for it again.
func TestASubscriptionThatIsGoneIsFoundOutByTheWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		took := foundOut(t, func(c net.Conn, p packets.ControlPacket) bool {
			if _, ok := p.(*packets.SubscribePacket); ok {
				if asked++; asked > 1 {
					return true
				}
			}
			return serve(c, p)
		})
		if most := 70*time.Second + firstWait; took > most || took < time.Minute {
			t.Errorf("it was found out after %v, want %v at most", took, most)
		}
	})
}

// ... and is given again what it had been given before the broker forgot it.
func TestASubscriptionThatTheBrokerLostUnnoticedIsMadeAgainWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan time.Time, 16)
		b := &piped{dialed: make(chan time.Time, 16), answer: func(c net.Conn, p packets.ControlPacket) bool {
			if _, ok := p.(*packets.SubscribePacket); ok {
				asked <- time.Now()
			}
			return serve(c, p)
		}}
		in := start(t, Config{URL: "tcp://broker", Dial: b.dial})
		first := <-asked
		if took := (<-asked).Sub(first); took > time.Minute {
			t.Errorf("asked again after %v", took)
		}
		synctest.Wait()
		if s := in.Status(); !s.Connected || s.Sessions != 1 || s.Requieted != 1 {
			t.Errorf("status %+v", s)
		}
		in.stop()
		b.ends.Wait()
	})
}

func TestTopicsThatTheWatchdogIsNotGrantedAnyMoreAreSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		b := &piped{dialed: make(chan time.Time, 16), answer: func(c net.Conn, p packets.ControlPacket) bool {
			if _, ok := p.(*packets.SubscribePacket); ok {
				asked++
				granting(func(topic string) bool { return asked > 1 && topic == "wl/1/+/+/json" })(c, p)
				return true
			}
			return serve(c, p)
		}}
		in := start(t, Config{URL: "tcp://broker", Dial: b.dial})
		<-b.dialed
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if s := in.Status(); !s.Connected || len(s.Refused) != 1 {
			t.Errorf("status %+v", s)
		}
		in.stop()
		b.ends.Wait()
	})
}
