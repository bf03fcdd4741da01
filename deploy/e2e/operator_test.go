//go:build system || bench

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What an operator does with wardline-cloud, and a technician with
// wardline-agent, to set a site up.

func (s *site) cloudConfig() string { return s.path("cloud.yaml") }
func (s *site) caFile() string      { return s.path("cloud/ca.pem") }

func (s *site) configureCloud() {
	s.t.Helper()
	write(s.t, s.cloudConfig(), fmt.Sprintf(`data: cloud
site: test
people: {listen: "%s", hosts: ["127.0.0.1"]}
gateways: {listen: "%s", public_url: "https://%s"}
`, at(s.peoplePort), at(s.gatewayPort), at(s.gatewayPort)))
}

// firstPassword is where a cloud shows its first administrator's password, once.
var firstPassword = regexp.MustCompile(`first administrator is (\S+), with the password (\S+)`)

// startCloud runs the cloud and waits until it answers.
func (s *site) startCloud() {
	s.t.Helper()
	s.cloud = start(s.t, "wardline-cloud", program(s.t, "wardline-cloud"), "serve", "--config", s.cloudConfig())
	until(s.t, 20*time.Second, "the cloud", func() error {
		if s.cloud.ended() {
			s.t.Fatalf("the cloud ended: %s", s.cloud.err.end())
		}
		if _, err := os.Stat(s.caFile()); err != nil {
			return err
		}
		got, err := s.stranger().try("GET", "/healthz", nil, nil)
		if err == nil && got.Status != http.StatusOK {
			err = fmt.Errorf("it answers %v", got)
		}
		return err
	})
	if m := firstPassword.FindStringSubmatch(s.cloud.out.String()); m != nil {
		s.admin = account{m[1], m[2]}
	}
}

// operator runs wardline-cloud, which must succeed.
func (s *site) operator(words ...string) string {
	s.t.Helper()
	return must(s.t, program(s.t, "wardline-cloud"), s.withConfig(words)...)
}

// withConfig puts --config after a command's words and before its other options.
func (s *site) withConfig(words []string) []string {
	n := 1
	if words[0] == "gateway" || words[0] == "user" {
		n = 2
	}
	return append(append(append([]string{}, words[:n]...), "--config", s.cloudConfig()), words[n:]...)
}

// token makes a token that enrols one gateway.
func (s *site) token(gateway, ward string, life time.Duration) string {
	s.t.Helper()
	return strings.TrimSpace(s.operator("gateway", "token", "--ward", ward, "--life", life.String(), gateway))
}

// account makes one; wards are separated by commas.
func (s *site) account(name, role, wards string) account {
	s.t.Helper()
	a := account{name, "correct horse " + name}
	words := []string{"user", "add", "--role", role, "--password-file", write(s.t, s.path("password-"+name), a.password+"\n")}
	for ward := range strings.SplitSeq(wards, ",") {
		if ward != "" {
			words = append(words, "--ward", ward)
		}
	}
	s.operator(append(words, name)...)
	return a
}

// enrol makes the gateway known to the cloud.
func (g *gateway) enrol() {
	g.t.Helper()
	must(g.t, program(g.t, "wardline-agent"), "enrol", "--config", g.config(), g.token(g.id, g.ward, time.Hour))
}

func TestTheProgramsSayWhatWasAskedWronglyAndWhatToDo(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	config := func(name, text string) string { return write(t, dir+"/"+name, text) }
	agentYAML := "data: d\nmqtt: {url: \"mqtt://127.0.0.1:1\"}\nwards: [{id: 7w, beds: [{bed: \"1\", sensor: s1}]}]\n"
	good := config("good.yaml", agentYAML)
	for _, c := range []struct {
		program string
		args    []string
		code    int
		says    []string
	}{
		{"wardline-agent", []string{"frobnicate"}, 2, []string{"no command \"frobnicate\"", "hint: "}},
		{"wardline-agent", []string{"status", "--jsn"}, 2, []string{"jsn", "hint: "}},
		{"wardline-agent", []string{"enrol", "--config", good}, 2, []string{"token", "hint: "}},
		{"wardline-agent", []string{"enrol", "--config", good, "wl1.AAAA"}, 2, []string{"not copied whole", "hint: "}},
		{"wardline-agent", []string{"status", "--config", good}, 1, []string{"cannot reach the agent", "is it running"}},
		{"wardline-agent", []string{"run", "--config", dir + "/none.yaml"}, 1, []string{"none.yaml", "--config"}},
		{"wardline-agent", []string{"check-config", "--config", config("typo.yaml", agentYAML+"sumary_every: 5s\n")}, 1, []string{"sumary_every", "summary_every"}},
		{"wardline-agent", []string{"check-config", "--config", config("twice.yaml", strings.Replace(agentYAML, "s1}", "s1}, {bed: \"2\", sensor: s1}", 1))}, 1, []string{"s1 is bound to bed 1 already"}},
		{"wardline-cloud", []string{"frobnicate"}, 2, []string{"no command \"frobnicate\"", "hint: "}},
		{"wardline-cloud", []string{"gateway", "token", "--config", good, "gw-1"}, 2, []string{"ward", "hint: "}},
		{"wardline-cloud", []string{"serve", "--config", dir + "/none.yaml"}, 1, []string{"none.yaml", "--config"}},
		{"wardline-cloud", []string{"check-config", "--config", config("cloud.yaml", "data: d\nretenton: {}\n")}, 1, []string{"retenton", "retention"}},
		{"wardline-cloud", []string{"migrate", "--config", config("empty.yaml", "data: nothing\n")}, 1, []string{"no database", "hint: "}},
	} {
		got := run(t, program(t, c.program), c.args...)
		if got.code != c.code {
			t.Errorf("%s %v: exit %d, want %d\n%s", c.program, c.args, got.code, c.code, got.err)
		}
		if got.out != "" {
			t.Errorf("%s %v wrote to its standard output: %s", c.program, c.args, got.out)
		}
		for _, word := range c.says {
			if !strings.Contains(got.err, word) {
				t.Errorf("%s %v says nothing of %q:\n%s", c.program, c.args, word, got.err)
			}
		}
		if !strings.HasPrefix(got.err, c.program+": ") {
			t.Errorf("%s %v does not say who speaks: %s", c.program, c.args, got.err)
		}
	}
}
