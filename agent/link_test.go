package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wardline/agent/internal/control"
	"wardline/agent/internal/outbox"
	"wardline/shared/alert"
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

// Else the cloud would end it as one that the gateway lost, and hear of its true
// end afterwards.
func TestAHelloStillNamesAnAlertWhoseEndIsNotOnTheDisk(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(12*time.Second, "S1", 140)
	open := b.open("1")
	if len(open) != 1 {
		t.Fatalf("open are %v, want one", open)
	}
	b.flush()
	whole := b.a.loop.append
	b.a.loop.append = func(outbox.Commit) (outbox.Position, error) { return 0, errors.New("the disk says no") }
	b.pass(15*time.Second, "S1", 72)
	if left := b.open("1"); len(left) != 0 {
		t.Fatalf("open are %v, want none", left)
	}
	named := func() bool { return slices.Contains(b.a.loop.openOrUntold(), string(open[0].ID)) }
	if !named() {
		t.Error("an alert whose end waits for the disk is not named")
	}
	b.a.loop.append = whole
	b.pass(5*time.Second, "S1", 72)
	b.flush()
	if named() {
		t.Error("an alert whose end is on the disk is still named")
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

// enrolled writes an enrolment as Enrol does.
func enrolled(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, enrolmentFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func enrolmentOf(gateway, link string) string {
	return fmt.Sprintf(`{"site":"s1","gateway":%q,"link":%q,"at":1}`, gateway, link)
}

func TestAWardIsWatchedWhateverIsWrongWithItsCloudIdentity(t *testing.T) {
	for name, x := range map[string]struct{ gateway, enrolment, says, runsAs string }{
		"an empty enrolment":              {"", "", "enrol again", "unenrolled"},
		"a garbled one, and a name":       {"gw-9", "\x00\x00", "enrol again", "gw-9"},
		"one that names nobody":           {"", "{}", "enrol again", "unenrolled"},
		"one of another gateway":          {"gw-9", enrolmentOf("gw-1", "wss://cloud:8443/link"), "the configuration says gateway gw-9", "gw-9"},
		"one whose address is none":       {"", enrolmentOf("gw-1", "wss://"), `"wss://" is not like wss://`, "gw-1"},
		"one whose address is a web page": {"", enrolmentOf("gw-1", "https://cloud/link"), "is not like wss://", "gw-1"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "wl") // a socket's path holds 107 bytes at most
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			enrolled(t, dir, x.enrolment)
			c := testConfig(dir)
			c.Gateway, c.MQTT, c.Broker.Listen = x.gateway, MQTT{}, "127.0.0.1:0"
			ctx, stop := context.WithCancel(t.Context())
			var got control.Status
			var asked error
			c.Ready = func(r Ready) { // Run waits for this one: the ward is watched by now
				go func() {
					defer stop()
					for asked == nil && got.Uplink.State != "off" {
						got, asked = control.Dial(r.Control).Status(ctx)
					}
				}()
			}
			if err := Run(ctx, c); err != nil || asked != nil {
				t.Fatalf("run: %v, status: %v", err, asked)
			}
			<-ctx.Done()
			if !strings.Contains(got.Uplink.Error, x.says) || got.Gateway != x.runsAs {
				t.Errorf("%s says %q of its uplink, want %q from %s", got.Gateway, got.Uplink.Error, x.says, x.runsAs)
			}
		})
	}
}

// link runs b's linker until the bubble's test ends it.
func (b *bench) link(ctx context.Context) (ended chan error) {
	ended = make(chan error, 1)
	go func() { ended <- b.a.link.run(ctx) }()
	return ended
}

func TestALinkThatCannotBeIsAFaultAndOneThatNobodyWantsIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), begin())
		ctx, stop := context.WithCancel(t.Context())
		ended := b.link(ctx)
		time.Sleep(10 * time.Second)
		if lost, why := b.a.link.lost(); lost {
			t.Errorf("a gateway that was never enrolled has lost its link: %s", why)
		}
		enrolled(t, b.a.cfg.Data, "")
		time.Sleep(10 * time.Second)
		if lost, why := b.a.link.lost(); !lost || !strings.Contains(why, enrolmentFile) {
			t.Errorf("with an empty enrolment: lost %v, %q", lost, why)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAGatewayEnrolledAgainGoesOverToItWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), begin())
		b.a.link.cfg.Gateway = ""
		enrolled(t, b.a.cfg.Data, enrolmentOf("gw-1", "wss://one.example.org/link"))
		ended := b.link(t.Context())
		peer := func(want string) {
			t.Helper()
			time.Sleep(2 * lookEvery)
			if s, off := b.a.link.now(); s.Cloud != want || off != "" {
				t.Errorf("the link is to %q (off: %q), want %q", s.Cloud, off, want)
			}
		}
		peer("one.example.org")
		enrolled(t, b.a.cfg.Data, enrolmentOf("gw-1", "wss://two.example.org/link"))
		peer("two.example.org")
		enrolled(t, b.a.cfg.Data, "") // a link that works is not given up for it
		peer("two.example.org")
		enrolled(t, b.a.cfg.Data, enrolmentOf("gw-2", "wss://two.example.org/link"))
		time.Sleep(2 * lookEvery)
		select {
		case err := <-ended:
			if !errors.Is(err, errRenamed) {
				t.Error(err)
			}
		default:
			t.Error("the agent goes on under the name that it had")
		}
	})
}

