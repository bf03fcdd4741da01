package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

func TestAHelloNamesTheAlertsThatAreOpenOrSaysThatItDoesNotKnow(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.a.facts.set("storage_damaged", true, "outbox.db.aside")
	b.pass(12*time.Second, "S1", 140)
	ids := map[string]bool{}
	for _, place := range b.a.cfg.places() {
		for _, a := range b.open(place.Bed) {
			ids[string(a.ID)] = true
		}
	}
	if len(b.open("1")) == 0 || len(b.open("")) == 0 {
		t.Fatalf("%d alerts of the bed and %d of the ward are open, want both", len(b.open("1")), len(b.open("")))
	}
	answered := make(chan struct{})
	go func() { defer close(answered); (<-b.a.loop.calls)(b.now) }()
	h := b.a.link.hello(t.Context())
	<-answered
	if !h.OpenKnown || len(h.OpenAlerts) != len(ids) || h.Clock.Now != b.now.Wall {
		t.Fatalf("known %v: %q at %d, want %v at %d", h.OpenKnown, h.OpenAlerts, h.Clock.Now, ids, b.now.Wall)
	}
	for _, id := range h.OpenAlerts {
		if !ids[id] {
			t.Errorf("alert %s is not open", id)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if h := b.a.link.hello(stopped); h.OpenKnown || len(h.OpenAlerts) != 0 || len(h.Wards) != 1 {
		t.Errorf("of a loop that does not answer: known %v, %q", h.OpenKnown, h.OpenAlerts)
	}
}

func TestTheLargestHelloFitsAMessage(t *testing.T) {
	h := &linkpb.Hello{
		Version: link.Version, Epoch: make([]byte, 16), Instance: make([]byte, 16), Software: strings.Repeat("v", 64),
		Wards: []*linkpb.Ward{{Id: strings.Repeat("w", maxTopology)}}, OpenKnown: true,
		Clock: &linkpb.Clock{Now: monday, Synchronised: true}, Boot: strings.Repeat("b", 16), Uptime: monday,
	}
	for range link.MaxOpenAlerts {
		h.OpenAlerts = append(h.OpenAlerts, strings.Repeat("a", 32))
	}
	for _, l := range link.Lanes {
		h.Lanes = append(h.Lanes, &linkpb.Lane{Lane: uint32(l), First: 1 << 62, Last: 1 << 62, Hash: make([]byte, 16)})
	}
	if _, err := link.Encode(h); err != nil {
		t.Error(err)
	}
}
