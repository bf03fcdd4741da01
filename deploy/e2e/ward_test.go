//go:build system || bench

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A site is a cloud and a broker as the README sets them up: each program a
// process of its own and every address on this machine's loopback.
type site struct {
	t      testing.TB
	folder string // short, because an agent's control socket is in it

	brokerPort, peoplePort, gatewayPort int

	broker, cloud *proc
	admin         account
}

// A gateway is an agent that watches one ward of a site. Its way to the cloud
// can be cut.
type gateway struct {
	*site
	id, ward string
	plan     plan
	wire     *wire
	agent    *proc
}

// A plan is what a test wants of a gateway.
type plan struct {
	beds    map[string]string // bed to sensor
	packs   string            // a list in YAML; "" = those that the agent ships with
	summary string            // "" = the agent's own
}

const (
	gatewayID    = "gw-7w"
	wardID       = "7w"
	mqttPassword = "only-for-tests"
)

// newSite starts a broker and a cloud.
func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, folder: folder(t), brokerPort: port(t), peoplePort: port(t), gatewayPort: port(t)}
	s.startBroker()
	s.configureCloud()
	s.startCloud()
	return s
}

// newPair is a site with the one gateway gw-7w in ward 7w, whose link is up.
func newPair(t testing.TB, pl plan) *gateway {
	t.Helper()
	g := newSite(t).newGateway(gatewayID, wardID, pl)
	g.linked()
	return g
}

// newGateway enrols and starts an agent.
func (s *site) newGateway(id, ward string, pl plan) *gateway {
	s.t.Helper()
	return s.newGatewayWith(id, ward, pl, nil)
}

// newGatewayWith is newGateway with files of rules beside its configuration.
func (s *site) newGatewayWith(id, ward string, pl plan, files map[string]string) *gateway {
	s.t.Helper()
	for name, text := range files {
		if have, err := os.ReadFile(s.path(name)); err == nil && string(have) == text {
			continue // another gateway may be reading it
		}
		write(s.t, s.path(name), text)
	}
	g := &gateway{site: s, id: id, ward: ward, plan: pl, wire: newWire(s.t, at(s.gatewayPort))}
	g.configure()
	g.enrol()
	g.startAgent()
	return g
}

func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("left for you to look at: %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return dir
}

func (s *site) path(name string) string { return filepath.Join(s.folder, name) }

// startBroker runs mosquitto with the settings and the access list that are
// shipped for a gateway.
func (s *site) startBroker() {
	s.t.Helper()
	conf := s.path("mosquitto.conf")
	if _, err := os.Stat(conf); err != nil {
		s.configureBroker()
	}
	s.broker = start(s.t, "mosquitto", mosquitto(), "-c", conf)
	seldom(s.t, 10*time.Second, "the broker", func() error {
		if got := run(s.t, "mosquitto_sub", s.mqtt("station", "-t", "wl/1/ward/none/agent", "-E")...); got.code != 0 {
			return fmt.Errorf("mosquitto_sub: exit %d: %s", got.code, got.err)
		}
		return nil
	})
}

// configureBroker writes those settings, for the addresses and the folder of s.
func (s *site) configureBroker() {
	s.t.Helper()
	shipped, err := os.ReadFile("../edge/mosquitto.conf")
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := os.ReadFile("../edge/mosquitto.acl")
	if err != nil {
		s.t.Fatal(err)
	}
	text := strings.NewReplacer(
		"listener 1883 0.0.0.0", fmt.Sprintf("listener %d 127.0.0.1", s.brokerPort),
		"/etc/mosquitto/wardline.passwd", s.path("mosquitto.passwd"),
		"/etc/mosquitto/wardline.acl", write(s.t, s.path("mosquitto.acl"), string(list)),
		"/var/lib/mosquitto/", s.folder+"/",
	).Replace(string(shipped))
	if os.Getuid() == 0 {
		text += "\nuser root\n"
	}
	write(s.t, s.path("mosquitto.conf"), text)
	passwords := write(s.t, s.path("mosquitto.passwd"), "")
	for _, user := range []string{"agent", "station", "relay1", "virtual", "player", "player2"} {
		must(s.t, "mosquitto_passwd", "-b", passwords, user, mqttPassword)
	}
	write(s.t, s.path("mqtt-password"), mqttPassword)
}

