//go:build bench

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	replayRounds = 3
	replayTarget = 100_000 // records a second
	replayAlert  = 250.0   // ms, p99 of a live alert meanwhile
)

// benchReplay measures how fast the cloud has what a ward of 40 beds kept while
// it was without one for a day, and how long an alert takes that is raised
// meanwhile.
func benchReplay(t *testing.T, x *table) {
	before := machineBusy()
	ward := filledWard(t)
	drain, payloads := bareDrain(t, filepath.Join(ward, "outbox.db"))
	carry := bareLink(t, payloads)
	var rounds [][2]float64
	for range replayRounds {
		rounds = append(rounds, measureReplay(t, ward, false))
	}
	others := before.since()
	how := fmt.Sprintf("median of %d rounds; %d records of 24 h, 40 beds, by mutual TLS to a real cloud; the floor reads and deletes the same rows; a bare mutual TLS WebSocket carries %s/s",
		replayRounds, len(payloads), number(carry))
	m := medians(rounds)
	fast, soon := m[0] >= replayTarget, m[1] <= replayAlert
	x.add(figure{"B5", "replay of a day, 40 beds", "/s", m[0], drain, ">= 100000/s", fast, others, how})
	x.add(figure{"B5", "live alert on a screen meanwhile, p99", "ms", m[1], replayAlert, "<= 250 ms", soon, others, "same; 40 alerts/s from 400 messages/s; the floor is the target"})
	if !fast || !soon {
		measureReplay(t, ward, true)
	}
}

// filledWard is the data folder of a gateway of 40 beds after a day without a
// cloud.
func filledWard(t testing.TB) string {
	t.Helper()
	dir := folder(t)
	write(t, filepath.Join(dir, "mqtt-password"), mqttPassword)
	fillOutbox(t, benchAgentConfig(t, dir, "agent.yaml", "127.0.0.1:1", "gateway: "+gatewayID+"\n"+benchWards(sensorNames(benchBeds)...)))
	return filepath.Join(dir, "agent")
}

// measureReplay is the records a second, and the p99 of a live alert in ms.
func measureReplay(t testing.TB, ward string, profiled bool) [2]float64 {
	t.Helper()
	s := &site{t: t, folder: folder(t), brokerPort: port(t), peoplePort: port(t), gatewayPort: port(t)}
	s.startBroker()
	defer s.broker.stop()
	s.configureCloud()
	s.startCloud()
	defer func() { s.cloud.stop() }()
	if profiled {
		s.cloud.stop()
		s.cloud = startProfiled(t, profiledCloud, s.cloudConfig(), "B5")
		until(t, 20*time.Second, "the cloud", func() error { _, err := s.stranger().try("GET", "/healthz", nil, nil); return err })
	}
	g := &gateway{site: s, id: gatewayID, ward: screenWard, wire: newWire(t, at(s.gatewayPort))}
	config := benchAgentConfig(t, s.folder, g.id+".yaml", at(s.brokerPort),
		fmt.Sprintf("cloud: {url: \"wss://%s/link\"}\n", g.wire.addr())+benchWards(sensorNames(benchBeds)...))
	g.enrol()
	for _, name := range []string{"outbox.db", "outbox.key"} {
		copyFile(t, filepath.Join(ward, name), s.path("agent/"+name))
	}
	c := s.signIn(s.account("screen", "viewer", screenWard))

	watch := newAlertWatch()
	watch.listen(t, at(s.brokerPort))
	g.wire.cut()
	if profiled {
		g.agent = startProfiled(t, profiledAgent, config, "B5")
	} else {
		g.agent = start(t, "wardline-agent", program(t, "wardline-agent"), "run", "--config", config)
	}
	defer func() { g.agent.stop() }()
	watched(t, g.agent, watch)

	screen := newAlertWatch()
	followScreen(t, strings.Replace(c.base, "https", "wss", 1)+"/api/v1/live", &http.Client{Transport: c.http.Transport, Jar: c.http.Jar}, screen)
	l := newLoad(t, at(s.brokerPort), sensorNames(benchBeds), screen, inHalves)
	ask := controlClient(s.path("agent/control.sock"))
	owed := ask.status(t).last()
	if owed < dayOfRecords {
		t.Fatalf("the gateway owes %d records, want a day's: more than %d", owed, dayOfRecords)
	}
	g.wire.restore()
	var begin int64
	until(t, 60*time.Second, "the link", func() error {
		u := ask.status(t).Uplink
		if begin = u.Since; u.State != "connected" {
			return fmt.Errorf("it is %s: %s", u.State, u.Error)
		}
		return nil
	})
	done := make(chan time.Time)
	go func() { done <- ask.drained(owed) }()
	for end := (time.Time{}); ; {
		l.pace(replayRate, 100*time.Millisecond)
		select {
		case end = <-done:
		default:
			continue
		}
		if end.IsZero() {
			t.Fatal("the agent does not say how far it is")
		}
		rate := float64(owed) / end.Sub(time.UnixMicro(begin)).Seconds()
		q := quantiles(t, "live alert during the replay", screen.times(t))
		t.Logf("replay: %d records in %v, %.0f/s", owed, end.Sub(time.UnixMicro(begin)), rate)
		return [2]float64{rate, q[1]}
	}
}

// dayOfRecords is fewer than there are of a day of 40 beds: a summary each a
// minute of three or more signals.
const dayOfRecords = 40 * 24 * 60

// replayRate is messages a second of the live load beside the replay.
const replayRate = 400

// inHalves has each sensor raise an alert once a second for half of it, one after
// the other.
func inHalves(i, n int) bool {
	const each = replayRate / benchBeds
	return (n+i*each/benchBeds)%each >= each/2
}

// A control asks a running agent as its tool does, without a process a question.
type control struct{ http.Client }

func controlClient(socket string) *control {
	return &control{http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// A controlStatus is what the measurements read of a status.
type controlStatus struct {
	Uplink struct {
		State, Error string
		Since        int64
	}
	Lanes  []struct{ Last, Pending uint64 }
	Intake []struct{ Accepted uint64 }
	Flash  struct {
		Today  int64
		PerDay int64 `json:"per_day"`
	}
}

func (c *control) ask() (s controlStatus, err error) {
	r, err := c.Get("http://agent/status")
	if err != nil {
		return s, err
	}
	defer r.Body.Close()
	return s, json.NewDecoder(r.Body).Decode(&s)
}

func (c *control) status(t testing.TB) controlStatus {
	t.Helper()
	s, err := c.ask()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s controlStatus) accepted() (n uint64) {
	for _, in := range s.Intake {
		n += in.Accepted
	}
	return n
}

// last is how many records there have been, in all lanes.
func (s controlStatus) last() (n uint64) {
	for _, l := range s.Lanes {
		n += l.Last
	}
	return n
}

// drained is when the cloud had so many records; never when the agent does not
// say.
func (c *control) drained(records uint64) time.Time {
	for {
		s, err := c.ask()
		if err != nil {
			return time.Time{}
		}
		now := time.Now()
		waiting := uint64(0)
		for _, l := range s.Lanes {
			waiting += l.Pending
		}
		if s.last()-waiting >= records {
			return now
		}
		time.Sleep(20 * time.Millisecond)
	}
}
