package agent

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"wardline/agent/internal/control"
	"wardline/agent/internal/intake"
	"wardline/agent/internal/local"
	"wardline/agent/internal/outbox"
	"wardline/agent/internal/ward"
	"wardline/shared/alert"
	"wardline/shared/link"
	"wardline/shared/sqlite"
)

// bench is an agent without its goroutines: the test is the loop, and time.
type bench struct {
	t    *testing.T
	a    *agent
	now  Instant
	seq  int
	disk *disk
}

const monday = 1_767_600_000_000_000 // 2026-01-05, µs UTC

func testConfig(dir string) Config {
	return Config{
		Data: dir, Gateway: "gw-1", MQTT: MQTT{URL: "tcp://127.0.0.1:1", Inflight: 1024}, Log: slog.New(slog.DiscardHandler),
		Wards: []Ward{{ID: "7w", Beds: []Bed{{Bed: "1", Sensor: "S1"}, {Bed: "2", Sensor: "S2"}}}},
	}
}

// start makes an agent on dir, as Run does, at an instant.
func start(t *testing.T, dir string, now Instant) *bench {
	b := &bench{t: t, now: now}
	c := testConfig(dir)
	c.Clock = func() Instant { return b.now }
	c = c.withDefaults()
	d, err := openDisk(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	b.disk = d
	k := newKeeper(c.Clock, dir, d.Stats().Newest)
	c.Clock = k.now
	b.a = &agent{cfg: c, gateway: "gw-1", client: c.clientID(), time: k, disk: d, facts: newFacts()}
	if err := b.a.build(); err != nil {
		t.Fatal(err)
	}
	if err := b.a.restore(); err != nil {
		t.Fatal(err)
	}
	b.a.facts.connected(true)
	return b
}

func begin() Instant { return Instant{Boot: 1, Mono: 1_000_000, Wall: monday, Synchronised: true} }

// pass lets time go by, a second at a time, with a heart rate at each.
func (b *bench) pass(d time.Duration, sensor string, hr int) {
	b.t.Helper()
	for range int(d / time.Second) {
		b.now.Mono += 1e6
		b.now.Wall += 1e6
		b.seq++
		b.say(sensor, fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":%d,"contact":true}`, b.now.Wall, b.now.Wall/1e6%1e9, hr))
		b.a.loop.tick()
		b.flush()
	}
}

func (b *bench) say(sensor, payload string) {
	b.a.loop.message(b.now, &intake.Message{Topic: "wl/1/r/" + sensor + "/json", Payload: []byte(payload), Received: b.now.Wall})
}

func (b *bench) flush() {
	b.t.Helper()
	b.a.loop.flush()
}

func (b *bench) open(bed string) []alert.Alert { return b.a.loop.ward.Alerts("7w", bed) }

// records are what the outbox holds for the cloud in a lane.
func (b *bench) records(lane link.Lane) []link.Record {
	b.t.Helper()
	out, err := b.disk.After(lane, 0, 1<<20)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// raised counts the episodes of a rule that the cloud is told of.
func (b *bench) raised(rule string) (n int) {
	for _, x := range b.raisings(rule) {
		n += x
	}
	return n
}

// episodes is how many alerts of a rule the cloud hears of.
func (b *bench) episodes(rule string) int { return len(b.raisings(rule)) }

// raisings is how often each of them is told as raised.
func (b *bench) raisings(rule string) map[alert.ID]int {
	n := map[alert.ID]int{}
	for _, r := range b.records(link.Alerts) {
		var e alert.Event
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			b.t.Fatal(err)
		}
		if e.Type == alert.Raised && e.Condition.Rule == rule {
			n[e.Alert]++
		}
	}
	return n
}

// crash is a copy of the data folder as it is at this instant.
func (b *bench) crash() string {
	b.t.Helper()
	dir := b.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(b.a.cfg.Data)); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

func (b *bench) source(name string) control.Intake {
	for _, s := range b.a.loop.count.all() {
		if s.Source == name {
			return s
		}
	}
	return control.Intake{}
}

func TestPromise2AnAlertIsDecidedOnTheGatewayAndCommitted(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(10*time.Second, "S1", 72)
	b.pass(5*time.Second, "S1", 140)
	if len(b.open("1")) != 0 {
		t.Fatal("raised before its delay was over")
	}
	b.pass(5*time.Second, "S1", 140)
	open := b.open("1")
	if len(open) != 1 || open[0].Condition.Rule != "hr-high" {
		t.Fatalf("open at bed 1: %+v", open)
	}
	if got := b.raised("hr-high"); got != 1 {
		t.Errorf("%d raised events wait for the cloud, want one", got)
	}
	for _, a := range b.open("2") {
		if a.Condition.Rule != "sensor-silent" {
			t.Errorf("bed 2, which says nothing, has %+v", a)
		}
	}
}

func TestPromise13AKilledAgentGoesOnWithTheSameEpisodeAndDelay(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(90*time.Second, "S1", 72) // a checkpoint is behind us
	b.pass(10*time.Second, "S1", 140)
	before := b.open("1")
	b.pass(4*time.Second, "S2", 140) // a delay is running
	b.now.Mono += 1_200_000          // the last commit is older than the linger
	b.now.Wall += 1_200_000
	b.flush()

	next := start(t, b.crash(), Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall + 3e6, Synchronised: true})
	after := next.open("1")
	if len(before) == 0 || len(after) == 0 || before[0].ID != after[0].ID {
		t.Fatalf("open before %+v and after %+v", before, after)
	}
	next.pass(6*time.Second, "S2", 140)
	if got := next.raised("hr-high"); got != 2 {
		t.Errorf("%d raised events wait for the cloud, want one a bed; bed 2 has %+v", got, next.open("2"))
	}
}

func TestACommitThatFailsIsKeptInOrderAndTriedAgainAsItWas(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	var tried []outbox.Commit
	broken := true
	b.a.loop.append = func(c outbox.Commit) (outbox.Position, error) {
		tried = append(tried, c)
		if broken {
			return 0, errors.New("the disk says no")
		}
		return b.disk.Append(c)
	}
	answered := false
	b.pass(2*time.Second, "S1", 140)
	b.a.loop.unit(b.now).done = append(b.a.loop.unit(b.now).done, func() { answered = true })
	b.pass(12*time.Second, "S1", 140)
	if answered || len(b.records(link.Alerts)) != 0 {
		t.Fatal("something was answered or kept while the disk says no")
	}
	if got := b.open("1"); len(got) != 1 {
		t.Fatalf("the ward knows %+v while the disk fails", got)
	}
	for range maxWaiting {
		b.say("S1", "{")
	}
	if !b.a.loop.full() {
		t.Error("messages are taken without a bound while the disk says no")
	}
	for _, c := range tried[1:] {
		if len(c.Frames) != len(tried[0].Frames) || c.Mono != tried[0].Mono {
			t.Fatal("a commit was changed before it was tried again")
		}
	}
	broken = false
	b.pass(3*time.Second, "S1", 140)
	if b.a.loop.full() || !answered || len(b.records(link.Alerts)) == 0 {
		t.Errorf("after the disk works again: answered %v, %d events", answered, len(b.records(link.Alerts)))
	}
	frames := 0
	last := int64(0)
	for batch, err := range b.disk.box.Load().Frames(0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range batch.Frames {
			if f.Received <= last {
				t.Error("frames were kept out of order")
			}
			last = f.Received
			frames++
		}
	}
	if frames < 14 {
		t.Errorf("%d frames are kept", frames)
	}
}

func TestPromise10WhatIsRefusedIsCountedAndChangesNothingElse(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(2*time.Second, "S1", 72)
	for _, payload := range []string{"{", `{"t":1}`, `{"hr":80}`, fmt.Sprintf(`{"t":%d,"hr":"x"}`, b.now.Wall), fmt.Sprintf(`{"t":%d,"hr":80}`, b.now.Wall+60e6)} {
		b.say("S1", payload)
	}
	b.say("S9", fmt.Sprintf(`{"t":%d,"hr":80}`, b.now.Wall))
	b.say("S1", fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":72}`, b.now.Wall, b.now.Wall/1e6%1e9))
	got := b.source("json")
	if got.Accepted != 2 {
		t.Errorf("accepted %d, want 2", got.Accepted)
	}
	for _, reason := range []string{"malformed_json", "wrong_type", "future_timestamp", "missing_time", ward.ReasonUnknownSensor, ward.ReasonRepeat} {
		if got.SetAside[reason] != 1 {
			t.Errorf("set aside as %s: %d, want 1 (all: %v)", reason, got.SetAside[reason], got.SetAside)
		}
	}
	b.now.Mono += 2e6
	b.now.Wall += 2e6
	b.flush()
	if len(b.a.loop.units) != 0 {
		t.Error("what was refused is not acknowledged")
	}
}

func TestTheBoardsAnswerIsOnTheDiskBeforeItIsAnswered(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(12*time.Second, "S1", 140)
	open := b.open("1")
	if len(open) != 1 {
		t.Fatal("no alert")
	}
	e := alert.Event{Alert: open[0].ID, Author: alert.Board, N: 1, Type: alert.Acknowledged, At: b.now.Wall, By: "nurse", Priority: open[0].Condition.Priority}
	l := b.a.loop
	l.step(b.now, ward.Input{Response: &e})
	answered := false
	u := l.unit(b.now)
	u.commit.Commands = append(u.commit.Commands, "c1")
	u.done = append(u.done, func() { answered = b.disk.Seen("c1") })
	b.flush()
	if !answered {
		t.Fatal("answered before it was kept")
	}
	next := start(t, b.crash(), Instant{Boot: 1, Mono: b.now.Mono + 1e6, Wall: b.now.Wall + 1e6, Synchronised: true})
	if ack, ok := next.open("1")[0].Ack(next.now.Wall); !ok || ack.By != "nurse" {
		t.Errorf("after a restart the acknowledgement is %+v, %v", ack, ok)
	}
}

func TestADamagedOutboxIsPutAsideAndMonitoringGoesOn(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "outbox.db"), []byte("this is no database, and never was one, whatever its name says"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, dir, begin())
	b.pass(12*time.Second, "S1", 140)
	if len(b.open("1")) != 1 || len(b.records(link.Alerts)) == 0 {
		t.Error("after damage nothing is watched or kept")
	}
}

// station gathers what the ward is shown, by topic.
func (b *bench) station() map[string]string {
	shown := map[string]string{}
	b.a.tell.station = local.New(local.Config{
		Gateway: "gw-1", Wards: []string{"7w"}, Link: func() (bool, int64) { return false, 0 }, Now: func() int64 { return b.now.Wall },
		Publish: func(topic string, p []byte) error { shown[topic] = string(p); return nil },
	})
	return shown
}

func TestPromise2NewAlertsAreShownInTheWardForAsLongAsTheDiskTakesNothing(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	shown := b.station()
	b.pass(3*time.Second, "S1", 72)
	whole := b.a.loop.append
	b.a.loop.append = func(outbox.Commit) (outbox.Position, error) { return 0, errors.New("the disk says no") }
	b.pass(5*time.Second, "S1", 72) // the first failure is behind us
	b.pass(30*time.Second, "S1", 190)
	bed, ward := local.AlertsTopic("7w", "1"), local.AlertsTopic("7w", "")
	if s := shown[bed]; !strings.Contains(s, `/hr-extreme-high"`) || !strings.Contains(s, `"durable":false`) {
		t.Errorf("the bed's lamp is shown %s", s)
	}
	if s := shown[ward]; !strings.Contains(s, `/disk-failing"`) {
		t.Errorf("the ward is shown %s", s)
	}
	b.a.loop.append = whole
	b.pass(3*time.Second, "S1", 190)
	if s := shown[bed]; !strings.Contains(s, `/hr-extreme-high"`) || strings.Contains(s, `"durable":false`) {
		t.Errorf("once the disk works again, the lamp is shown %s", s)
	}
}

func TestWhatASlowCommitShowsNeverComesAfterWhatIsShownNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), begin())
		shown := b.station()
		b.pass(3*time.Second, "S1", 72)
		whole := b.a.loop.append
		b.a.loop.append = func(c outbox.Commit) (outbox.Position, error) {
			time.Sleep(slowCommit) // exactly as long as the ward waits
			return whole(c)
		}
		b.pass(12*time.Second, "S1", 190)
		for synctest.Wait(); b.a.loop.answer != nil; synctest.Wait() {
			b.flush() // the loop hears of a slow commit's end later
		}
		if s := shown[local.AlertsTopic("7w", "1")]; !strings.Contains(s, `/hr-extreme-high"`) || strings.Contains(s, `"durable":false`) {
			t.Errorf("the lamp is left with %s", s)
		}
	})
}

