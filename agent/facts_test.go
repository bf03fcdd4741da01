package agent

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wardline/agent/internal/intake"
	"wardline/agent/internal/uplink"
	"wardline/shared/alert"
	"wardline/shared/pki"
)

// idle lets time go by without a word from any sensor, in a few steps of at
// least a second.
func (b *bench) idle(d time.Duration) {
	b.t.Helper()
	step := max(time.Second, d/20)
	for range int(d / step) {
		b.now.Mono += step.Microseconds()
		b.now.Wall += step.Microseconds()
		b.a.loop.tick()
		b.flush()
	}
}

// about is the ward's own open alert of a rule.
func (b *bench) about(rule string) (alert.Alert, bool) {
	for _, a := range b.open("") {
		if a.Condition.Rule == rule {
			return a, true
		}
	}
	return alert.Alert{}, false
}

func TestFramesOfANewerVersionAreAnAlertUntilTenMinutesAfterTheLast(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	newer := func() {
		b.a.loop.message(b.now, &intake.Message{Topic: "wl/1/r1/S1/frame", Payload: []byte{0x0a, 0x02, 0x08, 0x02}, Received: b.now.Wall})
	}
	newer()
	b.idle(2 * time.Second)
	if a, ok := b.about("newer-frames"); !ok || !strings.Contains(a.Condition.Text, "sensor S1, relay r1") {
		t.Fatalf("the ward has %+v; set aside: %v", b.open(""), b.source("frames").SetAside)
	}
	b.idle(9 * time.Minute)
	newer()
	b.idle(9 * time.Minute)
	if _, ok := b.about("newer-frames"); !ok {
		t.Error("the alert ended while such frames still come")
	}
	b.idle(3 * time.Minute)
	if a, ok := b.about("newer-frames"); ok {
		t.Errorf("nothing of the kind came for 12 minutes, and still %+v", a)
	}
	if n := b.raised("newer-frames"); n != 1 {
		t.Errorf("raised %d times, want once", n)
	}
}

func TestARenumberedOutboxIsAnAlertThatStaysUntilSomebodyResolvesIt(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.idle(2 * time.Second)
	b.a.link.report(uplink.State{Renumbered: 1, LastError: "diverged"})
	b.idle(2 * time.Second)
	a, ok := b.about("renumbered")
	if !ok || a.Condition.Priority != alert.Low || a.Condition.Kind != alert.Technical {
		t.Fatalf("the ward has %+v", b.open(""))
	}
	b.a.link.report(uplink.State{Connected: true, Renumbered: 1})
	b.idle(2 * time.Minute)
	if a, _ = b.about("renumbered"); a.Phase != alert.Latched {
		t.Errorf("after two minutes it is %q, want latched", a.Phase)
	}
	b.a.link.begin(Enrolment{}) // another uplink, which counts anew
	b.a.link.report(uplink.State{Renumbered: 1})
	b.idle(2 * time.Second)
	if n := b.episodes("renumbered"); n != 2 {
		t.Errorf("%d episodes, want one each time", n)
	}
}

func TestACertificateIsSpokenOfFourteenDaysBeforeItsEnd(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	now := time.UnixMicro(monday)
	ca, err := pki.NewCA("test", now.Add(-time.Hour), 10*365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	renew := func(life time.Duration) {
		t.Helper()
		key, csr, err := pki.NewKeyAndCSR()
		var cert []byte
		if err == nil {
			cert, err = ca.SignGateway(csr, "s1", "gw-1", time.UnixMicro(b.now.Wall), life)
		}
		if err == nil {
			err = errors.Join(pki.SaveIdentity(filepath.Join(b.a.cfg.Data, identityFile), cert, key),
				pki.WriteFile(filepath.Join(b.a.cfg.Data, cloudCAFile), ca.PEM(), 0o644))
		}
		if err == nil {
			_, err = b.a.link.tls("wss://cloud/link")
		}
		if err != nil {
			t.Fatal(err)
		}
		b.idle(2 * time.Second)
	}
	days := func() int64 { return daysUntil(b.a.link.certificateEnds(), b.now.Wall) }
	want := func(rule string, p alert.Priority) {
		t.Helper()
		for _, r := range []string{"certificate-ending", "certificate-expired"} {
			a, ok := b.about(r)
			if ok != (r == rule) || ok && (a.Condition.Priority != p || !strings.Contains(a.Condition.Text, "2026-01-")) {
				t.Errorf("with %d days left %s: %v, %+v", days(), r, ok, a.Condition)
			}
		}
	}
	renew(14*24*time.Hour + time.Minute)
	want("", 0)
	if days() != 13 && days() != 14 {
		t.Errorf("%d days are left, want 14", days())
	}
	b.idle(2 * time.Minute)
	want("certificate-ending", alert.Low)
	b.now.Wall += (14 * 24 * time.Hour).Microseconds()
	b.now.Mono += (14 * 24 * time.Hour).Microseconds()
	b.idle(2 * time.Second)
	want("certificate-expired", alert.Medium)
	if days() != -1 {
		t.Errorf("%d days are left of one that is over", days())
	}
	renew(90 * 24 * time.Hour)
	want("", 0)
}
