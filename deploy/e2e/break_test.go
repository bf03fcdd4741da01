//go:build system

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wardline/shared/sqlite"
)

func TestWhileTheLinkIsCutTheWardGoesOnAndAfterwardsHistoryDoesNotPage(t *testing.T) {
	t.Parallel()
	g := newPair(t, plan{beds: map[string]string{"1": "p1", "2": "p2", "3": "p3"}})
	acc := g.account("nurse", "clinician", wardID)
	nurse := g.signIn(acc)
	screen := nurse.follow()
	begins, ends, both := g.patch("p1"), g.patch("p2"), g.patch("p3")
	for _, s := range []string{"p1", "p2", "p3"} {
		g.heard(s)
	}
	wall := newBrowser(t).screen(t, "cut")
	wall.visit(g.base())
	wall.signIn(acc)
	wall.see(15*time.Second, "[data-tile='7w/1']", "")

	ends.set("hr", 130)
	old := nurse.openAlert(30*time.Second, "2", "hr-high")
	wall.click(fmt.Sprintf(".dock article[data-alert='%s'] button", old.ID), "Acknowledge")
	wall.see(10*time.Second, fmt.Sprintf(".dock article[data-alert='%s']", old.ID), "acked by nurse")
	g.acknowledged(old.ID, "nurse")

	cutAt := time.Now()
	g.wire.cut()
	wall.see(15*time.Second, "[data-bar=gateway]", gatewayID+": link lost")
	t.Logf("the page shows the lost link %v after the cut", time.Since(cutAt).Round(10*time.Millisecond))
	wall.see(5*time.Second, "[data-tile='7w/1']", "link")
	wall.shot("link-lost")

	begins.set("hr", 190)
	rose := time.Now()
	both.set("hr", 130)
	ends.set("hr", 72)
	var fresh, brief agentAlert
	seldom(t, 40*time.Second, "what begins and what ends meanwhile, in the ward", func() error {
		open := g.status().Alerts
		fresh, brief = find(open, "1", "hr-extreme-high"), find(open, "3", "hr-high")
		if fresh.ID == "" || brief.ID == "" || find(open, "2", "hr-high").ID != "" {
			return fmt.Errorf("open are %+v", open)
		}
		return nil
	})
	var m bedAlerts
	if err := g.retained(alertsTopic(wardID, "1"), &m); err != nil || len(m.Alerts) == 0 || m.Alerts[0].ID != fresh.ID || !m.Alerts[0].Sound {
		t.Errorf("the ward's own station is told %+v, %v", m, err)
	}
	both.set("hr", 72)
	seldom(t, 40*time.Second, "the end of bed 3's alert, in the ward", func() error {
		if a := find(g.status().Alerts, "3", "hr-high"); a.ID != "" {
			return fmt.Errorf("it is %+v", a)
		}
		return nil
	})
	if n := len(nurse.alerts("open")); n == 0 {
		t.Error("the cloud forgot the alert that it knew when the link was cut")
	}

	restored := len(screen.all())
	g.wire.restore()
	g.linked()
	g.drained(30 * time.Second)
	back := time.Now()
	news := screen.wait(t, 20*time.Second, "the alert that is still true, with its sound", func(d down) bool {
		return d.Kind == "alert" && d.Alert.ID == fresh.ID && d.Page
	})
	if a := news.Alert; a.Onset != fresh.Onset || !a.Open || a.Onset < rose.Add(-time.Second).UnixMicro() || a.Onset > rose.Add(3*time.Second).UnixMicro() {
		t.Errorf("what is still true has the onset %d (open %v), in the ward it had %d, and the heart rate rose at %d", a.Onset, a.Open, fresh.Onset, rose.UnixMicro())
	}
	until(t, 10*time.Second, "the ends of the others in the cloud", func() error {
		for _, id := range []string{old.ID, brief.ID} {
			if a := nurse.alert(id); a.Open || a.EndedAt == 0 || a.Page {
				return fmt.Errorf("%s is %+v", id, a)
			}
		}
		return nil
	})
	for id, late := range map[string]bool{old.ID: false, brief.ID: true, fresh.ID: false} {
		if a := nurse.alert(id); a.Late != late {
			t.Errorf("late is %v, want %v: %+v", a.Late, late, a)
		}
	}
	for _, d := range screen.all()[restored:] {
		if d.Kind == "alert" && d.Page && (d.Alert.ID == old.ID || d.Alert.ID == brief.ID) {
			t.Errorf("history pages: %+v", *d.Alert)
		}
	}
	wall.gone(15*time.Second, "[data-bar=gateway]", "")
	wall.see(15*time.Second, "[data-tile='7w/1'] .hr .value", "190") // the present again, not what was last seen
	wall.see(10*time.Second, fmt.Sprintf(".dock article[data-alert='%s']", fresh.ID), "***")
	wall.gone(10*time.Second, fmt.Sprintf(".dock article[data-alert='%s']", old.ID), "")
	wall.shot("link-restored")
	wall.visit(g.base() + "/#/history")
	wall.see(15*time.Second, "main", "Bed 3")

	for _, bed := range []string{"1", "2", "3"} {
		until(t, 30*time.Second, "a trend of bed "+bed+" without a gap", func() error {
			x := nurse.trend(bed, cutAt.Add(-5*time.Second), back, 360)
			if len(x.Holes) > 0 {
				return fmt.Errorf("holes %+v", x.Holes)
			}
			return whole(x, "hr", cutAt, back.Add(-20*time.Second))
		})
	}
	wall.visit(g.base() + "/#/bed/7w/1")
	wall.see(15*time.Second, hasPoints, "")
	wall.shot("trend-filled")
	wall.faultless()
}

