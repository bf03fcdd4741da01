//go:build system

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTheReadmesWardWorksAsItIsWritten types what the README says for one real
// ward, with other ports.
func TestTheReadmesWardWorksAsItIsWritten(t *testing.T) {
	t.Parallel()
	steps := readmeSteps(t)
	if len(steps) != 7 || !strings.Contains(steps[0][0], "make build") {
		t.Fatalf("the README has %d steps: %q", len(steps), steps)
	}
	s := &site{t: t, folder: folder(t), brokerPort: port(t), peoplePort: port(t), gatewayPort: port(t)}
	cloud, user, broker, gateway, patient, look := steps[1][0], steps[2][0], steps[3][0], steps[4][0], steps[5][0], steps[6][0]

	s.cloud = s.types("step 2: the cloud", foreground(cloud))
	until(t, 20*time.Second, "the administrator's password", func() error {
		if firstPassword.FindString(s.cloud.out.String()) == "" {
			return fmt.Errorf("it says %q", s.cloud.out.String())
		}
		return nil
	})
	nurse := account{"nurse", "correct horse battery"}
	add := s.types("step 3: somebody who may acknowledge", user)
	fmt.Fprintln(add.in, nurse.password)
	add.wait(20 * time.Second)
	s.broker = s.types("step 4: the broker", foreground(broker))

	// The token is copied from one command to the next.
	gateway = strings.Replace(gateway, "wardline-cloud gateway token", "token=$(wardline-cloud gateway token", 1)
	gateway = strings.Replace(gateway, "gw-7w ", "gw-7w) ", 1)
	gateway = strings.Replace(gateway, "enrol --config agent.yaml wl1.…", `enrol --config agent.yaml "$token"`, 1)
	g := s.types("step 5: the gateway", "set -e\n"+foreground(gateway))
	c := s.signIn(nurse)
	until(t, 30*time.Second, "the ward in the cloud", func() error {
		var got struct{ Wards []struct{ Name string } }
		if a := c.get("/api/v1/wards", &got); a.Status != 200 || len(got.Wards) != 1 || got.Wards[0].Name != "Ward 7 West" {
			return fmt.Errorf("%v: %+v, and the gateway says %s", a, got, g.err.end())
		}
		return nil
	})

	began := time.Now()
	s.types("step 6: a patient", patient)
	a := c.openAlert(30*time.Second, "12", "hr-extreme-high")
	t.Logf("%q %v after the patient was put on", a.Text, time.Since(began).Round(time.Millisecond))

	status := s.types("step 7: look closer", strings.SplitN(look, "\n", 2)[0])
	status.wait(10 * time.Second)
	for _, word := range []string{"gw-7w", "connected", "*** bed 12", "Heart rate 190"} {
		if !strings.Contains(status.out.String(), word) {
			t.Errorf("the status says nothing of %q:\n%s", word, status.out.String())
		}
	}
}

// readmeSteps is the shell blocks of the README's section on one real ward, by step.
func readmeSteps(t *testing.T) (steps [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## One real ward\n")
	section, _, _ = strings.Cut(section, "\n## ")
	inside := false
	for line := range strings.Lines(section) {
		switch {
		case len(line) > 2 && line[0] >= '1' && line[0] <= '9' && line[1] == '.':
			steps = append(steps, nil)
		case strings.TrimSpace(line) == "```sh":
			inside = true
			steps[len(steps)-1] = append(steps[len(steps)-1], "")
		case strings.TrimSpace(line) == "```":
			inside = false
		case inside:
			blocks := steps[len(steps)-1]
			blocks[len(blocks)-1] += strings.TrimPrefix(line, "   ")
		}
	}
	return steps
}

// foreground has the shell become the last command, so that stopping the one
// stops the other.
func foreground(script string) string {
	script = strings.TrimRight(script, "\n")
	i := strings.LastIndexByte(script, '\n') + 1
	return script[:i] + "exec " + script[i:]
}

// types runs a step in the site's folder.
func (s *site) types(name, script string) *proc {
	s.t.Helper()
	ports := strings.NewReplacer("8443", fmt.Sprint(s.peoplePort), "8444", fmt.Sprint(s.gatewayPort), "1883", fmt.Sprint(s.brokerPort),
		"mosquitto_pub ", fmt.Sprintf("mosquitto_pub -p %d ", s.brokerPort))
	bin, sbin := filepath.Dir(program(s.t, "wardline-agent")), filepath.Dir(mosquitto())
	before := fmt.Sprintf("cd '%s'\nexport PATH='%s':\"$PATH\":'%s'\n", s.folder, bin, sbin)
	return start(s.t, name, "bash", "-c", before+ports.Replace(script))
}