func TestAnAddressThatCannotBeLinkedToIsSeenBeforeItIsUsed(t *testing.T) {
	for _, address := range []string{"wss://", "wss:///link", "wss://:8443/link", "https://cloud/link", "cloud:8443", "wss://cloud:port/link", "wss://cloud:0/link", "wss://cloud:99999/link"} {
		c := testConfig(t.TempDir())
		c.Cloud.URL = address
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("cloud.url: %q", address)) {
			t.Errorf("configured %s: %v", address, err)
		}
		if _, err := keepIdentity(t.TempDir(), "id", nil, enrolAnswer{Site: "s1", Gateway: "gw-1", Link: address}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", address)) {
			t.Errorf("told by the cloud %s: %v", address, err)
		}
	}
	c := testConfig(t.TempDir())
	c.Cloud.URL = "wss://[2001:db8::1]:8443/link"
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

func TestTheBrokersSessionIsTheSameUnderEveryName(t *testing.T) {
	c := testConfig(t.TempDir())
	first := c.clientID()
	c.Gateway = "gw-2"
	enrolled(t, c.Data, enrolmentOf("gw-2", "wss://cloud/link"))
	if got := c.clientID(); got != first || len(got) > 23 {
		t.Errorf("the client id is %s after enrolment, was %s", got, first)
	}
	if other := testConfig(t.TempDir()).clientID(); other == first {
		t.Errorf("two gateways share the client id %s", other)
	}
	if err := os.WriteFile(filepath.Join(c.Data, clientIDFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second := c.clientID()
	if second == "" || second == first || c.clientID() != second {
		t.Errorf("after the file was emptied the id is %q, then %q", second, c.clientID())
	}
	c.MQTT.ClientID = "mine"
	if got := c.clientID(); got != "mine" {
		t.Errorf("the configured id is mine, used is %s", got)
	}
}

func TestACommandThatComesAgainIsAnsweredAsTheFirstTime(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(12*time.Second, "S1", 140)
	ask := func(id string, of alert.ID) *linkpb.Result {
		event, err := json.Marshal(alert.Event{Alert: of, Author: alert.Board, N: 1, Type: alert.Acknowledged, At: b.now.Wall, By: "nurse", Priority: alert.Medium})
		if err != nil {
			t.Fatal(err)
		}
		ctx, done := context.WithCancel(t.Context())
		served := make(chan struct{})
		go func() {
			defer close(served)
			select {
			case call := <-b.a.loop.calls:
				call(b.now)
				b.a.loop.flush()
			case <-ctx.Done(): // it was answered without the loop
			}
		}()
		r := b.a.link.command(t.Context(), &linkpb.Command{Id: id, Body: &linkpb.Command_AlertEvent{AlertEvent: event}})
		done()
		<-served
		return r
	}
	for range 3 {
		if r := ask("c1", b.open("1")[0].ID); r.Outcome != outcomeDone {
			t.Errorf("an open alert: %v", r)
		}
		if r := ask("c2", alert.ID(strings.Repeat("a", 32))); r.Outcome != outcomeRefused || r.Detail != "the alert is not open at the gateway" {
			t.Errorf("an alert that nobody knows: %v", r)
		}
	}
	if !b.disk.Seen("c1") || b.disk.Seen("c2") {
		t.Errorf("remembered: c1 %v, c2 %v, want the one that had an effect", b.disk.Seen("c1"), b.disk.Seen("c2"))
	}
}
