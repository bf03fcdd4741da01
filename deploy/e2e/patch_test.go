//go:build system || bench

package e2e

import (
	"encoding/json"
	"sync"
	"time"
)

// A patch is a sensor that a relay speaks for in SPEC's JSON, once a second.
type patch struct {
	mu     sync.Mutex // guards what follows
	says   map[string]any
	silent bool
}

// patch puts a sensor on a healthy patient.
func (s *site) patch(sensor string) *patch {
	s.t.Helper()
	x := &patch{says: map[string]any{"hr": 72, "rr": 15, "spo2": 97, "temp": 36.6, "contact": true, "leads_off": []string{}}}
	pub := start(s.t, "mosquitto_pub", "mosquitto_pub", s.mqtt("relay1", "-q", "1", "-l", "-t", jsonTopic(sensor))...)
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if line := x.line(); line != nil {
				pub.in.Write(append(line, '\n')) // fails only once the process is gone, which the test sees
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	s.t.Cleanup(func() { close(done); <-over })
	return x
}

func jsonTopic(sensor string) string { return "wl/1/relay1/" + sensor + "/json" }

func (x *patch) line() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.silent {
		return nil
	}
	x.says["t"] = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	b, err := json.Marshal(x.says)
	if err != nil {
		panic(err)
	}
	return b
}

func (x *patch) set(key string, value any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.says[key] = value
}

// virtual runs virtual patients until the test ends.
func (s *site) virtual(relay string, args ...string) *proc {
	s.t.Helper()
	return start(s.t, "wardline-agent virtual", program(s.t, "wardline-agent"), append([]string{"virtual",
		"--broker", "mqtt://" + at(s.brokerPort), "--relay", relay, "--username", relay, "--password-file", s.path("mqtt-password")}, args...)...)
}
