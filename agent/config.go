package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"wardline/agent/internal/broker"
	"wardline/agent/internal/intake"
	"wardline/agent/internal/ward"
	"wardline/firmware-protocol/frame"
	"wardline/shared/alert"
	"wardline/shared/config"
	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/pki"
	"wardline/shared/rule"
	"wardline/shared/vital"
)

// Config is how a gateway is set up. The zero value of each field is usable
// unless its comment says otherwise. Durations are written as 10s, 2m, 48h.
type Config struct {
	Data     string          `yaml:"data"`    // folder of the outbox, the identities and the control socket; required
	Gateway  string          `yaml:"gateway"` // the gateway's id, 1 to 64 of a-z 0-9 -; "" = the one of the enrolment
	MQTT     MQTT            `yaml:"mqtt"`
	Broker   Broker          `yaml:"broker"`  // the embedded MQTT broker; none when listen is ""
	Sources  []Source        `yaml:"sources"` // none = the two of the firmware protocol
	Wards    []Ward          `yaml:"wards"`   // what this gateway watches; at least one
	Packs    []string        `yaml:"packs"`   // rule packs: a built-in's name or a file; none = adult-ward and technical
	Cloud    Cloud           `yaml:"cloud"`
	Outbox   Outbox          `yaml:"outbox"`
	Summary  config.Duration `yaml:"summary_every"`  // span of one vital-sign summary; 0 = 10s
	Control  string          `yaml:"control_socket"` // where the tool finds the agent; "" = control.sock in data
	LogLevel string          `yaml:"log_level"`      // debug, info, warn or error; "" = info

	// What a program that runs an agent inside itself may set.
	Version string         `yaml:"-"` // of the program; "" = unknown
	Clock   func() Instant `yaml:"-"` // nil = this machine's clocks
	Log     *slog.Logger   `yaml:"-"` // nil = slog.Default
	Ready   func(Ready)    `yaml:"-"` // called once, when the agent takes messages from the broker; nil = nobody asks
	Dial    Dial           `yaml:"-"` // how the cloud is reached; nil = TCP

	// DialBroker is how the broker is reached, and Listen how the embedded broker and
	// the control socket listen; nil = the system's.
	DialBroker Dial   `yaml:"-"`
	Listen     Listen `yaml:"-"`
	// Fault is called at the points named below, for a program that tries what
	// happens when the agent dies there (it does not return in time to matter) or
	// when the disk fails (its error). nil in every gateway.
	Fault func(point string) error `yaml:"-"`
}

// The points at which Config.Fault is called. An error of the first is a commit
// that failed, one of the second is a commit that is kept and whose answer was
// lost; the others' are passed over.
const (
	BeforeCommit = "before commit" // promise 1: nothing of it was acknowledged
	AfterCommit  = "after commit"  // promises 1, 5: all of it is found again, and told once
	BeforeAck    = "before acknowledging"
	AfterAck     = "after acknowledging" // promise 1: it is on the disk
	BeforeForget = "before forgetting"   // promise 4: what comes again has no second effect
	AfterForget  = "after forgetting"    // promise 3: the cloud has it
)

// Listen opens a listener, as net.Listen does.
type Listen = func(network, address string) (net.Listener, error)

// Dial opens a connection, as net.Dialer.DialContext does.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// Ready says where a running agent can be reached.
type Ready struct {
	Broker  string // address of the embedded broker, "" when there is none
	Control string // path of the control socket
}

// MQTT is the broker that relays publish to.
type MQTT struct {
	URL          string `yaml:"url"`           // mqtt://host:1883 or mqtts://host:8883; "" = the embedded broker
	ClientID     string `yaml:"client_id"`     // "" = wardline-agent- and eight random characters, kept in data/client-id
	Username     string `yaml:"username"`      // "" = none
	PasswordFile string `yaml:"password_file"` // a file that holds only the password
	CAFile       string `yaml:"ca_file"`       // whom to trust with mqtts; "" = the system's
	Inflight     int    `yaml:"max_inflight"`  // the broker's max_inflight_messages; 0 = 20, which is mosquitto's default
}

// Broker is the embedded MQTT broker.
type Broker struct {
	Listen    string `yaml:"listen"`     // host:port; "" = no embedded broker
	UsersFile string `yaml:"users_file"` // a line a relay or station, "name password"; "" = anybody, from this machine only
}