func TestADamagedOutboxIsFollowedByOneThatHoldsAllThatIsInMemory(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(12*time.Second, "S1", 190)
	before := b.open("1")
	box := b.disk.box.Load()
	b.a.loop.append = func(c outbox.Commit) (outbox.Position, error) {
		if b.disk.box.Load() == box {
			return 0, errors.New("the disk says no") // until it turns out to be damage
		}
		return b.disk.Append(c)
	}
	b.now.Wall += 3e6 // a step, so that what follows is a commit of its own
	b.pass(12*time.Second, "S2", 190)
	b.a.loop.append = b.disk.Append
	box.Condemn(errors.New("a page is not what it was"))
	b.pass(2*time.Second, "S1", 190)
	if b.disk.box.Load() == box || len(b.a.loop.units) != 0 {
		t.Fatalf("no fresh outbox was begun, or %d commits wait", len(b.a.loop.units))
	}
	// A cloud that heard nothing of the old one knows every alert as the ward does.
	heard := map[alert.ID]alert.Alert{}
	for _, r := range b.records(link.Alerts) {
		var e alert.Event
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			t.Fatal(err)
		}
		a, err := alert.Apply(heard[e.Alert], e)
		if err != nil {
			t.Fatal(err)
		}
		heard[e.Alert] = a
	}
	open := append(append(b.open("1"), b.open("2")...), b.open("")...)
	if len(open) < 3 || open[0].ID != before[0].ID {
		t.Fatalf("open: %+v", open)
	}
	for _, a := range open {
		x := heard[a.ID]
		if x.Phase != a.Phase || x.RaisedAt != a.RaisedAt || x.Condition.Text != a.Condition.Text || x.N(alert.Gateway) != a.N(alert.Gateway) {
			t.Errorf("of %s the cloud has\n%+v, the ward\n%+v", a.Condition.Rule, x, a)
		}
	}
	next := start(t, b.crash(), Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall + 1e6, Synchronised: true})
	if got := next.open("1"); len(got) == 0 || got[0].ID != before[0].ID {
		t.Errorf("after a restart bed 1 has %+v", got)
	}
}

