//go:build system

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A tortured is a ward on a gateway of its own: its agent, its broker, its relay,
// the wire to the cloud and, where the machine lets one be mounted, a disk of its
// own for the agent.
type tortured struct {
	*gateway
	cloud         *site
	relay         *relay
	agent, broker *post
	disk          bool   // the data folder is a small file system of its own
	older         string // a copy of the data folder, "" when there is none
	clockFile     string
	ask           http.Client
}

const diskBytes = "96m"

func newTortured(s *site, n, beds int) *tortured {
	t := s.t
	name := fmt.Sprintf("w%d", n)
	mine := &site{t: t, folder: s.path(name), brokerPort: port(t), peoplePort: s.peoplePort, gatewayPort: s.gatewayPort}
	if err := os.Mkdir(mine.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	pl := plan{beds: map[string]string{}, packs: "[technical, torture.yaml]"}
	for i := range beds {
		pl.beds[fmt.Sprint(i+1)] = fmt.Sprintf("p%d", i+1)
	}
	write(t, mine.path("torture.yaml"), torturePack)
	g := &gateway{site: mine, id: "gw-" + name, ward: name, plan: pl, wire: newWire(t, at(s.gatewayPort))}
	x := &tortured{gateway: g, cloud: s, clockFile: mine.path("clock")}
	x.setClock(0)
	g.configure()
	data := g.path(g.id)
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	x.disk = mountDisk(t, data, diskBytes)
	program, err := tortureAgent()
	if err != nil {
		t.Fatal(err)
	}
	must(t, program, "enrol", "--config", g.config(), s.token(g.id, g.ward, time.Hour))
	mine.configureBroker()
	x.broker = newPost(t, "mosquitto of "+name, mine.path("broker.log"), nil, mosquitto(), "-c", mine.path("mosquitto.conf"))
	x.agent = newPost(t, "agent of "+name, mine.path("agent.log"), []string{"TORTURE_CLOCK=" + x.clockFile}, program, "run", "--config", g.config())
	x.ask.Timeout = 5 * time.Second
	x.ask.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(data, "control.sock"))
	}}
	x.broker.start()
	x.agent.start()
	x.up()
	x.relay = newRelay(t, at(mine.brokerPort), beds)
	return x
}

// state is the agent's status.
func (x *tortured) state() (agentStatus, error) {
	var s agentStatus
	resp, err := x.ask.Get("http://agent/status")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("status: %s", resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// up waits until the agent has its broker and its disk.
func (x *tortured) up() {
	x.t.Helper()
	until(x.t, 45*time.Second, "the agent and the broker of "+x.ward, func() error {
		s, err := x.state()
		if err == nil && s.Broker.State != "connected" {
			err = fmt.Errorf("broker %s: %s", s.Broker.State, s.Broker.Error)
		}
		return err
	})
}

// empty waits until the cloud has taken all that the gateway has made.
func (x *tortured) empty() {
	x.t.Helper()
	until(x.t, 90*time.Second, "an empty outbox of "+x.ward, func() error {
		s, err := x.state()
		if err != nil {
			return err
		}
		if s.Uplink.State != "connected" {
			return fmt.Errorf("uplink %s: %s", s.Uplink.State, s.Uplink.Error)
		}
		for _, l := range s.Lanes {
			// Vitals are made all the time: what is left of them is what was made just now.
			if l.Lane == "alerts" && l.Pending > 0 || l.Pending > 4 {
				return fmt.Errorf("%d records of lane %s wait", l.Pending, l.Lane)
			}
		}
		return nil
	})
}

// setClock shifts the agent's wall clock. One that was set wrong is not called
// synchronised: that it is wrong is what a gateway cannot know.
func (x *tortured) setClock(by time.Duration) {
	next := x.clockFile + ".next"
	write(x.t, next, fmt.Sprintln(by, by == 0))
	if err := os.Rename(next, x.clockFile); err != nil {
		x.t.Fatal(err)
	}
}

// fill leaves no byte free on the agent's disk, and returns what gives them back.
func (x *tortured) fill() (free func()) {
	x.t.Helper()
	file := filepath.Join(x.path(x.id), "filler")
	f, err := os.Create(file)
	if err != nil {
		x.t.Fatal(err)
	}
	defer f.Close()
	for n := 1 << 20; n >= 1; {
		if _, err := f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
	return func() {
		if err := os.Remove(file); err != nil {
			x.t.Error(err)
		}
	}
}

// copyDisk keeps a copy of the data folder of an agent that does not run.
func (x *tortured) copyDisk() {
	older := x.path("older")
	if err := os.RemoveAll(older); err != nil {
		x.t.Fatal(err)
	}
	x.older = older
	copyFiles(x.t, older, x.path(x.id))
	x.relay.copy()
}

// putBack gives an agent that does not run its disk as it was at copyDisk.
func (x *tortured) putBack() {
	data := x.path(x.id)
	entries, err := os.ReadDir(data)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(data, e.Name())); err != nil {
			x.t.Fatal(err)
		}
	}
	copyFiles(x.t, data, x.older)
}

// copyFiles copies the plain files of one folder into another.
func copyFiles(t testing.TB, to, from string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue // the socket, which its successor makes anew
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