// Source says how to read one tree of topics.
type Source struct {
	Name        string          `yaml:"name"`         // in counters and logs; required
	Topic       string          `yaml:"topic"`        // MQTT filter in which {relay} and {sensor} name a level each; required
	Decoder     string          `yaml:"decoder"`      // frame or json; required
	SilentAfter config.Duration `yaml:"silent_after"` // without a message for so long a sensor is silent; 0 = 12s
	StaleAfter  config.Duration `yaml:"stale_after"`  // after so long a vital is absent; 0 = 10s
	KeysFile    string          `yaml:"keys_file"`    // a line a sensor, "id hex-key"; "" = frames carry no tags
}

// Ward is a ward and its beds.
type Ward struct {
	ID     string             `yaml:"id"`   // required
	Name   string             `yaml:"name"` // "" = the id
	Limits map[string]float64 `yaml:"limits"`
	Beds   []Bed              `yaml:"beds"`
}

// Bed binds a bed to the sensor that watches it.
type Bed struct {
	Bed     string             `yaml:"bed"`     // required
	Sensor  string             `yaml:"sensor"`  // "" = nobody is watched in it
	Patient string             `yaml:"patient"` // a pseudonym, never a name; may be ""
	Limits  map[string]float64 `yaml:"limits"`  // override the ward's and the pack's
	Expect  []vital.Vital      `yaml:"expect"`  // vitals that the sensor measures; none = those that it was seen to measure
}

// Cloud is the cloud that the gateway reports to.
type Cloud struct {
	URL string `yaml:"url"` // wss://host:port/link; "" = as the enrolment says
	Off bool   `yaml:"off"` // never connect: a ward without a cloud
}

// Outbox bounds the gateway's disk.
type Outbox struct {
	MaxBytes  config.Bytes    `yaml:"max_bytes"`  // of the whole file; 0 = 2 GiB
	FramesFor config.Duration `yaml:"frames_for"` // how long frames are kept; 0 = 48h
	KeyFile   string          `yaml:"key_file"`   // what it is sealed with: 64 hexadecimal digits; "" = the systemd credential wardline-outbox-key, else a key that the gateway makes in its data folder
}

