//go:build system

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAGatewayThatIsEnrolledWhileItWatchesBringsItsOpenAlertToTheCloud begins as
// a ward without a cloud does, and enrols in the middle of an alert.
func TestAGatewayThatIsEnrolledWhileItWatchesBringsItsOpenAlertToTheCloud(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	g := &gateway{site: s, id: gatewayID, ward: wardID, plan: plan{beds: map[string]string{"12": "P0012"}}, wire: newWire(t, at(s.gatewayPort))}
	g.configure()
	g.startAgent()
	patient := g.patch("P0012")
	patient.set("hr", 190)
	var local string
	seldom(t, 30*time.Second, "the alert in the ward", func() error {
		st, err := g.tryStatus()
		if err != nil {
			return err
		}
		for _, a := range st.Alerts {
			if a.Rule == "hr-extreme-high" {
				local = a.ID
				return nil
			}
		}
		return fmt.Errorf("open are %+v", st.Alerts)
	})
	g.enrol()
	g.linked()
	nurse := g.signIn(g.account("nurse", "clinician", wardID))
	a := nurse.openAlert(30*time.Second, "12", "hr-extreme-high")
	if a.ID != local {
		t.Errorf("the cloud has alert %s, the ward has %s", a.ID, local)
	}
	if got := nurse.post("/api/v1/alerts/"+a.ID+"/acknowledge", map[string]any{}, nil); got.Status != 200 {
		t.Fatalf("acknowledge: %v", got)
	}
	g.acknowledged(a.ID, "nurse")
}

// TestWhatAGatewayLostWithItsDiskEndsInTheCloudAndMonitoringGoesOn damages the
// outbox while an alert is open.
func TestWhatAGatewayLostWithItsDiskEndsInTheCloudAndMonitoringGoesOn(t *testing.T) {
	t.Parallel()
	g := newPair(t, plan{beds: map[string]string{"12": "P0012"}})
	nurse := g.signIn(g.account("nurse", "clinician", wardID))
	patient := g.patch("P0012")
	patient.set("hr", 190)
	before := nurse.openAlert(30*time.Second, "12", "hr-extreme-high")
	g.agent.kill()
	patient.set("hr", 72)
	for _, suffix := range []string{"-wal", "-shm"} {
		os.Remove(g.path(filepath.Join(g.id, "outbox.db"+suffix)))
	}
	write(t, g.path(filepath.Join(g.id, "outbox.db")), "this is no database any more, whatever its name says")
	g.startAgent()
	g.linked()
	until(t, 40*time.Second, "the end of what the gateway does not know of", func() error {
		if a := nurse.alert(before.ID); a.Open || a.Phase == "active" {
			return fmt.Errorf("it is %s, open %v", a.Phase, a.Open)
		}
		return nil
	})
	if trouble := g.status().Trouble; len(trouble) == 0 {
		t.Error("status says nothing of the damage")
	}
	patient.set("hr", 190)
	if after := nurse.openAlert(30*time.Second, "12", "hr-extreme-high"); after.ID == before.ID {
		t.Error("the new episode has the identity of the old one")
	}
}
