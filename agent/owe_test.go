package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wardline/agent/internal/outbox"
	"wardline/agent/internal/uplink"
	"wardline/shared/alert"
	"wardline/shared/link"
)

// told is the alert events of one rule that the cloud is owed, as words.
func (b *bench) told(rule string) (out []string) {
	b.t.Helper()
	ids := map[alert.ID]bool{}
	for _, r := range b.records(link.Alerts) {
		var e alert.Event
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			b.t.Fatal(err)
		}
		if e.Condition != nil && e.Condition.Rule == rule {
			ids[e.Alert] = true
		}
		if ids[e.Alert] {
			out = append(out, string(e.Type))
		}
	}
	return out
}

// inBed is bed 1's open alert of a rule.
func (b *bench) inBed(rule string) alert.Alert {
	b.t.Helper()
	for _, a := range b.open("1") {
		if a.Condition.Rule == rule {
			return a
		}
	}
	b.t.Fatalf("bed 1 has %+v", b.open("1"))
	return alert.Alert{}
}

// folded is what a cloud that took everything knows of an alert.
func (b *bench) folded(id alert.ID) (a alert.Alert) {
	b.t.Helper()
	for _, r := range b.records(link.Alerts) {
		var e alert.Event
		err := json.Unmarshal(r.Payload, &e)
		if err == nil && e.Alert == id {
			a, err = alert.Apply(a, e)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return a
}

// update tells an update of an open alert, as the ward does when it changes.
func (b *bench) update(a alert.Alert, text string) {
	b.t.Helper()
	now := b.a.cfg.Clock()
	b.a.loop.tellAgain(now, map[alert.ID]bool{}, 0) // nothing; opens a unit
	c := a.Condition
	c.Text = text
	e := alert.Event{Alert: a.ID, Author: alert.Gateway, N: b.folded(a.ID).N(alert.Gateway) + 1, Type: alert.Updated, At: now.Wall, Condition: &c}
	b.a.loop.owe(b.a.loop.unit(now), e)
	b.a.loop.unit(now).urgent = true
	b.flush()
}

func TestWhileOnlyAlertsAreLeftOfSeveralUpdatesTheLastIsTold(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(20*time.Second, "S1", 140)
	a := b.inBed("hr-high")
	b.a.loop.crowded = true
	for _, text := range []string{"first", "second", "third"} {
		b.update(a, text)
	}
	if got := b.told("hr-high"); strings.Join(got, " ") != "raised" {
		t.Fatalf("while there is no room the cloud is owed %v", got)
	}
	if b.a.loop.coalesced != 2 {
		t.Errorf("%d updates are counted as left out, want 2", b.a.loop.coalesced)
	}
	b.a.loop.learnOfDisk(b.now, outbox.Stats{}) // there is room again
	b.a.loop.unit(b.now).urgent = true
	b.flush()
	if got := b.folded(a.ID); got.Condition.Text != "third" {
		t.Errorf("the cloud knows %q, want the last update", got.Condition.Text)
	}
	if got := b.told("hr-high"); strings.Join(got, " ") != "raised updated" {
		t.Errorf("the cloud is owed %v", got)
	}
}

func TestAnUpdateThatWaitsIsToldBeforeWhatFollowsIt(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(20*time.Second, "S1", 140)
	a := b.inBed("hr-high")
	b.a.loop.crowded = true
	b.update(a, "worse")
	u := b.a.loop.unit(b.now)
	b.a.loop.owe(u, alert.Event{Alert: a.ID, Author: alert.Gateway, N: 3, Type: alert.Ended, At: b.now.Wall})
	u.urgent = true
	b.flush()
	if got := b.folded(a.ID); got.Condition.Text != "worse" || got.Phase == alert.Active {
		t.Errorf("the cloud knows %q, %s", got.Condition.Text, got.Phase)
	}
}

func TestAnUpdateThatWaitedIsToldAfterACrash(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(20*time.Second, "S1", 140)
	a := b.inBed("hr-high")
	b.a.loop.crowded = true
	b.update(a, "worse")
	b.a.loop.tellAgain(b.now, map[alert.ID]bool{}, 0)
	b.a.loop.held[a.ID] = alert.Event{Alert: a.ID, Type: alert.Updated, Condition: &a.Condition}
	b.a.loop.unit(b.now).urgent = true
	b.flush() // the episode is kept, with the word that its update waits
	next := start(t, b.crash(), Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall + 3e6, Synchronised: true})
	next.pass(2*time.Second, "S1", 140)
	if got := strings.Join(next.told("hr-high"), " "); got != "raised raised updated" {
		t.Errorf("the cloud is owed %q, want the alert told again with an update", got)
	}
	if n := next.episodes("hr-high"); n != 1 {
		t.Errorf("%d episodes, want one", n)
	}
}

func TestACloudThatWentBackIsToldOfOpenAlertsAgain(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(20*time.Second, "S1", 140)
	a := b.inBed("hr-high")
	was := len(b.records(link.Alerts))
	b.a.link.report(uplink.State{Connected: true, Behind: 1})
	b.pass(2*time.Second, "S1", 140)
	if got := b.records(link.Alerts); len(got) <= was {
		t.Fatal("nothing was told again")
	}
	if got := b.folded(a.ID); got.Phase != alert.Active || got.RaisedAt != a.RaisedAt {
		t.Errorf("a cloud that heard everything knows %+v", got)
	}
	if _, ok := b.about("cloud-went-back"); !ok || b.episodes("hr-high") != 1 {
		t.Errorf("the ward has %+v", b.open(""))
	}
}

// TestAfterADiskThatWentBackTheCloudTakesWhatIsTold: it has heard other events
// under the next numbers, and of an end that this disk does not know.
func TestAfterADiskThatWentBackTheCloudTakesWhatIsTold(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(20*time.Second, "S1", 140)
	a := b.inBed("hr-high")
	cloud := a
	for n := uint32(2); n < 2000; n++ {
		kind := alert.Updated
		if n == 1999 {
			kind = alert.Ended
		}
		var err error
		if cloud, err = alert.Apply(cloud, alert.Event{Alert: a.ID, Author: alert.Gateway, N: n, Type: kind, At: b.now.Wall, Condition: &a.Condition}); err != nil {
			t.Fatal(err)
		}
	}
	b.a.link.report(uplink.State{Renumbered: 1})
	b.pass(2*time.Second, "S1", 140)
	for _, r := range b.records(link.Alerts) {
		var e alert.Event
		err := json.Unmarshal(r.Payload, &e)
		if err == nil && e.Alert == a.ID {
			cloud, err = alert.Apply(cloud, e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if cloud.Phase != alert.Active {
		t.Errorf("the cloud holds it for %s, and it is true in the ward", cloud.Phase)
	}
	b.pass(40*time.Second, "S1", 70)
	next := b.folded(a.ID)
	if next.Phase == alert.Active || next.N(alert.Gateway) < afterGoingBack {
		t.Errorf("its end was told as event %d, %s", next.N(alert.Gateway), next.Phase)
	}
}

func TestTheDiskIsSpokenOfBeforeAnythingGivesWay(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.idle(time.Second)
	b.a.loop.learnOfDisk(b.now, outbox.Stats{MaxBytes: 100 << 20, Owed: 80 << 20})
	if f := b.a.facts.changed(); len(f) != 1 || f[0].Fact.Name != "disk_nearly_full" || !strings.Contains(f[0].Fact.Text, "80 of 100 MiB") {
		t.Errorf("at 80 of 100 MiB it learns %+v", f)
	}
	b.a.loop.learnOfDisk(b.now, outbox.Stats{MaxBytes: 100 << 20, Owed: 120 << 20, Over: true, Torn: 2})
	if f := b.a.facts.changed(); len(f) != 2 || f[0].Fact.Name != "outbox_full" || f[1].Fact.Name != "storage_damaged" || !b.a.loop.crowded {
		t.Errorf("with nothing but alerts it learns %+v", f)
	}
}

func TestAStartWithADamagedOutboxGoesOnWithTheSameEpisodesAndDelays(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(70*time.Second, "S1", 140)
	b.pass(4*time.Second, "S2", 140) // a delay is running
	b.now.Mono += 1_200_000          // the last commit is older than the linger
	b.now.Wall += 1_200_000
	b.flush()
	a := b.inBed("hr-high")
	crashed := b.crash()
	if err := os.WriteFile(filepath.Join(crashed, "outbox.damaged"), []byte("test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	next := start(t, crashed, Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall + 3e6, Synchronised: true})
	if got := next.inBed("hr-high"); got.ID != a.ID {
		t.Errorf("it goes on with alert %s, want %s", got.ID, a.ID)
	}
	next.pass(4*time.Second, "S2", 140)
	if len(next.open("2")) == 0 || next.open("2")[0].Condition.Rule != "hr-high" {
		t.Errorf("a delay that was running began again: bed 2 has %+v", next.open("2"))
	}
	if _, ok := next.about("storage-damaged"); !ok || next.episodes("hr-high") != 2 {
		t.Errorf("the ward has %+v, and the cloud hears of %d episodes", next.open(""), next.episodes("hr-high"))
	}
}

// An alert whose record was taken over and whose episode was lost is open in the
// cloud alone. The cloud learns so from a Hello after the record.
func TestTheLinkBeginsAnewWhenTheRecordsOfADamagedOutboxAreTakenOver(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	for i, d := range []outbox.Stats{{}, {Salvaged: &outbox.Salvage{}}, {Salvaged: &outbox.Salvage{Done: true}}, {Salvaged: &outbox.Salvage{Done: true}}} {
		b.a.loop.learnOfDisk(b.now, d)
		select {
		case <-b.disk.changed:
			if i != 2 {
				t.Errorf("the link begins anew at %+v", d.Salvaged)
			}
		default:
			if i == 2 {
				t.Error("the link goes on")
			}
		}
	}
}

// TestWhatIsToldAgainAtTheFirstTickIsWhatGoesOn: a link may be there before time
// has passed once, and then what is open has not taken the place of the replay yet.
func TestWhatIsToldAgainAtTheFirstTickIsWhatGoesOn(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(20*time.Second, "S1", 140)
	a := b.inBed("hr-high")
	b.now.Mono += 1_200_000
	b.now.Wall += 1_200_000
	b.flush()
	next := start(t, b.crash(), Instant{Boot: 1, Mono: b.now.Mono + 3e6, Wall: b.now.Wall + 3e6, Synchronised: true})
	next.a.link.report(uplink.State{Renumbered: 1})
	next.a.loop.tick()
	next.flush()
	next.pass(40*time.Second, "S1", 70)
	if got := next.folded(a.ID); got.N(alert.Gateway) < afterGoingBack+2 || got.Phase == alert.Active {
		t.Errorf("its last event is number %d, and it is %s: its end was told under an old number", got.N(alert.Gateway), got.Phase)
	}
}

func TestALatchedAlertThatEndedAfterTheCheckpointDoesNotEndAgainAfterACrash(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(2*time.Second, "S1", 72)
	b.a.facts.set("storage_damaged", true, "test")
	b.pass(70*time.Second, "S1", 72) // a checkpoint has it open
	b.a.facts.set("storage_damaged", false, "")
	b.pass(3*time.Second, "S1", 72)
	a, ok := b.about("storage-damaged")
	if !ok || a.Phase != alert.Latched {
		t.Fatalf("the ward has %+v", b.open(""))
	}
	next := start(t, b.crash(), Instant{Boot: 1, Mono: b.now.Mono + 3e6, Wall: b.now.Wall + 3e6, Synchronised: true})
	next.pass(100*time.Second, "S1", 72)
	if got := strings.Join(next.told("storage-damaged"), " "); got != "raised ended" {
		t.Errorf("the cloud hears %q", got)
	}
}