// spoil changes the outbox of a data folder behind its back.
func spoil(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sqlite.Open(filepath.Join(dir, "outbox.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Tx(context.Background(), func(tx *sql.Tx) error { _, err := tx.Exec(statement); return err })
	if err != nil {
		t.Fatal(err)
	}
}

func TestPromise10WhatWasKeptAndCannotBeReadKeepsNobodyUnwatched(t *testing.T) {
	for name, statement := range map[string]string{
		"frames":     `UPDATE batch SET frames = x'0900' WHERE n = (SELECT max(n) - 3 FROM batch)`,
		"an episode": `UPDATE episode SET state = x'00'`,
		"checkpoint": `UPDATE checkpoint SET state = x'00'`,
		"a table":    `DROP TABLE checkpoint`,
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, t.TempDir(), begin())
			b.pass(70*time.Second, "S1", 190)
			dir := b.crash()
			was := string(b.open("1")[0].ID)
			spoil(t, dir, statement)
			for range 2 {
				next := start(t, dir, Instant{Boot: 2, Mono: 5_000_000, Wall: b.now.Wall + 1e6, Synchronised: true})
				if name == "an episode" && slices.Contains(next.a.loop.openOrUntold(), was) {
					t.Error("the alert whose episode is lost is named to the cloud as open: nobody will ever end it")
				}
				next.pass(12*time.Second, "S1", 190)
				if got := next.open("1"); len(got) == 0 || got[0].Condition.Rule != "hr-extreme-high" {
					t.Errorf("bed 1 has %+v", got)
				}
				next.disk.Close()
				b = next
			}
		})
	}
}

