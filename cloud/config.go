package cloud

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wardline/cloud/internal/store"
	"wardline/shared/config"
	"wardline/shared/pki"
)

// Config is how a cloud is set up. The zero value of each field is usable unless
// its comment says otherwise.
type Config struct {
	Data      string    `yaml:"data"` // folder of the database and the built-in CA; required
	Site      string    `yaml:"site"` // part of every gateway's identity, 1 to 64 of a-z 0-9 -; "" = main. Never change it
	People    People    `yaml:"people"`
	Gateways  Gateways  `yaml:"gateways"`
	Retention Retention `yaml:"retention"`
	LogLevel  string    `yaml:"log_level"` // debug, info, warn or error; "" = info

	// What a program that runs a cloud inside itself may set.
	Listen func(network, address string) (net.Listener, error) `yaml:"-"` // nil = net.Listen
	// Fault is called at the points named below, for a program that tries what happens
	// when the cloud dies there, or when its database fails (its error). nil = nobody does.
	Fault  func(point string) error `yaml:"-"`
	Ready  func(Addresses)          `yaml:"-"` // called once both ports take connections; nil = nobody asks
	Now    func() int64             `yaml:"-"` // µs UTC; nil = the system's clock
	Log    *slog.Logger             `yaml:"-"` // nil = slog.Default
	Stdout io.Writer                `yaml:"-"` // where the first administrator's password is shown, once; nil = os.Stdout
}

// The points at which Config.Fault is called. An error of the first is a commit of
// what a gateway brought that failed, one of the second is one that is kept and not
// acknowledged.
const (
	BeforeCommit = "before commit"
	AfterCommit  = "after commit"
)

// People is the port that browsers and other programs connect to.
type People struct {
	Listen   string   `yaml:"listen"`    // host:port; "" = :8443
	Hosts    []string `yaml:"hosts"`     // names and addresses that people use for this machine, for the certificate
	CertFile string   `yaml:"cert_file"` // PEM, with its chain; "" = a certificate from the built-in CA
	KeyFile  string   `yaml:"key_file"`  // PEM; goes with cert_file
}

// Gateways is the port that gateways connect to. Its certificate is always the
// built-in CA's, because that is whom a gateway's token names.
type Gateways struct {
	Listen          string          `yaml:"listen"`           // host:port; "" = :8444
	CertificateLife config.Duration `yaml:"certificate_life"` // of a gateway's certificate, which it renews by itself at two thirds of it; 0 = 90 days
	PublicURL       string          `yaml:"public_url"`       // how gateways reach that port: https://host:port; "" = this machine's name and the port
}

// How long a gateway's certificate may live.
const (
	minCertificateLife = time.Minute
	maxCertificateLife = 397 * 24 * time.Hour
)

// Retention says for how many days rows are kept; 0 = the default of each. The
// audit log is never shortened.
type Retention struct {
	VitalsDays int `yaml:"vitals_days"` // 0 = 30
	AlertsDays int `yaml:"alerts_days"` // from an alert's end; 0 = 365
}

// Addresses says where a running cloud can be reached.
type Addresses struct {
	People   string // https://host:port
	Gateways string // https://host:port, for POST /enrol
	Link     string // wss://host:port/link
}

const (
	defaultPeople   = ":8443"
	defaultGateways = ":8444"
	defaultSite     = "main"
)