// Load reads a configuration file, as Read does, and checks it.
func Load(path string) (Config, error) {
	c, err := Read(path)
	if err != nil {
		return Config{}, err
	}
	if err := c.Check(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Read reads a configuration file without judging what it says: enough for a
// tool that only looks for the agent. Relative paths in it are relative to the
// file's folder. A key that does not exist, a value of the wrong kind and a
// WARDLINE_ variable that nothing reads are errors that say what was meant.
func Read(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if err := config.Environment(os.Environ(), "WARDLINE_CONFIG"); err != nil {
		return Config{}, err
	}
	var c Config
	if err := config.Decode(text, &c); err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	for _, p := range []*string{&c.Data, &c.Control, &c.MQTT.PasswordFile, &c.MQTT.CAFile, &c.Broker.UsersFile, &c.Outbox.KeyFile} {
		*p = config.Under(dir, *p)
	}
	for i := range c.Sources {
		c.Sources[i].KeysFile = config.Under(dir, c.Sources[i].KeysFile)
	}
	for i, p := range c.Packs {
		if strings.ContainsAny(p, "/.") {
			c.Packs[i] = config.Under(dir, p)
		}
	}
	return c, nil
}

// ControlSocket is the path of the socket that a running agent answers on.
func (c Config) ControlSocket() string {
	if c.Control == "" {
		return filepath.Join(c.Data, "control.sock")
	}
	return c.Control
}

// withDefaults fills in what the zero values stand for.
func (c Config) withDefaults() Config {
	if c.Listen == nil {
		c.Listen = net.Listen
	}
	if c.Fault == nil {
		c.Fault = func(string) error { return nil }
	}
	if c.Clock == nil {
		c.Clock = ownClock()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if len(c.Sources) == 0 {
		c.Sources = []Source{
			{Name: "frames", Topic: "wl/1/{relay}/{sensor}/frame", Decoder: "frame"},
			{Name: "json", Topic: "wl/1/{relay}/{sensor}/json", Decoder: "json"},
		}
	}
	if len(c.Packs) == 0 {
		c.Packs = []string{"adult-ward", "technical"}
	}
	c.Control = c.ControlSocket()
	if c.MQTT.Inflight == 0 {
		c.MQTT.Inflight = 20
		if c.MQTT.URL == "" {
			c.MQTT.Inflight = embeddedInflight
		}
	}
	if c.Outbox.MaxBytes == 0 {
		c.Outbox.MaxBytes = 2 << 30
	}
	return c
}

// maxSocketPath is how many bytes the path of a unix socket has at most on Linux
// (unix(7): sun_path, with a zero at its end).
const maxSocketPath = 107

// maxBrokerInflight is below the messages that may wait in the agent, so that a
// broker's whole window finds room.
const maxBrokerInflight = maxWaiting - 1

// Check reports everything that is wrong with the configuration: what Run would
// refuse, but for what only trying can show. It reads the files that it names.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if c.Data == "" {
		bad("data: a folder is needed, such as /var/lib/wardline")
	}
	if socket := c.ControlSocket(); c.Data != "" && len(socket) > maxSocketPath {
		bad("control_socket: the path %s has %d bytes, at most %d: choose a shorter data folder, or another place for the socket", socket, len(socket), maxSocketPath)
	}
	if c.Gateway != "" {
		if err := pki.CheckName(c.Gateway); err != nil {
			bad("gateway: %w", err)
		}
	}
	if c.Cloud.URL != "" {
		if err := checkLink(c.Cloud.URL); err != nil {
			bad("cloud.url: %w", err)
		}
	}
	if !slices.Contains([]string{"", "debug", "info", "warn", "error"}, c.LogLevel) {
		bad("log_level: %q is not one of debug, info, warn, error", c.LogLevel)
	}
	if len(c.Wards) == 0 {
		bad("wards: there is none, so nobody would be watched")
	}
	errs = append(errs, c.checkBroker(), c.checkSources(), c.checkWards())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	x, err := c.wardConfig("check")
	if err != nil {
		return err
	}
	w, err := ward.New(x)
	if err != nil {
		return err
	}
	if size := proto.Size(&linkpb.Hello{Wards: c.topology(w)}); size > maxTopology {
		return fmt.Errorf("wards: what one gateway tells the cloud of its beds has %d bytes, at most %d: give some of the beds to another gateway", size, maxTopology)
	}
	return nil
}

// maxTopology leaves a hello room for the rest of what it says: some hundreds of
// beds fit.
const maxTopology = link.MaxMessage * 3 / 4

// checkBroker holds against the parts that use them what is said of the broker,
// be it one of the site's or the embedded one.
func (c Config) checkBroker() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	switch {
	case c.MQTT.URL == "" && c.Broker.Listen == "":
		bad("mqtt.url: a broker is needed, such as mqtt://127.0.0.1:1883, or broker.listen for the embedded one")
	case c.MQTT.URL != "" && c.Broker.Listen != "":
		bad("mqtt.url and broker.listen: the agent reads from one broker, so only one of the two can be set")
	}
	if c.MQTT.URL != "" {
		errs = append(errs, checkBrokerURL(c.MQTT.URL))
	}
	if n := c.MQTT.Inflight; n < 0 || n > maxBrokerInflight {
		bad("mqtt.max_inflight: %d is not 1 to %d; it is the broker's max_inflight_messages", n, maxBrokerInflight)
	}
	if _, err := c.MQTT.password(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.MQTT.tls(); err != nil {
		errs = append(errs, err)
	}
	users, err := c.brokerUsers()
	errs = append(errs, err)
	if c.Broker.Listen != "" && err == nil {
		if err := (broker.Config{Listen: c.Broker.Listen, Users: users}).Check(); err != nil {
			bad("broker.%w", err)
		}
	}
	return errors.Join(errs...)
}

func checkBrokerURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || !slices.Contains([]string{"mqtt", "mqtts", "tcp", "tls", "ssl"}, u.Scheme) || u.Hostname() == "" || !validPort(u.Port()) {
		return fmt.Errorf("mqtt.url: %q is not like mqtt://127.0.0.1:1883 or mqtts://broker.example.org:8883", raw)
	}
	if u.User != nil {
		return fmt.Errorf("mqtt.url: the address names a user, which nothing reads: say it by mqtt.username and mqtt.password_file")
	}
	return nil
}

// maxSourceBound is the longest that a source may be silent, or a vital count.
const maxSourceBound = 24 * time.Hour

func (c Config) checkSources() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	names := map[string]bool{}
	for i, s := range c.Sources {
		at := fmt.Sprintf("sources[%d]", i)
		switch {
		case s.Name == "" || s.Topic == "":
			bad("%s: name and topic are needed", at)
			continue
		case s.Decoder != "frame" && s.Decoder != "json":
			bad("%s (%s): decoder %q is not one of frame, json", at, s.Name, s.Decoder)
			continue
		case names[s.Name]:
			bad("%s: a second source is called %s", at, s.Name)
			continue
		}
		names[s.Name] = true
		if d := s.SilentAfter.Or(0); d > maxSourceBound {
			bad("%s.silent_after: %s is too long: at most %s, and 12s for a patch that streams", at, d, maxSourceBound)
		}
		if d := s.StaleAfter.Or(0); d > maxSourceBound {
			bad("%s.stale_after: %s is too long: at most %s, and 10s for a patch that streams", at, d, maxSourceBound)
		}
		x, err := s.intake()
		if err == nil {
			_, err = intake.NewDecoder([]intake.Source{x}, nil)
		}
		if err != nil {
			bad("%s: %w", at, err)
		}
	}
	return errors.Join(errs...)
}

