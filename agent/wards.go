package agent

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/ward"
	"wardline/firmware-protocol/frame"
	"wardline/shared/link/linkpb"
	"wardline/shared/rule"
)

// wardConfig is the configuration as package ward wants it. It fails when a
// pack or a limit cannot be used.
func (c Config) wardConfig(gateway string) (ward.Config, error) {
	c = c.withDefaults()
	packs, err := c.packs()
	if err != nil {
		return ward.Config{}, err
	}
	out := ward.Config{Gateway: gateway, Packs: packs, SummaryEvery: c.Summary.Or(0).Microseconds()}
	out.Sources = map[string]ward.Bounds{}
	for _, s := range c.Sources {
		out.Sources[s.Name] = ward.Bounds{Silence: s.SilentAfter.Or(0).Microseconds(), Stale: s.StaleAfter.Or(0).Microseconds()}
	}
	for _, w := range c.Wards {
		x := ward.WardConfig{ID: w.ID, Name: w.Name}
		for _, b := range w.Beds {
			limits := maps.Clone(w.Limits)
			if limits == nil {
				limits = map[string]float64{}
			}
			maps.Copy(limits, b.Limits)
			x.Beds = append(x.Beds, ward.Binding{Bed: b.Bed, Sensor: b.Sensor, Patient: b.Patient, Limits: limits, Expect: b.Expect})
		}
		out.Wards = append(out.Wards, x)
	}
	return out, nil
}

func (c Config) intakeSources() ([]intake.Source, error) {
	var out []intake.Source
	for _, s := range c.Sources {
		x, err := s.intake()
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		out = append(out, x)
	}
	return out, nil
}

// intake is the source as package intake wants it, with its sensors' keys.
func (s Source) intake() (intake.Source, error) {
	x := intake.Source{Name: s.Name, Topic: s.Topic, Format: intake.Format(s.Decoder)}
	if s.KeysFile == "" {
		return x, nil
	}
	keys, err := readKeys(s.KeysFile)
	if err != nil {
		return x, err
	}
	x.Key = func(sensor string) []byte {
		if k, ok := keys[sensor]; ok {
			return k
		}
		return noKey
	}
	return x, nil
}

// noKey is the key of a sensor that has none on a site that sets keys: nobody
// knows it, so nothing it could send is taken.
var noKey = func() []byte { k := make([]byte, frame.MaxKey); rand.Read(k); return k }()

// readKeys reads lines of a sensor's id and its key in hexadecimal digits.
func readKeys(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("keys_file: %w", err)
	}
	defer f.Close()
	keys := map[string][]byte{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, text, _ := strings.Cut(line, " ")
		key, err := hex.DecodeString(strings.TrimSpace(text))
		if err != nil || len(key) < frame.MinKey || len(key) > frame.MaxKey || !frame.ValidID(id) {
			return nil, fmt.Errorf("keys_file: %s, line %d: want a sensor's id and a key of %d to %d hexadecimal digits", file, n, 2*frame.MinKey, 2*frame.MaxKey)
		}
		keys[id] = key
	}
	return keys, lines.Err()
}

// password is the one to sign in to the broker with, "" for none.
func (m MQTT) password() (string, error) {
	if m.PasswordFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(m.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("mqtt.password_file: %w", err)
	}
	password := strings.TrimSpace(string(text))
	if password == "" {
		return "", fmt.Errorf("mqtt.password_file: %s holds no password", m.PasswordFile)
	}
	return password, nil
}

func (m MQTT) tls() (*tls.Config, error) {
	if m.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(m.CAFile)
	if err != nil {
		return nil, fmt.Errorf("mqtt.ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("mqtt.ca_file: %s holds no certificate", m.CAFile)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// places are the beds, and each ward as a whole, which has alerts of its own.
func (c Config) places() []ward.BedKey {
	var out []ward.BedKey
	for _, w := range c.Wards {
		out = append(out, ward.BedKey{Ward: w.ID})
		for _, b := range w.Beds {
			out = append(out, ward.BedKey{Ward: w.ID, Bed: b.Bed})
		}
	}
	return out
}

func limitMessage(l rule.Limit) *linkpb.Limit {
	return &linkpb.Limit{Name: l.Name, Value: l.Value, Unit: l.Unit}
}

// topology tells the cloud of the wards that this gateway watches, with the
// limits in force: those of a ward, and where a bed has others.
func (c Config) topology(from *ward.Ward) []*linkpb.Ward {
	var out []*linkpb.Ward
	for _, w := range c.Wards {
		x := &linkpb.Ward{Id: w.ID, Name: cmp.Or(w.Name, w.ID)}
		usual := map[string]float64{}
		if i := slices.IndexFunc(w.Beds, func(b Bed) bool { return len(b.Limits) == 0 }); i >= 0 {
			for _, l := range from.Limits(w.ID, w.Beds[i].Bed) {
				usual[l.Name] = l.Value
				x.Limits = append(x.Limits, limitMessage(l))
			}
		}
		for _, b := range w.Beds {
			bed := &linkpb.Bed{Id: b.Bed, Sensor: b.Sensor, Patient: b.Patient}
			for _, l := range from.Limits(w.ID, b.Bed) {
				if v, ok := usual[l.Name]; !ok || v != l.Value {
					bed.Limits = append(bed.Limits, limitMessage(l))
				}
			}
			for _, v := range b.Expect {
				bed.Expect = append(bed.Expect, v.String())
			}
			x.Beds = append(x.Beds, bed)
		}
		out = append(out, x)
	}
	return out
}