func TestAWardIsWatchedWhileNoOutboxCanBeOpened(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "outbox.db")
	if err := os.MkdirAll(filepath.Join(blocked, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	b := start(t, dir, begin())
	shown := b.station()
	b.pass(12*time.Second, "S1", 190)
	if s := shown[local.AlertsTopic("7w", "1")]; !strings.Contains(s, `/hr-extreme-high"`) || !strings.Contains(s, `"durable":false`) {
		t.Errorf("the lamp is shown %s", s)
	}
	if s := b.a.disk.Stats(); s.MaxBytes != 2<<30 {
		t.Errorf("the disk says %+v of itself", s)
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		if err := b.disk.run(t.Context(), nil, slog.New(slog.DiscardHandler)); !errors.Is(err, errDiskBack) {
			t.Errorf("once it can be opened, the run ends with %v", err)
		}
	})
}

func TestAnAlertOfTheWholeWardIsAnsweredInTheWard(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.a.facts.set("storage_damaged", true, "outbox.db.aside")
	b.pass(3*time.Second, "S1", 72)
	answer := func(topic, act string) {
		text := fmt.Sprintf(`{"act":%q,"alert":"all","by":"station-1","minutes":600}`, act)
		b.a.loop.message(b.now, &intake.Message{Topic: topic, Payload: []byte(text), Received: b.now.Wall})
		b.flush()
	}
	answer("wl/1/ward/7w/response", "stand_by")
	if a, _ := b.about("storage-damaged"); a.Ward.Silence.By != "" {
		t.Errorf("a whole ward is on stand-by: %+v", a.Ward)
	}
	answer("wl/1/ward/7w/response", "acknowledge")
	a, ok := b.about("storage-damaged")
	if ack, yes := a.Ack(b.now.Wall); !ok || !yes || ack.By != "station-1" || ack.Until != b.now.Wall+(10*time.Minute).Microseconds() {
		t.Errorf("the acknowledgement is %+v, want station-1's for ten minutes", ack)
	}
	told := 0
	for _, r := range b.records(link.Alerts) {
		var e alert.Event
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == alert.Acknowledged && e.Alert == a.ID && e.Via == "ward" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d acknowledgements wait for the cloud, want one", told)
	}
}

