//go:build system

package e2e

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

func TestKilledInTheMiddleOfAnAlertItGoesOnOnce(t *testing.T) {
	t.Parallel()
	g := newPair(t, plan{beds: map[string]string{"1": "p1"}})
	acc := g.account("nurse", "clinician", wardID)
	nurse := g.signIn(acc)
	patient := g.patch("p1")
	g.heard("p1")
	patient.set("hr", 130)
	a := nurse.openAlert(30*time.Second, "1", "hr-high")
	same := func(when string) {
		t.Helper()
		seldom(t, 20*time.Second, "the same alert at the gateway "+when, func() error {
			s, err := g.tryStatus()
			if err != nil {
				return err
			}
			got := find(s.Alerts, "1", "hr-high")
			if got.ID != a.ID || got.Onset != a.Onset || got.Phase != "active" {
				return fmt.Errorf("it has %+v, want %s", s.Alerts, a.ID)
			}
			return nil
		})
		g.linked()
		g.drained(30 * time.Second)
		all := of(nurse.alerts("all"), "1", "hr-high")
		if len(all) != 1 || all[0].ID != a.ID || !all[0].Open {
			t.Fatalf("%s the cloud has %+v, want only %s", when, all, a.ID)
		}
	}

	g.agent.kill()
	g.watching(false) // by its last will
	g.startAgent()
	same("after kill -9 of the agent")
	g.watching(true)

	cursor := nurse.follow().cursor()
	g.cloud.kill()
	g.startCloud() // sessions are kept: nobody signs in again
	same("after kill -9 of the cloud")
	screen := nurse.followFrom(cursor)

	// An acknowledgement survives the cloud, and the gateway that was away for it.
	g.wire.cut()
	if got := nurse.post("/api/v1/alerts/"+a.ID+"/acknowledge", map[string]any{}, nil); got.Status != 200 {
		t.Fatalf("acknowledge: %v", got)
	}
	g.agent.kill()
	g.startAgent()
	g.cloud.kill()
	g.startCloud()
	g.wire.restore()
	same("after kill -9 of both while the link was cut")
	g.acknowledged(a.ID, "nurse")
	for _, d := range screen.all() {
		if d.T == "gap" || d.T == "snapshot" {
			t.Errorf("a screen that came back with its cursor was told to start over: %s", d.T)
		}
	}
	screen.wait(t, 5*time.Second, "the acknowledgement, for a screen that came back with its cursor", func(d down) bool {
		return d.Kind == "alert" && d.Alert.ID == a.ID && d.Alert.Ack != nil
	})

	// Ended while the link is cut, and killed before it could be told.
	g.wire.cut()
	patient.set("hr", 72)
	seldom(t, 40*time.Second, "the end of the alert, in the ward", func() error {
		s, err := g.tryStatus()
		if err == nil && find(s.Alerts, "1", "hr-high").ID != "" {
			err = fmt.Errorf("it goes on: %+v", s.Alerts)
		}
		return err
	})
	g.agent.kill()
	g.startAgent()
	g.wire.restore()
	g.linked()
	g.drained(30 * time.Second)
	got := nurse.alert(a.ID)
	if got.Open || got.Phase != "ended" {
		t.Errorf("the alert is %+v, want it ended", got)
	}
	count := map[string]int{}
	for _, e := range got.Events {
		count[e.Type]++
	}
	if count["raised"] != 1 || count["ended"] != 1 || count["acknowledged"] != 1 {
		t.Errorf("its events are %v, want one raised, one acknowledged, one ended", count)
	}
	if all := of(nurse.alerts("all"), "1", "hr-high"); len(all) != 1 {
		t.Errorf("there are %d episodes: %+v", len(all), all)
	}
}

func TestACloudIsRestoredFromItsBackupAndTheGatewayGoesOn(t *testing.T) {
	t.Parallel()
	g := newPair(t, plan{beds: map[string]string{"1": "p1", "2": "p2"}})
	acc := g.account("nurse", "clinician", wardID)
	nurse := g.signIn(acc)
	first, second := g.patch("p1"), g.patch("p2")
	g.heard("p1")
	first.set("hr", 130)
	a := nurse.openAlert(30*time.Second, "1", "hr-high")
	g.drained(20 * time.Second)
	if s := g.operator("migrate"); s != "" {
		t.Logf("migrate of the running cloud: %s", s)
	}
	g.operator("backup", g.path("cloud.backup"))

	// More is measured, which the backup does not have.
	sent := vitalsLane(g.status())
	seldom(t, 30*time.Second, "summaries after the backup", func() error {
		if n := vitalsLane(g.status()); n < sent+2 {
			return fmt.Errorf("%d, and at the backup %d", n, sent)
		}
		return nil
	})
	g.drained(20 * time.Second)

	if s := run(t, program(t, "wardline-cloud"), g.withConfig([]string{"restore", g.path("cloud.backup")})...); s.code != 1 {
		t.Errorf("a restore over the database of a running cloud: exit %d %s%s", s.code, s.out, s.err)
	}
	g.cloud.stop()
	aside := g.path("aside")
	if err := os.Mkdir(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(g.path("cloud/cloud.db"+end), aside+"/cloud.db"+end); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	g.operator("restore", g.path("cloud.backup"))
	g.operator("migrate")
	g.startCloud()
	nurse = g.signIn(acc)
	g.linked()
	if got := nurse.alert(a.ID); got.Onset != a.Onset || !got.Open {
		t.Errorf("the alert of the backup is %+v", got)
	}
	// What happens from here on arrives.
	second.set("hr", 190)
	nurse.openAlert(60*time.Second, "2", "hr-extreme-high")
	first.set("hr", 72)
	until(t, 40*time.Second, "the end of the first alert", func() error {
		if x := nurse.alert(a.ID); x.Open {
			return fmt.Errorf("it is %+v", x)
		}
		return nil
	})
	from := time.Now().Add(-5 * time.Second)
	until(t, 40*time.Second, "vitals after the restore", func() error {
		if x := nurse.trend("1", from, time.Now(), 360); len(x.Vitals["hr"]) == 0 {
			return fmt.Errorf("the trend has %v", x.Vitals)
		}
		return nil
	})
	if all := of(nurse.alerts("all"), "1", "hr-high"); len(all) != 1 || slices.ContainsFunc(all, func(x cloudAlert) bool { return x.ID != a.ID }) {
		t.Errorf("there are %d episodes", len(all))
	}
}

// vitalsLane is how many records of vitals the gateway has made.
func vitalsLane(s agentStatus) uint64 {
	for _, l := range s.Lanes {
		if l.Lane == "vitals" {
			return l.Last
		}
	}
	return 0
}
