//go:build system

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheDemonstrationShowsATachycardiaThatIsAcknowledgedToItsGateway runs the
// command of the README, twice on the same data.
func TestTheDemonstrationShowsATachycardiaThatIsAcknowledgedToItsGateway(t *testing.T) {
	t.Parallel()
	s := &site{t: t, folder: folder(t), brokerPort: port(t), peoplePort: port(t), gatewayPort: port(t)}
	g := &gateway{site: s, id: "agent", ward: "7e"}
	demo := s.demonstration()
	nurse := s.signIn(s.demoAccount(t, "nurse"))
	a := nurse.openAlert(60*time.Second, "3", "hr-extreme-high")
	if got := nurse.post("/api/v1/alerts/"+a.ID+"/acknowledge", map[string]any{}, nil); got.Status != 200 {
		t.Fatalf("acknowledge: %v", got)
	}
	g.acknowledged(a.ID, "nurse")
	seldom(t, 15*time.Second, "the acknowledgement on the ward's topic", func() error {
		var m bedAlerts
		if err := g.retained(alertsTopic("7e", "3"), &m); err != nil {
			return err
		}
		if len(m.Alerts) == 0 || m.Alerts[0].ID != a.ID || !m.Alerts[0].Acknowledged {
			return fmt.Errorf("it says %+v", m)
		}
		return nil
	})
	other := run(t, program(t, "demo"), "-data", folder(t), "-page", at(port(t)), "-gateways", at(port(t)), "-broker", at(s.brokerPort))
	if other.code != 1 || !strings.Contains(other.err, "another program has this port") || !strings.Contains(other.err, "-broker") || !strings.Contains(other.out, "first administrator") {
		t.Errorf("a second one on the same broker's port: exit %d, %s%s", other.code, other.out, other.err)
	}
	demo.cmd.Process.Signal(syscall.SIGINT)
	demo.wait(20 * time.Second)
	if said := demo.out.String(); !strings.Contains(said, "everything is kept in") || demo.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("Ctrl-C ends it with %d, saying %s", demo.cmd.ProcessState.ExitCode(), said)
	}

	demo = s.demonstration()
	nurse = s.signIn(s.demoAccount(t, "nurse"))
	if again := nurse.alert(a.ID); again.Ack == nil || again.Ack.By != "nurse" {
		t.Errorf("after a second start the alert is %+v", again)
	}
	if early := of(nurse.alerts("all"), "3", "no-heart-rate"); len(early) > 0 {
		t.Errorf("the time between two starts has raised %+v", early)
	}
	demo.stop()

	// As after a start that was cut off before it had written the passwords down.
	if err := os.Remove(s.path("sign-in.json")); err != nil {
		t.Fatal(err)
	}
	s.demonstration()
	s.signIn(s.demoAccount(t, "nurse"))
	s.signIn(s.demoAccount(t, "technician"))
}

// demonstration starts the demonstration and waits until it greets.
func (s *site) demonstration() *proc {
	s.t.Helper()
	p := start(s.t, "demo", program(s.t, "demo"), "-data", s.folder,
		"-page", at(s.peoplePort), "-gateways", at(s.gatewayPort), "-broker", at(s.brokerPort))
	until(s.t, 60*time.Second, "the demonstration's greeting", func() error {
		if said := p.out.String(); !strings.Contains(said, "Ctrl-C ends it") {
			return fmt.Errorf("it says %q and %q", said, p.err.String())
		}
		return nil
	})
	return p
}

// demoAccount is an account as the demonstration keeps it for its second start.
func (s *site) demoAccount(t *testing.T, name string) account {
	t.Helper()
	text, err := os.ReadFile(s.path("sign-in.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []struct{ Name, Password string }
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Name == name {
			return account{a.Name, a.Password}
		}
	}
	t.Fatalf("no account %s in %s", name, text)
	return account{}
}