func TestWhatGoesSilentIsShownBeforeAnybodyTrustsWhatIsOld(t *testing.T) {
	t.Parallel()
	g := newPair(t, plan{beds: map[string]string{"1": "p1"}})
	acc := g.account("nurse", "clinician", wardID)
	screen := g.signIn(acc).follow()
	g.patch("p1")
	g.heard("p1")
	wall := newBrowser(t).screen(t, "silent")
	wall.visit(g.base())
	wall.signIn(acc)
	wall.see(15*time.Second, "[data-tile='7w/1'] .hr .value", "72")

	pulled := time.Now()
	g.wire.stall()
	wall.see(15*time.Second, "[data-tile='7w/1'] .hr .value", "––")
	wall.see(5*time.Second, "[data-tile='7w/1'] .hr .note", "no reading for")
	wall.see(5*time.Second, "header .live", "no new data for")
	t.Logf("the page says that its figures are old %v after the cable was pulled", time.Since(pulled).Round(10*time.Millisecond))
	screen.wait(t, 45*time.Second, "the lost link", func(d down) bool {
		return d.Kind == "gateway" && d.Gateway.Link == "down" && d.got.After(pulled)
	})
	t.Logf("the cloud gave the session up after %v", time.Since(pulled).Round(10*time.Millisecond))
	wall.see(5*time.Second, "[data-bar=gateway]", gatewayID+": link lost")
	wall.shot("old-figures")

	g.wire.flow()
	g.wire.cut() // what was under way is of no use to either end
	g.wire.restore()
	g.linked()
	wall.see(15*time.Second, "[data-tile='7w/1'] .hr .value", "72")
	wall.gone(15*time.Second, "[data-bar=gateway]", "")

	killed := time.Now()
	g.cloud.kill()
	wall.see(15*time.Second, "[data-bar=connection]", "not connected")
	t.Logf("the page says that it is not connected %v after the cloud was killed", time.Since(killed).Round(10*time.Millisecond))
	wall.see(15*time.Second, "[data-tile='7w/1'] .hr .value", "––")
	wall.shot("not-connected")
	g.startCloud()
	wall.gone(45*time.Second, "[data-bar=connection]", "") // by itself, and without signing in again
	wall.see(45*time.Second, "[data-tile='7w/1'] .hr .value", "72")
	wall.faultless()
}