func (c Config) checkWards() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	wards, sensors := map[string]bool{}, map[string]string{}
	for i, w := range c.Wards {
		if !frame.ValidID(w.ID) {
			bad("wards[%d].id: %q is not 1 to 64 letters, digits, dots, hyphens and underscores", i, w.ID)
		}
		if wards[w.ID] {
			bad("wards[%d].id: a second ward is called %s", i, w.ID)
		}
		wards[w.ID] = true
		if len(w.Beds) == 0 {
			bad("wards[%d].beds: ward %s has none, so nobody would be watched in it", i, w.ID)
		}
		beds := map[string]bool{}
		for j, b := range w.Beds {
			at := fmt.Sprintf("wards[%d].beds[%d]", i, j)
			if !frame.ValidID(b.Bed) {
				bad("%s.bed: %q is not 1 to 64 letters, digits, dots, hyphens and underscores", at, b.Bed)
			}
			if beds[b.Bed] {
				bad("%s.bed: ward %s has a second bed %s", at, w.ID, b.Bed)
			}
			beds[b.Bed] = true
			if b.Sensor == "" {
				continue
			}
			if !frame.ValidID(b.Sensor) {
				bad("%s.sensor: %q is not a sensor's id", at, b.Sensor)
			}
			if other, ok := sensors[b.Sensor]; ok {
				bad("%s.sensor: %s is bound to bed %s already", at, b.Sensor, other)
			}
			sensors[b.Sensor] = b.Bed
		}
	}
	return errors.Join(errs...)
}

// brokerUsers are who may connect to the embedded broker: those of the file, and
// the agent itself with a password that nobody else learns.
func (c Config) brokerUsers() ([]broker.User, error) {
	if c.Broker.UsersFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.Broker.UsersFile)
	if err != nil {
		return nil, fmt.Errorf("broker.users_file: %w", err)
	}
	users := []broker.User{{Name: "wardline-agent", Password: rand.Text(), Agent: true}}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := fmt.Sprintf("broker.users_file: %s, line %d", c.Broker.UsersFile, i+1)
		name, password, _ := strings.Cut(line, " ")
		password = strings.TrimSpace(password)
		switch {
		case password == "":
			return nil, fmt.Errorf("%s: want a name, a space and a password", at)
		case !frame.ValidRelay(name):
			return nil, fmt.Errorf("%s: %q is no relay's id, nor station", at, name)
		case slices.ContainsFunc(users, func(u broker.User) bool { return u.Name == name }):
			return nil, fmt.Errorf("%s: there is a user %s already", at, name)
		}
		users = append(users, stationOrRelay(name, password))
	}
	if len(users) == 1 {
		return nil, fmt.Errorf("broker.users_file: %s names nobody, so no relay could sign in", c.Broker.UsersFile)
	}
	return users, nil
}

// stationOrRelay is the user of a line: the name station is that of the ward's
// lamps, sounders and buttons; every other is a relay's.
func stationOrRelay(name, password string) broker.User {
	u := broker.User{Name: name, Password: password}
	if name == "station" {
		u.Read, u.Write = []string{"wl/1/ward/#"}, []string{"wl/1/ward/+/bed/+/response", "wl/1/ward/+/response"}
	}
	return u
}

// packs reads the rule packs that the configuration names.
func (c Config) packs() ([]*rule.Pack, error) {
	var out []*rule.Pack
	for _, name := range c.Packs {
		p, err := readPack(name)
		if err != nil {
			return nil, fmt.Errorf("packs: %w", err)
		}
		out = append(out, p)
	}
	if !slices.ContainsFunc(out, func(p *rule.Pack) bool { return p.Kind == alert.Physiological }) {
		return nil, fmt.Errorf("packs: %s have no rule about patients, so none would raise an alert; adult-ward has them", strings.Join(c.Packs, ", "))
	}
	return out, nil
}

// TestPacks runs the cases that the configuration's rule packs carry.
func (c Config) TestPacks() error {
	packs, err := c.withDefaults().packs()
	if err != nil {
		return err
	}
	return rule.Test(packs...)
}

func readPack(name string) (*rule.Pack, error) {
	if !strings.ContainsAny(name, "/.") {
		return rule.Builtin(name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return rule.Parse(name, text)
}
