//go:build system

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// A sender speaks for sensors, each message when the one before is confirmed; what
// is not is sent again, as SPEC §1.2 asks of a relay. So the broker has confirmed
// all that it has sent, whatever becomes of it.
type sender struct {
	s       *site
	sensors []string
	client  mqtt.Client
	sent    map[string]int // by sensor; read it after stop
	again   int
	stop    func()
}

func (s *site) sender(sensors ...string) *sender {
	x := &sender{s: s, sensors: sensors, sent: map[string]int{}}
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		x.run(done)
	}()
	x.stop = sync.OnceFunc(func() { close(done); <-over })
	s.t.Cleanup(x.stop)
	return x
}

func (x *sender) run(done chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		sensor := x.sensors[i%len(x.sensors)]
		seq := x.sent[sensor] + 1
		payload := fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":72,"rr":15,"spo2":97,"temp":36.6,"contact":true}`, time.Now().UnixMicro(), seq)
		for !x.confirmed(jsonTopic(sensor), payload) {
			x.again++
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		x.sent[sensor] = seq
		select {
		case <-tick.C:
		case <-done:
			x.client.Disconnect(0)
			return
		}
	}
}

func (x *sender) confirmed(topic, payload string) bool {
	if x.client == nil || !x.client.IsConnected() {
		o := mqtt.NewClientOptions().AddBroker("tcp://" + at(x.s.brokerPort)).SetClientID("relay1").SetUsername("relay1").SetPassword(mqttPassword)
		x.client = mqtt.NewClient(o.SetAutoReconnect(false).SetConnectTimeout(time.Second))
		if t := x.client.Connect(); !t.WaitTimeout(2*time.Second) || t.Error() != nil {
			return false
		}
	}
	t := x.client.Publish(topic, 1, false, payload)
	return t.WaitTimeout(2*time.Second) && t.Error() == nil
}

// unlinked is a gateway that watches without a cloud, of a broker that gives no
// more than a few messages unacknowledged.
func unlinked(t *testing.T, sensors ...string) *gateway {
	t.Helper()
	s := newSite(t)
	rewrite(t, s.path("mosquitto.conf"), "max_inflight_messages 1024", "max_inflight_messages 4")
	s.broker.stop()
	s.startBroker()
	beds := map[string]string{}
	for i, sensor := range sensors {
		beds[fmt.Sprint(i+1)] = sensor
	}
	g := &gateway{site: s, id: gatewayID, ward: wardID, plan: plan{beds: beds}, wire: newWire(t, at(s.gatewayPort))}
	g.configure()
	rewrite(t, g.config(), "max_inflight: 1024", "max_inflight: 4")
	g.startAgent()
	return g
}

func rewrite(t *testing.T, file, old, with string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q: %v", file, old, err)
	}
	write(t, file, strings.Replace(string(text), old, with, 1))
}

// save has the broker write down what it holds.
func (s *site) save() {
	s.t.Helper()
	began := time.Now().Add(-time.Second)
	s.broker.cmd.Process.Signal(syscall.SIGUSR1)
	until(s.t, 10*time.Second, "the broker's file", func() error {
		x, err := os.Stat(s.path("mosquitto.db"))
		if err == nil && x.ModTime().Before(began) {
			err = fmt.Errorf("it is of %v", x.ModTime())
		}
		return err
	})
}

// lose removes what the broker has written down.
func (s *site) lose() {
	s.t.Helper()
	if err := os.Remove(s.path("mosquitto.db")); err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
}

// accounted waits until the agent knows of each message that was sent: it has
// taken it, or counts it as missing. It returns how many are.
func (g *gateway) accounted(x *sender) (missing int) {
	g.t.Helper()
	want := 0
	for _, n := range x.sent {
		want += n
	}
	seldom(g.t, 30*time.Second, "an account of every message", func() error {
		s, err := g.tryStatus()
		if err != nil {
			return err
		}
		taken := 0
		missing = 0
		for _, in := range s.Intake {
			taken += int(in.Accepted)
		}
		for _, x := range s.Sensors {
			missing += int(x.Missing)
		}
		if taken+missing != want {
			return fmt.Errorf("%d taken and %d missing of %d sent; set aside %v", taken, missing, want, s.setAside())
		}
		for reason, n := range s.setAside() {
			if reason != "repeat" {
				return fmt.Errorf("%d are set aside as %s", n, reason)
			}
		}
		return nil
	})
	return missing
}