func TestSoundThatTheBrowserHoldsBackIsSaidUntilSomebodyTouchesThePage(t *testing.T) {
	t.Parallel()
	g := newPair(t, plan{beds: map[string]string{"1": "p1"}})
	acc := g.account("nurse", "clinician", wardID)
	wall := newBrowser(t, "hold-sound").screen(t, "sound")
	wall.visit(g.base())
	wall.signIn(acc)
	wall.see(15*time.Second, "[data-tile='7w/1']", "")
	// As after a night, with a page that nobody has touched. A reload can inherit the
	// touch of the sign-in, and then the browser rightly holds nothing back.
	wall.visit("about:blank")
	wall.visit(g.base())
	wall.see(15*time.Second, "[data-bar=sound]", "Sound is off on this screen")
	wall.shot("sound-is-off")
	wall.click("[data-bar=sound] button", "Turn sound on")
	wall.gone(15*time.Second, "[data-bar=sound]", "")
	wall.faultless()
}

// whole says where a vital misses a point of the trend.
func whole(x course, vital string, from, to time.Time) error {
	at := map[int64]bool{}
	for _, p := range x.Vitals[vital] {
		at[int64(p[0])] = true
	}
	for s := from.UnixMicro() / x.Step * x.Step; s < to.UnixMicro()/x.Step*x.Step; s += x.Step {
		if !at[s] {
			return fmt.Errorf("no %s at %v; there are %d points of %d s", vital, time.UnixMicro(s), len(at), x.Step/1e6)
		}
	}
	return nil
}

func find(list []agentAlert, bed, rule string) agentAlert {
	for _, a := range list {
		if a.Bed == bed && a.Rule == rule {
			return a
		}
	}
	return agentAlert{}
}

// flapping raises and ends an alert within seconds, so that there are many.
const flapping = `pack: flapping
version: 1
for: a test
rules:
  - id: quick
    says: "SpO2 {spo2:0} %"
    priority: medium
    when: spo2 < 85
    for: 1s
    until: spo2 > 90
    until_for: 1s
`

// What one gateway decided and what the cloud has of it.
type ledger map[string][]string // alert to its events, in order

func TestALinkThatTearsAnywhereLosesNothingAndDoublesNothing(t *testing.T) {
	t.Parallel()
	const seed = 20260101
	s := newSite(t)
	wards := []string{"w1", "w2", "w3", "w4"}
	lead := s.account("lead", "lead", strings.Join(wards, ","))
	var gateways []*gateway
	var tails []tail
	for i, ward := range wards {
		sensors := map[string]string{"1": ward + "a", "2": ward + "b"}
		g := s.newGatewayWith("gw-"+ward, ward, plan{beds: sensors, packs: "[./flapping.yaml]", summary: "2s"}, map[string]string{"flapping.yaml": flapping})
		g.linked()
		gateways, tails = append(gateways, g), append(tails, g.tail())
		for _, sensor := range sensors {
			s.flap(s.patch(sensor))
		}
		g.wire.tear(seed + uint64(i))
	}
	c := s.signIn(lead)
	asked := map[string]int64{} // alert to when it was acknowledged, µs
	tear := time.Now()
	for time.Since(tear) < 40*time.Second {
		until(t, 30*time.Second, "an alert to acknowledge", func() error {
			for _, a := range c.alerts("open") {
				if a.Rule == "quick" && a.Phase == "active" && asked[a.ID] == 0 {
					if got := c.post("/api/v1/alerts/"+a.ID+"/acknowledge", map[string]any{}, nil); got.Status == 200 {
						asked[a.ID] = time.Now().UnixMicro()
						return nil
					}
				}
			}
			return fmt.Errorf("none is new")
		})
	}
	cuts := 0
	for _, g := range gateways {
		cuts += g.wire.mend()
	}
	for _, g := range gateways {
		g.linked()
		g.drained(60 * time.Second)
	}
	t.Logf("seed %d: %d connections were cut, %d alerts were acknowledged meanwhile", seed, cuts, len(asked))
	if cuts < 8 {
		t.Errorf("only %d connections were cut", cuts)
	}

	// An alert that ended before its acknowledgement got through has none at the
	// gateway. That is so where the link was torn, but not as a rule.
	const enough = 4_000_000 // µs for an acknowledgement to get through a link that tears
	reached, long, longReached := 0, 0, 0
	until(t, 40*time.Second, "an answer to each acknowledgement", func() error {
		reached, long, longReached = 0, 0, 0
		for id, at := range asked {
			n, a := 0, c.alert(id)
			for _, e := range a.Events {
				if e.Type == "acknowledged" {
					n++
				}
			}
			if n != 1 || !a.AtGateway && a.Phase == "active" {
				return fmt.Errorf("alert %s (%s) has %d acknowledgements, at the gateway %v", id, a.Phase, n, a.AtGateway)
			}
			if a.AtGateway {
				reached++
			}
			if a.EndedAt == 0 || a.EndedAt-at >= enough {
				long++
				if a.AtGateway {
					longReached++
				}
			}
		}
		return nil
	})
	t.Logf("%d of them were acknowledged at the gateway, and %d of the %d that were open for long enough", reached, longReached, long)
	if long == 0 || longReached < (long+1)/2 {
		t.Errorf("%d of %d acknowledgements reached the gateway in time", longReached, long)
	}

	for i, g := range gateways {
		g.agent.stop() // what it decides from here on is not compared
		decided := tails[i].ledger()
		if len(decided) < 4 {
			t.Errorf("%s decided %d alerts only", g.id, len(decided))
		}
		for id, events := range decided {
			var got []string
			for _, e := range c.alert(id).Events {
				if e.Author == "gateway" {
					got = append(got, e.Type)
				}
			}
			// The last of it may have been decided after the outbox was empty.
			if !slices.Equal(got, events) && !(len(got) >= len(events)-2 && slices.Equal(got, events[:len(got)])) {
				t.Errorf("%s: the gateway decided %v of %s, the cloud has %v", g.id, events, id, got)
			}
		}
		for _, a := range c.alerts("all") {
			if a.Gateway == g.id && a.Rule == "quick" && decided[a.ID] == nil {
				t.Errorf("the cloud has alert %s of %s, which nobody decided", a.ID, g.id)
			}
		}
	}
	s.summariesAreWhole(gateways, tear)
}