// mqtt is the arguments with which one of mosquitto's clients signs in.
func (s *site) mqtt(user string, more ...string) []string {
	return append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(s.brokerPort), "-u", user, "-P", mqttPassword}, more...)
}

// publish is the README's mosquitto_pub.
func (s *site) publish(topic, payload string) {
	s.t.Helper()
	must(s.t, "mosquitto_pub", s.mqtt("relay1", "-q", "1", "-t", topic, "-m", payload)...)
}

// publishFile sends a file's content as one message.
func (s *site) publishFile(topic, file string) {
	s.t.Helper()
	must(s.t, "mosquitto_pub", s.mqtt("relay1", "-q", "1", "-t", topic, "-f", file)...)
}

// retained is the message that a ward station which connects now is given.
func (s *site) retained(topic string, v any) error {
	got := run(s.t, "mosquitto_sub", s.mqtt("station", "-q", "1", "-t", topic, "-C", "1", "-W", "3")...)
	if got.code != 0 {
		return fmt.Errorf("nothing is retained on %s (exit %d) %s", topic, got.code, got.err)
	}
	return json.Unmarshal([]byte(got.out), v)
}

func (g *gateway) configure() {
	g.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "data: %s\nmqtt:\n  url: mqtt://%s\n  username: agent\n  password_file: mqtt-password\n  max_inflight: 1024\n", g.id, at(g.brokerPort))
	fmt.Fprintf(&b, "cloud: {url: \"wss://%s/link\"}\n", g.wire.addr())
	if g.plan.packs != "" {
		fmt.Fprintf(&b, "packs: %s\n", g.plan.packs)
	}
	if g.plan.summary != "" {
		fmt.Fprintf(&b, "summary_every: %s\n", g.plan.summary)
	}
	fmt.Fprintf(&b, "wards:\n  - id: %s\n    name: Ward %s\n    beds:\n", g.ward, g.ward)
	beds := slices.SortedFunc(maps.Keys(g.plan.beds), func(x, y string) int { return cmp.Or(len(x)-len(y), strings.Compare(x, y)) })
	for _, bed := range beds {
		fmt.Fprintf(&b, "      - {bed: %q, sensor: %q, patient: k-%s}\n", bed, g.plan.beds[bed], bed)
	}
	write(g.t, g.config(), b.String())
}

func (g *gateway) config() string { return g.path(g.id + ".yaml") }

func (g *gateway) startAgent() {
	g.t.Helper()
	g.agent = start(g.t, "wardline-agent", program(g.t, "wardline-agent"), "run", "--config", g.config())
	seldom(g.t, 15*time.Second, "the agent's broker", func() error {
		s, err := g.tryStatus()
		if err == nil && s.Broker.State != "connected" {
			err = fmt.Errorf("broker %s: %s", s.Broker.State, s.Broker.Error)
		}
		return err
	})
}

// linked waits until the gateway's link to the cloud is up and everything that
// was owed is there.
func (g *gateway) linked() {
	g.t.Helper()
	seldom(g.t, 45*time.Second, "the link to the cloud", func() error {
		s, err := g.tryStatus()
		if err == nil && s.Uplink.State != "connected" {
			err = fmt.Errorf("uplink %s: %s", s.Uplink.State, s.Uplink.Error)
		}
		return err
	})
}

// drained waits until the cloud has every record that the gateway made so far.
func (g *gateway) drained(within time.Duration) {
	g.t.Helper()
	seldom(g.t, within, "an empty outbox", func() error {
		s, err := g.tryStatus()
		if err != nil {
			return err
		}
		for _, l := range s.Lanes {
			if l.Pending > 0 {
				return fmt.Errorf("%d records of lane %s wait", l.Pending, l.Lane)
			}
		}
		return nil
	})
}

