package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"wardline/agent"
	"wardline/cloud"
)

// shifted is a world whose two tiers' wall clocks stand some days ahead.
type shifted struct {
	t     *testing.T
	days  atomic.Int64
	cloud cloud.Config
	agent agent.Config
}

func (w *shifted) wall() int64 { return time.Now().UnixMicro() + w.days.Load()*24*3600*1e6 }

func (w *shifted) instant() agent.Instant {
	return agent.Instant{Boot: 1, Mono: time.Since(began).Microseconds() + 1, Wall: w.wall(), Synchronised: true}
}

var began = time.Now()

// newShifted starts a cloud and enrols a gateway, which does not run yet.
func newShifted(t *testing.T) *shifted {
	t.Helper()
	w := &shifted{t: t}
	ready := make(chan cloud.Addresses, 1)
	w.cloud = cloud.Config{
		Data: t.TempDir(), People: cloud.People{Listen: "127.0.0.1:0"}, Gateways: cloud.Gateways{Listen: "127.0.0.1:0"}, Now: w.wall,
		Ready: func(a cloud.Addresses) { ready <- a }, Stdout: new(discard), Log: slog.New(slog.DiscardHandler),
	}
	w.run(func(ctx context.Context) error { return cloud.Run(ctx, w.cloud) })
	at := <-ready
	w.cloud.Gateways.PublicURL = at.Gateways
	a := w.admin()
	line, _, err := a.Token(t.Context(), "gw-7w", []string{"7w"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	short, err := os.MkdirTemp("", "wl") // a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	w.agent = agent.Config{
		Data: t.TempDir(), Control: filepath.Join(short, "control.sock"), Broker: agent.Broker{Listen: "127.0.0.1:0"}, Clock: w.instant, Log: slog.New(slog.DiscardHandler),
		Wards: []agent.Ward{{ID: "7w", Beds: []agent.Bed{{Bed: "1", Sensor: "S1"}}}},
	}
	if _, err := agent.Enrol(t.Context(), w.agent.Data, line, false); err != nil {
		t.Fatal(err)
	}
	return w
}

type discard struct{}

func (*discard) Write(b []byte) (int, error) { return len(b), nil }

func (w *shifted) admin() *cloud.Admin {
	w.t.Helper()
	a, err := cloud.OpenAdmin(w.cloud)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { a.Close() })
	return a
}

// run runs f until the returned function is called, or the test ends.
func (w *shifted) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	over := false
	stop = func() {
		if over {
			return
		}
		over = true
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

func (w *shifted) runAgent() (stop func()) {
	return w.run(func(ctx context.Context) error { return agent.Run(ctx, w.agent) })
}

// linkStatus is what the agent says of its link.
type linkStatus struct {
	Uplink struct {
		State, Error string
		Since        int64
	}
	Now         int64
	Alerts      []struct{ Rule string }
	Certificate *struct {
		Days, Renewed int64
		Error         string
	}
}

// until waits for the agent to say what ok wants.
func (w *shifted) until(what string, ok func(linkStatus) bool) (s linkStatus) {
	w.t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.agent.Control)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		resp, err := client.Get("http://agent/status")
		if err != nil {
			continue
		}
		s = linkStatus{}
		err = json.NewDecoder(resp.Body).Decode(&s)
		resp.Body.Close()
		if err == nil && ok(s) {
			return s
		}
	}
	w.t.Fatalf("%s: still %+v, certificate %+v", what, s, s.Certificate)
	return s
}

func connected(s linkStatus) bool { return s.Uplink.State == "connected" }

func TestACertificateIsRenewedAtTwoThirdsOfItsLifeAndTheSessionGoesOn(t *testing.T) {
	t.Parallel()
	w := newShifted(t)
	w.runAgent()
	before := w.until("the gateway connects", connected)
	w.days.Store(59)
	w.until("it sees how long it lasts", func(s linkStatus) bool { return s.Certificate != nil && s.Certificate.Days < 32 })
	if s := w.until("it is connected", connected); s.Certificate.Renewed != 0 {
		t.Error("renewed before two thirds of its life")
	}
	w.days.Store(61)
	after := w.until("it is renewed", func(s linkStatus) bool {
		return s.Certificate != nil && s.Certificate.Renewed != 0 && s.Certificate.Days > 80
	})
	if after.Uplink.State != "connected" || after.Uplink.Since != before.Uplink.Since {
		t.Errorf("the link is %+v, it was %+v: the session was dropped", after.Uplink, before.Uplink)
	}
}

func TestAGatewayWhoseCertificateEndedRenewsItAndConnectsUntilItIsRevoked(t *testing.T) {
	t.Parallel()
	w := newShifted(t)
	stop := w.runAgent()
	w.until("the gateway connects", connected)
	stop()
	w.days.Store(200) // it stood in a cupboard
	stop = w.runAgent()
	w.until("it renews and connects", func(s linkStatus) bool { return connected(s) && s.Certificate.Days > 80 })
	stop()
	identity, err := os.ReadFile(filepath.Join(w.agent.Data, "identity.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.admin().Revoke(t.Context(), "gw-7w", "stolen"); err != nil {
		t.Fatal(err)
	}
	w.days.Store(320)
	w.runAgent()
	s := w.until("it is refused", func(s linkStatus) bool { return s.Certificate != nil && s.Certificate.Error != "" })
	if now, err := os.ReadFile(filepath.Join(w.agent.Data, "identity.pem")); err != nil || string(now) != string(identity) || connected(s) {
		t.Errorf("a revoked gateway was given another certificate: %+v, %v", s, err)
	}
}

// TestAColdBootOfflineWithAnEndedCertificateIn1970Watches: and when the network is
// back, the gateway has the time and a certificate, and connects.
func TestAColdBootOfflineWithAnEndedCertificateIn1970Watches(t *testing.T) {
	t.Parallel()
	w := newShifted(t)
	stop := w.runAgent()
	w.until("the gateway connects", connected)
	stop()
	w.days.Store(200)
	cold := time.Now()
	w.agent.Clock = func() agent.Instant {
		up := time.Since(cold).Microseconds() + 1
		return agent.Instant{Boot: 2, Mono: up, Wall: up} // 1970
	}
	var online atomic.Bool
	w.agent.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !online.Load() {
			return nil, errors.New("no network")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	w.runAgent()
	s := w.until("the ward is watched", func(s linkStatus) bool {
		return slices.ContainsFunc(s.Alerts, func(a struct{ Rule string }) bool { return a.Rule == "sensor-silent" })
	})
	if s.Now < began.UnixMicro() || connected(s) {
		t.Errorf("the gateway thinks that it is %v, before it stopped", time.UnixMicro(s.Now))
	}
	online.Store(true)
	s = w.until("it has a certificate and connects", connected)
	if off := time.Duration(s.Now-w.wall()) * time.Microsecond; off.Abs() > 5*time.Second || s.Certificate.Days < 80 {
		t.Errorf("its clock is off by %v, its certificate lasts %d days", off, s.Certificate.Days)
	}
}