// Load reads a configuration file. Relative paths in it are relative to the
// file's folder. A key that does not exist, a value of the wrong kind and a
// WARDLINE_ variable that nothing reads are errors that say what was meant.
func Load(path string) (Config, error) {
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
	for _, p := range []*string{&c.Data, &c.People.CertFile, &c.People.KeyFile} {
		*p = config.Under(filepath.Dir(path), *p)
	}
	if err := c.Check(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Check reports everything that is wrong with the configuration.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if c.Data == "" {
		bad("data: a folder is needed, such as /var/lib/wardline")
	}
	if c.Site != "" {
		if err := pki.CheckName(c.Site); err != nil {
			bad("site: %w", err)
		}
	}
	for key, listen := range map[string]string{"people.listen": c.People.Listen, "gateways.listen": c.Gateways.Listen} {
		if _, _, err := net.SplitHostPort(listen); listen != "" && err != nil {
			bad("%s: %q is not host:port, such as :8443", key, listen)
		}
	}
	if people, gateways := cmp.Or(c.People.Listen, defaultPeople), cmp.Or(c.Gateways.Listen, defaultGateways); samePort(people, gateways) {
		bad("people.listen and gateways.listen: %s and %s are the same port, and each needs its own", people, gateways)
	}
	if (c.People.CertFile == "") != (c.People.KeyFile == "") {
		bad("people: cert_file and key_file go together")
	}
	if c.Gateways.PublicURL != "" {
		u, err := url.Parse(c.Gateways.PublicURL)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			bad("gateways.public_url: %q is not like https://cloud.example.org:8444", c.Gateways.PublicURL)
		}
	}
	if life := c.Gateways.CertificateLife.Or(0); life != 0 && (life < minCertificateLife || life > maxCertificateLife) {
		bad("gateways.certificate_life: %v is not between %v and %v", life, minCertificateLife, maxCertificateLife)
	}
	if !slices.Contains([]string{"", "debug", "info", "warn", "error"}, c.LogLevel) {
		bad("log_level: %q is not one of debug, info, warn, error", c.LogLevel)
	}
	if c.Retention.VitalsDays < 0 || c.Retention.AlertsDays < 0 {
		bad("retention: days cannot be negative")
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// samePort reports whether both cannot listen on one machine: the port is the
// same, and not on two addresses that are written out.
func samePort(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil {
		return false // which is said elsewhere
	}
	numberA, errA := net.LookupPort("tcp", portA)
	numberB, errB := net.LookupPort("tcp", portB)
	if errA != nil || errB != nil || numberA != numberB || numberA == 0 { // 0 is any that is free
		return false
	}
	ipA, ipB := net.ParseIP(hostA), net.ParseIP(hostB)
	return ipA == nil || ipB == nil || ipA.IsUnspecified() || ipB.IsUnspecified() || ipA.Equal(ipB)
}

// withDefaults fills in what the zero values stand for.
func (c Config) withDefaults() Config {
	if c.Site == "" {
		c.Site = defaultSite
	}
	if c.Fault == nil {
		c.Fault = func(string) error { return nil }
	}
	if c.People.Listen == "" {
		c.People.Listen = defaultPeople
	}
	if c.Gateways.Listen == "" {
		c.Gateways.Listen = defaultGateways
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMicro() }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	return c
}

func (c Config) time() time.Time { return time.UnixMicro(c.Now()) }

// Database is the path of the database file.
func (c Config) Database() string { return filepath.Join(c.Data, "cloud.db") }

func (c Config) retention() store.Retention {
	r := store.DefaultRetention()
	if c.Retention.VitalsDays > 0 {
		r.Vitals = time.Duration(c.Retention.VitalsDays) * 24 * time.Hour
	}
	if c.Retention.AlertsDays > 0 {
		r.Alerts = time.Duration(c.Retention.AlertsDays) * 24 * time.Hour
	}
	return r
}

// publicURL is how gateways reach their port, which listens at port.
func (c Config) publicURL(port string) string {
	if c.Gateways.PublicURL != "" {
		return strings.TrimSuffix(c.Gateways.PublicURL, "/")
	}
	return "https://" + net.JoinHostPort(c.thisHost(), port)
}

// thisHost is the name that the configuration has for this machine, or what the
// machine calls itself.
func (c Config) thisHost() string {
	if len(c.People.Hosts) > 0 {
		return c.People.Hosts[0]
	}
	if host, _, err := net.SplitHostPort(c.Gateways.Listen); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			return host
		}
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

// hosts are the names that the built-in server certificate is good for.
func (c Config) hosts() []string {
	list := append([]string{c.thisHost()}, c.People.Hosts...)
	if u, err := url.Parse(c.Gateways.PublicURL); err == nil && u.Hostname() != "" {
		list = append(list, u.Hostname())
	}
	for _, l := range []string{c.People.Listen, c.Gateways.Listen} {
		if host, _, err := net.SplitHostPort(l); err == nil && host != "" {
			list = append(list, host)
		}
	}
	list = append(list, "localhost", "127.0.0.1", "::1")
	slices.Sort(list[1:])
	return slices.Compact(list)
}
