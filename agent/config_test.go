package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wardline/agent/internal/ward"
	"wardline/shared/config"
)

func TestAWardsLimitsAreToldOnceAndABedsOwnBesideThem(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Wards[0].Limits = map[string]float64{"hr.high": 125}
	c.Wards[0].Beds[1].Limits = map[string]float64{"hr.high": 140}
	x, err := c.wardConfig("gw-1")
	if err != nil {
		t.Fatal(err)
	}
	w, err := ward.New(x)
	if err != nil {
		t.Fatal(err)
	}
	told := c.topology(w)[0]
	high := func(limits interface{ String() string }) bool {
		return strings.Contains(fmt.Sprint(limits), "hr.high")
	}
	if len(told.Limits) < 5 || len(told.Beds[0].Limits) != 0 {
		t.Errorf("the ward says %v, bed 1 %v", told.Limits, told.Beds[0].Limits)
	}
	if own := told.Beds[1].Limits; len(own) != 1 || !high(own[0]) || own[0].Value != 140 {
		t.Errorf("bed 2 says %v", own)
	}
}

func TestAGatewayOfTooManyBedsIsRefusedBeforeItCannotLink(t *testing.T) {
	c := testConfig(t.TempDir())
	for n := range 3000 {
		c.Wards[0].Beds = append(c.Wards[0].Beds, Bed{Bed: fmt.Sprint(n + 10), Sensor: fmt.Sprintf("P%05d", n), Patient: fmt.Sprintf("p-%05d", n)})
		if n == 400 {
			if err := c.Check(); err != nil {
				t.Errorf("400 beds: %v", err)
			}
		}
	}
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "give some of the beds to another gateway") {
		t.Errorf("3,000 beds: %v", err)
	}
}

func TestWhatRunRefusesIsSaidByTheCheckWithKeyAndValue(t *testing.T) {
	source := func(change func(*Source)) func(*Config) {
		return func(c *Config) {
			s := Source{Name: "x", Topic: "a/{sensor}", Decoder: "json"}
			change(&s)
			c.Sources = []Source{s}
		}
	}
	listen := func(address, users string) func(*Config) {
		return func(c *Config) {
			c.MQTT.URL, c.Broker.Listen = "", address
			if users != "" {
				c.Broker.UsersFile = filepath.Join(c.Data, "users")
				write(t, c.Broker.UsersFile, users)
			}
		}
	}
	for _, x := range []struct {
		change func(*Config)
		says   []string
	}{
		{source(func(s *Source) { s.Topic = "ward/data" }), []string{"sources[0]", `"ward/data"`, "must have {sensor} once"}},
		{source(func(s *Source) { s.SilentAfter = config.Duration(48 * time.Hour) }), []string{"sources[0].silent_after: 48h0m0s", "at most 24h"}},
		{source(func(s *Source) { s.StaleAfter = config.Duration(25 * time.Hour) }), []string{"sources[0].stale_after: 25h0m0s", "at most 24h"}},
		{source(func(s *Source) { s.KeysFile = "/nowhere/keys" }), []string{"sources[0]: keys_file: ", "/nowhere/keys"}},
		{listen("0.0.0.0:1883", ""), []string{"broker.listen: 0.0.0.0:1883", "users_file"}},
		{listen("127.0.0.1", ""), []string{`broker.listen: "127.0.0.1" is not host:port`}},
		{listen("127.0.0.1:99999", ""), []string{`broker.listen: "127.0.0.1:99999" is not host:port`}},
		{listen("127.0.0.1:0", "relay1\n"), []string{"broker.users_file: ", "line 1: want a name, a space and a password"}},
		{listen("127.0.0.1:0", "# none yet\n"), []string{"broker.users_file: ", "names nobody"}},
		{listen("127.0.0.1:0", "relay1 a\nrelay1 b\n"), []string{"line 2: there is a user relay1 already"}},
		{listen("127.0.0.1:0", "+ a\n"), []string{`line 1: "+" is no relay's id`}},
		{func(c *Config) { listen("127.0.0.1:0", "")(c); c.Broker.UsersFile = "/nowhere/users" }, []string{"broker.users_file: ", "/nowhere/users"}},
		{func(c *Config) { c.MQTT.PasswordFile = "/nowhere/password" }, []string{"mqtt.password_file: ", "/nowhere/password"}},
		{func(c *Config) { c.MQTT.PasswordFile = "/dev/null" }, []string{"mqtt.password_file: /dev/null holds no password"}},
		{func(c *Config) { c.MQTT.CAFile = "/nowhere/ca.pem" }, []string{"mqtt.ca_file: ", "/nowhere/ca.pem"}},
		{func(c *Config) { c.MQTT.CAFile = "/dev/null" }, []string{"mqtt.ca_file: /dev/null holds no certificate"}},
		{func(c *Config) { c.MQTT.URL = "mqtt://:1883" }, []string{`mqtt.url: "mqtt://:1883" is not like mqtt://`}},
		{func(c *Config) { c.MQTT.URL = "mqtt://host:0" }, []string{`mqtt.url: "mqtt://host:0" is not like`}},
		{func(c *Config) { c.MQTT.URL = "mqtt://me:secret@host" }, []string{"mqtt.url: ", "mqtt.username"}},
		{func(c *Config) { c.MQTT.Inflight = -5 }, []string{"mqtt.max_inflight: -5 is not 1 to 8191"}},
		{func(c *Config) { c.MQTT.Inflight = 65535 }, []string{"mqtt.max_inflight: 65535 is not"}},
		{func(c *Config) { c.Data = filepath.Join(c.Data, strings.Repeat("a", 120)) }, []string{"control_socket: ", "at most 107", "shorter data folder"}},
	} {
		c := testConfig(t.TempDir())
		c.Control = "control.sock"
		x.change(&c)
		if len(c.Data) > 120 {
			c.Control = ""
		}
		err := c.Check()
		if err == nil {
			t.Errorf("good in the check: %q", x.says)
			continue
		}
		for _, word := range x.says {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("the check says nothing of %q: %v", word, err)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the check tells a secret: %v", err)
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if err := Run(stopped, c); err == nil {
			t.Errorf("run takes what the check refuses: %q", x.says)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheExampleIsGoodWithABrokerOfTheSitesAndWithTheEmbeddedOne(t *testing.T) {
	text, err := os.ReadFile("../deploy/edge/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "mqtt-password"), "secret\n")
	write(t, filepath.Join(dir, "broker-users"), "relay1 secret\nstation secret\n")
	site := strings.ReplaceAll(string(text), "/etc/wardline/", "")
	_, rest, _ := strings.Cut(site, "mqtt:\n")
	_, rest, found := strings.Cut(rest, "# broker:\n")
	embedded := "data: d\nbroker:\n" + strings.Replace(strings.Replace(rest, "#   listen", "  listen", 1), "#   users_file", "  users_file", 1)
	if !found || strings.Contains(embedded, "mqtt:") {
		t.Fatal("the example has no embedded broker any more")
	}
	for name, text := range map[string]string{"site.yaml": site, "embedded.yaml": embedded} {
		path := filepath.Join(dir, name)
		write(t, path, text)
		c, err := Load(path)
		if err != nil || len(c.Wards) != 1 || (c.Broker.Listen != "") != (name == "embedded.yaml") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