func TestABrokerThatIsKilledInTheMiddleOfDeliveriesLosesNothingThatIsNotSaid(t *testing.T) {
	t.Parallel()
	for name, keeps := range map[string]bool{"its file survives": true, "its file is lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sensors := []string{"b1", "b2", "b3", "b4"}
			g := unlinked(t, sensors...)
			x := g.sender(sensors...)
			g.heard("b4")
			const kills = 4
			for i := range kills {
				if keeps {
					g.save()
				}
				time.Sleep(time.Duration(300+170*i) * time.Millisecond) // in the middle, anywhere
				g.broker.kill()
				if !keeps {
					g.lose()
				}
				g.startBroker()
				seldom(t, 30*time.Second, "the agent's connection", func() error {
					s, err := g.tryStatus()
					if err == nil && s.Broker.State != "connected" {
						err = fmt.Errorf("broker %s", s.Broker.State)
					}
					return err
				})
			}
			time.Sleep(2 * time.Second) // so that every hole has an end
			x.stop()
			missing := g.accounted(x)
			s := g.status()
			t.Logf("sent %v, %d sent again; %d missing, set aside %v, forgotten %d", x.sent, x.again, missing, s.setAside(), s.Broker.Forgotten)
			told := slices.ContainsFunc(s.Alerts, func(a agentAlert) bool { return a.Rule == "messages-missing" })
			if want := map[bool]uint64{true: 0, false: kills}[keeps]; s.Broker.Forgotten != want || told == keeps {
				t.Errorf("%d sessions are said to be forgotten, want %d; the alert is there: %v", s.Broker.Forgotten, want, told)
			}
			g.watching(true) // what is retained is there again
		})
	}
}

func TestWhatABrokerHeldForAnAgentAndLostIsSaidWithItsTimeAndCounted(t *testing.T) {
	t.Parallel()
	sensors := []string{"h1", "h2"}
	g := unlinked(t, sensors...)
	x := g.sender(sensors...)
	g.heard("h2")
	stopped := time.Now()
	g.agent.cmd.Process.Signal(syscall.SIGSTOP) // it is busy, say; the broker holds for it
	time.Sleep(3 * time.Second)
	g.broker.kill()
	g.lose()
	g.startBroker()
	back := time.Now()
	g.agent.cmd.Process.Signal(syscall.SIGCONT)
	var a agentAlert
	seldom(t, 30*time.Second, "the alert of what the broker forgot", func() error {
		s, err := g.tryStatus()
		if a = find(s.Alerts, "", "messages-missing"); err == nil && a.ID == "" {
			err = fmt.Errorf("open are %+v", s.Alerts)
		}
		return err
	})
	time.Sleep(2 * time.Second)
	x.stop()
	missing := g.accounted(x)
	b := g.status().Broker
	from, to := time.UnixMicro(b.MissingFrom), time.UnixMicro(b.MissingTo)
	t.Logf("stopped at %v, the broker was back at %v: %d missing from %v to %v; %s", stopped, back, missing, from, to, a.Text)
	if missing < 100 {
		t.Errorf("%d frames are counted as missing of those of 3 s at 200/s", missing)
	}
	if from.Before(stopped.Add(-3*time.Second)) || from.After(stopped.Add(time.Second)) || to.Before(back) || b.Forgotten != 1 {
		t.Errorf("it says %+v", b)
	}
	if a.Priority != "low" || !strings.Contains(a.Text, to.UTC().Format(time.DateTime)) {
		t.Errorf("the alert is %+v", a)
	}
	// It outlives the agent, which may not say it a second time.
	g.agent.kill()
	g.startAgent()
	if s := g.status(); find(s.Alerts, "", "messages-missing").ID != a.ID || s.Broker.Forgotten != 0 {
		t.Errorf("after a restart the alerts are %+v, %+v", s.Alerts, s.Broker)
	}
}
