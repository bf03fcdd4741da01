//go:build system

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	sayEvery = 250 * time.Millisecond // each sensor
	// steady is how long a patient's state lasts with nothing in the way between the
	// relay and the gateway's disk before it may change: three times the second
	// that the rule waits for either.
	steady = 3 * time.Second
)

// torturePack names the episode in the alert: a heart rate and a respiration that
// no other of the bed has (see [patient.signs]).
const torturePack = `pack: torture
version: 1
for: virtual patients under torture
rules:
  - id: torture
    says: "Episode {hr:0} {rr:0}"
    code: MDC_EVT_HI/MDC_ECG_HEART_RATE
    priority: medium
    when: hr > 150
    for: 1s
    until: hr <= 150
    until_for: 1s
    test:
      - {given: {hr: [80 for 1m, 160 for 30s]}, expect: raised at 1m1s}
      - {given: {hr: [160 for 30s, 80 for 1m]}, expect: "raised at 1s, ended at 31s"}
`

// A patient goes into the condition and out of it, over and over.
type patient struct {
	bed    string
	seq    uint32
	ill    bool
	since  time.Time // of the present state
	enough bool      // frozen: the present state has lasted for long enough
	was    []*episode
	copied int // of was: the first that the older copy of the disk does not know to be over
}

// An episode is what the ledger knows of one stretch of the condition.
type episode struct {
	bed, text string
	over      bool // nothing was in the way for long enough, and then the patient got well
	known     bool // nothing was in the way for long enough: an alert must exist
	forgot    bool // the gateway's disk was put back meanwhile: it may have begun anew
}

func (p *patient) signs() (hr, rr int) {
	if !p.ill {
		return 72, 15
	}
	n := len(p.was) - 1
	return 151 + n%100, 16 + n/100
}

// A relay speaks for the patients of a ward and keeps the ledger. What the broker
// has not acknowledged is sent again, in its order (SPEC §1.2: QoS 1).
type relay struct {
	broker string

	mu       sync.Mutex // guards what follows
	patients []*patient
	clear    time.Time // since when nothing is in the way; zero while something is
	frozen   bool

	unacked []*publication // owned by run
	client  mqtt.Client    // owned by run; nil when there is none

	sent, again, acked int // messages; guarded by mu
}

type publication struct {
	topic, payload string
	token          mqtt.Token // nil = to be sent on this connection
	once           bool       // it was sent before
}

func newRelay(t testing.TB, broker string, beds int) *relay {
	r := &relay{broker: broker, clear: time.Now()}
	for i := range beds {
		r.patients = append(r.patients, &patient{bed: fmt.Sprint(i + 1), since: time.Now().Add(time.Duration(i) * steady / time.Duration(beds))})
	}
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		r.run(done)
	}()
	t.Cleanup(func() { close(done); <-over })
	return r
}

func (r *relay) run(done chan struct{}) {
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	for {
		r.say(time.Now())
		r.send()
		select {
		case <-tick.C:
		case <-done:
			if r.client != nil {
				r.client.Disconnect(0)
			}
			return
		}
	}
}

// say makes every patient's next message.
func (r *relay) say(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.patients {
		r.live(p, now)
		hr, rr := p.signs()
		p.seq++
		r.unacked = append(r.unacked, &publication{topic: jsonTopic("p" + p.bed), payload: fmt.Sprintf(
			`{"t":%d,"boot":1,"seq":%d,"hr":%d,"rr":%d,"spo2":97,"temp":36.6,"contact":true,"leads_off":[]}`, now.UnixMicro(), p.seq, hr, rr)})
	}
}

// live lets a patient's state change once it has lasted for long enough. Called
// with mu held.
func (r *relay) live(p *patient, now time.Time) {
	from := p.since
	if r.clear.After(from) {
		from = r.clear
	}
	if r.clear.IsZero() || now.Sub(from) < steady {
		return
	}
	if p.ill {
		p.was[len(p.was)-1].known = true
	}
	if p.enough = r.frozen; p.enough {
		return
	}
	p.since, p.ill = now, !p.ill
	if !p.ill {
		p.was[len(p.was)-1].over = true
		return
	}
	e := &episode{bed: p.bed}
	p.was = append(p.was, e)
	hr, rr := p.signs()
	e.text = fmt.Sprintf("Episode %d %d", hr, rr)
}

// send publishes what is to be sent and looks at what was acknowledged.
func (r *relay) send() {
	if r.client == nil || !r.client.IsConnectionOpen() {
		if r.client != nil {
			r.client.Disconnect(0)
		}
		if r.client = r.connect(); r.client == nil {
			return
		}
		for _, m := range r.unacked {
			m.token = nil
		}
		r.hindrance(false)
	}
	sent, again := 0, 0
	for _, m := range r.unacked {
		if m.token == nil {
			m.token = r.client.Publish(m.topic, 1, false, m.payload)
			if sent++; m.once {
				again++
			}
			m.once = true
		}
	}
	before := len(r.unacked)
	r.unacked = slices.DeleteFunc(r.unacked, func(m *publication) bool {
		select {
		case <-m.token.Done():
			return m.token.Error() == nil
		default:
			return false
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent, r.again, r.acked = r.sent+sent, r.again+again, r.acked+before-len(r.unacked)
}

func (r *relay) connect() mqtt.Client {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + r.broker).SetClientID("relay1").
		SetUsername("relay1").SetPassword(mqttPassword).SetProtocolVersion(4).
		SetAutoReconnect(false).SetConnectTimeout(time.Second).SetWriteTimeout(time.Second))
	if token := c.Connect(); !token.WaitTimeout(2*time.Second) || token.Error() != nil {
		c.Disconnect(0)
		return nil
	}
	return c
}

// hindrance says that something is in the way between the relay and the gateway's
// disk from now on, or (false) that nothing is any more, if nothing was said to be.
func (r *relay) hindrance(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case yes:
		r.clear = time.Time{}
	case !r.clear.IsZero():
		r.clear = time.Now()
	}
}

// over says that nothing is in the way any more.
func (r *relay) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear = time.Now()
}

// copy traces that the gateway's disk is copied.
func (r *relay) copy() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.patients {
		if p.copied = len(p.was); p.ill {
			p.copied--
		}
	}
}

// forget traces what the gateway does not know any more, or not the end of, when
// its disk is put back to the copy.
func (r *relay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.patients {
		for _, e := range p.was[min(p.copied, len(p.was)):] {
			e.forgot = true
		}
		if p.ill {
			p.was[len(p.was)-1].forgot = true
		}
	}
}

// freeze lets every patient's state last until thaw.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
}

func (r *relay) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = false
	for _, p := range r.patients {
		p.enough = false
	}
}

// restless is the beds whose state has not lasted for long enough since freeze.
func (r *relay) restless() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var beds []string
	for _, p := range r.patients {
		if !p.enough {
			beds = append(beds, p.bed)
		}
	}
	return strings.Join(beds, " ")
}