// flap lets a patient's SpO2 fall and recover for as long as the test lasts.
func (s *site) flap(p *patch) {
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(6 * time.Second) // an alert is open for as long, which an acknowledgement has to get through
		defer tick.Stop()
		for low := true; ; low = !low {
			p.set("spo2", map[bool]int{true: 78, false: 97}[low])
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	s.t.Cleanup(func() { close(done); <-over })
}

// ledger is what a tail heard of alerts by the rule quick, since it began.
func (x tail) ledger() ledger {
	out := ledger{}
	for _, l := range x.lines() {
		switch l.What {
		case "raised", "updated", "ended":
			if l.What == "raised" || out[l.Alert] != nil {
				out[l.Alert] = append(out[l.Alert], l.What)
			}
		case "acknowledged":
		}
	}
	return out
}

// summariesAreWhole compares the cloud's rows with the gateways' intervals: from
// the tear on there is one of every bed and interval, and no second one.
func (s *site) summariesAreWhole(gateways []*gateway, from time.Time) {
	s.t.Helper()
	file := s.path("look.db")
	s.operator("backup", file)
	db, err := sqlite.Open(file, sqlite.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Read.Query(`SELECT b.ward || '/' || b.bed, v.start, v.part FROM vitals v JOIN bed b ON b.number = v.bed WHERE v.start >= $1 ORDER BY 1, 2`, from.UnixMicro())
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	starts := map[string][]int64{}
	for rows.Next() {
		var bed string
		var start, part int64
		if err := rows.Scan(&bed, &start, &part); err != nil {
			s.t.Fatal(err)
		}
		if part != 0 {
			s.t.Errorf("bed %s has a second summary of %v", bed, time.UnixMicro(start))
		}
		starts[bed] = append(starts[bed], start)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	if len(starts) != 2*len(gateways) {
		s.t.Errorf("there are summaries of %d beds, want %d", len(starts), 2*len(gateways))
	}
	for bed, list := range starts {
		if len(list) < 15 {
			s.t.Errorf("bed %s has %d summaries only", bed, len(list))
		}
		for i := 1; i < len(list); i++ {
			if list[i]-list[i-1] != 2_000_000 {
				s.t.Errorf("bed %s has summaries of %v and %v one after the other", bed, time.UnixMicro(list[i-1]), time.UnixMicro(list[i]))
			}
		}
	}
}
