//go:build bench

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wardline/firmware-protocol/virtual"
)

const (
	screenRounds = 3
	screenTime   = 15 * time.Second
	ecgSensors   = 40
	linkSensors  = 80 // of the load: a gateway's wards must fit into its greeting to the cloud
)

// benchScreen measures the time from a message to the alert on a screen's
// WebSocket, committed on the gateway and in the cloud, while the gateway takes
// the ECG of a ward beside the load.
func benchScreen(t *testing.T, x *table) {
	var floor, system [][2]float64
	before := machineBusy()
	for range screenRounds {
		floor = append(floor, measureChain(t))
		system = append(system, measureSystem(t))
	}
	others := before.since()
	how := fmt.Sprintf("median of %d rounds in turn; %d messages/s from %d sensors, 40 alerts/s, %d two-lead ECG; the floor is broker, append, mTLS WebSocket, append, TLS WebSocket",
		screenRounds, wardRate, linkSensors, ecgSensors)
	f, s := medians(floor), medians(system)
	x.add(figure{"B4", "message to alert on a screen, p50", "ms", s[0], f[0], "<= 20 ms", s[0] <= 20, others, how})
	x.add(figure{"B4", "message to alert on a screen, p99", "ms", s[1], f[1], "<= 100 ms", s[1] <= 100, others, "same"})
}

// screenWard is the ward that the screen shows: the first of the load's.
var screenWard = benchWardOf("s0000")

// spread is the load's sensors, one of each ward in turn.
func spread() []string {
	names, wards := sensorNames(linkSensors), linkSensors/benchBeds
	out := make([]string, len(names))
	for i := range out {
		out[i] = names[i%wards*benchBeds+i/wards]
	}
	return out
}

// onceASecond makes every bed of the screen's ward raise an alert once a second,
// one after the other, which stays for half of it.
func onceASecond(i, n int) bool {
	const wards, each = linkSensors / benchBeds, wardRate / linkSensors // messages a second of a sensor
	bed := i / wards
	return i%wards == 0 && (n+bed*each/benchBeds)%each >= each/2
}

func measureChain(t testing.TB) [2]float64 {
	t.Helper()
	s := startBenchBroker(t)
	defer s.broker.stop()
	p, url, ca := startBareChain(t, at(s.brokerPort))
	defer p.stop()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return measureScreen(t, s, url, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}, p.name)
}

func measureSystem(t testing.TB) [2]float64 {
	t.Helper()
	s := newSite(t)
	defer s.broker.stop()
	defer s.cloud.stop()
	ecg := virtual.Config{Sensors: ecgSensors}.SensorNames()
	wards := benchWards(sensorNames(linkSensors)...) + "  - id: ecg\n    beds:\n"
	token := []string{"gateway", "token", "--ward", "ecg"}
	for i := range linkSensors / benchBeds {
		token = append(token, "--ward", fmt.Sprintf("w%02d", i))
	}
	for _, name := range ecg {
		wards += benchBed(name)
	}
	g := &gateway{site: s, id: gatewayID}
	config := benchAgentConfig(t, s.folder, g.id+".yaml", at(s.brokerPort), wards)
	must(t, program(t, "wardline-agent"), "enrol", "--config", config, strings.TrimSpace(s.operator(append(token, g.id)...)))
	person := s.account("screen", "viewer", screenWard)
	g.startAgent()
	defer g.agent.stop()
	g.linked()
	c := s.signIn(person)
	return measureScreen(t, s, strings.Replace(c.base, "https", "wss", 1)+"/api/v1/live", &http.Client{Transport: c.http.Transport, Jar: c.http.Jar}, "wardline")
}

func measureScreen(t testing.TB, s *site, url string, c *http.Client, name string) [2]float64 {
	t.Helper()
	watch := newAlertWatch()
	followScreen(t, url, c, watch)
	stop := startECG(t, s)
	defer stop()
	l := newLoad(t, at(s.brokerPort), spread(), watch, onceASecond)
	l.pace(wardRate, 4*time.Second)
	watch.times(t)
	l.pace(wardRate, screenTime)
	return quantiles(t, name, watch.times(t))
}

// startECG sends the ward's ECG, a frame a second from each sensor, until the
// returned function is called.
func startECG(t testing.TB, s *site) (stop func()) {
	return startWard(t, s, virtual.Config{Sensors: ecgSensors})
}

// startWard sends as virtual patients do until the returned function is called.
func startWard(t testing.TB, s *site, c virtual.Config) (stop func()) {
	c.Broker, c.Username, c.Password = "tcp://"+at(s.brokerPort), "virtual", mqttPassword
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		err := virtual.Run(ctx, c)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("virtual patients: %v", err)
		}
	})
	return func() { cancel(); done.Wait() }
}

// followScreen opens a screen's socket and tells watch of every alert on it.
func followScreen(t testing.TB, url string, c *http.Client, watch *alertWatch) {
	t.Helper()
	conn, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{HTTPClient: c})
	if err != nil {
		t.Fatalf("the screen's socket: %v", err)
	}
	conn.SetReadLimit(16 << 20)
	if err := conn.Write(context.Background(), websocket.MessageText, []byte(`{"t":"hello","cursor":""}`)); err != nil {
		t.Fatalf("the screen's socket: %v", err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			_, b, err := conn.Read(context.Background())
			if err != nil {
				return // the alerts that then do not come fail the measurement
			}
			now := time.Now()
			var change struct {
				T     string
				Alert struct{ Bed, Phase string }
			}
			if json.Unmarshal(b, &change) == nil && change.T == "change" && change.Alert.Phase == "active" {
				watch.came(change.Alert.Bed, now)
			}
		}
	})
	t.Cleanup(func() { conn.CloseNow(); done.Wait() })
}