func TestHistoryIsCountedApartFromWhatWasTakenAsNow(t *testing.T) {
	b := start(t, t.TempDir(), begin())
	b.pass(2*time.Second, "S1", 72)
	b.say("S1", fmt.Sprintf(`{"t":%d,"boot":1,"seq":7,"hr":72}`, b.now.Wall-60e6))
	if got := b.source("json"); got.Accepted != 3 || got.PassedOver["late"] != 1 {
		t.Errorf("%d taken, %v passed over; want 3, of which one late", got.Accepted, got.PassedOver)
	}
}

func TestAGatewayWhoseClockIsAnHourBehindWatchesAllTheSame(t *testing.T) {
	b := start(t, t.TempDir(), Instant{Boot: 1, Mono: 1e6, Wall: monday})
	for range 10 {
		b.now.Mono += 1e6
		b.now.Wall += 1e6
		b.say("S1", fmt.Sprintf(`{"t":%d,"boot":1,"seq":%d,"hr":190,"contact":true}`, b.now.Wall+3600e6, b.now.Wall/1e6%1e9))
		b.a.loop.tick()
		b.flush()
	}
	if got := b.open("1"); len(got) != 1 || got[0].Condition.Rule != "hr-extreme-high" {
		t.Errorf("open at bed 1: %+v, set aside: %v", got, b.source("json").SetAside)
	}
}

func TestWhatTheDiskSaysIsPutInAFewWords(t *testing.T) {
	for want, err := range map[string]error{
		"no space is left; free some":             fmt.Errorf("make room: %w", errors.Join(syscall.ENOSPC, errors.New("and more"))),
		"the agent's account may not write there": fs.ErrPermission,
		"it is read-only":                         fmt.Errorf("open: %w", syscall.EROFS),
		"the third":                               errors.New("the first\nthe second\nthe third"),
	} {
		if got := plain(err); got != want {
			t.Errorf("%v is put as %q, want %q", err, got, want)
		}
	}
}

func TestATailSaysWhoWithdrewAnAcknowledgementAndNamesAWardPlainly(t *testing.T) {
	tell := &teller{known: map[alert.ID]known{}}
	raised := alert.Event{Alert: "a", Type: alert.Raised, Condition: &alert.Condition{Ward: "7w", Priority: alert.Low, Text: "Link lost"}}
	if l := tell.line(raised); l.Where != "7w" {
		t.Errorf("the ward is called %q", l.Where)
	}
	for by, want := range map[string]string{"nurse": "acknowledgement_withdrawn", "system": "acknowledgement_expired", "": "acknowledgement_expired"} {
		if l := tell.line(alert.Event{Alert: "a", Type: alert.AckExpired, By: by}); l.What != want {
			t.Errorf("by %q it is %s, want %s", by, l.What, want)
		}
	}
}

// What is ahead of a clock that cannot be believed is taken then, and again when
// it is replayed after the clock was found to be right.
func TestAFrameIsReplayedUnderTheClockThatItWasTakenUnder(t *testing.T) {
	b := start(t, t.TempDir(), Instant{Boot: 1, Mono: 1e6, Wall: monday})
	b.say("S1", fmt.Sprintf(`{"t":%d,"boot":1,"seq":1,"hr":72,"contact":true}`, b.now.Wall+3600e6))
	b.now.Mono, b.now.Wall, b.now.Synchronised = b.now.Mono+1e5, b.now.Wall+1e5, true
	b.say("S2", fmt.Sprintf(`{"t":%d,"boot":1,"seq":1,"hr":72,"contact":true}`, b.now.Wall))
	b.now.Mono, b.now.Wall = b.now.Mono+2e6, b.now.Wall+2e6
	b.flush()
	next := start(t, b.crash(), Instant{Boot: 1, Mono: b.now.Mono + 1e6, Wall: b.now.Wall + 1e6, Synchronised: true})
	for _, s := range next.a.loop.ward.Status() {
		if s.Heard == 0 {
			t.Errorf("after a restart %s was never heard", s.Sensor)
		}
	}
}