// What wardline-agent status --json says, as far as these tests read it.
type agentStatus struct {
	Outbox struct{ Commits uint64 }
	Broker struct {
		State, Peer, Error string
		Forgotten          uint64
		MissingFrom        int64 `json:"missing_from"`
		MissingTo          int64 `json:"missing_to"`
	}
	Uplink struct{ State, Peer, Error string }
	Lanes  []struct {
		Lane          string
		Last, Pending uint64
		Evicted       uint64
	}
	Sensors []agentSensor
	Alerts  []agentAlert
	Intake  []struct {
		Source   string
		Accepted uint64
		SetAside map[string]uint64 `json:"set_aside"`
	}
	Trouble []string
}

type agentSensor struct {
	Sensor, Bed, State string
	Last               int64
	Missing            uint64
}

type agentAlert struct {
	ID, Ward, Bed, Priority, Kind, Rule, Text, Phase string
	Onset                                            int64
	AcknowledgedBy                                   string `json:"acknowledged_by"`
}

func (s agentStatus) setAside() map[string]uint64 {
	sum := map[string]uint64{}
	for _, in := range s.Intake {
		for reason, n := range in.SetAside {
			sum[reason] += n
		}
	}
	return sum
}

func (g *gateway) tryStatus() (agentStatus, error) {
	var s agentStatus
	x := run(g.t, program(g.t, "wardline-agent"), "status", "--json", "--config", g.config())
	if x.code != 0 {
		return s, fmt.Errorf("status: exit %d: %s", x.code, x.err)
	}
	return s, json.Unmarshal([]byte(x.out), &s)
}

func (g *gateway) status() agentStatus {
	g.t.Helper()
	s, err := g.tryStatus()
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

// A line of wardline-agent tail --json.
type tailLine struct {
	At                       int64
	What, Where, Alert, Text string
}

// A tail follows the agent from now on.
type tail struct{ *proc }

func (g *gateway) tail() tail {
	g.t.Helper()
	return tail{start(g.t, "wardline-agent tail", program(g.t, "wardline-agent"), "tail", "--json", "--config", g.config())}
}

func (x tail) lines() []tailLine {
	var out []tailLine
	for line := range strings.SplitSeq(x.out.String(), "\n") {
		var l tailLine
		if json.Unmarshal([]byte(line), &l) == nil {
			out = append(out, l)
		}
	}
	return out
}

// in is the same gateway for a part of the test, which fails by itself.
func (g *gateway) in(t testing.TB) *gateway {
	site, out := *g.site, *g
	site.t, out.site = t, &site
	return &out
}

// heard waits until the agent has heard a sensor within the last seconds.
func (g *gateway) heard(sensor string) {
	g.t.Helper()
	seldom(g.t, 20*time.Second, "a word from sensor "+sensor, func() error {
		s, err := g.tryStatus()
		if err != nil {
			return err
		}
		for _, x := range s.Sensors {
			if x.Sensor == sensor && time.Since(time.UnixMicro(x.Last)) < 5*time.Second && x.State == "live" {
				return nil
			}
		}
		return fmt.Errorf("it has %+v", s.Sensors)
	})
}

// acknowledged waits until the agent knows who acknowledged an alert.
func (g *gateway) acknowledged(id, by string) {
	g.t.Helper()
	seldom(g.t, 20*time.Second, "the acknowledgement at the gateway", func() error {
		s, err := g.tryStatus()
		if err != nil {
			return err
		}
		for _, x := range s.Alerts {
			if x.ID == id && x.AcknowledgedBy == by {
				return nil
			}
		}
		return fmt.Errorf("it has %+v", s.Alerts)
	})
}

// watching waits until the ward's stations are told that somebody watches, or not.
func (g *gateway) watching(yes bool) {
	g.t.Helper()
	seldom(g.t, 15*time.Second, fmt.Sprintf("a heartbeat that says watching: %v", yes), func() error {
		var m struct{ Watching bool }
		if err := g.retained("wl/1/ward/"+g.ward+"/agent", &m); err != nil {
			return err
		}
		if m.Watching != yes {
			return fmt.Errorf("it says %v", m.Watching)
		}
		return nil
	})
}
